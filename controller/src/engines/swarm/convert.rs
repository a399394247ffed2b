//! The only place where our specs become the engine's models and the engine's models become ours.
//!
//! Rendering is an allowlist: it builds a fresh model from constants and the fields of [`ServiceSpec`], so
//! mounts, privileges, capabilities, sysctls, devices, host networks and published ports cannot be reached.
//! Reading back gives owned fields only and undoes what the engine fills in, so that what was sent equals
//! what is read. The order of secrets, aliases, command and arguments is kept as given: give it in a stable
//! order, because another order is another template and restarts the tasks.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use bollard::models;
use chrono::{DateTime, Utc};

use super::{EngineError, EngineResult, Network, NetworkSpec, Secret, SecretMount, Service, ServiceSpec, SwarmNode, Task, TaskState};

const SECOND: i64 = 1_000_000_000;
/// Read-only for everyone in the container: its user is not known here.
const SECRET_FILE_MODE: u32 = 0o444;

/// Engine ids of what a spec names.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct References {
    /// Id of the spec's network; `None` when the spec has none.
    pub(super) network_id: Option<String>,
    /// Ids of secrets by name.
    pub(super) secret_ids: BTreeMap<String, String>,
    /// Whether the engine has an init binary; a task that asks for a missing one fails.
    pub(super) has_init: bool,
}

/// Renders a spec from nothing.
///
/// # Errors
/// `NotFound` when a secret has no id in `refs`.
pub(super) fn service_to_engine(spec: &ServiceSpec, refs: &References) -> EngineResult<models::ServiceSpec> {
    let mut rendered = models::ServiceSpec::default();
    apply_owned(&mut rendered, spec, refs)?;
    let container = rendered.task_template.get_or_insert_default().container_spec.get_or_insert_default();
    container.init = refs.has_init.then_some(true);
    Ok(rendered)
}

/// Replaces the owned fields of a spec that was read from the engine.
///
/// # Errors
/// `NotFound` when a secret has no id in `refs`.
pub(super) fn apply_owned(rendered: &mut models::ServiceSpec, spec: &ServiceSpec, refs: &References) -> EngineResult<()> {
    rendered.name = Some(spec.name.clone());
    rendered.labels = Some(hash(&spec.labels));
    rendered.mode = Some(models::ServiceSpecMode {
        replicated: Some(models::ServiceSpecModeReplicated { replicas: Some(i64::try_from(spec.replicas).unwrap_or(i64::MAX)) }),
        ..Default::default()
    });
    rendered.update_config = Some(update_config());
    rendered.endpoint_spec = Some(models::EndpointSpec {
        mode: Some(if spec.dnsrr { models::EndpointSpecModeEnum::DNSRR } else { models::EndpointSpecModeEnum::VIP }),
        ports: None,
    });

    let template = rendered.task_template.get_or_insert_default();
    template.restart_policy = Some(restart_policy());
    template.resources = resources(spec);
    template.networks = refs
        .network_id
        .as_ref()
        .map(|id| vec![models::NetworkAttachmentConfig { target: Some(id.clone()), aliases: list(&spec.aliases), driver_opts: None }]);
    let secrets = spec.secrets.iter().map(|mount| secret_reference(mount, refs)).collect::<EngineResult<Vec<_>>>()?;
    let container = template.container_spec.get_or_insert_default();
    container.image = Some(spec.image.clone());
    container.labels = Some(hash(&spec.container_labels));
    container.command = list(&spec.command);
    container.args = list(&spec.args);
    container.env = environment(&spec.env);
    container.stop_grace_period = (spec.stop_grace_nanos > 0).then_some(spec.stop_grace_nanos);
    container.secrets = (!secrets.is_empty()).then_some(secrets);
    Ok(())
}

