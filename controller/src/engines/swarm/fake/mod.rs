//! A Swarm in memory, for tests of what drives one.
//!
//! It answers as the real engine was seen to answer, and the same contract test runs against both. Nothing
//! happens by itself: [`FakeSwarm::tick`] moves every task one state on, or [`FakeSwarm::auto_tick`] lets each
//! look at the tasks do so. It has no scheduler, no networks and no images beyond what a test tells it.

mod engine;
mod state;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::broadcast;

use super::{EngineError, EngineHint, EngineResult, ImageResolution, LogRecord, Network, Secret, Service, SwarmNode, Task};
use crate::clock::SharedClock;

/// What becomes of the tasks of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// They run until they are told to stop.
    Runs,
    /// They start, run for one tick and end with this code.
    Exits(i64),
    /// The engine does not have the image: rejected.
    MissingImage,
    /// No node takes them: pending for ever.
    Unschedulable,
    /// They never get beyond `preparing`, like a pull that hangs.
    Prepares,
}

/// Counters, by name of the trait's method.
pub type Calls = BTreeMap<&'static str, u64>;

/// A Swarm in memory.
#[derive(Debug)]
pub struct FakeSwarm {
    clock: SharedClockDebug,
    state: Mutex<State>,
    hints: broadcast::Sender<EngineHint>,
}

/// A clock in a struct that derives `Debug`.
struct SharedClockDebug(SharedClock);

impl std::fmt::Debug for SharedClockDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

#[derive(Debug, Default)]
struct State {
    serial: u64,
    /// Moves with every change, like Swarm's index.
    index: u64,
    services: BTreeMap<String, Service>,
    networks: BTreeMap<String, Network>,
    secrets: BTreeMap<String, Secret>,
    tasks: BTreeMap<String, Task>,
    /// What each task was made from: image and outcome do not change with the service.
    templates: BTreeMap<String, Template>,
    addresses: BTreeMap<String, IpAddr>,
    images: BTreeMap<String, ImageResolution>,
    outcomes: Vec<(String, Outcome)>,
    nodes: Vec<SwarmNode>,
    logs: Vec<LogRecord>,
    calls: Calls,
    before: BTreeMap<&'static str, VecDeque<EngineError>>,
    after: BTreeMap<&'static str, VecDeque<EngineError>>,
    unreachable: BTreeSet<&'static str>,
    auto_tick: bool,
    history: Vec<Landed>,
    /// How many writes lists lag behind, and for how long at most.
    lag: (usize, TimeDelta),
    /// What lists showed before each of the last writes.
    past: VecDeque<(DateTime<Utc>, View)>,
    /// Until when tasks are said to run although nothing does.
    lying_until: Option<Duration>,
    /// Whether every look at services moves their versions on right after it.
    storm: bool,
    /// Names of networks that the engine says are in use.
    held: BTreeSet<String>,
    /// Service, version and call of each update that was asked for.
    updates_asked: Vec<(String, u64)>,
}

/// What lists show.
#[derive(Debug, Clone, Default)]
struct View {
    services: BTreeMap<String, Service>,
    networks: BTreeMap<String, Network>,
    secrets: BTreeMap<String, Secret>,
    tasks: BTreeMap<String, Task>,
}

/// A write that the engine carried out, whether its answer was heard or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    /// The method.
    pub call: &'static str,
    /// Name of the object.
    pub name: String,
    /// Its id.
    pub id: String,
}

/// What a task was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template {
    service_id: String,
    hash: String,
    outcome: Outcome,
    on_network: bool,
    ticks_running: u32,
}

const MUTATING: [&str; 7] =
    ["service_create", "service_update", "service_remove", "network_create", "network_remove", "secret_create", "secret_remove"];

impl FakeSwarm {
    /// An empty Swarm of one node.
    pub fn new(clock: SharedClock) -> Self {
        let state = State { nodes: vec![state::only_node()], ..State::default() };
        Self { clock: SharedClockDebug(clock), state: Mutex::new(state), hints: broadcast::channel(1024).0 }
    }

    /// Lets every [`task_list`](super::SwarmEngine::task_list) move the tasks on by one tick.
    pub fn auto_tick(self) -> Self {
        self.state().auto_tick = true;
        self
    }

    /// Gives the engine an image under a reference (`shop:1` or `sha256:…`).
    pub fn add_image(&self, reference: &str, resolution: ImageResolution) {
        self.state().images.insert(reference.to_owned(), resolution);
    }

    /// Sets what becomes of tasks whose image contains `part`; the latest setting that fits counts. Without
    /// one, `crash`, `missing`, `unschedulable` and `hang` in the image's name do what they say, and any
    /// other image runs. It holds for tasks made from now on.
    pub fn set_outcome(&self, part: &str, outcome: Outcome) {
        self.state().outcomes.push((part.to_owned(), outcome));
    }

    /// Moves every task one state on, makes the tasks that are missing and removes those that are gone.
    pub fn tick(&self) {
        let now = self.clock.0.now();
        let hints = self.state().tick(now, self.clock.0.monotonic());
        for hint in hints {
            self.hint(hint);
        }
    }

    /// Ticks until nothing changes any more, at most `limit` times.
    pub fn settle(&self, limit: usize) {
        for _ in 0..limit {
            let before = self.state().tasks.clone();
            self.tick();
            if self.state().tasks == before {
                return;
            }
        }
    }

