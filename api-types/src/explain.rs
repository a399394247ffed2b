//! What a field of a manifest is, read from the JSON Schema of its kind: for `skyctl explain`.
//!
//! The schemas are made from the types, so what is said here cannot differ from what is accepted. This
//! knows the part of JSON Schema that our own types produce, as [`crate::check`] does.

use serde::Serialize;
use serde_json::Value;

use crate::check::closest;
use crate::kinds::Kind;

/// Deepest nesting that is told. Our schemas are far from it; it ends a schema that refers to itself.
const MAX_DEPTH: usize = 16;

/// A field, explained.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// Its name; `<name>` stands for the keys of a map.
    pub name: String,
    /// Its type in short, such as `string`, `[]Host` or `map[name]ProcessSpec`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Whether it has to be there.
    pub required: bool,
    /// What it means.
    pub description: String,
    /// What holds when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The only values that it may have, each with its meaning.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<Allowed>,
    /// Bounds of a number or of a text's length, such as `1 to 100`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounds: Option<String>,
    /// Fields below it; for a list or a map those of each element.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

/// A value that a field may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allowed {
    /// The value.
    pub value: String,
    /// What it means.
    pub description: String,
}

/// There is no such field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{parent} has no field \"{name}\"{}", known(.fields))]
pub struct UnknownField {
    /// The path that exists.
    pub parent: String,
    /// The name that does not.
    pub name: String,
    /// Fields that exist there.
    pub fields: Vec<String>,
    /// The one that was probably meant.
    pub suggestion: Option<String>,
}

fn known(fields: &[String]) -> String {
    if fields.is_empty() { "; nothing is below it".to_owned() } else { format!("; it has {}", fields.join(", ")) }
}

/// Explains the field of a kind at a path such as `["spec", "processes", "port"]`.
///
/// In a map the name of an element may be written or left out: `processes.web.port` is `processes.port`.
/// An index such as `domains[0]` means any element.
///
/// # Errors
/// When a segment of the path is no field.
pub fn field(kind: Kind, path: &[&str]) -> Result<Field, UnknownField> {
    let root = crate::schema::of_kind(kind);
    let mut found = describe(&root, (&kind.as_str().to_ascii_lowercase(), true), &root, 0);
    found.type_name = kind.as_str().to_owned();
    let mut at = found.name.clone();
    for (n, segment) in path.iter().enumerate() {
        let name = segment.split('[').next().unwrap_or_default();
        if let Some(next) = found.fields.iter().find(|field| field.name == name) {
            found = next.clone();
            at = format!("{at}.{name}");
            continue;
        }
        let names: Vec<String> = found.fields.iter().map(|field| field.name.clone()).collect();
        let suggestion = closest(name, names.iter().map(String::as_str)).map(str::to_owned);
        // A last segment that looks like a field is taken for a misspelt one and not for an element's name.
        let is_element = found.type_name.starts_with("map[") && (suggestion.is_none() || n + 1 < path.len());
        if !is_element {
            return Err(UnknownField { parent: at, name: name.to_owned(), fields: names, suggestion });
        }
        found = element(found, name);
        at = format!("{at}.{name}");
    }
    Ok(found)
}

/// One element of a map.
fn element(map: Field, name: &str) -> Field {
    let type_name = map.type_name.split_once(']').map_or_else(String::new, |(_, of)| of.to_owned());
    let description = format!("One element of {}: {}", map.name, map.description);
    Field { name: name.to_owned(), type_name, description, default: None, required: false, ..map }
}

fn describe(root: &Value, (name, required): (&str, bool), schema: &Value, depth: usize) -> Field {
    let inner = resolve(root, schema);
    let text = |schema: &Value| schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    let own = text(schema);
    let holder = content(root, inner);
    let mut field = Field {
        name: name.to_owned(),
        type_name: type_name(schema),
        required,
        description: if own.is_empty() { text(inner) } else { own },
        default: schema.get("default").filter(|value| !value.is_null()).cloned(),
        allowed: allowed(holder),
        bounds: bounds(schema).or_else(|| bounds(inner)),
        fields: Vec::new(),
    };
    if depth < MAX_DEPTH {
        let needed: Vec<&str> = holder.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = holder.get("properties").and_then(Value::as_object).into_iter().flatten();
        field.fields = properties.map(|(name, child)| describe(root, (name, needed.contains(&name.as_str())), child, depth + 1)).collect();
        // What has to be there comes first; the rest stays in the order of the alphabet.
        field.fields.sort_by_key(|field| !field.required);
    }
    field
}

/// Follows `$ref`, and goes through the `anyOf` that makes a field optional.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(name) = ref_name(schema) {
        return root.get("$defs").and_then(|defs| defs.get(name)).unwrap_or(&Value::Null);
    }
    let branches = schema.get("anyOf").and_then(Value::as_array);
    let inner = branches.and_then(|branches| branches.iter().find(|branch| branch.get("type").and_then(Value::as_str) != Some("null")));
    inner.map_or(schema, |inner| resolve(root, inner))
}

fn ref_name(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

/// The schema of what a list or a map holds; of anything else, itself.
fn content<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("items").or_else(|| map_values(schema)) {
        Some(inner) => content(root, resolve(root, inner)),
        None => schema,
    }
}

