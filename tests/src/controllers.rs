//! Controllers apart from the API: several on one database, each with a data folder and an edge of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use api_types::api::{ControllerState, HealthResponse};
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use crate::platform::{Platform, from_env, keepers_of, kill9, traefiks_of};

/// A database in the server that `./dev test` started.
pub struct Database {
    /// Where it is.
    pub url: String,
    folder: String,
    name: String,
}

impl Database {
    /// Makes an empty one.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn create() -> Result<Self> {
        let url = std::env::var("DATABASE_URL").context("DATABASE_URL is not set; run the tests with ./dev test")?;
        let folder = url.split_once("host=").map(|(_, folder)| folder.to_owned()).context("no socket folder in DATABASE_URL")?;
        let unique = tempfile::Builder::new().prefix("apart").rand_bytes(10).tempdir()?;
        let name = unique.path().file_name().context("no name")?.to_string_lossy().to_lowercase();
        let url = url.replace("/skyswarm?", &format!("/{name}?"));
        ensure!(url.contains(&name), "DATABASE_URL is not as expected");
        let database = Self { url, folder, name };
        run(&database.folder, "psql", &["-d", "postgres", "-AtXc", &format!("CREATE DATABASE {}", database.name)]).await?;
        Ok(database)
    }

    /// Takes the database away from everybody, or gives it back.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn allow(&self, connections: bool) -> Result<()> {
        self.maintain(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS {connections}", self.name)).await?;
        let cut = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{}'", self.name);
        if connections { Ok(()) } else { self.maintain(&cut).await }
    }

    /// Keeps the database as it is now; nobody may use it meanwhile.
    ///
    /// # Errors
    /// When somebody does.
    pub async fn keep(&self) -> Result<()> {
        self.maintain(&format!("CREATE DATABASE {0}_kept TEMPLATE {0}", self.name)).await
    }

    /// Sets the database back to when it was kept.
    ///
    /// # Errors
    /// When it was not.
    pub async fn set_back(&self) -> Result<()> {
        self.maintain(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await?;
        self.maintain(&format!("ALTER DATABASE {0}_kept RENAME TO {0}", self.name)).await
    }

    async fn maintain(&self, sql: &str) -> Result<()> {
        run(&self.folder, "psql", &["-d", "postgres", "-AtXv", "ON_ERROR_STOP=1", "-c", sql]).await.map(drop)
    }

    /// Runs a program of PostgreSQL's on this database, whatever database `args` name.
    pub(crate) async fn program(&self, program: &str, args: &[&str]) -> Result<String> {
        let args: Vec<&str> = args.iter().map(|arg| if *arg == "skyswarm" { self.name.as_str() } else { arg }).collect();
        run(&self.folder, program, &args).await
    }
}

async fn run(folder: &str, program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(["-h", folder, "-U", "postgres"]).args(args).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One controller.
pub struct Controller {
    /// Where its edge takes HTTP.
    pub edge: String,
    health: String,
    data_dir: PathBuf,
    docker_host: String,
    database_url: String,
    key_file: PathBuf,
    http: reqwest::Client,
    child: Option<Child>,
}

impl Platform {
    /// A controller for this platform, not started yet. Numbers count from 1; the first one has the platform's usual edge.
    ///
    /// # Errors
    /// When the platform is not apart.
    pub fn controller(&self, number: u16, docker_host: &str) -> Result<Controller> {
        let database = self.database.as_ref().context("this platform has its own controller")?;
        ensure!(number >= 1, "numbers count from 1");
        Ok(Controller {
            edge: format!("127.0.0.1:{}", 8079 + number),
            health: format!("127.0.0.1:{}", 7070 + number),
            data_dir: self.data_dir.with_file_name(format!("controller{number}")),
            docker_host: docker_host.to_owned(),
            database_url: database.url.clone(),
            key_file: self.data_dir.join("key"),
            http: self.http.clone(),
            child: None,
        })
    }
}

impl Controller {
    /// Starts it and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in time; with the end of its log.
    pub async fn start(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        self.spawn(variables)?;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            self.still_runs()?;
            if self.health().await.is_ok_and(|health| health.ok) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the controller is not ready after 60 s:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn spawn(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.data_dir.with_extension("log"))?;
        let child = Command::new(from_env("SKYSWARM_BIN")?)
            .args(["controller", "--database-url", &self.database_url, "--docker-host", &self.docker_host])
            .args(["--edge-http", &self.edge, "--health-listen", &self.health])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .arg("--key-file")
            .arg(&self.key_file)
            .arg("--traefik-bin")
            .arg(from_env("TRAEFIK_BIN")?)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    fn still_runs(&mut self) -> Result<()> {
        let ended = self.child.as_mut().and_then(|child| child.try_wait().transpose());
        match ended {
            Some(status) => bail!("the controller ended with {}:\n{}", status?, self.log()),
            None => Ok(()),
        }
    }

    /// What `/readyz` answers, ready or not.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn health(&self) -> Result<HealthResponse> {
        Ok(self.http.get(format!("http://{}/readyz", self.health)).send().await?.json().await?)
    }

    /// What `/healthz` answers.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn is_alive(&self) -> Result<bool> {
        Ok(self.http.get(format!("http://{}/healthz", self.health)).send().await?.status().is_success())
    }

    /// Its metrics as text.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn metrics(&self) -> Result<String> {
        Ok(self.http.get(format!("http://{}/metrics", self.health)).send().await?.text().await?)
    }

    /// Waits until it leads or stands by.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn until(&self, wanted: ControllerState, timeout: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let health = self.health().await;
            if health.as_ref().is_ok_and(|health| health.controller == Some(wanted)) {
                return Ok(());
            }
            ensure!(begun.elapsed() < timeout, "the controller is not {wanted:?} after {timeout:?}: {health:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.as_ref().and_then(Child::id).and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        Ok(rustix::process::kill_process(pid.context("the controller does not run")?, signal)?)
    }

    /// Kills it without warning.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        Ok(child.kill().await?)
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Errors
    /// When it does not.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.ended(Duration::from_secs(40)).await.map(drop)
    }

    /// Waits until it ends; its exit code, if it was not killed.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn ended(&mut self, timeout: Duration) -> Result<Option<i32>> {
        let Some(mut child) = self.child.take() else { return Ok(None) };
        let status = tokio::time::timeout(timeout, child.wait()).await;
        Ok(status.with_context(|| format!("the controller did not end within {timeout:?}:\n{}", self.log()))??.code())
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(match self.child.as_mut() {
            Some(child) => child.try_wait()?.is_some(),
            None => true,
        })
    }

    /// Kills its proxy without warning.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill_traefik(&self) -> Result<()> {
        let all = traefiks_of(&self.data_dir);
        ensure!(!all.is_empty(), "no proxy runs");
        all.iter().try_for_each(|pid| kill9(pid))
    }

    /// A file beside its data folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.data_dir.with_extension(name)
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        tail(&self.data_dir.with_extension("log"))
    }
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

impl Drop for Controller {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Before the keeper, or it would start another one.
            let _ = child.start_kill();
        }
        for pid in keepers_of(&self.data_dir).into_iter().chain(traefiks_of(&self.data_dir)) {
            let _ = kill9(&pid);
        }
    }
}
