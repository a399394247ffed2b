//! Checks a manifest as a whole and reports every error at once, with paths.
//!
//! Serde stops at the first error and names no path, which is no way to tell a person what is wrong with
//! a file. Here the kind's JSON Schema is walked beside the value, strings go through their newtypes so
//! that those speak for themselves, and only then the value is deserialised and its fields are compared
//! with each other.
//!
//! Paths look like `spec.processes.web.port` and `spec.domains[0]`; a key with other characters than
//! letters, digits, `_` and `-` is quoted: `metadata.labels["a.b/c"]`. The root is `$`.
//!
//! A value under `spec.secrets` is never repeated in a message.

mod edge;
mod path;
mod schema_walk;
mod semantic;
mod words;

#[cfg(test)]
mod tests;

pub use path::{field, index, within};
pub use semantic::{MAX_VALUE_BYTES, MAX_VARIABLES_BYTES, semantic_app};
pub use words::closest;

use serde_json::{Map, Value};

use crate::kinds::{Kind, Manifest};
use crate::name::ParseError;
use crate::{API_VERSION, AppName, CertificateName, FieldError, Host, OrgName, SettingKey};

/// The path of the whole document.
pub const ROOT: &str = "$";

/// Most errors that are reported for one manifest; what is beyond is only counted.
const MAX_ERRORS: usize = 100;

/// How a scalar is written in the file, by its path: `010` where the value is the number 10.
pub type SourceText<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Checks a manifest and reads it.
///
/// Fields that the server sets and `status` are ignored, whatever they hold.
///
/// # Errors
/// Everything that is wrong with it. For a list request, move each path with [`within`].
pub fn check(value: &Value) -> Result<Manifest, Vec<FieldError>> {
    check_with_source(value, &|_| None)
}

/// Like [`check`], for values that were read from a text: messages show scalars as they are written.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check_with_source(value: &Value, source: SourceText<'_>) -> Result<Manifest, Vec<FieldError>> {
    let Value::Object(object) = value else {
        let found = words::found(value, None);
        return Err(vec![FieldError::new(ROOT, format!("expected an object with apiVersion, kind, metadata and spec, {found}"))]);
    };
    let kind = match kind_of(object) {
        Ok(kind) => kind,
        Err(error) => return Err(head_errors(object, error)),
    };
    let cleaned = without_observed(object);
    let mut errors = schema_walk::errors(kind, &cleaned, source);
    errors.extend(metadata_errors(kind, object));
    if !errors.is_empty() {
        return Err(capped(errors));
    }
    let manifest = deserialise(kind, cleaned).map_err(|error| vec![FieldError::new(ROOT, error.to_string())])?;
    let errors = match &manifest {
        Manifest::App(app) => semantic_app(&app.spec),
        Manifest::Organization(_) | Manifest::Domain(_) | Manifest::Setting(_) | Manifest::Certificate(_) => Vec::new(),
    };
    if errors.is_empty() { Ok(manifest) } else { Err(capped(errors)) }
}

fn capped(mut errors: Vec<FieldError>) -> Vec<FieldError> {
    let beyond = errors.len().saturating_sub(MAX_ERRORS);
    if beyond > 0 {
        errors.truncate(MAX_ERRORS);
        errors.push(FieldError::new(ROOT, format!("{beyond} more errors are not shown")));
    }
    errors
}

/// The kind as written: exact, because a manifest is also read by other tools.
fn kind_of(object: &Map<String, Value>) -> Result<Kind, FieldError> {
    let known = || Kind::ALL.into_iter().filter(|kind| *kind != Kind::Node).map(Kind::as_str);
    let list = || known().collect::<Vec<_>>().join(", ");
    let text = match object.get("kind") {
        None => return Err(FieldError::new("kind", format!("required field is missing; it is one of {}", list()))),
        Some(Value::String(text)) => text,
        Some(other) => {
            return Err(FieldError::new("kind", format!("expected one of {}, {}", list(), words::found(other, None))));
        }
    };
    match Kind::ALL.into_iter().find(|kind| kind.as_str() == text) {
        Some(Kind::Node) => Err(FieldError::new("kind", "nodes are observed, not applied; remove this document")),
        Some(kind) => Ok(kind),
        None => {
            let likely = text.parse::<Kind>().ok().map(Kind::as_str).filter(|word| *word != Kind::Node.as_str());
            let mut error = FieldError::new("kind", format!("there is no kind \"{}\"; known are {}", crate::name::excerpt(text), list()));
            error.suggestion = likely.or_else(|| words::closest(text, known())).map(str::to_owned);
            Err(error)
        }
    }
}

/// What can be said when the kind is not known: that, and the API version.
fn head_errors(object: &Map<String, Value>, kind_error: FieldError) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match object.get("apiVersion") {
        Some(Value::String(version)) if version == API_VERSION => {}
        Some(_) => errors.push(FieldError::new("apiVersion", format!("expected \"{API_VERSION}\""))),
        None => errors.push(FieldError::new("apiVersion", format!("required field is missing; it is \"{API_VERSION}\""))),
    }
    errors.push(kind_error);
    errors
}

/// The object without what the server sets, so that what was read from the API can be applied again.
fn without_observed(object: &Map<String, Value>) -> Value {
    const SERVER_SET: [&str; 6] = ["uid", "generation", "owner", "finalizers", "creationTimestamp", "deletionTimestamp"];
    let mut object = object.clone();
    object.remove("status");
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        for key in SERVER_SET {
            metadata.remove(key);
        }
    }
    Value::Object(object)
}

/// What the schema cannot say of metadata: which name each kind takes, and who has an organisation.
fn metadata_errors(kind: Kind, object: &Map<String, Value>) -> Vec<FieldError> {
    let Some(Value::Object(metadata)) = object.get("metadata") else { return Vec::new() };
    let mut errors = Vec::new();
    if let Some(Value::String(name)) = metadata.get("name")
        && let Err(error) = check_name(kind, name)
    {
        errors.push(FieldError::new("metadata.name", error.to_string()));
    }
    let org_given = metadata.get("org").is_some_and(|org| !org.is_null());
    if org_given && !kind.is_namespaced() {
        errors.push(FieldError::new("metadata.org", format!("objects of kind {kind} belong to no organization; remove this field")));
    }
    errors
}

/// Checks a name against the rules of its kind.
///
/// # Errors
/// What the kind's names look like.
pub fn check_name(kind: Kind, name: &str) -> Result<(), ParseError> {
    match kind {
        Kind::Organization => name.parse::<OrgName>().map(drop),
        Kind::App => name.parse::<AppName>().map(drop),
        Kind::Domain => name.parse::<Host>().map(drop),
        Kind::Setting => name.parse::<SettingKey>().map(drop),
        Kind::Certificate => name.parse::<CertificateName>().map(drop),
        Kind::Node => Ok(()),
    }
}

fn deserialise(kind: Kind, value: Value) -> Result<Manifest, serde_json::Error> {
    match kind {
        Kind::Organization => serde_json::from_value(value).map(Manifest::Organization),
        Kind::App => serde_json::from_value(value).map(|app| Manifest::App(Box::new(app))),
        Kind::Domain => serde_json::from_value(value).map(Manifest::Domain),
        Kind::Setting => serde_json::from_value(value).map(Manifest::Setting),
        Kind::Certificate => serde_json::from_value(value).map(Manifest::Certificate),
        Kind::Node => Err(serde::de::Error::custom("nodes are observed, not applied")),
    }
}
