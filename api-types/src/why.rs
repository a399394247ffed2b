//! Why an app is as it is: the answer of `GET /v1/orgs/{org}/apps/{name}/why`, and the closed list of cases.
//!
//! Each [`Case`] has a section of `docs/troubleshooting.md`, whose anchor is the case's word.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::{ConditionStatus, Reason};

/// The page that explains the cases.
pub const PAGE: &str = "docs/troubleshooting.md";

/// What is the matter. A closed list: programs may match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    /// Nothing: the app is ready.
    Ready,
    /// A rollout is under way, and nothing is wrong with it so far.
    RollingOut,
    /// The image does not exist.
    ImageMissing,
    /// The registry wants credentials that it was not given.
    RegistryRefuses,
    /// The registry does not answer.
    RegistryUnreachable,
    /// A process ends, where it should keep running.
    Crash,
    /// A process needs more memory than its limit.
    OutOfMemory,
    /// The process runs, but does not answer its health check as wanted.
    HealthCheck,
    /// The process runs, but nothing listens on its port.
    PortClosed,
    /// A node cannot start the task.
    TaskRejected,
    /// No node has room for a task, or fits it.
    NoNodeFits,
    /// The Swarm has no free subnet for the app's network.
    AddressPoolExhausted,
    /// An object of somebody else has a name that the app needs.
    NameTaken,
    /// A service that the app is to take over is not as the app describes it.
    AdoptionRefused,
    /// The engine refused what was asked of it.
    EngineRefused,
    /// The proxy does not send requests for the app's hosts to its tasks.
    DomainNotRouted,
    /// The rollout made no progress within its deadline, and nothing says why.
    DeadlineExceeded,
    /// A host belongs to another app, so that an apply was refused.
    HostInUse,
    /// A host is none that an app may have, so that an apply was refused.
    UnsafeHost,
    /// The database does not answer.
    DatabaseUnreachable,
    /// The engine does not answer.
    EngineUnreachable,
    /// The proxy does not answer.
    EdgeUnreachable,
    /// The database was set back, so that the engine is ahead of it.
    StoreBehindCluster,
    /// No controller leads, so nothing is carried out.
    NoController,
    /// Somebody paused the app.
    Paused,
    /// Somebody changed the app on the engine by hand, and `spec.driftPolicy` says to hold it.
    DriftHeld,
    /// The change waits for its turn.
    Queued,
    /// The app is being deleted.
    Deleting,
    /// Something else; the conditions say what is known.
    Other,
}

impl Case {
    /// All of them.
    pub const ALL: [Self; 29] = [
        Self::Ready,
        Self::RollingOut,
        Self::ImageMissing,
        Self::RegistryRefuses,
        Self::RegistryUnreachable,
        Self::Crash,
        Self::OutOfMemory,
        Self::HealthCheck,
        Self::PortClosed,
        Self::TaskRejected,
        Self::NoNodeFits,
        Self::AddressPoolExhausted,
        Self::NameTaken,
        Self::AdoptionRefused,
        Self::EngineRefused,
        Self::DomainNotRouted,
        Self::DeadlineExceeded,
        Self::HostInUse,
        Self::UnsafeHost,
        Self::DatabaseUnreachable,
        Self::EngineUnreachable,
        Self::EdgeUnreachable,
        Self::StoreBehindCluster,
        Self::NoController,
        Self::Paused,
        Self::DriftHeld,
        Self::Queued,
        Self::Deleting,
        Self::Other,
    ];

