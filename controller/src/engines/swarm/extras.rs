//! Settings that somebody else put on a service of ours: whatever the engine has that we would not have rendered.
//! Pure.
//!
//! There is no list of settings to look for, which would be out of date with the next engine: the service is read,
//! rendered again from what was read, and compared as a whole. What the engine fills in by itself, and fields that
//! [`ServiceSpec`](super::ServiceSpec) holds, are left out.
//!
//! Only the shape of a setting is told where its value may be a secret of somebody's.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models;
use serde_json::{Map, Value};

use super::convert::{References, service_to_engine, spec_from_engine};

/// Longest text of one setting.
const MAX_TEXT: usize = 200;

/// Places that the engine fills in, or that [`ServiceSpec`](super::ServiceSpec) holds and is compared by.
const NOT_FOREIGN: [&str; 15] = [
    "Name",
    "Labels",
    "Mode/Replicated/Replicas",
    "EndpointSpec/Mode",
    "TaskTemplate/ForceUpdate",
    "TaskTemplate/Runtime",
    "TaskTemplate/Placement/Platforms",
    "TaskTemplate/ContainerSpec/Isolation",
    "TaskTemplate/ContainerSpec/Init",
    "TaskTemplate/ContainerSpec/Image",
    "TaskTemplate/ContainerSpec/Labels",
    "TaskTemplate/ContainerSpec/Command",
    "TaskTemplate/ContainerSpec/Args",
    "TaskTemplate/ContainerSpec/Env",
    "TaskTemplate/ContainerSpec/StopGracePeriod",
];

/// Foreign settings by the engine's name of the setting, with what they are in a few words.
pub(super) fn extras(found: &models::ServiceSpec) -> BTreeMap<String, String> {
    let Some((found, expected)) = both(found) else { return BTreeMap::new() };
    let mut places = BTreeSet::new();
    compare("", &found, &expected, &mut places);
    let groups: BTreeSet<&str> = places.iter().map(|place| group(place)).collect();
    groups.into_iter().map(|group| (name(group).to_owned(), text(group, &found, &expected))).collect()
}

/// The spec as it was found, and as it would have been rendered.
fn both(found: &models::ServiceSpec) -> Option<(Value, Value)> {
    let template = found.task_template.as_ref();
    let container = template.and_then(|template| template.container_spec.as_ref());
    let secrets = container.and_then(|container| container.secrets.as_ref()).into_iter().flatten();
    let refs = References {
        network_id: super::convert::targets(found).next().map(str::to_owned),
        secret_ids: secrets.filter_map(|secret| Some((secret.secret_name.clone()?, secret.secret_id.clone()?))).collect(),
        has_init: container.and_then(|container| container.init) == Some(true),
    };
    let expected = service_to_engine(&spec_from_engine(found.clone(), String::new()), &refs).ok()?;
    Some((serde_json::to_value(found).ok()?, serde_json::to_value(expected).ok()?))
}

/// Collects the places at which the two differ.
fn compare(place: &str, found: &Value, expected: &Value, places: &mut BTreeSet<String>) {
    if NOT_FOREIGN.contains(&place) || found == expected || (is_empty(found) && is_empty(expected)) {
        return;
    }
    let nothing = Map::new();
    let object = |value: &Value| value.as_object().cloned();
    match (object(found), object(expected)) {
        (None, None) => {
            places.insert(place.to_owned());
        }
        (found, expected) => {
            let (found, expected) = (found.as_ref().unwrap_or(&nothing), expected.as_ref().unwrap_or(&nothing));
            let keys: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
            for key in keys {
                let deeper = if place.is_empty() { key.clone() } else { format!("{place}/{key}") };
                compare(&deeper, found.get(key).unwrap_or(&Value::Null), expected.get(key).unwrap_or(&Value::Null), places);
            }
        }
    }
}

/// Absent, and the engine's many ways to write it.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
    }
}

/// The setting that a place belongs to: `TaskTemplate/ContainerSpec/Healthcheck/Test` is of the `Healthcheck`.
fn group(place: &str) -> &str {
    const CONTAINERS: [&str; 3] = ["TaskTemplate/ContainerSpec/", "TaskTemplate/", "EndpointSpec/"];
    let inner = CONTAINERS.iter().find(|prefix| place.starts_with(**prefix)).map_or(0, |prefix| prefix.len());
    let end = place.get(inner..).and_then(|rest| rest.find('/')).map_or(place.len(), |end| inner + end);
    place.get(..end).unwrap_or(place)
}

fn name(group: &str) -> &str {
    match group.rsplit('/').next() {
        // The client library has a word of its own for it.
        Some("HealthCheck") => "Healthcheck",
        Some(name) => name,
        None => group,
    }
}

fn text(group: &str, found: &Value, expected: &Value) -> String {
    let at = |value: &Value| group.split('/').try_fold(value.clone(), |value, key| value.get(key).cloned()).unwrap_or(Value::Null);
    let (found, expected) = (at(found), at(expected));
    let words = match (name(group), &found) {
        (_, found) if is_empty(found) => "taken away".to_owned(),
        ("Mounts", Value::Array(items)) => each(items, |item| format!("{} at {}", part(item, "Type"), part(item, "Target"))),
        ("Ports", Value::Array(items)) => each(items, |item| format!("{} to {}", part(item, "PublishedPort"), part(item, "TargetPort"))),
        ("Networks", Value::Array(items)) => format!("attached to {} networks", items.len()),
        ("Placement", found) => match found.get("Constraints") {
            Some(Value::Array(items)) if !items.is_empty() => each(items, |item| item.as_str().unwrap_or_default().to_owned()),
            _ => "set".to_owned(),
        },
        (_, Value::Number(_) | Value::Bool(_)) => found.to_string(),
        _ if is_empty(&expected) => "set".to_owned(),
        _ => "changed".to_owned(),
    };
    words.chars().take(MAX_TEXT).collect()
}

