//! What `status` and `why` need of the database: a part of [`super::backend::Backend`], in a list of its own.

use api_types::OrgName;
use api_types::platform::{AppCounts, AppLine, ServerProcess, Unreconciled};
use api_types::why::Witness;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::backend::Read;
use crate::store::Store;

/// See the module.
#[async_trait]
pub trait Insight: Send + Sync + 'static {
    /// Processes of the server, the leader first.
    async fn heartbeat_list(&self) -> Read<Vec<ServerProcess>>;
    /// Apps by whether they are ready.
    async fn glance_counts(&self, org: Option<&OrgName>) -> Read<AppCounts>;
    /// Some apps that are not ready.
    async fn glance_not_ready(&self, org: Option<&OrgName>, limit: i64) -> Read<Vec<AppLine>>;
    /// The oldest change that no controller has looked at.
    async fn glance_unreconciled(&self, org: Option<&OrgName>) -> Read<Option<Unreconciled>>;
    /// Apps that the engine is ahead of: how many, and one of them.
    async fn glance_behind(&self, org: Option<&OrgName>) -> Read<Option<(i64, String)>>;
    /// Generations that failed since a time.
    async fn glance_failures(&self, org: Option<&OrgName>, since: DateTime<Utc>) -> Read<i64>;
    /// Older changes of other apps that no controller has looked at.
    async fn glance_ahead(&self, uid: Uuid) -> Read<i64>;
    /// What shows why a generation failed, if that was kept.
    async fn revision_failure_get(&self, uid: Uuid, generation: i64) -> Read<Option<Witness>>;
}

#[async_trait]
impl Insight for Store {
    async fn heartbeat_list(&self) -> Read<Vec<ServerProcess>> {
        Store::heartbeat_list(self).await
    }
    async fn glance_counts(&self, org: Option<&OrgName>) -> Read<AppCounts> {
        Store::glance_counts(self, org).await
    }
    async fn glance_not_ready(&self, org: Option<&OrgName>, limit: i64) -> Read<Vec<AppLine>> {
        Store::glance_not_ready(self, org, limit).await
    }
    async fn glance_unreconciled(&self, org: Option<&OrgName>) -> Read<Option<Unreconciled>> {
        Store::glance_unreconciled(self, org).await
    }
    async fn glance_behind(&self, org: Option<&OrgName>) -> Read<Option<(i64, String)>> {
        Store::glance_behind(self, org).await
    }
    async fn glance_failures(&self, org: Option<&OrgName>, since: DateTime<Utc>) -> Read<i64> {
        Store::glance_failures(self, org, since).await
    }
    async fn glance_ahead(&self, uid: Uuid) -> Read<i64> {
        Store::glance_ahead(self, uid).await
    }
    async fn revision_failure_get(&self, uid: Uuid, generation: i64) -> Read<Option<Witness>> {
        Store::revision_failure_get(self, uid, generation).await
    }
}
