//! The real store, and between it and the API the failures that a test asks for.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use api_types::api::{ApplyResult, JoinTokenInfo, RollbackRequest, ScaleRequest};
use api_types::event::Event;
use api_types::kinds::node::Availability;
use api_types::token::TokenInfo;
use api_types::{
    AppName, AppSpec, Certificate, CertificateName, Domain, EnvKey, Host, Manifest, Node, OrgName, Organization, ProcessName, SecretValue,
    Setting, SettingKey,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::Value;
use uuid::Uuid;

use crate::api::backend::{Backend, Read, Write};
use crate::store::{
    AppRecord, Change, ChangeLook, Changed, Cursor, EventQuery, ListQuery, NewToken, Restored, Revision, Scope, Store, StoreError,
    TokenLookup, Tombstone, WriteContext,
};

/// How a call fails, when it does.
pub(super) struct Faulty {
    pub(super) store: Store,
    pub(super) down: AtomicBool,
    pub(super) broken: AtomicBool,
    pub(super) slow: AtomicBool,
    pub(super) panics: AtomicBool,
}

impl Faulty {
    pub(super) fn new(store: Store) -> Self {
        let off = || AtomicBool::new(false);
        Self { store, down: off(), broken: off(), slow: off(), panics: off() }
    }

    async fn gate(&self) -> Result<(), StoreError> {
        if self.panics.load(Relaxed) {
            panic!("secret detail of the panic");
        }
        if self.slow.load(Relaxed) {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        if self.broken.load(Relaxed) {
            return Err(StoreError::Missing { what: "secret detail of the error" });
        }
        if self.down.load(Relaxed) {
            return Err(StoreError::deadline("secret detail of the query"));
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for Faulty {
    async fn ping(&self) -> Read<()> {
        self.gate().await?;
        self.store.ping().await
    }
    async fn token_find(&self, presented: &str) -> Read<TokenLookup> {
        self.gate().await?;
        self.store.token_find(presented).await
    }
    async fn token_create(&self, new: &NewToken<'_>) -> Read<(TokenInfo, SecretString)> {
        self.store.token_create(new).await
    }
    async fn token_list(&self, org: Option<&OrgName>) -> Read<Vec<TokenInfo>> {
        self.store.token_list(org).await
    }
    async fn token_revoke(&self, org: Option<&OrgName>, id: Uuid) -> Read<bool> {
        self.store.token_revoke(org, id).await
    }
    async fn token_used(&self, ids: &[Uuid]) -> Read<()> {
        self.store.token_used(ids).await
    }
    async fn token_ended(&self, ids: &[Uuid]) -> Read<Vec<Uuid>> {
        self.store.token_ended(ids).await
    }
    async fn apply(&self, items: &[Manifest], cx: &WriteContext) -> Write<Vec<ApplyResult>> {
        self.store.apply(items, cx).await
    }
    async fn app_get(&self, org: &OrgName, name: &AppName) -> Read<Option<AppRecord>> {
        self.store.app_get(org, name).await
    }
    async fn app_page(&self, org: &OrgName, query: &ListQuery) -> Read<Vec<AppRecord>> {
        self.store.app_page(org, query).await
    }
    async fn app_delete(&self, org: &OrgName, name: &AppName, version: Option<i64>, cx: &WriteContext) -> Write<Option<AppRecord>> {
        self.store.app_delete(org, name, version, cx).await
    }
    async fn app_scale(&self, org: &OrgName, name: &AppName, req: &ScaleRequest, cx: &WriteContext) -> Write<Option<AppRecord>> {
        self.store.app_scale(org, name, req, cx).await
    }
    async fn app_change(&self, org: &OrgName, name: &AppName, change: Change<'_>, cx: &WriteContext) -> Write<Option<AppRecord>> {
        self.store.app_change(org, name, change, cx).await
    }
    async fn app_restart(
        &self,
        org: &OrgName,
        name: &AppName,
        what: (&BTreeSet<ProcessName>, Option<i64>),
        cx: &WriteContext,
    ) -> Write<Option<AppRecord>> {
        self.store.app_restart(org, name, what, cx).await
    }
    async fn secret_value(&self, uid: Uuid, org: &OrgName, key: &EnvKey, version: i64) -> Read<Option<SecretValue>> {
        self.store.secret_value(uid, org, key, version).await
    }
    async fn passwords_preview(&self, record: Option<&AppRecord>, spec: &AppSpec, next: i64) -> Read<AppSpec> {
        self.store.passwords_preview(record, spec, next).await
    }
    async fn revision_list(&self, uid: Uuid, limit: i64) -> Read<Vec<Revision>> {
        self.store.revision_list(uid, limit).await
    }
    async fn revision_get(&self, uid: Uuid, generation: i64) -> Read<Option<Revision>> {
        self.store.revision_get(uid, generation).await
    }
    async fn app_rollback(&self, org: &OrgName, name: &AppName, request: &RollbackRequest, cx: &WriteContext) -> Write<Option<Restored>> {
        self.store.app_rollback(org, name, request, cx).await
    }
    async fn app_retry(&self, org: &OrgName, name: &AppName, version: Option<i64>, cx: &WriteContext) -> Write<Option<Restored>> {
        self.store.app_retry(org, name, version, cx).await
    }
    async fn revision_page(&self, uid: Uuid, before: Option<i64>, at: Option<DateTime<Utc>>, limit: i64) -> Read<Vec<Revision>> {
        self.store.revision_page(uid, before, at, limit).await
    }
    async fn observation_get(&self, uid: Uuid) -> Read<Option<(Value, DateTime<Utc>)>> {
        self.store.observation_get(uid).await
    }
    async fn org_get(&self, org: &OrgName) -> Read<Option<Organization>> {
        self.store.org_get(org).await
    }
    async fn org_list(&self) -> Read<Vec<Organization>> {
        self.store.org_list().await
    }
    async fn org_delete(&self, org: &OrgName, expected: Option<i64>, cx: &WriteContext) -> Write<bool> {
        self.store.org_delete(org, expected, cx).await
    }
    async fn domain_list(&self, org: Option<&OrgName>) -> Read<Vec<Domain>> {
        self.store.domain_list(org).await
    }
    async fn domain_page(&self, org: &OrgName, query: &ListQuery) -> Read<Vec<Domain>> {
        self.store.domain_page(org, query).await
    }
    async fn domain_get(&self, host: &Host) -> Read<Option<Domain>> {
        self.store.domain_get(host).await
    }
    async fn domain_delete(&self, org: &OrgName, host: &Host, expected: Option<i64>, cx: &WriteContext) -> Write<bool> {
        self.store.domain_delete(org, host, expected, cx).await
    }
    async fn node_list(&self) -> Read<Vec<Node>> {
        self.store.node_list().await
    }
    async fn join_token_create(&self, lifetime: Duration, cx: &WriteContext) -> Read<Option<JoinTokenInfo>> {
        self.gate().await?;
        self.store.join_token_create(lifetime, cx).await
    }
    async fn node_ask(&self, id: &str, wanted: Availability, cx: &WriteContext) -> Write<()> {
        self.gate().await?;
        self.store.node_ask(id, wanted, cx).await
    }
    async fn event_page(&self, org: Option<&OrgName>, object: Option<(&str, &str)>, query: &EventQuery) -> Read<Vec<Event>> {
        self.store.event_page(org, object, query).await
    }
    async fn certificate_list(&self) -> Read<Vec<Certificate>> {
        self.gate().await?;
        self.store.certificate_list().await
    }
    async fn certificate_get(&self, name: &CertificateName) -> Read<Option<Certificate>> {
        self.gate().await?;
        self.store.certificate_get(name).await
    }
    async fn certificate_delete(&self, name: &CertificateName, expected: Option<i64>, cx: &WriteContext) -> Write<bool> {
        self.gate().await?;
        self.store.certificate_delete(name, expected, cx).await
    }
    async fn setting_list(&self) -> Read<Vec<Setting>> {
        self.store.setting_list().await
    }
    async fn setting_get(&self, key: &SettingKey) -> Read<Option<Setting>> {
        self.store.setting_get(key).await
    }
    async fn setting_reset(&self, key: &SettingKey, expected: Option<i64>, cx: &WriteContext) -> Write<()> {
        self.store.setting_reset(key, expected, cx).await
    }
}

#[async_trait]
impl crate::api::watch::source::ChangeSource for Faulty {
    fn change_hints(&self) -> tokio::sync::mpsc::Receiver<crate::store::StoreHint> {
        self.store.watch()
    }
    async fn change_cursor(&self) -> Read<Cursor> {
        self.gate().await?;
        self.store.change_cursor().await
    }
    async fn change_cursor_is_known(&self, cursor: Cursor) -> Read<bool> {
        self.store.change_cursor_is_known(cursor).await
    }
    async fn change_look(&self, since: Cursor) -> Read<ChangeLook> {
        self.gate().await?;
        self.store.change_look(since).await
    }
    async fn watch_list(&self, scope: &Scope, query: &ListQuery) -> Read<Vec<Changed>> {
        self.gate().await?;
        self.store.watch_list(scope, query).await
    }
    async fn watch_changes(&self, scope: &Scope, since: Cursor, after: Option<(Cursor, &str)>, limit: i64) -> Read<Vec<Changed>> {
        self.gate().await?;
        self.store.watch_changes(scope, since, after, limit).await
    }
    async fn tombstones_since(&self, scope: &Scope, since: Cursor) -> Read<Option<Vec<Tombstone>>> {
        self.gate().await?;
        self.store.tombstones_since(scope, since).await
    }
    async fn tombstones_prune(&self, keep: Duration) -> Read<u64> {
        self.store.tombstones_prune(keep).await
    }
}

#[async_trait]
impl crate::api::insight::Insight for Faulty {
    async fn heartbeat_list(&self) -> Read<Vec<api_types::platform::ServerProcess>> {
        self.store.heartbeat_list().await
    }
    async fn glance_counts(&self, org: Option<&OrgName>) -> Read<api_types::platform::AppCounts> {
        self.store.glance_counts(org).await
    }
    async fn glance_not_ready(&self, org: Option<&OrgName>, limit: i64) -> Read<Vec<api_types::platform::AppLine>> {
        self.store.glance_not_ready(org, limit).await
    }
    async fn glance_unreconciled(&self, org: Option<&OrgName>) -> Read<Option<api_types::platform::Unreconciled>> {
        self.store.glance_unreconciled(org).await
    }
    async fn glance_behind(&self, org: Option<&OrgName>) -> Read<Option<(i64, String)>> {
        self.store.glance_behind(org).await
    }
    async fn glance_failures(&self, org: Option<&OrgName>, since: DateTime<Utc>) -> Read<i64> {
        self.store.glance_failures(org, since).await
    }
    async fn glance_ahead(&self, uid: Uuid) -> Read<i64> {
        self.store.glance_ahead(uid).await
    }
    async fn revision_failure_get(&self, uid: Uuid, generation: i64) -> Read<Option<api_types::why::Witness>> {
        self.store.revision_failure_get(uid, generation).await
    }
}

#[async_trait]
impl crate::api::upkeep::Upkeep for Faulty {
    async fn app_pause(
        &self,
        org: &OrgName,
        name: &AppName,
        what: (&api_types::drift::PauseRequest, Option<i64>),
        cx: &WriteContext,
    ) -> Write<Option<AppRecord>> {
        self.store.app_pause(org, name, what, cx).await
    }
    async fn app_resume(&self, org: &OrgName, name: &AppName, expected: Option<i64>, cx: &WriteContext) -> Write<Option<AppRecord>> {
        self.store.app_resume(org, name, expected, cx).await
    }
    async fn drift_list(
        &self,
        org: &OrgName,
        app: Option<&AppName>,
        range: (Option<DateTime<Utc>>, Option<i64>),
        limit: i64,
    ) -> Read<Vec<api_types::drift::DriftRecord>> {
        self.gate().await?;
        self.store.drift_list(org, app, range, limit).await
    }
    async fn drift_count(&self, org: Option<&OrgName>, since: DateTime<Utc>) -> Read<i64> {
        self.store.drift_count(org, since).await
    }
}