    /// Makes the next `call` (a method's name) fail before it does anything.
    pub fn fail_next(&self, call: &'static str, error: EngineError) {
        self.state().before.entry(call).or_default().push_back(error);
    }

    /// Makes the next `call` do its work and then fail, as when the answer is lost.
    pub fn lose_next(&self, call: &'static str, error: EngineError) {
        self.state().after.entry(call).or_default().push_back(error);
    }

    /// Makes `call` unreachable until it is told otherwise.
    pub fn set_unreachable(&self, call: &'static str, unreachable: bool) {
        let mut state = self.state();
        if unreachable {
            state.unreachable.insert(call)
        } else {
            state.unreachable.remove(call)
        };
    }

    /// How often each method was called.
    pub fn calls(&self) -> Calls {
        self.state().calls.clone()
    }

    /// How many calls that change something were made.
    pub fn mutations(&self) -> u64 {
        let state = self.state();
        MUTATING.iter().filter_map(|call| state.calls.get(call)).sum()
    }

    /// Every write that was carried out, oldest first.
    pub fn history(&self) -> Vec<Landed> {
        self.state().history.clone()
    }

    /// How many writes were carried out.
    pub fn landed(&self) -> usize {
        self.state().history.len()
    }

    /// Moves all versions on after each look at services, as when somebody else writes all the time.
    pub fn set_storm(&self, storm: bool) {
        self.state().storm = storm;
    }

    /// Says of a network that it is in use, whatever uses it.
    pub fn hold_network(&self, name: &str, held: bool) {
        let mut state = self.state();
        if held {
            state.held.insert(name.to_owned())
        } else {
            state.held.remove(name)
        };
    }

    /// Id and version of each update that was asked for, whatever came of it.
    pub fn updates_asked(&self) -> Vec<(String, u64)> {
        self.state().updates_asked.clone()
    }

    /// Lets lists lag so many writes behind, but never longer than `most`.
    pub fn set_lag(&self, writes: usize, most: TimeDelta) {
        let mut state = self.state();
        state.lag = (writes, most);
        state.past.clear();
    }

    /// All containers die at once with the engine. As on the real one, their tasks are said to run for a while.
    pub fn crash(&self, lies_for: TimeDelta) {
        // By the clock that nobody sets.
        let until = self.clock.0.monotonic() + lies_for.to_std().unwrap_or_default();
        let mut state = self.state();
        state.addresses.clear();
        state.lying_until = Some(until);
    }

    /// All services, whoever made them.
    pub fn services(&self) -> Vec<Service> {
        self.state().services.values().cloned().collect()
    }

    /// All tasks.
    pub fn tasks(&self) -> Vec<Task> {
        self.state().tasks.values().cloned().collect()
    }

    /// All networks.
    pub fn networks(&self) -> Vec<Network> {
        self.state().networks.values().cloned().collect()
    }

    /// All secrets.
    pub fn secrets(&self) -> Vec<Secret> {
        self.state().secrets.values().cloned().collect()
    }

    /// Changes a task behind everyone's back, such as a node that went down.
    pub fn edit_task(&self, id: &str, edit: impl FnOnce(&mut Task)) {
        if let Some(task) = self.state().tasks.get_mut(id) {
            edit(task);
        }
    }

    /// Changes a service behind everyone's back; its version moves.
    pub fn edit_service(&self, id: &str, edit: impl FnOnce(&mut Service)) {
        let mut state = self.state();
        state.index += 1;
        let index = state.index;
        if let Some(service) = state.services.get_mut(id) {
            edit(service);
            service.version = index;
        }
    }

    /// Replaces the machines of the Swarm.
    pub fn set_nodes(&self, nodes: Vec<SwarmNode>) {
        self.state().nodes = nodes;
    }

    /// Adds a line to what [`logs`](super::SwarmEngine::logs) gives out.
    pub fn add_log(&self, record: LogRecord) {
        self.state().logs.push(record);
    }

    /// Sends a hint.
    pub fn hint(&self, hint: EngineHint) {
        // Nobody listening is no error: hints are only hints.
        let _ = self.hints.send(hint);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and does it unless it is to fail.
    fn call<T>(&self, name: &'static str, work: impl FnOnce(&mut State) -> EngineResult<T>) -> EngineResult<T> {
        let now = self.clock.0.now();
        let mut state = self.state();
        state.forget_past(now);
        *state.calls.entry(name).or_default() += 1;
        if state.unreachable.contains(name) {
            return Err(EngineError::Unreachable { what: name.to_owned(), message: "set unreachable".to_owned() });
        }
        if let Some(error) = state.before.get_mut(name).and_then(VecDeque::pop_front) {
            return Err(error);
        }
        let before = (state.lag.0 > 0 && MUTATING.contains(&name)).then(|| state.view());
        let result = work(&mut state)?;
        if let Some(before) = before {
            state.past.push_back((now, before));
        }
        match state.after.get_mut(name).and_then(VecDeque::pop_front) {
            Some(error) => Err(error),
            None => Ok(result),
        }
    }
}

/// An address on the bridge that nobody has: the lowest that is free, so that addresses are reused early, as
/// the engine does.
fn free_address(taken: &BTreeMap<String, IpAddr>) -> IpAddr {
    let used: BTreeSet<IpAddr> = taken.values().copied().collect();
    let all = (2..=u16::MAX).map(|n| IpAddr::V4(Ipv4Addr::from(0xAC12_0000 + u32::from(n))));
    all.into_iter().find(|address| !used.contains(address)).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}
