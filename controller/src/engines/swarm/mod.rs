//! Docker Swarm behind a trait of our own types.
//!
//! The service spec that can be expressed here is an allowlist: there is no field for host paths,
//! capabilities, devices, sysctls, host networking or published ports, so no input can reach them.
//! `bollard`'s types stay inside `convert.rs` and `real.rs`.

mod bucket;
mod classify;
mod convert;
mod extras;
pub mod fake;
mod foreign;
mod injected;
pub mod metrics;
pub mod real;

use std::collections::BTreeMap;
use std::net::IpAddr;

use api_types::ImageRef;
use api_types::kinds::app::ImagePullPolicy;
use api_types::kinds::node::Availability;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use foreign::{ForeignHealth, ForeignPort, ForeignService, STACK_LABEL, ServiceSelection};
pub use injected::InjectedSwarm;

/// How a call to the engine failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The object does not exist.
    #[error("{what} does not exist on the engine")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// Our version is stale ("update out of sequence", HTTP 500): observe again, decide again.
    #[error("the engine has a newer version of {what}")]
    OutOfSequence {
        /// What was to be updated.
        what: String,
    },
    /// The name is in use (HTTP 409).
    #[error("the name {name} is in use on the engine")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The object is still referred to (HTTP 400 from Swarm): try again later.
    #[error("{what} is still in use: {message}")]
    InUse {
        /// What was to be removed.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// The engine refused the request as invalid.
    #[error("the engine refused {what}: {message}")]
    Invalid {
        /// What was asked.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// The registry wants credentials, or other ones.
    #[error("the registry does not give out {what}: {message}")]
    Denied {
        /// What was asked for.
        what: String,
        /// The registry's words.
        message: String,
    },
    /// The engine is not a Swarm manager.
    #[error("the engine is not a Swarm manager: {message}")]
    NotManager {
        /// The engine's words.
        message: String,
    },
    /// Nothing was sent: this process may not act on the engine now, since another one may.
    #[error("{what} was not sent: this process does not lead now")]
    NotLeading {
        /// What was to be asked.
        what: String,
    },
    /// No answer: connection refused, reset, or the deadline passed. Whether an act landed is unknown.
    #[error("the engine did not answer ({what}): {message}")]
    Unreachable {
        /// What was asked.
        what: String,
        /// What went wrong.
        message: String,
    },
    /// The engine answered, but the registry of an image did not answer the engine.
    #[error("the registry {registry} did not answer the engine, which asked for {image}: {message}")]
    RegistrySilent {
        /// Host of the registry.
        registry: String,
        /// The image.
        image: String,
        /// What went wrong.
        message: String,
    },
    /// Any other answer.
    #[error("the engine answered {status} to {what}: {message}")]
    Other {
        /// What was asked.
        what: String,
        /// HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
}

/// Result of an engine call.
pub type EngineResult<T> = Result<T, EngineError>;

/// What the engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineInfo {
    /// Engine version, such as `20.10.24`.
    pub version: String,
    /// Newest API version it speaks, such as `1.41`.
    pub api_version: String,
    /// Id of this node in the Swarm; empty when there is no Swarm.
    pub node_id: String,
    /// Id of the Swarm; empty when there is none or this node is no manager.
    pub cluster_id: String,
    /// `inactive`, `pending`, `active`, `error` or `locked`.
    pub swarm_state: String,
    /// Whether this node can change the Swarm.
    pub is_manager: bool,
}

/// A service as we render it, and as we read it back: owned fields only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Service name, at most 63 bytes.
    pub name: String,
    /// Labels of the service.
    pub labels: BTreeMap<String, String>,
    /// Labels of each container; they tell which release a task belongs to.
    pub container_labels: BTreeMap<String, String>,
    /// `repository@sha256:…` or `sha256:…`.
    pub image: String,
    /// Replaces the entrypoint when not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments when not empty.
    pub args: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Secrets mounted under `/run/secrets`.
    pub secrets: Vec<SecretMount>,
    /// The app's network, by name, with aliases.
    pub network: String,
    /// Names under which other processes of the app reach this one.
    pub aliases: Vec<String>,
    /// CPU limit and reservation in billionths of a core; 0 for none.
    pub nano_cpus: i64,
    /// Memory limit and reservation in bytes; 0 for none.
    pub memory_bytes: i64,
    /// Limit on processes and threads of a task; 0 for none.
    pub pids_limit: i64,
    /// Nanoseconds between SIGTERM and SIGKILL.
    pub stop_grace_nanos: i64,
    /// Wanted tasks.
    pub replicas: u64,
    /// `true` for DNS round robin, `false` for a virtual IP.
    pub dnsrr: bool,
    /// Settings that somebody else put on the service, by the engine's name, in a few words. Read only: an update without
    /// any takes them off, one with any leaves them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extras: BTreeMap<String, String>,
}

