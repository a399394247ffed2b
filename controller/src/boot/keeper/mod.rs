//! The edge's keeper, as the server sees it: a process of its own that runs the proxy, so that the edge goes
//! on when the server is killed.
//!
//! The server starts it with its orders on standard input, and that pipe is also how the keeper learns of the
//! server's end: the word `stop` means that both end, a closed pipe that the server died. Then the keeper serves
//! the document itself (`process`) until the next server ends it. See `docs/adr/0009-traefik-has-a-keeper.md`.

mod process;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock::SharedEntropy;
use crate::engines::traefik::leftover;
use crate::telemetry;

pub use process::run;

/// File of the keeper's process id, in the edge's folder.
pub(super) const PID_FILE: &str = "keeper.pid";
/// The last word of a server that ends in order.
const STOP: &str = "stop";
/// What the keeper says when the proxy answers.
const READY: &str = "ready";
/// Longest start: the proxy's own limits, and the end of what an earlier run left.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Longest end: the proxy lets requests end first.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How long a keeper that a killed server left may take to end before it is killed.
const LEFTOVER_WITHIN: Duration = Duration::from_secs(3);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Variables that the keeper gets; all others stay here, since some hold secrets.
const VARIABLES: [&str; 7] = ["PATH", "HOME", "NO_COLOR", "SKYSWARM_LOG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "RUST_BACKTRACE"];

/// All that the keeper has to know. It goes through a pipe, never over a command line.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Orders {
    /// The edge's folder.
    pub(super) folder: PathBuf,
    /// The engine.
    pub(super) docker_host: String,
    /// The database, which other servers may go on to write to.
    #[serde(serialize_with = "exposed")]
    pub(super) database_url: SecretString,
    /// The platform's key file.
    pub(super) key_file: PathBuf,
    /// The proxy's program.
    pub(super) traefik_bin: Option<PathBuf>,
    /// Where apps are reached by HTTP.
    pub(super) edge_http: SocketAddr,
    /// Where apps are reached by HTTPS.
    pub(super) edge_https: Option<SocketAddr>,
    /// Where our own requests go.
    pub(super) probe: SocketAddr,
    /// The proxy's API.
    pub(super) api: SocketAddr,
    /// Where the document is served.
    pub(super) provider: SocketAddr,
    /// Where the responder answers.
    pub(super) pages: SocketAddr,
    /// The internal token.
    #[serde(serialize_with = "exposed")]
    pub(super) token: SecretString,
}

fn exposed<S: serde::Serializer>(token: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.expose_secret())
}

impl Orders {
    /// What tells this keeper from any other process.
    fn argument(&self) -> String {
        format!("--folder={}", self.folder.display())
    }
}

/// The running keeper.
pub(super) struct Keeper {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Running {
    child: Child,
    stdin: ChildStdin,
}

impl Keeper {
    /// Ends a keeper that an earlier server left, starts a new one, and waits until the proxy answers.
    pub(super) async fn start(orders: Orders, entropy: SharedEntropy) -> anyhow::Result<Self> {
        let pid_file = orders.folder.join(PID_FILE);
        if !leftover::end(&pid_file, &orders.argument(), LEFTOVER_WITHIN).await {
            bail!("a keeper of an earlier run does not end; its process id is in {}", pid_file.display());
        }
        let running = launch(&orders).await?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(supervise(orders, running, entropy, stop.clone()));
        Ok(Self { stop, task })
    }

    /// Ends the keeper and the proxy with it; requests may end first.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            error!(%error, "the supervisor of the edge's keeper ended badly");
        }
    }
}

async fn launch(orders: &Orders) -> anyhow::Result<Running> {
    // By this name it is the very program that runs now, also when its file was replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("skyswarm")
        .args(["edge-keeper", "--log-format", &telemetry::format().to_string()])
        .arg(orders.argument())
        .current_dir(&orders.folder)
        .env_clear();
    command.envs(VARIABLES.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    // A group of its own: Ctrl-C in a terminal is for the server, which ends the keeper in order.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("the edge's keeper cannot be started")?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else { bail!("the edge's keeper has no pipes") };
    let begin = async {
        let mut text = serde_json::to_vec(orders)?;
        text.push(b'\n');
        stdin.write_all(&text).await?;
        let mut answer = String::new();
        BufReader::new(stdout).read_line(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(READY_WITHIN, begin).await.context("the edge's keeper did not get ready in time");
    match answer.and_then(|answer| answer) {
        Ok(answer) if answer.trim() == READY => Ok(Running { child, stdin }),
        Ok(answer) => {
            end(Running { child, stdin }).await;
            let answer = answer.trim().to_owned();
            bail!("{}", if answer.is_empty() { "the edge's keeper ended at once; its words are in the log" } else { answer.as_str() })
        }
        Err(error) => {
            end(Running { child, stdin }).await;
            Err(error)
        }
    }
}

async fn supervise(orders: Orders, first: Running, entropy: SharedEntropy, stop: CancellationToken) {
    let mut running = Some(first);
    let mut wait = FIRST_WAIT;
    loop {
        if let Some(mut current) = running.take() {
            tokio::select! {
                () = stop.cancelled() => return end(current).await,
                status = current.child.wait() => {
                    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    error!(status, "the edge's keeper ended by itself and is started again, and the proxy with it");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait.mul_f64(0.8 + 0.4 * entropy.unit())) => {}
        }
        match launch(&orders).await {
            Ok(again) => {
                info!("the edge's keeper runs again");
                running = Some(again);
                wait = FIRST_WAIT;
            }
            Err(error) => {
                error!(error = format!("{error:#}"), "the edge's keeper could not be started");
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

/// Tells it to stop, and kills it when it does not.
async fn end(mut running: Running) {
    let told = running.stdin.write_all(format!("{STOP}\n").as_bytes()).await;
    if told.is_ok() && timeout(STOP_WITHIN, running.child.wait()).await.is_ok() {
        return;
    }
    warn!("the edge's keeper does not end and is killed");
    if let Err(error) = running.child.kill().await {
        warn!(%error, "the edge's keeper could not be killed");
    }
}
