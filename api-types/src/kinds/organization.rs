//! Organization: a tenant. Every other tenant object belongs to one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

super::object!(
    /// A tenant.
    Organization, OrganizationKind, OrganizationSpec, OrganizationStatus
);

/// Desired state of an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrganizationSpec {
    /// Name for people, at most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub display_name: Option<String>,
}

/// What was observed of an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationStatus {
    /// Number of its apps.
    pub apps: i64,
}