/// A Swarm secret mounted as a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretMount {
    /// Name of the Swarm secret.
    pub secret_name: String,
    /// File name under `/run/secrets`.
    pub file_name: String,
}

/// A service on the engine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Service {
    /// Engine id.
    pub id: String,
    /// Version for compare-and-swap.
    pub version: u64,
    /// What is set, owned fields only.
    pub spec: ServiceSpec,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// What tells one state of a service from another, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceHead {
    /// Engine id.
    pub id: String,
    /// Version for compare-and-swap: every change of the service makes it greater.
    pub version: u64,
    /// The service's own labels.
    pub labels: BTreeMap<String, String>,
}

impl From<Service> for ServiceHead {
    fn from(service: Service) -> Self {
        Self { id: service.id, version: service.version, labels: service.spec.labels }
    }
}

impl Service {
    /// Whether somebody else made it, and it was taken over.
    pub fn is_adopted(&self) -> bool {
        self.spec.labels.contains_key(labels::ADOPTED)
    }
    /// The labels that say what its tasks are: the service's own for one that was taken over, whose tasks have none.
    pub fn task_labels(&self) -> &BTreeMap<String, String> {
        if self.is_adopted() { &self.spec.labels } else { &self.spec.container_labels }
    }
}

/// State of a task, in the order in which it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the engine's own words")]
pub enum TaskState {
    New,
    Allocated,
    Pending,
    Assigned,
    Accepted,
    Preparing,
    Ready,
    Starting,
    Running,
    Complete,
    Shutdown,
    Failed,
    Rejected,
    Remove,
    Orphaned,
}

/// A task on the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Engine id.
    pub id: String,
    /// Id of its service.
    pub service_id: String,
    /// Slot, from 1.
    pub slot: u64,
    /// Node it was given to; empty while it has none.
    pub node_id: String,
    /// What the engine last heard.
    pub state: TaskState,
    /// What the engine wants.
    pub desired_state: TaskState,
    /// The engine's message for the state.
    pub message: String,
    /// The engine's error text; empty when there is none.
    pub error: String,
    /// Container, once there is one.
    pub container_id: String,
    /// Exit code, once the process ended.
    pub exit_code: Option<i64>,
    /// Labels of the container spec.
    pub container_labels: BTreeMap<String, String>,
    /// When the task was created.
    pub created_at: DateTime<Utc>,
    /// When `state` was reported.
    pub state_since: DateTime<Utc>,
}

impl Task {
    /// Whether the engine means this task to run.
    pub fn is_wanted(&self) -> bool {
        self.desired_state <= TaskState::Running
    }
    /// Whether it runs and is meant to.
    pub fn is_running(&self) -> bool {
        self.is_wanted() && self.state == TaskState::Running
    }
    /// Whether its process may still be alive.
    pub fn is_live(&self) -> bool {
        self.state <= TaskState::Running
    }
}

/// A network to create: attachable to nothing but services, overlay, labelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Name; also the idempotency key.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A network on the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Engine id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Whether the Swarm has given it a subnet. Until then no task can be on it.
    #[serde(default = "yes")]
    pub allocated: bool,
}

/// Observations of an older release do not say it.
fn yes() -> bool {
    true
}

/// A secret on the engine; its value cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Engine id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A machine of the Swarm.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SwarmNode {
    /// Engine id.
    pub id: String,
    /// Host name.
    pub hostname: String,
    /// `manager` or `worker`.
    pub role: String,
    /// `active`, `pause` or `drain`.
    pub availability: String,
    /// `ready`, `down`, `disconnected` or `unknown`.
    pub state: String,
    /// The engine's message for the state.
    pub message: String,
    /// Whether it leads the managers.
    pub leader: bool,
    /// Address in the Swarm.
    pub address: String,
    /// Engine version.
    pub engine_version: String,
    /// CPU in billionths of a core.
    pub nano_cpus: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// What an image reference was found to mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageResolution {
    /// `repository@sha256:…`: any node can pull it.
    Pinned(String),
    /// `sha256:…`: it is on this engine only.
    Local(String),
}

