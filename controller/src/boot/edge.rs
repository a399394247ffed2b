//! Starts the edge: endpoints, publisher, the provider's listener, and the proxy; and stops them in the
//! opposite order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::args::EdgeArgs;
use super::core::Core;
use super::sources::{EdgeReady, StoredRoutes};
use crate::edge::EndpointTable;
use crate::edge::document::DocumentOptions;
use crate::edge::endpoints::{self, EndpointsConfig};
use crate::edge::lag;
use crate::edge::metrics::{EdgeCounts, EdgeMetrics};
use crate::edge::provider::{self, ProviderConfig};
use crate::edge::publisher::{self, EdgeHandle, PublisherConfig};
use crate::edge::responder;
use crate::engines::swarm::SwarmEngine;
use crate::engines::traefik::{ProxyApi, Traefik, TraefikClient, TraefikConfig, static_config};

/// Folder of the edge below the data folder.
const FOLDER: &str = "edge";

/// The running edge.
pub(super) struct Edge {
    pub(super) proxy: Arc<dyn ProxyApi>,
    pub(super) handle: EdgeHandle,
    pub(super) endpoints: watch::Receiver<Arc<EndpointTable>>,
    /// Port for HTTPS, when there is one.
    pub(super) https_port: Option<u16>,
    traefik: Traefik,
    cancel: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Edge {
    /// Starts all parts, and waits until the proxy answers.
    pub(super) async fn start(core: &Core, engine: Arc<dyn SwarmEngine>, data_dir: &Path, args: &EdgeArgs) -> anyhow::Result<Self> {
        let cancel = CancellationToken::new();
        let folder = data_dir.join(FOLDER);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let endpoints =
            endpoints::spawn(engine, core.clock.clone(), core.entropy.clone(), EndpointsConfig::default(), cancel.child_token());
        let pages = TcpListener::bind(("127.0.0.1", 0)).await.context("no free port on loopback")?;
        let document = DocumentOptions {
            https: args.edge_https.map(|address| (static_config::HTTPS.to_owned(), address.port())),
            probe: Some(static_config::PROBE.to_owned()),
            responder: Some(pages.local_addr()?),
            ..DocumentOptions::default()
        };
        let config = PublisherConfig { document, known_good: Some(folder.join("routes.json")), ..PublisherConfig::default() };
        let routes = Arc::new(StoredRoutes(core.store.clone()));
        let (handle, publisher) = publisher::spawn(routes, endpoints.table.clone(), config, cancel.child_token());

        let listener = TcpListener::bind(args.edge_provider_listen).await.context("the proxy's provider cannot listen")?;
        let provider = listener.local_addr()?;
        let token = core.store.internal_token().await.context("the internal token cannot be read")?;
        let router = provider::router(handle.published(), &token, ProviderConfig::default(), cancel.child_token());
        let server = serve("the proxy's provider", listener, router, &cancel);
        let pages = serve("the responder", pages, responder::router(handle.published()), &cancel);

        let (api, probe) = (free_loopback_address().await?, free_loopback_address().await?);
        let config = TraefikConfig {
            binary: args.traefik_bin.clone(),
            edge_https: args.edge_https,
            edge_probe: Some(probe),
            ..TraefikConfig::new(folder, args.edge_http, api, format!("http://{provider}"), token)
        };
        let traefik = Traefik::start(config, core.clock.clone(), core.entropy.clone()).await.context("the proxy cannot be started")?;
        let proxy = TraefikClient::new(api, args.edge_http, endpoints.table.clone())?.with(Some(probe), args.edge_https);
        let proxy = Arc::new(proxy);
        let metrics = core.metrics.register(EdgeMetrics::register);
        let counts = EdgeCounts { published: handle.published(), endpoints: endpoints.table.clone() };
        core.metrics.register(|registry| registry.register_collector(Box::new(counts)));
        let lag = tokio::spawn(lag::follow(proxy.clone(), handle.published(), metrics, cancel.child_token()));
        let https_port = args.edge_https.map(|address| address.port());
        Ok(Self {
            proxy,
            handle,
            endpoints: endpoints.table,
            https_port,
            traefik,
            cancel,
            tasks: vec![endpoints.task, publisher, server, pages, lag],
        })
    }

    /// The check for `/readyz`.
    pub(super) fn ready(&self) -> EdgeReady {
        EdgeReady { proxy: self.proxy.clone(), published: self.handle.published() }
    }

    /// The proxy ends first, so that it never asks a provider that is gone.
    pub(super) async fn stop(self) {
        self.traefik.shutdown().await;
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
async fn free_loopback_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).await.context("no free port on loopback")?.local_addr()?)
}
