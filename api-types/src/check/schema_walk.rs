//! Walks a value beside the JSON Schema of its kind.
//!
//! This knows the part of JSON Schema that our own types produce, no more; a test fails when a type
//! starts to use another keyword. A general validator would say "does not match ^[a-z]([a-z0-9]|…" where
//! the newtype says what a name looks like, and would report an optional field as "not valid under any
//! of the schemas listed in anyOf".

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::words::{closest, fold, found, found_kind};
use super::{ROOT, SourceText, path};
use crate::kinds::Kind;
use crate::kinds::edge::{Cidr, CookieName, UserName};
use crate::name::{LabelValue, ParseError};
use crate::quantity::ByteSize;
use crate::secret::MAX_SECRET_BYTES;
use crate::why::Case;
use crate::{AppName, Cpu, EnvKey, FieldError, Host, HumanDuration, ImageRef, LabelKey, Memory, OrgName, ProcessName, SettingKey};

type Parse = fn(&str) -> Result<(), ParseError>;

/// A definition whose strings are checked by a newtype, and how it is called in a sentence.
pub(super) struct Leaf {
    pub(super) name: &'static str,
    pub(super) words: &'static str,
    pub(super) parse: Parse,
}

/// All newtypes that occur as values or keys.
pub(super) const LEAVES: &[Leaf] = &[
    Leaf { name: "OrgName", words: "an organization name", parse: |text| text.parse::<OrgName>().map(drop) },
    Leaf { name: "AppName", words: "an app name", parse: |text| text.parse::<AppName>().map(drop) },
    Leaf { name: "ProcessName", words: "a process name", parse: |text| text.parse::<ProcessName>().map(drop) },
    Leaf { name: "EnvKey", words: "an environment key", parse: |text| text.parse::<EnvKey>().map(drop) },
    Leaf { name: "Host", words: "a host such as \"shop.example.com\"", parse: |text| text.parse::<Host>().map(drop) },
    Leaf { name: "LabelKey", words: "a label key", parse: |text| text.parse::<LabelKey>().map(drop) },
    Leaf { name: "LabelValue", words: "a string", parse: |text| LabelValue::try_from(text.to_owned()).map(drop) },
    Leaf { name: "ByteSize", words: "an amount of bytes such as \"50Mi\"", parse: |text| text.parse::<ByteSize>().map(drop) },
    Leaf { name: "UserName", words: "a user name", parse: |text| text.parse::<UserName>().map(drop) },
    Leaf { name: "CookieName", words: "a cookie's name", parse: |text| text.parse::<CookieName>().map(drop) },
    Leaf { name: "Cidr", words: "an address range such as \"192.0.2.0/24\"", parse: |text| text.parse::<Cidr>().map(drop) },
    Leaf { name: "SettingKey", words: "a setting key", parse: |text| text.parse::<SettingKey>().map(drop) },
    Leaf { name: "ImageRef", words: "an image such as \"nginx:1.27\"", parse: |text| text.parse::<ImageRef>().map(drop) },
    Leaf { name: "Duration", words: "a duration such as \"10s\"", parse: |text| text.parse::<HumanDuration>().map(drop) },
    Leaf { name: "Cpu", words: "a CPU quantity such as \"500m\"", parse: |text| text.parse::<Cpu>().map(drop) },
    Leaf { name: "Memory", words: "a memory quantity such as \"256Mi\"", parse: |text| text.parse::<Memory>().map(drop) },
];

/// Newtypes of map keys by the pattern that schemars writes for them. The patterns of the three label-like
/// names are equal; among map keys there is only the process name.
pub(super) const KEY_LEAVES: [&str; 4] = ["ProcessName", "EnvKey", "LabelKey", "UserName"];

/// A pattern of strings that have no newtype, with its meaning.
pub(super) struct Pattern {
    pub(super) pattern: &'static str,
    matches: fn(&str) -> bool,
    words: &'static str,
}

/// All such patterns.
pub(super) const PATTERNS: &[Pattern] = &[Pattern {
    pattern: "^/[!-~]*$",
    matches: |text| text.starts_with('/') && text.bytes().all(|b| (b'!'..=b'~').contains(&b)),
    words: "a path that begins with \"/\" and has only printable ASCII characters without spaces",
}];

/// Schema of one kind, and where else a field of a name would be right.
struct Prepared {
    schema: Value,
    homes: BTreeMap<String, Vec<String>>,
}

