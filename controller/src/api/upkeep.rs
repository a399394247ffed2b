//! What pauses and the drift ledger need of the database: a part of [`super::backend::Backend`], in a list of its own.

use api_types::drift::PauseRequest;
use api_types::{AppName, OrgName};
use async_trait::async_trait;

use super::backend::Write;
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
}
