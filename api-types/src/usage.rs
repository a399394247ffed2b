//! What the tasks of apps use now.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What running tasks use, measured for this answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// When.
    pub measured_at: DateTime<Utc>,
    /// The node whose engine was asked. Tasks of other nodes have no figures: an engine knows its own containers only.
    pub node: String,
    /// Running tasks, by app, process and replica.
    pub tasks: Vec<TaskUsage>,
}

/// What one task uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskUsage {
    /// The app.
    pub app: String,
    /// Its process type.
    pub process: String,
    /// Which replica, such as `web.2`.
    pub replica: String,
    /// The node that it runs on.
    pub node: String,
    /// Processor time in thousandths of a core, over the last second; absent when it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<i64>,
    /// Memory in bytes, without caches that can be taken back; absent when it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<i64>,
}