impl ImageResolution {
    /// What to write into a service.
    pub fn reference(&self) -> &str {
        match self {
            Self::Pinned(reference) | Self::Local(reference) => reference,
        }
    }
}

/// What a container uses now. What the engine did not measure is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Thousandths of a core over the last second.
    pub cpu_millis: Option<i64>,
    /// Memory in bytes, without caches that can be taken back.
    pub memory_bytes: Option<i64>,
}

/// Something happened; look again. Only container events carry an id, because an address must leave
/// the edge document at the first sign that its container goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineHint {
    /// The stream is new: anything may have been missed.
    Connected,
    /// A service, task, network, secret or node changed. The name is empty where the engine gives none.
    Changed {
        /// `service`, `network`, `secret`, `node` or `container`.
        kind: &'static str,
        /// Name of a service, network or secret where the engine tells it; else the engine's id.
        name: String,
    },
    /// A container started.
    ContainerStarted {
        /// Container id.
        id: String,
    },
    /// A container was told to stop, or stopped.
    ContainerGoing {
        /// Container id.
        id: String,
    },
    /// A container was sent a signal that ends it, by the engine itself or by somebody.
    ContainerKilled {
        /// Container id.
        id: String,
        /// Name of its service; empty when it is of none.
        service: String,
    },
}

impl EngineHint {
    /// The container that this is a sign of the end of.
    pub fn going(&self) -> Option<&str> {
        match self {
            Self::ContainerGoing { id } | Self::ContainerKilled { id, .. } => Some(id),
            Self::Connected | Self::Changed { .. } | Self::ContainerStarted { .. } => None,
        }
    }
}

/// Which log lines are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogQuery {
    /// Services to read, by name.
    pub services: Vec<String>,
    /// Whether to go on as lines come.
    pub follow: bool,
    /// Only lines from this time on.
    pub since: Option<DateTime<Utc>>,
    /// Only the last lines of each replica; all when absent.
    pub tail: Option<u32>,
}

/// A piece of log from one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// When it was written.
    pub time: DateTime<Utc>,
    /// Name of the service.
    pub service: String,
    /// Slot of the task; 0 when unknown.
    pub slot: u64,
    /// Task id.
    pub task_id: String,
    /// Whether it came from standard error.
    pub stderr: bool,
    /// The line without its end.
    pub line: Bytes,
}

/// How to make a Swarm of one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SwarmInit {
    /// Address that this node gives to others.
    pub advertise_addr: String,
    /// Where the manager listens.
    pub listen_addr: String,
    /// Pools from which networks get their addresses, such as `10.201.0.0/16`.
    pub address_pools: Vec<String>,
    /// Prefix length of each network.
    pub subnet_size: u32,
}

