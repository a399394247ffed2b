//! Plain words for values, and guesses at what was meant.

use serde_json::Value;

use crate::name::excerpt;

/// `found the number 8080`, with the text of the source where it is known.
pub(super) fn found(value: &Value, source: Option<&str>) -> String {
    match value {
        Value::Null => "found nothing (null)".to_owned(),
        Value::Bool(flag) => format!("found the boolean {}", source.unwrap_or(if *flag { "true" } else { "false" })),
        Value::Number(number) => match source {
            Some(text) => format!("found the number {}", excerpt(text)),
            None => format!("found the number {number}"),
        },
        Value::String(text) => format!("found the text \"{}\"", excerpt(text)),
        Value::Array(list) => format!("found a list of {}", count(list.len(), "element")),
        Value::Object(map) => format!("found a map of {}", count(map.len(), "field")),
    }
}

/// Like [`found`], without the value itself: for secrets.
pub(super) fn found_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "found nothing (null)",
        Value::Bool(_) => "found a boolean",
        Value::Number(_) => "found a number",
        Value::String(_) => "found text",
        Value::Array(_) => "found a list",
        Value::Object(_) => "found a map",
    }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// The candidate that was probably meant, if one is near enough.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Distances grow with the product of both lengths; nobody misspells a word of this size.
    if word.len() > 128 {
        return None;
    }
    let plain = fold(word);
    let near = candidates.into_iter().filter_map(|candidate| {
        let other = fold(candidate);
        let distance = strsim::osa_distance(&plain, &other);
        let longest = plain.chars().count().max(other.chars().count());
        // One error per three letters, and the plural or a shortened form of the word.
        let shares_start = plain.len() >= 3 && other.len() >= 3 && (plain.starts_with(&other) || other.starts_with(&plain));
        (distance * 3 <= longest || shares_start).then_some((distance, candidate))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Case and separators aside, so that `stop_grace_period` is `stopGracePeriod`.
pub(super) fn fold(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}
