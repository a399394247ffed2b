//! What is known of all nodes at this moment, in memory: the engine's view, the agents' reports, and what follows from
//! both. The functions that decide are pure and take the state; the rest is locks and wake-ups.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::SILENT_AFTER;
use super::wire::{Assignment, Peer, Report};
use crate::clock::SharedClock;
use crate::edge::{Endpoint, EndpointTable, Hop};
use crate::engines::swarm::{SwarmNode, Task};

/// An agent's last words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What it said.
    pub report: Report,
    /// When, by the monotonic clock.
    pub at: Duration,
    /// When, for people.
    pub time: DateTime<Utc>,
}

#[derive(Debug, Default)]
struct State {
    own: String,
    heard: BTreeMap<String, Heard>,
    /// Agents that were let in at some time, by node.
    admitted: BTreeSet<String>,
    nodes: Vec<SwarmNode>,
    tasks: BTreeMap<String, Vec<Task>>,
    leaving: BTreeSet<String>,
    observed: bool,
    serial: u64,
    assignments: BTreeMap<String, Arc<Assignment>>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
    clock: SharedClock,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fleet")
    }
}

impl Fleet {
    /// For the server on a node. `admitted` are the nodes whose agents were let in before.
    pub fn new(own: String, admitted: BTreeSet<String>, clock: SharedClock) -> Self {
        // Ahead of whatever an earlier server counted to.
        let serial = u64::try_from(clock.now().timestamp_millis()).unwrap_or(1);
        let state = State { own, admitted, serial, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::new(watch::Sender::new(0)), clock }
    }