fn prepared(kind: Kind) -> &'static Prepared {
    static ALL: OnceLock<BTreeMap<Kind, Prepared>> = OnceLock::new();
    static EMPTY: Prepared = Prepared { schema: Value::Null, homes: BTreeMap::new() };
    let all = ALL.get_or_init(|| Kind::ALL.into_iter().map(|kind| (kind, prepare(kind))).collect());
    all.get(&kind).unwrap_or(&EMPTY)
}

fn prepare(kind: Kind) -> Prepared {
    let schema = crate::schema::of_kind(kind);
    let mut homes = BTreeMap::new();
    if let Some(spec) = schema.pointer("/properties/spec") {
        collect_homes(&schema, spec, "spec", &mut homes);
    }
    Prepared { schema, homes }
}

/// Notes for every field name under which paths it may stand. Our schemas are not recursive.
fn collect_homes(root: &Value, schema: &Value, at: &str, homes: &mut BTreeMap<String, Vec<String>>) {
    let schema = resolve(root, schema);
    for (name, child) in entries(schema, "properties") {
        homes.entry(name.clone()).or_default().push(at.to_owned());
        collect_homes(root, child, &format!("{at}.{name}"), homes);
    }
    for (_, child) in entries(schema, "patternProperties") {
        collect_homes(root, child, &format!("{at}.<name>"), homes);
    }
}

fn entries<'a>(schema: &'a Value, keyword: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema.get(keyword).and_then(Value::as_object).into_iter().flatten()
}

/// Follows `$ref`, and goes through the `anyOf` that makes a field optional.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(name) = ref_name(schema) {
        return root.get("$defs").and_then(|defs| defs.get(name)).unwrap_or(&Value::Null);
    }
    match optional(schema) {
        Some(inner) => resolve(root, inner),
        None => schema,
    }
}

fn ref_name(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

/// The schema inside `anyOf: [X, null]`.
fn optional(schema: &Value) -> Option<&Value> {
    let branches = schema.get("anyOf")?.as_array()?;
    branches.iter().find(|branch| branch.get("type").and_then(Value::as_str) != Some("null"))
}

/// Every place where `value` differs from the schema of `kind`.
pub(super) fn errors(kind: Kind, value: &Value, source: SourceText<'_>) -> Vec<FieldError> {
    let prepared = prepared(kind);
    let mut walk = Walk { root: &prepared.schema, homes: &prepared.homes, source, errors: Vec::new() };
    walk.visit(&prepared.schema, value, ROOT);
    walk.errors
}

struct Walk<'a> {
    root: &'a Value,
    homes: &'a BTreeMap<String, Vec<String>>,
    source: SourceText<'a>,
    errors: Vec<FieldError>,
}

