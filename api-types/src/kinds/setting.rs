//! Setting: one typed knob of the platform, kept in the database.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

super::object!(
    /// A platform setting; `metadata.name` is its key.
    Setting, SettingKind, SettingSpec, SettingStatus
);

/// The wanted value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SettingSpec {
    /// The value; its type depends on the key.
    pub value: serde_json::Value,
}

/// What is known of a setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettingStatus {
    /// What it does, its unit and its effect.
    pub description: String,
    /// `string`, `integer`, `boolean`, `duration`, `host`, or the allowed words joined by `|`.
    pub value_type: String,
    /// Value when nothing is set.
    pub default: serde_json::Value,
    /// Whether it is set, or shows the default.
    pub is_default: bool,
}
