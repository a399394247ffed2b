//! The only SQL. Desired state, revisions, verdicts, routes, events, leases, tokens and settings.

use std::collections::BTreeMap;

use api_types::kinds::app::{AppSpec, AppStatus, Verdict};
use api_types::name::{LabelKey, LabelValue};
use api_types::{AppName, EnvKey, OrgName};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// An app as it is stored: desired state of the newest generation, and the last status.
#[derive(Debug, Clone, PartialEq)]
pub struct AppRecord {
    /// Organisation.
    pub org: OrgName,
    /// Name.
    pub name: AppName,
    /// Identity.
    pub uid: Uuid,
    /// Counts changes of the spec.
    pub generation: i64,
    /// Changes with every write.
    pub resource_version: i64,
    /// Labels.
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Clean-up still owed.
    pub finalizers: Vec<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When deletion was asked for.
    pub deletion_timestamp: Option<DateTime<Utc>>,
    /// The spec; secret values are `None`.
    pub spec: AppSpec,
    /// Version of each secret that the spec names.
    pub secret_versions: BTreeMap<EnvKey, i64>,
    /// Last status.
    pub status: AppStatus,
}

/// One generation of an app, immutable but for what was found out about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// The generation.
    pub generation: i64,
    /// Its spec; secret values are `None`.
    pub spec: AppSpec,
    /// Version of each secret that the spec names.
    pub secret_versions: BTreeMap<EnvKey, i64>,
    /// What the image reference was resolved to.
    pub resolved_image: Option<String>,
    /// Outcome.
    pub verdict: Verdict,
    /// Who wrote it.
    pub author: String,
    /// From where, such as `apply` or `scale`.
    pub source: String,
    /// When.
    pub created_at: DateTime<Utc>,
}
