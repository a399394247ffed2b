//! Services that somebody else made, as they are: everything that a manifest may say about them, and the names of
//! what it cannot say.
//!
//! [`ServiceSpec`](super::ServiceSpec) holds the fields that we own; a service of somebody else may use all the
//! others. They are only told here, so that a person can decide; nothing is ever rendered from them.

use std::collections::HashMap;

use bollard::models;

use super::{Service, convert};

/// Label of the services of a stack.
pub const STACK_LABEL: &str = "com.docker.stack.namespace";

/// Which services are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceSelection {
    /// The service of this very name.
    Name(String),
    /// All services of a stack.
    Stack(String),
}

/// A service of somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForeignService {
    /// Fields that we would own. Replicas are 0 for one that is not replicated.
    pub service: Service,
    /// `replicated`, `global`, `replicated-job`, `global-job`.
    pub mode: &'static str,
    /// Names of the networks that its tasks are on.
    pub networks: Vec<String>,
    /// Ports that it publishes.
    pub ports: Vec<ForeignPort>,
    /// Its own health check, made inside the container.
    pub health: Option<ForeignHealth>,
    /// How the engine updates it: whether old tasks stop first, and how many at a time.
    pub update: Option<(bool, u32)>,
    /// Other fields that are set: name, and what stands there.
    pub extras: Vec<(&'static str, String)>,
}

impl ForeignService {
    /// Whether its tasks have an address that the edge can reach: those on an overlay network, the routing
    /// mesh's included, have one.
    pub fn is_reachable(&self) -> bool {
        let on_overlay = self.networks.iter().any(|name| !matches!(name.as_str(), "host" | "bridge" | "none"));
        on_overlay || self.ports.iter().any(|port| port.mesh)
    }

    /// The stack that it belongs to.
    pub fn stack(&self) -> Option<&str> {
        self.service.spec.labels.get(STACK_LABEL).map(String::as_str)
    }
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignPort {
    /// Port inside the container.
    pub target: u16,
    /// Port of the nodes; 0 when the engine chose one.
    pub published: u16,
    /// Whether it is TCP.
    pub tcp: bool,
    /// Whether every node has it (the routing mesh), or only those with a task.
    pub mesh: bool,
}

/// A health check that the engine makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignHealth {
    /// The command with its kind, such as `CMD-SHELL`.
    pub test: Vec<String>,
    /// Nanoseconds; 0 for the engine's default.
    pub interval_nanos: i64,
    /// Nanoseconds; 0 for the engine's default.
    pub timeout_nanos: i64,
    /// Failures in a row; 0 for the engine's default.
    pub retries: i64,
}

/// Reads a service; `None` without an id or a spec, which no engine sends.
pub(super) fn from_engine(service: models::Service, network_names: &HashMap<String, String>) -> Option<ForeignService> {
    let networks = convert::network_ids(&service).map(|id| network_names.get(id).cloned().unwrap_or_else(|| id.to_owned())).collect();
    let spec = service.spec.clone()?;
    let template = spec.task_template.clone().unwrap_or_default();
    let container = template.container_spec.clone().unwrap_or_default();
    let ports = spec.endpoint_spec.as_ref().and_then(|endpoint| endpoint.ports.as_ref()).into_iter().flatten().filter_map(port).collect();
    let is_on = |check: &&models::HealthConfig| check.test.as_ref().and_then(|test| test.first()).is_none_or(|kind| kind != "NONE");
    let health = container.health_check.as_ref().filter(is_on).map(|check| ForeignHealth {
        test: check.test.clone().unwrap_or_default(),
        interval_nanos: check.interval.unwrap_or(0),
        timeout_nanos: check.timeout.unwrap_or(0),
        retries: check.retries.unwrap_or(0),
    });
    let update = spec.update_config.as_ref().map(|update| {
        let stop_first = update.order != Some(models::ServiceSpecUpdateConfigOrderEnum::START_FIRST);
        (stop_first, update.parallelism.and_then(|many| u32::try_from(many).ok()).unwrap_or(1))
    });
    Some(ForeignService {
        mode: mode(spec.mode.as_ref()),
        networks,
        ports,
        health,
        update,
        extras: extras(&template, &container),
        service: convert::service_from_engine(service, network_names)?,
    })
}

fn mode(mode: Option<&models::ServiceSpecMode>) -> &'static str {
    match mode {
        Some(mode) if mode.global.is_some() => "global",
        Some(mode) if mode.replicated_job.is_some() => "replicated-job",
        Some(mode) if mode.global_job.is_some() => "global-job",
        _ => "replicated",
    }
}

