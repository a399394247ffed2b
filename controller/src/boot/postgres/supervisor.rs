//! Runs the server, starts it again when it dies, and stops it when asked.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::cluster::{self, Tail};
use super::{Account, Binaries, Place, PostgresError, leftover, url};

/// Recovery after a crash may take a while; a server that says nothing for this long will not come.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Each of the three ways to stop gets this long; the last is a kill.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(20);
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_LAST: Duration = Duration::from_secs(15);
/// A server that ran this long has earned a fresh start of the delays.
const STEADY: Duration = Duration::from_secs(60);

/// A running private database.
#[derive(Debug)]
pub struct PrivatePostgres {
    url: String,
    stop: CancellationToken,
    pub(super) keeper: JoinHandle<()>,
}

impl PrivatePostgres {
    /// Starts the database below a data directory and waits until it answers.
    ///
    /// # Errors
    /// See [`PostgresError`]; every case says what to do.
    pub async fn start(data_dir: &Path) -> Result<Self, PostgresError> {
        let place = Place::below(data_dir, Account::for_server()?);
        let cluster_version = cluster::version(&place.cluster);
        let binaries = Binaries::choose(Binaries::find_all().await, cluster_version, &place.cluster)?;
        place.prepare()?;
        cluster::ensure(&place, &binaries).await?;
        let server = Server { place, binaries };
        let running = server.start().await?;
        if let Err(error) = cluster::ensure_database(&server.place, &server.binaries).await {
            running.stop().await;
            return Err(error);
        }
        let url = url(&server.place.socket_dir);
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(keep(server, running, stop.clone()));
        Ok(Self { url, stop, keeper })
    }

    /// Connection address. It stays the same when the server is started again.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Disconnects the clients, writes everything to disk and ends the server.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.keeper.await {
            error!(%error, "the task that looks after PostgreSQL failed");
        }
    }
}

/// What is needed to start the server again.
#[derive(Debug)]
struct Server {
    place: Place,
    binaries: Binaries,
}

/// A started server and the end of its log.
struct Running {
    child: Child,
    since: Instant,
    tail: Arc<Mutex<Tail>>,
}

impl Server {
    async fn start(&self) -> Result<Running, PostgresError> {
        leftover::clear(&self.place.cluster).await?;
        let mut command = cluster::server(&self.place, &self.binaries);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().map_err(PostgresError::io("start PostgreSQL"))?;
        let tail = Arc::new(Mutex::new(Tail::default()));
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(relay(stderr, Arc::clone(&tail)));
        }
        let mut running = Running { child, since: Instant::now(), tail };
        match self.wait_until_ready(&mut running).await {
            Ok(()) => {
                info!(version = self.binaries.major, took = ?running.since.elapsed(), "PostgreSQL is ready");
                Ok(running)
            }
            Err(error) => {
                running.stop().await;
                Err(error)
            }
        }
    }

    async fn wait_until_ready(&self, running: &mut Running) -> Result<(), PostgresError> {
        while running.since.elapsed() < READY_LIMIT {
            if let Ok(Some(status)) = running.child.try_wait() {
                // The last lines may still be on their way through the pipe.
                tokio::time::sleep(TICK).await;
                return Err(PostgresError::Program { program: "postgres".to_owned(), status: status.to_string(), output: running.log() });
            }
            let pid = running.child.id().and_then(|pid| i32::try_from(pid).ok());
            if pid.is_some_and(|pid| leftover::is_ready(&self.place.cluster, pid)) {
                return Ok(());
            }
            tokio::time::sleep(TICK).await;
        }
        Err(PostgresError::NotReady { seconds: READY_LIMIT.as_secs(), output: running.log() })
    }
}

impl Running {
    fn log(&self) -> String {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).text()
    }

    /// Clients disconnected; then without a checkpoint; then killed. Each is safe for the data.
    async fn stop(mut self) {
        let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) else { return };
        for signal in [Signal::INT, Signal::QUIT, Signal::KILL] {
            leftover::send(pid, signal);
            if tokio::time::timeout(STOP_LIMIT, self.child.wait()).await.is_ok() {
                info!(?signal, "PostgreSQL stopped");
                return;
            }
            warn!(?signal, "PostgreSQL does not stop");
        }
    }
}

/// Starts the server again when it ends by itself, with growing delays.
async fn keep(server: Server, mut running: Running, stop: CancellationToken) {
    let mut delay = BACKOFF_FIRST;
    loop {
        tokio::select! {
            () = stop.cancelled() => return running.stop().await,
            status = running.child.wait() => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                error!(status, "PostgreSQL ended by itself; starting it again");
            }
        }
        if running.since.elapsed() > STEADY {
            delay = BACKOFF_FIRST;
        }
        running = loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
            }
            delay = (delay * 2).min(BACKOFF_LAST);
            match server.start().await {
                Ok(running) => break running,
                Err(error) => error!(%error, retry_in = ?delay, "PostgreSQL does not start"),
            }
        };
    }
}

/// Puts the server's log into ours.
async fn relay(stderr: impl AsyncRead + Unpin, tail: Arc<Mutex<Tail>>) {
    let mut lines = BufReader::new(stderr).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).into_owned();
        tail.lock().unwrap_or_else(PoisonError::into_inner).push(&line);
        if ["WARNING:", "ERROR:", "FATAL:", "PANIC:"].iter().any(|severity| line.starts_with(severity)) {
            warn!(target: "postgres", "{line}");
        } else {
            debug!(target: "postgres", "{line}");
        }
    }
}
