//! What differs between two versions of an app. One pure function for the history's one-line summaries, for diffs
//! of revisions and files, and for the preview of a rollback.
//!
//! Secret values are not here to be shown: a secret is known by its version, and another version is a change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::kinds::app::AppSpec;
use crate::name::{EnvKey, ProcessName};

/// Longest one-line summary in characters; what does not fit is counted.
const MAX_SUMMARY: usize = 160;
/// Longest value in a summary in characters.
const MAX_VALUE: usize = 48;

/// What one version of an app consists of.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// The spec. Secret values in it are not looked at.
    pub spec: &'a AppSpec,
    /// Version of each secret. A key of the spec without one counts as set.
    pub secret_versions: &'a BTreeMap<EnvKey, i64>,
    /// The exact image, where it is known.
    pub resolved_image: Option<&'a str>,
    /// How often each process type was restarted by hand.
    pub restarts: &'a BTreeMap<ProcessName, i64>,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Where, such as `spec.processes.web.replicas`. Lists of hosts are compared as sets: one change for each host.
    pub path: String,
    /// What it was; absent when the field is new. A secret shows as its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is; absent when the field is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "~ {}: {before} → {after}", self.path),
            (None, Some(after)) => write!(f, "+ {}: {after}", self.path),
            (Some(before), None) => write!(f, "- {}: {before}", self.path),
            (None, None) => f.write_str(&self.path),
        }
    }
}

/// Every field in which two versions differ, by path.
pub fn diff(before: &Content<'_>, after: &Content<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    walk("spec", Some(&comparable(before)), Some(&comparable(after)), &mut changes);
    // Another reference means another image anyway; the same one may have come to mean another.
    if before.spec.image == after.spec.image
        && let (Some(old), Some(new)) = (before.resolved_image, after.resolved_image)
        && old != new
    {
        changes.push(change("resolvedImage", Some(old.into()), Some(new.into())));
    }
    let processes: BTreeSet<&ProcessName> = before.restarts.keys().chain(after.restarts.keys()).collect();
    for process in processes {
        let count = |content: &Content<'_>| content.restarts.get(process).copied().unwrap_or(0);
        if count(before) != count(after) {
            changes.push(change(&format!("restarts.{process}"), Some(count(before).into()), Some(count(after).into())));
        }
    }
    changes
}

/// Every field of something new.
pub fn created(after: &Content<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    leaves("spec", &comparable(after), &mut changes);
    changes
}

/// Every field in which two values differ, for objects that are no apps. Without a value before, every field is new.
pub fn values(path: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<Change> {
    let mut changes = Vec::new();
    match (before, after) {
        (None, Some(after)) => leaves(path, after, &mut changes),
        (before, after) => walk(path, before, after, &mut changes),
    }
    changes
}

fn leaves(path: &str, value: &Value, changes: &mut Vec<Change>) {
    match value {
        // What is empty says nothing.
        Value::Null => {}
        Value::Array(list) if list.is_empty() => {}
        Value::Object(map) => map.iter().for_each(|(key, value)| leaves(&format!("{path}.{key}"), value, changes)),
        value => changes.push(change(path, None, Some(value.clone()))),
    }
}

/// The spec as a value in which an absent map is an empty one, and secrets are their versions.
fn comparable(content: &Content<'_>) -> Value {
    // A spec is texts, numbers and ordered maps, which always serialise.
    let mut value = serde_json::to_value(content.spec).unwrap_or_default();
    if let Some(spec) = value.as_object_mut() {
        let mark = |key: &EnvKey| match content.secret_versions.get(key) {
            Some(version) => Value::from(format!("version {version}")),
            None => Value::from("set"),
        };
        let secrets: Map<String, Value> = content.spec.secrets.keys().map(|key| (key.to_string(), mark(key))).collect();
        spec.insert("secrets".to_owned(), Value::Object(secrets));
        spec.entry("env").or_insert_with(|| Value::Object(Map::new()));
        spec.entry("domains").or_insert_with(|| Value::Array(Vec::new()));
        for process in spec.get_mut("processes").and_then(Value::as_object_mut).into_iter().flat_map(|processes| processes.values_mut()) {
            if let Some(process) = process.as_object_mut() {
                process.entry("resources").or_insert_with(|| Value::Object(Map::new()));
            }
        }
    }
    value
}

/// Depth is bounded by the type of the spec.
fn walk(path: &str, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<Change>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                walk(&format!("{path}.{key}"), old.get(key), new.get(key), changes);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if path == "spec.domains" => {
            changes.extend(old.iter().filter(|host| !new.contains(host)).map(|host| change(path, Some(host.clone()), None)));
            changes.extend(new.iter().filter(|host| !old.contains(host)).map(|host| change(path, None, Some(host.clone()))));
        }
        (before, after) => changes.push(change(path, before.cloned(), after.cloned())),
    }
}