/// Changes those fields of a spec that was read from the engine, and that is somebody else's work, that differ from
/// `spec`; whatever else is set stays, networks, ports and secrets above all.
pub(super) fn apply_changed(rendered: &mut models::ServiceSpec, spec: &ServiceSpec) {
    let found = spec_from_engine(rendered.clone(), String::new());
    if found.labels != spec.labels {
        rendered.labels = Some(hash(&spec.labels));
    }
    if found.replicas != spec.replicas {
        let replicas = Some(i64::try_from(spec.replicas).unwrap_or(i64::MAX));
        rendered.mode.get_or_insert_default().replicated = Some(models::ServiceSpecModeReplicated { replicas });
    }
    let template = rendered.task_template.get_or_insert_default();
    if (found.nano_cpus, found.memory_bytes) != (spec.nano_cpus, spec.memory_bytes) {
        let limits = template.resources.get_or_insert_default().limits.get_or_insert_default();
        (limits.nano_cpus, limits.memory_bytes) = (some_nonzero(spec.nano_cpus), some_nonzero(spec.memory_bytes));
    }
    let container = template.container_spec.get_or_insert_default();
    if found.image != spec.image {
        container.image = Some(spec.image.clone());
    }
    if found.command != spec.command {
        container.command = list(&spec.command);
    }
    if found.args != spec.args {
        container.args = list(&spec.args);
    }
    if found.env != spec.env {
        container.env = environment(&spec.env);
    }
    if found.stop_grace_nanos != spec.stop_grace_nanos {
        container.stop_grace_period = (spec.stop_grace_nanos > 0).then_some(spec.stop_grace_nanos);
    }
}

fn environment(env: &BTreeMap<String, String>) -> Option<Vec<String>> {
    list(&env.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect::<Vec<_>>())
}

/// Swarm's own updater is not in play (a new release is a new service); this bounds the harm if it ever is.
fn update_config() -> models::ServiceSpecUpdateConfig {
    models::ServiceSpecUpdateConfig {
        parallelism: Some(1),
        failure_action: Some(models::ServiceSpecUpdateConfigFailureActionEnum::PAUSE),
        monitor: Some(5 * SECOND),
        order: Some(models::ServiceSpecUpdateConfigOrderEnum::START_FIRST),
        ..Default::default()
    }
}

fn restart_policy() -> models::TaskSpecRestartPolicy {
    models::TaskSpecRestartPolicy {
        condition: Some(models::TaskSpecRestartPolicyConditionEnum::ANY),
        delay: Some(2 * SECOND),
        ..Default::default()
    }
}

fn resources(spec: &ServiceSpec) -> Option<models::TaskSpecResources> {
    let (nano_cpus, memory_bytes) = (some_nonzero(spec.nano_cpus), some_nonzero(spec.memory_bytes));
    let pids = some_nonzero(spec.pids_limit);
    let reserves = nano_cpus.is_some() || memory_bytes.is_some();
    (reserves || pids.is_some()).then(|| models::TaskSpecResources {
        limits: Some(models::Limit { nano_cpus, memory_bytes, pids }),
        reservations: reserves.then_some(models::ResourceObject { nano_cpus, memory_bytes, generic_resources: None }),
        ..Default::default()
    })
}

fn secret_reference(mount: &SecretMount, refs: &References) -> EngineResult<models::TaskSpecContainerSpecSecrets> {
    let id =
        refs.secret_ids.get(&mount.secret_name).ok_or_else(|| EngineError::NotFound { what: format!("secret {}", mount.secret_name) })?;
    Ok(models::TaskSpecContainerSpecSecrets {
        secret_id: Some(id.clone()),
        secret_name: Some(mount.secret_name.clone()),
        file: Some(models::TaskSpecContainerSpecFile {
            name: Some(mount.file_name.clone()),
            uid: Some("0".to_owned()),
            gid: Some("0".to_owned()),
            mode: Some(SECRET_FILE_MODE),
        }),
    })
}

/// The ids of networks that a service is attached to.
pub(super) fn network_ids(service: &models::Service) -> impl Iterator<Item = &str> {
    service.spec.iter().flat_map(targets)
}

/// The ids of networks that a spec names.
pub(super) fn targets(spec: &models::ServiceSpec) -> impl Iterator<Item = &str> {
    let attachments = spec.task_template.as_ref().and_then(|template| template.networks.as_ref()).or(spec.networks.as_ref());
    attachments.into_iter().flatten().filter_map(|attachment| attachment.target.as_deref())
}

/// Reads a service; `None` without an id or a spec, which no engine sends.
pub(super) fn service_from_engine(service: models::Service, network_names: &HashMap<String, String>) -> Option<Service> {
    let network = network_ids(&service).next().map(|id| network_names.get(id).cloned().unwrap_or_else(|| id.to_owned()));
    let spec = service.spec?;
    let extras = super::extras::extras(&spec);
    Some(Service {
        id: service.id?,
        version: service.version.and_then(|version| version.index).unwrap_or(0),
        created_at: service.created_at.unwrap_or(DateTime::<Utc>::UNIX_EPOCH),
        spec: ServiceSpec { extras, ..spec_from_engine(spec, network.unwrap_or_default()) },
    })
}

