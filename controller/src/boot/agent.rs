//! The agent of a node: lets other nodes' edges in to the tasks of this one, and tells the server which of them answer.
//!
//! It holds no database and no socket of a manager. What it knows of tasks the server tells it, and what it knows of
//! containers its own engine. Its proxy runs under a keeper, as the server's does, and goes on without it.

use std::collections::BTreeSet;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::args::AgentArgs;
use super::datadir::DataDir;
use super::edge::{Feed, FeedSources, free_loopback_address};
use super::fleet::write_files;
use super::keeper::{Keeper, Orders};
use super::nodeview::{ASSIGNMENT_FILE, AssignedView, NoRoutes};
use super::others::Others;
use super::signals;
use super::vitals::{Vitals, look_around};
use crate::clock::{SharedClock, SharedEntropy, SystemClock, SystemEntropy};
use crate::edge::EndpointTable;
use crate::edge::document::DocumentOptions;
use crate::edge::publisher::Documents;
use crate::effects::Effects;
use crate::engines::server::{ServerClient, ServerError};
use crate::engines::swarm::SwarmEngine;
use crate::engines::swarm::real::{DockerSwarm, EngineOptions};
use crate::engines::traefik::{ProxyApi, TraefikClient};
use crate::fleet::REPORT_EVERY;
use crate::fleet::authority::new_key;
use crate::fleet::token::JoinToken;
use crate::fleet::wire::{Assignment, Issued, Report};

const IDENTITY_FILE: &str = "identity.json";
const FOLDER: &str = "edge";
/// First and longest pause before the server is asked again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// Time between two looks at whether the proxy runs the newest document.
const CONFIRM: Duration = Duration::from_millis(50);
/// How long changes are gathered before a report.
const GATHER: Duration = Duration::from_millis(20);
/// Time between two looks at whether the certificate is to be renewed.
const RENEW_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Who this node is to the server. Kept in a file that only its owner reads.
#[derive(Clone, Serialize, Deserialize)]
struct Identity {
    node: String,
    issued: Issued,
    key: String,
}

/// Runs until told to stop.
///
/// # Errors
/// When there is no engine in a Swarm, no way in, or no proxy.
pub async fn run(args: AgentArgs) -> anyhow::Result<()> {
    let stop = signals::stop_token()?;
    let data = DataDir::open(&args.data_dir)?;
    let engine = DockerSwarm::connect(&args.docker_host, EngineOptions::default()).context("the engine's address")?;
    let engine: Arc<dyn SwarmEngine> = Arc::new(engine);
    let node = engine.info().await.context("the engine cannot be reached")?.node_id;
    ensure!(!node.is_empty(), "the engine at {} is in no Swarm; join it first (docker swarm join)", args.docker_host);
    let folder = data.path().join(FOLDER);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let (clock, entropy): (SharedClock, SharedEntropy) = (SystemClock::shared(), Arc::new(SystemEntropy));
    let Some(identity) = admitted(&args, data.path(), &node, &entropy, &stop).await? else { return Ok(()) };
    let agent = Agent { args, engine, folder, clock, entropy, stop, identity };
    agent.serve(data.path()).await
}

