//! A Docker engine of our own for a test.
//!
//! It keeps its data, sockets and process id under a temporary folder and makes a Swarm of itself. It must be
//! started inside a network namespace that no other engine uses (two would fight over `docker_gwbridge` and the
//! firewall rules) and a mount namespace of its own; the variable `SKYSWARM_LAB=1` says that this is so.
//! Engines in one namespace take turns by a lock. There is no IPVS in some kernels: use DNS round robin.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bollard::Docker;
use bollard::query_parameters::CreateImageOptions;
use bytes::Bytes;
use futures::TryStreamExt;
use rustix::process::{Pid, Signal};
use skyswarm::engines::swarm::real::{DockerSwarm, EngineOptions};
use skyswarm::engines::swarm::{SwarmEngine, SwarmInit};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::cluster::Namespace;
use crate::tar;

/// Pool from which the Swarm's networks get their addresses.
pub const ADDRESS_POOL: &str = "10.201.0.0/16";

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);

/// Whether this process runs where an engine may be started.
pub fn in_lab() -> bool {
    std::env::var_os("SKYSWARM_LAB").is_some_and(|value| value == "1")
}

/// A running engine. Dropping it ends it.
#[derive(Debug)]
pub struct Dockerd {
    folder: TempDir,
    child: Option<Child>,
    /// Network namespace that it runs in; this process's own when absent.
    inside: Option<Namespace>,
    /// Held for as long as the engine may run.
    _turn: Option<File>,
}

impl Dockerd {
    /// Starts an engine and makes a Swarm of it.
    ///
    /// # Errors
    /// Outside the lab, without `dockerd`, or when it does not answer in time; then with the end of its log.
    pub async fn start() -> Result<Self> {
        Self::start_with_pool(ADDRESS_POOL).await
    }

    /// As [`Self::start`], with another pool: each network takes 256 addresses of it.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub async fn start_with_pool(pool: &str) -> Result<Self> {
        Self::start_at(pool, "127.0.0.1").await
    }

    /// As [`Self::start`], with an address at which engines in other namespaces reach this one.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub async fn start_at(pool: &str, address: &str) -> Result<Self> {
        ensure!(in_lab(), "SKYSWARM_LAB=1 is not set: run this through `./dev test`, in a namespace of its own");
        let turn = tokio::task::spawn_blocking(take_turn).await??;
        run("ip", &["link", "set", "lo", "up"]).await?;
        let folder = tempfile::Builder::new().prefix("skylab-").tempdir()?;
        let mut engine = Self { folder, child: None, inside: None, _turn: Some(turn) };
        engine.spawn().await?;
        let init = SwarmInit {
            advertise_addr: address.to_owned(),
            listen_addr: format!("{address}:2377"),
            address_pools: vec![pool.to_owned()],
            subnet_size: 24,
        };
        engine.connect()?.init(&init).await?;
        Ok(engine)
    }

    /// Starts an engine in another network namespace. It is in no Swarm.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub async fn start_inside(namespace: Namespace) -> Result<Self> {
        ensure!(in_lab(), "SKYSWARM_LAB=1 is not set: run this through `./dev test`, in a namespace of its own");
        let folder = tempfile::Builder::new().prefix("skylab-").tempdir()?;
        let mut engine = Self { folder, child: None, inside: Some(namespace), _turn: None };
        engine.spawn().await?;
        Ok(engine)
    }

    /// `unix:///…`, the address of the engine.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A file in the engine's own folder; `docker.sock` is its socket.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.path(name)
    }

    /// A client of ours.
    ///
    /// # Errors
    /// When the engine's socket does not exist.
    pub fn connect(&self) -> Result<DockerSwarm> {
        Ok(DockerSwarm::connect(&self.host(), EngineOptions::default())?)
    }

    /// The plain client, for what the platform cannot do on purpose.
    ///
    /// # Errors
    /// When the engine's socket does not exist.
    pub fn docker(&self) -> Result<Docker> {
        Ok(Docker::connect_with_unix(&self.host(), 120, bollard::API_DEFAULT_VERSION)?)
    }

    /// Process id of the engine, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// The end of the engine's log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.path("dockerd.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Makes an image of files; `command` is what a container runs. Returns the image's id.
    ///
    /// # Errors
    /// When the engine does not take it.
    pub async fn import_image(&self, name: &str, files: &[tar::File], command: &[&str]) -> Result<String> {
        let command = format!("CMD {}", serde_json::to_string(command)?);
        self.import(name, files, vec![command, "ENV PATH=/bin".to_owned()]).await
    }

    /// Makes an image of files, with `changes` as in a Dockerfile. Returns the image's id.
    ///
    /// # Errors
    /// When the engine does not take it.
    pub async fn import(&self, name: &str, files: &[tar::File], changes: Vec<String>) -> Result<String> {
        let docker = self.docker()?;
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some(repository.to_owned()),
            tag: Some(tag.to_owned()),
            changes,
            ..Default::default()
        };
        let body = bollard::body_full(Bytes::from(tar::archive(files)));
        let progress: Vec<_> = docker.create_image(Some(options), Some(body), None).try_collect().await?;
        let image = docker.inspect_image(name).await.with_context(|| format!("image {name} after import: {progress:?}"))?;
        image.id.context("an image without an id")
    }

    /// An image of the static busybox of this machine. It sleeps unless told otherwise.
    ///
    /// # Errors
    /// When there is no `/usr/bin/busybox`, or the engine does not take the image.
    pub async fn import_busybox(&self, name: &str) -> Result<String> {
        let busybox = tokio::fs::read("/usr/bin/busybox").await.context("package busybox-static")?;
        let applets = ["sh", "sleep", "httpd", "nc", "cat", "echo", "true", "false", "ls", "env"];
        let mut files = vec![tar::File::folder("bin", 0o755), tar::File::folder("tmp", 0o1777)];
        files.push(tar::File::executable("bin/busybox", busybox));
        files.extend(applets.iter().map(|applet| tar::File::symlink(&format!("bin/{applet}"), "/bin/busybox")));
        self.import_image(name, &files, &["/bin/busybox", "sleep", "1000000"]).await
    }

    /// Ends the engine as an operator would, and waits for it.
    ///
    /// # Errors
    /// When it has to be killed.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        signal(child.id(), Signal::TERM);
        let ended = tokio::time::timeout(STOP, child.wait()).await;
        if ended.is_err() {
            child.kill().await?;
            bail!("dockerd did not end within {STOP:?}:\n{}", self.log_tail());
        }
        Ok(())
    }

    /// Kills the engine; its containers live on, as after a crash.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill9(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill().await?;
        Ok(())
    }

    /// Starts the engine again, after [`Self::stop`] or [`Self::kill9`], or after stopping it now.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.spawn().await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("docker.sock")
    }

    async fn spawn(&mut self) -> Result<()> {
        // Left behind by a kill; dockerd would refuse to start, or wait for a containerd that died with it and
        // that nobody has reaped.
        for stale in ["docker.pid", "docker.sock", "exec/containerd/containerd.pid"] {
            let _ = tokio::fs::remove_file(self.path(stale)).await;
        }
        let log = File::options().create(true).append(true).open(self.path("dockerd.log"))?;
        let (program, path) = engine_program()?;
        let mut command = match &self.inside {
            Some(namespace) => namespace.engine(&program),
            None => Command::new(program),
        };
        let child = command
            .env("PATH", path)
            .arg("--data-root")
            .arg(self.path("data"))
            .arg("--exec-root")
            .arg(self.path("exec"))
            .arg("--pidfile")
            .arg(self.path("docker.pid"))
            .arg("--host")
            .arg(self.host())
            .args(["--bridge", "none", "--shutdown-timeout", "5", "--exec-opt", "native.cgroupdriver=cgroupfs"])
            // Control groups outlive a killed engine; under a parent of our own they can be found and removed.
            .args(std::env::var("SKYSWARM_CGROUP_PARENT").map(|parent| format!("--cgroup-parent={parent}")).ok())
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start dockerd (package docker.io)")?;
        self.child = Some(child);
        let ready = tokio::time::timeout(START, self.answers()).await;
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.context(self.log_tail())),
            Err(_) => bail!("dockerd did not answer within {START:?}:\n{}", self.log_tail()),
        }
    }

    async fn answers(&mut self) -> Result<()> {
        loop {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose()) {
                bail!("dockerd ended with {}", status?);
            }
            if let Ok(engine) = self.connect()
                && let Ok(info) = engine.info().await
                && info.swarm_state != "pending"
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), Signal::TERM);
            let ended = (0..100).any(|_| {
                std::thread::sleep(Duration::from_millis(100));
                !matches!(child.try_wait(), Ok(None))
            });
            if !ended {
                signal(child.id(), Signal::KILL);
            }
        }
        kill_leftovers(self.folder.path());
        unmount_below(self.folder.path());
    }
}

