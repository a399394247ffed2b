//! A node with an engine, rows, a proxy and one controller process, and the steps in which its time passes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::kinds::app::AppSpec;
use skyswarm::clock::{Clock, SeededEntropy};
use skyswarm::engines::swarm::fake::{FakeSwarm, Landed};
use skyswarm::engines::swarm::{ImageResolution, Task};
use skyswarm::kinds::app::records::MemoryRecords;
use skyswarm::store::AppKey;

use crate::edge::SimEdge;
use crate::faults::Faults;
use crate::oracles::Watch;
use crate::process::{Process, RESYNC};
use crate::specs::SimClock;

/// How far time goes in one step.
pub(crate) const STEP: Duration = Duration::from_millis(100);
/// How long a killed process is down.
const DOWN: Duration = Duration::from_millis(500);
/// Longest until a world comes to rest after the last fault.
const PATIENCE: Duration = Duration::from_secs(240);
/// A world is at rest when nothing was written for three resyncs.
const REST: Duration = Duration::from_secs(RESYNC.as_secs() * 3 + 1);

/// What outlives processes.
pub(crate) struct Shared {
    pub(crate) seed: u64,
    pub(crate) resync: Duration,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) swarm: Arc<FakeSwarm>,
    pub(crate) rows: Arc<MemoryRecords>,
    pub(crate) edge: Arc<SimEdge>,
    pub(crate) faults: Arc<Faults>,
}

pub(crate) struct World {
    pub(crate) shared: Shared,
    pub(crate) process: Option<Process>,
    pub(crate) watch: Watch,
    /// Whether hints are lost.
    pub(crate) deaf: bool,
    /// How many lists were skipped as old by processes that are gone.
    pub(crate) skips: u64,
    processes: u64,
    steps: u64,
    up_at: Option<Duration>,
    seen: (u64, usize),
}

impl World {
    /// An empty world whose controller has just started.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_resync(seed, RESYNC)
    }

    /// As [`Self::new`], with another time between resyncs.
    pub(crate) fn with_resync(seed: u64, resync: Duration) -> Self {
        let clock = Arc::new(SimClock::new());
        let swarm = Arc::new(FakeSwarm::new(clock.clone()));
        let images = ["good:1", "good:2", "good:3", "crash:1", "unschedulable:1", "hang:1"];
        for (number, image) in images.into_iter().enumerate() {
            let digest = format!("acme/{}@sha256:{number:064x}", image.replace(':', "-"));
            swarm.add_image(&format!("acme/{image}"), ImageResolution::Pinned(digest));
        }
        let rows = Arc::new(MemoryRecords::new(clock.clone(), Arc::new(SeededEntropy::new(seed))));
        let shared = Shared { seed, resync, clock, swarm, rows, edge: SimEdge::new(), faults: Faults::new() };
        let process = Process::start(&shared, 1);
        Self {
            shared,
            process: Some(process),
            watch: Watch::default(),
            deaf: false,
            skips: 0,
            processes: 1,
            steps: 0,
            up_at: None,
            seen: (0, 0),
        }
    }

    pub(crate) fn apply(&self, key: &AppKey, spec: &AppSpec) {
        self.shared.rows.apply(key, spec);
    }

    /// The engine's writes, oldest first.
    pub(crate) fn history(&self) -> Vec<Landed> {
        self.shared.swarm.history()
    }

    /// Kills the controller now.
    pub(crate) fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            self.skips += process.stale_skips.get();
            self.up_at = Some(self.shared.clock.monotonic() + DOWN);
        }
    }

    /// Lists that were not believed since the beginning.
    pub(crate) fn stale_skips(&self) -> u64 {
        self.skips + self.process.as_ref().map_or(0, |process| process.stale_skips.get())
    }

    /// Lets one step of time pass.
    pub(crate) async fn step(&mut self) {
        tokio::time::sleep(STEP).await;
        self.steps += 1;
        if self.process.as_ref().is_some_and(Process::is_dead) {
            self.kill();
        }
        let now = self.shared.clock.monotonic();
        if self.up_at.is_some_and(|at| at <= now) {
            self.up_at = None;
            self.processes += 1;
            self.process = Some(Process::start(&self.shared, self.processes));
        }
        self.watch.statuses(&self.shared);
        if self.steps.is_multiple_of(2) {
            self.shared.swarm.tick();
        }
        self.shared.edge.look(&self.shared.swarm, self.shared.clock.now(), is_sick).await;
        if let Some(process) = &self.process {
            self.shared.edge.poll(process.edge.published().borrow().clone());
        }
        self.watch.requests(&self.shared);
        self.hints();
    }

    fn hints(&mut self) {
        let now = (self.shared.rows.writes(), self.shared.swarm.landed());
        let Some(process) = self.process.as_ref().filter(|_| !self.deaf) else { return };
        if now.0 != self.seen.0 {
            process.dirty();
        }
        if now.1 != self.seen.1 {
            for (_, key) in self.shared.rows.uids() {
                process.hint(key);
            }
        }
        self.seen = now;
    }

    /// Lets a time pass.
    pub(crate) async fn pass(&mut self, time: Duration) {
        let until = self.shared.clock.monotonic() + time;
        while self.shared.clock.monotonic() < until {
            self.step().await;
        }
    }

    /// Lets a time pass in which the engine does nothing by itself.
    pub(crate) async fn pass_idle(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
        self.step().await;
    }

    /// Lets time pass until `done`, or says that it did not come.
    pub(crate) async fn until(&mut self, what: &str, limit: Duration, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        let end = self.shared.clock.monotonic() + limit;
        while !done(self) {
            if self.shared.clock.monotonic() >= end {
                return Err(format!("{what} did not come within {limit:?}"));
            }
            self.step().await;
        }
        Ok(())
    }

    /// Lets time pass until nothing is written any more for three resyncs.
    pub(crate) async fn rest(&mut self) -> Result<(), String> {
        let end = self.shared.clock.monotonic() + PATIENCE;
        let mut last = (self.shared.rows.writes(), self.shared.swarm.landed());
        let mut since = self.shared.clock.monotonic();
        loop {
            self.step().await;
            let now = (self.shared.rows.writes(), self.shared.swarm.landed());
            if now != last {
                (last, since) = (now, self.shared.clock.monotonic());
            }
            if self.shared.clock.monotonic() - since >= REST && self.process.is_some() {
                return Ok(());
            }
            if self.shared.clock.monotonic() >= end {
                return Err(format!("no rest within {PATIENCE:?}"));
            }
        }
    }

    /// Releases of a process that have tasks that run.
    pub(crate) fn running(&self, image_part: &str) -> usize {
        let services: BTreeMap<String, String> =
            self.shared.swarm.services().into_iter().map(|service| (service.id, service.spec.image)).collect();
        let of = |task: &Task| services.get(&task.service_id).is_some_and(|image| image.contains(image_part));
        self.shared.swarm.tasks().iter().filter(|task| task.is_running() && of(task)).count()
    }
}

/// Tasks of an image whose name says so never answer.
fn is_sick(task: &Task) -> bool {
    task.container_labels.get("skyswarm.dev/health").is_some_and(|health| health.contains("/sick"))
}

/// Runs a simulation on a clock of its own.
pub(crate) fn simulate<T>(run: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime").block_on(run)
}
