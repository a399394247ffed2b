//! What a watch has told already, so that nothing is shown twice and nothing that went away unseen is missed. Pure.
//!
//! A watch may tell one change twice, and tells everything again when its place is too old.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Events that are remembered; objects are as many as the server has.
const EVENTS: usize = 10_000;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It is there, or has begun to match.
    Added,
    /// It is another than before.
    Modified,
    /// It is gone, or has ceased to match.
    Deleted,
}

impl Word {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// A change to show.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What happened.
    pub word: Word,
    /// The object; of one that is gone, its metadata.
    pub object: Value,
}

/// Identity: a name may be taken over by another object, and names of machines need not differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Event(i64),
    Object(String),
}

impl Key {
    fn of(object: &Value) -> Self {
        if let Some(id) = object.get("id").and_then(Value::as_i64) {
            return Self::Event(id);
        }
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        Self::Object(text("/metadata/uid").or_else(|| text("/metadata/name")).unwrap_or_default().to_owned())
    }
}

struct Known {
    digest: u64,
    gone: Value,
}

/// See the module.
#[derive(Default)]
pub struct Memory {
    known: BTreeMap<Key, Known>,
}

impl Memory {
    /// Everything there is, each with a digest of what is shown of it; what was known before and is not among it is gone.
    pub fn listed(&mut self, all: Vec<(Value, u64)>) -> Vec<Change> {
        let keys: BTreeSet<Key> = all.iter().map(|(object, _)| Key::of(object)).collect();
        // An event that is not among the last ones is old, not gone.
        let missing = |key: &Key| matches!(key, Key::Object(_)) && !keys.contains(key);
        let gone: Vec<Value> = self.known.extract_if(.., |key, _| missing(key)).map(|(_, known)| known.gone).collect();
        let mut changes: Vec<Change> = gone.into_iter().map(|object| Change { word: Word::Deleted, object }).collect();
        changes.extend(all.into_iter().filter_map(|(object, digest)| self.told(object, digest)));
        changes
    }

    /// An object as it is now; `None` when it looks as before.
    pub fn told(&mut self, object: Value, digest: u64) -> Option<Change> {
        let part = |name: &str| object.get(name).cloned().unwrap_or_default();
        let gone = json!({"apiVersion": part("apiVersion"), "kind": part("kind"), "metadata": part("metadata")});
        let before = self.known.insert(Key::of(&object), Known { digest, gone });
        if self.known.len() > EVENTS && matches!(self.known.first_key_value(), Some((Key::Event(_), _))) {
            self.known.pop_first();
        }
        match before {
            None => Some(Change { word: Word::Added, object }),
            Some(before) if before.digest == digest => None,
            Some(_) => Some(Change { word: Word::Modified, object }),
        }
    }

    /// An object is gone; `None` when it was not known. One that ceased to match before we came is told as gone, too.
    pub fn gone(&mut self, object: Value) -> Option<Change> {
        self.known.remove(&Key::of(&object)).map(|_| Change { word: Word::Deleted, object })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> Value {
        json!({"apiVersion": "v", "kind": "App", "metadata": {"name": name, "uid": format!("u-{name}")}, "spec": {}})
    }

    fn said(changes: &[Change]) -> Vec<String> {
        changes
            .iter()
            .map(|change| format!("{} {}", change.word.as_str(), change.object["metadata"]["name"].as_str().unwrap_or("?")))
            .collect()
    }

    #[test]
    fn nothing_is_shown_twice_and_nothing_that_went_unseen_is_missed() {
        let mut memory = Memory::default();
        assert_eq!(said(&memory.listed(vec![(app("a"), 1), (app("b"), 1), (app("c"), 1)])), ["ADDED a", "ADDED b", "ADDED c"]);
        assert_eq!(memory.told(app("a"), 1), None);
        assert_eq!(said(memory.told(app("a"), 2).as_slice()), ["MODIFIED a"]);
        assert_eq!(said(memory.gone(app("b")).as_slice()), ["DELETED b"]);
        assert_eq!(memory.gone(app("b")), None, "told once");
        let mut other = app("c");
        other["metadata"]["uid"] = json!("another");
        let changes = memory.listed(vec![(app("a"), 2), (other, 1), (app("d"), 1)]);
        assert_eq!(said(&changes), ["DELETED c", "ADDED c", "ADDED d"]);
        assert!(changes[0].object.get("spec").is_none() && changes[0].object["kind"] == "App");
    }

    #[test]
    fn old_events_are_forgotten_and_never_gone() {
        let mut memory = Memory::default();
        let event = |id: i64| json!({"id": id, "name": "shop"});
        for id in 0..12_000 {
            assert!(memory.told(event(id), 0).is_some());
        }
        assert_eq!(memory.known.len(), EVENTS);
        assert_eq!(memory.told(event(11_000), 0), None);
        assert!(memory.listed(vec![(event(11_999), 0)]).is_empty());
    }
}
