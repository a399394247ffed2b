//! Rows in memory, for simulations of what reads and writes them.
//!
//! They answer as the database does; one contract test runs against both. What users do is here too, without its checks: a spec
//! that the API would refuse must not be given. It keeps every revision, and each status that was written.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api_types::drift::DriftAction;
use api_types::kinds::app::{AppSpec, AppStatus, Verdict, VerdictPhase};
use api_types::secret::SecretValue;
use api_types::why::Witness;
use api_types::{AppName, EnvKey, Host, OrgName};
use async_trait::async_trait;
use serde_json::Value;
use uuid::Uuid;

use super::AppRecords;
use crate::clock::{SharedClock, SharedEntropy};
use crate::edge::Route;
use crate::edge::inputs::Inputs;
use crate::edge::publisher::RouteSource;
use crate::runtime::lease::{Asked, Mark};
use crate::runtime::{BoxError, ElectorOptions, LeaseStore};
use crate::store::{APP_FINALIZER, AppHead, AppKey, AppRecord, DriftChange, DriftFound, DriftLook, Pause, Revision, StoreError};

/// A status as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Of which app.
    pub uid: Uuid,
    /// Generation of the row at that time.
    pub generation: i64,
    /// What was told.
    pub status: AppStatus,
}

struct App {
    record: AppRecord,
    revisions: BTreeMap<i64, Revision>,
    failures: BTreeMap<i64, Witness>,
    secrets: BTreeMap<i64, (EnvKey, String)>,
    route: Option<(Route, i64)>,
    observation: Option<Value>,
    drift: Vec<DriftFound>,
    observed_version: i64,
    observed_generation: i64,
}

#[derive(Default)]
struct Rows {
    apps: BTreeMap<AppKey, App>,
    version: i64,
    /// Who holds the lease, and how its row looks.
    lease: Option<(String, Mark)>,
    epoch: i64,
    told: Vec<Told>,
    /// How often a user or a controller wrote something that differs.
    writes: u64,
}

/// See the module.
pub struct MemoryRecords {
    clock: SharedClock,
    entropy: SharedEntropy,
    rows: Mutex<Rows>,
}

impl Rows {
    fn next_version(&mut self) -> i64 {
        self.writes += 1;
        self.version += 1;
        self.version
    }

    fn fenced(&mut self, epoch: i64) -> Result<&mut Self, StoreError> {
        if epoch == self.epoch { Ok(self) } else { Err(StoreError::Deposed) }
    }

    fn app(&self, uid: Uuid) -> Option<&App> {
        self.apps.values().find(|app| app.record.uid == uid)
    }

    fn app_mut(&mut self, uid: Uuid) -> Result<&mut App, StoreError> {
        self.apps.values_mut().find(|app| app.record.uid == uid).ok_or(StoreError::Missing { what: "the app" })
    }

    /// Changes an app's row, when `change` says that it did.
    fn change(&mut self, uid: Uuid, change: impl FnOnce(&mut App) -> bool) -> Result<(), StoreError> {
        let app = self.app_mut(uid)?;
        if change(app) {
            self.next_version();
        }
        Ok(())
    }

    fn revision(&mut self, uid: Uuid, generation: i64) -> Result<&mut Revision, StoreError> {
        let missing = StoreError::Missing { what: "the revision" };
        let app = self.apps.values_mut().find(|app| app.record.uid == uid);
        app.and_then(|app| app.revisions.get_mut(&generation)).ok_or(missing)
    }
}

