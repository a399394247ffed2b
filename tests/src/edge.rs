//! An edge for one test: publisher, provider, responder and a real Traefik; no engine.
//!
//! The table of endpoints is set by hand, its addresses are small servers on loopback. Everything from the
//! table on is real.
#![expect(clippy::expect_used, reason = "helpers of tests fail by panic")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api_types::Host;
use api_types::kinds::edge::{EdgeSpec, Protocol};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use skyswarm::clock::{SystemClock, SystemEntropy};
use skyswarm::edge::document::DocumentOptions;
use skyswarm::edge::inputs::Inputs;
use skyswarm::edge::provider::{self, ProviderConfig};
use skyswarm::edge::publisher::{self, BoxError, EdgeHandle, Published, PublisherConfig, RouteSource};
use skyswarm::edge::{Check, Endpoint, EndpointTable, Route, responder};
use skyswarm::engines::traefik::{Traefik, TraefikClient, TraefikConfig, static_config};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The internal token.
pub const TOKEN: &str = "the-internal-token";

/// Uid of an app; its last eight hex digits are the number.
pub fn uid(number: u32) -> Uuid {
    Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 | u128::from(number))
}

/// A route of organisation `acme`, process `web`, release `r1`.
pub fn route(app: u32, name: &str, hosts: &[&str]) -> Route {
    Route {
        app_uid: uid(app),
        org: "acme".parse().expect("a name"),
        app: name.parse().expect("a name"),
        hosts: hosts.iter().map(|host| host.parse().expect("a host")).collect(),
        process: "web".parse().expect("a name"),
        releases: vec!["r1".to_owned()],
        health: None,
        protocol: Protocol::Http,
        edge: EdgeSpec::default(),
    }
}

/// A host.
pub fn host(text: &str) -> Host {
    text.parse().expect("a host")
}

/// A server that says its name, and counts who asked.
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// Requests that it got.
    pub hits: Arc<AtomicUsize>,
    /// Its task.
    pub task: tokio::task::JoinHandle<()>,
}

impl Backend {
    /// Starts one.
    pub async fn start(name: &'static str) -> Self {
        let hits = Arc::new(AtomicUsize::new(0));
        let count = hits.clone();
        let answer = move || {
            count.fetch_add(1, Ordering::SeqCst);
            async move { name }
        };
        // Word for word what the proxy says when it has no route.
        let missing = || async { (axum::http::StatusCode::NOT_FOUND, "404 page not found\n") };
        let app = axum::Router::new().route("/", axum::routing::any(answer)).fallback(missing);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("has an address");
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { address, hits, task }
    }
    /// Its endpoint, ready, of an app.
    pub fn endpoint(&self, app: u32) -> Endpoint {
        Endpoint {
            task_id: format!("t{}", self.address.port()),
            container_id: format!("c{}", self.address.port()),
            app_uid: uid(app),
            process: "web".to_owned(),
            release: "r1".to_owned(),
            slot: 1,
            // All of 127/8 is this machine; an address belongs to one container.
            address: self.address,
            hop: None,
            leaving: false,
            ready: true,
            since: DateTime::<Utc>::UNIX_EPOCH,
            last_check: Check::Passed,
        }
    }
}

impl Backend {
    /// The same server on another address: an address belongs to one container.
    pub async fn rebind(old: Self, name: &'static str, ip: &str) -> Self {
        let address = SocketAddr::new(ip.parse().expect("an address"), old.address.port());
        let hits = Arc::new(AtomicUsize::new(0));
        let count = hits.clone();
        drop(old);
        let answer = move || {
            count.fetch_add(1, Ordering::SeqCst);
            async move { name }
        };
        let listener = TcpListener::bind(address).await.expect("binds");
        let app = axum::Router::new().fallback(answer);
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { address, hits, task }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Inputs that a test sets.
pub struct Routes(pub Mutex<Inputs>);

#[async_trait]
impl RouteSource for Routes {
    async fn inputs(&self) -> Result<Inputs, BoxError> {
        Ok(self.0.lock().expect("not poisoned").clone())
    }
}

/// See the module.
pub struct Lab {
    /// What the document is made from.
    pub routes: Arc<Routes>,
    /// The table of endpoints.
    pub table: watch::Sender<Arc<EndpointTable>>,
    /// The publisher.
    pub edge: EdgeHandle,
    /// What the provider serves: the publisher's documents, unless a test takes them away.
    pub served: watch::Sender<Option<Arc<Published>>>,
    /// Whether the provider is cut off.
    pub cut: watch::Sender<bool>,
    /// How Traefik runs.
    pub config: TraefikConfig,
    /// The platform's client.
    pub client: TraefikClient,
    /// A client without redirects, proxies or cookies.
    pub http: reqwest::Client,
    _folder: tempfile::TempDir,
    /// Ends publisher and provider.
    pub cancel: CancellationToken,
}

/// The program that `./dev test` chose.
pub fn binary() -> Option<PathBuf> {
    std::env::var_os("TRAEFIK_BIN").map(PathBuf::from)
}

/// An address that nobody listens on.
pub async fn free_port() -> SocketAddr {
    // Below the ports that the kernel chooses from, so that nobody is given it between now and its use.
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::SeqCst);
        assert!(port < 30_000, "no port is free");
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return listener.local_addr().expect("has an address");
        }
    }
}

