//! What an agent measures of its node: what tasks use, which of them ran out of memory, and which other nodes answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::engines::swarm::{SwarmEngine, Task};
use crate::fleet::wire::{Assignment, Peer, Reach, Usage};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// Containers that are measured at once; each takes the engine a second.
const AT_ONCE: usize = 16;
/// Longest time for all of them.
const MEASURE: Duration = Duration::from_secs(15);
/// Longest wait for another node.
const ANSWER: Duration = Duration::from_secs(2);
/// Port of the engines' gossip.
const GOSSIP: u16 = 7946;
/// Exit code of what SIGKILL ended.
const KILLED: i64 = 137;
/// Containers that are told of as out of memory, newest first.
const MOST: usize = 100;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Vitals {
    pub(super) usage: BTreeMap<String, Usage>,
    pub(super) out_of_memory: BTreeSet<String>,
    pub(super) reaches: BTreeMap<String, Reach>,
}

/// Looks again and again.
pub(super) async fn look_around(
    engine: Arc<dyn SwarmEngine>,
    told: watch::Receiver<Option<Arc<Assignment>>>,
    vitals: watch::Sender<Vitals>,
) {
    loop {
        let assignment = told.borrow().clone();
        if let Some(assignment) = assignment {
            let (usage, out_of_memory, reaches) =
                tokio::join!(measure(&engine, &assignment.tasks), killed(&engine, &assignment.tasks), reaches(&assignment.peers));
            vitals.send_replace(Vitals { usage, out_of_memory, reaches });
        }
        sleep(EVERY).await;
    }
}

async fn measure(engine: &Arc<dyn SwarmEngine>, tasks: &[Task]) -> BTreeMap<String, Usage> {
    let running = tasks.iter().filter(|task| task.is_running() && !task.container_id.is_empty());
    let ids: Vec<String> = running.map(|task| task.container_id.clone()).collect();
    let one = |id: String| async move {
        let found = engine.container_usage(&id).await.ok()?;
        Some((id, Usage { cpu_millis: found.cpu_millis, memory_bytes: found.memory_bytes }))
    };
    let until = Box::pin(sleep(MEASURE));
    stream::iter(ids).map(one).buffer_unordered(AT_ONCE).take_until(until).filter_map(std::future::ready).collect().await
}

/// Which of the tasks that were killed ran out of memory; only this node's engine knows.
async fn killed(engine: &Arc<dyn SwarmEngine>, tasks: &[Task]) -> BTreeSet<String> {
    let mut ended: Vec<&Task> =
        tasks.iter().filter(|task| task.exit_code == Some(KILLED) && !task.container_id.is_empty() && !task.is_live()).collect();
    ended.sort_by_key(|task| std::cmp::Reverse(task.state_since));
    let mut found = BTreeSet::new();
    for task in ended.into_iter().take(MOST) {
        if matches!(engine.ran_out_of_memory(&task.container_id).await, Ok(Some(true))) {
            found.insert(task.container_id.clone());
        }
    }
    found
}

async fn reaches(peers: &[Peer]) -> BTreeMap<String, Reach> {
    let one = |peer: Peer| async move {
        let ip: IpAddr = peer.address.parse().ok()?;
        let edge = async {
            match peer.edge {
                Some(address) => Some(answers(address).await),
                None => None,
            }
        };
        let (gossip, edge) = tokio::join!(answers(SocketAddr::new(ip, GOSSIP)), edge);
        Some((peer.node, Reach { gossip, edge }))
    };
    stream::iter(peers.to_vec()).map(one).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
}

/// Whether somebody takes a connection.
pub(super) async fn answers(address: SocketAddr) -> bool {
    timeout(ANSWER, TcpStream::connect(address)).await.is_ok_and(|connected| connected.is_ok())
}
