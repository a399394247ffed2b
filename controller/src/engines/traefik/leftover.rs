//! Ends a process that an earlier run of ours left behind, and nothing else.
//!
//! A pid says little, since the system uses it again; so the process must also have an argument of ours,
//! such as our configuration file, on its command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

const KILL_FOR: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(25);

pub(super) fn pid_file(data_dir: &Path) -> PathBuf {
    data_dir.join("traefik.pid")
}

/// Ends the process of the pid file, if it has this argument: asks it to, and kills it after a time. Says
/// whether it is certain that none runs.
pub(crate) async fn end(pid_file: &Path, config_argument: &str, term_for: Duration) -> bool {
    let Some(pid) = read_pid(pid_file) else { return true };
    if !is_ours(pid, config_argument) {
        return true;
    }
    tracing::warn!(pid = pid.as_raw_nonzero().get(), argument = config_argument, "ending a process that an earlier run left");
    for (signal, wait) in [(Signal::TERM, term_for), (Signal::KILL, KILL_FOR)] {
        // Looked at again before each signal: the pid may be another's by now.
        if is_ours(pid, config_argument)
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::warn!(%error, "the signal was not delivered");
        }
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if !is_ours(pid, config_argument) {
                return true;
            }
            sleep(LOOK_EVERY).await;
        }
    }
    false
}

fn read_pid(path: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(path).ok()?;
    // 0 and negative numbers would mean groups of processes.
    text.trim().parse::<i32>().ok().filter(|pid| *pid > 1).and_then(Pid::from_raw)
}

fn is_ours(pid: Pid, config_argument: &str) -> bool {
    let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    // An ended process that nobody waited for has an empty command line.
    std::fs::read(path).is_ok_and(|line| line.split(|byte| *byte == 0).any(|argument| argument == config_argument.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::process::Command;

    const TERM: Duration = Duration::from_secs(3);

    #[tokio::test]
    async fn only_a_process_with_our_argument_is_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(end(&pid_file(folder.path()), "--configFile=/x", TERM).await, "no pid file, nothing to do");
        for text in ["", "0", "-1", "1", "x", "99999999999"] {
            std::fs::write(pid_file(folder.path()), text).expect("writes");
            assert!(end(&pid_file(folder.path()), "--configFile=/x", TERM).await, "{text}");
        }
        // `sleep` adds up what it is told, and each word is an argument.
        let mut child = Command::new("sleep").args(["30", "31"]).kill_on_drop(true).spawn().expect("starts");
        std::fs::write(pid_file(folder.path()), child.id().expect("runs").to_string()).expect("writes");
        assert!(end(&pid_file(folder.path()), "--configFile=/x", TERM).await);
        assert!(child.try_wait().expect("can be asked").is_none(), "a foreign process was ended");
        assert!(end(&pid_file(folder.path()), "31", TERM).await);
        assert!(!child.wait().await.expect("ends").success());
    }
}
