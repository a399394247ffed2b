//! The real store behind the API's trait: every method is the store's of the same name.

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

use super::backend::{Backend, Read, Write};
use crate::store::{AppRecord, Change, EventQuery, ListQuery, NewToken, Restored, Revision, Store, TokenLookup, WriteContext};

#[async_trait]
impl Backend for Store {
    async fn ping(&self) -> Read<()> {
        Store::ping(self).await
    }
    async fn token_find(&self, presented: &str) -> Read<TokenLookup> {
        Store::token_find(self, presented).await
    }
    async fn token_create(&self, new: &NewToken<'_>) -> Read<(TokenInfo, SecretString)> {
        Store::token_create(self, new).await
    }
    async fn token_list(&self, org: Option<&OrgName>) -> Read<Vec<TokenInfo>> {
        Store::token_list(self, org).await
    }
    async fn token_revoke(&self, org: Option<&OrgName>, id: Uuid) -> Read<bool> {
        Store::token_revoke(self, org, id).await
    }
    async fn token_used(&self, ids: &[Uuid]) -> Read<()> {
        Store::token_used(self, ids).await
    }
    async fn token_ended(&self, ids: &[Uuid]) -> Read<Vec<Uuid>> {
        Store::token_ended(self, ids).await
    }
    async fn apply(&self, items: &[Manifest], cx: &WriteContext) -> Write<Vec<ApplyResult>> {
        Store::apply(self, items, cx).await
    }
    async fn app_get(&self, org: &OrgName, name: &AppName) -> Read<Option<AppRecord>> {
        Store::app_get(self, org, name).await
    }
    async fn app_page(&self, org: &OrgName, query: &ListQuery) -> Read<Vec<AppRecord>> {
        Store::app_page(self, org, query).await
    }
    async fn app_delete(
        &self,
        org: &OrgName,
        name: &AppName,
        resource_version: Option<i64>,
        cx: &WriteContext,
    ) -> Write<Option<AppRecord>> {
        Store::app_delete(self, org, name, resource_version, cx).await
    }
    async fn app_scale(&self, org: &OrgName, name: &AppName, req: &ScaleRequest, cx: &WriteContext) -> Write<Option<AppRecord>> {
        Store::app_scale(self, org, name, req, cx).await
    }
    async fn app_change(&self, org: &OrgName, name: &AppName, change: Change<'_>, cx: &WriteContext) -> Write<Option<AppRecord>> {
        Store::app_change(self, org, name, change, cx).await
    }
    async fn app_restart(
        &self,
        org: &OrgName,
        name: &AppName,
        what: (&BTreeSet<ProcessName>, Option<i64>),
        cx: &WriteContext,
    ) -> Write<Option<AppRecord>> {
        Store::app_restart(self, org, name, what, cx).await
    }
    async fn secret_value(&self, app_uid: Uuid, org: &OrgName, key: &EnvKey, version: i64) -> Read<Option<SecretValue>> {
        Store::secret_value(self, app_uid, org, key, version).await
    }
    async fn passwords_preview(&self, record: Option<&AppRecord>, spec: &AppSpec, next: i64) -> Read<AppSpec> {
        Store::passwords_preview(self, record, spec, next).await
    }
    async fn revision_list(&self, uid: Uuid, limit: i64) -> Read<Vec<Revision>> {
        Store::revision_list(self, uid, limit).await
    }
    async fn revision_get(&self, uid: Uuid, generation: i64) -> Read<Option<Revision>> {
        Store::revision_get(self, uid, generation).await
    }
    async fn app_rollback(&self, org: &OrgName, name: &AppName, request: &RollbackRequest, cx: &WriteContext) -> Write<Option<Restored>> {
        Store::app_rollback(self, org, name, request, cx).await
    }
    async fn app_retry(&self, org: &OrgName, name: &AppName, version: Option<i64>, cx: &WriteContext) -> Write<Option<Restored>> {
        Store::app_retry(self, org, name, version, cx).await
    }
    async fn revision_page(&self, uid: Uuid, before: Option<i64>, at: Option<DateTime<Utc>>, limit: i64) -> Read<Vec<Revision>> {
        Store::revision_page(self, uid, before, at, limit).await
    }
    async fn observation_get(&self, uid: Uuid) -> Read<Option<(Value, DateTime<Utc>)>> {
        Store::observation_get(self, uid).await
    }
    async fn org_get(&self, org: &OrgName) -> Read<Option<Organization>> {
        Store::org_get(self, org).await
    }
    async fn org_list(&self) -> Read<Vec<Organization>> {
        Store::org_list(self).await
    }
    async fn org_delete(&self, org: &OrgName, expected: Option<i64>, cx: &WriteContext) -> Write<bool> {
        Store::org_delete(self, org, expected, cx).await
    }
    async fn domain_list(&self, org: Option<&OrgName>) -> Read<Vec<Domain>> {
        Store::domain_list(self, org).await
    }
    async fn domain_page(&self, org: &OrgName, query: &ListQuery) -> Read<Vec<Domain>> {
        Store::domain_page(self, org, query).await
    }
    async fn domain_get(&self, host: &Host) -> Read<Option<Domain>> {
        Store::domain_get(self, host).await
    }
    async fn domain_delete(&self, org: &OrgName, host: &Host, expected: Option<i64>, cx: &WriteContext) -> Write<bool> {
        Store::domain_delete(self, org, host, expected, cx).await
    }
    async fn node_list(&self) -> Read<Vec<Node>> {
        Store::node_list(self).await
    }
    async fn node_ask(&self, id: &str, wanted: Availability, cx: &WriteContext) -> Write<()> {
        Store::node_ask(self, id, wanted, cx).await
    }
    async fn event_page(&self, org: Option<&OrgName>, object: Option<(&str, &str)>, query: &EventQuery) -> Read<Vec<Event>> {
        Store::event_page(self, org, object, query).await
    }
    async fn certificate_list(&self) -> Read<Vec<Certificate>> {
        Store::certificate_list(self).await
    }
    async fn certificate_get(&self, name: &CertificateName) -> Read<Option<Certificate>> {
        Store::certificate_get(self, name).await
    }
    async fn certificate_delete(&self, name: &CertificateName, expected: Option<i64>, cx: &WriteContext) -> Write<bool> {
        Store::certificate_delete(self, name, expected, cx).await
    }
    async fn setting_list(&self) -> Read<Vec<Setting>> {
        Store::setting_list(self).await
    }
    async fn setting_get(&self, key: &SettingKey) -> Read<Option<Setting>> {
        Store::setting_get(self, key).await
    }
    async fn setting_reset(&self, key: &SettingKey, expected: Option<i64>, cx: &WriteContext) -> Write<()> {
        Store::setting_reset(self, key, expected, cx).await
    }
}