    fn edit<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        reassign(&mut state);
        drop(state);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes an agent's report about its node.
    pub fn report(&self, node: &str, report: Report) {
        let heard = Heard { report, at: self.clock.monotonic(), time: self.clock.now() };
        // Figures move all the time, and nothing depends on them.
        let told = |heard: &Heard| Report { usage: BTreeMap::new(), ..heard.report.clone() };
        let news = self.read(|state| state.heard.get(node).is_none_or(|before| told(before) != told(&heard)));
        let put = |state: &mut State| {
            state.admitted.insert(node.to_owned());
            state.heard.insert(node.to_owned(), heard);
        };
        if news {
            self.edit(put);
        } else {
            put(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Takes what the engine says of nodes and tasks.
    pub fn observe(&self, nodes: Vec<SwarmNode>, tasks: Vec<Task>) {
        let mut by_node: BTreeMap<String, Vec<Task>> = BTreeMap::new();
        for task in tasks.into_iter().filter(|task| !task.node_id.is_empty()) {
            by_node.entry(task.node_id.clone()).or_default().push(task);
        }
        let same = self.read(|state| state.observed && state.nodes == nodes && state.tasks == by_node);
        if !same {
            self.edit(|state| {
                let here: BTreeSet<&String> = nodes.iter().map(|node| &node.id).collect();
                state.heard.retain(|node, _| here.contains(node));
                state.admitted.retain(|node| here.contains(node));
                (state.nodes, state.tasks, state.observed) = (nodes, by_node, true);
            });
        }
    }

    /// Says which nodes are to be emptied.
    pub fn set_leaving(&self, leaving: BTreeSet<String>) {
        if self.read(|state| state.leaving != leaving) {
            self.edit(|state| state.leaving = leaving);
        }
    }

    /// Whether a node is the server's own.
    pub fn is_own(&self, node: &str) -> bool {
        self.read(|state| state.own == node)
    }

    /// Whether the engine has a node.
    pub fn knows(&self, node: &str) -> bool {
        self.read(|state| state.nodes.iter().any(|found| found.id == node))
    }

    /// What a node's agent is told; `None` while the engine does not have the node.
    pub fn assignment(&self, node: &str) -> Option<Arc<Assignment>> {
        self.read(|state| state.assignments.get(node).cloned())
    }

    /// Last words by node.
    pub fn heard(&self) -> BTreeMap<String, Heard> {
        self.read(|state| state.heard.clone())
    }

    /// How long ago an agent was heard; `None` when it never was.
    pub fn silent_for(&self, heard: &Heard) -> Duration {
        self.clock.monotonic().saturating_sub(heard.at)
    }

    /// Whether every agent that was let in and whose node is there has been heard since the start.
    pub fn is_complete(&self) -> bool {
        self.read(|state| {
            let up = |node: &&String| state.nodes.iter().any(|found| found.id == **node && found.state == "ready");
            state.observed && state.admitted.iter().filter(up).all(|node| state.heard.contains_key(node))
        })
    }

    /// Containers on other nodes that ran out of memory.
    pub fn out_of_memory(&self) -> BTreeSet<String> {
        self.read(|state| state.heard.values().flat_map(|heard| heard.report.out_of_memory.iter().cloned()).collect())
    }

    /// Tasks on other nodes that may get requests from here.
    pub fn remote(&self) -> Vec<Endpoint> {
        self.read(remote)
    }

    /// The endpoints of this node, and those on others.
    pub fn merge(&self, local: &EndpointTable) -> EndpointTable {
        self.read(|state| {
            let mut endpoints = local.endpoints.clone();
            if state.leaving.contains(&state.own) {
                endpoints.values_mut().for_each(|endpoint| endpoint.leaving = true);
            }
            endpoints.extend(remote(state).into_iter().map(|endpoint| (endpoint.task_id.clone(), endpoint)));
            EndpointTable { endpoints, observed_at: local.observed_at }
        })
    }

    /// Whether an agent is silent.
    pub fn is_silent(&self, heard: &Heard) -> bool {
        self.silent_for(heard) > SILENT_AFTER
    }
}

/// What agents say of tasks, as far as the engine agrees: the node is up, the task is on it, wanted and running, in the
/// container that the agent names, and of the app that the agent names. Where the agent's word is not needed it is not taken.
fn remote(state: &State) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for node in state.nodes.iter().filter(|node| node.id != state.own && node.state == "ready") {
        let (Some(heard), Ok(ip)) = (state.heard.get(&node.id), node.address.parse::<IpAddr>()) else { continue };
        let tasks: BTreeMap<&str, &Task> = state.tasks.get(&node.id).into_iter().flatten().map(|task| (task.id.as_str(), task)).collect();
        let hop = Hop { node: node.id.clone(), edge: SocketAddr::new(ip, heard.report.edge_port) };
        for endpoint in &heard.report.endpoints {
            let Some(target) =
                tasks.get(endpoint.task_id.as_str()).and_then(|task| crate::edge::endpoints::target_of(task, endpoint.address.ip()))
            else {
                continue;
            };
            let same = target.container_id == endpoint.container_id && target.app_uid == endpoint.app_uid;
            if same && target.process == endpoint.process && target.release == endpoint.release && target.address == endpoint.address {
                let ready = endpoint.ready && heard.report.edge_problem.is_none();
                found.push(Endpoint { hop: Some(hop.clone()), leaving: state.leaving.contains(&node.id), ready, ..endpoint.clone() });
            }
        }
    }
    found
}

/// Works out anew what each agent is told, and counts where it differs.
fn reassign(state: &mut State) {
    if !state.observed {
        return;
    }
    let peers: Vec<Peer> = state
        .nodes
        .iter()
        .filter_map(|node| {
            let ip: IpAddr = node.address.parse().ok()?;
            let port = state.heard.get(&node.id).map(|heard| heard.report.edge_port);
            Some(Peer { node: node.id.clone(), address: node.address.clone(), edge: port.map(|port| SocketAddr::new(ip, port)) })
        })
        .collect();
    let mut assignments = BTreeMap::new();
    for node in &state.nodes {
        let tasks = state.tasks.get(&node.id).cloned().unwrap_or_default();
        let peers = peers.iter().filter(|peer| peer.node != node.id).cloned().collect();
        let wanted = Assignment { serial: 0, tasks, peers };
        let same = state.assignments.get(&node.id).filter(|known| known.tasks == wanted.tasks && known.peers == wanted.peers);
        let kept = same.cloned().unwrap_or_else(|| {
            state.serial += 1;
            Arc::new(Assignment { serial: state.serial, ..wanted })
        });
        assignments.insert(node.id.clone(), kept);
    }
    state.assignments = assignments;
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
