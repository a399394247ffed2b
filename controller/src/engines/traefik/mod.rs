//! Traefik: the process that serves the edge, and its API.
//!
//! Traefik gets no Docker socket and no labels. Its static configuration is a file that we write
//! ([`static_config`]); its dynamic configuration it asks from [`crate::edge::provider`]. What it made of
//! that is read back through its API on loopback ([`client`]), because a document that was published is
//! not yet a document that is served.

pub mod binary;
pub mod client;
mod digest;
pub mod fake;
mod gate;
mod handshake;
pub(crate) mod leftover;
mod log;
pub mod process;
pub mod static_config;

use std::collections::BTreeMap;

use api_types::Host;
use async_trait::async_trait;

use crate::edge::{ProbeResult, Route, RouteFacts};
use crate::plan::Fact;

pub use client::TraefikClient;
pub use fake::FakeProxy;
pub use process::{Traefik, TraefikError};
pub use static_config::TraefikConfig;

/// Why the proxy's API gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProxyError {
    /// No answer in time, or none at all.
    #[error("the proxy's API did not answer {what}: {message}")]
    Unreachable {
        /// What was asked.
        what: String,
        /// What went wrong.
        message: String,
    },
    /// An answer that is not understood.
    #[error("the proxy's API answered {what} unexpectedly: {message}")]
    Unexpected {
        /// What was asked.
        what: String,
        /// What came back.
        message: String,
    },
}

/// What the proxy runs, as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyOverview {
    /// Routers.
    pub routers: u64,
    /// Routers with an error.
    pub router_errors: u64,
    /// Services.
    pub services: u64,
    /// Services with an error.
    pub service_errors: u64,
    /// Stamp of the document that it runs (see `edge::publisher::Published::stamp`); `None` before the first.
    pub stamp: Option<String>,
}

/// What the platform asks of the proxy. Every call has a deadline inside.
#[async_trait]
pub trait ProxyApi: Send + Sync + 'static {
    /// What the proxy does with the route of a key. `probe` in the answer is empty: asking the app is
    /// [`ProxyApi::probe`]'s work.
    async fn route_facts(&self, key: &str) -> Fact<RouteFacts>;
    /// A number for each of the keys that the proxy has something for; it differs whenever what the proxy does with
    /// the key's route differs. `Unknown` where that cannot be told.
    async fn route_digests(&self, keys: &[String]) -> Fact<BTreeMap<String, u64>> {
        let _: &[String] = keys;
        Fact::Unknown
    }
    /// What it runs as a whole.
    async fn overview(&self) -> Result<ProxyOverview, ProxyError>;
    /// Which certificate clients of a host get: its SHA-256 in hex. `Absent` when the edge takes no TLS connections.
    async fn served_certificate(&self, host: &str) -> Fact<String>;
    /// Asks an app through the edge. With a health path it wants a status from 200 to 399; without one, any
    /// answer that is the app's and not the proxy's.
    async fn probe(&self, host: &Host, health_path: Option<&str>) -> ProbeResult;
    /// Asks an app through the edge as its route wants: where clients are stopped (password, allow list,
    /// redirect, maintenance), that they are, and that the app answers behind that. `None` when the route
    /// has no host. One host stands for all: they are one rule of one router.
    async fn probe_route(&self, route: &Route) -> Option<ProbeResult> {
        let host = route.hosts.first()?;
        Some(self.probe(host, route.health.as_ref().map(|health| health.path.as_str())).await)
    }
}
