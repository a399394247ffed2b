//! Reads values of a Compose file, and gathers what is wrong with them and what is lost.

use api_types::api::Note;
use api_types::{FieldError, check};
use serde_json::Value;

use crate::manifest::Positions;

pub(super) struct Cursor<'a> {
    positions: &'a Positions,
    pub(super) errors: Vec<FieldError>,
    pub(super) notes: Vec<Note>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(positions: &'a Positions) -> Self {
        Self { positions, errors: Vec::new(), notes: Vec::new() }
    }

    pub(super) fn error(&mut self, path: &str, message: impl Into<String>) {
        // What follows from an error is none of its own.
        if self.errors.iter().all(|error| error.path != path) {
            self.errors.push(FieldError::new(path, message));
        }
    }

    pub(super) fn note(&mut self, path: &str, message: impl Into<String>) {
        self.notes.push(Note { path: path.to_owned(), message: message.into() });
    }

    /// A key that is none.
    pub(super) fn unknown(&mut self, path: &str, known: impl Iterator<Item = &'static str>, of: &str) {
        let key = path.rsplit('.').next().unwrap_or(path);
        let mut error = FieldError::new(path, format!("unknown field of {of}"));
        error.suggestion = check::closest(key, known).map(str::to_owned);
        self.errors.push(error);
    }

    /// A result, or its error noted.
    pub(super) fn good<T>(&mut self, path: &str, result: Result<T, impl ToString>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(path, error.to_string());
                None
            }
        }
    }

    /// Text, also of what YAML takes for a number or a truth value, as it is written.
    pub(super) fn text(&mut self, value: &Value, path: &str) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(self.positions.source_text(path).unwrap_or_else(|| number.to_string())),
            Value::Bool(value) => Some(self.positions.source_text(path).unwrap_or_else(|| value.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                self.error(path, "expected text");
                None
            }
        }
    }

    /// A whole number from 0.
    pub(super) fn number(&mut self, value: &Value, path: &str) -> Option<u32> {
        let text = self.text(value, path)?;
        match text.parse() {
            Ok(number) => Some(number),
            Err(_) => {
                self.error(path, format!("expected a whole number, found \"{text}\""));
                None
            }
        }
    }

    /// A list of texts; a single text is a list of one.
    pub(super) fn texts(&mut self, value: &Value, path: &str) -> Vec<String> {
        match value {
            Value::Array(items) => {
                items.iter().enumerate().filter_map(|(index, item)| self.text(item, &check::index(path, index))).collect()
            }
            Value::Null => Vec::new(),
            other => self.text(other, path).into_iter().collect(),
        }
    }

    /// A command line: a list, or words as in a shell.
    pub(super) fn words(&mut self, value: &Value, path: &str) -> Vec<String> {
        match value {
            Value::String(text) => match shlex::split(text) {
                Some(words) => words,
                None => {
                    self.error(path, "a quote is never closed");
                    Vec::new()
                }
            },
            other => self.texts(other, path),
        }
    }

    /// `{KEY: value}` or `[KEY=value]`; a key without a value has none.
    pub(super) fn pairs(&mut self, value: &Value, path: &str) -> Vec<(String, Option<String>, String)> {
        match value {
            Value::Object(map) => map
                .iter()
                .filter_map(|(key, value)| {
                    let at = check::field(path, key);
                    match value {
                        Value::Null => Some((key.clone(), None, at)),
                        value => Some((key.clone(), Some(self.text(value, &at)?), at)),
                    }
                })
                .collect(),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| {
                    let at = check::index(path, index);
                    let text = self.text(item, &at)?;
                    Some(match text.split_once('=') {
                        Some((key, value)) => (key.to_owned(), Some(value.to_owned()), at),
                        None => (text, None, at),
                    })
                })
                .collect(),
            Value::Null => Vec::new(),
            _ => {
                self.error(path, "expected a map, or a list of KEY=value");
                Vec::new()
            }
        }
    }
}
