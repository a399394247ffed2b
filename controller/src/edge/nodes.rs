//! The part of the document that is about other nodes. Pure.
//!
//! A connection from another node asks, by the name in its TLS greeting, for one task. This node's proxy lets it through
//! to that task's address, and only to tasks of this node, so nothing goes in circles. Both ends show a certificate of
//! the platform's authority. A task that is not here, or that refuses, ends the connection before the handshake does, and
//! the proxy at the other end tries another task: nothing of the request was sent yet.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use api_types::kinds::edge::Protocol;

use super::backend::{Hop, entry_name};
use super::document::DocumentOptions;
use super::dynamic::{
    Certificate, ClientAuth, Server, ServersTransport, Tcp, TcpLoadBalancer, TcpRouter, TcpRouterTls, TcpServer, TcpService, TlsOptions,
    Weighted, WeightedService,
};
use super::{Endpoint, EndpointTable};

/// Entry point for connections from other nodes.
pub const ENTRY_POINT: &str = "nodes";
/// TLS options of that entry point: who has no certificate of the authority is not let in.
pub(super) const OPTIONS: &str = "skyswarm-nodes";
/// Takes connections for tasks that are not here.
const NOBODY: &str = "nobody";
/// Nothing listens there, so that such a connection ends at once.
const CLOSED: &str = "127.0.0.1:1";

/// What a node's edge shows to others, as files that its proxy reads. A renewed certificate has other names, since the
/// proxy reads a file once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFiles {
    /// The engine's id of this node.
    pub node: String,
    /// This node's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority's certificate.
    pub authority: PathBuf,
}

impl NodeFiles {
    pub(super) fn pair(&self) -> Certificate {
        Certificate { cert_file: self.certificate.display().to_string(), key_file: self.key.display().to_string() }
    }

    pub(super) fn options(&self) -> (String, TlsOptions) {
        let options = TlsOptions {
            min_version: "VersionTLS13",
            // The other end offers what its task speaks.
            alpn_protocols: vec!["h2", "http/1.1"],
            client_auth: ClientAuth {
                ca_files: vec![self.authority.display().to_string()],
                client_auth_type: "RequireAndVerifyClientCert",
            },
        };
        (OPTIONS.to_owned(), options)
    }

    /// How connections to one task on another node are made.
    pub(super) fn transport(&self, task: &str, hop: &Hop, protocol: Protocol, options: &DocumentOptions) -> ServersTransport {
        ServersTransport {
            server_name: Some(entry_name(task, &hop.node)),
            root_cas: vec![self.authority.display().to_string()],
            certificates: vec![self.pair()],
            disable_http2: protocol == Protocol::Http,
            ..super::document::transport(options)
        }
    }
}

/// What other nodes may connect to: every task of this node that answers, whatever route it has.
pub(super) fn entries(table: &EndpointTable, files: &NodeFiles, doubtful: impl Fn(&Endpoint) -> bool) -> Tcp {
    let mut tcp = Tcp::default();
    let mut add = |name: &str, rule: String, priority: Option<u32>, address: String| {
        let tls = TcpRouterTls { options: OPTIONS.to_owned() };
        let entry_points = vec![ENTRY_POINT.to_owned()];
        tcp.routers.insert(name.to_owned(), TcpRouter { rule, entry_points, service: name.to_owned(), priority, tls });
        let servers = vec![TcpServer { address }];
        tcp.services.insert(name.to_owned(), TcpService { load_balancer: TcpLoadBalancer { servers } });
    };
    add(NOBODY, "HostSNI(`*`)".to_owned(), Some(1), CLOSED.to_owned());
    let here = table.endpoints.values().filter(|endpoint| endpoint.hop.is_none() && endpoint.ready && !doubtful(endpoint));
    for endpoint in here.filter(|endpoint| is_plain(&endpoint.task_id) && is_plain(&files.node)) {
        let rule = format!("HostSNI(`{}`)", entry_name(&endpoint.task_id, &files.node));
        add(&entry_key(&endpoint.task_id), rule, None, endpoint.address.to_string());
    }
    tcp
}

/// Name of the router for a task.
pub fn entry_key(task: &str) -> String {
    format!("task-{task}")
}

/// The engine's ids are letters and digits; nothing else gets into a rule.
fn is_plain(id: &str) -> bool {
    !id.is_empty() && id.len() <= 63 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Name of the service for one task of a route that has tasks on several nodes.
pub fn part_key(key: &str, task: &str) -> String {
    format!("{key}-t-{task}")
}

/// The route's key and the task in such a name.
pub fn part_of(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once("-t-")
}

/// The address that a task is sent requests at, and the transport's name.
pub(super) fn server(endpoint: &Endpoint, scheme: &str, key: &str, own: &str) -> (Server, String) {
    match &endpoint.hop {
        None => (Server { url: format!("{scheme}://{}", endpoint.address) }, own.to_owned()),
        Some(hop) => (Server { url: format!("https://{}", hop.edge) }, part_key(key, &endpoint.task_id)),
    }
}

/// All tasks of a route, each as good as the others.
pub(super) fn weighted(key: &str, endpoints: &[&Endpoint]) -> Weighted {
    let services = endpoints.iter().map(|endpoint| WeightedService { name: part_key(key, &endpoint.task_id), weight: 1 }).collect();
    Weighted { services, sticky: None, health_check: None }
}

/// Addresses of other nodes' edges that a table leads to.
pub fn edges(table: &EndpointTable) -> BTreeMap<String, SocketAddr> {
    table.endpoints.values().filter_map(|endpoint| endpoint.hop.as_ref()).map(|hop| (hop.node.clone(), hop.edge)).collect()
}
