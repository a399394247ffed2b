//! Domain: a host name that goes to an app. A host belongs to one app over all organisations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::name::AppName;

super::object!(
    /// A host name (its `metadata.name`) routed to an app. Domains written in an app's manifest become
    /// objects owned by that app.
    Domain, DomainKind, DomainSpec, DomainStatus
);

/// Desired state of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DomainSpec {
    /// The app that answers for this host.
    pub app: AppName,
}

/// What was observed of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainStatus {
    /// One per condition type.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}