pub(super) fn spec_from_engine(spec: models::ServiceSpec, network: String) -> ServiceSpec {
    let template = spec.task_template.unwrap_or_default();
    let attachment = template.networks.unwrap_or_default().into_iter().next().unwrap_or_default();
    let limits = template.resources.and_then(|resources| resources.limits).unwrap_or_default();
    let container = template.container_spec.unwrap_or_default();
    let replicas = spec.mode.and_then(|mode| mode.replicated).and_then(|replicated| replicated.replicas).unwrap_or(0);
    let secrets = container.secrets.unwrap_or_default().into_iter().map(|reference| SecretMount {
        secret_name: reference.secret_name.unwrap_or_default(),
        file_name: reference.file.and_then(|file| file.name).unwrap_or_default(),
    });
    let env = container.env.unwrap_or_default().into_iter().map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key.to_owned(), unescape(value)),
        None => (pair, String::new()),
    });
    ServiceSpec {
        name: spec.name.unwrap_or_default(),
        labels: sorted(spec.labels),
        container_labels: sorted(container.labels),
        image: container.image.unwrap_or_default(),
        command: container.command.unwrap_or_default(),
        args: container.args.unwrap_or_default(),
        env: env.collect(),
        secrets: secrets.collect(),
        network,
        aliases: attachment.aliases.unwrap_or_default(),
        nano_cpus: limits.nano_cpus.unwrap_or(0),
        memory_bytes: limits.memory_bytes.unwrap_or(0),
        pids_limit: limits.pids.unwrap_or(0),
        stop_grace_nanos: container.stop_grace_period.unwrap_or(0),
        replicas: u64::try_from(replicas).unwrap_or(0),
        dnsrr: spec.endpoint_spec.and_then(|endpoint| endpoint.mode) == Some(models::EndpointSpecModeEnum::DNSRR),
        extras: BTreeMap::new(),
    }
}

/// Reads a task; `None` without an id.
pub(super) fn task_from_engine(task: models::Task) -> Option<Task> {
    let status = task.status.unwrap_or_default();
    let container = status.container_status.unwrap_or_default();
    let state = status.state.map_or(TaskState::New, task_state);
    let created_at = task.created_at.unwrap_or(DateTime::<Utc>::UNIX_EPOCH);
    let ended = state > TaskState::Running && container.container_id.as_deref().is_some_and(|id| !id.is_empty());
    Some(Task {
        id: task.id?,
        service_id: task.service_id.unwrap_or_default(),
        slot: task.slot.and_then(|slot| u64::try_from(slot).ok()).unwrap_or(0),
        node_id: task.node_id.unwrap_or_default(),
        state,
        desired_state: task.desired_state.map_or(TaskState::New, task_state),
        message: status.message.unwrap_or_default(),
        error: status.err.unwrap_or_default(),
        container_id: container.container_id.unwrap_or_default(),
        // The engine writes 0 for a process that has not ended, or was never started.
        exit_code: ended.then_some(container.exit_code.unwrap_or(0)),
        container_labels: sorted(task.spec.and_then(|spec| spec.container_spec).and_then(|container| container.labels)),
        created_at,
        state_since: status.timestamp.unwrap_or(created_at),
    })
}

fn task_state(state: models::TaskState) -> TaskState {
    match state {
        models::TaskState::NEW => TaskState::New,
        models::TaskState::ALLOCATED => TaskState::Allocated,
        models::TaskState::PENDING => TaskState::Pending,
        models::TaskState::ASSIGNED => TaskState::Assigned,
        models::TaskState::ACCEPTED => TaskState::Accepted,
        models::TaskState::PREPARING => TaskState::Preparing,
        models::TaskState::READY => TaskState::Ready,
        models::TaskState::STARTING => TaskState::Starting,
        models::TaskState::RUNNING => TaskState::Running,
        models::TaskState::COMPLETE => TaskState::Complete,
        models::TaskState::SHUTDOWN => TaskState::Shutdown,
        models::TaskState::FAILED => TaskState::Failed,
        models::TaskState::REJECTED => TaskState::Rejected,
        models::TaskState::REMOVE => TaskState::Remove,
        models::TaskState::ORPHANED => TaskState::Orphaned,
    }
}

