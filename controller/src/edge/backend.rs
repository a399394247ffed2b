//! Where a task is reached: at an address of this node, or through the edge of another.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// End of the names under which edges of nodes and the server know each other. They stand in certificates of the
/// platform's own authority and in no name server.
pub const NODE_DOMAIN: &str = "nodes.skyswarm.internal";

/// The way to a task on another node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hop {
    /// The engine's id of the node.
    pub node: String,
    /// Where that node's edge takes connections from other nodes.
    pub edge: SocketAddr,
}

/// The name of a task's entry at its node's edge: what a connection from another node asks for, and what the node's
/// certificate is good for. Only letters and digits are in the engine's ids, so no id can name another node's task.
pub fn entry_name(task: &str, node: &str) -> String {
    format!("{task}.{node}.{NODE_DOMAIN}")
}

/// A backend of a route, for comparing and for people: `172.18.0.3:8080`, or `172.18.0.3:8080@NODE` on another node.
/// Nodes use the same addresses, so an address alone does not name a task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Address on the task's node.
    pub address: SocketAddr,
    /// The engine's id of the node; `None` for this one.
    pub node: Option<String>,
}

impl From<SocketAddr> for Backend {
    fn from(address: SocketAddr) -> Self {
        Self { address, node: None }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            None => write!(f, "{}", self.address),
            Some(node) => write!(f, "{}@{node}", self.address),
        }
    }
}

impl FromStr for Backend {
    type Err = std::net::AddrParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, node) = text.split_once('@').map_or((text, None), |(address, node)| (address, Some(node.to_owned())));
        Ok(Self { address: address.parse()?, node })
    }
}

impl Serialize for Backend {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Backend {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_reads_back_as_it_is_written_and_as_older_releases_wrote_it() {
        for text in ["172.18.0.3:8080", "[fd00::1]:80", "172.18.0.3:8080@n0de"] {
            let backend: Backend = serde_json::from_value(serde_json::json!(text)).expect("a backend");
            assert_eq!(serde_json::to_value(&backend).expect("serialises"), serde_json::json!(text));
        }
        assert!("172.18.0.3".parse::<Backend>().is_err());
    }
}
