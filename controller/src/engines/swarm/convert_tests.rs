use std::collections::BTreeSet;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// A spec that says everything that a spec can say.
fn full() -> ServiceSpec {
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ServiceSpec {
        name: "shop-1a2b3c4d-web-abcdef0".into(),
        labels: map(&[("skyswarm.dev/managed-by", "skyswarm"), ("skyswarm.dev/app", "shop")]),
        container_labels: map(&[("skyswarm.dev/release", "abcdef0"), ("skyswarm.dev/port", "8080")]),
        image: format!("registry.example/shop@sha256:{}", "ab".repeat(32)),
        command: vec!["/bin/shop".into()],
        args: vec!["serve".into(), "--quiet".into()],
        env: map(&[("PORT", "8080"), ("A", "x=y"), ("EMPTY", ""), ("TEMPLATE", "{{.Node.ID}}")]),
        secrets: vec![SecretMount { secret_name: "shop-1a2b3c4d-s7".into(), file_name: "TOKEN".into() }],
        network: "shop-1a2b3c4d".into(),
        aliases: vec!["web".into()],
        nano_cpus: 500_000_000,
        memory_bytes: 128 << 20,
        pids_limit: 256,
        stop_grace_nanos: 10 * SECOND,
        replicas: 3,
        dnsrr: true,
        extras: BTreeMap::new(),
    }
}

fn references(spec: &ServiceSpec) -> References {
    References {
        network_id: (!spec.network.is_empty()).then(|| "netid".to_owned()),
        secret_ids: spec.secrets.iter().map(|mount| (mount.secret_name.clone(), format!("id of {}", mount.secret_name))).collect(),
        has_init: true,
    }
}

fn as_json(spec: &models::ServiceSpec) -> Value {
    serde_json::to_value(spec).expect("JSON")
}

/// What the engine would answer to a listing right after.
fn read_back(rendered: models::ServiceSpec, network: &str) -> Service {
    let service = models::Service {
        id: Some("svcid".into()),
        version: Some(models::ObjectVersion { index: Some(7) }),
        spec: Some(rendered),
        ..Default::default()
    };
    let names = HashMap::from([("netid".to_owned(), network.to_owned())]);
    service_from_engine(service, &names).expect("readable")
}

#[test]
fn a_full_spec_is_rendered_as_it_was() {
    let spec = full();
    let rendered = service_to_engine(&spec, &references(&spec)).expect("rendered");
    insta::with_settings!({ sort_maps => true }, { insta::assert_json_snapshot!("full_service", as_json(&rendered)) });
}

#[test]
fn an_empty_spec_is_rendered_as_it_was() {
    let spec = ServiceSpec { name: "a".into(), image: "sha256:00".into(), ..ServiceSpec::default() };
    let rendered = service_to_engine(&spec, &References::default()).expect("rendered");
    insta::with_settings!({ sort_maps => true }, { insta::assert_json_snapshot!("smallest_service", as_json(&rendered)) });
}

#[test]
fn a_network_is_rendered_as_it_was() {
    let spec = NetworkSpec { name: "shop-1a2b3c4d".into(), labels: BTreeMap::from([("a".into(), "b".into())]) };
    insta::assert_json_snapshot!("network", serde_json::to_value(network_to_engine(&spec)).expect("JSON"));
}

#[test]
fn a_secret_without_an_id_is_not_left_out() {
    let spec = full();
    let refs = References { secret_ids: BTreeMap::new(), ..references(&spec) };
    assert!(matches!(service_to_engine(&spec, &refs), Err(EngineError::NotFound { what }) if what == "secret shop-1a2b3c4d-s7"));
}

#[test]
fn an_update_keeps_what_is_not_ours() {
    let spec = full();
    let mut current = service_to_engine(&spec, &references(&spec)).expect("rendered");
    let template = current.task_template.as_mut().expect("template");
    template.force_update = Some(3);
    template.runtime = Some("container".into());
    template.container_spec.as_mut().expect("container").isolation = Some(models::TaskSpecContainerSpecIsolationEnum::DEFAULT);
    let before = as_json(&current);
    let scaled = ServiceSpec { replicas: 5, ..spec.clone() };
    apply_owned(&mut current, &scaled, &references(&spec)).expect("applied");
    let after = as_json(&current);
    assert_eq!(before["TaskTemplate"], after["TaskTemplate"], "scaling changes nothing that tasks are made from");
    assert_eq!(after["Mode"]["Replicated"]["Replicas"], 5);
}

