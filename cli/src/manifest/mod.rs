//! Manifests from files: read with positions, checked as a whole, reported with file, line and column.
//!
//! Nothing is sent before every document of every file has been read and checked, so that one run shows
//! everything there is to correct.

mod collect;
mod position;
mod report;
mod yaml;

#[cfg(test)]
mod tests;

use std::fmt;

use api_types::{FieldError, Kind, OrgName, check};
use serde_json::Value;

pub use collect::{CollectError, Source, collect};
pub use position::{Mark, Positions};
pub use report::render;

/// One document that is to be sent.
#[derive(Debug)]
pub struct Document {
    /// Index into [`Loaded::sources`].
    pub source: usize,
    /// The document as JSON.
    pub value: Value,
    /// Where its parts are in the file.
    pub positions: Positions,
    /// Its kind; known once it is valid.
    pub kind: Kind,
    /// Its name; known once it is valid.
    pub name: String,
}

impl Document {
    /// Its organisation, after [`Loaded::fill_org`].
    pub fn org(&self) -> Option<&str> {
        self.value.pointer("/metadata/org").and_then(Value::as_str)
    }
}

/// All documents of all files.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The files.
    pub sources: Vec<Source>,
    /// The documents, in the order of the files.
    pub documents: Vec<Document>,
}

/// One error of one file.
#[derive(Debug)]
pub struct Finding {
    /// Index into the sources.
    pub source: usize,
    /// Where, if that is known.
    pub mark: Option<Mark>,
    /// What.
    pub error: FieldError,
}

/// Everything that is wrong, with the sources to show it.
#[derive(Debug)]
pub struct Findings {
    /// The files.
    pub sources: Vec<Source>,
    /// The errors, in the order of files and lines.
    pub findings: Vec<Finding>,
    /// Places of values that must not be shown, per source.
    pub secrets: Vec<(usize, Vec<position::Range>)>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(self))
    }
}

/// Reads and checks all documents.
///
/// # Errors
/// Every error of every document.
pub fn load(sources: Vec<Source>) -> Result<Loaded, Box<Findings>> {
    let mut documents = Vec::new();
    let mut findings = Vec::new();
    let mut secrets = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let read = yaml::read(&source.text);
        findings.extend(read.errors.into_iter().map(|(mark, error)| Finding { source: index, mark: Some(mark), error }));
        for (value, positions) in read.documents.into_iter().flat_map(expand_list) {
            secrets.push((index, positions.secrets().to_vec()));
            check_document(index, value, positions, &mut documents, &mut findings);
        }
    }
    duplicates(&documents, &mut findings);
    if findings.is_empty() {
        return Ok(Loaded { sources, documents });
    }
    findings.sort_by_key(|finding| (finding.source, finding.mark));
    Err(Box::new(Findings { sources, findings, secrets }))
}

/// Reads the one document of a file that another program's format is in; merge keys are followed.
///
/// # Errors
/// Everything that is no YAML, and a file of no or several documents.
pub fn read_foreign(source: Source) -> Result<(Source, Value, Positions), Box<Findings>> {
    let read = yaml::read_merging(&source.text);
    let mut findings: Vec<Finding> = read.errors.into_iter().map(|(mark, error)| Finding { source: 0, mark: Some(mark), error }).collect();
    let mut documents = read.documents.into_iter();
    match (documents.next(), documents.next()) {
        (Some((value, positions)), None) if findings.is_empty() => return Ok((source, value, positions)),
        (None, _) if findings.is_empty() => {
            findings.push(Finding { source: 0, mark: None, error: FieldError::new(check::ROOT, "the file is empty") });
        }
        (_, Some((_, positions))) => {
            let error = FieldError::new(check::ROOT, "a second document begins here; there can be one only");
            findings.push(Finding { source: 0, mark: positions.of_error(&error), error });
        }
        _ => {}
    }
    Err(Box::new(Findings { sources: vec![source], findings, secrets: Vec::new() }))
}