impl MemoryRecords {
    /// No rows.
    pub fn new(clock: SharedClock, entropy: SharedEntropy) -> Self {
        Self { clock, entropy, rows: Mutex::default() }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an app, or changes its spec: a new generation when it differs. False when the app is being deleted.
    pub fn apply(&self, key: &AppKey, spec: &AppSpec) -> bool {
        self.write(key, spec, "apply", None)
    }

    /// A new attempt of the newest generation.
    pub fn retry(&self, key: &AppKey) -> bool {
        let found = self.rows().apps.get(key).map(|app| (app.record.spec.clone(), app.record.generation));
        found.is_some_and(|(spec, generation)| self.write(key, &spec, "retry", Some(generation)))
    }

    fn write(&self, key: &AppKey, spec: &AppSpec, source: &str, based_on: Option<i64>) -> bool {
        let now = self.clock.now();
        let mut rows = self.rows();
        if !rows.apps.contains_key(key) {
            let uid = self.entropy.uuid(now);
            let app = new_app(key, spec, uid, now);
            rows.apps.insert(key.clone(), app);
        }
        let version = rows.next_version();
        let Some(app) = rows.apps.get_mut(key) else { return false };
        if app.record.deletion_timestamp.is_some() {
            return false;
        }
        let mut stored = spec.clone();
        let mut versions = BTreeMap::new();
        for (name, value) in &mut stored.secrets {
            let known = app.record.secret_versions.get(name).copied();
            let same = |version: &i64| {
                let wanted = value.as_ref().map(SecretValue::expose);
                wanted.is_none() || app.secrets.get(version).map(|(_, value)| value.as_str()) == wanted
            };
            let version = known.filter(same).unwrap_or_else(|| {
                let next = app.secrets.keys().next_back().copied().unwrap_or(0) + 1;
                app.secrets.insert(next, (name.clone(), value.as_ref().map(|value| value.expose().to_owned()).unwrap_or_default()));
                next
            });
            versions.insert(name.clone(), version);
            *value = None;
        }
        let record = &mut app.record;
        if record.generation > 0 && based_on.is_none() && record.spec == stored && record.secret_versions == versions {
            return true;
        }
        record.generation += 1;
        record.desired_version += 1;
        record.resource_version = version;
        (record.spec, record.secret_versions) = (stored.clone(), versions.clone());
        let revision = Revision {
            generation: record.generation,
            spec: stored,
            secret_versions: versions,
            restarts: record.restarts.clone(),
            resolved_image: None,
            verdict: Verdict { phase: VerdictPhase::Pending, reason: None, cause: None, message: None, time: now },
            author: "ada".to_owned(),
            source: source.to_owned(),
            client: String::new(),
            based_on,
            created_at: now,
        };
        app.revisions.insert(revision.generation, revision);
        true
    }

    /// Asks for an app's deletion.
    pub fn delete(&self, key: &AppKey) {
        let now = self.clock.now();
        let mut rows = self.rows();
        let version = rows.next_version();
        if let Some(app) = rows.apps.get_mut(key).filter(|app| app.record.deletion_timestamp.is_none()) {
            app.record.deletion_timestamp = Some(now);
            app.record.desired_version += 1;
            app.record.resource_version = version;
        }
    }

    /// Loses the rows of an app without a trace, as a database that was restored from before it.
    pub fn forget(&self, key: &AppKey) {
        self.rows().apps.remove(key);
    }

    /// Identity and key of every app.
    pub fn uids(&self) -> Vec<(Uuid, AppKey)> {
        self.rows().apps.iter().map(|(key, app)| (app.record.uid, key.clone())).collect()
    }

    /// All rows of apps.
    pub fn records(&self) -> Vec<AppRecord> {
        self.rows().apps.values().map(|app| app.record.clone()).collect()
    }

    /// An app's row.
    pub fn record(&self, key: &AppKey) -> Option<AppRecord> {
        self.rows().apps.get(key).map(|app| app.record.clone())
    }

    /// Every revision of an app, oldest first.
    pub fn revisions(&self, key: &AppKey) -> Vec<Revision> {
        self.rows().apps.get(key).map(|app| app.revisions.values().cloned().collect()).unwrap_or_default()
    }

    /// All routes.
    pub fn routes(&self) -> Vec<Route> {
        self.rows().apps.values().filter_map(|app| app.route.as_ref().map(|(route, _)| route.clone())).collect()
    }

    /// Every status that was written, oldest first, but for the first ones.
    pub fn told_since(&self, first: usize) -> Vec<Told> {
        self.rows().told.get(first..).map(<[Told]>::to_vec).unwrap_or_default()
    }

    /// Counts writes that changed something, users' and controllers'.
    pub fn writes(&self) -> u64 {
        self.rows().writes
    }
}

fn new_app(key: &AppKey, spec: &AppSpec, uid: Uuid, now: chrono::DateTime<chrono::Utc>) -> App {
    let record = AppRecord {
        org: key.org.clone(),
        name: key.name.clone(),
        uid,
        generation: 0,
        resource_version: 0,
        desired_version: 0,
        labels: BTreeMap::new(),
        finalizers: vec![APP_FINALIZER.to_owned()],
        created_at: now,
        deletion_timestamp: None,
        spec: spec.clone(),
        secret_versions: BTreeMap::new(),
        restarts: BTreeMap::new(),
        adopted: BTreeMap::new(),
        status: AppStatus::default(),
        pause: Pause::default(),
    };
    App {
        record,
        revisions: BTreeMap::new(),
        failures: BTreeMap::new(),
        secrets: BTreeMap::new(),
        route: None,
        observation: None,
        drift: Vec::new(),
        observed_version: 0,
        observed_generation: 0,
    }
}

/// What the ledger says of a change that is over.
fn ended(found: &DriftFound, touched: bool) -> DriftFound {
    let action = match found.action {
        DriftAction::Correcting | DriftAction::Held | DriftAction::Paused if touched => DriftAction::Corrected,
        DriftAction::Correcting => DriftAction::Undone,
        other => other,
    };
    DriftFound { action, ..found.clone() }
}

#[async_trait]
impl AppRecords for MemoryRecords {
    async fn app_keys_all(&self) -> Result<Vec<AppKey>, StoreError> {
        Ok(self.rows().apps.keys().cloned().collect())
    }
    async fn app_keys_dirty(&self) -> Result<Vec<AppKey>, StoreError> {
        let is_dirty = |app: &App| {
            let record = &app.record;
            record.desired_version > app.observed_version
                || record.generation > app.observed_generation
                || record.deletion_timestamp.is_some()
        };
        Ok(self.rows().apps.iter().filter(|(_, app)| is_dirty(app)).map(|(key, _)| key.clone()).collect())
    }
    async fn app_heads(&self) -> Result<Vec<AppHead>, StoreError> {
        let head = |(key, app): (&AppKey, &App)| AppHead {
            key: key.clone(),
            uid: app.record.uid,
            version: app.record.resource_version,
            route_version: app.route.as_ref().map(|(_, version)| *version),
            route: app.route.as_ref().map(|(route, _)| route.clone()),
        };
        Ok(self.rows().apps.iter().map(head).collect())
    }
    async fn app_get(&self, org: &OrgName, name: &AppName) -> Result<Option<AppRecord>, StoreError> {
        Ok(self.record(&AppKey { org: org.clone(), name: name.clone() }))
    }
    async fn domains_of_app(&self, uid: Uuid) -> Result<Vec<Host>, StoreError> {
        let mut hosts = self.rows().app(uid).map(|app| app.record.spec.domains.clone()).unwrap_or_default();
        hosts.sort();
        Ok(hosts)
    }
    async fn revision_get(&self, uid: Uuid, generation: i64) -> Result<Option<Revision>, StoreError> {
        Ok(self.rows().app(uid).and_then(|app| app.revisions.get(&generation).cloned()))
    }
    async fn revision_latest_proven(&self, uid: Uuid, before: i64) -> Result<Option<Revision>, StoreError> {
        let is_ready = |revision: &&Revision| revision.verdict.phase == VerdictPhase::Ready;
        Ok(self.rows().app(uid).and_then(|app| app.revisions.range(..before).rev().map(|(_, found)| found).find(is_ready).cloned()))
    }
    async fn route_get(&self, uid: Uuid) -> Result<Option<Route>, StoreError> {
        Ok(self.rows().app(uid).and_then(|app| app.route.as_ref().map(|(route, _)| route.clone())))
    }
    async fn secret_value(&self, uid: Uuid, _: &OrgName, key: &EnvKey, version: i64) -> Result<Option<SecretValue>, StoreError> {
        let rows = self.rows();
        let found = rows.app(uid).and_then(|app| app.secrets.get(&version)).filter(|(name, _)| name == key);
        Ok(found.map(|(_, value)| SecretValue::new(value.clone())))
    }

