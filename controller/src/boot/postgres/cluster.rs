//! Makes a cluster, and the arguments with which it is run.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;
use tracing::info;

use super::{Binaries, DATABASE, Place, PostgresError};

const LIMIT: Duration = Duration::from_secs(120);
const TAIL_LINES: usize = 20;

/// Major version of the cluster in a directory; `None` when there is none.
pub(super) fn version(cluster: &Path) -> Option<u32> {
    fs::read_to_string(cluster.join("PG_VERSION")).ok()?.trim().parse().ok()
}

/// Makes the cluster when there is none.
///
/// # Errors
/// When `initdb` fails.
pub(super) async fn ensure(place: &Place, binaries: &Binaries) -> Result<(), PostgresError> {
    if version(&place.cluster).is_some() {
        return Ok(());
    }
    info!(path = %place.cluster.display(), version = binaries.major, "making a PostgreSQL cluster");
    // An end in the middle of initdb would leave half a cluster that looks whole. So it is made beside
    // its place, and moved there in one step, which takes the place of the empty directory only.
    let half = place.half_cluster();
    if half.exists() {
        fs::remove_dir_all(&half).map_err(PostgresError::io("remove an unfinished cluster"))?;
    }
    place.make(&half)?;
    let mut command = place.command(&binaries.program("initdb"));
    command.arg("--pgdata").arg(&half).args(["--username", DATABASE, "--encoding", "UTF8", "--locale", "C"]);
    // Who may enter the socket's directory may connect; nobody else can reach the server at all.
    command.args(["--auth-local", "trust", "--auth-host", "reject"]);
    run("initdb", command).await?;
    fs::rename(&half, &place.cluster).map_err(PostgresError::io(format!("move the new cluster to {}", place.cluster.display())))
}

/// Makes the database when there is none. The server must run.
///
/// # Errors
/// When `createdb` fails for another cause than that it is there.
pub(super) async fn ensure_database(place: &Place, binaries: &Binaries) -> Result<(), PostgresError> {
    let mut command = place.command(&binaries.program("createdb"));
    command.arg("--host").arg(&place.socket_dir).args(["--username", DATABASE, "--maintenance-db", "postgres", DATABASE]);
    match run("createdb", command).await {
        Err(PostgresError::Program { output, .. }) if output.contains("already exists") => Ok(()),
        other => other,
    }
}

/// The server itself. Settings are arguments, so that the files stay as `initdb` made them and an
/// operator's changes in `postgresql.conf` stay possible for everything else.
pub(super) fn server(place: &Place, binaries: &Binaries) -> Command {
    let mut command = place.command(&binaries.program("postgres"));
    command.arg("-D").arg(&place.cluster);
    let socket_dir = place.socket_dir.to_string_lossy().replace('"', "\"\"");
    for setting in [
        "listen_addresses=".to_owned(),
        "port=5432".to_owned(),
        format!("unix_socket_directories=\"{socket_dir}\""),
        "unix_socket_permissions=0700".to_owned(),
        "logging_collector=off".to_owned(),
        "log_destination=stderr".to_owned(),
        "log_line_prefix=".to_owned(),
        "log_min_error_statement=panic".to_owned(),
    ] {
        command.args(["-c", &setting]);
    }
    command
}

/// Runs a program to its end.
async fn run(program: &str, mut command: Command) -> Result<(), PostgresError> {
    let failed = |status: String, output: &str| PostgresError::Program { program: program.to_owned(), status, output: output.to_owned() };
    let output = match tokio::time::timeout(LIMIT, command.kill_on_drop(true).output()).await {
        Ok(output) => output.map_err(PostgresError::io(format!("run {program}")))?,
        Err(_) => return Err(failed(format!("no end after {} s", LIMIT.as_secs()), "")),
    };
    if output.status.success() {
        return Ok(());
    }
    let mut tail = Tail::default();
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        tail.push(line);
    }
    Err(failed(output.status.to_string(), &tail.text()))
}

/// The last lines of an output.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<String>);

impl Tail {
    pub(super) fn push(&mut self, line: &str) {
        if self.0.len() == TAIL_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    pub(super) fn text(&self) -> String {
        self.0.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}