fn change(path: &str, before: Option<Value>, after: Option<Value>) -> Change {
    Change { path: path.to_owned(), before, after }
}

/// All changes in one line for people: values where they are short and no configuration, names otherwise.
pub fn summary(changes: &[Change]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for change in changes {
        let group =
            ["env", "secrets", "domains"].into_iter().find(|name| change.path.strip_prefix("spec.").is_some_and(|p| p.starts_with(name)));
        let Some(group) = group else {
            parts.push(phrase(change));
            continue;
        };
        let sign = match (&change.before, &change.after) {
            (Some(_), Some(_)) => '~',
            (None, _) => '+',
            (Some(_), None) => '-',
        };
        let key = change.path.strip_prefix("spec.").and_then(|path| path.strip_prefix(group)).and_then(|rest| rest.strip_prefix('.'));
        let named = key.map_or_else(|| change.after.as_ref().or(change.before.as_ref()).map(short).unwrap_or_default(), str::to_owned);
        match groups.iter_mut().find(|(name, _)| *name == group) {
            Some((_, members)) => members.push(format!("{sign}{named}")),
            None => groups.push((group, vec![format!("{sign}{named}")])),
        }
    }
    // One part for each member, so that a long list is cut between two of them.
    for (group, members) in groups {
        for (at, member) in members.into_iter().enumerate() {
            parts.push(if at == 0 { format!("{group} {member}") } else { member });
        }
    }
    join(&parts)
}

fn join(parts: &[String]) -> String {
    let mut line = String::new();
    for (at, part) in parts.iter().enumerate() {
        let separator = match part.starts_with(['+', '~', '-']) {
            _ if at == 0 => "",
            true => " ",
            false => ", ",
        };
        if at > 0 && line.chars().count() + separator.len() + part.chars().count() > MAX_SUMMARY {
            return format!("{line} and {} more", parts.len() - at);
        }
        line.push_str(separator);
        line.push_str(part);
    }
    line
}

/// One change in a few words.
fn phrase(change: &Change) -> String {
    let path = change.path.strip_prefix("spec.").unwrap_or(&change.path);
    let segments: Vec<&str> = path.split('.').collect();
    let arrow = || match (&change.before, &change.after) {
        (Some(before), Some(after)) => format!("{} → {}", short(before), short(after)),
        (None, Some(after)) => format!("= {}", short(after)),
        _ => "unset".to_owned(),
    };
    match segments.as_slice() {
        ["image"] => format!("image {}", arrow()),
        ["resolvedImage"] => format!("exact image {}", arrow()),
        ["restarts", process] => format!("restart of {process}"),
        ["processes", process] if change.before.is_none() => format!("process {process} added"),
        ["processes", process] if change.after.is_none() => format!("process {process} removed"),
        ["processes", process, "replicas"] => format!("scale {process} {}", arrow()),
        ["processes", process, field @ ..] => format!("{process} {} {}", field.join("."), arrow()),
        _ => format!("{path} {}", arrow()),
    }
}

/// A value in one short piece of text.
fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => digest_cut(text),
        Value::Object(_) => "{…}".to_owned(),
        other => other.to_string(),
    };
    let mut out: String = text.chars().filter(|c| !c.is_control()).take(MAX_VALUE).collect();
    if text.chars().count() > MAX_VALUE {
        out.push('…');
    }
    out
}

