//! How places in a document are written. Whoever builds or looks up a path uses these two functions, so
//! that the spelling is the same everywhere.

use crate::name::excerpt;

use super::ROOT;

/// The path of a field of the object at `parent`.
pub fn field(parent: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.len() <= 128 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (plain, parent == ROOT) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{parent}.{key}"),
        (false, _) => format!("{parent}[\"{}\"]", excerpt(key)),
    }
}

/// The path of an element of the list at `parent`.
pub fn index(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

/// A path as seen from a document that holds this one at `prefix`, such as `items[2]`.
pub fn within(prefix: &str, path: &str) -> String {
    match path.strip_prefix(ROOT) {
        Some(rest) => format!("{prefix}{rest}"),
        None => format!("{prefix}.{path}"),
    }
}
