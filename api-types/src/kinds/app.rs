//! App: an image run as processes, with its configuration, scale, domains and rollout policy.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::edge::{EdgeSpec, Protocol};
use crate::condition::{Condition, Reason};
use crate::drift::DriftPolicy;
use crate::duration::HumanDuration;
use crate::image::ImageRef;
use crate::name::{EnvKey, Host, ProcessName};
use crate::quantity::{Cpu, Memory};
use crate::secret::SecretValue;

super::object!(
    /// An app as users write it, and as the platform observes it.
    App, AppKind, AppSpec, AppStatus
);

/// Most replicas of one process; more is a typing error until plans say otherwise.
pub const MAX_REPLICAS: u32 = 500;
/// Most process types of one app.
pub const MAX_PROCESSES: usize = 20;
/// Most domains of one app.
pub const MAX_DOMAINS: usize = 100;
/// Most variables (env and secrets together).
pub const MAX_VARIABLES: usize = 500;

/// Desired state of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppSpec {
    /// Image to run.
    pub image: ImageRef,
    /// When the registry is asked for the image. Kubernetes' rule is the default: `Always` for the tag
    /// `latest` or no tag, else `IfNotPresent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Plain environment variables of all processes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<EnvKey, String>,
    /// Secrets of all processes. Write-only: reading shows `null`, and `null` keeps what is stored.
    /// Each is mounted as the file `/run/secrets/<KEY>`, and `<KEY>_FILE` holds that path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<EnvKey, Option<SecretValue>>,
    /// Stops the app: no process has a task, and each keeps the scale that it is to have again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,
    /// Process types by name.
    pub processes: BTreeMap<ProcessName, ProcessSpec>,
    /// Custom domains. They go to the process `web`, or else to the only process with a port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Host>,
    /// What the edge does with requests before they reach the app. Changing it restarts nothing.
    #[serde(default, skip_serializing_if = "EdgeSpec::is_empty")]
    pub edge: EdgeSpec,
    /// How a new generation replaces the old one.
    #[serde(default)]
    pub rollout: RolloutSpec,
    /// What becomes of a change that somebody makes behind the platform's back: `correct` puts it right, `hold` leaves
    /// it until the spec changes. It is recorded either way.
    #[serde(default, skip_serializing_if = "DriftPolicy::is_default")]
    pub drift_policy: DriftPolicy,
}

impl AppSpec {
    /// The process that HTTP requests go to: `web` if it has a port, else the only one with a port.
    pub fn routed_process(&self) -> Option<(&ProcessName, &ProcessSpec, NonZeroU16)> {
        let mut with_port = self.processes.iter().filter_map(|(name, process)| process.port.map(|port| (name, process, port)));
        let first = with_port.clone().find(|(name, ..)| name.as_str() == "web");
        first.or_else(|| with_port.next().filter(|_| with_port.next().is_none()))
    }

    /// Replicas that a process of this app shall have now.
    pub fn wanted_replicas(&self, process: &ProcessSpec) -> u32 {
        if self.suspend { 0 } else { process.replicas }
    }

    /// The pull policy in force.
    pub fn effective_pull_policy(&self) -> ImagePullPolicy {
        self.image_pull_policy.unwrap_or(match (self.image.is_pinned(), self.image.tag()) {
            (true, _) => ImagePullPolicy::IfNotPresent,
            (false, None | Some("latest")) => ImagePullPolicy::Always,
            (false, Some(_)) => ImagePullPolicy::IfNotPresent,
        })
    }
}

/// When the registry is asked what a tag means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// At every new generation.
    Always,
    /// Only when the engine does not have the image.
    IfNotPresent,
    /// Never: the engine must have the image.
    Never,
}

/// One process type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessSpec {
    /// Command and its first arguments; replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Arguments; replace the image's `CMD`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Plain environment variables of this process alone; they win over those of the app.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<EnvKey, String>,
    /// Port that the process listens on. Without one it gets no requests. It is also given to the
    /// process as the variable `PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<NonZeroU16>,
    /// What it speaks there: `http`, or `h2c` (HTTP/2 without TLS) for gRPC.
    #[serde(default, skip_serializing_if = "Protocol::is_default")]
    pub protocol: Protocol,
    /// Wanted number of tasks, 0 to 500.
    #[serde(default = "one")]
    #[schemars(range(max = 500))]
    pub replicas: u32,
    /// Limits of each task.
    #[serde(default, skip_serializing_if = "ResourcesSpec::is_empty")]
    pub resources: ResourcesSpec,
    /// HTTP health check. Without one, a process with a port is healthy once the port accepts
    /// connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
    /// Time between SIGTERM and SIGKILL.
    #[serde(default = "default_grace")]
    pub stop_grace_period: HumanDuration,
    /// A Swarm service that runs already and becomes this process as it is, without a restart of a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<AdoptSpec>,
}