impl Walk<'_> {
    fn visit(&mut self, schema: &Value, value: &Value, at: &str) {
        if let Some(inner) = optional(schema) {
            if !value.is_null() {
                self.visit(inner, value, at);
            }
            return;
        }
        let name = ref_name(schema);
        let schema = resolve(self.root, schema);
        if let Some(leaf) = LEAVES.iter().find(|leaf| Some(leaf.name) == name) {
            return self.visit_leaf(leaf, value, at);
        }
        if schema.get("writeOnly").is_some() {
            return self.visit_secret(value, at);
        }
        if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
            return self.visit_choice(choices, value, at);
        }
        match (types(schema).as_slice(), value) {
            ([], _) => {}
            (kinds, Value::Null) if kinds.contains(&"null") => {}
            (["object", ..], Value::Object(map)) => self.visit_object(schema, map, at),
            (["array", ..], Value::Array(list)) => {
                for (index, (item, schema)) in list.iter().zip(std::iter::repeat(schema.get("items").unwrap_or(&Value::Null))).enumerate() {
                    self.visit(schema, item, &path::index(at, index));
                }
            }
            (["string", ..], Value::String(text)) => self.visit_string(schema, text, at),
            (["integer", ..], Value::Number(number)) => self.visit_integer(schema, number, value, at),
            (["boolean", ..], Value::Bool(_)) => {}
            ([wanted, ..], _) => self.wrong_type(type_words(wanted), value, at),
        }
    }

    fn error(&mut self, at: &str, message: String) {
        self.errors.push(FieldError::new(at, message));
    }

    fn wrong_type(&mut self, wanted: &str, value: &Value, at: &str) {
        if at.starts_with("spec.secrets") || at.starts_with("spec.edge.basicAuth") || at.starts_with("spec.privateKey") {
            return self.error(at, format!("expected {wanted}, {}", found_kind(value)));
        }
        let source = (self.source)(at);
        let found = found(value, source.as_deref());
        let stringy = !matches!(wanted, "a map" | "a list" | "a whole number" | "true or false");
        let hint = match (value, source) {
            (Value::Number(_) | Value::Bool(_), Some(text)) if stringy => format!("; write \"{text}\""),
            (Value::Bool(flag), None) if stringy => format!("; write \"{flag}\""),
            // The text of a fraction is not known: 1.10 has become 1.1.
            (Value::Number(n), None) if stringy && !n.is_f64() => format!("; write \"{n}\""),
            (Value::Number(_), None) if stringy => "; write it in quotes".to_owned(),
            (Value::String(text), _) if wanted == "a whole number" && text.parse::<i64>().is_ok() => "; write it without quotes".to_owned(),
            (Value::String(_), _) if wanted == "a list" => "; write each element on a line of its own after \"- \", or in [ ]".to_owned(),
            (Value::Null, _) if stringy => "; write \"\" for an empty one, or leave the field out".to_owned(),
            (Value::Null, _) if wanted == "a map" => "; write {} for an empty one".to_owned(),
            (Value::Null, _) => "; leave the field out, or give it a value".to_owned(),
            _ => String::new(),
        };
        self.error(at, format!("expected {wanted}, {found}{hint}"));
    }

    fn visit_leaf(&mut self, leaf: &Leaf, value: &Value, at: &str) {
        match value {
            Value::String(text) => {
                if let Err(error) = (leaf.parse)(text) {
                    let error = FieldError::new(at, error.to_string());
                    self.errors.push(if leaf.name == "Host" { error.about(Case::UnsafeHost) } else { error });
                }
            }
            Value::Number(number) => {
                let source = (self.source)(at);
                let text = source.clone().unwrap_or_else(|| number.to_string());
                let hint = match (leaf.parse)(&text) {
                    Ok(()) => format!("; write \"{text}\""),
                    Err(_) if leaf.name == "Duration" && number.is_u64() => format!("; write \"{text}s\" for seconds"),
                    Err(_) => String::new(),
                };
                self.error(at, format!("expected {}, {}{hint}", leaf.words, found(value, source.as_deref())));
            }
            _ => self.wrong_type(leaf.words, value, at),
        }
    }

    fn visit_secret(&mut self, value: &Value, at: &str) {
        match value {
            Value::String(text) if text.len() > MAX_SECRET_BYTES => {
                self.error(at, format!("a secret may have at most {MAX_SECRET_BYTES} bytes; this one has {}", text.len()));
            }
            Value::String(_) => {}
            _ => self
                .error(at, format!("expected a string or null (which keeps the stored value), {}; write it in quotes", found_kind(value))),
        }
    }

    fn visit_choice(&mut self, choices: &[Value], value: &Value, at: &str) {
        let words: Vec<&str> = choices.iter().filter_map(|choice| choice.get("const")?.as_str()).collect();
        let given = value.as_str();
        if given.is_some_and(|given| words.contains(&given)) {
            return;
        }
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let source = (self.source)(at);
        let found = found(value, source.as_deref());
        let expected = if quoted.len() == 1 { quoted.concat() } else { format!("one of {}", quoted.join(", ")) };
        let mut error = FieldError::new(at, format!("expected {expected}, {found}"));
        error.suggestion = given.and_then(|given| closest(given, words)).map(str::to_owned);
        self.errors.push(error);
    }

    fn visit_object(&mut self, schema: &Value, map: &Map<String, Value>, at: &str) {
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let by_pattern = entries(schema, "patternProperties").next();
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !map.contains_key(required) {
                let message = format!("required field is missing{}", first_sentence(properties.get(required)));
                self.error(&path::field(at, required), message);
            }
        }
        for (key, value) in map {
            let here = path::field(at, key);
            match (properties.get(key), by_pattern) {
                (Some(child), _) => self.visit(child, value, &here),
                (None, Some((pattern, child))) => {
                    self.visit_key(pattern, key, &here);
                    self.visit(child, value, &here);
                }
                (None, None) if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                    self.unknown_field(properties, key, at, &here);
                }
                (None, None) => {}
            }
        }
    }

    fn visit_key(&mut self, pattern: &str, key: &str, at: &str) {
        let leaves = LEAVES.iter().filter(|leaf| KEY_LEAVES.contains(&leaf.name));
        let defined = |leaf: &&Leaf| key_pattern(leaf.name) == Some(pattern);
        if let Some(leaf) = leaves.into_iter().find(defined)
            && let Err(error) = (leaf.parse)(key)
        {
            self.error(at, error.to_string());
        }
    }

    fn unknown_field(&mut self, properties: &Map<String, Value>, key: &str, parent: &str, at: &str) {
        let settable: Vec<&str> = properties.iter().filter(|(_, schema)| !is_server_set(schema)).map(|(name, _)| name.as_str()).collect();
        let suggestion = closest(key, settable.iter().copied());
        // The right word in the wrong place is mostly an indentation error.
        let known = self.homes.iter().find(|(name, _)| fold(name) == fold(key));
        let home = known.and_then(|(name, homes)| Some((name, homes.iter().find(|home| home.as_str() != parent)?)));
        let message = match (home, settable.is_empty()) {
            (Some((name, home)), _) if suggestion.is_none() => format!("unknown field here; \"{name}\" belongs in {home}"),
            (_, true) => "unknown field; nothing may be set here".to_owned(),
            (..) => format!("unknown field; known are {}", settable.join(", ")),
        };
        self.errors.push(FieldError { path: at.to_owned(), message, suggestion: suggestion.map(str::to_owned), see: None });
    }

    fn visit_string(&mut self, schema: &Value, text: &str, at: &str) {
        let chars = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        if let Some(max) = schema.get("maxLength").and_then(Value::as_u64).filter(|max| chars > *max) {
            self.error(at, format!("expected at most {max} characters, found {chars}"));
        }
        if let Some(min) = schema.get("minLength").and_then(Value::as_u64).filter(|min| chars < *min) {
            self.error(at, format!("expected at least {min} characters, found {chars}"));
        }
        let pattern = schema.get("pattern").and_then(Value::as_str);
        if let Some(known) = PATTERNS.iter().find(|known| Some(known.pattern) == pattern)
            && !(known.matches)(text)
        {
            self.error(at, format!("expected {}, {}", known.words, found(&Value::from(text), None)));
        }
    }

    fn visit_integer(&mut self, schema: &Value, number: &serde_json::Number, value: &Value, at: &str) {
        let Some(given) = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)) else {
            return self.wrong_type("a whole number", value, at);
        };
        let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_i64).map(i128::from);
        let (min, max) = (bound("minimum").unwrap_or(i128::MIN), bound("maximum").unwrap_or(i128::from(u32::MAX)));
        if given < min || given > max {
            let expected = match (bound("minimum"), bound("maximum")) {
                (Some(_), None) | (None, None) if given > max => format!("expected at most {max}"),
                (Some(min), None) => format!("expected at least {min}"),
                (Some(min), Some(max)) => format!("expected a number from {min} to {max}"),
                (None, _) => format!("expected at most {max}"),
            };
            self.error(at, format!("{expected}, found {given}"));
        }
    }
}

