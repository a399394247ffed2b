//! From a Compose file to manifests. Nothing is sent and nothing is started: this is a translation, and what cannot
//! be said in a manifest is noted.
//!
//! Reading stops at nothing that can be worked around: whatever makes the result wrong is an error with its line,
//! whatever is merely lost is a note, and a field that Compose does not have is an error too, since it is a typing
//! error most of the time.

mod cursor;
mod fields;
mod interpolate;
mod service;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use api_types::api::{Draft, Note};
use api_types::{FieldError, check, draft};
use serde_json::Value;

use self::cursor::Cursor;
use self::interpolate::Variables;
pub use self::values::env_file;
use crate::manifest::{Finding, Findings, Positions, Source, read_foreign};

/// What an import depends on besides the file.
pub struct Options<'a> {
    /// Name of the app, or first part of the names of several; else the file's own `name`, else `fallback`.
    pub name: Option<&'a str>,
    /// The name where nobody gives one.
    pub fallback: &'a str,
    /// Services to import; all when empty.
    pub only: &'a [String],
    /// Variables for interpolation.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file that the Compose file names, relative to it.
    pub file: &'a dyn Fn(&str) -> Result<String, String>,
}

/// What a file becomes.
#[derive(Debug)]
pub struct Imported {
    /// Manifests with notes.
    pub drafts: Vec<Draft>,
    /// Notes about the file as a whole.
    pub notes: Vec<Note>,
}

/// Translates a Compose file.
///
/// # Errors
/// Everything that is wrong with it, with lines and columns.
pub fn import(source: Source, options: &Options<'_>) -> Result<Imported, Box<Findings>> {
    let (source, mut value, positions) = read_foreign(source)?;
    let mut cursor = Cursor::new(&positions);
    let mut variables = Variables::new(options.variable);
    fill(&mut value, check::ROOT, &mut variables, &mut cursor);
    let imported = whole(&value, &mut variables, &mut cursor, options);
    if cursor.errors.is_empty() {
        return Ok(imported);
    }
    let errors = std::mem::take(&mut cursor.errors);
    drop(cursor);
    Err(located(source, &positions, errors))
}

fn located(source: Source, positions: &Positions, errors: Vec<FieldError>) -> Box<Findings> {
    let mut findings: Vec<Finding> =
        errors.into_iter().map(|error| Finding { source: 0, mark: positions.of_error(&error), error }).collect();
    findings.sort_by_key(|finding| finding.mark);
    Box::new(Findings { sources: vec![source], findings, secrets: Vec::new() })
}

/// Replaces variables in every text; keys stay as they are.
fn fill(value: &mut Value, path: &str, variables: &mut Variables<'_>, cursor: &mut Cursor<'_>) {
    match value {
        Value::String(text) if text.contains('$') => match variables.fill(text) {
            Ok(filled) => *text = filled,
            Err(message) => cursor.error(path, message),
        },
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                fill(item, &check::index(path, index), variables, cursor);
            }
        }
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                fill(value, &check::field(path, key), variables, cursor);
            }
        }
        _ => {}
    }
}

fn whole(value: &Value, variables: &mut Variables<'_>, cursor: &mut Cursor<'_>, options: &Options<'_>) -> Imported {
    let nothing = Imported { drafts: Vec::new(), notes: Vec::new() };
    let Some(top) = value.as_object() else {
        cursor.error(check::ROOT, "expected a Compose file: a map with \"services\"");
        return nothing;
    };
    let mut name = None;
    for (key, value) in top {
        match key.as_str() {
            "services" | "version" | "networks" | "volumes" | "secrets" | "configs" => {}
            "name" => name = cursor.text(value, key),
            "include" => cursor
                .error(key, "\"include\" is not supported; import the files one by one, or print the whole with `docker compose config`"),
            key if key.starts_with("x-") => {}
            key => {
                let known = ["services", "version", "name", "networks", "volumes", "secrets", "configs"];
                cursor.unknown(key, known.into_iter(), "a Compose file");
            }
        }
    }
    let Some(services) = top.get("services").and_then(Value::as_object).filter(|services| !services.is_empty()) else {
        cursor.error("services", "expected at least one service");
        return nothing;
    };
    for wanted in options.only.iter().filter(|wanted| !services.contains_key(*wanted)) {
        let near = check::closest(wanted, services.keys().map(String::as_str));
        let hint = near.map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"));
        cursor.error("services", format!("there is no service \"{wanted}\"{hint}"));
    }
    let is_wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|wanted| wanted == name);
    let mut parts = Vec::new();
    let mut needs: Vec<(String, BTreeSet<String>)> = Vec::new();
    for (service, value) in services.iter().filter(|(name, _)| is_wanted(name)) {
        let Some(read) = service::read(service, value, variables, cursor, options.file) else { continue };
        needs.push((service.clone(), read.needs));
        parts.extend(read.part);
    }
    let base = options.name.map(str::to_owned).or(name).unwrap_or_else(|| options.fallback.to_owned());
    let drafts = draft::drafts(&base, parts);
    let mut notes = apart(&drafts, &needs);
    if !variables.missing.is_empty() {
        let names: Vec<&str> = variables.missing.iter().map(String::as_str).collect();
        let message = format!("not set, so they are empty here: {}; set them, or put them into .env beside the file", names.join(", "));
        notes.push(Note { path: "variables".to_owned(), message });
    }
    Imported { drafts, notes }
}

/// Services that need each other, and become apps that cannot reach each other.
fn apart(drafts: &[Draft], needs: &[(String, BTreeSet<String>)]) -> Vec<Note> {
    let app_of = |service: &str| drafts.iter().position(|draft| draft.services.iter().any(|name| name == service));
    let mut notes = Vec::new();
    for (service, needed) in needs {
        let elsewhere: Vec<&str> = needed.iter().filter(|needed| app_of(needed) != app_of(service)).map(String::as_str).collect();
        if !elsewhere.is_empty() {
            let message = format!(
                "it needs {}, which is another app here (or none). Each app has a network of its own, so that name does not lead there: \
                 give it an address that it can reach",
                elsewhere.join(", ")
            );
            notes.push(Note { path: format!("services.{service}"), message });
        }
    }
    notes
}
