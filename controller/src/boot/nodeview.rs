//! Tasks of a node as the server told them, and containers as the node's own engine has them: what an agent's endpoints
//! are made from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::watch;

use crate::edge::endpoints::NodeView;
use crate::edge::inputs::Inputs;
use crate::edge::publisher::{BoxError, RouteSource};
use crate::engines::swarm::{EngineError, EngineHint, EngineResult, SwarmEngine, Task};
use crate::fleet::wire::Assignment;

/// File of what the server last told, in the edge's folder.
pub(super) const ASSIGNMENT_FILE: &str = "assignment.json";

/// See the module.
pub(super) struct AssignedView {
    pub(super) engine: Arc<dyn SwarmEngine>,
    /// What the server told last; `None` until it told anything.
    pub(super) assignment: watch::Receiver<Option<Arc<Assignment>>>,
    /// Counts what the engine says of containers.
    pub(super) stirred: Arc<AtomicU64>,
}

#[async_trait]
impl NodeView for AssignedView {
    async fn tasks(&self) -> EngineResult<Vec<Task>> {
        let told = self.assignment.borrow().clone();
        told.map(|told| told.tasks.clone()).ok_or_else(|| EngineError::Unreachable {
            what: "this node's tasks".to_owned(),
            message: "the server has not told them yet".to_owned(),
        })
    }
    async fn gateway_addresses(&self) -> EngineResult<BTreeMap<String, IpAddr>> {
        self.engine.gateway_addresses().await
    }
    fn hints(&self) -> BoxStream<'static, EngineHint> {
        let stirred = self.stirred.clone();
        let engine = self.engine.hints().inspect(move |_| {
            stirred.fetch_add(1, Ordering::Relaxed);
        });
        let told = stream::unfold(self.assignment.clone(), |mut told| async move {
            told.changed().await.ok()?;
            Some((EngineHint::Changed { kind: "service", name: String::new() }, told))
        });
        // An end of what the server tells is no end of what the engine tells.
        stream::select(engine, told.chain(stream::pending())).boxed()
    }
}

/// What the server told last, from the file; for the keeper.
pub(super) fn kept_assignment(folder: &Path) -> Option<Arc<Assignment>> {
    let text = std::fs::read(folder.join(ASSIGNMENT_FILE)).ok()?;
    serde_json::from_slice(&text).ok().map(Arc::new)
}

/// A node that no client's request enters at has no routes.
pub(super) struct NoRoutes;

#[async_trait]
impl RouteSource for NoRoutes {
    async fn inputs(&self) -> Result<Inputs, BoxError> {
        Ok(Inputs::default())
    }
}
