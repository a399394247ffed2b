//! Node: machines of the Swarm. The rows are what the engine last said; what may be desired of a node is whether it
//! takes tasks, and only where somebody asked for it.

mod plan;
mod status;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tracing::info;

use crate::clock::SharedClock;
use crate::effects::{Effects, Kind};
use crate::engines::swarm::{EngineError, SwarmEngine};
use crate::runtime::{BoxError, Class, Outcome, Reconciler, Run};
use crate::store::{Store, StoreError};

pub use plan::{NodeStep, plan};
pub use status::node;

/// Time to the next look after a step: the engine's event about it may be missed.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

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
        let rows: Vec<_> = nodes.iter().map(|found| node(found, wishes.get(&found.id).copied(), &previous, self.clock.now())).collect();
        let act = || self.store.node_replace_all(&rows, run.epoch);
        match self.effects.run(Kind::NodesPut, "swarm", act).await {
            Ok(()) => {}
            Err(StoreError::Deposed) => return Outcome::failed(Class::Cancelled, StoreError::Deposed),
            Err(error) => return Outcome::failed(Class::Transient, error),
        }
        self.act(&plan(&nodes, &wishes)).await
    }

    async fn keys(&self) -> Result<Vec<String>, BoxError> {
        Ok(vec!["swarm".to_owned()])
    }
}

impl NodeReconciler {
    /// Takes the first step. The engine's event about it leads to the next look.
    async fn act(&self, steps: &[NodeStep]) -> Outcome {
        let Some(step) = steps.first() else { return Outcome::done() };
        info!(%step, "changing a node");
        match self.engine.node_set_availability(&step.id, step.availability).await {
            Ok(()) => Outcome::requeue(LOOK_AGAIN),
            Err(error @ EngineError::OutOfSequence { .. }) => Outcome::failed(Class::Conflict, error),
            Err(error) => Outcome::failed(Class::Transient, error),
        }
    }
}
