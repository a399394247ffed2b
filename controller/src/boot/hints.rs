//! Turns what the database and the engine say into hints for the controllers.
//!
//! Everything here only saves time: the periodic resync would find the same. So a hint that cannot be
//! put to an app is dropped, and nothing waits for one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::clock::SharedClock;
use crate::edge::EndpointTable;
use crate::edge::publisher::EdgeHandle;
use crate::engines::swarm::{EngineHint, SwarmEngine};
use crate::kinds::app::names;
use crate::runtime::{Hints, Priority};
use crate::settings::Settings;
use crate::store::{AppKey, Store, StoreHint, Topic};

/// How long nothing is removed after the engine came back: its lists may still show what was before.
const QUIET: Duration = Duration::from_secs(3);
/// The list of apps is read at most this often for names that are not known.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// Follows the database: settings for everybody, hints for who controls.
pub(super) async fn follow_store(
    store: Store,
    settings: watch::Sender<Arc<Settings>>,
    controls: Option<(Hints<AppKey>, EdgeHandle)>,
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
        let Some((apps, edge)) = &controls else { continue };
        match topic {
            None | Some(Topic::Settings) => {
                apps.resync();
                edge.kick();
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
    pub(super) store: Store,
    pub(super) clock: SharedClock,
    pub(super) endpoints: watch::Receiver<Arc<EndpointTable>>,
    pub(super) apps: Hints<AppKey>,
    pub(super) nodes: Hints<String>,
    /// See [`QUIET`]; shared with the App reconciler.
    pub(super) quiet_until: Arc<Mutex<Duration>>,
}

/// The apps, found by what the engine calls them.
#[derive(Default)]
struct Index {
    by_uid: HashMap<Uuid, AppKey>,
    by_prefix: HashMap<String, AppKey>,
    refreshed: Option<Instant>,
}

impl EngineFollower {
    /// Until cancelled.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut hints = self.engine.hints();
        let mut index = Index::default();
        let mut seen = tasks_by_app(&self.endpoints.borrow_and_update());
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                hint = hints.next() => match hint {
                    Some(hint) => self.engine_hint(&hint, &mut index).await,
                    None => return,
                },
                changed = self.endpoints.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = tasks_by_app(&self.endpoints.borrow_and_update());
                    let uids: BTreeSet<&Uuid> = now.keys().chain(seen.keys()).filter(|uid| now.get(uid) != seen.get(uid)).collect();
                    for uid in uids {
                        self.app_of_uid(*uid, &mut index).await;
                    }
                    seen = now;
                }
            }
        }
    }

    async fn engine_hint(&self, hint: &EngineHint, index: &mut Index) {
        match hint {
            EngineHint::Connected => {
                let until = self.clock.monotonic() + QUIET;
                *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
                self.apps.resync();
                self.nodes.resync();
            }
            EngineHint::Changed { kind: "service", name } => self.app_of_service(name, index).await,
            EngineHint::Changed { kind: "node", .. } => self.nodes.resync(),
            // What containers do shows in the endpoints; networks and secrets change by our own steps.
            EngineHint::Changed { .. } | EngineHint::ContainerStarted { .. } | EngineHint::ContainerGoing { .. } => {}
        }
    }

    async fn app_of_uid(&self, uid: Uuid, index: &mut Index) {
        if !index.by_uid.contains_key(&uid) {
            self.refresh(index).await;
        }
        if let Some(key) = index.by_uid.get(&uid) {
            self.apps.key(key.clone(), Priority::User);
        }
    }

    async fn app_of_service(&self, name: &str, index: &mut Index) {
        if index.find(name).is_none() {
            self.refresh(index).await;
        }
        match index.find(name) {
            Some(key) => self.apps.key(key.clone(), Priority::User),
            None => debug!(service = name, "a service of no app that is known"),
        }
    }

    async fn refresh(&self, index: &mut Index) {
        if index.refreshed.is_some_and(|at| at.elapsed() < REFRESH_PAUSE) {
            return;
        }
        index.refreshed = Some(Instant::now());
        match self.store.app_list(None).await {
            Ok(records) => {
                let keys = records.into_iter().map(|record| (record.uid, AppKey { org: record.org, name: record.name }));
                index.by_uid = keys.collect();
                index.by_prefix = index.by_uid.iter().map(|(uid, key)| (names::prefix(&key.name, *uid), key.clone())).collect();
            }
            Err(error) => debug!(error = &error as &dyn std::error::Error, "apps could not be listed"),
        }
    }
}

impl Index {
    /// The app whose prefix a service's name begins with.
    fn find(&self, service: &str) -> Option<&AppKey> {
        service.match_indices('-').find_map(|(at, _)| service.get(..at).and_then(|prefix| self.by_prefix.get(prefix)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_the_prefix_of_its_app() {
        let uid: Uuid = "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("a uuid");
        let key = AppKey { org: "acme".parse().expect("valid"), name: "my-shop".parse().expect("valid") };
        let index = Index { by_prefix: HashMap::from([(names::prefix(&key.name, uid), key.clone())]), ..Index::default() };
        assert_eq!(index.find("my-shop-099a8057-web-0123456"), Some(&key));
        for foreign in ["my-shop", "my-shop-099a8058-web-0123456", "shop-099a8057-web-0123456", ""] {
            assert_eq!(index.find(foreign), None, "{foreign}");
        }
    }
}
