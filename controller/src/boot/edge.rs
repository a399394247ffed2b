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
use crate::edge::endpoints::{self, EndpointsConfig};
use crate::edge::provider::{self, ProviderConfig};
use crate::edge::publisher::{self, EdgeHandle, PublisherConfig};
use crate::engines::swarm::SwarmEngine;
use crate::engines::traefik::{ProxyApi, Traefik, TraefikClient, TraefikConfig};

/// Folder of the edge below the data folder.
const FOLDER: &str = "edge";

/// The running edge.
pub(super) struct Edge {
    pub(super) proxy: Arc<dyn ProxyApi>,
    pub(super) handle: EdgeHandle,
    pub(super) endpoints: watch::Receiver<Arc<EndpointTable>>,
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
        let config = PublisherConfig { known_good: Some(folder.join("routes.json")), ..PublisherConfig::default() };
        let routes = Arc::new(StoredRoutes(core.store.clone()));
        let (handle, publisher) = publisher::spawn(routes, endpoints.table.clone(), config, cancel.child_token());

        let listener = TcpListener::bind(args.edge_provider_listen).await.context("the proxy's provider cannot listen")?;
        let provider = listener.local_addr()?;
        let token = core.store.internal_token().await.context("the internal token cannot be read")?;
        let router = provider::router(handle.published(), &token, ProviderConfig::default(), cancel.child_token());
        let stop = cancel.clone();
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
                error!(%error, "the proxy's provider ended");
            }
        });

        let api = free_loopback_address().await?;
        let config = TraefikConfig {
            binary: args.traefik_bin.clone(),
            edge_https: args.edge_https,
            ..TraefikConfig::new(folder, args.edge_http, api, format!("http://{provider}"), token)
        };
        let traefik = Traefik::start(config, core.clock.clone(), core.entropy.clone()).await.context("the proxy cannot be started")?;
        let proxy = Arc::new(TraefikClient::new(api, args.edge_http, endpoints.table.clone())?);
        Ok(Self { proxy, handle, endpoints: endpoints.table, traefik, cancel, tasks: vec![endpoints.task, publisher, server] })
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

/// An address that nobody listens on now. The proxy's API has no fixed port, so that several can run.
async fn free_loopback_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).await.context("no free port on loopback")?.local_addr()?)
}
