//! The platform at a glance: its processes, who leads, and what waits. Answers of `GET /v1/status`.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Reason;

/// A part that a process depends on, as the process last saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartState {
    /// Whether it answered as wanted.
    pub ok: bool,
    /// What it is, or what is wrong with it, in one line.
    pub detail: String,
}

/// What a controller has before it. Ages are seconds, counted from the heartbeat that reports them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueState {
    /// Apps whose turn it is, and that wait for a free run.
    pub due: u64,
    /// Apps that are to be looked at again later.
    pub scheduled: u64,
    /// Runs under way.
    pub running: u64,
    /// The app that has waited longest for its turn, as `org/app`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// For how long it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_seconds: Option<u64>,
    /// How long ago all apps were last listed; absent before the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resync_seconds: Option<u64>,
}

/// What a process says of itself with each heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessReport {
    /// Its roles: `api`, `controller`, `edge`.
    pub roles: Vec<String>,
    /// Host that it runs on.
    pub host: String,
    /// Its release.
    pub version: String,
    /// The engine that it drives; absent for a process that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<PartState>,
    /// The proxy that it runs; absent for a process that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<PartState>,
    /// Its queue; absent for a process that reconciles nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueState>,
}

/// A process of the server, by its heartbeats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerProcess {
    /// Its identity; a restarted process has another.
    pub id: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it last reported.
    pub heartbeat_at: DateTime<Utc>,
    /// Whether the last report is too old: the process is gone, or cannot reach the database.
    pub stale: bool,
    /// Epoch of its leadership; absent when it does not lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// What it last said.
    #[serde(flatten)]
    pub report: ProcessReport,
}

impl ServerProcess {
    /// Whether it has a role.
    pub fn has_role(&self, role: &str) -> bool {
        self.report.roles.iter().any(|own| own == role)
    }
}

/// Apps by whether they are ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppCounts {
    /// All of them.
    pub total: i64,
    /// `Ready` is `True`.
    pub ready: i64,
    /// `Ready` is `False`.
    pub not_ready: i64,
    /// `Ready` is `Unknown`, or nobody has looked yet.
    pub unknown: i64,
    /// A change that no controller has looked at yet.
    pub unreconciled: i64,
}

/// An app that is not ready, in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppLine {
    /// Organisation.
    pub org: String,
    /// Name.
    pub name: String,
    /// Reason of its condition `Ready`; absent while nobody has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Message of it.
    pub message: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
}

/// The app with the oldest change that no controller has looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unreconciled {
    /// Organisation.
    pub org: String,
    /// Name.
    pub name: String,
    /// Its newest generation.
    pub generation: i64,
    /// The last generation that was looked at.
    pub observed_generation: i64,
    /// When the oldest change was written that nobody has looked at.
    pub since: DateTime<Utc>,
}

/// The platform at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlatformStatus {
    /// Whether the platform itself does its work. An app that fails by its own fault does not count here.
    pub healthy: bool,
    /// What is wrong with the platform, each in one sentence, the most important first.
    pub problems: Vec<String>,
    /// Processes of the server. Empty for a token that is limited to an organisation.
    pub processes: Vec<ServerProcess>,
    /// Apps that the token may see.
    pub apps: AppCounts,
    /// Some of the apps that are not ready, those that became so last first.
    pub not_ready: Vec<AppLine>,
    /// The oldest change that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_unreconciled: Option<Unreconciled>,
    /// Generations that failed within the last hour.
    pub failures_last_hour: i64,
    /// Differences that somebody made behind the platform's back and that were found within the last hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_last_hour: Option<i64>,
    /// When this was put together.
    pub time: DateTime<Utc>,
}
