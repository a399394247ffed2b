//! Turns what the database and the engine say into hints for the controllers.
//!
//! Everything here only saves time: the periodic resync would find the same. So a hint that cannot be
//! put to an app is dropped, and nothing waits for one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::clock::SharedClock;
use crate::edge::EndpointTable;
use crate::edge::publisher::EdgeHandle;
use crate::engines::swarm::{EngineHint, SwarmEngine};
use crate::kinds::app::AppIndex;
use crate::kinds::app::ledger::Killed;
use crate::runtime::{Hints, Priority};
use crate::settings::Settings;
use crate::store::{AppKey, Store, StoreHint, Topic};

/// How long nothing is removed after the engine came back: its lists may still show what was before.
const QUIET: Duration = Duration::from_secs(3);

/// What a controller hints at.
pub(super) struct Controls {
    pub(super) apps: Hints<AppKey>,
    pub(super) certificates: Hints<String>,
    pub(super) edge: EdgeHandle,
}

/// Follows the database: settings for everybody, hints for who controls.
pub(super) async fn follow_store(
    store: Store,
    settings: watch::Sender<Arc<Settings>>,
    controls: Option<Controls>,
    cancel: CancellationToken,
) {
    let mut hints = store.watch();
    while let Some(hint) = next(&mut hints, &cancel).await {
        let (resync, topic) = match hint {
            StoreHint::Resync => (true, None),
            StoreHint::Changed(topic) => (false, Some(topic)),
        };
        if resync || topic == Some(Topic::Settings) {
            reload(&store, &settings).await;
        }
        let Some(Controls { apps, certificates, edge }) = &controls else { continue };
        match topic {
            None | Some(Topic::Settings) => {
                apps.resync();
                certificates.resync();
                edge.kick();
            }
            Some(Topic::Certificates) => {
                edge.kick();
                certificates.resync();
            }
            Some(Topic::Apps | Topic::Domains) => apps.dirty(),
            Some(Topic::Routes) => edge.kick(),
            Some(Topic::Organizations) => {}
        }
    }
}

async fn next(hints: &mut mpsc::Receiver<StoreHint>, cancel: &CancellationToken) -> Option<StoreHint> {
    tokio::select! {
        () = cancel.cancelled() => None,
        hint = hints.recv() => hint,
    }
}

async fn reload(store: &Store, settings: &watch::Sender<Arc<Settings>>) {
    match store.settings_snapshot().await {
        Ok(read) => {
            settings.send_if_modified(|known| {
                let changed = **known != read;
                if changed {
                    *known = Arc::new(read);
                }
                changed
            });
        }
        Err(error) => warn!(error = &error as &dyn std::error::Error, "settings could not be read again; the old ones stay"),
    }
}

/// Follows the engine and the endpoints.
pub(super) struct EngineFollower {
    pub(super) engine: Arc<dyn SwarmEngine>,
    pub(super) index: Arc<AppIndex>,
    pub(super) clock: SharedClock,
    pub(super) endpoints: watch::Receiver<Arc<EndpointTable>>,
    pub(super) apps: Hints<AppKey>,
    pub(super) nodes: Hints<String>,
    /// See [`QUIET`]; shared with the App reconciler.
    pub(super) quiet_until: Arc<Mutex<Duration>>,
    /// Shared with the App reconciler.
    pub(super) killed: Arc<Killed>,
}

impl EngineFollower {
    /// Until cancelled.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut hints = self.engine.hints();
        let mut seen = tasks_by_app(&self.endpoints.borrow_and_update());
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                hint = hints.next() => match hint {
                    Some(hint) => self.engine_hint(&hint),
                    None => return,
                },
                changed = self.endpoints.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = tasks_by_app(&self.endpoints.borrow_and_update());
                    let uids: BTreeSet<&Uuid> = now.keys().chain(seen.keys()).filter(|uid| now.get(uid) != seen.get(uid)).collect();
                    for uid in uids {
                        self.look_at(self.index.by_uid(*uid));
                    }
                    seen = now;
                }
            }
        }
    }

    fn engine_hint(&self, hint: &EngineHint) {
        match hint {
            EngineHint::Connected => {
                let until = self.clock.monotonic() + QUIET;
                *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
                self.apps.resync();
                self.nodes.resync();
            }
            EngineHint::Changed { kind: "service" | "network" | "secret", name } => self.look_at(self.index.by_engine_name(name)),
            EngineHint::Changed { kind: "node", .. } => self.nodes.resync(),
            // What containers do shows in the endpoints.
            EngineHint::ContainerKilled { id, service } => {
                self.killed.insert(id.clone(), self.clock.monotonic());
                self.look_at(self.index.by_engine_name(service));
            }
            EngineHint::Changed { .. } | EngineHint::ContainerStarted { .. } | EngineHint::ContainerGoing { .. } => {}
        }
    }

    fn look_at(&self, key: Option<AppKey>) {
        match key {
            Some(key) => self.apps.key(key, Priority::Background),
            None => debug!("a hint about no app that is known"),
        }
    }
}

/// Per app: its tasks and whether each is ready.
fn tasks_by_app(table: &EndpointTable) -> BTreeMap<Uuid, BTreeSet<(String, bool)>> {
    let mut found: BTreeMap<Uuid, BTreeSet<(String, bool)>> = BTreeMap::new();
    for endpoint in table.endpoints.values() {
        found.entry(endpoint.app_uid).or_default().insert((endpoint.task_id.clone(), endpoint.ready));
    }
    found
}
