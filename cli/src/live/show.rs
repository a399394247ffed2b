//! Changes as text: rows below rows, or one document after the other.

use std::hash::{DefaultHasher, Hash, Hasher};

use anstyle::Style;
use api_types::event::Event;
use api_types::{App, Domain, Kind, Node};
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::memory::{Change, Word};
use crate::cmd::get::{Shape, name_of};
use crate::cmd::typed;
use crate::errors::{CliError, Result};
use crate::output::kinds::Tabular;
use crate::output::{self, Format, Table};

type Cells = Vec<(String, Style)>;

/// How objects of one kind are shown, and what of them is.
#[derive(Clone, Copy)]
pub struct Look {
    format: Format,
    headings: fn(bool) -> Vec<&'static str>,
    cells: fn(&Value, DateTime<Utc>, bool) -> Result<Cells>,
}

impl Look {
    /// The look of a kind that can be watched; `None` for others.
    pub fn of_kind(kind: Kind, format: Format) -> Option<Self> {
        match kind {
            Kind::App => Some(Self::of::<App>(format)),
            Kind::Domain => Some(Self::of::<Domain>(format)),
            Kind::Node => Some(Self::of::<Node>(format)),
            Kind::Organization | Kind::Setting | Kind::Certificate => None,
        }
    }

    /// The look of events.
    pub fn of_events(format: Format) -> Self {
        Self::of::<Event>(format)
    }

    fn of<T: Tabular + DeserializeOwned>(format: Format) -> Self {
        Self { format, headings: T::headings, cells: |object, now, wide| Ok(typed::<T>(object)?.cells(now, wide)) }
    }

    fn is_table(self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    fn wide(self) -> bool {
        self.format == Format::Wide
    }

    /// What is shown of an object as a number: it is shown again when that changes. Ages are left out, since they
    /// always do.
    ///
    /// # Errors
    /// When the server is of another version.
    pub fn digest(self, object: &Value) -> Result<u64> {
        let mut hasher = DefaultHasher::new();
        if self.is_table() {
            // Everything is younger than that, so each age is 0.
            for (text, _) in (self.cells)(object, DateTime::UNIX_EPOCH, self.wide())? {
                text.hash(&mut hasher);
            }
        } else {
            object.to_string().hash(&mut hasher);
        }
        Ok(hasher.finish())
    }
}

/// Writes changes in the form that was asked for.
pub struct Show {
    look: Look,
    shape: Shape,
    /// Whether each object says what happened to it.
    words: bool,
    /// Whether an object that is told as gone may only have ceased to match.
    selected: bool,
    widths: Vec<usize>,
    begun: bool,
}

impl Show {
    /// Nothing shown yet.
    pub fn new(look: Look, shape: Shape, words: bool, selected: bool) -> Self {
        // The longest word decides how wide their column is, whichever comes first.
        let widths = if words { vec![Word::Modified.as_str().len()] } else { Vec::new() };
        Self { look, shape, words, selected, widths, begun: false }
    }

