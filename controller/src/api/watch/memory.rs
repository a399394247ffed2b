//! What a watch has told its client, as far as it matters for what it tells next. Pure.
//!
//! Two things are remembered: versions that may be found once more (see [`Cursor`]), until they no longer can;
//! and, with selectors only, which objects matched. A watch that resumes does not know what its client has, so there an
//! object that does not match is told as gone once: who does not know it has nothing to take away.

use std::collections::{HashMap, HashSet};

use crate::store::{Cursor, Mark, Tombstone};

/// What to say of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// It is there.
    Added,
    /// It is another.
    Modified,
    /// It is gone, or no longer selected.
    Deleted,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Memory {
    /// Versions that were told or need not be, and when they were made.
    recent: HashMap<String, (i64, Cursor)>,
    /// With selectors: whether an object was told as matching.
    told: Option<HashMap<String, bool>>,
    /// Whether the client was told everything that matched at the beginning.
    complete: bool,
    /// Names whose deletion was told in this round: what has such a name now has to be told after it.
    reborn: HashSet<String>,
}

impl Memory {
    pub(super) fn new(selects: bool, complete: bool) -> Self {
        Self { recent: HashMap::new(), told: selects.then(HashMap::new), complete, reborn: HashSet::new() }
    }

    /// What to say of an object as it was at the beginning. What can be found once more lies at `cursor` or after it.
    pub(super) fn listed(&mut self, found: &Mark, cursor: Cursor) -> Word {
        if found.changed >= cursor {
            self.recent.insert(found.id.clone(), (found.version, found.changed));
        }
        if let Some(told) = &mut self.told {
            told.insert(found.id.clone(), true);
        }
        Word::Added
    }

    /// What to say of an object that was found to have changed since `since`.
    pub(super) fn changed(&mut self, found: &Mark, matches: bool, since: Cursor) -> Option<Word> {
        let before = self.recent.insert(found.id.clone(), (found.version, found.changed));
        if before.is_some_and(|(version, _)| version >= found.version) && !self.reborn.contains(&found.key) {
            return None;
        }
        let Some(told) = &mut self.told else {
            return Some(if before.is_none() && found.created >= since { Word::Added } else { Word::Modified });
        };
        let was = told.get(&found.id).copied().or(self.complete.then_some(false));
        if matches {
            told.insert(found.id.clone(), true);
            return Some(if was == Some(true) { Word::Modified } else { Word::Added });
        }
        if self.complete {
            told.remove(&found.id);
        } else {
            told.insert(found.id.clone(), false);
        }
        (was != Some(false)).then_some(Word::Deleted)
    }

    /// Whether to tell a deletion.
    pub(super) fn deleted(&mut self, gone: &Tombstone) -> bool {
        let before = self.recent.insert(gone.uid.clone(), (gone.resource_version, gone.changed));
        if before.is_some_and(|(version, _)| version >= gone.resource_version) {
            return false;
        }
        let was = match &mut self.told {
            Some(told) => told.remove(&gone.uid).or(self.complete.then_some(false)),
            None => None,
        };
        let tell = was != Some(false);
        if tell {
            self.reborn.insert(gone.name.clone());
        }
        tell
    }

    /// Everything up to here was told: what lies before it cannot be found again.
    pub(super) fn passed(&mut self, cursor: Cursor) {
        self.reborn.clear();
        self.recent.retain(|_, (_, at)| *at >= cursor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: &str, version: i64, (created, changed): (i64, i64)) -> Mark {
        Mark { id: id.to_owned(), version, created: Cursor(created), changed: Cursor(changed), key: format!("name-{id}") }
    }

    fn gone(id: &str, version: i64, changed: i64) -> Tombstone {
        Tombstone {
            org: "acme".to_owned(),
            name: format!("name-{id}"),
            uid: id.to_owned(),
            labels: Default::default(),
            resource_version: version,
            changed: Cursor(changed),
        }
    }

    const BEGUN: Cursor = Cursor(10);

    #[test]
    fn a_version_is_told_once_however_often_it_is_found() {
        let mut memory = Memory::new(false, true);
        memory.listed(&found("a", 5, (1, 12)), BEGUN);
        assert_eq!(memory.changed(&found("a", 5, (1, 12)), true, BEGUN), None, "the list told it");
        assert_eq!(memory.changed(&found("a", 4, (1, 11)), true, BEGUN), None, "an older one");
        assert_eq!(memory.changed(&found("a", 6, (1, 13)), true, BEGUN), Some(Word::Modified));
        memory.passed(BEGUN);
        assert_eq!(memory.changed(&found("a", 6, (1, 13)), true, BEGUN), None, "a transaction still runs");
        assert_eq!(memory.changed(&found("b", 7, (14, 14)), true, BEGUN), Some(Word::Added));
        assert_eq!(memory.changed(&found("b", 8, (14, 15)), true, BEGUN), Some(Word::Modified), "told already");
        assert!(memory.deleted(&gone("b", 9, 16)) && !memory.deleted(&gone("b", 9, 16)));
        memory.passed(Cursor(20));
        assert!(memory.recent.is_empty() && memory.reborn.is_empty(), "nothing is kept for ever");
    }

    #[test]
    fn with_selectors_leaving_is_deletion_and_coming_is_addition() {
        let mut memory = Memory::new(true, true);
        memory.listed(&found("a", 1, (1, 1)), BEGUN);
        assert_eq!(memory.changed(&found("x", 2, (1, 11)), false, BEGUN), None, "never matched");
        assert_eq!(memory.changed(&found("a", 3, (1, 12)), true, BEGUN), Some(Word::Modified));
        assert_eq!(memory.changed(&found("a", 4, (1, 13)), false, BEGUN), Some(Word::Deleted));
        assert_eq!(memory.changed(&found("a", 5, (1, 14)), false, BEGUN), None);
        assert_eq!(memory.changed(&found("a", 6, (1, 15)), true, BEGUN), Some(Word::Added));
        assert!(memory.deleted(&gone("a", 7, 16)), "it was told");
        assert!(!memory.deleted(&gone("x", 8, 17)), "it was not");
    }

    #[test]
    fn who_resumes_is_told_once_that_an_object_does_not_match() {
        let mut memory = Memory::new(true, false);
        assert_eq!(memory.changed(&found("a", 1, (1, 11)), false, BEGUN), Some(Word::Deleted), "the client may have it");
        assert_eq!(memory.changed(&found("a", 2, (1, 12)), false, BEGUN), None);
        assert!(!memory.deleted(&gone("a", 3, 13)), "told already");
        assert!(memory.deleted(&gone("b", 4, 14)));
    }

    #[test]
    fn an_object_of_a_deleted_ones_name_is_told_after_the_deletion() {
        let mut memory = Memory::new(false, true);
        // The list saw only the new one; the old one's deletion is found later.
        let new = Mark { key: "name-old".to_owned(), ..found("new", 9, (12, 12)) };
        memory.listed(&new, BEGUN);
        assert!(memory.deleted(&gone("old", 8, 11)));
        assert_eq!(memory.changed(&new, true, BEGUN), Some(Word::Modified), "or who goes by names would lose it");
        memory.passed(BEGUN);
        assert_eq!(memory.changed(&new, true, BEGUN), None);
    }
}