impl Default for ProcessSpec {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            port: None,
            protocol: Protocol::default(),
            replicas: one(),
            resources: ResourcesSpec::default(),
            health: None,
            stop_grace_period: default_grace(),
            adopt: None,
        }
    }
}

/// Which Swarm service a process takes over.
///
/// It has to be asked for in the apply itself, by an administrator of the platform, while the service runs exactly as the process
/// says. From then on the service is the process, until something that its tasks are made from changes: then a service of
/// the platform's own making replaces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdoptSpec {
    /// Name of the service.
    #[schemars(length(max = 63))]
    pub service: String,
}

impl AdoptSpec {
    /// Whether the engine could have a service of this name.
    pub fn is_valid(&self) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let starts_well = self.service.starts_with(|c: char| c.is_ascii_alphanumeric());
        self.service.len() <= 63 && starts_well && self.service.chars().all(plain)
    }
}

/// Limits of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourcesSpec {
    /// CPU limit, such as `500m`. The same amount is reserved on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory limit, such as `256Mi`. The same amount is reserved on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

impl ResourcesSpec {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An HTTP health check, made by the platform from outside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthSpec {
    /// Path that must answer with a status from 200 to 399.
    #[schemars(regex(pattern = r"^/[!-~]*$"), length(max = 1024))]
    pub path: String,
    /// Time between two checks of a healthy task.
    #[serde(default = "default_interval")]
    pub interval: HumanDuration,
    /// Longest wait for an answer.
    #[serde(default = "default_timeout")]
    pub timeout: HumanDuration,
    /// Failed checks in a row after which a task gets no more requests.
    #[serde(default = "default_threshold")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: u32,
}

/// How a new generation replaces the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutSpec {
    /// Whether new tasks start before old ones stop.
    #[serde(default)]
    pub order: RolloutOrder,
    /// How many tasks are replaced at a time.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 500))]
    pub parallelism: u32,
    /// How long new tasks must stay healthy before the generation counts as proven.
    #[serde(default = "default_window")]
    pub health_window: HumanDuration,
    /// How long the rollout may go without getting further before it has failed.
    #[serde(default = "default_deadline")]
    pub progress_deadline: HumanDuration,
}

impl Default for RolloutSpec {
    fn default() -> Self {
        Self { order: RolloutOrder::default(), parallelism: one(), health_window: default_window(), progress_deadline: default_deadline() }
    }
}

/// Order of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutOrder {
    /// Start new tasks, wait until they are healthy, then stop old ones. No request is lost.
    #[default]
    StartFirst,
    /// Stop old tasks first: for processes of which two must never run at once.
    StopFirst,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(value: &bool) -> bool {
    !*value
}
const fn one() -> u32 {
    1
}
const fn default_grace() -> HumanDuration {
    HumanDuration::from_secs(10)
}
const fn default_interval() -> HumanDuration {
    HumanDuration::from_secs(5)
}
const fn default_timeout() -> HumanDuration {
    HumanDuration::from_secs(2)
}
const fn default_threshold() -> u32 {
    3
}
const fn default_window() -> HumanDuration {
    HumanDuration::from_secs(10)
}
const fn default_deadline() -> HumanDuration {
    HumanDuration::from_secs(300)
}

/// What was observed of an app.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppStatus {
    /// The generation that the rest of the status is about.
    pub observed_generation: i64,
    /// One per condition type.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The generation that alone answers requests now (of an app without routes: whose tasks alone run); absent when
    /// none does, several do, or it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving_generation: Option<i64>,
    /// Every generation that answers now, oldest first, with how many tasks of it do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serving: Vec<ServingRevision>,
    /// The last generation that was proven to serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_generation: Option<i64>,
    /// Verdict of the observed generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// How far the observed generation has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// The exact image of the observed generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Counts per process type.
    #[serde(default)]
    pub processes: BTreeMap<ProcessName, ProcessStatus>,
    /// Addresses at which the app answers.
    #[serde(default)]
    pub urls: Vec<String>,
    /// The generation that the engine runs, when it is newer than any that the database knows. The next change gets a higher one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_generation: Option<i64>,
    /// With it: the newest version of a secret that the engine has. The next one gets a higher one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_secret_version: Option<i64>,
}

