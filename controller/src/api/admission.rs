//! From a JSON body to checked manifests: every error of every item at once, or the manifests.
//!
//! What is checked here needs only the body, the path and the token. What needs stored data (versions,
//! unique hosts, secrets that a `null` refers to) is the store's, in the transaction that writes.

use std::borrow::Cow;
use std::collections::HashMap;

use api_types::api::{ApplyRequest, Role};
use api_types::check::{ROOT, check};
use api_types::problem::ProblemKind;
use api_types::{App, Certificate, Domain, FieldError, Kind, Manifest, OrgName, Organization, Setting};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::auth::Caller;
use super::error::{ApiError, ApiResult, in_item};
use super::extract::excerpt;

/// Most objects of one apply.
const MAX_ITEMS: usize = 500;

/// Documents the body of an apply: one object, or a list.
pub(super) struct ApplyBody;

impl JsonSchema for ApplyBody {
    fn schema_name() -> Cow<'static, str> {
        "ApplyBody".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let any_of = [
            generator.subschema_for::<ApplyRequest>(),
            generator.subschema_for::<App>(),
            generator.subschema_for::<Domain>(),
            generator.subschema_for::<Organization>(),
            generator.subschema_for::<Setting>(),
            generator.subschema_for::<Certificate>(),
        ];
        json_schema!({"description": "One object, or several in `items`.", "anyOf": any_of})
    }
}

/// Manifests that passed admission.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) manifests: Vec<Manifest>,
    /// Whether they came as a list, so that errors name the item.
    pub(super) list: bool,
}

/// Admits the body of an apply. `org` is the only organisation that objects may name, and that of those which
/// name none; without it, objects must name theirs.
pub(super) fn admit_apply(body: &Value, org: Option<&OrgName>) -> ApiResult<Admitted> {
    let Some(object) = body.as_object() else {
        return Err(ApiError::invalid(vec![FieldError::new(ROOT, "an object, or {\"items\": [objects]}, was expected")]));
    };
    if object.contains_key("kind") || !object.contains_key("items") {
        let manifests = admit_all(std::slice::from_ref(body), org, false)?;
        return Ok(Admitted { manifests, list: false });
    }
    let mut errors: Vec<FieldError> =
        object.keys().filter(|key| *key != "items").map(|key| FieldError::new(key.clone(), "a list has no field but \"items\"")).collect();
    let items = object.get("items").and_then(Value::as_array);
    match items {
        None => errors.push(FieldError::new("items", "a list of objects was expected")),
        Some(items) if items.len() > MAX_ITEMS => {
            errors.push(FieldError::new("items", format!("at most {MAX_ITEMS} objects at once; there are {}", items.len())));
        }
        Some(_) => {}
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    let manifests = admit_all(items.map_or(&[], Vec::as_slice), org, true)?;
    Ok(Admitted { manifests, list: true })
}

/// Admits the body of a PUT on one object: the kind is known, and path and body must agree.
pub(super) fn admit_put(body: &Value, kind: Kind, name: &str, org: Option<&OrgName>) -> ApiResult<Manifest> {
    let mut body = body.clone();
    fill(&mut body, kind, name);
    let mut errors = Vec::new();
    match admit_item(&body, org) {
        Ok(manifest) => {
            if manifest.kind() != kind {
                errors.push(FieldError::new("kind", format!("must be {kind} on this path; it is {}", manifest.kind())));
            }
            if manifest.metadata().name != name {
                errors.push(FieldError::new("metadata.name", format!("must be \"{name}\" as in the path, or absent")));
            }
            if errors.is_empty() {
                return Ok(manifest);
            }
        }
        Err(found) => errors = found,
    }
    Err(ApiError::invalid(errors))
}

/// Fills in what the path says, where the body is silent.
fn fill(body: &mut Value, kind: Kind, name: &str) {
    let Some(object) = body.as_object_mut() else { return };
    object.entry("apiVersion").or_insert_with(|| Value::from(api_types::API_VERSION));
    object.entry("kind").or_insert_with(|| Value::from(kind.as_str()));
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new()));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.entry("name").or_insert_with(|| Value::from(name));
    }
}

fn admit_all(items: &[Value], org: Option<&OrgName>, list: bool) -> ApiResult<Vec<Manifest>> {
    let mut errors = Vec::new();
    let mut manifests = Vec::with_capacity(items.len());
    let mut seen = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        match admit_item(item, org) {
            Ok(manifest) => {
                let metadata = manifest.metadata();
                let key = (manifest.kind(), metadata.org.clone(), metadata.name.clone());
                if let Some(first) = seen.insert(key, index) {
                    errors.push((index, FieldError::new("metadata.name", format!("the same object is already at items[{first}]"))));
                }
                manifests.push(manifest);
            }
            Err(found) => errors.extend(found.into_iter().map(|error| (index, error))),
        }
    }
    if errors.is_empty() {
        return Ok(manifests);
    }
    Err(ApiError::invalid(errors.into_iter().map(|(index, error)| if list { in_item(index, error) } else { error }).collect()))
}

/// One manifest, with its organisation filled in.
fn admit_item(value: &Value, org: Option<&OrgName>) -> Result<Manifest, Vec<FieldError>> {
    let misplaced = misplaced(value, org);
    match (check(value), misplaced) {
        (Ok(mut manifest), None) => {
            if manifest.kind().is_namespaced()
                && let Some(org) = org
            {
                manifest.metadata_mut().org = Some(org.clone());
            }
            Ok(manifest)
        }
        (Ok(_), Some(error)) => Err(vec![error]),
        (Err(errors), misplaced) => Err(errors.into_iter().chain(misplaced).collect()),
    }
}

/// Whether the object names another organisation than it may, or none where it must. Read from the
/// raw value, so that it is reported together with whatever else is wrong.
fn misplaced(value: &Value, org: Option<&OrgName>) -> Option<FieldError> {
    let kind = value.get("kind").and_then(Value::as_str).and_then(|kind| Kind::ALL.into_iter().find(|known| known.as_str() == kind))?;
    if !kind.is_namespaced() {
        return None;
    }
    let given = value.get("metadata").and_then(|metadata| metadata.get("org")).filter(|org| !org.is_null());
    let message = match (given, org) {
        (None, None) => "required field is missing: neither the path nor the token names an organization".to_owned(),
        (Some(Value::String(given)), Some(org)) if given != org.as_str() => {
            format!("must be \"{org}\" here, or absent; it is \"{}\"", excerpt(given))
        }
        _ => return None,
    };
    Some(FieldError::new("metadata.org", message))
}

/// Refuses kinds that the token may not write.
pub(super) fn permit(manifests: &[Manifest], caller: &Caller) -> ApiResult<()> {
    let own = caller.org()?;
    for manifest in manifests {
        match manifest {
            Manifest::App(_) | Manifest::Domain(_) => caller.require(Role::Member)?,
            Manifest::Organization(organization) => {
                if own.as_ref().is_some_and(|own| own.as_str() != organization.metadata.name) {
                    return Err(ApiError::new(ProblemKind::Forbidden, "the token may change no organization but its own"));
                }
                caller.require(Role::Admin)?;
            }
            Manifest::Setting(_) | Manifest::Certificate(_) => {
                caller.require_platform()?;
                caller.require(Role::Admin)?;
            }
        }
    }
    Ok(())
}
