//! What pauses and the drift ledger need of the database: a part of [`super::backend::Backend`], in a list of its own.

use api_types::drift::{DriftRecord, PauseRequest};
use api_types::{AppName, OrgName};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::backend::{Read, Write};
use crate::store::{AppRecord, Store, WriteContext};

/// See the module.
#[async_trait]
pub trait Upkeep: Send + Sync + 'static {
    /// Pauses an app; `None` when there is no such app.
    async fn app_pause(
        &self,
        org: &OrgName,
        name: &AppName,
        what: (&PauseRequest, Option<i64>),
        cx: &WriteContext,
    ) -> Write<Option<AppRecord>>;
    /// Ends the pause of an app; `None` when there is no such app.
    async fn app_resume(&self, org: &OrgName, name: &AppName, expected: Option<i64>, cx: &WriteContext) -> Write<Option<AppRecord>>;
    /// A part of the drift ledger from a time on and before an id, newest first.
    async fn drift_list(
        &self,
        org: &OrgName,
        app: Option<&AppName>,
        range: (Option<DateTime<Utc>>, Option<i64>),
        limit: i64,
    ) -> Read<Vec<DriftRecord>>;
    /// How many changes were found since a time.
    async fn drift_count(&self, org: Option<&OrgName>, since: DateTime<Utc>) -> Read<i64>;
}

#[async_trait]
impl Upkeep for Store {
    async fn app_pause(
        &self,
        org: &OrgName,
        name: &AppName,
        what: (&PauseRequest, Option<i64>),
        cx: &WriteContext,
    ) -> Write<Option<AppRecord>> {
        Store::app_pause(self, org, name, what, cx).await
    }
    async fn app_resume(&self, org: &OrgName, name: &AppName, expected: Option<i64>, cx: &WriteContext) -> Write<Option<AppRecord>> {
        Store::app_resume(self, org, name, expected, cx).await
    }
    async fn drift_list(
        &self,
        org: &OrgName,
        app: Option<&AppName>,
        range: (Option<DateTime<Utc>>, Option<i64>),
        limit: i64,
    ) -> Read<Vec<DriftRecord>> {
        Store::drift_list(self, org, app, range, limit).await
    }
    async fn drift_count(&self, org: Option<&OrgName>, since: DateTime<Utc>) -> Read<i64> {
        Store::drift_count(self, org, since).await
    }
}
