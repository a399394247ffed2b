//! The loop: hints, reads, checks, and the table that comes of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::{BoxStream, StreamExt};
use futures::{FutureExt, future};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::health::{Health, Moment, Policy};
use super::targets::{Target, Targets, targets};
use super::{EndpointsConfig, NodeView, probe};
use crate::clock::{SharedClock, SharedEntropy};
use crate::edge::{Check, Endpoint, EndpointTable};
use crate::engines::swarm::{EngineHint, Task};

/// How long results of checks are gathered before the table is published. Removals do not wait.
const GATHER: Duration = Duration::from_millis(10);
/// Hints that are taken from the stream at a time.
const HINT_BATCH: usize = 1024;
/// Wait before a check for which there was no room.
const CROWDED: Duration = Duration::from_millis(25);
const HINTS_AGAIN: Duration = Duration::from_secs(1);
/// Time between reads while a task is about to run.
const ARRIVING: Duration = Duration::from_millis(200);

struct Entry {
    target: Target,
    policy: Policy,
    health: Health,
    next: Option<Instant>,
}

/// What a read of the engine brought.
struct Reading {
    began: Instant,
    began_at: DateTime<Utc>,
    found: Result<(Vec<Task>, BTreeMap<String, IpAddr>), String>,
}

struct ProbeResult {
    target: Target,
    outcome: Check,
}

pub(super) struct Driver {
    node: Arc<dyn NodeView>,
    clock: SharedClock,
    entropy: SharedEntropy,
    config: EndpointsConfig,
    sender: watch::Sender<Arc<EndpointTable>>,
    start: Instant,

    entries: BTreeMap<String, Entry>,
    going: BTreeMap<String, Instant>,
    observed_at: Option<DateTime<Utc>>,
    doubtful: BTreeSet<IpAddr>,

    reads: JoinSet<Reading>,
    read_at: Instant,
    last_read_took: Duration,
    last_read_ended: Instant,
    last_good: Option<Instant>,
    failed_reads: u32,
    /// Whether the last word of the engine was a good one; see [`Moment::engine_known`].
    engine_known: bool,
    /// Reads that began before this say nothing about what was missed.
    doubted_at: Instant,

