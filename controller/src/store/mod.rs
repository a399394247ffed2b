//! The only SQL. Desired state, revisions, verdicts, routes, events, leases, tokens and settings.
//!
//! Users' writes go through [`Store::apply`] and its neighbours: one transaction, all or nothing,
//! serialised per organisation by a lock on the organisation's row. What controllers find out is
//! written with the leader's epoch and refused with [`StoreError::Deposed`] when it is an old one.
//!
//! It does not decide anything: no rule about rollouts, engines or the edge is here. It can be misused
//! by holding a record over an await of minutes and writing back what was computed from it; pass the
//! version that was read (`resource_version`, `desired_version`), and the write notices.

mod agents;
mod app_change;
mod app_write;
mod apply;
mod apply_app;
mod apply_domain;
mod apply_items;
mod apps;
mod certificates;
mod changes;
mod changes_read;
mod connect;
mod domains;
mod drift;
mod error;
mod events;
mod glance;
mod heads;
mod heartbeats;
mod leases;
pub mod metrics;
mod nodes;
mod observations;
mod organizations;
mod passwords;
mod pause;
mod revisions;
mod rollback;
mod routes;
mod secrets;
mod select;
mod settings;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use api_types::diff::Content;
use api_types::event::EventType;
use api_types::kinds::app::{AppSpec, AppStatus, Verdict};
use api_types::name::{LabelKey, LabelValue};
use api_types::{AppName, EnvKey, OrgName, ProcessName};
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

pub use app_change::Change;
pub use certificates::MAX_CERTIFICATES;
pub use changes::{ChangeLook, Cursor, Sighting, Tombstone, Watched};
pub use changes_read::{Changed, ChangedObject, Mark, Scope};
pub use drift::{DriftChange, DriftFound, DriftLook};
pub use error::{StoreError, WriteError};
pub use events::EventQuery;
pub use heads::AppHead;
pub use heartbeats::HEARTBEAT_EVERY;
pub use leases::{LeaseAnswer, LeaseClaim};
pub use pause::Pause;
pub use rollback::Restored;
pub use select::ListQuery;
pub use tokens::{NewToken, TokenLookup, USE_RESOLUTION};

use crate::clock::{SharedClock, SharedEntropy};
use crate::keyring::Keyring;

/// Name of the lease whose epoch fences the controller's writes.
pub const CONTROLLER_LEASE: &str = "controller";

/// As an expected resource version: the object must not exist. Versions count from 1.
pub const MUST_BE_ABSENT: i64 = 0;

/// As an expected resource version: the object must exist, with whatever version.
pub const MUST_EXIST: i64 = -1;

/// Finaliser that every app gets: the controller removes what it made on the engine and the edge, then
/// takes the row away with [`Store::app_remove`].
pub const APP_FINALIZER: &str = "skyswarm.dev/app-controller";

/// An app as it is stored: desired state of the newest generation, and the last status.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct AppRecord {
    /// Organisation.
    #[sqlx(try_from = "String")]
    pub org: OrgName,
    /// Name.
    #[sqlx(try_from = "String")]
    pub name: AppName,
    /// Identity.
    pub uid: Uuid,
    /// Counts changes of the spec.
    pub generation: i64,
    /// Changes with every write.
    pub resource_version: i64,
    /// Counts everything that the app has to be looked at for, domains included. Give it back to
    /// [`Store::app_status_put`], so that a change made meanwhile is not lost.
    pub desired_version: i64,
    /// Labels.
    #[sqlx(json)]
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Clean-up still owed.
    pub finalizers: Vec<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When deletion was asked for.
    pub deletion_timestamp: Option<DateTime<Utc>>,
    /// The spec; secret values are `None`.
    #[sqlx(json)]
    pub spec: AppSpec,
    /// Version of each secret that the spec names.
    #[sqlx(json)]
    pub secret_versions: BTreeMap<EnvKey, i64>,
    /// How often each process type was restarted by hand.
    #[sqlx(json)]
    pub restarts: BTreeMap<ProcessName, i64>,
    /// Swarm services that it may take over, or has: their names, and the ids that were permitted.
    #[sqlx(json)]
    pub adopted: BTreeMap<String, String>,
    /// Last status.
    #[sqlx(json)]
    pub status: AppStatus,
    /// The last pause.
    #[sqlx(flatten)]
    pub pause: Pause,
}

