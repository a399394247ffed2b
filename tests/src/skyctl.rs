//! The command line, run as a user would.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::platform::{API, Platform, from_env};

/// Longest run of a command.
const LONGEST: Duration = Duration::from_secs(240);

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Platform {
    /// Runs `skyctl` with the admin token in organisation `default`.
    pub async fn skyctl(&self, args: &[&str]) -> anyhow::Result<Output> {
        self.skyctl_with(args, "").await
    }

    /// Runs `skyctl` with text on its standard input.
    pub async fn skyctl_with(&self, args: &[&str], input: &str) -> anyhow::Result<Output> {
        self.skyctl_env(args, input, &[]).await
    }

    /// Runs `skyctl` with text on its standard input and further variables.
    pub async fn skyctl_env(&self, args: &[&str], input: &str, env: &[(&str, &str)]) -> anyhow::Result<Output> {
        let mut command = self.skyctl_command(args)?;
        command.envs(env.iter().copied());
        run(command, input).await
    }

    /// `skyctl` with the admin token, not yet started; its home is the test's own.
    pub fn skyctl_command(&self, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(from_env("SKYCTL_BIN")?);
        command.args(args).env("SKYSWARM_URL", format!("http://{API}")).env("SKYSWARM_TOKEN", &self.token);
        command.env("HOME", self.dir.path()).env_remove("XDG_CONFIG_HOME").env_remove("NO_COLOR").kill_on_drop(true);
        Ok(command)
    }

    /// A command that goes on, read line by line.
    pub fn skyctl_follow(&self, args: &[&str]) -> anyhow::Result<Following> {
        let mut child =
            self.skyctl_command(args)?.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("skyctl")?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Following { child, lines: Some(lines) })
    }
}

/// Runs a command to its end with text on its standard input.
pub async fn run(mut command: Command, input: &str) -> anyhow::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input may end before all of it is written.
        match stdin.write_all(input.as_bytes()).await {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
    }
    let output = tokio::time::timeout(LONGEST, child.wait_with_output()).await.context("it hangs")??;
    Ok(Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A command that goes on.
pub struct Following {
    child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Following {
    /// Reads lines until one satisfies `wanted`; returns all that were read.
    pub async fn until(&mut self, timeout: Duration, what: &str, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<String>> {
        let deadline = Instant::now() + timeout;
        let mut seen = Vec::new();
        let lines = self.lines.as_mut().context("nobody reads any more")?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, lines.next_line()).await {
                Ok(Ok(Some(line))) => {
                    let found = wanted(&line);
                    seen.push(line);
                    if found {
                        return Ok(seen);
                    }
                }
                Ok(other) => bail!("it ended before {what} ({other:?}) after {seen:#?}"),
                Err(_) => bail!("no {what} within {timeout:?}, but {seen:#?}"),
            }
        }
    }

    /// Goes away as a reader does who has seen enough.
    pub fn stop_reading(&mut self) {
        self.lines = None;
    }

    /// Ctrl-C.
    pub fn interrupt(&self) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        Ok(kill_process(pid.context("it has ended")?, Signal::INT)?)
    }

    /// Its exit code and what it said on the standard error, once it has ended.
    pub async fn end(mut self) -> anyhow::Result<(Option<i32>, String)> {
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().context("no standard error")?;
        let ended = async {
            stderr.read_to_string(&mut said).await?;
            self.child.wait().await
        };
        let status = tokio::time::timeout(Duration::from_secs(60), ended).await.context("it does not end")??;
        ensure!(!said.contains("panicked"), "{said}");
        Ok((status.code(), said))
    }
}
