//! Rows whose writes pass the effects boundary. A status or an observation that is the same as the last one that was
//! written is no act: the database does not write it either.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use api_types::kinds::app::{AppStatus, Verdict};
use api_types::secret::SecretValue;
use api_types::why::Witness;
use api_types::{AppName, EnvKey, Host, OrgName};
use async_trait::async_trait;
use serde_json::Value;
use uuid::Uuid;

use super::{AppRecords, SharedRecords};
use crate::edge::Route;
use crate::effects::{Effects, Kind};
use crate::store::{AppHead, AppKey, AppRecord, DriftChange, DriftLook, Revision, StoreError};

/// See the module.
pub struct InjectedRecords {
    inner: SharedRecords,
    effects: Effects,
    /// The last status, with the version that it was computed from, and the last observation.
    statuses: Mutex<HashMap<Uuid, (AppStatus, i64, i64)>>,
    observations: Mutex<HashMap<Uuid, (Value, i64)>>,
}

impl InjectedRecords {
    /// Puts the boundary before rows. Without an injector they are given back as they are.
    pub fn wrap(inner: SharedRecords, effects: &Effects) -> SharedRecords {
        if !effects.is_injected() {
            return inner;
        }
        std::sync::Arc::new(Self { inner, effects: effects.clone(), statuses: Mutex::default(), observations: Mutex::default() })
    }
}

#[async_trait]
impl AppRecords for InjectedRecords {
    async fn app_keys_all(&self) -> Result<Vec<AppKey>, StoreError> {
        self.inner.app_keys_all().await
    }
    async fn app_keys_dirty(&self) -> Result<Vec<AppKey>, StoreError> {
        self.inner.app_keys_dirty().await
    }
    async fn app_heads(&self) -> Result<Vec<AppHead>, StoreError> {
        self.inner.app_heads().await
    }
    async fn app_get(&self, org: &OrgName, name: &AppName) -> Result<Option<AppRecord>, StoreError> {
        self.inner.app_get(org, name).await
    }
    async fn domains_of_app(&self, uid: Uuid) -> Result<Vec<Host>, StoreError> {
        self.inner.domains_of_app(uid).await
    }
    async fn revision_get(&self, uid: Uuid, generation: i64) -> Result<Option<Revision>, StoreError> {
        self.inner.revision_get(uid, generation).await
    }
    async fn revision_latest_proven(&self, uid: Uuid, before: i64) -> Result<Option<Revision>, StoreError> {
        self.inner.revision_latest_proven(uid, before).await
    }
    async fn route_get(&self, uid: Uuid) -> Result<Option<Route>, StoreError> {
        self.inner.route_get(uid).await
    }
    async fn secret_value(&self, uid: Uuid, org: &OrgName, key: &EnvKey, version: i64) -> Result<Option<SecretValue>, StoreError> {
        self.inner.secret_value(uid, org, key, version).await
    }
    async fn revision_image_put(&self, uid: Uuid, generation: i64, image: &str, epoch: i64) -> Result<(), StoreError> {
        let act = || self.inner.revision_image_put(uid, generation, image, epoch);
        self.effects.run(Kind::ImagePut, &format!("{uid}@{generation}"), act).await
    }
    async fn revision_verdict_put(&self, uid: Uuid, generation: i64, verdict: &Verdict, epoch: i64) -> Result<(), StoreError> {
        let act = || self.inner.revision_verdict_put(uid, generation, verdict, epoch);
        self.effects.run(Kind::VerdictPut, &format!("{uid}@{generation}:{:?}", verdict.phase), act).await
    }
    async fn revision_failure_put(&self, uid: Uuid, generation: i64, failure: &Witness, epoch: i64) -> Result<(), StoreError> {
        let act = || self.inner.revision_failure_put(uid, generation, failure, epoch);
        self.effects.run(Kind::FailurePut, &format!("{uid}@{generation}"), act).await
    }
    async fn app_status_put(&self, uid: Uuid, status: &AppStatus, desired_version: i64, epoch: i64) -> Result<(), StoreError> {
        let act = || self.inner.app_status_put(uid, status, desired_version, epoch);
        let written = (status.clone(), desired_version, epoch);
        if self.statuses.lock().unwrap_or_else(PoisonError::into_inner).get(&uid) == Some(&written) {
            return act().await;
        }
        self.effects.run(Kind::StatusPut, &uid.to_string(), act).await?;
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, written);
        Ok(())
    }
    async fn observation_put(&self, uid: Uuid, observed: &Value, epoch: i64) -> Result<(), StoreError> {
        let act = || self.inner.observation_put(uid, observed, epoch);
        let written = (observed.clone(), epoch);
        if self.observations.lock().unwrap_or_else(PoisonError::into_inner).get(&uid) == Some(&written) {
            return act().await;
        }
        self.effects.run(Kind::ObservationPut, &uid.to_string(), act).await?;
        self.observations.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, written);
        Ok(())
    }
    async fn route_put(&self, route: &Route, epoch: i64) -> Result<(), StoreError> {
        self.effects.run(Kind::RoutePut, &route.app_uid.to_string(), || self.inner.route_put(route, epoch)).await
    }
    async fn route_remove(&self, uid: Uuid, epoch: i64) -> Result<(), StoreError> {
        self.effects.run(Kind::RouteRemove, &uid.to_string(), || self.inner.route_remove(uid, epoch)).await
    }
    async fn drift_put(&self, look: &DriftLook<'_>, epoch: i64) -> Result<Vec<DriftChange>, StoreError> {
        self.effects.run(Kind::DriftPut, &look.uid.to_string(), || self.inner.drift_put(look, epoch)).await
    }
    async fn app_remove(&self, uid: Uuid, epoch: i64) -> Result<(), StoreError> {
        self.effects.run(Kind::AppRemove, &uid.to_string(), || self.inner.app_remove(uid, epoch)).await
    }
}