impl Lab {
    /// Everything but Traefik.
    pub async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cancel = CancellationToken::new();
        let routes = Arc::new(Routes(Mutex::default()));
        let table =
            watch::Sender::new(Arc::new(EndpointTable { endpoints: BTreeMap::new(), observed_at: Some(DateTime::<Utc>::UNIX_EPOCH) }));
        let (web, api, https, probe) = (free_port().await, free_port().await, free_port().await, free_port().await);
        let pages = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let document = DocumentOptions {
            https: Some((static_config::HTTPS.to_owned(), https.port())),
            probe: Some(static_config::PROBE.to_owned()),
            responder: Some(pages.local_addr().expect("has an address")),
            ..DocumentOptions::default()
        };
        let folder = tempfile::tempdir().expect("a folder");
        let config = PublisherConfig { document, ..PublisherConfig::default() };
        let (edge, _) = publisher::spawn(routes.clone(), table.subscribe(), config, cancel.clone());
        let responder = responder::router(edge.published());
        tokio::spawn(async move { axum::serve(pages, responder).await.expect("serves") });
        let (served, cut) = (watch::Sender::new(None), watch::Sender::new(false));
        tokio::spawn(relay(edge.published(), cut.subscribe(), served.clone()));

        let hold = ProviderConfig { hold_missing: Duration::from_millis(100), ..ProviderConfig::default() };
        let app = provider::router(served.subscribe(), &SecretString::from(TOKEN), hold, cancel.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let provider_url = format!("http://{}", listener.local_addr().expect("has an address"));
        tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });

        let mut config = TraefikConfig::new(folder.path().join("traefik"), web, api, provider_url, SecretString::from(TOKEN));
        (config.binary, config.edge_https, config.edge_probe) = (binary(), Some(https), Some(probe));
        let client = TraefikClient::new(api, web, table.subscribe()).expect("a client").with(Some(probe), Some(https));
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(5))
            .build()
            .expect("a client");
        Self { routes, table, edge, served, cut, config, client, http, _folder: folder, cancel }
    }
    /// Starts Traefik.
    pub async fn traefik(&self) -> Traefik {
        Traefik::start(self.config.clone(), SystemClock::shared(), Arc::new(SystemEntropy))
            .await
            .expect("Traefik starts (TRAEFIK_BIN or PATH)")
    }
    /// As the server stops: first the provider lets go of polls, then Traefik.
    pub async fn stop(&self, traefik: Traefik) -> Duration {
        self.cancel.cancel();
        let start = Instant::now();
        traefik.shutdown().await;
        start.elapsed()
    }
    /// Publishes routes.
    pub fn set_routes(&self, routes: &[Route]) {
        self.edit(|inputs| inputs.routes = routes.to_vec());
    }
    /// Changes what the document is made from.
    pub fn edit(&self, change: impl FnOnce(&mut Inputs)) {
        change(&mut self.routes.0.lock().expect("not poisoned"));
        self.edge.kick();
    }
    /// Sets the table of endpoints.
    pub fn set_endpoints(&self, endpoints: impl IntoIterator<Item = Endpoint>) {
        let endpoints = endpoints.into_iter().map(|endpoint| (endpoint.task_id.clone(), endpoint)).collect();
        self.table.send_replace(Arc::new(EndpointTable { endpoints, observed_at: Some(DateTime::<Utc>::UNIX_EPOCH) }));
    }
    /// Status and body for a host; 0 when the connection failed.
    pub async fn get(&self, host: &str) -> (u16, String) {
        self.send(reqwest::Method::GET, host).await
    }
    /// As [`Lab::get`], by another method.
    pub async fn send(&self, method: reqwest::Method, host: &str) -> (u16, String) {
        match self.http.request(method, format!("http://{}/", self.config.edge_http)).header("host", host).send().await {
            Ok(response) => (response.status().as_u16(), response.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        }
    }
    /// Waits until a host answers with a status, and says how long that took.
    pub async fn until(&self, host: &str, status: u16) -> Duration {
        let start = Instant::now();
        let found = timeout(Duration::from_secs(10), async {
            while self.get(host).await.0 != status {
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(found.await.is_ok(), "{host} does not answer {status} but {:?}", self.get(host).await);
        start.elapsed()
    }
}

async fn relay(
    mut from: watch::Receiver<Option<Arc<Published>>>,
    mut cut: watch::Receiver<bool>,
    to: watch::Sender<Option<Arc<Published>>>,
) {
    loop {
        let now = if *cut.borrow_and_update() { None } else { from.borrow_and_update().clone() };
        to.send_replace(now);
        tokio::select! {
            seen = from.changed() => if seen.is_err() { return },
            seen = cut.changed() => if seen.is_err() { return },
        }
    }
}
