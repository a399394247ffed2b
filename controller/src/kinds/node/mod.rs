//! Node: machines of the Swarm. The rows are what the engine last said; what may be desired of a node is whether it
//! takes tasks, and only where somebody asked for it.

mod plan;
mod status;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use api_types::kinds::node::Availability;
use async_trait::async_trait;
use tracing::{info, warn};

use crate::clock::SharedClock;
use crate::edge::publisher::EdgeHandle;
use crate::effects::{Effects, Kind};
use crate::engines::swarm::{EngineError, SwarmEngine, SwarmNode};
use crate::engines::traefik::ProxyApi;
use crate::fleet::hub::Fleet;
use crate::runtime::{BoxError, Class, Outcome, Reconciler, Run};
use crate::store::{Store, StoreError};

pub use plan::{NodeStep, plan};
pub use status::{Said, node};

/// Time to the next look after a step: the engine's event about it may be missed.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Time between two looks while requests still go to a node that is to be emptied.
const QUIET_LOOK: Duration = Duration::from_millis(200);
/// Least time for the document without the node to be made.
const QUIET_LEAST: Duration = Duration::from_millis(1000);
/// Longest wait for the proxy.
const QUIET_MOST: Duration = Duration::from_secs(15);

/// Mirrors the engine's nodes into rows, and sets what was asked of them. It has one key: the Swarm.
pub struct NodeReconciler {
    /// The engine.
    pub engine: Arc<dyn SwarmEngine>,
    /// The database.
    pub store: Store,
    /// What writes pass through.
    pub effects: Effects,
    /// Time.
    pub clock: SharedClock,
    /// What agents say; `None` where the platform uses one node alone.
    pub fleet: Option<Fleet>,
    /// What is published, to wait until requests stay away from a node that is to be emptied.
    pub edge: EdgeHandle,
    /// Whether the proxy runs it.
    pub proxy: Arc<dyn ProxyApi>,
    /// Since when requests are kept away from nodes, by id.
    pub emptying: Mutex<HashMap<String, Duration>>,
    /// Host names by id, for the messages of other kinds.
    pub names: Arc<RwLock<HashMap<String, String>>>,
}

#[async_trait]
impl Reconciler for NodeReconciler {
    type Key = String;

    fn name(&self) -> &'static str {
        "node"
    }

    async fn reconcile(&self, _key: &String, run: &Run) -> Outcome {
        let nodes = match self.engine.node_list().await {
            Ok(nodes) => nodes,
            Err(error) => return Outcome::failed(Class::Transient, error),
        };
        let names = nodes.iter().map(|node| (node.id.clone(), node.hostname.clone())).collect();
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names;
        let previous = match self.store.node_list().await {
            Ok(previous) => previous,
            Err(error) => return Outcome::failed(Class::Transient, error),
        };
        let wishes = match self.store.node_wishes().await {
            Ok(wishes) => wishes,
            Err(error) => return Outcome::failed(Class::Transient, error),
        };
        let said = self.fleet.as_ref().map(|fleet| said(fleet, &nodes)).unwrap_or_default();
        let row = |found: &SwarmNode| node(found, wishes.get(&found.id).copied(), &previous, said.get(&found.id), self.clock.now());
        let rows: Vec<_> = nodes.iter().map(row).collect();
        let act = || self.store.node_replace_all(&rows, run.epoch);
        match self.effects.run(Kind::NodesPut, "swarm", act).await {
            Ok(()) => {}
            Err(StoreError::Deposed) => return Outcome::failed(Class::Cancelled, StoreError::Deposed),
            Err(error) => return Outcome::failed(Class::Transient, error),
        }
        if let Some(fleet) = &self.fleet {
            let leaving = wishes.iter().filter(|(_, wish)| **wish == Availability::Drain).map(|(id, _)| id.clone());
            fleet.set_leaving(leaving.collect());
        }
        self.act(&plan(&nodes, &wishes)).await
    }

    async fn keys(&self) -> Result<Vec<String>, BoxError> {
        Ok(vec!["swarm".to_owned()])
    }
}

impl NodeReconciler {
    /// Whether requests stay away from a node that is to be emptied, as far as there are other tasks for them. After a while
    /// the answer is yes all the same: an edge that does not answer must not keep a node from being emptied.
    async fn is_quiet(&self, id: &str) -> bool {
        if self.fleet.is_none() {
            return true;
        }
        let now = self.clock.monotonic();
        let since = *self.emptying.lock().unwrap_or_else(PoisonError::into_inner).entry(id.to_owned()).or_insert(now);
        let waited = now.saturating_sub(since);
        if waited < QUIET_LEAST {
            return false;
        }
        let stamp = self.edge.published().borrow().as_ref().map(|published| published.stamp.clone());
        let quiet = stamp.is_some() && self.proxy.overview().await.is_ok_and(|overview| overview.stamp == stamp);
        if !quiet && waited < QUIET_MOST {
            return false;
        }
        self.emptying.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if !quiet {
            warn!(node = id, "the proxy has not confirmed that it sends nothing to the node; it is emptied all the same");
        }
        // Requests that are under way may end.
        true
    }

    /// Takes the first step. The engine's event about it leads to the next look.
    async fn act(&self, steps: &[NodeStep]) -> Outcome {
        let Some(step) = steps.first() else { return Outcome::done() };
        if step.availability == Availability::Drain && !self.is_quiet(&step.id).await {
            return Outcome::requeue(QUIET_LOOK);
        }
        info!(%step, "changing a node");
        match self.engine.node_set_availability(&step.id, step.availability).await {
            Ok(()) => Outcome::requeue(LOOK_AGAIN),
            Err(error @ EngineError::OutOfSequence { .. }) => Outcome::failed(Class::Conflict, error),
            Err(error) => Outcome::failed(Class::Transient, error),
        }
    }
}

/// What is known of each node besides what the engine says, by id.
fn said(fleet: &Fleet, nodes: &[SwarmNode]) -> HashMap<String, Said> {
    let heard = fleet.heard();
    let name = |id: &str| nodes.iter().find(|node| node.id == id).map_or_else(|| id.to_owned(), |node| node.hostname.clone());
    let of = |node: &SwarmNode| {
        let agent = heard.get(&node.id).map(|heard| (fleet.silent_for(heard), fleet.is_silent(heard), heard.report.edge_problem.clone()));
        let mut seen_by = BTreeMap::new();
        // What somebody who is silent saw last says nothing of now.
        for (peer, heard) in heard.iter().filter(|(_, heard)| !fleet.is_silent(heard)) {
            let Some(reach) = heard.report.reaches.get(&node.id) else { continue };
            let mut missing = Vec::new();
            if !reach.gossip {
                missing.push("7946/tcp (gossip of the engines)");
            }
            if reach.edge == Some(false) {
                missing.push("the edge's port");
            }
            seen_by.insert(name(peer), missing);
        }
        Said { own: fleet.is_own(&node.id), agent, seen_by }
    };
    nodes.iter().map(|node| (node.id.clone(), of(node))).collect()
}
