//! Tasks on other nodes beside those of this one: the table that the edge document is made from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::edge::{Endpoint, EndpointTable};
use crate::fleet::hub::Fleet;

/// How long the first document waits for agents that were let in before: without them, apps whose tasks are all on other
/// nodes would be published as having none.
const PATIENCE: Duration = Duration::from_secs(5);
/// File of what was last known of other nodes' tasks, for the keeper.
const FILE: &str = "others.json";

/// Where tasks on other nodes are known from.
pub(super) enum Others {
    /// There are none.
    None,
    /// The agents, as they report.
    Fleet(Fleet, PathBuf),
    /// What was last known.
    Kept(Vec<Endpoint>),
}

/// The table of this node with those of the others.
pub(super) fn merged(
    local: watch::Receiver<Arc<EndpointTable>>,
    others: Others,
    cancel: CancellationToken,
) -> (watch::Receiver<Arc<EndpointTable>>, Option<JoinHandle<()>>) {
    let (fleet, folder) = match others {
        Others::None => return (local, None),
        Others::Kept(kept) => {
            let (sender, table) = watch::channel(Arc::default());
            return (table, Some(tokio::spawn(follow_kept(local, kept, sender, cancel))));
        }
        Others::Fleet(fleet, folder) => (fleet, folder),
    };
    let (sender, table) = watch::channel(Arc::default());
    (table, Some(tokio::spawn(follow_fleet(local, fleet, folder, sender, cancel))))
}

async fn follow_kept(
    mut local: watch::Receiver<Arc<EndpointTable>>,
    kept: Vec<Endpoint>,
    sender: watch::Sender<Arc<EndpointTable>>,
    cancel: CancellationToken,
) {
    loop {
        let table = local.borrow_and_update().clone();
        let mut endpoints = table.endpoints.clone();
        endpoints.extend(kept.iter().map(|endpoint| (endpoint.task_id.clone(), endpoint.clone())));
        sender.send_replace(Arc::new(EndpointTable { endpoints, observed_at: table.observed_at }));
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = local.changed() => if changed.is_err() { return },
        }
    }
}

async fn follow_fleet(
    mut local: watch::Receiver<Arc<EndpointTable>>,
    fleet: Fleet,
    folder: PathBuf,
    sender: watch::Sender<Arc<EndpointTable>>,
    cancel: CancellationToken,
) {
    let mut changes = fleet.changes();
    let until = Instant::now() + PATIENCE;
    let mut waiting = true;
    let mut kept = Vec::new();
    loop {
        changes.borrow_and_update();
        let local_table = local.borrow_and_update().clone();
        let mut table = fleet.merge(&local_table);
        waiting &= !fleet.is_complete() && Instant::now() < until;
        if waiting {
            table.observed_at = None;
        }
        let remote = fleet.remote();
        if !waiting && remote != kept {
            keep(&folder, &remote);
            kept = remote;
        }
        sender.send_if_modified(|known| {
            let differs = **known != table;
            if differs {
                *known = Arc::new(table);
            }
            differs
        });
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = local.changed() => if changed.is_err() { return },
            changed = changes.changed() => if changed.is_err() { return },
            () = sleep_until(until), if waiting => {}
        }
    }
}

/// Small, and seldom: a whole new file each time.
fn keep(folder: &Path, remote: &[Endpoint]) {
    let half = folder.join(format!("{FILE}.new"));
    let written = serde_json::to_vec(remote).map_err(std::io::Error::from).and_then(|text| {
        std::fs::write(&half, text)?;
        std::fs::rename(&half, folder.join(FILE))
    });
    if let Err(error) = written {
        warn!(%error, "what is known of other nodes' tasks was not kept");
    }
}

/// What [`keep`] wrote; nothing when there is none.
pub(super) fn kept(folder: &Path) -> Others {
    let text = std::fs::read(folder.join(FILE)).unwrap_or_default();
    let found: Vec<Endpoint> = serde_json::from_slice(&text).unwrap_or_default();
    if found.is_empty() { Others::None } else { Others::Kept(found) }
}
