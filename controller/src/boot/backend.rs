//! The store as the API's [`Backend`]: the same calls, with errors put into the API's classes.

use api_types::api::{ApplyResult, ScaleRequest, WhoAmI};
use api_types::event::Event;
use api_types::{AppName, Domain, EnvKey, Host, Manifest, Node, OrgName, Organization, SecretValue, Setting, SettingKey};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::api::backend::{Backend, BackendError, Read, Write, WriteContext, WriteFailure};
use crate::store::{self, AppRecord, Revision, Store, StoreError, WriteError};

/// The store behind the API.
#[derive(Debug, Clone)]
pub struct StoreBackend(pub Store);

fn read<T>(result: Result<T, StoreError>) -> Read<T> {
    result.map_err(class)
}

fn class(error: StoreError) -> BackendError {
    match error {
        StoreError::Unavailable(_) => BackendError::Unavailable(Box::new(error)),
        _ => BackendError::Internal(Box::new(error)),
    }
}

fn write<T>(result: Result<T, WriteError>) -> Write<T> {
    result.map_err(|error| match error {
        WriteError::Conflict { item, detail } => WriteFailure::Conflict { item, detail },
        WriteError::Invalid { errors } => WriteFailure::Invalid { errors },
        WriteError::NotFound { item, detail } => WriteFailure::NotFound { item, detail },
        WriteError::Store(error) => WriteFailure::Backend(class(error)),
    })
}

fn context(cx: &WriteContext) -> store::WriteContext {
    store::WriteContext { author: cx.author.clone(), source: cx.source.clone(), dry_run: cx.dry_run }
}

#[async_trait]
impl Backend for StoreBackend {
    async fn ping(&self) -> Read<()> {
        read(self.0.ping().await)
    }
    async fn token_find(&self, presented: &str) -> Read<Option<WhoAmI>> {
        read(self.0.token_find(presented).await)
    }

    async fn apply(&self, items: &[Manifest], cx: &WriteContext) -> Write<Vec<ApplyResult>> {
        write(self.0.apply(items, &context(cx)).await)
    }

    async fn app_get(&self, org: &OrgName, name: &AppName) -> Read<Option<AppRecord>> {
        read(self.0.app_get(org, name).await)
    }
    async fn app_list(&self, org: Option<&OrgName>) -> Read<Vec<AppRecord>> {
        read(self.0.app_list(org).await)
    }
    async fn app_delete(
        &self,
        org: &OrgName,
        name: &AppName,
        resource_version: Option<i64>,
        cx: &WriteContext,
    ) -> Write<Option<AppRecord>> {
        write(self.0.app_delete(org, name, resource_version, &context(cx)).await)
    }
    async fn app_scale(&self, org: &OrgName, name: &AppName, req: &ScaleRequest, cx: &WriteContext) -> Write<Option<AppRecord>> {
        write(self.0.app_scale(org, name, req, &context(cx)).await)
    }
    async fn secret_value(&self, app_uid: Uuid, org: &OrgName, key: &EnvKey, version: i64) -> Read<Option<SecretValue>> {
        read(self.0.secret_value(app_uid, org, key, version).await)
    }
    async fn revision_list(&self, uid: Uuid, limit: i64) -> Read<Vec<Revision>> {
        read(self.0.revision_list(uid, limit).await)
    }
    async fn observation_get(&self, uid: Uuid) -> Read<Option<(Value, DateTime<Utc>)>> {
        read(self.0.observation_get(uid).await)
    }

    async fn org_get(&self, org: &OrgName) -> Read<Option<Organization>> {
        read(self.0.org_get(org).await)
    }
    async fn org_list(&self) -> Read<Vec<Organization>> {
        read(self.0.org_list().await)
    }
    async fn org_delete(&self, org: &OrgName, cx: &WriteContext) -> Write<bool> {
        write(self.0.org_delete(org, &context(cx)).await)
    }

    async fn domain_list(&self, org: Option<&OrgName>) -> Read<Vec<Domain>> {
        read(self.0.domain_list(org).await)
    }
    async fn domain_get(&self, host: &Host) -> Read<Option<Domain>> {
        read(self.0.domain_get(host).await)
    }
    async fn domain_delete(&self, org: &OrgName, host: &Host, cx: &WriteContext) -> Write<bool> {
        write(self.0.domain_delete(org, host, &context(cx)).await)
    }

    async fn node_list(&self) -> Read<Vec<Node>> {
        read(self.0.node_list().await)
    }
    async fn event_list(&self, org: Option<&OrgName>, object: Option<(&str, &str)>, limit: i64) -> Read<Vec<Event>> {
        read(self.0.event_list(org, object, limit).await)
    }

    async fn setting_list(&self) -> Read<Vec<Setting>> {
        read(self.0.setting_list().await)
    }
    async fn setting_get(&self, key: &SettingKey) -> Read<Option<Setting>> {
        read(self.0.setting_get(key).await)
    }
    async fn setting_reset(&self, key: &SettingKey, cx: &WriteContext) -> Write<()> {
        write(self.0.setting_reset(key, &context(cx)).await)
    }
}
