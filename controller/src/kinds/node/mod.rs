//! Node: machines of the Swarm, observed. Nothing is desired of them yet, so there is no plan: the rows
//! are what the engine last said, and a node that cannot be read keeps its row with condition `Unknown`.

mod status;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;

use crate::clock::SharedClock;
use crate::effects::{Effects, Kind};
use crate::engines::swarm::SwarmEngine;
use crate::runtime::{BoxError, Class, Outcome, Reconciler, Run};
use crate::store::{Store, StoreError};

pub use status::node;

/// Mirrors the engine's nodes into rows. It has one key: the Swarm.
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
        let rows: Vec<_> = nodes.iter().map(|found| node(found, &previous, self.clock.now())).collect();
        let act = || self.store.node_replace_all(&rows, run.epoch);
        match self.effects.run(Kind::NodesPut, "swarm", act).await {
            Ok(()) => Outcome::done(),
            Err(StoreError::Deposed) => Outcome::failed(Class::Cancelled, StoreError::Deposed),
            Err(error) => Outcome::failed(Class::Transient, error),
        }
    }

    async fn keys(&self) -> Result<Vec<String>, BoxError> {
        Ok(vec!["swarm".to_owned()])
    }
}