fn port(port: &models::EndpointPortConfig) -> Option<ForeignPort> {
    let number = |value: Option<i64>| value.and_then(|value| u16::try_from(value).ok());
    Some(ForeignPort {
        target: number(port.target_port)?,
        published: number(port.published_port).unwrap_or(0),
        tcp: port.protocol.is_none_or(|protocol| matches!(protocol, models::EndpointPortConfigProtocolEnum::TCP)),
        mesh: port.publish_mode != Some(models::EndpointPortConfigPublishModeEnum::HOST),
    })
}

/// Every field that is set and that a manifest has no place for, with what stands there.
fn extras(template: &models::TaskSpec, container: &models::TaskSpecContainerSpec) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut tell = |field, texts: Vec<String>| {
        if !texts.is_empty() {
            found.push((field, texts.join(", ")));
        }
    };
    let list = |texts: &Option<Vec<String>>| texts.clone().unwrap_or_default();
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty()).into_iter().collect::<Vec<_>>();
    let flag = |flag: Option<bool>| flag.filter(|set| *set).map(|set| set.to_string()).into_iter().collect::<Vec<_>>();
    let mounts = container.mounts.iter().flatten();
    tell("mounts", mounts.map(mount).collect());
    let secrets = container.secrets.iter().flatten();
    tell("secrets", secrets.map(|secret| secret.file.as_ref().and_then(|file| file.name.clone()).unwrap_or_default()).collect());
    let configs = container.configs.iter().flatten();
    tell("configs", configs.map(|config| config.file.as_ref().and_then(|file| file.name.clone()).unwrap_or_default()).collect());
    tell("user", text(&container.user));
    tell("groups", list(&container.groups));
    tell("dir", text(&container.dir));
    tell("hostname", text(&container.hostname));
    tell("hosts", list(&container.hosts));
    tell("stop-signal", text(&container.stop_signal));
    tell("cap-add", list(&container.capability_add));
    tell("cap-drop", list(&container.capability_drop));
    tell("read-only", flag(container.read_only));
    tell("tty", flag(container.tty));
    tell("sysctl", container.sysctls.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect());
    tell("ulimit", container.ulimits.iter().flatten().filter_map(|limit| limit.name.clone()).collect());
    let dns = container.dns_config.as_ref();
    tell("dns", dns.map(|dns| [list(&dns.nameservers), list(&dns.search), list(&dns.options)].concat()).unwrap_or_default());
    let placement = template.placement.as_ref();
    tell("constraints", placement.map(|placement| list(&placement.constraints)).unwrap_or_default());
    let spread = placement.and_then(|placement| placement.preferences.as_ref()).into_iter().flatten();
    tell("placement-pref", spread.filter_map(|preference| preference.spread.as_ref()?.spread_descriptor.clone()).collect());
    let most = placement.and_then(|placement| placement.max_replicas).filter(|most| *most > 0);
    tell("replicas-max-per-node", most.map(|most| most.to_string()).into_iter().collect());
    tell("log-driver", template.log_driver.as_ref().map(|driver| text(&driver.name)).unwrap_or_default());
    let condition = template.restart_policy.as_ref().and_then(|policy| policy.condition);
    let ends = condition.filter(|condition| !matches!(condition, models::TaskSpecRestartPolicyConditionEnum::ANY));
    tell("restart-condition", ends.map(|condition| condition.to_string()).into_iter().filter(|text| !text.is_empty()).collect());
    let limits = template.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    tell("limit-pids", limits.and_then(|limits| limits.pids).filter(|pids| *pids > 0).map(|pids| pids.to_string()).into_iter().collect());
    let reserved = template.resources.as_ref().and_then(|resources| resources.reservations.as_ref());
    let generic = reserved.and_then(|reserved| reserved.generic_resources.as_ref()).map_or(0, Vec::len);
    tell("generic-resources", (generic > 0).then(|| generic.to_string()).into_iter().collect());
    found
}

fn mount(mount: &models::Mount) -> String {
    let kind = mount.typ.map(|kind| kind.to_string()).unwrap_or_default();
    let source = mount.source.clone().filter(|source| !source.is_empty()).map(|source| format!(" {source}")).unwrap_or_default();
    format!("{kind}{source} at {}", mount.target.clone().unwrap_or_default())
}