    async fn revision_image_put(&self, uid: Uuid, generation: i64, image: &str, epoch: i64) -> Result<(), StoreError> {
        let mut rows = self.rows();
        rows.fenced(epoch)?.revision(uid, generation)?.resolved_image = Some(image.to_owned());
        rows.writes += 1;
        Ok(())
    }
    async fn revision_verdict_put(&self, uid: Uuid, generation: i64, verdict: &Verdict, epoch: i64) -> Result<(), StoreError> {
        let mut rows = self.rows();
        rows.fenced(epoch)?.revision(uid, generation)?.verdict = verdict.clone();
        rows.writes += 1;
        Ok(())
    }
    async fn revision_failure_put(&self, uid: Uuid, generation: i64, failure: &Witness, epoch: i64) -> Result<(), StoreError> {
        let mut rows = self.rows();
        rows.fenced(epoch)?.revision(uid, generation)?;
        rows.app_mut(uid)?.failures.insert(generation, failure.clone());
        Ok(())
    }
    async fn app_status_put(&self, uid: Uuid, status: &AppStatus, desired_version: i64, epoch: i64) -> Result<(), StoreError> {
        let mut rows = self.rows();
        let version = rows.version + 1;
        let mut told = None;
        rows.fenced(epoch)?.change(uid, |app| {
            let differs = app.record.status != *status
                || app.observed_generation != status.observed_generation
                || app.observed_version < desired_version;
            if differs {
                app.record.status = status.clone();
                app.record.resource_version = version;
                app.observed_generation = status.observed_generation;
                app.observed_version = app.observed_version.max(desired_version);
                told = Some(Told { uid, generation: app.record.generation, status: status.clone() });
            }
            differs
        })?;
        rows.told.extend(told);
        Ok(())
    }
    async fn observation_put(&self, uid: Uuid, observed: &Value, epoch: i64) -> Result<(), StoreError> {
        self.rows().fenced(epoch)?.app_mut(uid)?.observation = Some(observed.clone());
        Ok(())
    }
    async fn route_put(&self, route: &Route, epoch: i64) -> Result<(), StoreError> {
        let mut rows = self.rows();
        let version = rows.version + 1;
        rows.fenced(epoch)?.change(route.app_uid, |app| {
            let differs = app.route.as_ref().is_none_or(|(known, _)| known != route);
            if differs {
                app.route = Some((route.clone(), version));
            }
            differs
        })
    }
    async fn route_remove(&self, uid: Uuid, epoch: i64) -> Result<(), StoreError> {
        match self.rows().fenced(epoch)?.change(uid, |app| app.route.take().is_some()) {
            Err(StoreError::Missing { .. }) => Ok(()),
            other => other,
        }
    }
    async fn drift_put(&self, look: &DriftLook<'_>, epoch: i64) -> Result<Vec<DriftChange>, StoreError> {
        let mut rows = self.rows();
        let Ok(app) = rows.fenced(epoch)?.app_mut(look.uid) else { return Ok(Vec::new()) };
        let is_same = |a: &DriftFound, b: &DriftFound| a.object == b.object && a.field == b.field;
        let fresh = look.found.iter().filter(|found| !app.drift.iter().any(|known| is_same(known, found)));
        let mut changes: Vec<DriftChange> = fresh.map(|found| DriftChange { found: found.clone(), ended: false }).collect();
        let over = app.drift.iter().filter(|known| !look.found.iter().any(|found| is_same(known, found)));
        changes.extend(over.map(|known| DriftChange { found: ended(known, look.touched.contains(&known.object)), ended: true }));
        app.drift = look.found.to_vec();
        Ok(changes)
    }
    async fn app_remove(&self, uid: Uuid, epoch: i64) -> Result<(), StoreError> {
        let mut rows = self.rows();
        rows.fenced(epoch)?.apps.retain(|_, app| app.record.uid != uid || app.record.deletion_timestamp.is_none());
        rows.next_version();
        Ok(())
    }
}

#[async_trait]
impl LeaseStore for MemoryRecords {
    async fn acquire(&self, options: &ElectorOptions, dead: Option<&Mark>) -> Result<Asked, BoxError> {
        let mut rows = self.rows();
        if let Some((_, looks)) = &rows.lease
            && dead != Some(looks)
        {
            return Ok(Asked::Theirs(looks.clone()));
        }
        rows.epoch += 1;
        rows.lease = Some((options.holder.clone(), Mark(format!("{} {}", options.holder, rows.epoch))));
        Ok(Asked::Ours { epoch: rows.epoch })
    }
    async fn renew(&self, _: &str, holder: &str, epoch: i64, _: Duration) -> Result<bool, BoxError> {
        let now = self.clock.monotonic();
        let mut rows = self.rows();
        let is_ours = rows.epoch == epoch && rows.lease.as_ref().is_some_and(|(other, _)| other == holder);
        if is_ours {
            rows.lease = Some((holder.to_owned(), Mark(format!("{holder} {now:?}"))));
        }
        Ok(is_ours)
    }
    async fn release(&self, _: &str, holder: &str, epoch: i64) -> Result<(), BoxError> {
        let mut rows = self.rows();
        if rows.epoch == epoch && rows.lease.as_ref().is_some_and(|(other, _)| other == holder) {
            rows.lease = None;
        }
        Ok(())
    }
}

#[async_trait]
impl RouteSource for MemoryRecords {
    async fn inputs(&self) -> Result<Inputs, crate::edge::publisher::BoxError> {
        Ok(Inputs::of(&self.routes()))
    }
}
