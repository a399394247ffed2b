//! Bodies of requests and answers that are not objects.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::diff::Change;
use crate::kinds::Kind;
use crate::kinds::app::{App, Verdict};
use crate::name::ProcessName;

/// A list of objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "{T}List")]
pub struct List<T> {
    /// How the list goes on, and where a watch of it begins.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The objects, by name.
    pub items: Vec<T>,
}

/// How a list goes on, and where a watch of it begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListMeta {
    /// There is more: send this as `continue`, with the same other parameters, to get it. Opaque.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
    /// A watch that begins with this as `resourceVersion` tells every change after this list. Opaque; absent
    /// from lists that cannot be watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

impl<T> List<T> {
    /// The same list, which tells where a watch of it begins.
    #[must_use]
    pub fn at(mut self, resource_version: Option<String>) -> Self {
        self.metadata.resource_version = resource_version;
        self
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> Self {
        Self { metadata: ListMeta::default(), items }
    }
}

/// Several manifests, applied together: all valid and written in one transaction, or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// The manifests, each a whole object.
    pub items: Vec<serde_json::Value>,
}

/// What an apply did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyResponse {
    /// One per object, in the order of the request.
    pub results: Vec<ApplyResult>,
    /// Whether nothing was written because a dry run was asked for.
    pub dry_run: bool,
}

/// What an apply did with one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyResult {
    /// Kind of the object.
    pub kind: Kind,
    /// Its organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// Its name.
    pub name: String,
    /// What happened.
    pub action: ApplyAction,
    /// Generation after the apply; 0 for kinds that have none.
    pub generation: i64,
    /// Resource version after the apply.
    pub resource_version: String,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApplyAction {
    /// It is new.
    Created,
    /// It changed.
    Configured,
    /// It was already so.
    Unchanged,
}

/// The steps that the controller would take, computed from what it last observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanResponse {
    /// The app.
    pub name: String,
    /// What an apply would do with the object itself.
    pub action: ApplyAction,
    /// Every field that would differ from what is stored; all of them for a new app. Of a secret it is told only that
    /// its value would be another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Steps in order; empty when nothing would change.
    pub steps: Vec<PlanStep>,
    /// When the controller last observed the app; absent for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<DateTime<Utc>>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStep {
    /// The step's word, such as `CreateService`. The controller's events carry the same word.
    pub action: String,
    /// One line for people; stable, so that it can be compared with what was done.
    pub description: String,
}

/// A manifest for something that runs or is described elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Draft {
    /// The services that it is made of, by their names there.
    pub services: Vec<String>,
    /// The manifest of an app; it can be applied as it is.
    pub manifest: serde_json::Value,
    /// What it does not carry over, and what to look at.
    pub notes: Vec<Note>,
}

/// Manifests for services that run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drafts {
    /// One for each app.
    pub drafts: Vec<Draft>,
    /// What concerns all of them.
    pub notes: Vec<Note>,
}

/// Something that a person should know about a draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// What it is about, such as `services.web.volumes`.
    pub path: String,
    /// What becomes of it, and what to do.
    pub message: String,
}

/// Wanted replicas by process type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleRequest {
    /// Processes not named keep their scale.
    pub processes: BTreeMap<ProcessName, u32>,
    /// Makes the write conditional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

/// Which processes of an app are to be restarted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestartRequest {
    /// Process types; all when there are none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub processes: BTreeSet<ProcessName>,
}

/// One revision of an app, as its history shows it. Its number is the generation that it made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionInfo {
    /// The number: the generation.
    pub generation: i64,
    /// Name of the token that wrote it.
    pub author: String,
    /// From where, such as `apply`, `scale`, `rollback` or `retry`.
    pub source: String,
    /// Program and address of the client, such as `skyctl/0.1.0 from 192.0.2.7`; empty when not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// The revision whose content a rollback or a retry took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub based_on: Option<i64>,
    /// When.
    pub time: DateTime<Utc>,
    /// What differs from the revision before, in one line.
    #[serde(default)]
    pub summary: String,
    /// Outcome.
    pub verdict: Verdict,
    /// Whether a newer revision took its place before it was proven or had failed; no verdict will come any more.
    #[serde(default)]
    pub superseded: bool,
    /// Whether its tasks answer requests now, as last observed; during a rollout those of more than one may.
    #[serde(default)]
    pub serving: bool,
    /// The image as it was written.
    pub image: String,
    /// The exact image that it was resolved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_image: Option<String>,
}

/// One revision with the manifest as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionDetail {
    /// The line of the history.
    pub revision: RevisionInfo,
    /// The manifest; secret values are `null`, which in an apply means "as it is stored now".
    pub manifest: App,
}

/// What differs between two revisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionDiff {
    /// The app.
    pub name: String,
    /// The revision that is compared from.
    pub from: i64,
    /// The revision that is compared to.
    pub to: i64,
    /// Every field that differs; empty when the two are the same.
    pub changes: Vec<Change>,
}

/// What to go back to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackRequest {
    /// Number of the revision; the last proven one before the newest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// Also when that revision has failed.
    #[serde(default)]
    pub force: bool,
    /// Makes the write conditional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

/// Makes a retry conditional.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryRequest {
    /// Refuse when the app has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

/// What a rollback or a retry did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackResponse {
    /// The app.
    pub name: String,
    /// The revision whose content was taken.
    pub based_on: i64,
    /// `configured`, or `unchanged` when the app is as that revision already.
    pub action: ApplyAction,
    /// Number of the new revision; the current one when nothing was to do.
    pub generation: i64,
    /// What differs from what was wanted before.
    pub changes: Vec<Change>,
    /// The steps that the controller will take, from what it last observed.
    pub steps: Vec<PlanStep>,
    /// Whether nothing was written because a dry run was asked for.
    pub dry_run: bool,
}

/// One line of an app's log; the log route answers with one JSON document per line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// When the process wrote it.
    pub time: DateTime<Utc>,
    /// Process type.
    pub process: String,
    /// Replica, such as `web.2`.
    pub replica: String,
    /// `stdout` or `stderr`.
    pub stream: LogStream,
    /// The text without its line end; invalid UTF-8 is replaced.
    pub line: String,
}

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and changes apps and domains.
    Member,
    /// Also organisations, tokens and, when the token has no organisation, settings.
    Admin,
}

/// Who the token belongs to and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhoAmI {
    /// Name given to the token.
    pub name: String,
    /// Organisation that it is limited to; absent for a platform token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// Its role.
    pub role: Role,
    /// Names the token, to revoke it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// When it ends; absent when never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// Version of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    /// Release of Skyswarm.
    pub version: String,
    /// API versions served.
    pub api_versions: Vec<String>,
}

/// State of the server for people and load balancers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthResponse {
    /// Whether everything that this role needs answers.
    pub ok: bool,
    /// Each part with `ok` or what is wrong.
    pub checks: BTreeMap<String, String>,
    /// Whether this process's controller leads or stands by, both of which are well; absent when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<ControllerState>,
}

/// What a process's controller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ControllerState {
    /// It works.
    Leading,
    /// Another one works; this one takes over when that one is gone.
    Standby,
}