    /// The text of some changes.
    ///
    /// # Errors
    /// When the server is of another version.
    pub fn text(&mut self, changes: &[Change], now: DateTime<Utc>) -> Result<String> {
        if changes.is_empty() {
            return Ok(String::new());
        }
        let begun = std::mem::replace(&mut self.begun, true);
        if self.look.is_table() {
            return self.rows(changes, now, begun);
        }
        let mut text = String::new();
        for change in changes {
            let (word, object) = (change.word.as_str(), &change.object);
            let told = if self.words { json!({"type": word, "object": object}) } else { object.clone() };
            match self.look.format {
                Format::Name if self.words => text.push_str(&format!("{word} {}", name_of(object))),
                Format::Name => text.push_str(&name_of(object)),
                Format::Yaml => {
                    if begun || !text.is_empty() {
                        text.push_str("---\n");
                    }
                    text.push_str(&output::yaml(&told)?);
                }
                // A line each, so that a program knows where one ends without parsing it.
                _ => {
                    let line = serde_json::to_string(&told).map_err(|error| CliError::io("the answer cannot be written as JSON", error))?;
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        }
        Ok(text)
    }

    fn rows(&mut self, changes: &[Change], now: DateTime<Utc>, begun: bool) -> Result<String> {
        let headings = (self.look.headings)(self.look.wide());
        let mut table = if begun || !self.shape.headings {
            Table::bare()
        } else {
            let first = self.words.then_some("EVENT").into_iter().chain(self.shape.orgs.then_some("ORG"));
            Table::new(first.chain(headings.iter().copied()))
        };
        for change in changes {
            let plain = |text: &str| (text.to_owned(), Style::new());
            let org = change.object.pointer("/metadata/org").and_then(Value::as_str).unwrap_or_default();
            let first = self.words.then(|| plain(change.word.as_str())).into_iter().chain(self.shape.orgs.then(|| plain(org)));
            let cells = match change.word {
                Word::Deleted => self.farewell(&change.object, &headings),
                Word::Added | Word::Modified => (self.look.cells)(&change.object, now, self.look.wide())?,
            };
            table.row(first.chain(cells));
        }
        Ok(table.render_below(&mut self.widths))
    }

    /// Of an object that is gone only the name is known; nothing that it was is said to be so still.
    fn farewell(&self, object: &Value, headings: &[&str]) -> Cells {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let state = headings.iter().position(|heading| ["STATUS", "STATE"].contains(heading)).unwrap_or(1);
        // With selectors it may be there, and only match no longer.
        let word = if self.selected { "Gone" } else { "Deleted" };
        let cell = |at: usize| match at {
            0 => (name.to_owned(), Style::new()),
            at if at == state => (word.to_owned(), output::DIM),
            _ => (String::new(), Style::new()),
        };
        (0..headings.len()).map(cell).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str, image: &str) -> Value {
        json!({
            "apiVersion": "skyswarm.dev/v1", "kind": "App",
            "metadata": {"name": name, "org": "acme", "creationTimestamp": "2026-11-25T10:00:00Z"},
            "spec": {"image": image, "processes": {"web": {}}}
        })
    }

    fn gone(name: &str) -> Value {
        json!({"apiVersion": "skyswarm.dev/v1", "kind": "App", "metadata": {"name": name, "org": "acme"}})
    }

    fn now() -> DateTime<Utc> {
        "2026-11-25T10:00:05Z".parse().expect("a time")
    }

    fn told(format: Format, words: bool, selected: bool) -> String {
        let change = |word: Word, object: Value| Change { word, object };
        let look = Look::of_kind(Kind::App, format).expect("apps are watched");
        let mut show = Show::new(look, Shape { format, single: false, orgs: words, headings: true }, words, selected);
        let batches = [
            vec![change(Word::Added, app("blog", "a:1")), change(Word::Added, app("a-rather-long-name", "a:1"))],
            Vec::new(),
            vec![change(Word::Modified, app("blog", "a:2"))],
            vec![change(Word::Deleted, gone("blog"))],
        ];
        let text: String = batches.iter().map(|batch| show.text(batch, now()).expect("apps")).collect();
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn changes_in_every_form() {
        let mut text = String::new();
        for (format, words, selected) in [
            (Format::Table, false, false),
            (Format::Wide, true, true),
            (Format::Json, false, false),
            (Format::Json, true, false),
            (Format::Yaml, false, false),
            (Format::Name, false, false),
            (Format::Name, true, false),
        ] {
            text.push_str(&format!("# {format:?}, words {words}, selected {selected}\n{}\n", told(format, words, selected)));
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_row_is_new_when_it_looks_other_and_a_document_when_anything_is() {
        let digest = |format: Format, object: &Value| Look::of_kind(Kind::App, format).expect("watched").digest(object).expect("an app");
        let (one, two) = (app("blog", "a:1"), app("blog", "a:2"));
        assert_eq!(digest(Format::Table, &one), digest(Format::Table, &two), "the image is no column");
        assert_ne!(digest(Format::Wide, &one), digest(Format::Wide, &two));
        assert_ne!(digest(Format::Json, &one), digest(Format::Json, &two));
        assert!(Look::of_kind(Kind::Setting, Format::Table).is_none());
        assert!(Look::of_kind(Kind::App, Format::Table).expect("watched").digest(&json!({"kind": "App"})).is_err());
    }
}
