//! Turns what the database and the engine say into hints for the controllers.
//!
//! Hints about apps only save time: the periodic resync would find the same. So a hint that cannot be
//! put to an app is dropped, and nothing waits for one. Settings are read by nobody else, so a read of them
//! that failed is made again until one succeeds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::clock::SharedClock;
use crate::edge::EndpointTable;
use crate::edge::awaited::Awaited;
use crate::edge::publisher::EdgeHandle;
use crate::engines::swarm::{EngineHint, SwarmEngine};
use crate::kinds::app::AppIndex;
use crate::kinds::app::ledger::Killed;
use crate::runtime::{Hints, Priority};
use crate::settings::Settings;
use crate::store::{AppKey, Store, StoreHint, Topic};

/// How long nothing is removed after the engine came back: its lists may still show what was before.
const QUIET: Duration = Duration::from_secs(3);
/// First and longest pause before settings that could not be read are read again.
const RELOAD_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What a controller hints at.
pub(super) struct Controls {
    pub(super) apps: Hints<AppKey>,
    pub(super) certificates: Hints<String>,
    pub(super) nodes: Hints<String>,
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
    let mut again = Again::default();
    while let Some(topic) = next(&mut hints, &again, &cancel).await {
        if matches!(topic, None | Some(Topic::Settings)) {
            let read = reload(&store, &settings).await;
            again.ended(read, Instant::now());
        }
        let Some(Controls { apps, certificates, nodes, edge }) = &controls else { continue };
        match topic {
            None | Some(Topic::Settings) => {
                apps.resync();
                certificates.resync();
                nodes.resync();
                edge.kick();
            }
            Some(Topic::Certificates) => {
                edge.kick();
                certificates.resync();
            }
            Some(Topic::Apps | Topic::Domains) => apps.dirty(),
            Some(Topic::Routes) => edge.kick(),
            Some(Topic::Nodes) => nodes.resync(),
            Some(Topic::Organizations) => {}
        }
    }
}

/// What changed next, a part of the database or (`None` inside) any; `None` at the end.
async fn next(hints: &mut mpsc::Receiver<StoreHint>, again: &Again, cancel: &CancellationToken) -> Option<Option<Topic>> {
    tokio::select! {
        () = cancel.cancelled() => None,
        hint = hints.recv() => hint.map(|hint| match hint {
            StoreHint::Resync => None,
            StoreHint::Changed(topic) => Some(topic),
        }),
        () = again.due() => Some(Some(Topic::Settings)),
    }
}

/// When settings that could not be read are read again.
#[derive(Debug, Default)]
struct Again {
    failures: u32,
    at: Option<Instant>,
}

impl Again {
    /// A read ended, well or not.
    fn ended(&mut self, read: bool, now: Instant) {
        if read {
            *self = Self::default();
        } else {
            let pause = RELOAD_PAUSE.0.saturating_mul(1 << self.failures.min(5)).min(RELOAD_PAUSE.1);
            self.failures = self.failures.saturating_add(1);
            self.at = Some(now + pause);
        }
    }

    async fn due(&self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

/// Reads the settings again; false when they could not be read.
async fn reload(store: &Store, settings: &watch::Sender<Arc<Settings>>) -> bool {
    match store.settings_snapshot().await {
        Ok(read) => {
            settings.send_if_modified(|known| {
                let changed = **known != read;
                if changed {
                    *known = Arc::new(read);
                }
                changed
            });
            true
        }
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "settings could not be read again; the old ones stay until they can");
            false
        }
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
    /// Shared with the App reconciler.
    pub(super) awaited: Arc<Awaited<AppKey>>,
}

impl EngineFollower {
    /// Until cancelled.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut hints = self.engine.hints();
        let mut seen = tasks_by_app(&self.endpoints.borrow_and_update());
        let mut taken = self.awaited.taken();
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
                changed = taken.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    for key in self.awaited.due() {
                        self.apps.key(key, Priority::Background);
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn settings_that_could_not_be_read_are_read_again_until_they_can() {
        let (sender, mut hints) = mpsc::channel(4);
        let (cancel, mut again) = (CancellationToken::new(), Again::default());
        let begun = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            again.ended(false, Instant::now());
            let before = Instant::now();
            assert_eq!(next(&mut hints, &again, &cancel).await, Some(Some(Topic::Settings)));
            pauses.push(before.elapsed().as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        again.ended(true, Instant::now());
        sender.send(StoreHint::Changed(Topic::Apps)).await.unwrap();
        assert_eq!(next(&mut hints, &again, &cancel).await, Some(Some(Topic::Apps)));
        let waited = tokio::time::timeout(Duration::from_secs(3600), next(&mut hints, &again, &cancel)).await;
        assert!(waited.is_err() && begun.elapsed() > Duration::from_secs(3600), "nothing is read again that was read");
        drop(sender);
        assert_eq!(next(&mut hints, &again, &cancel).await, None);
    }
}
