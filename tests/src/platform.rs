//! A whole platform for one test: an engine, `skyswarm up` as a child process, `skyctl`, and the edge.
//!
//! It runs in the network namespace that `./dev test` made, so its ports and bridges are its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use api_types::why::{Case, Why};
use api_types::{App, Condition, ConditionStatus, ConditionType, Reason};
use reqwest::header::HOST;
use serde::de::DeserializeOwned;
use tokio::process::{Child, Command};

use crate::controllers::Database;
use crate::dockerd::Dockerd;
pub use crate::skyctl::Output;

/// The image that most tests run.
pub const IMAGE: &str = "skyswarm/sample-app:1.0";
pub(crate) const API: &str = "127.0.0.1:7070";
const EDGE: &str = "127.0.0.1:8080";
/// Where the edge takes HTTPS, with [`Platform::start_with_https`].
pub const EDGE_HTTPS: &str = "127.0.0.1:8443";

/// One engine, one server, one data directory.
pub struct Platform {
    /// The engine.
    pub dockerd: Dockerd,
    docker_host: String,
    /// Data of the server.
    pub data_dir: PathBuf,
    /// The server.
    server: Option<Child>,
    /// Further arguments of the server.
    arguments: Vec<String>,
    /// The database that the API alone runs on, with controllers apart; `None` when the server does everything.
    pub database: Option<Database>,
    pub(crate) token: String,
    /// HTTP client without proxies or redirects.
    pub http: reqwest::Client,
    pub(crate) dir: tempfile::TempDir,
}

/// Calls the API as the administrator.
#[derive(Clone)]
pub struct Client {
    /// HTTP client without proxies or redirects.
    pub http: reqwest::Client,
    token: String,
}

impl Client {
    /// Reads something.
    pub async fn api<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = self.http.get(format!("http://{API}{path}")).bearer_auth(&self.token).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path} answered {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}

/// A path from the environment that `./dev test` sets.
pub fn from_env(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os(name).with_context(|| format!("{name} is not set; run the tests with ./dev test"))?;
    Ok(PathBuf::from(path))
}

