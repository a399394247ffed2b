//! Keeps the table of endpoints current: which tasks of this node answer, and where.
//!
//! Level-triggered: any hint, or a timer, leads to reading all tasks and addresses again. One thing does
//! not wait for a read: a container that is going leaves the table at once, and stays out by its id,
//! because the engine may give its address to another app's container right after.
//!
//! A failed read removes nothing and adds nothing. While the engine cannot be asked, an endpoint that
//! fails a check is dropped at the first failure and cannot come back, since whatever answers then may be
//! somebody else. The table is about this node only; it does not route and it starts nothing.

mod driver;
mod health;
mod probe;
mod targets;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use targets::target_of;

use super::EndpointTable;
use crate::clock::{SharedClock, SharedEntropy};
use crate::engines::swarm::{EngineHint, EngineResult, SwarmEngine, Task};

/// The part of an engine that endpoints need. A node without a manager will have another source.
#[async_trait]
pub trait NodeView: Send + Sync + 'static {
    /// All tasks of ours.
    async fn tasks(&self) -> EngineResult<Vec<Task>>;
    /// Addresses of this node's containers that the host reaches, by container id.
    async fn gateway_addresses(&self) -> EngineResult<BTreeMap<String, IpAddr>>;
    /// Hints, for ever.
    fn hints(&self) -> BoxStream<'static, EngineHint>;
}

struct EngineView(Arc<dyn SwarmEngine>);

#[async_trait]
impl NodeView for EngineView {
    async fn tasks(&self) -> EngineResult<Vec<Task>> {
        self.0.task_list(&[]).await
    }
    async fn gateway_addresses(&self) -> EngineResult<BTreeMap<String, IpAddr>> {
        self.0.gateway_addresses().await
    }
    fn hints(&self) -> BoxStream<'static, EngineHint> {
        self.0.hints()
    }
}

/// Pace and bounds. The defaults are meant for use; tests make them shorter.
#[derive(Debug, Clone)]
pub struct EndpointsConfig {
    /// Time between two reads when nothing hints at a change.
    pub resync: Duration,
    /// How long hints are gathered before a read.
    pub debounce: Duration,
    /// Time between two reads, as a multiple of what the last one took.
    pub rest_factor: u32,
    /// Longest a read may take.
    pub read_timeout: Duration,
    /// Time without a good read after which the table is not to be trusted.
    pub lost_after: Duration,
    /// How long a going container is kept out by its id alone. A container that a read begun later still
    /// shows running and attached did not go (a signal to reload its configuration looks the same).
    pub going_for: Duration,
    /// Checks in flight.
    pub max_probes: usize,
    /// Checks in flight for one app, so that one with many hanging tasks does not delay the others.
    pub max_probes_per_app: usize,
}

impl Default for EndpointsConfig {
    fn default() -> Self {
        Self {
            resync: Duration::from_secs(5),
            debounce: Duration::from_millis(30),
            rest_factor: 3,
            read_timeout: Duration::from_secs(30),
            lost_after: Duration::from_secs(10),
            going_for: Duration::from_secs(60),
            max_probes: 256,
            max_probes_per_app: 16,
        }
    }
}

/// The table, and the task that keeps it.
#[derive(Debug)]
pub struct Endpoints {
    /// The current table.
    pub table: watch::Receiver<Arc<EndpointTable>>,
    /// Ends after the token that was given to [`spawn`] is cancelled.
    pub task: JoinHandle<()>,
}

/// The tasks of a manager's engine, which knows all, with the addresses of its own node.
pub fn of_engine(engine: Arc<dyn SwarmEngine>) -> Arc<dyn NodeView> {
    Arc::new(EngineView(engine))
}

/// Starts to keep the table of this node's endpoints.
pub fn spawn(
    engine: Arc<dyn SwarmEngine>,
    clock: SharedClock,
    entropy: SharedEntropy,
    config: EndpointsConfig,
    cancel: CancellationToken,
) -> Endpoints {
    spawn_from(Arc::new(EngineView(engine)), clock, entropy, config, cancel)
}

/// As [`spawn`], from any source of tasks.
pub fn spawn_from(
    node: Arc<dyn NodeView>,
    clock: SharedClock,
    entropy: SharedEntropy,
    config: EndpointsConfig,
    cancel: CancellationToken,
) -> Endpoints {
    let (sender, table) = watch::channel(Arc::new(EndpointTable::default()));
    let driver = driver::Driver::new(node, clock, entropy, config, sender);
    Endpoints { table, task: tokio::spawn(driver.run(cancel)) }
}
