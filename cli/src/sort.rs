//! The order of a list: by a word such as `age`, or by any field of the objects.

use std::cmp::Ordering;
use std::str::FromStr;

use api_types::App;
use serde_json::Value;

use crate::errors::{CliError, Result};
use crate::output::kinds::app_state;

/// What a list is ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortKey {
    /// Newest first.
    Age,
    /// The one word that tables show.
    Status,
    /// A field, as a JSON pointer.
    Field(String),
}

impl FromStr for SortKey {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "age" => return Ok(Self::Age),
            "status" => return Ok(Self::Status),
            "name" => return Ok(Self::Field("/metadata/name".to_owned())),
            "org" => return Ok(Self::Field("/metadata/org".to_owned())),
            _ => {}
        }
        // As kubectl writes it as well: {.spec.image}
        let path = text.trim_start_matches('{').trim_end_matches('}').trim_start_matches('.');
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if path.is_empty() || !path.chars().all(plain) || path.split('.').any(str::is_empty) {
            return Err("give name, age, org, status, or a field such as spec.image".to_owned());
        }
        Ok(Self::Field(format!("/{}", path.replace('.', "/"))))
    }
}

impl SortKey {
    /// Puts objects into order; equal ones stay as they are.
    ///
    /// # Errors
    /// When no object has the field, which is a slip rather than a wish.
    pub fn sort(&self, list: &mut [Value]) -> Result<()> {
        if let Self::Field(pointer) = self
            && !list.is_empty()
            && list.iter().all(|object| object.pointer(pointer).is_none())
        {
            let path = pointer.trim_start_matches('/').replace('/', ".");
            return Err(CliError::Usage(format!("none of these objects has the field {path}; -o yaml shows what they have")));
        }
        list.sort_by(|a, b| match self {
            Self::Age => text(b, "/metadata/creationTimestamp").cmp(text(a, "/metadata/creationTimestamp")),
            Self::Status => state(a).cmp(&state(b)),
            Self::Field(pointer) => compare(a.pointer(pointer), b.pointer(pointer)),
        });
        Ok(())
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn state(object: &Value) -> String {
    match serde_json::from_value::<App>(object.clone()) {
        Ok(app) => app_state(&app).0.to_owned(),
        // Nodes have a state, too.
        Err(_) => text(object, "/status/state").to_owned(),
    }
}

/// Numbers by value, everything else as text; what is missing comes last.
fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => plain(a).cmp(&plain(b)),
        },
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_ordered_by_words_and_by_fields() {
        let app = |name: &str, day: u32, weight: Value| json!({"metadata": {"name": name, "creationTimestamp": format!("2026-11-{day:02}T00:00:00Z")}, "spec": {"weight": weight}});
        let all = [app("b", 1, json!(10)), app("c", 3, Value::Null), app("a", 2, json!(9))];
        let order = |key: &str| {
            let mut list: Vec<Value> = all.to_vec();
            list[1]["spec"] = json!({});
            key.parse::<SortKey>().expect(key).sort(&mut list).expect(key);
            list.iter().map(|object| object["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect::<String>()
        };
        assert_eq!(order("name"), "abc");
        assert_eq!(order("age"), "cab", "newest first");
        assert_eq!(order("{.spec.weight}"), "abc", "9 is less than 10, and what is missing comes last");
        assert!("spec.nothing".parse::<SortKey>().expect("a path").sort(&mut all.to_vec()).is_err());
        assert!("a b".parse::<SortKey>().is_err() && "a..b".parse::<SortKey>().is_err());
    }
}
