//! The server's part in a Swarm of several nodes: the gateway for agents, what the engine says of all nodes, and this
//! node's own certificate. Nothing of it runs on one machine alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::args::EdgeArgs;
use super::core::Core;
use crate::edge::nodes::NodeFiles;
use crate::engines::swarm::{EngineResult, SwarmEngine, Task, TaskState};
use crate::fleet::authority::{digest, new_key};
use crate::fleet::gateway::{self, Gateway};
use crate::fleet::hub::Fleet;
use crate::fleet::wire::Issued;
use crate::runtime::Hints;

/// Port of the entry point for other nodes' edges, where none is given.
pub(super) const EDGE_NODES_PORT: u16 = 7443;
/// Time between two looks at the engine when nothing hints at a change.
const RESYNC: Duration = Duration::from_secs(5);
/// Time between two looks at what agents say of nodes.
const LISTEN_EVERY: Duration = Duration::from_secs(1);
/// How long hints are gathered.
const GATHER: Duration = Duration::from_millis(50);
/// Time between two looks while a task of another node is about to run: no event says that it does.
const ARRIVING: Duration = Duration::from_millis(300);

/// The running part.
pub(super) struct RunningFleet {
    pub(super) fleet: Fleet,
    pub(super) files: NodeFiles,
    /// Where other nodes' edges connect.
    pub(super) edge_nodes: SocketAddr,
    cancel: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl RunningFleet {
    /// Starts it when the arguments ask for it.
    pub(super) async fn start(core: &Core, engine: Arc<dyn SwarmEngine>, folder: &Path, args: &EdgeArgs) -> anyhow::Result<Option<Self>> {
        let Some(listen) = args.agent_listen else { return Ok(None) };
        let edge_nodes = args.edge_nodes.unwrap_or_else(|| SocketAddr::new(listen.ip(), EDGE_NODES_PORT));
        let authority = core.store.authority().await.context("the nodes' authority cannot be used")?;
        let node = engine.info().await.context("the engine cannot be reached")?.node_id;
        let (key, public) = new_key()?;
        let certificate = authority.node(&node, &public, core.clock.now(), core.entropy.as_ref())?;
        let files = write_files(folder, &node, &Issued { certificate, authority: authority.pem().to_owned() }, &key)?;
        let admitted = core.store.agent_nodes().await.context("agents cannot be listed")?;
        let fleet = Fleet::new(node, admitted, core.clock.clone());
        let cancel = CancellationToken::new();
        let tls = gateway::tls(&authority, &core.clock, &core.entropy)?;
        let listener = TcpListener::bind(listen).await.with_context(|| format!("agents cannot be taken at {listen} (--agent-listen)"))?;
        core.store.gateway_put(&listener.local_addr()?.to_string()).await.context("the database cannot be used")?;
        let gateway = Gateway {
            store: core.store.clone(),
            fleet: fleet.clone(),
            authority,
            clock: core.clock.clone(),
            entropy: core.entropy.clone(),
        };
        info!(%listen, edge = %edge_nodes, "taking agents of other nodes");
        let tasks = vec![
            tokio::spawn(gateway::serve(listener, tls, gateway, cancel.child_token())),
            tokio::spawn(observe(engine, fleet.clone(), cancel.child_token())),
        ];
        Ok(Some(Self { fleet, files, edge_nodes, cancel, tasks }))
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        self.cancel.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the fleet failed");
            }
        }
    }
}

/// Writes what the proxy reads, under names that no other certificate has.
pub(super) fn write_files(folder: &Path, node: &str, issued: &Issued, key: &str) -> anyhow::Result<NodeFiles> {
    let mark = |pem: &str| {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).context("this is no certificate")?;
        anyhow::Ok(digest(&der).chars().take(12).collect::<String>())
    };
    let (own, authority) = (mark(&issued.certificate)?, mark(&issued.authority)?);
    let files = NodeFiles {
        node: node.to_owned(),
        certificate: folder.join(format!("node-{own}.crt")),
        key: folder.join(format!("node-{own}.key")),
        authority: folder.join(format!("nodes-{authority}.crt")),
    };
    for (path, text) in
        [(&files.certificate, issued.certificate.as_str()), (&files.key, key), (&files.authority, issued.authority.as_str())]
    {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        std::io::Write::write_all(&mut file, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(files)
}

/// Has nodes looked at when what agents say of them changes, or when one falls silent.
pub(super) async fn follow_agents(fleet: Fleet, nodes: Hints<String>, cancel: CancellationToken) {
    let mut known = None;
    loop {
        let heard = fleet.heard();
        let said: BTreeMap<_, _> = heard
            .iter()
            .map(|(node, heard)| (node.clone(), (fleet.is_silent(heard), heard.report.edge_problem.clone(), heard.report.reaches.clone())))
            .collect();
        if known.as_ref() != Some(&said) {
            nodes.resync();
            known = Some(said);
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep(LISTEN_EVERY) => {}
        }
    }
}

/// Keeps the fleet told of what the engine has.
async fn observe(engine: Arc<dyn SwarmEngine>, fleet: Fleet, cancel: CancellationToken) {
    let mut hints = engine.hints();
    let mut changes = fleet.changes();
    let mut failing = false;
    loop {
        changes.borrow_and_update();
        let mut pause = RESYNC;
        match look(engine.as_ref()).await {
            Ok((nodes, tasks)) => {
                failing = false;
                let arriving = |task: &Task| task.is_wanted() && (TaskState::Assigned..=TaskState::Starting).contains(&task.state);
                if tasks.iter().any(arriving) {
                    pause = ARRIVING;
                }
                fleet.observe(nodes, tasks);
                changes.borrow_and_update();
            }
            Err(error) => {
                if !failing {
                    warn!(%error, "nodes and their tasks cannot be read; what was last known of them stays");
                }
                failing = true;
                pause = Duration::from_secs(1);
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            hint = hints.next() => if hint.is_none() { hints = engine.hints() },
            // An agent said something new: a task may have come or gone.
            changed = changes.changed() => if changed.is_err() { return },
            () = sleep(pause) => continue,
        }
        sleep(GATHER).await;
        while let Some(Some(_)) = futures::FutureExt::now_or_never(hints.next()) {}
    }
}

async fn look(engine: &dyn SwarmEngine) -> EngineResult<(Vec<crate::engines::swarm::SwarmNode>, Vec<Task>)> {
    tokio::try_join!(engine.node_list(), engine.task_list(&[]))
}
