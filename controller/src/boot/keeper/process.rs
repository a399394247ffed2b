//! The keeper's own process: runs the proxy, and serves its document once the server is gone.
//!
//! While the server lives it only waits. When the server dies it reads the engine itself, so that no address of
//! a task that has gone stays in the document, and routes, password hashes and certificates from the database, since
//! another server may lead and go on with what users ask for. While the database cannot be read, and it could not be
//! before, they are those of the edge's last known state.

use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Orders, PID_FILE, READY, STOP};
use crate::boot::args::KeeperArgs;
use crate::boot::edge::{Feed, FeedSources, document_options, known_good_file};
use crate::clock::{SharedClock, SharedEntropy, SystemClock, SystemEntropy};
use crate::edge::inputs::Inputs;
use crate::edge::known_good::KnownGood;
use crate::edge::publisher::{BoxError, EdgeHandle, RouteSource};
use crate::effects::Effects;
use crate::engines::swarm::real::{DockerSwarm, EngineOptions};
use crate::engines::traefik::{Traefik, TraefikConfig};
use crate::store::{Store, StoreError, StoreHint, Topic};

/// How often an address that the dead server may still hold is tried.
const BIND_EVERY: Duration = Duration::from_millis(50);
/// How often a database that does not answer is asked again.
const CONNECT_EVERY: Duration = Duration::from_secs(1);
/// Longest that the database may take to say what the routes are; below the publisher's own limit.
const DATABASE_LIMIT: Duration = Duration::from_secs(2);
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
    let rows = Arc::new(Rows {
        url: orders.database_url.clone(),
        key_file: orders.key_file.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        store: OnceCell::new(),
        was_read: AtomicBool::new(false),
        last_known: known_good_file(&orders.folder, &orders.key_file, entropy.clone())?,
    });
    let sources = FeedSources {
        engine: Arc::new(engine),
        clock,
        entropy,
        routes: rows.clone(),
        document: document_options(orders.edge_https, orders.pages),
        known_good: None,
        effects: Effects::none(),
    };
    let (provider, pages) = (bind(orders.provider).await, bind(orders.pages).await);
    let feed = Feed::start(sources, provider, pages, &orders.token, &cancel);
    tokio::spawn(follow(rows, feed.handle(), cancel));
    Ok(feed)
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

/// Routes and secrets from the database, or from the edge's last known state as long as it never answered.
struct Rows {
    url: SecretString,
    key_file: PathBuf,
    clock: SharedClock,
    entropy: SharedEntropy,
    store: OnceCell<Store>,
    was_read: AtomicBool,
    last_known: KnownGood,
}

impl Rows {
    async fn store(&self) -> Result<&Store, StoreError> {
        let connect = || async {
            let store = Store::connect(self.url.expose_secret(), self.clock.clone(), self.entropy.clone()).await?;
            store.open_keyring(&self.key_file).await?;
            Ok(store)
        };
        self.store.get_or_try_init(connect).await
    }

    async fn read(&self) -> Result<Inputs, BoxError> {
        Ok(timeout(DATABASE_LIMIT, async { self.store().await?.edge_inputs().await }).await??)
    }
}

#[async_trait]
impl RouteSource for Rows {
    async fn inputs(&self) -> Result<Inputs, BoxError> {
        match self.read().await {
            Ok(inputs) => {
                self.was_read.store(true, Ordering::Relaxed);
                Ok(inputs)
            }
            // Whoever asks goes on with what it has, which is newer than the file.
            Err(error) if self.was_read.load(Ordering::Relaxed) => Err(error),
            Err(error) => {
                debug!(error, "the database cannot be read; going on with what was last known");
                let file = self.last_known.clone();
                let found = tokio::task::spawn_blocking(move || file.read()).await??;
                found.ok_or_else(|| "the edge has no last known state".into())
            }
        }
    }
}

/// Has the routes read again as soon as another server changes them.
async fn follow(rows: Arc<Rows>, handle: EdgeHandle, cancel: CancellationToken) {
    let follow = async {
        let store = loop {
            match rows.store().await {
                Ok(store) => break store,
                Err(_) => sleep(CONNECT_EVERY).await,
            }
        };
        let mut hints = store.watch();
        while let Some(hint) = hints.recv().await {
            match hint {
                StoreHint::Resync | StoreHint::Changed(Topic::Routes | Topic::Certificates | Topic::Settings) => handle.kick(),
                StoreHint::Changed(_) => {}
            }
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = follow => {}
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
