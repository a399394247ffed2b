//! Starts the edge: endpoints, publisher, the provider's listener, and the proxy by its keeper; and stops them in
//! the opposite order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::args::EdgeArgs;
use super::core::Core;
use super::fleet::RunningFleet;
use super::keeper::{Keeper, Orders};
use super::others::{Others, merged};
use super::sources::{EdgeReady, StoredRoutes};
use crate::clock::{SharedClock, SharedEntropy};
use crate::edge::EndpointTable;
use crate::edge::document::DocumentOptions;
use crate::edge::endpoints::{self, EndpointsConfig, NodeView};
use crate::edge::known_good::KnownGood;
use crate::edge::lag;
use crate::edge::metrics::{EdgeCounts, EdgeMetrics};
use crate::edge::nodes::NodeFiles;
use crate::edge::provider::{self, ProviderConfig};
use crate::edge::publisher::{self, Documents, EdgeHandle, PublisherConfig, RouteSource};
use crate::edge::responder;
use crate::effects::Effects;
use crate::engines::swarm::SwarmEngine;
use crate::engines::traefik::{ProxyApi, TraefikClient, static_config};
use crate::fleet::hub::Fleet;
use crate::keyring::Keyring;

/// Folder of the edge below the data folder.
const FOLDER: &str = "edge";