impl Platform {
    /// Starts everything and imports the sample image.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_told(&[]).await
    }

    /// As [`Self::start`], with an edge that takes HTTPS too.
    pub async fn start_with_https() -> anyhow::Result<Self> {
        Self::start_told(&["--edge-https", EDGE_HTTPS]).await
    }

    /// As [`Self::start`], with a server that agents may join.
    pub async fn start_with_agents() -> anyhow::Result<Self> {
        Self::start_told(&["--agent-listen", "127.0.0.1:7071"]).await
    }

    /// As [`Self::start`], on an engine that others can join, with further arguments of the server.
    pub async fn start_cluster(arguments: &[&str]) -> anyhow::Result<Self> {
        let dockerd = crate::cluster::first().await?;
        let docker_host = dockerd.host();
        Self::start_as(dockerd, &docker_host, arguments).await
    }

    /// As [`Self::start`], on an engine that runs already; the server reaches it at `docker_host`.
    pub async fn start_on(dockerd: Dockerd, docker_host: &str) -> anyhow::Result<Self> {
        Self::start_as(dockerd, docker_host, &[]).await
    }

    /// The API alone, on a database of its own; [`Self::controller`] gives the controllers.
    pub async fn start_apart() -> anyhow::Result<Self> {
        let dockerd = Dockerd::start().await?;
        let docker_host = dockerd.host();
        Self::start_with(dockerd, &docker_host, &[], Some(Database::create().await?)).await
    }

    async fn start_told(arguments: &[&str]) -> anyhow::Result<Self> {
        let dockerd = Dockerd::start().await?;
        let docker_host = dockerd.host();
        Self::start_as(dockerd, &docker_host, arguments).await
    }

    async fn start_as(dockerd: Dockerd, docker_host: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(dockerd, docker_host, arguments, None).await
    }

    async fn start_with(dockerd: Dockerd, docker_host: &str, arguments: &[&str], database: Option<Database>) -> anyhow::Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        dockerd.import_app(IMAGE, &from_env("SAMPLE_APP_BIN")?).await?;
        let dir = tempfile::Builder::new().prefix("sky").tempdir()?;
        // PostgreSQL runs as another user and has to reach its folder.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let http =
            reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(10)).build()?;
        let data_dir = dir.path().join("data");
        let docker_host = docker_host.to_owned();
        let mut platform = Self {
            dockerd,
            docker_host,
            data_dir,
            server: None,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            database,
            token: String::new(),
            http,
            dir,
        };
        platform.start_server().await?;
        platform.token = std::fs::read_to_string(platform.data_dir.join("admin-token"))?.trim().to_owned();
        Ok(platform)
    }

    /// Starts the server and waits until it says that it is ready.
    pub async fn start_server(&mut self) -> anyhow::Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.data_dir.with_extension("log"))?;
        let mut command = Command::new(from_env("SKYSWARM_BIN")?);
        match &self.database {
            Some(database) => command.args(["api", "--database-url", &database.url]),
            None => command
                .args(["up", "--edge-http", EDGE])
                .args(["--docker-host", &self.docker_host])
                .arg("--traefik-bin")
                .arg(from_env("TRAEFIK_BIN")?),
        };
        let child = command
            .args(["--listen", API])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.server = Some(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.server.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                bail!("the server ended with {status}:\n{}", self.log());
            }
            let answer = self.http.get(format!("http://{API}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the server is not ready after 60 s:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Process id of the server.
    pub fn server_pid(&self) -> Option<i32> {
        self.server.as_ref().and_then(Child::id).and_then(|pid| i32::try_from(pid).ok())
    }

    /// Kills the server without warning.
    pub async fn kill_server(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.server.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Asks the server to stop, and waits until it has.
    pub async fn stop_server(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.server.take() {
            let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
            rustix::process::kill_process(pid.context("no pid")?, rustix::process::Signal::TERM)?;
            tokio::time::timeout(Duration::from_secs(30), child.wait()).await.context("the server did not stop within 30 s")??;
        }
        Ok(())
    }

    /// The end of the server's log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.data_dir.with_extension("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Gives a command the address of the server and the admin token.
    pub fn as_client(&self, command: &mut Command) {
        command.env("SKYSWARM_URL", format!("http://{API}")).env("SKYSWARM_TOKEN", &self.token);
    }

    /// Applies a manifest.
    pub async fn apply(&self, manifest: &str) -> anyhow::Result<Output> {
        let output = self.skyctl_with(&["apply", "-f", "-"], manifest).await?;
        ensure!(output.code == 0, "apply failed: {output:?}");
        Ok(output)
    }

    /// Applies a manifest and waits until every app of it is ready.
    pub async fn deploy(&self, manifest: &str) -> anyhow::Result<Output> {
        let output = self.skyctl_with(&["apply", "-f", "-", "--wait", "--timeout", "120s"], manifest).await?;
        ensure!(output.code == 0, "deploy failed: {output:?}\n{}", self.log());
        Ok(output)
    }

    /// Calls the API.
    pub async fn api<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.client().api(path).await
    }

    /// What calls the API, for tasks of their own.
    pub fn client(&self) -> Client {
        Client { http: self.http.clone(), token: self.token.clone() }
    }

    /// Makes a token of an administrator who is limited to an organisation.
    pub async fn tenant_token(&self, org: &str) -> anyhow::Result<String> {
        let url = format!("http://{API}/v1/orgs/{org}/tokens");
        let body = serde_json::json!({"name": "tenant", "role": "admin"});
        let answer: serde_json::Value = self.http.post(url).bearer_auth(&self.token).json(&body).send().await?.json().await?;
        Ok(answer["token"].as_str().with_context(|| answer.to_string())?.to_owned())
    }

    /// A token that agents join with.
    pub async fn join_token(&self) -> anyhow::Result<String> {
        let output = self.skyctl(&["nodes", "token", "-o", "json"]).await?;
        let made: serde_json::Value = serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}"))?;
        Ok(made["token"].as_str().with_context(|| format!("{output:?}"))?.to_owned())
    }

    /// An app of organisation `default`.
    pub async fn app(&self, name: &str) -> anyhow::Result<App> {
        self.api(&format!("/v1/orgs/default/apps/{name}")).await
    }

    /// The server's metrics as text.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let answer = self.http.get(format!("http://{API}/metrics")).bearer_auth(&self.token).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// Changes a setting.
    pub async fn put_setting(&self, key: &str, value: serde_json::Value) -> anyhow::Result<()> {
        let url = format!("http://{API}/v1/settings/{key}");
        let answer = self.http.put(url).bearer_auth(&self.token).json(&serde_json::json!({"value": value})).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{status}: {}", answer.text().await?);
        Ok(())
    }

    /// Waits until an app satisfies `wanted`; fails with its last state after `timeout`.
    pub async fn until(&self, name: &str, timeout: Duration, what: &str, wanted: impl Fn(&App) -> bool) -> anyhow::Result<App> {
        let deadline = Instant::now() + timeout;
        loop {
            let app = self.app(name).await;
            match app {
                Ok(app) if wanted(&app) => return Ok(app),
                last if Instant::now() >= deadline => bail!("{name} is not {what} after {timeout:?}: {last:#?}\n{}", self.log()),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Waits until the newest generation of an app is ready.
    pub async fn until_ready(&self, name: &str) -> anyhow::Result<App> {
        self.until(name, Duration::from_secs(90), "ready", is_ready).await
    }

    /// Applies one app of organisation `default` by the API, without starting a client program first.
    pub async fn put_app(&self, manifest: &str) -> anyhow::Result<()> {
        let value: serde_json::Value = serde_saphyr::from_str(manifest)?;
        let name = value["metadata"]["name"].as_str().context("no name")?.to_owned();
        let url = format!("http://{API}/v1/orgs/default/apps/{name}");
        let answer = self.http.put(url).bearer_auth(&self.token).json(&value).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{status}: {}", answer.text().await?);
        Ok(())
    }

    /// What `skyctl why` says of an app, as JSON; its exit code is that of its answer.
    pub async fn why(&self, name: &str) -> anyhow::Result<Why> {
        let output = self.skyctl(&["why", name, "-o", "json"]).await?;
        let why: Why = serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}"))?;
        let wanted = i32::from(why.ready != ConditionStatus::True);
        ensure!(output.code == wanted, "exit code {} for: {output:?}", output.code);
        Ok(why)
    }

    /// Waits until `skyctl why` names a case.
    pub async fn until_why(&self, name: &str, case: Case, timeout: Duration) -> anyhow::Result<Why> {
        let deadline = Instant::now() + timeout;
        loop {
            let why = self.why(name).await;
            match why {
                Ok(why) if why.case == case => return Ok(why),
                last if Instant::now() >= deadline => bail!("{name} is not {case} after {timeout:?}: {last:#?}\n{}", self.log()),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Waits until the controller has nothing left to do for an app, be it that it failed.
    pub async fn until_done_or_failed(&self, name: &str) -> anyhow::Result<App> {
        let idle = |app: &App| condition(app, ConditionType::Progressing).is_some_and(|found| found.status == ConditionStatus::False);
        self.until(name, Duration::from_secs(60), "at rest", idle).await
    }

    /// Waits until the controller has nothing left to do for an app.
    pub async fn until_done(&self, name: &str) -> anyhow::Result<App> {
        let settled = |app: &App| says(app, ConditionType::Progressing, ConditionStatus::False, Reason::Settled);
        self.until(name, Duration::from_secs(60), "settled", settled).await
    }

    /// Kills the platform's PostgreSQL without warning.
    pub async fn kill_postgres(&self) -> anyhow::Result<()> {
        let path = self.data_dir.join("postgres").join("postmaster.pid");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        kill9(text.lines().next().unwrap_or_default())
    }

    /// Kills the proxy without warning.
    pub async fn kill_traefik(&self) -> anyhow::Result<()> {
        kill9(&self.traefik_pid()?.to_string())
    }

    /// Process id of the proxy.
    pub fn traefik_pid(&self) -> anyhow::Result<i32> {
        let all = self.traefiks();
        let [pid] = all.as_slice() else { bail!("one proxy was expected: {all:?}") };
        Ok(pid.parse()?)
    }

    /// Kills the process that runs the proxy, without warning.
    pub async fn kill_keeper(&self) -> anyhow::Result<()> {
        let path = self.data_dir.join("edge").join("keeper.pid");
        kill9(&std::fs::read_to_string(&path).with_context(|| path.display().to_string())?)
    }

    /// Process ids of this platform's proxies.
    pub fn traefiks(&self) -> Vec<String> {
        traefiks_of(&self.data_dir)
    }

    /// Process ids of keepers of this platform's edge.
    pub fn keepers(&self) -> Vec<String> {
        keepers_of(&self.data_dir)
    }

    /// Drops what the proxy sends to the provider of its routes, so that it cannot follow; returns what [`Self::mend`] takes.
    pub async fn cut_provider(&self) -> anyhow::Result<String> {
        let text = std::fs::read_to_string(self.data_dir.join("edge/traefik.yml"))?;
        let endpoint = text.lines().find(|line| line.contains("endpoint")).context("no endpoint in traefik.yml")?;
        let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
        let port = endpoint.rsplit_once("127.0.0.1:").map(|(_, rest)| digits(rest)).context("no port of the provider")?;
        provider_rule("-I", &port).await?;
        Ok(port)
    }

    /// Ends what [`Self::cut_provider`] began.
    pub async fn mend(&self, port: &str) -> anyhow::Result<()> {
        provider_rule("-D", port).await
    }

    /// Everything that the platform's database holds, as text.
    pub async fn database_dump(&self) -> anyhow::Result<String> {
        self.database_program("pg_dumpall", &["-l", "skyswarm"]).await
    }

    /// What the platform's database answers to a query: a line for each row, fields parted by `|`.
    pub async fn sql(&self, query: &str) -> anyhow::Result<String> {
        self.database_program("psql", &["-d", "skyswarm", "-AtX", "-v", "ON_ERROR_STOP=1", "-c", query]).await
    }

    async fn database_program(&self, program: &str, args: &[&str]) -> anyhow::Result<String> {
        if let Some(database) = &self.database {
            return database.program(program, args).await;
        }
        let socket = std::fs::read_to_string(self.data_dir.join("postgres").join("postmaster.pid"))?;
        let mut lines = socket.lines();
        let port = lines.nth(3).context("no port")?.to_owned();
        let folder = lines.next().context("no socket folder")?.to_owned();
        let output = Command::new("runuser")
            .args(["-u", "postgres", "--", program, "-h", &folder, "-p", &port, "-U", "skyswarm"])
            .args(args)
            .output()
            .await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A client for answers that take long.
    pub fn http_long(&self) -> anyhow::Result<reqwest::Client> {
        Ok(reqwest::Client::builder().no_proxy().build()?)
    }

    /// A request through the edge: status and body.
    pub async fn get(&self, host: &str, path: &str) -> anyhow::Result<(u16, String)> {
        let answer = self.http.get(format!("http://{EDGE}{path}")).header(HOST, host).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Waits until a host answers with a status; returns how long it took.
    pub async fn until_status(&self, host: &str, status: u16, timeout: Duration) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        loop {
            let got = self.get(host, "/").await;
            if got.as_ref().is_ok_and(|(found, _)| *found == status) {
                return Ok(begun.elapsed());
            }
            ensure!(begun.elapsed() < timeout, "{host} does not answer {status} after {timeout:?}: {got:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The directory of the examples.
    pub fn examples() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
    }
}

impl Drop for Platform {
    /// The server is killed with its handle; what it leaves running on purpose must not outlive the test.
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // Before the keeper, or it would start another one.
            let _ = server.start_kill();
        }
        for pid in self.keepers().into_iter().chain(self.traefiks()) {
            let _ = kill9(&pid);
        }
    }
}

/// Inserts or deletes the rules that drop packets to and from the provider, in the test's own network namespace. Both
/// ways: an answer that the provider held back would else still arrive.
async fn provider_rule(flag: &str, port: &str) -> anyhow::Result<()> {
    ensure!(crate::dockerd::in_lab(), "firewall rules are for a namespace of the test's own");
    for side in ["--dport", "--sport"] {
        let rule = ["-w", flag, "OUTPUT", "-o", "lo", "-p", "tcp", side, port, "-j", "DROP"];
        let output = Command::new("iptables").args(rule).output().await?;
        ensure!(output.status.success(), "iptables: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Process ids of the proxies of a server's data folder.
pub(crate) fn traefiks_of(data_dir: &Path) -> Vec<String> {
    processes_with(&format!("--configFile={}", data_dir.join("edge/traefik.yml").display()))
}

/// Process ids of the keepers of a server's data folder.
pub(crate) fn keepers_of(data_dir: &Path) -> Vec<String> {
    processes_with(&format!("--folder={}", data_dir.join("edge").display()))
}

fn processes_with(argument: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let has = |pid: &String| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|found| found == argument.as_bytes())
    };
    all.filter(has).collect()
}

/// Kills a process without warning.
pub(crate) fn kill9(pid: &str) -> anyhow::Result<()> {
    let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw).context("no pid")?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
}

/// A condition of an app.
pub fn condition(app: &App, kind: ConditionType) -> Option<&Condition> {
    app.status.as_ref().and_then(|status| api_types::condition::find(&status.conditions, kind))
}

/// Whether a condition of the newest generation has a status and a reason.
pub fn says(app: &App, kind: ConditionType, status: ConditionStatus, reason: Reason) -> bool {
    condition(app, kind)
        .is_some_and(|found| found.status == status && found.reason == reason && Some(found.observed_generation) == app.metadata.generation)
}

/// Whether the newest generation of an app is ready.
pub fn is_ready(app: &App) -> bool {
    condition(app, ConditionType::Ready)
        .is_some_and(|found| found.status == ConditionStatus::True && Some(found.observed_generation) == app.metadata.generation)
}