    probes: JoinSet<ProbeResult>,
    due: BTreeSet<(Instant, String)>,
    probes_by_app: HashMap<Uuid, usize>,
    publish_at: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        node: Arc<dyn NodeView>,
        clock: SharedClock,
        entropy: SharedEntropy,
        config: EndpointsConfig,
        sender: watch::Sender<Arc<EndpointTable>>,
    ) -> Self {
        let start = Instant::now();
        Self {
            node,
            clock,
            entropy,
            config,
            sender,
            start,
            entries: BTreeMap::new(),
            going: BTreeMap::new(),
            observed_at: None,
            doubtful: BTreeSet::new(),
            reads: JoinSet::new(),
            read_at: start,
            last_read_took: Duration::ZERO,
            last_read_ended: start,
            last_good: None,
            failed_reads: 0,
            engine_known: false,
            doubted_at: start,
            probes: JoinSet::new(),
            due: BTreeSet::new(),
            probes_by_app: HashMap::new(),
            publish_at: None,
        }
    }

    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut hints = self.node.hints();
        loop {
            self.start_due_work();
            let wake = self.next_wake();
            tokio::select! {
                () = cancel.cancelled() => return,
                hint = hints.next() => match hint {
                    Some(hint) => self.on_hints(hint, &mut hints),
                    None => hints = reopen(self.node.clone()),
                },
                Some(result) = self.probes.join_next() => match result {
                    Ok(result) => self.on_probe(result),
                    Err(error) => tracing::error!(%error, "a health check ended without a result"),
                },
                Some(result) = self.reads.join_next() => match result {
                    Ok(reading) => self.on_reading(reading),
                    Err(error) => {
                        tracing::error!(%error, "reading the engine ended without a result");
                        self.on_failed_read(&error.to_string());
                    }
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    fn moment(&self) -> Moment {
        Moment { now: self.clock.now(), monotonic: self.start.elapsed(), engine_known: self.engine_known }
    }

    /// Starts what is due, and publishes when it is time.
    fn start_due_work(&mut self) {
        let now = Instant::now();
        if self.reads.is_empty() && now >= self.read_at {
            self.start_read();
        }
        self.start_probes(now);
        if self.observed_at.is_some() && now >= self.lost_at() {
            tracing::warn!("the engine has not been readable for a while; endpoints are kept but not known to be current");
            self.observed_at = None;
            self.publish();
        }
        if self.publish_at.is_some_and(|at| now >= at) {
            self.publish();
        }
    }

    /// When the loop has something to do by itself.
    fn next_wake(&self) -> Instant {
        let mut wake = Instant::now() + Duration::from_secs(3600);
        if self.reads.is_empty() {
            wake = wake.min(self.read_at);
        }
        if self.probes.len() < self.config.max_probes
            && let Some((at, _)) = self.due.first()
        {
            wake = wake.min(*at);
        }
        if self.observed_at.is_some() {
            wake = wake.min(self.lost_at());
        }
        self.publish_at.map_or(wake, |at| wake.min(at))
    }

    fn lost_at(&self) -> Instant {
        // A big Swarm takes long to read; that is not a loss.
        let patience = self.config.lost_after.max(self.last_read_took.saturating_mul(2 * (self.config.rest_factor + 1)));
        self.last_good.unwrap_or(self.start) + patience
    }

    // Hints -------------------------------------------------------------------------------------------

    fn on_hints(&mut self, first: EngineHint, hints: &mut BoxStream<'static, EngineHint>) {
        let mut removed = self.on_hint(first);
        for _ in 0..HINT_BATCH {
            match hints.next().now_or_never() {
                Some(Some(hint)) => removed |= self.on_hint(hint),
                _ => break,
            }
        }
        if removed {
            self.publish();
        }
    }

    /// Whether an endpoint was removed.
    fn on_hint(&mut self, hint: EngineHint) -> bool {
        let now = Instant::now();
        match hint {
            EngineHint::ContainerGoing { id } | EngineHint::ContainerKilled { id, .. } => {
                let before = self.entries.len();
                self.entries.retain(|_, entry| entry.target.container_id != id);
                self.going.insert(id, now);
                self.want_read(now);
                self.entries.len() != before
            }
            EngineHint::Connected => {
                // Containers may have gone while nobody listened.
                self.engine_known = false;
                self.doubted_at = now;
                self.failed_reads = 0;
                self.read_at = self.read_at.min(now);
                false
            }
            EngineHint::Changed { .. } | EngineHint::ContainerStarted { .. } => {
                self.want_read(now);
                false
            }
        }
    }

    /// Brings the next read forward, but leaves the engine time to rest in proportion to its work.
    fn want_read(&mut self, now: Instant) {
        if self.failed_reads > 0 {
            return;
        }
        let rested = self.last_read_ended + self.last_read_took.saturating_mul(self.config.rest_factor);
        self.read_at = self.read_at.min(rested.max(now + self.config.debounce));
    }

    // Reads -------------------------------------------------------------------------------------------

    fn start_read(&mut self) {
        let (node, limit) = (self.node.clone(), self.config.read_timeout);
        let (began, began_at) = (Instant::now(), self.clock.now());
        // A hint that comes while this read is under way brings the next one forward again.
        self.read_at = began + self.config.resync;
        self.reads.spawn(async move {
            let read = async {
                // Tasks first: an address that is read later is at least as fresh as the task's state.
                let tasks = node.tasks().await?;
                Ok::<_, crate::engines::swarm::EngineError>((tasks, node.gateway_addresses().await?))
            };
            let found = match timeout(limit, read).await {
                Ok(Ok(found)) => Ok(found),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {limit:?}")),
            };
            Reading { began, began_at, found }
        });
    }

    fn on_reading(&mut self, reading: Reading) {
        let (tasks, gateways) = match reading.found {
            Ok(found) => found,
            Err(error) => return self.on_failed_read(&error),
        };
        let now = Instant::now();
        self.last_read_took = now.duration_since(reading.began);
        self.last_read_ended = now;
        self.last_good = Some(now);
        self.failed_reads = 0;
        self.engine_known = reading.began >= self.doubted_at;
        let hold = self.config.going_for;
        self.going.retain(|_, since| reading.began < *since + hold);
        let found = targets(&tasks, &gateways, |container| self.going.contains_key(container));
        if found.arriving {
            // No event says that a task reported itself running: that comes some 100 ms after its container's.
            self.read_at = self.read_at.min(now + ARRIVING);
        }
        self.merge(found, now);
        self.observed_at = Some(reading.began_at);
        // A hint that came during the read asked for another; give the engine its rest first.
        let rested = now + self.last_read_took.saturating_mul(self.config.rest_factor);
        self.read_at = self.read_at.max(rested);
        self.publish();
    }

    fn on_failed_read(&mut self, error: &str) {
        let now = Instant::now();
        self.failed_reads = self.failed_reads.saturating_add(1);
        self.engine_known = false;
        self.last_read_ended = now;
        let wait = Duration::from_millis(500).saturating_mul(1 << self.failed_reads.min(4)).min(self.config.resync);
        self.read_at = now + wait.mul_f64(0.75 + 0.5 * self.entropy.unit());
        if self.failed_reads == 1 {
            tracing::warn!(error, "reading tasks and their addresses failed; the endpoints stay as they are");
        }
        // Endpoints are checked more often now, since events may be missing as well.
        self.check_soon(now);
    }

    fn check_soon(&mut self, now: Instant) {
        let soon: Vec<String> = self.entries.iter().filter(|(_, entry)| entry.next.is_some()).map(|(id, _)| id.clone()).collect();
        for id in soon {
            let at = now + Duration::from_secs(1).mul_f64(self.entropy.unit());
            if self.entries.get(&id).and_then(|entry| entry.next).is_some_and(|next| next > at) {
                self.schedule(&id, at);
            }
        }
    }

    fn merge(&mut self, found: Targets, now: Instant) {
        for address in found.doubtful.difference(&self.doubtful) {
            tracing::error!(%address, "two containers seem to have one address; neither gets requests until that is resolved");
        }
        if !found.doubtful.is_empty() {
            self.read_at = self.read_at.min(now + Duration::from_millis(500));
        }
        self.doubtful = found.doubtful;
        let moment = self.moment();
        let mut old = std::mem::take(&mut self.entries);
        let mut fresh = Vec::new();
        for (id, target) in found.by_task {
            // Anything that changed about a task makes what the checks said about it worthless.
            let entry = old.remove(&id).filter(|entry| entry.target == target).unwrap_or_else(|| {
                fresh.push(id.clone());
                Entry { policy: Policy::of(target.health.as_ref()), target, health: Health::pending(moment), next: None }
            });
            self.entries.insert(id, entry);
        }
        for id in fresh {
            self.schedule(&id, now);
        }
    }

    // Checks ------------------------------------------------------------------------------------------

    fn schedule(&mut self, task_id: &str, at: Instant) {
        if let Some(entry) = self.entries.get_mut(task_id) {
            entry.next = Some(at);
            self.due.insert((at, task_id.to_owned()));
        }
    }

    fn start_probes(&mut self, now: Instant) {
        while self.probes.len() < self.config.max_probes {
            let Some((at, task_id)) = self.due.pop_first() else { return };
            if at > now {
                self.due.insert((at, task_id));
                return;
            }
            // A stale line of the timetable: the task is gone, or was put elsewhere in it.
            let Some(entry) = self.entries.get_mut(&task_id).filter(|entry| entry.next == Some(at)) else { continue };
            let running = self.probes_by_app.entry(entry.target.app_uid).or_default();
            if *running >= self.config.max_probes_per_app {
                self.schedule(&task_id, now + CROWDED);
                continue;
            }
            *running += 1;
            entry.next = None;
            let (target, limit) = (entry.target.clone(), entry.policy.timeout);
            self.probes.spawn(async move {
                let outcome = probe::check(target.address, target.health.as_ref(), limit).await;
                ProbeResult { target, outcome }
            });
        }
    }

    fn on_probe(&mut self, result: ProbeResult) {
        if let Some(running) = self.probes_by_app.get_mut(&result.target.app_uid) {
            *running = running.saturating_sub(1);
            if *running == 0 {
                self.probes_by_app.remove(&result.target.app_uid);
            }
        }
        let moment = self.moment();
        let unit = self.entropy.unit();
        // The task may have gone, or changed and been put into the timetable anew, meanwhile.
        let task_id = result.target.task_id.clone();
        let current = |entry: &&mut Entry| entry.target == result.target && entry.next.is_none();
        let Some(entry) = self.entries.get_mut(&task_id).filter(current) else { return };
        let next = entry.health.after(result.outcome, &entry.policy, moment);
        let lost_readiness = entry.health.ready && !next.ready;
        let changed = entry.health.ready != next.ready || entry.health.last != next.last;
        let delay = next.next_delay(&entry.policy, moment, unit);
        if lost_readiness {
            tracing::info!(task = task_id, address = %entry.target.address, check = ?next.last, "a task gets no more requests");
        }
        entry.health = next;
        let now = Instant::now();
        self.schedule(&task_id, now + delay);
        if changed {
            let at = if lost_readiness { now } else { now + GATHER };
            self.publish_at = Some(self.publish_at.map_or(at, |planned| planned.min(at)));
        }
    }

    // The table ---------------------------------------------------------------------------------------

    fn publish(&mut self) {
        self.publish_at = None;
        let endpoints = self.entries.iter().map(|(id, entry)| (id.clone(), endpoint(entry))).collect();
        self.sender.send_replace(Arc::new(EndpointTable { endpoints, observed_at: self.observed_at }));
    }
}

fn endpoint(entry: &Entry) -> Endpoint {
    let (target, health) = (&entry.target, &entry.health);
    Endpoint {
        task_id: target.task_id.clone(),
        container_id: target.container_id.clone(),
        app_uid: target.app_uid,
        process: target.process.clone(),
        release: target.release.clone(),
        slot: target.slot,
        address: target.address,
        hop: None,
        leaving: false,
        ready: health.ready,
        since: health.since,
        last_check: health.last.clone(),
    }
}

/// The stream of hints is not to end; if it does, a new one is opened after a while.
fn reopen(node: Arc<dyn NodeView>) -> BoxStream<'static, EngineHint> {
    let later = async move {
        tokio::time::sleep(HINTS_AGAIN).await;
        node.hints()
    };
    futures::stream::once(later).flatten().chain(futures::stream::once(future::ready(EngineHint::Connected))).boxed()
}