/// The running edge.
pub(super) struct Edge {
    pub(super) proxy: Arc<dyn ProxyApi>,
    pub(super) handle: EdgeHandle,
    /// The newest document that the proxy is known to run.
    pub(super) taken: Documents,
    pub(super) endpoints: watch::Receiver<Arc<EndpointTable>>,
    /// Port for HTTPS, when there is one.
    pub(super) https_port: Option<u16>,
    /// Other nodes, where the platform uses any.
    pub(super) fleet: Option<Fleet>,
    running: Option<RunningFleet>,
    keeper: Keeper,
    cancel: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// What a document is made from.
pub(super) struct FeedSources {
    pub(super) view: Arc<dyn NodeView>,
    pub(super) clock: SharedClock,
    pub(super) entropy: SharedEntropy,
    pub(super) routes: Arc<dyn RouteSource>,
    pub(super) document: DocumentOptions,
    pub(super) known_good: Option<KnownGood>,
    pub(super) effects: Effects,
    /// What this edge shows to those of other nodes.
    pub(super) node: Option<watch::Receiver<Option<NodeFiles>>>,
    /// Tasks on other nodes.
    pub(super) others: Others,
}

/// Endpoints, the document made from them, and the two listeners that the proxy asks. The server has one, and
/// the keeper once the server is gone.
pub(super) struct Feed {
    pub(super) handle: EdgeHandle,
    pub(super) endpoints: watch::Receiver<Arc<EndpointTable>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Feed {
    /// Starts all of it. It ends when the token is cancelled.
    pub(super) fn start(
        sources: FeedSources,
        provider: TcpListener,
        pages: TcpListener,
        token: &SecretString,
        cancel: &CancellationToken,
    ) -> Self {
        let FeedSources { view, clock, entropy, routes, document, known_good, effects, node, others } = sources;
        let endpoints = endpoints::spawn_from(view, clock, entropy, EndpointsConfig::default(), cancel.child_token());
        let (table, merging) = merged(endpoints.table, others, cancel.child_token());
        let config = PublisherConfig { document, known_good, effects, node, ..PublisherConfig::default() };
        let (handle, publisher) = publisher::spawn(routes, table.clone(), config, cancel.child_token());
        let router = provider::router(handle.published(), token, ProviderConfig::default(), cancel.child_token());
        let server = serve("the proxy's provider", provider, router, cancel);
        let pages = serve("the responder", pages, responder::router(handle.published()), cancel);
        let tasks = merging.into_iter().chain([endpoints.task, publisher, server, pages]).collect();
        Self { handle, endpoints: table, tasks }
    }

    /// Hints that routes changed.
    pub(super) fn handle(&self) -> EdgeHandle {
        self.handle.clone()
    }
}

/// What all documents of an edge have in common.
pub(super) fn document_options(edge_https: Option<SocketAddr>, pages: SocketAddr) -> DocumentOptions {
    DocumentOptions {
        https: edge_https.map(|address| (static_config::HTTPS.to_owned(), address.port())),
        probe: Some(static_config::PROBE.to_owned()),
        responder: Some(pages),
        ..DocumentOptions::default()
    }
}

/// The file of the edge's last known state.
pub(super) fn known_good_file(folder: &Path, key_file: &Path, entropy: SharedEntropy) -> anyhow::Result<KnownGood> {
    let keyring = Keyring::load(key_file).context("the key file cannot be read")?;
    let keyring = keyring.with_context(|| format!("there is no key file {}", key_file.display()))?;
    Ok(KnownGood { path: folder.join("last-known.json"), keyring: Arc::new(keyring), entropy })
}

/// Where the edge finds what it needs on this machine.
pub(super) struct Place<'a> {
    pub(super) data_dir: &'a Path,
    pub(super) key_file: PathBuf,
    pub(super) docker_host: &'a str,
}

impl Edge {
    /// Starts all parts, and waits until the proxy answers.
    pub(super) async fn start(core: &Core, engine: Arc<dyn SwarmEngine>, place: Place<'_>, args: &EdgeArgs) -> anyhow::Result<Self> {
        let cancel = CancellationToken::new();
        let folder = place.data_dir.join(FOLDER);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
        let pages = TcpListener::bind(("127.0.0.1", 0)).await.context("no free port on loopback")?;
        let provider = TcpListener::bind(args.edge_provider_listen).await.context("the proxy's provider cannot listen")?;
        let running = RunningFleet::start(core, engine.clone(), &folder, args).await?;
        let fleet = running.as_ref().map(|running| running.fleet.clone());
        let token = core.store.internal_token().await.context("the internal token cannot be read")?;
        let orders = Orders {
            folder: folder.clone(),
            docker_host: place.docker_host.to_owned(),
            database_url: core.database_url.clone(),
            key_file: Some(place.key_file.canonicalize().context("the key file cannot be found")?),
            traefik_bin: args.traefik_bin.as_ref().map(std::path::absolute).transpose()?,
            edge_http: args.edge_http,
            edge_https: args.edge_https,
            probe: free_loopback_address().await?,
            api: free_loopback_address().await?,
            provider: provider.local_addr()?,
            pages: pages.local_addr()?,
            edge_nodes: running.as_ref().map(|running| running.edge_nodes),
            node: running.as_ref().map(|running| running.files.clone()),
            token: token.clone(),
        };
        let document = DocumentOptions { node: orders.node.clone(), ..document_options(args.edge_https, orders.pages) };
        let sources = FeedSources {
            view: endpoints::of_engine(engine),
            clock: core.clock.clone(),
            entropy: core.entropy.clone(),
            routes: Arc::new(StoredRoutes(core.store.clone())),
            document,
            known_good: Some(known_good_file(&folder, &place.key_file, core.entropy.clone())?),
            node: None,
            others: fleet.clone().map_or(Others::None, |fleet| Others::Fleet(fleet, folder.clone())),
            effects: core.effects.clone(),
        };
        let feed = Feed::start(sources, provider, pages, &token, &cancel);
        let proxy = TraefikClient::new(orders.api, args.edge_http, feed.endpoints.clone())?.with(Some(orders.probe), args.edge_https);
        let proxy = Arc::new(proxy);
        let metrics = core.metrics.register(EdgeMetrics::register);
        let counts = EdgeCounts { published: feed.handle.published(), endpoints: feed.endpoints.clone() };
        core.metrics.register(|registry| registry.register_collector(Box::new(counts)));
        let keeper = Keeper::start(orders, core.entropy.clone()).await.context("the proxy cannot be started")?;
        let (takes, taken) = watch::channel(None);
        let https_port = args.edge_https.map(|address| address.port());
        let Feed { handle, endpoints, mut tasks } = feed;
        tasks.push(tokio::spawn(lag::follow(proxy.clone(), handle.published(), takes, metrics, cancel.child_token())));
        Ok(Self { proxy, taken, handle, endpoints, https_port, fleet, running, keeper, cancel, tasks })
    }

    /// The check for `/readyz`.
    pub(super) fn ready(&self) -> EdgeReady {
        EdgeReady { proxy: self.proxy.clone(), published: self.handle.published() }
    }

    /// The proxy ends first, so that it never asks a provider that is gone.
    pub(super) async fn stop(self) {
        self.keeper.stop().await;
        if let Some(running) = self.running {
            running.stop().await;
        }
        self.cancel.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                error!(%error, "a task of the edge failed");
            }
        }
    }
}

/// Serves until cancelled.
fn serve(what: &'static str, listener: TcpListener, router: axum::Router, cancel: &CancellationToken) -> JoinHandle<()> {
    let stop = cancel.clone();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
            error!(%error, "{what} ended");
        }
    })
}

/// An address that nobody listens on now. The proxy's API has no fixed port, so that several can run.
pub(super) async fn free_loopback_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).await.context("no free port on loopback")?.local_addr()?)
}
