//! What the API needs of the database: the store's methods that handlers call, and no others.
//!
//! It is a trait so that a test can put failures between the routes and a real store, and so that one list
//! says what the API may do with the database. It is no general repository: add a method only when a route
//! needs it.

use api_types::api::{ApplyResult, RollbackRequest, ScaleRequest};
use api_types::event::Event;
use api_types::kinds::node::Availability;
use api_types::token::TokenInfo;
use api_types::{
    AppName, AppSpec, Certificate, CertificateName, Domain, EnvKey, Host, Manifest, Node, OrgName, Organization, ProcessName, SecretValue,
    Setting, SettingKey,
};
use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::Value;
use uuid::Uuid;

use crate::store::{
    AppRecord, Change, EventQuery, ListQuery, NewToken, Restored, Revision, StoreError, TokenLookup, WriteContext, WriteError,
};

/// Result of a read.
pub type Read<T> = Result<T, StoreError>;
/// Result of a write.
pub type Write<T> = Result<T, WriteError>;

/// See the module.
#[async_trait]
pub trait Backend: super::insight::Insight + super::upkeep::Upkeep + super::watch::source::ChangeSource {
    /// Answers when the database does.
    async fn ping(&self) -> Read<()>;
    /// Whose token this is, or why it is none.
    async fn token_find(&self, presented: &str) -> Read<TokenLookup>;
    /// Makes a token; its text is given this once.
    async fn token_create(&self, new: &NewToken<'_>) -> Read<(TokenInfo, SecretString)>;
    /// Tokens by name.
    async fn token_list(&self, org: Option<&OrgName>) -> Read<Vec<TokenInfo>>;
    /// Takes a token back; `false` when there is none.
    async fn token_revoke(&self, org: Option<&OrgName>, id: Uuid) -> Read<bool>;
    /// Notes that tokens are in use.
    async fn token_used(&self, ids: &[Uuid]) -> Read<()>;
    /// Which of some tokens are no longer good.
    async fn token_ended(&self, ids: &[Uuid]) -> Read<Vec<Uuid>>;

    /// Writes all items in one transaction, or none.
    async fn apply(&self, items: &[Manifest], cx: &WriteContext) -> Write<Vec<ApplyResult>>;

    /// One app.
    async fn app_get(&self, org: &OrgName, name: &AppName) -> Read<Option<AppRecord>>;
    /// A part of the apps, by name.
    async fn app_page(&self, org: &OrgName, query: &ListQuery) -> Read<Vec<AppRecord>>;
    /// Asks for deletion; `None` when there is no such app.
    async fn app_delete(&self, org: &OrgName, name: &AppName, resource_version: Option<i64>, cx: &WriteContext)
    -> Write<Option<AppRecord>>;
    /// Changes replicas; `None` when there is no such app.
    async fn app_scale(&self, org: &OrgName, name: &AppName, req: &ScaleRequest, cx: &WriteContext) -> Write<Option<AppRecord>>;
    /// Applies what a function makes of an app; `None` when there is no such app.
    async fn app_change(&self, org: &OrgName, name: &AppName, change: Change<'_>, cx: &WriteContext) -> Write<Option<AppRecord>>;
    /// Counts a restart of these process types, all when there are none; `None` when there is no such app.
    async fn app_restart(
        &self,
        org: &OrgName,
        name: &AppName,
        what: (&BTreeSet<ProcessName>, Option<i64>),
        cx: &WriteContext,
    ) -> Write<Option<AppRecord>>;
    /// A stored secret, to compare with a wanted one.
    async fn secret_value(&self, app_uid: Uuid, org: &OrgName, key: &EnvKey, version: i64) -> Read<Option<SecretValue>>;
    /// A spec with the versions that its passwords would get; nothing is written.
    async fn passwords_preview(&self, record: Option<&AppRecord>, spec: &AppSpec, next: i64) -> Read<AppSpec>;
    /// Newest first.
    async fn revision_list(&self, uid: Uuid, limit: i64) -> Read<Vec<Revision>>;
    /// One revision.
    async fn revision_get(&self, uid: Uuid, generation: i64) -> Read<Option<Revision>>;
    /// Goes back to an older revision; `None` when there is no such app.
    async fn app_rollback(&self, org: &OrgName, name: &AppName, request: &RollbackRequest, cx: &WriteContext) -> Write<Option<Restored>>;
    /// Tries the newest revision again, which has failed; `None` when there is no such app.
    async fn app_retry(&self, org: &OrgName, name: &AppName, resource_version: Option<i64>, cx: &WriteContext) -> Write<Option<Restored>>;
    /// Generations before one, and that were there at a time, newest first.
    async fn revision_page(&self, uid: Uuid, before: Option<i64>, at: Option<DateTime<Utc>>, limit: i64) -> Read<Vec<Revision>>;
    /// What the controller last observed of an app, and when.
    async fn observation_get(&self, uid: Uuid) -> Read<Option<(Value, DateTime<Utc>)>>;

    /// One organisation.
    async fn org_get(&self, org: &OrgName) -> Read<Option<Organization>>;
    /// Organisations by name.
    async fn org_list(&self) -> Read<Vec<Organization>>;
    /// Deletes an empty organisation; `false` when there is none.
    async fn org_delete(&self, org: &OrgName, expected: Option<i64>, cx: &WriteContext) -> Write<bool>;

    /// Domains by host.
    async fn domain_list(&self, org: Option<&OrgName>) -> Read<Vec<Domain>>;
    /// A part of the domains, by host.
    async fn domain_page(&self, org: &OrgName, query: &ListQuery) -> Read<Vec<Domain>>;
    /// One domain, of any organisation.
    async fn domain_get(&self, host: &Host) -> Read<Option<Domain>>;
    /// Deletes a free-standing domain; `false` when there is none.
    async fn domain_delete(&self, org: &OrgName, host: &Host, expected: Option<i64>, cx: &WriteContext) -> Write<bool>;

    /// Nodes by name.
    async fn node_list(&self) -> Read<Vec<Node>>;
    /// Asks that a node takes tasks, or takes none.
    async fn node_ask(&self, id: &str, wanted: Availability, cx: &WriteContext) -> Write<()>;
    /// A part of the events, newest last.
    async fn event_page(&self, org: Option<&OrgName>, object: Option<(&str, &str)>, query: &EventQuery) -> Read<Vec<Event>>;

    /// Certificates by name, without their keys.
    async fn certificate_list(&self) -> Read<Vec<Certificate>>;
    /// One certificate, without its key.
    async fn certificate_get(&self, name: &CertificateName) -> Read<Option<Certificate>>;
    /// Deletes a certificate with its key; `false` when there is none.
    async fn certificate_delete(&self, name: &CertificateName, expected: Option<i64>, cx: &WriteContext) -> Write<bool>;

    /// All settings, also those that show their default.
    async fn setting_list(&self) -> Read<Vec<Setting>>;
    /// One setting; `None` when there is no such key.
    async fn setting_get(&self, key: &SettingKey) -> Read<Option<Setting>>;
    /// Goes back to the default.
    async fn setting_reset(&self, key: &SettingKey, expected: Option<i64>, cx: &WriteContext) -> Write<()>;
}