/// What the platform needs of a Swarm. Every call has a deadline inside; every write is counted
/// against one global rate.
#[async_trait]
pub trait SwarmEngine: Send + Sync + 'static {
    /// What the engine is.
    async fn info(&self) -> EngineResult<EngineInfo>;
    /// Makes a Swarm of this node.
    async fn init(&self, init: &SwarmInit) -> EngineResult<()>;
    /// Machines of the Swarm.
    async fn node_list(&self) -> EngineResult<Vec<SwarmNode>>;
    /// Sets whether a node takes tasks; everything else of it stays.
    async fn node_set_availability(&self, id: &str, availability: Availability) -> EngineResult<()>;

    /// Services whose name begins with `prefix` (all with our label when it is empty).
    async fn service_list(&self, prefix: &str) -> EngineResult<Vec<Service>>;
    /// All services with our label, without what they are: a fraction of what the whole list costs.
    async fn service_heads(&self) -> EngineResult<Vec<ServiceHead>> {
        Ok(self.service_list("").await?.into_iter().map(ServiceHead::from).collect())
    }
    /// The labels of whatever service has this very name, ours or not.
    async fn service_labels(&self, name: &str) -> EngineResult<Option<BTreeMap<String, String>>>;
    /// Services that may be somebody else's, with everything that is set.
    async fn service_find(&self, wanted: &ServiceSelection) -> EngineResult<Vec<ForeignService>>;
    /// Creates a service and returns its id.
    async fn service_create(&self, spec: &ServiceSpec) -> EngineResult<String>;
    /// Replaces the owned fields of a service. Foreign settings are kept when `spec.extras` has any, and else taken off;
    /// what the engine filled in by itself is kept. Of a service with the label [`labels::ADOPTED`], before or after, only
    /// those fields are written that differ from what is there: all others are as its maker wanted them.
    async fn service_update(&self, id: &str, version: u64, spec: &ServiceSpec) -> EngineResult<()>;
    /// Removes a service by id.
    async fn service_remove(&self, id: &str) -> EngineResult<()>;

    /// Tasks of services by id; of all services that carry our label when `service_ids` is empty.
    async fn task_list(&self, service_ids: &[String]) -> EngineResult<Vec<Task>>;

    /// The network of a name (all with our label when it is empty).
    async fn network_list(&self, name: &str) -> EngineResult<Vec<Network>>;
    /// Creates an overlay network and returns its id.
    async fn network_create(&self, spec: &NetworkSpec) -> EngineResult<String>;
    /// Removes a network by id.
    async fn network_remove(&self, id: &str) -> EngineResult<()>;

    /// Secrets whose name begins with `prefix` (all with our label when it is empty).
    async fn secret_list(&self, prefix: &str) -> EngineResult<Vec<Secret>>;
    /// Creates a secret and returns its id.
    async fn secret_create(&self, name: &str, labels: &BTreeMap<String, String>, value: &SecretString) -> EngineResult<String>;
    /// Removes a secret by id.
    async fn secret_remove(&self, id: &str) -> EngineResult<()>;

    /// Addresses of this node's containers on `docker_gwbridge`, by container id.
    async fn gateway_addresses(&self) -> EngineResult<BTreeMap<String, IpAddr>>;
    /// Whether a container that ended ran out of memory. `None` when this engine does not have it: it is on another
    /// node, or it is gone.
    async fn ran_out_of_memory(&self, container_id: &str) -> EngineResult<Option<bool>>;
    /// What a container of this node uses; takes a second or two.
    async fn container_usage(&self, id: &str) -> EngineResult<ContainerUsage>;
    /// What an image reference means now.
    ///
    /// # Errors
    /// `NotFound` when neither the registry nor the engine has it; `Denied` when the registry wants credentials, and
    /// `Unreachable` when it does not answer, and the engine does not have the image.
    async fn image_resolve(&self, image: &ImageRef, policy: ImagePullPolicy) -> EngineResult<ImageResolution>;

    /// Hints, for ever: reconnects by itself and says `Connected` each time.
    fn hints(&self) -> BoxStream<'static, EngineHint>;
    /// Log lines of services.
    async fn logs(&self, query: &LogQuery) -> EngineResult<BoxStream<'static, EngineResult<LogRecord>>>;
}

/// Labels that mark what is ours.
pub mod labels {
    /// Always `skyswarm`: everything that the controller made.
    pub const MANAGED_BY: &str = "skyswarm.dev/managed-by";
    /// Value of [`MANAGED_BY`].
    pub const MANAGED_BY_VALUE: &str = "skyswarm";
    /// Uid of the owning object.
    pub const OWNER_UID: &str = "skyswarm.dev/owner-uid";
    /// Organisation.
    pub const ORG: &str = "skyswarm.dev/org";
    /// App.
    pub const APP: &str = "skyswarm.dev/app";
    /// Process type.
    pub const PROCESS: &str = "skyswarm.dev/process";
    /// Release: hash of the template that tasks are made from.
    pub const RELEASE: &str = "skyswarm.dev/release";
    /// Generation that made the object.
    pub const GENERATION: &str = "skyswarm.dev/generation";
    /// Hash of the spec as we last wrote it, scale left out: tells what others changed from what we would render otherwise now.
    pub const SPEC_HASH: &str = "skyswarm.dev/spec-hash";
    /// Scale as we last set it, so that somebody else's is known from our own.
    pub const SCALE: &str = "skyswarm.dev/scale";
    /// Epoch of the leader that wrote it.
    pub const EPOCH: &str = "skyswarm.dev/epoch";
    /// Port that the process listens on (container label).
    pub const PORT: &str = "skyswarm.dev/port";
    /// Health check as JSON of `HealthSpec` (container label).
    pub const HEALTH: &str = "skyswarm.dev/health";
    /// On a service that somebody else made and that was taken over: `true`. Its tasks carry no label of ours.
    pub const ADOPTED: &str = "skyswarm.dev/adopted";
    /// Key of a secret.
    pub const SECRET_KEY: &str = "skyswarm.dev/secret-key";
}