/// A generation that answers now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServingRevision {
    /// Its number.
    pub generation: i64,
    /// Tasks of it that answer.
    pub tasks: u32,
}

/// How far a generation has come; what deadlines are measured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The generation.
    pub generation: i64,
    /// When work on it began.
    pub started_at: DateTime<Utc>,
    /// When it last got further; `rollout.progressDeadline` counts from here.
    pub last_progress_at: DateTime<Utc>,
    /// How far it got, a number that only grows while there is progress.
    pub progress: i64,
    /// Since when all its tasks have been healthy; `rollout.healthWindow` counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<DateTime<Utc>>,
    /// Since when it cannot be seen how far it is, because the engine, the tasks or the proxy cannot be read; `rollout.progressDeadline` stands still meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<DateTime<Utc>>,
}

/// Counts of tasks of one process type.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessStatus {
    /// Wanted.
    pub desired: u32,
    /// Running, of any generation.
    pub running: u32,
    /// Running with this generation's configuration.
    pub updated: u32,
    /// Running with this generation's configuration and answering the health check.
    pub ready: u32,
}

/// Outcome of one generation. Durable: a failed generation is never applied again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Where it stands.
    pub phase: VerdictPhase,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What lay behind the reason, when the reason is a deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Reason>,
    /// Why it failed, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it was given.
    pub time: DateTime<Utc>,
}

impl Verdict {
    /// Whether the generation failed because its image could not be found or looked up.
    pub fn is_about_the_image(&self) -> bool {
        let about = [Reason::ImageNotFound, Reason::RegistryUnreachable, Reason::RegistryDenied];
        self.phase == VerdictPhase::Failed && [self.reason, self.cause].into_iter().flatten().any(|reason| about.contains(&reason))
    }
}

/// Phase of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum VerdictPhase {
    /// Written, not acted on.
    Pending,
    /// Being rolled out.
    Rolling,
    /// Proven to serve.
    Ready,
    /// Failed, for good.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(yaml_like: serde_json::Value) -> AppSpec {
        serde_json::from_value(yaml_like).expect("a valid spec")
    }

    #[test]
    fn three_lines_of_spec_are_enough() {
        let spec = spec(serde_json::json!({"image": "acme/shop:1", "processes": {"web": {"port": 8080}}}));
        let web = spec.processes.values().next().expect("one process");
        assert_eq!((web.replicas, web.stop_grace_period), (1, HumanDuration::from_secs(10)));
        assert_eq!(spec.rollout, RolloutSpec::default());
    }

    #[test]
    fn requests_go_to_web_or_to_the_only_process_with_a_port() {
        let routed = |processes: serde_json::Value| {
            spec(serde_json::json!({"image": "a", "processes": processes})).routed_process().map(|(name, ..)| name.to_string())
        };
        assert_eq!(routed(serde_json::json!({"web": {"port": 80}, "api": {"port": 81}})).as_deref(), Some("web"));
        assert_eq!(routed(serde_json::json!({"web": {}, "api": {"port": 81}})).as_deref(), Some("api"));
        assert_eq!(routed(serde_json::json!({"a": {"port": 80}, "b": {"port": 81}})), None);
        assert_eq!(routed(serde_json::json!({"worker": {}})), None);
    }

    #[test]
    fn the_pull_policy_follows_the_tag() {
        let policy = |image: &str| spec(serde_json::json!({"image": image, "processes": {}})).effective_pull_policy();
        assert_eq!(policy("a"), ImagePullPolicy::Always);
        assert_eq!(policy("a:latest"), ImagePullPolicy::Always);
        assert_eq!(policy("a:1"), ImagePullPolicy::IfNotPresent);
    }

    #[test]
    fn reading_back_shows_no_secret_and_keeps_the_key() {
        let spec = spec(serde_json::json!({"image": "a", "processes": {}, "secrets": {"KEY": "hunter2"}}));
        let text = serde_json::to_string(&spec).expect("serialises");
        assert!(text.contains(r#""secrets":{"KEY":null}"#) && !text.contains("hunter2"), "{text}");
    }
}