#[test]
fn what_the_engine_fills_in_is_not_read_back() {
    let mut spec = full();
    let mut rendered = service_to_engine(&spec, &references(&spec)).expect("rendered");
    let template = rendered.task_template.as_mut().expect("template");
    template.placement = Some(Default::default());
    template.runtime = Some("container".into());
    let container = template.container_spec.as_mut().expect("container");
    container.dns_config = Some(Default::default());
    assert_eq!(read_back(rendered, &spec.network).spec, spec);

    // Absent and empty are the same.
    (spec.nano_cpus, spec.memory_bytes, spec.pids_limit) = (0, 0, 0);
    let mut rendered = service_to_engine(&spec, &references(&spec)).expect("rendered");
    rendered.task_template.as_mut().expect("template").resources = Some(Default::default());
    assert_eq!(read_back(rendered, &spec.network).spec, spec);
}

#[test]
fn addresses_are_those_of_containers() {
    let id = "ab".repeat(32);
    let endpoint = |address: &str| models::EndpointResource { ipv4_address: Some(address.into()), ..Default::default() };
    let network = models::NetworkInspect {
        containers: Some(HashMap::from([
            (id.clone(), endpoint("172.18.0.3/16")),
            ("ingress-sbox".to_owned(), endpoint("172.18.0.2/16")),
            ("cd".repeat(32), endpoint("")),
        ])),
        ..Default::default()
    };
    assert_eq!(addresses_from_engine(network), BTreeMap::from([(id, IpAddr::from([172, 18, 0, 3]))]));
}

#[test]
fn an_exit_code_is_read_only_from_a_process_that_ended() {
    let task = |state, container: &str| models::Task {
        id: Some("t".into()),
        status: Some(models::TaskStatus {
            state: Some(state),
            container_status: Some(models::ContainerStatus { container_id: Some(container.into()), pid: None, exit_code: Some(0) }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let code = |state, container| task_from_engine(task(state, container)).expect("task").exit_code;
    assert_eq!(code(models::TaskState::RUNNING, "c"), None);
    assert_eq!(code(models::TaskState::REJECTED, ""), None);
    assert_eq!(code(models::TaskState::COMPLETE, "c"), Some(0));
}

/// Every place of a rendered spec that may hold anything. `*` stands for keys that are data.
const ALLOWED: &[&str] = &[
    "Name",
    "Labels.*",
    "Mode.Replicated.Replicas",
    "UpdateConfig.Parallelism",
    "UpdateConfig.FailureAction",
    "UpdateConfig.Monitor",
    "UpdateConfig.Order",
    "EndpointSpec.Mode",
    "TaskTemplate.RestartPolicy.Condition",
    "TaskTemplate.RestartPolicy.Delay",
    "TaskTemplate.Resources.Limits.NanoCPUs",
    "TaskTemplate.Resources.Limits.MemoryBytes",
    "TaskTemplate.Resources.Limits.Pids",
    "TaskTemplate.Resources.Reservations.NanoCPUs",
    "TaskTemplate.Resources.Reservations.MemoryBytes",
    "TaskTemplate.Networks[].Target",
    "TaskTemplate.Networks[].Aliases[]",
    "TaskTemplate.ContainerSpec.Image",
    "TaskTemplate.ContainerSpec.Labels.*",
    "TaskTemplate.ContainerSpec.Command[]",
    "TaskTemplate.ContainerSpec.Args[]",
    "TaskTemplate.ContainerSpec.Env[]",
    "TaskTemplate.ContainerSpec.Init",
    "TaskTemplate.ContainerSpec.StopGracePeriod",
    "TaskTemplate.ContainerSpec.Secrets[].SecretID",
    "TaskTemplate.ContainerSpec.Secrets[].SecretName",
    "TaskTemplate.ContainerSpec.Secrets[].File.Name",
    "TaskTemplate.ContainerSpec.Secrets[].File.UID",
    "TaskTemplate.ContainerSpec.Secrets[].File.GID",
    "TaskTemplate.ContainerSpec.Secrets[].File.Mode",
];

/// Maps of labels show up by themselves when they are empty.
const EMPTY_MAPS: [&str; 2] = ["Labels", "TaskTemplate.ContainerSpec.Labels"];

/// Paths of all leaves, empty containers included.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) if at == "Labels" || at == "TaskTemplate.ContainerSpec.Labels" => {
            found.extend(map.values().map(|value| format!("{at}.*{}", if value.is_string() { "" } else { "?" })));
        }
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                paths(value, &if at.is_empty() { key.clone() } else { format!("{at}.{key}") }, found);
            }
        }
        Value::Array(list) if !list.is_empty() => list.iter().for_each(|value| paths(value, &format!("{at}[]"), found)),
        _ => {
            found.insert(at.to_owned());
        }
    }
}