fn each(items: &[Value], text: impl Fn(&Value) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn part(item: &Value, key: &str) -> String {
    match item.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "?".to_owned(),
    }
}

/// Takes everything foreign off a spec: a fresh one with what the engine filled in by itself.
pub(super) fn without(current: &models::ServiceSpec, mut fresh: models::ServiceSpec) -> models::ServiceSpec {
    let Some(before) = &current.task_template else { return fresh };
    let template = fresh.task_template.get_or_insert_default();
    // Another count would restart the tasks; another platform list, too.
    template.force_update = before.force_update;
    template.runtime = before.runtime.clone();
    let platforms = before.placement.as_ref().and_then(|placement| placement.platforms.clone());
    if platforms.is_some() {
        template.placement.get_or_insert_default().platforms = platforms;
    }
    if let Some(container) = &before.container_spec {
        let fresh = template.container_spec.get_or_insert_default();
        (fresh.isolation, fresh.init) = (container.isolation, container.init);
    }
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::swarm::ServiceSpec;

    fn rendered() -> models::ServiceSpec {
        let spec = ServiceSpec {
            name: "shop".into(),
            image: "sha256:00".into(),
            env: [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())].into(),
            network: "net".into(),
            aliases: vec!["web".into()],
            nano_cpus: 500_000_000,
            memory_bytes: 1 << 20,
            replicas: 2,
            ..ServiceSpec::default()
        };
        let refs = References { network_id: Some("netid".into()), has_init: true, ..References::default() };
        service_to_engine(&spec, &refs).expect("rendered")
    }

    fn changed(change: impl FnOnce(&mut models::TaskSpec, &mut models::TaskSpecContainerSpec)) -> BTreeMap<String, String> {
        let mut spec = rendered();
        let mut template = spec.task_template.take().unwrap_or_default();
        let mut container = template.container_spec.take().unwrap_or_default();
        change(&mut template, &mut container);
        template.container_spec = Some(container);
        spec.task_template = Some(template);
        extras(&spec)
    }

    fn of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_was_rendered_has_none_and_neither_has_what_the_engine_fills_in() {
        assert_eq!(extras(&rendered()), BTreeMap::new());
        let filled = changed(|template, container| {
            template.force_update = Some(3);
            template.runtime = Some("container".into());
            template.placement = Some(models::TaskSpecPlacement {
                platforms: Some(vec![models::Platform { architecture: Some("amd64".into()), os: Some("linux".into()) }]),
                ..Default::default()
            });
            container.isolation = Some(models::TaskSpecContainerSpecIsolationEnum::DEFAULT);
            container.dns_config = Some(Default::default());
            container.read_only = Some(false);
            container.hosts = Some(Vec::new());
            // The order of variables is nobody's business.
            container.env = Some(vec!["B=2".into(), "A=1".into()]);
        });
        assert_eq!(filled, BTreeMap::new());
    }

    #[test]
    fn every_foreign_setting_is_named_and_no_value_that_may_be_a_secret_is_told() {
        let found = changed(|template, container| {
            container.mounts = Some(vec![models::Mount {
                target: Some("/data".into()),
                source: Some("/etc/secret-path".into()),
                typ: Some(models::MountType::BIND),
                ..Default::default()
            }]);
            container.user = Some("root".into());
            container.health_check = Some(models::HealthConfig { test: Some(vec!["CMD".into(), "hunter2".into()]), ..Default::default() });
            template.placement =
                Some(models::TaskSpecPlacement { constraints: Some(vec!["node.role==worker".into()]), ..Default::default() });
            template.restart_policy = None;
            if let Some(limits) = template.resources.as_mut().and_then(|resources| resources.reservations.as_mut()) {
                limits.memory_bytes = Some(2 << 20);
            }
            template.networks.get_or_insert_default().push(models::NetworkAttachmentConfig::default());
        });
        let wanted = of(&[
            ("Mounts", "bind at /data"),
            ("User", "set"),
            ("Healthcheck", "set"),
            ("Placement", "node.role==worker"),
            ("RestartPolicy", "taken away"),
            ("Resources", "changed"),
            ("Networks", "attached to 2 networks"),
        ]);
        assert_eq!(found, wanted);
        assert!(!format!("{found:?}").contains("hunter2"));
    }

    #[test]
    fn a_published_port_and_another_update_policy_are_foreign() {
        let mut spec = rendered();
        spec.endpoint_spec.get_or_insert_default().ports =
            Some(vec![models::EndpointPortConfig { target_port: Some(80), published_port: Some(8081), ..Default::default() }]);
        spec.update_config.get_or_insert_default().parallelism = Some(0);
        assert_eq!(extras(&spec), of(&[("Ports", "8081 to 80"), ("UpdateConfig", "changed")]));
        let fresh = without(&spec, rendered());
        assert_eq!(extras(&fresh), BTreeMap::new());
    }
}