/// The identity from the file, or a new one by the token. `None` when told to stop meanwhile.
async fn admitted(
    args: &AgentArgs,
    data_dir: &Path,
    node: &str,
    entropy: &SharedEntropy,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Identity>> {
    let file = data_dir.join(IDENTITY_FILE);
    if let Ok(text) = std::fs::read(&file) {
        let identity: Identity =
            serde_json::from_slice(&text).with_context(|| format!("{} is damaged; remove it and join again", file.display()))?;
        if identity.node == node {
            return Ok(Some(identity));
        }
        warn!("the engine has joined the Swarm anew, so its agent joins anew too");
    }
    let Some(token) = &args.token else { bail!("this node has not joined yet: give --token, made by `skyctl nodes token`") };
    let token: JoinToken = token.expose_secret().parse()?;
    let mut pause = PAUSE.0;
    loop {
        let (key, public) = new_key()?;
        match ServerClient::join(&args.server, &token, node, &public).await {
            Ok(issued) => {
                let identity = Identity { node: node.to_owned(), issued, key: key.to_string() };
                keep(&file, &identity)?;
                info!(server = args.server, "joined");
                return Ok(Some(identity));
            }
            Err(error) if error.is_final() => return Err(anyhow::Error::from(error).context("this node was not let in")),
            Err(error) => warn!(error = &error as &dyn std::error::Error, "joining failed; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = sleep(pause.mul_f64(0.75 + 0.5 * entropy.unit())) => {}
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

fn keep(file: &Path, identity: &Identity) -> anyhow::Result<()> {
    let half = file.with_extension("new");
    let mut out = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
    std::io::Write::write_all(&mut out, &serde_json::to_vec(identity)?)?;
    out.sync_all()?;
    std::fs::rename(&half, file).with_context(|| format!("cannot write {}", file.display()))
}

struct Agent {
    args: AgentArgs,
    engine: Arc<dyn SwarmEngine>,
    folder: PathBuf,
    clock: SharedClock,
    entropy: SharedEntropy,
    stop: CancellationToken,
    identity: Identity,
}

impl Agent {
    async fn serve(self, data_dir: &Path) -> anyhow::Result<()> {
        let cancel = CancellationToken::new();
        let files = write_files(&self.folder, &self.identity.node, &self.identity.issued, &self.identity.key)?;
        let (node, node_files) = watch::channel(Some(files.clone()));
        let (told, assignment) = watch::channel(None);
        let stirred = Arc::new(AtomicU64::new(0));
        let view = AssignedView { engine: self.engine.clone(), assignment, stirred: stirred.clone() };
        let provider = TcpListener::bind(("127.0.0.1", 0)).await.context("no free port on loopback")?;
        let pages = TcpListener::bind(("127.0.0.1", 0)).await.context("no free port on loopback")?;
        let mut random = [0_u8; 32];
        self.entropy.fill(&mut random);
        let token = SecretString::from(hex::encode(random));
        let orders = Orders {
            folder: self.folder.clone(),
            docker_host: self.args.docker_host.clone(),
            database_url: SecretString::default(),
            key_file: None,
            traefik_bin: self.args.traefik_bin.as_ref().map(std::path::absolute).transpose()?,
            // Nothing is routed there yet: requests of clients enter at the server's node.
            edge_http: free_loopback_address().await?,
            edge_https: None,
            probe: free_loopback_address().await?,
            api: free_loopback_address().await?,
            provider: provider.local_addr()?,
            pages: pages.local_addr()?,
            edge_nodes: Some(self.args.edge_nodes),
            node: Some(files),
            token: token.clone(),
        };
        let sources = FeedSources {
            view: Arc::new(view),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            routes: Arc::new(NoRoutes),
            document: DocumentOptions::default(),
            known_good: None,
            effects: Effects::none(),
            node: Some(node_files),
            others: Others::None,
        };
        let feed = Feed::start(sources, provider, pages, &token, &cancel);
        let (published, table) = (feed.handle.published(), feed.endpoints.clone());
        let proxy: Arc<dyn ProxyApi> = Arc::new(TraefikClient::new(orders.api, orders.edge_http, table.clone())?);
        let keeper = Keeper::start(orders, self.entropy.clone()).await.context("the proxy cannot be started")?;
        let (confirmed_sender, confirmed) = watch::channel(BTreeSet::new());
        let (vitals_sender, vitals) = watch::channel(Vitals::default());
        let client = ServerClient::new(&self.args.server, &self.identity.issued, &self.identity.key).await;
        let (client_sender, clients) = watch::channel(client.ok());
        info!(node = self.identity.node, edge = %self.args.edge_nodes, "the agent runs; stop it with SIGTERM");
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = confirm(proxy, published, confirmed_sender) => {}
            () = self.follow(clients.clone(), told.clone()) => {}
            () = self.report(clients.clone(), (table, confirmed), (stirred, vitals)) => {}
            () = look_around(self.engine.clone(), told.subscribe(), vitals_sender) => {}
            result = self.renew(data_dir, node, client_sender) => result?,
        }
        keeper.stop().await;
        cancel.cancel();
        Ok(())
    }

    /// Keeps what the server tells, also in a file for the keeper.
    async fn follow(&self, mut clients: watch::Receiver<Option<ServerClient>>, told: watch::Sender<Option<Arc<Assignment>>>) {
        let mut pause = PAUSE.0;
        let mut failing = false;
        loop {
            let Some(client) = clients.borrow_and_update().clone() else {
                sleep(PAUSE.1).await;
                continue;
            };
            let seen = told.borrow().as_ref().map_or(0, |told| told.serial);
            match client.assignment(seen).await {
                Ok(assignment) => {
                    (pause, failing) = (PAUSE.0, false);
                    let differs = told.borrow().as_ref().is_none_or(|known| known.serial != assignment.serial);
                    if differs {
                        keep_assignment(&self.folder, &assignment);
                        told.send_replace(Some(Arc::new(assignment)));
                    }
                }
                Err(error) => {
                    if !failing {
                        warn!(error = &error as &dyn std::error::Error, "the server tells nothing; what it told last stays");
                    }
                    failing = true;
                    sleep(pause.mul_f64(0.75 + 0.5 * self.entropy.unit())).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    /// Tells the server of this node: at once when something changed, else now and then.
    async fn report(
        &self,
        clients: watch::Receiver<Option<ServerClient>>,
        (mut table, mut confirmed): (watch::Receiver<Arc<EndpointTable>>, watch::Receiver<BTreeSet<String>>),
        (stirred, mut vitals): (Arc<AtomicU64>, watch::Receiver<Vitals>),
    ) {
        let mut failing = false;
        loop {
            let report = {
                let (table, confirmed, vitals) = (table.borrow_and_update(), confirmed.borrow_and_update(), vitals.borrow_and_update());
                self.words(&table, &confirmed, &vitals, stirred.load(Ordering::Relaxed))
            };
            let client = clients.borrow().clone();
            let sent = match client {
                Some(client) => client.report(&report).await,
                None => Ok(()),
            };
            let pause = match sent {
                Ok(()) => {
                    failing = false;
                    REPORT_EVERY
                }
                Err(error) => {
                    if !failing {
                        self.complain(&error);
                    }
                    failing = true;
                    PAUSE.0
                }
            };
            tokio::select! {
                changed = table.changed(), if !failing => if changed.is_err() { return },
                changed = confirmed.changed(), if !failing => if changed.is_err() { return },
                changed = vitals.changed(), if !failing => if changed.is_err() { return },
                () = sleep(pause.mul_f64(0.75 + 0.5 * self.entropy.unit())) => {}
            }
            sleep(GATHER).await;
        }
    }

    fn complain(&self, error: &ServerError) {
        if error.is_unauthorized() {
            warn!("the server does not take this node's certificate any more; stop the agent, remove {IDENTITY_FILE} and join again");
        } else {
            warn!(error = error as &dyn std::error::Error, "the server cannot be told of this node; trying again");
        }
    }

    fn words(&self, table: &EndpointTable, confirmed: &BTreeSet<String>, vitals: &Vitals, stirred: u64) -> Report {
        let endpoint = |endpoint: &crate::edge::Endpoint| {
            let mut endpoint = endpoint.clone();
            endpoint.ready &= confirmed.contains(&endpoint.task_id);
            endpoint
        };
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            edge_port: self.args.edge_nodes.port(),
            edge_problem: None,
            stirred,
            endpoints: table.endpoints.values().map(endpoint).collect(),
            usage: vitals.usage.clone(),
            out_of_memory: vitals.out_of_memory.iter().cloned().collect(),
            reaches: vitals.reaches.clone(),
        }
    }

    /// Gets a newer certificate in time, and lets proxy and client use it.
    async fn renew(
        &self,
        data_dir: &Path,
        node: watch::Sender<Option<crate::edge::nodes::NodeFiles>>,
        clients: watch::Sender<Option<ServerClient>>,
    ) -> anyhow::Result<()> {
        let mut identity = self.identity.clone();
        loop {
            let mut pause = RENEW_EVERY;
            if clients.borrow().is_none() {
                pause = PAUSE.1;
                if let Ok(client) = ServerClient::new(&self.args.server, &identity.issued, &identity.key).await {
                    clients.send_replace(Some(client));
                }
            } else if crate::certificate::days_left(&identity.issued.certificate, self.clock.now()) < crate::fleet::authority::RENEW_DAYS {
                let (key, public) = new_key()?;
                let client = clients.borrow().clone();
                match client.map(|client| async move { client.renew(&public).await }) {
                    Some(asked) => match asked.await {
                        Ok(issued) => {
                            identity = Identity { node: identity.node, issued, key: key.to_string() };
                            keep(&data_dir.join(IDENTITY_FILE), &identity)?;
                            node.send_replace(Some(write_files(&self.folder, &identity.node, &identity.issued, &identity.key)?));
                            clients.send_replace(ServerClient::new(&self.args.server, &identity.issued, &identity.key).await.ok());
                            info!("this node has a newer certificate");
                        }
                        Err(error) => {
                            warn!(error = &error as &dyn std::error::Error, "the certificate could not be renewed; trying again tomorrow")
                        }
                    },
                    None => pause = PAUSE.1,
                }
            }
            sleep(pause).await;
        }
    }
}

fn keep_assignment(folder: &Path, assignment: &Assignment) {
    let half = folder.join(format!("{ASSIGNMENT_FILE}.new"));
    let written = serde_json::to_vec(assignment).map_err(std::io::Error::from).and_then(|text| {
        let mut out = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
        std::io::Write::write_all(&mut out, &text)?;
        std::fs::rename(&half, folder.join(ASSIGNMENT_FILE))
    });
    if let Err(error) = written {
        warn!(%error, "what the server told was not kept");
    }
}

/// Follows which tasks the proxy lets others in to: those of the document that it says it runs.
async fn confirm(proxy: Arc<dyn ProxyApi>, mut published: Documents, confirmed: watch::Sender<BTreeSet<String>>) {
    loop {
        let wanted = published.borrow_and_update().clone();
        if let Some(wanted) = wanted {
            loop {
                if proxy.overview().await.is_ok_and(|overview| overview.stamp.as_deref() == Some(wanted.stamp.as_str())) {
                    confirmed.send_if_modified(|known| {
                        let differs = *known != wanted.entries;
                        known.clone_from(&wanted.entries);
                        differs
                    });
                    break;
                }
                if published.has_changed().unwrap_or(true) {
                    break;
                }
                sleep(CONFIRM).await;
            }
            if published.has_changed().unwrap_or(false) {
                continue;
            }
        }
        if published.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