fn map_values(schema: &Value) -> Option<&Value> {
    let by_pattern = schema.get("patternProperties").and_then(Value::as_object).and_then(|all| all.values().next());
    by_pattern.or_else(|| schema.get("additionalProperties").filter(|schema| schema.is_object()))
}

fn type_name(schema: &Value) -> String {
    if let Some(name) = ref_name(schema) {
        return name.to_owned();
    }
    if let Some(branches) = schema.get("anyOf").and_then(Value::as_array) {
        let inner = branches.iter().find(|branch| branch.get("type").and_then(Value::as_str) != Some("null"));
        return inner.map_or_else(|| "any".to_owned(), type_name);
    }
    if let Some(items) = schema.get("items") {
        return format!("[]{}", type_name(items));
    }
    if let Some(values) = map_values(schema) {
        return format!("map[name]{}", type_name(values));
    }
    match schema.get("type") {
        Some(Value::String(one)) => one.clone(),
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).find(|one| *one != "null").unwrap_or("any").to_owned(),
        _ => "any".to_owned(),
    }
}

fn allowed(schema: &Value) -> Vec<Allowed> {
    let described = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten().flat_map(|choice| {
        let description = choice.get("description").and_then(Value::as_str).unwrap_or_default();
        let one = choice.get("const").into_iter();
        let many = choice.get("enum").and_then(Value::as_array).into_iter().flatten();
        one.chain(many).map(move |value| (value, description))
    });
    let plain = schema.get("enum").and_then(Value::as_array).into_iter().flatten().map(|value| (value, ""));
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    described.chain(plain).map(|(value, description)| Allowed { value: word(value), description: description.to_owned() }).collect()
}

fn bounds(schema: &Value) -> Option<String> {
    let number = |keyword: &str| schema.get(keyword).and_then(Value::as_i64);
    let words = |min: Option<i64>, max: Option<i64>| match (min, max) {
        (Some(min), Some(max)) => Some(format!("{min} to {max}")),
        (Some(min), None) => Some(format!("at least {min}")),
        (None, Some(max)) => Some(format!("at most {max}")),
        (None, None) => None,
    };
    let length = words(number("minLength"), number("maxLength")).map(|text| format!("{text} characters"));
    words(number("minimum"), number("maximum")).or(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(path: &str) -> Field {
        let path: Vec<&str> = path.split('.').filter(|segment| !segment.is_empty()).collect();
        field(Kind::App, &path).expect("a field")
    }

    #[test]
    fn a_field_has_its_type_default_bounds_and_meaning() {
        let replicas = app("spec.processes.replicas");
        assert_eq!(
            (replicas.type_name.as_str(), replicas.default, replicas.bounds.as_deref()),
            ("integer", Some(1.into()), Some("0 to 500"))
        );
        assert!(replicas.description.contains("Wanted number of tasks"), "{}", replicas.description);
        assert_eq!(app("spec.domains").type_name, "[]Host");
        assert_eq!(app("spec.processes").type_name, "map[name]ProcessSpec");
        let order = app("spec.rollout.order");
        let values: Vec<&str> = order.allowed.iter().map(|allowed| allowed.value.as_str()).collect();
        assert_eq!(values, ["start-first", "stop-first"]);
        assert!(order.allowed.iter().all(|allowed| !allowed.description.is_empty()));
        assert_eq!(app("spec").fields.first().map(|field| (field.name.as_str(), field.required)), Some(("image", true)));
    }

    #[test]
    fn the_name_of_an_element_may_be_written_or_left_out() {
        let names = |field: &Field| field.fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&app("spec.processes.web")), names(&app("spec.processes")));
        assert_eq!(app("spec.processes.web").type_name, "ProcessSpec");
        assert_eq!(app("spec.processes.web.health.path"), app("spec.processes.health.path"));
        assert_eq!(app("spec.domains[0]").type_name, "[]Host");
    }

    #[test]
    fn an_unknown_field_is_named_with_the_one_that_was_meant() {
        let unknown = field(Kind::App, &["spec", "processes", "prot"]).expect_err("no field");
        assert_eq!(unknown.suggestion.as_deref(), Some("port"));
        assert!(unknown.to_string().starts_with("app.spec.processes has no field \"prot\"; it has adopt, args, command"), "{unknown}");
        let unknown = field(Kind::App, &["spec", "image", "tag"]).expect_err("no field");
        assert_eq!(unknown.to_string(), "app.spec.image has no field \"tag\"; nothing is below it");
        assert_eq!(field(Kind::App, &["sepc"]).expect_err("no field").suggestion.as_deref(), Some("spec"));
    }

    #[test]
    fn every_field_that_a_user_writes_has_a_meaning() {
        fn look(field: &Field, at: &str) {
            for child in &field.fields {
                let at = format!("{at}.{}", child.name);
                assert!(!child.description.is_empty(), "{at} has no description");
                assert_ne!(child.type_name, "any", "{at} has no type");
                look(child, &at);
            }
        }
        for kind in [Kind::App, Kind::Domain, Kind::Organization] {
            look(&field(kind, &[]).expect("a kind"), kind.as_str());
        }
    }
}