/// Twelve digits of a digest are what people compare.
fn digest_cut(text: &str) -> String {
    match text.split_once("sha256:") {
        Some((head, digest)) if digest.len() == 64 => format!("{head}sha256:{}", digest.get(..12).unwrap_or(digest)),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: Value) -> AppSpec {
        serde_json::from_value(value).expect("a valid spec")
    }

    fn versions(pairs: &[(&str, i64)]) -> BTreeMap<EnvKey, i64> {
        pairs.iter().map(|(key, version)| (key.parse().expect("a key"), *version)).collect()
    }

    /// Changes from one spec to another, one a line, and the summary.
    fn told(before: (Value, &[(&str, i64)]), after: (Value, &[(&str, i64)])) -> (String, String) {
        let (old, new) = (spec(before.0), spec(after.0));
        let (old_versions, new_versions) = (versions(before.1), versions(after.1));
        let content = |spec, secret_versions| Content { spec, secret_versions, resolved_image: None, restarts: &NO_RESTARTS };
        let changes = diff(&content(&old, &old_versions), &content(&new, &new_versions));
        let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
        (lines.join("\n"), summary(&changes))
    }

    static NO_RESTARTS: BTreeMap<ProcessName, i64> = BTreeMap::new();

    #[test]
    fn something_new_is_told_field_by_field_without_its_secrets() {
        let spec =
            spec(json!({"image": "a:1", "secrets": {"KEY": "hunter2"}, "processes": {"web": {"port": 80, "resources": {"cpu": "1"}}}}));
        let none = BTreeMap::new();
        let all = created(&Content { spec: &spec, secret_versions: &none, resolved_image: None, restarts: &NO_RESTARTS });
        let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert!(lines.contains(&r#"+ spec.secrets.KEY: "set""#.to_owned()), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("+ spec.processes.web.resources.cpu: ")), "{lines:?}");
        assert!(!format!("{lines:?}").contains("hunter") && all.iter().all(|change| change.before.is_none()));
        let (old, new) = (json!({"team": "a", "x": "y"}), json!({"team": "b"}));
        let changed: Vec<String> = values("metadata.labels", Some(&old), Some(&new)).iter().map(ToString::to_string).collect();
        assert_eq!(changed, [r#"~ metadata.labels.team: "a" → "b""#, r#"- metadata.labels.x: "y""#]);
    }

    #[test]
    fn every_field_that_differs_is_named_and_no_other() {
        let before = json!({
            "image": "acme/shop:1", "env": {"A": "1", "B": "1"}, "secrets": {"KEY": "hunter2", "OLD": "hunter3"},
            "processes": {"web": {"port": 8080}, "worker": {"command": ["bin/a"]}}, "domains": ["a.example.com", "b.example.com"],
        });
        let after = json!({
            "image": "acme/shop:2", "env": {"B": "2", "C": "3"}, "secrets": {"KEY": "hunter4"},
            "processes": {"web": {"port": 8080, "replicas": 3, "resources": {"memory": "64Mi"}}, "job": {}},
            "domains": ["b.example.com", "c.example.com"], "rollout": {"parallelism": 2},
        });
        let (lines, summary) = told((before, &[("KEY", 1), ("OLD", 2)]), (after, &[("KEY", 3)]));
        insta::assert_snapshot!(lines, @r#"
        - spec.domains: "a.example.com"
        + spec.domains: "c.example.com"
        - spec.env.A: "1"
        ~ spec.env.B: "1" → "2"
        + spec.env.C: "3"
        ~ spec.image: "acme/shop:1" → "acme/shop:2"
        + spec.processes.job: {"replicas":1,"resources":{},"stopGracePeriod":"10s"}
        ~ spec.processes.web.replicas: 1 → 3
        + spec.processes.web.resources.memory: "64Mi"
        - spec.processes.worker: {"command":["bin/a"],"replicas":1,"resources":{},"stopGracePeriod":"10s"}
        ~ spec.rollout.parallelism: 1 → 2
        ~ spec.secrets.KEY: "version 1" → "version 3"
        - spec.secrets.OLD: "version 2"
        "#);
        insta::assert_snapshot!(summary, @"image acme/shop:1 → acme/shop:2, process job added, scale web 1 → 3, web resources.memory = 64Mi, process worker removed, rollout.parallelism 1 → 2 and 7 more");
        assert!(!lines.contains("hunter"), "a secret value is shown: {lines}");
    }

    #[test]
    fn a_summary_groups_variables_and_shows_no_values_of_them() {
        let app = |env: Value, secrets: Value| json!({"image": "a", "processes": {"web": {}}, "env": env, "secrets": secrets});
        let (_, summary) = told(
            (app(json!({"A": "1", "B": "1"}), json!({"K": "x"})), &[("K", 1)]),
            (app(json!({"B": "private", "C": "1"}), json!({"K": "x", "L": "y"})), &[("K", 2), ("L", 3)]),
        );
        assert_eq!(summary, "env -A ~B +C, secrets ~K +L");
    }

    #[test]
    fn equal_versions_have_no_changes_and_the_order_of_domains_is_none() {
        let app = |domains: Value| json!({"image": "a", "processes": {"web": {}}, "domains": domains});
        let (lines, summary) = told((app(json!(["a.example", "b.example"])), &[]), (app(json!(["b.example", "a.example"])), &[]));
        assert_eq!((lines.as_str(), summary.as_str()), ("", ""));
    }

    #[test]
    fn the_same_reference_may_have_come_to_mean_another_image() {
        let spec = spec(json!({"image": "a:latest", "processes": {"web": {}}}));
        let (none, restarts) = (BTreeMap::new(), BTreeMap::from([("web".parse().expect("a name"), 1)]));
        let (old, new) = (format!("a@sha256:{}", "1".repeat(64)), format!("a@sha256:{}", "2".repeat(64)));
        let before = Content { spec: &spec, secret_versions: &none, resolved_image: Some(&old), restarts: &NO_RESTARTS };
        let changes = diff(&before, &Content { resolved_image: Some(&new), restarts: &restarts, ..before });
        assert_eq!(summary(&changes), "exact image a@sha256:111111111111 → a@sha256:222222222222, restart of web");
    }
}