fn any_map() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(any::<String>(), any::<String>(), 0..4)
}

/// Text in which Go's template signs are likely.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), vec(prop_oneof!["\\{", "\\}", "\"", "-", "\\{\\{\"\\{\\{\"\\}\\}"], 0..8).prop_map(|parts| parts.concat())]
}

fn any_mount() -> impl Strategy<Value = SecretMount> {
    (any::<String>(), any::<String>()).prop_map(|(secret_name, file_name)| SecretMount { secret_name, file_name })
}

prop_compose! {
    fn any_texts()(
        name in any::<String>(), image in any::<String>(), network in any::<String>(),
        command in vec(any::<String>(), 0..4), args in vec(any::<String>(), 0..4), aliases in vec(any::<String>(), 0..4),
        labels in any_map(), container_labels in any_map(), env in btree_map("[^=]*", any_value(), 0..4),
        secrets in vec(any_mount(), 0..4),
    ) -> ServiceSpec {
        ServiceSpec { name, image, network, command, args, aliases, labels, container_labels, env, secrets, ..ServiceSpec::default() }
    }
}

prop_compose! {
    fn any_spec()(
        texts in any_texts(), nano_cpus in any::<i64>(), memory_bytes in any::<i64>(), pids_limit in any::<i64>(),
        stop_grace_nanos in 0..i64::MAX, replicas in 0..u64::try_from(i64::MAX).expect("fits"), dnsrr in any::<bool>(),
    ) -> ServiceSpec {
        ServiceSpec { nano_cpus, memory_bytes, pids_limit, stop_grace_nanos, replicas, dnsrr, ..texts }
    }
}

proptest! {
    #[test]
    fn no_spec_reaches_beyond_the_allowlist(spec in any_spec()) {
        let rendered = service_to_engine(&spec, &references(&spec)).expect("rendered");
        let mut found = BTreeSet::new();
        paths(&as_json(&rendered), "", &mut found);
        let allowed: BTreeSet<String> = ALLOWED.iter().map(|path| (*path).to_owned()).collect();
        let beyond: Vec<_> = found.difference(&allowed).filter(|path| !EMPTY_MAPS.contains(&path.as_str())).collect();
        prop_assert!(beyond.is_empty(), "{beyond:?}");
    }

    #[test]
    fn what_is_rendered_is_read_back(mut spec in any_spec()) {
        if spec.network.is_empty() {
            spec.aliases.clear();
        }
        let rendered = service_to_engine(&spec, &references(&spec)).expect("rendered");
        // Through JSON, as it goes over the wire.
        let rendered: models::ServiceSpec = serde_json::from_value(as_json(&rendered)).expect("models");
        let read = read_back(rendered, &spec.network);
        prop_assert_eq!(read.spec, spec);
    }
}

#[test]
fn a_full_spec_fills_the_whole_allowlist() {
    let spec = full();
    let mut found = BTreeSet::new();
    paths(&as_json(&service_to_engine(&spec, &references(&spec)).expect("rendered")), "", &mut found);
    let unused: Vec<_> = ALLOWED.iter().filter(|path| !found.contains(**path)).collect();
    assert!(unused.is_empty(), "allowed, but never rendered: {unused:?}");
}