/// The pattern that schemars writes for keys of a newtype.
fn key_pattern(name: &str) -> Option<&'static str> {
    use schemars::JsonSchema;
    static PATTERNS: OnceLock<BTreeMap<&'static str, String>> = OnceLock::new();
    let all = PATTERNS.get_or_init(|| {
        let mut generator = schemars::SchemaGenerator::default();
        let schemas = [
            ("ProcessName", ProcessName::json_schema(&mut generator)),
            ("EnvKey", EnvKey::json_schema(&mut generator)),
            ("LabelKey", LabelKey::json_schema(&mut generator)),
            ("UserName", UserName::json_schema(&mut generator)),
        ];
        let pattern = |schema: schemars::Schema| schema.get("pattern").and_then(Value::as_str).unwrap_or_default().to_owned();
        schemas.into_iter().map(|(name, schema)| (name, pattern(schema))).collect()
    });
    all.get(name).map(String::as_str)
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn type_words(name: &str) -> &'static str {
    match name {
        "object" => "a map",
        "array" => "a list",
        "integer" => "a whole number",
        "boolean" => "true or false",
        _ => "a string",
    }
}

fn is_server_set(schema: &Value) -> bool {
    schema.get("description").and_then(Value::as_str).is_some_and(|text| text.starts_with("Set by the server"))
}

/// The first sentence of a field's description, to say what is missing.
fn first_sentence(schema: Option<&Value>) -> String {
    let description = schema.and_then(|schema| schema.get("description")).and_then(Value::as_str).unwrap_or_default();
    let first = description.split(['.', '\n']).next().unwrap_or_default().trim();
    if first.is_empty() { String::new() } else { format!(": {}", lower_first(first)) }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    // "API version" keeps its capitals.
    match (chars.next(), text.chars().nth(1)) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}