/// Renders a network: services only, no options.
pub(super) fn network_to_engine(spec: &NetworkSpec) -> models::NetworkCreateRequest {
    models::NetworkCreateRequest {
        name: spec.name.clone(),
        driver: Some("overlay".to_owned()),
        scope: Some("swarm".to_owned()),
        attachable: Some(false),
        labels: Some(hash(&spec.labels)),
        ..Default::default()
    }
}

/// Reads a network; `None` without an id.
pub(super) fn network_from_engine(network: models::Network) -> Option<Network> {
    // While the Swarm has no subnet for it, the engine knows neither driver nor addresses.
    let allocated = network.driver.is_some_and(|driver| !driver.is_empty());
    Some(Network { id: network.id?, name: network.name.unwrap_or_default(), labels: sorted(network.labels), allocated })
}

/// Reads a secret; `None` without an id.
pub(super) fn secret_from_engine(secret: models::Secret) -> Option<Secret> {
    let spec = secret.spec.unwrap_or_default();
    Some(Secret { id: secret.id?, name: spec.name.unwrap_or_default(), labels: sorted(spec.labels) })
}

/// Reads a node.
pub(super) fn node_from_engine(node: models::Node) -> SwarmNode {
    let spec = node.spec.unwrap_or_default();
    let status = node.status.unwrap_or_default();
    let description = node.description.unwrap_or_default();
    let resources = description.resources.unwrap_or_default();
    SwarmNode {
        id: node.id.unwrap_or_default(),
        hostname: description.hostname.unwrap_or_default(),
        role: spec.role.map(|role| role.to_string()).unwrap_or_default(),
        availability: spec.availability.map(|availability| availability.to_string()).unwrap_or_default(),
        state: status.state.map(|state| state.to_string()).unwrap_or_default(),
        message: status.message.unwrap_or_default(),
        leader: node.manager_status.as_ref().and_then(|manager| manager.leader).unwrap_or(false),
        address: node_address(status.addr.unwrap_or_default(), node.manager_status.and_then(|manager| manager.addr)),
        engine_version: description.engine.and_then(|engine| engine.engine_version).unwrap_or_default(),
        nano_cpus: resources.nano_cpus.unwrap_or(0),
        memory_bytes: resources.memory_bytes.unwrap_or(0),
        labels: sorted(spec.labels),
    }
}

/// Where other nodes reach a node. Of a manager the engine may say `0.0.0.0`, and what it advertises with its port.
fn node_address(address: String, advertised: Option<String>) -> String {
    let host = advertised.and_then(|text| text.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']).to_owned()));
    match host {
        Some(host) if address.is_empty() || address == "0.0.0.0" || address == "127.0.0.1" => host,
        _ => address,
    }
}

/// Addresses by container id. Other endpoints, such as Swarm's ingress sandbox, are left out.
pub(super) fn addresses_from_engine(network: models::NetworkInspect) -> BTreeMap<String, IpAddr> {
    let containers = network.containers.unwrap_or_default();
    let is_container = |id: &str| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    containers
        .into_iter()
        .filter(|(id, _)| is_container(id))
        .filter_map(|(id, endpoint)| {
            let with_prefix = endpoint.ipv4_address?;
            let address = with_prefix.split('/').next()?.parse().ok()?;
            Some((id, address))
        })
        .collect()
}

/// Swarm expands Go templates in values of the environment, and rejects the task of one that it cannot parse.
/// Values here are plain text, so the opening braces are written as a template that prints them.
const BRACES: &str = "{{";
const ESCAPED_BRACES: &str = "{{\"{{\"}}";

fn escape(value: &str) -> String {
    value.replace(BRACES, ESCAPED_BRACES)
}

fn unescape(value: &str) -> String {
    value.replace(ESCAPED_BRACES, BRACES)
}

fn some_nonzero(value: i64) -> Option<i64> {
    (value != 0).then_some(value)
}

fn list(values: &[String]) -> Option<Vec<String>> {
    (!values.is_empty()).then(|| values.to_vec())
}

fn hash(map: &BTreeMap<String, String>) -> HashMap<String, String> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn sorted(map: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    map.unwrap_or_default().into_iter().collect()
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
