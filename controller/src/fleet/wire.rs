//! What agents and the server say to each other: JSON over HTTP/1.1 over mutual TLS.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::edge::Endpoint;
use crate::engines::swarm::Task;

/// Where an agent asks to be let in. The only path that takes no certificate.
pub const JOIN: &str = "/agent/v1/join";
/// Where an agent gets a newer certificate.
pub const RENEW: &str = "/agent/v1/renew";
/// Where an agent tells of its node.
pub const REPORT: &str = "/agent/v1/report";
/// Where an agent reads what it is told; `?seen=N` waits for something newer than N.
pub const ASSIGNMENT: &str = "/agent/v1/assignment";

/// A node that wants to be let in.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The token's secret.
    pub secret: String,
    /// The engine's id of the node.
    pub node: String,
    /// The public key on P-256, uncompressed, in hex.
    pub public_key: String,
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinRequest({})", self.node)
    }
}

/// A node that wants a newer certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// The public key on P-256, uncompressed, in hex.
    pub public_key: String,
}

/// A certificate, and the authority's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// The node's certificate as PEM.
    pub certificate: String,
    /// The authority's certificate as PEM.
    pub authority: String,
}

/// What an agent tells of its node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Version of the agent.
    pub version: String,
    /// Where its edge takes connections from others: the port at the node's address in the Swarm.
    pub edge_port: u16,
    /// Why its edge does not work; `None` when it does.
    #[serde(default)]
    pub edge_problem: Option<String>,
    /// Counts what the node's engine said of containers: when it moves, something started or ended.
    #[serde(default)]
    pub stirred: u64,
    /// Tasks of this node that are checked. Those that are ready are in the document that the node's proxy runs.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// What tasks use, by container.
    #[serde(default)]
    pub usage: BTreeMap<String, Usage>,
    /// Containers that ended lately for want of memory.
    #[serde(default)]
    pub out_of_memory: Vec<String>,
    /// Which other nodes answer, by the engine's id.
    #[serde(default)]
    pub reaches: BTreeMap<String, Reach>,
}

/// What a container uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Thousandths of a core.
    pub cpu_millis: Option<i64>,
    /// Bytes.
    pub memory_bytes: Option<i64>,
}

/// How far one node gets to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reach {
    /// 7946/tcp answers: the engines' gossip.
    pub gossip: bool,
    /// The edge's port answers; `None` where the node has no edge.
    pub edge: Option<bool>,
}

/// Another node, to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The engine's id.
    pub node: String,
    /// Its address in the Swarm.
    pub address: String,
    /// Its edge, where it has one.
    pub edge: Option<SocketAddr>,
}

/// What an agent is told: about its own node, and where the others are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Assignment {
    /// Counts up with every change; never twice the same, not even by two servers.
    pub serial: u64,
    /// The platform's tasks that the engine has on this node.
    pub tasks: Vec<Task>,
    /// The other nodes.
    pub peers: Vec<Peer>,
}
