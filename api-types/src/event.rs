//! Events: what the controller did or saw, for people. They are deduplicated and never drive anything.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether an event needs a person's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EventType {
    /// An ordinary step.
    Normal,
    /// Something failed or may need an act.
    Warning,
}

/// Something that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Order of first appearance.
    pub id: i64,
    /// Kind of the object, such as `App`.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Normal or Warning.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// Short, closed-list word: the condition's reason or the step's name.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// The object's generation at the time.
    pub generation: i64,
    /// How often the same event was seen.
    pub count: i32,
    /// When it was first seen.
    pub first_seen: DateTime<Utc>,
    /// When it was last seen.
    pub last_seen: DateTime<Utc>,
}