/// The engine's program, and the `PATH` in which it finds its own others. `SKYSWARM_ENGINE_DIR` names a folder with an
/// engine that is not installed, as `./dev test --engine` unpacks it.
fn engine_program() -> Result<(PathBuf, OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(folder) = std::env::var_os("SKYSWARM_ENGINE_DIR").map(PathBuf::from) else { return Ok(("dockerd".into(), path)) };
    let program = folder.join("usr/sbin/dockerd");
    ensure!(program.is_file(), "SKYSWARM_ENGINE_DIR={} holds no usr/sbin/dockerd", folder.display());
    let own = [folder.join("usr/bin"), folder.join("usr/sbin")];
    Ok((program, std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)))?))
}

/// Waits until no other engine runs in this network namespace.
fn take_turn() -> Result<File> {
    let namespace = std::fs::read_link("/proc/self/ns/net")?;
    let name: String = namespace.to_string_lossy().chars().filter(char::is_ascii_alphanumeric).collect();
    let lock = File::create(std::env::temp_dir().join(format!("skylab-{name}.lock")))?;
    rustix::fs::flock(lock.as_fd(), rustix::fs::FlockOperation::LockExclusive)?;
    Ok(lock)
}

pub(crate) async fn run(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program).args(args).output().await.with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn signal(pid: Option<u32>, signal: Signal) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // A process that is gone already is what we want.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Kills what a killed engine leaves: containerd, its shims, and their containers. They are known by the
/// folder on their command line, which no other process has.
fn kill_leftovers(folder: &Path) {
    let folder = folder.to_string_lossy().into_owned();
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        if pid == std::process::id() || !String::from_utf8_lossy(&command).contains(&folder) {
            continue;
        }
        let children = std::fs::read_to_string(process.path().join(format!("task/{pid}/children"))).unwrap_or_default();
        signal(Some(pid), Signal::KILL);
        for child in children.split_whitespace() {
            signal(child.parse().ok(), Signal::KILL);
        }
    }
}

#[expect(clippy::disallowed_types, reason = "a destructor cannot wait for tokio's child processes")]
fn unmount_below(folder: &Path) {
    let folder = folder.to_string_lossy().into_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| point.starts_with(&folder));
    for point in points.collect::<Vec<_>>().into_iter().rev() {
        let _ = std::process::Command::new("umount").args(["-l", point]).status();
    }
}
