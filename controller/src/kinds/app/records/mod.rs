//! The rows that the App reconciler reads and writes: a narrow trait, kept by the database.

mod injected;
mod memory;

use std::sync::Arc;

use api_types::kinds::app::{AppStatus, Verdict};
use api_types::secret::SecretValue;
use api_types::why::Witness;
use api_types::{AppName, EnvKey, Host, OrgName};
use async_trait::async_trait;
use serde_json::Value;
use uuid::Uuid;

pub use injected::InjectedRecords;
pub use memory::{MemoryRecords, Told};

use crate::edge::Route;
use crate::store::{AppHead, AppKey, AppRecord, DriftChange, DriftLook, Revision, Store, StoreError};

/// Shared rows.
pub type SharedRecords = Arc<dyn AppRecords>;

/// What an App reconciler reads and writes. Every write carries the leader's epoch, and is refused with
/// [`StoreError::Deposed`] when it is an old one. The methods are those of [`Store`], where they are described.
#[async_trait]
#[expect(missing_docs, reason = "described at the store's methods of the same names")]
pub trait AppRecords: Send + Sync + 'static {
    async fn app_keys_all(&self) -> Result<Vec<AppKey>, StoreError>;
    async fn app_keys_dirty(&self) -> Result<Vec<AppKey>, StoreError>;
    async fn app_heads(&self) -> Result<Vec<AppHead>, StoreError>;
    async fn app_get(&self, org: &OrgName, name: &AppName) -> Result<Option<AppRecord>, StoreError>;
    async fn domains_of_app(&self, uid: Uuid) -> Result<Vec<Host>, StoreError>;
    async fn revision_get(&self, uid: Uuid, generation: i64) -> Result<Option<Revision>, StoreError>;
    async fn revision_latest_proven(&self, uid: Uuid, before: i64) -> Result<Option<Revision>, StoreError>;
    async fn route_get(&self, uid: Uuid) -> Result<Option<Route>, StoreError>;
    async fn secret_value(&self, uid: Uuid, org: &OrgName, key: &EnvKey, version: i64) -> Result<Option<SecretValue>, StoreError>;

    async fn revision_image_put(&self, uid: Uuid, generation: i64, image: &str, epoch: i64) -> Result<(), StoreError>;
    async fn revision_verdict_put(&self, uid: Uuid, generation: i64, verdict: &Verdict, epoch: i64) -> Result<(), StoreError>;
    async fn revision_failure_put(&self, uid: Uuid, generation: i64, failure: &Witness, epoch: i64) -> Result<(), StoreError>;
    async fn app_status_put(&self, uid: Uuid, status: &AppStatus, desired_version: i64, epoch: i64) -> Result<(), StoreError>;
    async fn observation_put(&self, uid: Uuid, observed: &Value, epoch: i64) -> Result<(), StoreError>;
    async fn route_put(&self, route: &Route, epoch: i64) -> Result<(), StoreError>;
    async fn route_remove(&self, uid: Uuid, epoch: i64) -> Result<(), StoreError>;
    async fn drift_put(&self, look: &DriftLook<'_>, epoch: i64) -> Result<Vec<DriftChange>, StoreError>;
    async fn app_remove(&self, uid: Uuid, epoch: i64) -> Result<(), StoreError>;
}

#[async_trait]
impl AppRecords for Store {
    async fn app_keys_all(&self) -> Result<Vec<AppKey>, StoreError> {
        Self::app_keys_all(self).await
    }
    async fn app_keys_dirty(&self) -> Result<Vec<AppKey>, StoreError> {
        Self::app_keys_dirty(self).await
    }
    async fn app_heads(&self) -> Result<Vec<AppHead>, StoreError> {
        Self::app_heads(self).await
    }
    async fn app_get(&self, org: &OrgName, name: &AppName) -> Result<Option<AppRecord>, StoreError> {
        Self::app_get(self, org, name).await
    }
    async fn domains_of_app(&self, uid: Uuid) -> Result<Vec<Host>, StoreError> {
        Self::domains_of_app(self, uid).await
    }
    async fn revision_get(&self, uid: Uuid, generation: i64) -> Result<Option<Revision>, StoreError> {
        Self::revision_get(self, uid, generation).await
    }
    async fn revision_latest_proven(&self, uid: Uuid, before: i64) -> Result<Option<Revision>, StoreError> {
        Self::revision_latest_proven(self, uid, before).await
    }
    async fn route_get(&self, uid: Uuid) -> Result<Option<Route>, StoreError> {
        Self::route_get(self, uid).await
    }
    async fn secret_value(&self, uid: Uuid, org: &OrgName, key: &EnvKey, version: i64) -> Result<Option<SecretValue>, StoreError> {
        Self::secret_value(self, uid, org, key, version).await
    }
    async fn revision_image_put(&self, uid: Uuid, generation: i64, image: &str, epoch: i64) -> Result<(), StoreError> {
        Self::revision_image_put(self, uid, generation, image, epoch).await
    }
    async fn revision_verdict_put(&self, uid: Uuid, generation: i64, verdict: &Verdict, epoch: i64) -> Result<(), StoreError> {
        Self::revision_verdict_put(self, uid, generation, verdict, epoch).await
    }
    async fn revision_failure_put(&self, uid: Uuid, generation: i64, failure: &Witness, epoch: i64) -> Result<(), StoreError> {
        Self::revision_failure_put(self, uid, generation, failure, epoch).await
    }
    async fn app_status_put(&self, uid: Uuid, status: &AppStatus, desired_version: i64, epoch: i64) -> Result<(), StoreError> {
        Self::app_status_put(self, uid, status, desired_version, epoch).await
    }
    async fn observation_put(&self, uid: Uuid, observed: &Value, epoch: i64) -> Result<(), StoreError> {
        Self::observation_put(self, uid, observed, epoch).await
    }
    async fn route_put(&self, route: &Route, epoch: i64) -> Result<(), StoreError> {
        Self::route_put(self, route, epoch).await
    }
    async fn route_remove(&self, uid: Uuid, epoch: i64) -> Result<(), StoreError> {
        Self::route_remove(self, uid, epoch).await
    }
    async fn drift_put(&self, look: &DriftLook<'_>, epoch: i64) -> Result<Vec<DriftChange>, StoreError> {
        Self::drift_put(self, look, epoch).await
    }
    async fn app_remove(&self, uid: Uuid, epoch: i64) -> Result<(), StoreError> {
        Self::app_remove(self, uid, epoch).await
    }
}
