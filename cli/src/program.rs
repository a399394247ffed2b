//! Programs of the user's that a verb starts: an editor, a browser. By their words, never through a shell.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;

/// The value of an environment variable that is set to something.
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Runs a program on the terminal until it ends.
///
/// # Errors
/// When it cannot be started or waited for.
pub async fn in_foreground(program: &str, arguments: &[String], last: &OsStr) -> io::Result<ExitStatus> {
    Command::new(program).args(arguments).arg(last).status().await
}

/// Starts a program without a terminal; `None` when it still runs after the deadline, and then it is left to itself.
///
/// # Errors
/// When it cannot be started or waited for.
pub async fn in_background(program: &str, arguments: &[String], last: &OsStr, deadline: Duration) -> io::Result<Option<ExitStatus>> {
    let mut command = Command::new(program);
    let mut child = command.args(arguments).arg(last).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    tokio::time::timeout(deadline, child.wait()).await.ok().transpose()
}