    /// The word of the case, which is also the anchor of its section.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::RollingOut => "rolling-out",
            Self::ImageMissing => "image-missing",
            Self::RegistryRefuses => "registry-refuses",
            Self::RegistryUnreachable => "registry-unreachable",
            Self::Crash => "crash",
            Self::OutOfMemory => "out-of-memory",
            Self::HealthCheck => "health-check",
            Self::PortClosed => "port-closed",
            Self::TaskRejected => "task-rejected",
            Self::NoNodeFits => "no-node-fits",
            Self::AddressPoolExhausted => "address-pool-exhausted",
            Self::NameTaken => "name-taken",
            Self::AdoptionRefused => "adoption-refused",
            Self::EngineRefused => "engine-refused",
            Self::DomainNotRouted => "domain-not-routed",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::HostInUse => "host-in-use",
            Self::UnsafeHost => "unsafe-host",
            Self::DatabaseUnreachable => "database-unreachable",
            Self::EngineUnreachable => "engine-unreachable",
            Self::EdgeUnreachable => "edge-unreachable",
            Self::StoreBehindCluster => "store-behind-cluster",
            Self::NoController => "no-controller",
            Self::Paused => "paused",
            Self::DriftHeld => "drift-held",
            Self::Queued => "queued",
            Self::Deleting => "deleting",
            Self::Other => "other",
        }
    }

    /// Where the case is explained, such as `docs/troubleshooting.md#crash`.
    pub fn page(self) -> String {
        format!("{PAGE}#{}", self.word())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One link of the chain from `Ready` to the cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// What it is about: the type of a condition, or a part such as `controller`, `engine`, `queue`, or `task web.1`.
    pub about: String,
    /// Status of the condition; absent for what is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ConditionStatus>,
    /// Reason of the condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What is known, in a sentence.
    pub message: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// On which node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// Last lines of a replica's log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogExcerpt {
    /// Whose lines, such as `web.1`.
    pub replica: String,
    /// The lines, oldest first; long ones are cut.
    pub lines: Vec<String>,
    /// Why there are none, when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// Characters of a line that are kept.
const LINE_LENGTH: usize = 400;

impl LogExcerpt {
    /// The beginning of a line.
    pub fn cut(line: &str) -> String {
        let mut text: String = line.chars().take(LINE_LENGTH).collect();
        if line.chars().nth(LINE_LENGTH).is_some() {
            text.push('…');
        }
        text
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// In words.
    pub text: String,
    /// A command that does it, or shows more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// The task that shows a cause best. Kept with a failed revision, because the engine forgets a task with its service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    /// Process type.
    pub process: String,
    /// Number of the replica, from 1.
    pub slot: u64,
    /// The task's id on the engine.
    pub task: String,
    /// Node that it was on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its state on the engine, such as `failed`.
    pub state: String,
    /// What happened to it, in a sentence.
    pub message: String,
    /// What happened to it, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Exit code of its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// When it came into that state.
    pub since: DateTime<Utc>,
    /// Its last lines, once they were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogExcerpt>,
}

impl Witness {
    /// The replica as it is called in logs, such as `web.1`.
    pub fn replica(&self) -> String {
        format!("{}.{}", self.process, self.slot)
    }
}

/// Why an app is as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// Organisation.
    pub org: String,
    /// App.
    pub name: String,
    /// Its newest generation, which this is about.
    pub generation: i64,
    /// Whether the newest generation is ready; `Unknown` when nobody can say now.
    pub ready: ConditionStatus,
    /// What is the matter.
    pub case: Case,
    /// What is the matter, in plain words.
    pub summary: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// On which node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The generation whose tasks alone answer requests now, when one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving_generation: Option<i64>,
    /// From `Ready` to the cause.
    pub chain: Vec<Link>,
    /// Last lines of the task that shows the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogExcerpt>,
    /// What to do, the most likely first.
    pub next: Vec<Advice>,
    /// Where the case is explained, such as `docs/troubleshooting.md#crash`.
    pub see: String,
    /// When this was put together.
    pub time: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_at_a_character() {
        assert_eq!(LogExcerpt::cut("short"), "short");
        let long = LogExcerpt::cut(&"ä".repeat(1_000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (LINE_LENGTH + 1, true));
    }

    #[test]
    fn words_are_what_json_has_and_each_is_there_once() {
        let mut words: Vec<&str> = Case::ALL.iter().map(|case| case.word()).collect();
        for case in Case::ALL {
            assert_eq!(serde_json::to_value(case).expect("a word"), case.word());
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Case::ALL.len());
        // `ALL` is complete when the schema has no further word.
        let schema = schemars::schema_for!(Case).to_value().to_string();
        assert_eq!(schema.matches("\"const\":").count(), Case::ALL.len(), "{schema}");
    }
}
