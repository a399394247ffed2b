//! Heartbeats of this process: every few seconds it writes one row about itself, so that `skyctl status` and
//! `skyctl why` can say who runs, who leads, and what cannot be reached. All that depends on them is how
//! long an old release is kept when there are other edges.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api_types::platform::{PartState, ProcessReport, QueueState};
use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::core::Core;
use crate::api::ReadyCheck;
use crate::engines::swarm::SwarmEngine;
use crate::runtime::{Pulse, Pulses};
use crate::store::{HEARTBEAT_EVERY, Store};

/// Longest wait for a part's answer; a part that needs longer is told as not answering.
const PART_LIMIT: Duration = Duration::from_secs(2);
/// Time to the next report while a part does not answer: whoever repairs it wants to see that it is back.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest wait for the row's removal at the end.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);

/// What this process can tell of.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) roles: Vec<&'static str>,
    pub(super) engine: Option<Arc<dyn SwarmEngine>>,
    pub(super) edge: Option<Arc<dyn ReadyCheck>>,
    pub(super) pulses: Option<Pulses>,
}

/// The running heart.
pub(super) struct Heart {
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

struct Beat {
    store: Store,
    id: String,
    place: String,
    host: String,
    other_edges: Arc<AtomicBool>,
    started_at: DateTime<Utc>,
    parts: Parts,
}

impl Heart {
    /// Starts to report.
    pub(super) fn start(core: &Core, parts: Parts) -> Self {
        let cancel = CancellationToken::new();
        let beat = Beat {
            store: core.store.clone(),
            id: core.id.clone(),
            place: core.place.clone(),
            host: core.host.clone(),
            other_edges: core.other_edges.clone(),
            started_at: core.clock.now(),
            parts,
        };
        let task = tokio::spawn(beat.run(cancel.clone()));
        Self { cancel, task }
    }

    /// Takes the row away: whoever ends in order has not died.
    pub(super) async fn stop(self) {
        self.cancel.cancel();
        if let Err(error) = self.task.await {
            warn!(%error, "the heartbeat failed");
        }
    }
}

impl Beat {
    async fn run(self, cancel: CancellationToken) {
        let mut timer = interval(HEARTBEAT_EVERY);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                _ = timer.tick() => {}
            }
            let report = self.report().await;
            if [&report.engine, &report.edge].into_iter().flatten().any(|part| !part.ok) {
                timer.reset_after(AGAIN);
            }
            match self.store.heartbeat_put(&self.id, self.started_at, &report).await {
                Ok(()) => {
                    failing = false;
                    if self.parts.edge.is_some()
                        && let Ok(found) = self.store.other_edges(&self.place).await
                    {
                        self.other_edges.store(found, Ordering::Relaxed);
                    }
                }
                // Once: the database's absence is logged by whoever needs it more.
                Err(error) if !failing => {
                    failing = true;
                    warn!(error = &error as &dyn std::error::Error, "the heartbeat cannot be written");
                }
                Err(error) => debug!(error = &error as &dyn std::error::Error, "the heartbeat still cannot be written"),
            }
        }
        if let Ok(Err(error)) = timeout(FAREWELL_LIMIT, self.store.heartbeat_remove(&self.id)).await {
            debug!(error = &error as &dyn std::error::Error, "the last heartbeat cannot be removed");
        }
    }

    async fn report(&self) -> ProcessReport {
        let (engine, edge, queue) = tokio::join!(self.engine(), self.edge(), self.queue());
        ProcessReport {
            roles: self.parts.roles.iter().map(|role| (*role).to_owned()).collect(),
            host: self.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            engine,
            edge,
            queue,
        }
    }

    async fn engine(&self) -> Option<PartState> {
        let engine = self.parts.engine.as_ref()?;
        Some(match timeout(PART_LIMIT, engine.info()).await {
            Ok(Ok(info)) if info.is_manager => PartState { ok: true, detail: format!("Docker Engine {}, a Swarm manager", info.version) },
            Ok(Ok(info)) => PartState {
                ok: false,
                detail: format!("Docker Engine {} is no Swarm manager (the Swarm is {})", info.version, info.swarm_state),
            },
            Ok(Err(error)) => PartState { ok: false, detail: error.to_string() },
            Err(_) => late("the engine"),
        })
    }

    async fn edge(&self) -> Option<PartState> {
        let edge = self.parts.edge.as_ref()?;
        Some(match timeout(PART_LIMIT, edge.check()).await {
            Ok(Ok(())) => PartState { ok: true, detail: "Traefik runs the current document".to_owned() },
            Ok(Err(detail)) => PartState { ok: false, detail },
            Err(_) => late("the proxy"),
        })
    }

    async fn queue(&self) -> Option<QueueState> {
        let pulse = self.parts.pulses.as_ref()?.take(PART_LIMIT).await;
        Some(pulse.map_or_else(QueueState::default, queue))
    }
}

fn late(what: &str) -> PartState {
    PartState { ok: false, detail: format!("{what} did not answer within {} s", PART_LIMIT.as_secs()) }
}

fn queue(pulse: Pulse) -> QueueState {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let (oldest, since) = pulse.oldest.unzip();
    QueueState {
        due: number(pulse.due),
        scheduled: number(pulse.scheduled),
        running: number(pulse.running),
        oldest,
        oldest_seconds: since.map(|since| since.as_secs()),
        resync_seconds: pulse.resync.map(|ago| ago.as_secs()),
    }
}
