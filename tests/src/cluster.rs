//! Several engines in one Swarm, each in a network namespace of its own, on one bridge.
//!
//! The first node is the test's own namespace: it has the manager, the server and everything that one node has. The
//! others have an engine and, where a test starts it, an agent. A cable is a pair of virtual interfaces that can be cut.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bollard::models::SwarmJoinRequest;
use tokio::process::Command;

use crate::dockerd::{ADDRESS_POOL, Dockerd, run};

/// Address of the first node.
pub const FIRST: &str = "10.99.0.1";
const BRIDGE: &str = "skybr0";

/// A network namespace with a name, and the host name that processes in it see.
#[derive(Debug, Clone)]
pub struct Namespace {
    /// Name of the namespace and of the host.
    pub name: String,
    /// Address on the bridge.
    pub address: String,
}

impl Namespace {
    /// Makes the namespace and its cable to the bridge. `number` is from 2.
    async fn make(number: u8) -> Result<Self> {
        let (name, address, cable) = (format!("node{number}"), format!("10.99.0.{number}"), format!("cable{number}"));
        ip(&["netns", "add", &name]).await?;
        ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &name]).await?;
        ip(&["link", "set", &cable, "master", BRIDGE, "up"]).await?;
        ip(&["-n", &name, "link", "set", "lo", "up"]).await?;
        ip(&["-n", &name, "address", "add", &format!("{address}/24"), "dev", "eth0"]).await?;
        ip(&["-n", &name, "link", "set", "eth0", "up"]).await?;
        Ok(Self { name, address })
    }

    /// A command of an engine: with mounts and a host name of its own. `ip netns exec` would hide the control groups.
    pub(crate) fn engine(&self, program: &Path) -> Command {
        let script = "hostname \"$0\"; for f in /run/docker /etc/docker /opt; do mkdir -p \"$f\"; mount -t tmpfs -o mode=755 tmpfs \"$f\"; done; exec \"$@\"";
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).args(["unshare", "--mount", "--uts", "sh", "-ec", script, &self.name]);
        command.arg(program);
        command
    }

    /// A command of another program in the namespace.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        let script = "hostname \"$0\"; exec \"$@\"";
        command.arg(format!("--net=/run/netns/{}", self.name)).args(["unshare", "--uts", "sh", "-ec", script, &self.name]);
        command.arg(program);
        command
    }

    /// Cuts the cable, or mends it.
    ///
    /// # Errors
    /// When the interface is not there.
    pub async fn cut(&self, cut: bool) -> Result<()> {
        ip(&["link", "set", &self.name.replace("node", "cable"), if cut { "down" } else { "up" }]).await
    }
}

/// A node besides the first.
#[derive(Debug)]
pub struct Node {
    /// Its engine.
    pub dockerd: Dockerd,
    /// Where it runs.
    pub namespace: Namespace,
    /// The engine's id in the Swarm.
    pub id: String,
}

/// Makes the bridge, and the first engine with a Swarm that others can join.
///
/// # Errors
/// As for [`Dockerd::start`].
pub async fn first() -> Result<Dockerd> {
    ensure!(crate::dockerd::in_lab(), "bridges are for a namespace of the test's own");
    ip(&["link", "add", BRIDGE, "type", "bridge"]).await?;
    ip(&["address", "add", &format!("{FIRST}/24"), "dev", BRIDGE]).await?;
    ip(&["link", "set", BRIDGE, "up"]).await?;
    Dockerd::start_at(ADDRESS_POOL, FIRST).await
}

/// Starts another engine, which joins the first one's Swarm.
///
/// # Errors
/// When it does not come up, or may not join.
pub async fn join(first: &Dockerd, number: u8) -> Result<Node> {
    join_as(first, number, false).await
}

/// As [`join`], as a manager.
///
/// # Errors
/// As for [`join`].
pub async fn join_manager(first: &Dockerd, number: u8) -> Result<Node> {
    join_as(first, number, true).await
}

async fn join_as(first: &Dockerd, number: u8, manager: bool) -> Result<Node> {
    let namespace = Namespace::make(number).await?;
    let dockerd = Dockerd::start_inside(namespace.clone()).await?;
    let tokens = first.docker()?.inspect_swarm().await?.join_tokens.context("no join tokens")?;
    let request = SwarmJoinRequest {
        listen_addr: Some(format!("{}:2377", namespace.address)),
        advertise_addr: Some(namespace.address.clone()),
        remote_addrs: Some(vec![format!("{FIRST}:2377")]),
        join_token: if manager { tokens.manager } else { tokens.worker },
        ..Default::default()
    };
    dockerd.docker()?.join_swarm(request).await.with_context(|| format!("{} does not join: {}", namespace.name, dockerd.log_tail()))?;
    let info = dockerd.docker()?.info().await?;
    let id = info.swarm.and_then(|swarm| swarm.node_id).context("a node without an id")?;
    Ok(Node { dockerd, namespace, id })
}

async fn ip(args: &[&str]) -> Result<()> {
    run("ip", args).await
}