fn check_document(source: usize, value: Value, positions: Positions, documents: &mut Vec<Document>, findings: &mut Vec<Finding>) {
    let mut add = |positions: &Positions, error: FieldError| {
        findings.push(Finding { source, mark: positions.of_error(&error), error });
    };
    let before = positions.ambiguous().count();
    match check::check_with_source(&value, &|path| positions.source_text(path)) {
        Ok(manifest) => {
            for (path, message) in positions.ambiguous() {
                add(&positions, FieldError::new(path, message));
            }
            if before == 0 {
                let (kind, name) = (manifest.kind(), manifest.metadata().name.clone());
                documents.push(Document { source, value, positions, kind, name });
            }
        }
        Err(errors) => {
            for (path, message) in positions.ambiguous().filter(|(path, _)| errors.iter().all(|error| error.path != *path)) {
                add(&positions, FieldError::new(path, message));
            }
            errors.into_iter().filter(|error| !positions.is_refused(&error.path)).for_each(|error| add(&positions, error));
        }
    }
}

/// A list as the API answers it, `{items: […]}`, stands for its items.
fn expand_list((value, positions): (Value, Positions)) -> Vec<(Value, Positions)> {
    let is_list = value.as_object().is_some_and(|map| map.len() == 1 && map.get("items").is_some_and(Value::is_array));
    match value {
        Value::Object(mut map) if is_list => match map.remove("items") {
            Some(Value::Array(items)) => {
                let moved = |(n, item)| (item, positions.below(&check::index("items", n)));
                items.into_iter().enumerate().map(moved).collect()
            }
            _ => Vec::new(),
        },
        value => vec![(value, positions)],
    }
}

/// The same object twice in one apply: the second would win in silence.
fn duplicates(documents: &[Document], findings: &mut Vec<Finding>) {
    for (index, document) in documents.iter().enumerate() {
        let same = |other: &&Document| other.kind == document.kind && other.name == document.name && other.org() == document.org();
        if documents.iter().take(index).any(|other| same(&other)) {
            let error = FieldError::new("metadata.name", format!("{}/{} is already among these manifests", document.kind, document.name));
            findings.push(Finding { source: document.source, mark: document.positions.of_error(&error), error });
        }
    }
}

impl Loaded {
    /// Gives objects without an organisation the one of the context.
    pub fn fill_org(&mut self, org: &OrgName) {
        for document in self.documents.iter_mut().filter(|document| document.kind.is_namespaced() && document.org().is_none()) {
            if let Some(metadata) = document.value.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.insert("org".to_owned(), Value::from(org.as_str()));
            }
        }
    }

    /// The server's errors, at their places in the files. `only` is the index of the document that was
    /// sent alone; in a list the paths begin with `items[N]`.
    pub fn locate(self, errors: Vec<FieldError>, only: Option<usize>) -> Findings {
        let secrets = self.documents.iter().map(|document| (document.source, document.positions.secrets().to_vec())).collect();
        let mut findings: Vec<Finding> = errors.into_iter().map(|error| self.finding(error, only)).collect();
        findings.sort_by_key(|finding| (finding.source, finding.mark));
        Findings { sources: self.sources, findings, secrets }
    }

    fn finding(&self, mut error: FieldError, only: Option<usize>) -> Finding {
        let (index, path) = match (split_item(&error.path), only) {
            (Some((index, path)), None) => (index, path),
            (_, only) => (only.unwrap_or_default(), error.path.clone()),
        };
        match self.documents.get(index) {
            Some(document) => {
                error.path = path;
                Finding { source: document.source, mark: document.positions.of_error(&error), error }
            }
            None => Finding { source: 0, mark: None, error },
        }
    }
}

/// `items[2].spec.image` is `spec.image` of the third document.
fn split_item(path: &str) -> Option<(usize, String)> {
    let (index, rest) = path.strip_prefix("items[")?.split_once(']')?;
    let rest = match rest.strip_prefix('.') {
        Some(rest) => rest.to_owned(),
        None => format!("{}{rest}", check::ROOT),
    };
    Some((index.parse().ok()?, rest))
}