/// One generation of an app, immutable but for what was found out about it.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Revision {
    /// The generation.
    pub generation: i64,
    /// Its spec; secret values are `None`.
    #[sqlx(json)]
    pub spec: AppSpec,
    /// Version of each secret that the spec names.
    #[sqlx(json)]
    pub secret_versions: BTreeMap<EnvKey, i64>,
    /// How often each process type had been restarted by hand.
    #[sqlx(json)]
    pub restarts: BTreeMap<ProcessName, i64>,
    /// What the image reference was resolved to.
    pub resolved_image: Option<String>,
    /// Outcome.
    #[sqlx(json)]
    pub verdict: Verdict,
    /// Who wrote it.
    pub author: String,
    /// From where, such as `apply` or `scale`.
    pub source: String,
    /// Program and address of the client; empty when not known.
    pub client: String,
    /// The revision whose content a rollback or a retry took.
    pub based_on: Option<i64>,
    /// When.
    pub created_at: DateTime<Utc>,
}

impl Revision {
    /// What it consists of, to compare it.
    pub fn content(&self) -> Content<'_> {
        Content {
            spec: &self.spec,
            secret_versions: &self.secret_versions,
            resolved_image: self.resolved_image.as_deref(),
            restarts: &self.restarts,
        }
    }
}

impl AppRecord {
    /// Which app it is.
    pub fn key(&self) -> AppKey {
        AppKey { org: self.org.clone(), name: self.name.clone() }
    }
}

/// Which app: what queues and hints carry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::FromRow)]
pub struct AppKey {
    /// Organisation.
    #[sqlx(try_from = "String")]
    pub org: OrgName,
    /// Name.
    #[sqlx(try_from = "String")]
    pub name: AppName,
}

impl fmt::Display for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.name)
    }
}

/// Who writes, from where, and whether for real.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteContext {
    /// Who: a token's name.
    pub author: String,
    /// From where, such as `apply` or `scale`.
    pub source: String,
    /// Program and address of the client; empty when not known.
    pub client: String,
    /// Do everything, check everything, then roll back.
    pub dry_run: bool,
    /// Swarm services that apps of this write may take over.
    pub adoptions: Vec<AdoptionGrant>,
}

/// The permission to take a Swarm service over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptionGrant {
    /// Organisation of the app.
    pub org: OrgName,
    /// The app.
    pub app: AppName,
    /// Name of the service.
    pub service: String,
    /// Its id; a service that comes later under its name is another one.
    pub id: String,
}

/// Something changed; read it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreHint {
    /// The listener is new: anything may have been missed.
    Resync,
    /// Desired state of a topic changed.
    Changed(Topic),
}

/// What desired state is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the tables' names")]
pub enum Topic {
    Apps,
    Domains,
    Routes,
    Settings,
    Organizations,
    Certificates,
    Nodes,
}

/// An event to record; times and count are the store's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NewEvent {
    /// Organisation of the object; `None` for objects of the platform.
    pub org: Option<OrgName>,
    /// Kind of the object.
    pub kind: &'static str,
    /// Name of the object.
    pub name: String,
    /// Identity of the object, where it has one.
    pub uid: Option<Uuid>,
    /// Whether a person should look.
    pub event_type: EventType,
    /// Closed-list word.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// Generation of the object.
    pub generation: i64,
}

/// The database, its clock and its keys. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    pool: PgPool,
    clock: SharedClock,
    entropy: SharedEntropy,
    keyring: OnceLock<Keyring>,
    /// The newest migration that this process knows, once it migrated.
    knows: OnceLock<i64>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("pool", &self.inner.pool).finish_non_exhaustive()
    }
}
