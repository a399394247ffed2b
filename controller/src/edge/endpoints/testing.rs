//! Tasks and a node that tests can change.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use uuid::Uuid;

use super::NodeView;
use crate::engines::swarm::{EngineError, EngineHint, EngineResult, Task, TaskState, labels};

/// Uid of the app of [`task`].
pub(crate) const APP: Uuid = Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_00a1);

/// A running task of process `web`, release `r1`.
pub(crate) fn task(id: &str, container: &str, port: u16) -> Task {
    let pairs = [
        (labels::OWNER_UID, APP.to_string()),
        (labels::PROCESS, "web".to_owned()),
        (labels::RELEASE, "r1".to_owned()),
        (labels::PORT, port.to_string()),
    ];
    Task {
        id: id.to_owned(),
        service_id: "s1".to_owned(),
        slot: 1,
        node_id: "n1".to_owned(),
        state: TaskState::Running,
        desired_state: TaskState::Running,
        message: String::new(),
        error: String::new(),
        container_id: container.to_owned(),
        exit_code: None,
        container_labels: pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        created_at: DateTime::<Utc>::UNIX_EPOCH,
        state_since: DateTime::<Utc>::UNIX_EPOCH,
    }
}

#[derive(Default)]
pub(crate) struct NodeState {
    pub(crate) tasks: Vec<Task>,
    pub(crate) gateways: BTreeMap<String, IpAddr>,
    pub(crate) down: bool,
    pub(crate) reads: usize,
    /// How long a read of the tasks takes.
    pub(crate) slow: std::time::Duration,
}

/// A node whose tasks a test sets. It stands for the engine only; what it names is asked for real.
pub(crate) struct TestNode {
    pub(crate) state: Mutex<NodeState>,
    sender: mpsc::UnboundedSender<EngineHint>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<EngineHint>>>,
}

impl TestNode {
    pub(crate) fn new() -> Arc<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        Arc::new(Self { state: Mutex::default(), sender, receiver: Mutex::new(Some(receiver)) })
    }
    pub(crate) fn edit(&self, change: impl FnOnce(&mut NodeState)) {
        change(&mut self.state.lock().expect("not poisoned"));
    }
    pub(crate) fn reads(&self) -> usize {
        self.state.lock().expect("not poisoned").reads
    }
    pub(crate) fn hint(&self, hint: EngineHint) {
        self.sender.send(hint).expect("somebody listens");
    }
    fn answer<T>(&self, what: impl FnOnce(&mut NodeState) -> T) -> EngineResult<T> {
        let mut state = self.state.lock().expect("not poisoned");
        if state.down {
            return Err(EngineError::Unreachable { what: "a test".to_owned(), message: "down".to_owned() });
        }
        Ok(what(&mut state))
    }
}

#[async_trait]
impl NodeView for TestNode {
    async fn tasks(&self) -> EngineResult<Vec<Task>> {
        let (tasks, slow) = self.answer(|state| {
            state.reads += 1;
            (state.tasks.clone(), state.slow)
        })?;
        tokio::time::sleep(slow).await;
        Ok(tasks)
    }
    async fn gateway_addresses(&self) -> EngineResult<BTreeMap<String, IpAddr>> {
        self.answer(|state| state.gateways.clone())
    }
    fn hints(&self) -> BoxStream<'static, EngineHint> {
        match self.receiver.lock().expect("not poisoned").take() {
            Some(receiver) => UnboundedReceiverStream::new(receiver).boxed(),
            None => futures::stream::pending().boxed(),
        }
    }
}
