//! Finds and stops a server that outlived an earlier run on the same cluster.
//!
//! When we are killed, PostgreSQL goes on. The next start stops it and starts its own, which it can
//! watch. The pid file alone proves nothing: after a reboot its number may be another program's. A server
//! is recognised by its working directory, which is the cluster for the postmaster and all its children.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tracing::{info, warn};

use super::PostgresError;

const PID_FILE: &str = "postmaster.pid";
/// Time for each of the two ways to stop: with the clients disconnected, then at once.
const LIMIT: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(50);

/// The postmaster's number as its pid file has it.
pub(super) fn recorded_pid(cluster: &Path) -> Option<i32> {
    fs::read_to_string(cluster.join(PID_FILE)).ok()?.lines().next()?.trim().parse().ok()
}

/// Whether the pid file says that the server answers.
pub(super) fn is_ready(cluster: &Path, pid: i32) -> bool {
    let Ok(text) = fs::read_to_string(cluster.join(PID_FILE)) else { return false };
    let mut lines = text.lines();
    lines.next().and_then(|line| line.trim().parse().ok()) == Some(pid) && lines.nth(6).is_some_and(|line| line.trim() == "ready")
}

/// Processes whose working directory is the cluster.
fn processes_in(cluster: &Path) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let inside = |entry: &fs::DirEntry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == cluster);
    entries.flatten().filter(inside).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Stops what is left of an earlier server of this cluster, and removes a pid file that is nobody's.
///
/// # Errors
/// When the server does not stop.
pub(super) async fn clear(cluster: &Path) -> Result<(), PostgresError> {
    let Ok(cluster) = cluster.canonicalize() else { return Ok(()) };
    let Some(pid) = recorded_pid(&cluster) else { return Ok(()) };
    for signal in [Signal::INT, Signal::QUIT] {
        let running = processes_in(&cluster);
        if running.is_empty() {
            break;
        }
        info!(pid, ?signal, "stopping a PostgreSQL left over from an earlier run");
        // Children end by themselves when the postmaster is gone; a signal to them would be a crash.
        if running.contains(&pid) {
            send(pid, signal);
        }
        wait_until_gone(&cluster).await;
    }
    if !processes_in(&cluster).is_empty() {
        return Err(PostgresError::Leftover { path: cluster, pid });
    }
    match fs::remove_file(cluster.join(PID_FILE)) {
        Ok(()) => {
            warn!(pid, "removed the pid file of a PostgreSQL that did not end cleanly; it will recover by itself");
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(PostgresError::io("remove a stale postmaster.pid")(error)),
    }
}

async fn wait_until_gone(cluster: &Path) {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT && !processes_in(cluster).is_empty() {
        tokio::time::sleep(TICK).await;
    }
}

/// Sends a signal; a process that is gone already is what was wanted.
pub(super) fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid).filter(|pid| !pid.is_init()) {
        let _ = kill_process(pid, signal);
    }
}
