//! Where the parts of a document are in its file.

use std::collections::{BTreeMap, BTreeSet};

use api_types::{FieldError, check};

/// A place in a file: line and column, both from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// From one mark up to, but without, another.
pub type Range = (Mark, Mark);

/// Where one value is, and what it looks like there.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The key before the value; the value itself in a list.
    pub(super) key: Mark,
    /// The value.
    pub(super) value: Mark,
    /// The text of a plain scalar that is no string: `010` for the number 10.
    pub(super) source: Option<String>,
    /// Whether the value is one line of text: then errors point at it, not at its key.
    pub(super) scalar: bool,
}

/// Places by path; paths are spelled by [`check::field`] and [`check::index`].
#[derive(Debug, Clone, Default)]
pub struct Positions {
    pub(super) places: BTreeMap<String, Place>,
    pub(super) secrets: Vec<Range>,
    /// What was already refused while reading, and stands as null in the value.
    pub(super) refused: BTreeSet<String>,
}

impl Positions {
    /// The values that must never be shown.
    pub fn secrets(&self) -> &[Range] {
        &self.secrets
    }

    /// Whether reading already said what is wrong there.
    pub fn is_refused(&self, path: &str) -> bool {
        self.refused.contains(path)
    }

    /// How a scalar is written.
    pub fn source_text(&self, path: &str) -> Option<String> {
        self.places.get(path)?.source.clone()
    }

    /// Numbers that other readers of YAML take for other numbers, with what to do about it.
    pub fn ambiguous(&self) -> impl Iterator<Item = (&str, String)> {
        self.places.iter().filter_map(|(path, place)| {
            let text = place.source.as_deref()?;
            let digits = text.trim_start_matches(['-', '+']);
            let octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
            octal.then(|| {
                let plain = digits.trim_start_matches('0');
                let plain = if plain.is_empty() { "0" } else { plain };
                (path.as_str(), format!("{text} is octal to some readers of YAML and decimal to others; write {plain}, or \"{text}\""))
            })
        })
    }

    /// The place of an error: the key for what is wrong with a key or a whole map, else the value. A
    /// field that is missing is reported where its parent begins.
    pub fn of_error(&self, error: &FieldError) -> Option<Mark> {
        const ABOUT_THE_KEY: [&str; 4] = ["unknown field", "a process name", "an environment key", "a label key"];
        if let Some(place) = self.places.get(&error.path) {
            let key = !place.scalar || ABOUT_THE_KEY.iter().any(|start| error.message.starts_with(start));
            return Some(if key { place.key } else { place.value });
        }
        let mut path = error.path.as_str();
        while let Some(parent) = parent_of(path) {
            if let Some(place) = self.places.get(parent) {
                return Some(place.key);
            }
            path = parent;
        }
        self.places.get(check::ROOT).map(|place| place.key)
    }

    /// The positions of what is below `path`, as those of a document of its own.
    pub fn below(&self, path: &str) -> Self {
        let moved = self.places.iter().filter_map(|(at, place)| {
            let rest = at.strip_prefix(path)?;
            let path = match rest.strip_prefix('.') {
                Some(rest) => rest.to_owned(),
                None if rest.is_empty() || rest.starts_with('[') => format!("{}{rest}", check::ROOT),
                None => return None,
            };
            Some((path, place.clone()))
        });
        Self { places: moved.collect(), secrets: self.secrets.clone(), refused: BTreeSet::new() }
    }
}

/// The path one level up; `None` at the top.
fn parent_of(path: &str) -> Option<&str> {
    // A quoted key may hold any character but an unescaped quote.
    let cut = match path.strip_suffix("\"]") {
        Some(quoted) => quoted.rfind("[\"")?,
        None => path.rfind(['.', '['])?,
    };
    path.get(..cut).filter(|parent| !parent.is_empty())
}
