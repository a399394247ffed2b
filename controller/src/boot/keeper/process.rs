//! The keeper's own process: runs the proxy, and serves its document once the server is gone.
//!
//! While the server lives it only waits. When the server dies it reads the engine itself, so that no address of
//! a task that has gone stays in the document, and takes routes, password hashes and certificates from the edge's
//! last known state. Nothing that users ask for changes meanwhile, because nobody is there to take it.

use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Orders, PID_FILE, READY, STOP};
use crate::boot::args::KeeperArgs;
use crate::boot::edge::{Feed, FeedSources, document_options, known_good_file};
use crate::clock::{SharedClock, SharedEntropy, SystemClock, SystemEntropy};
use crate::edge::inputs::Inputs;
use crate::edge::known_good::KnownGood;
use crate::edge::publisher::{BoxError, RouteSource};
use crate::effects::Effects;
use crate::engines::swarm::real::{DockerSwarm, EngineOptions};
use crate::engines::traefik::{Traefik, TraefikConfig};

/// How often an address that the dead server may still hold is tried.
const BIND_EVERY: Duration = Duration::from_millis(50);
/// How long requests may go on when the next server waits for the ports.
const HASTE: Duration = Duration::from_millis(500);

type Input = Lines<BufReader<pipe::Receiver>>;

/// Why the server is no longer there.
enum End {
    /// It told us to stop, or somebody asked us to.
    Ordered,
    /// It died.
    Died,
}

/// Runs until told to stop.
///
/// # Errors
/// When there are no orders, or the proxy cannot be run; the server is told too.
pub async fn run(args: KeeperArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    // Not tokio's own standard input: a thread would read it, and keep this process from ending.
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut input = BufReader::new(pipe::Receiver::from_owned_fd(stdin).context("started by hand? The server starts it")?).lines();
    let line = input.next_line().await?.context("no orders came")?;
    let orders: Orders = serde_json::from_str(&line).context("the orders cannot be read")?;
    anyhow::ensure!(orders.folder == args.folder, "the orders are for another folder");
    let pid_file = orders.folder.join(PID_FILE);
    write_pid(&pid_file)?;
    let (clock, entropy): (SharedClock, SharedEntropy) = (SystemClock::shared(), Arc::new(SystemEntropy));
    let traefik = match Traefik::start(traefik_config(&orders), clock.clone(), entropy.clone()).await {
        Ok(traefik) => traefik,
        Err(error) => {
            let error = anyhow::Error::from(error);
            say(&format!("{error:#}"))?;
            return Err(error);
        }
    };
    say(READY)?;
    let end = tokio::select! {
        end = server_end(&mut input) => end,
        _ = terminate.recv() => End::Ordered,
    };
    match end {
        End::Ordered => traefik.shutdown().await,
        End::Died => {
            warn!("the server is gone; the edge goes on with what was last known, until a server starts again");
            let cancel = CancellationToken::new();
            tokio::select! {
                feed = take_over(&orders, clock, entropy, cancel.clone()) => {
                    // Kept alive: it serves.
                    let _feed = feed?;
                    terminate.recv().await;
                }
                _ = terminate.recv() => {}
            }
            info!("ending, so that a server can have the edge");
            // First the document: the proxy would wait for its last poll.
            cancel.cancel();
            traefik.shutdown_within(HASTE).await;
        }
    }
    if let Err(error) = std::fs::remove_file(&pid_file) {
        warn!(%error, "the keeper's pid file was not removed");
    }
    Ok(())
}

/// Waits for the server's last word, or for its end without one.
async fn server_end(input: &mut Input) -> End {
    loop {
        match input.next_line().await {
            Ok(Some(line)) if line.trim() == STOP => return End::Ordered,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return End::Died,
        }
    }
}

/// Starts to serve the document where the server did.
async fn take_over(orders: &Orders, clock: SharedClock, entropy: SharedEntropy, cancel: CancellationToken) -> anyhow::Result<Feed> {
    let engine = DockerSwarm::connect(&orders.docker_host, EngineOptions::default()).context("the engine's address")?;
    let file = known_good_file(&orders.folder, &orders.key_file, entropy.clone())?;
    let sources = FeedSources {
        engine: Arc::new(engine),
        clock,
        entropy,
        routes: Arc::new(LastKnown(file)),
        document: document_options(orders.edge_https, orders.pages),
        known_good: None,
        effects: Effects::none(),
    };
    let (provider, pages) = (bind(orders.provider).await, bind(orders.pages).await);
    Ok(Feed::start(sources, provider, pages, &orders.token, &cancel))
}

/// The dead server's sockets go with it, but not always before its pipes.
async fn bind(address: std::net::SocketAddr) -> TcpListener {
    let mut said = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if !said => {
                said = true;
                warn!(%address, %error, "waiting for the server's address");
            }
            Err(_) => {}
        }
        sleep(BIND_EVERY).await;
    }
}

/// Routes and secrets from the edge's last known state, which does not change any more.
struct LastKnown(KnownGood);

#[async_trait]
impl RouteSource for LastKnown {
    async fn inputs(&self) -> Result<Inputs, BoxError> {
        let file = self.0.clone();
        let found = tokio::task::spawn_blocking(move || file.read()).await??;
        found.ok_or_else(|| "the edge has no last known state".into())
    }
}

fn traefik_config(orders: &Orders) -> TraefikConfig {
    TraefikConfig {
        binary: orders.traefik_bin.clone(),
        edge_https: orders.edge_https,
        edge_probe: Some(orders.probe),
        ..TraefikConfig::new(
            orders.folder.clone(),
            orders.edge_http,
            orders.api,
            format!("http://{}", orders.provider),
            orders.token.clone(),
        )
    }
}

fn write_pid(path: &Path) -> anyhow::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(write!(file, "{}", std::process::id())?)
}

/// One line to the server.
fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.replace('\n', " "))?;
    out.flush()
}
