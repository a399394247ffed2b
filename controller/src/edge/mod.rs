//! The edge: which tasks may get requests, and the document that tells the proxy.
//!
//! ```text
//! routes (Postgres, written by the App reconciler) ─┐
//! tasks + gateway addresses (engine) ──▶ endpoints ─┴─▶ document (pure) ─▶ provider (HTTP) ─▶ Traefik
//! ```
//!
//! A route says which hosts go to which releases of an app; endpoints say which tasks of those releases
//! answer now. Routes change by a planned step; endpoints change by themselves, at the first sign that a
//! task comes or goes, because the engine gives a freed address to another container within seconds.

pub mod awaited;
pub mod backend;
pub mod document;
mod dynamic;
pub mod endpoints;
pub mod inputs;
pub mod known_good;
pub mod lag;
pub mod metrics;
pub mod nodes;
pub mod policy;
pub mod provider;
pub mod publisher;
pub mod responder;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use api_types::kinds::app::HealthSpec;
use api_types::kinds::edge::{EdgeSpec, Protocol};
use api_types::{AppName, Host, OrgName, ProcessName};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use backend::{Backend, Hop};

/// Where an app's requests go: the desired state of the edge for one app. Stored as a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The app.
    pub app_uid: Uuid,
    /// Its organisation.
    pub org: OrgName,
    /// Its name.
    pub app: AppName,
    /// Hosts, sorted: the platform subdomain and the custom domains.
    pub hosts: Vec<Host>,
    /// Process that gets the requests.
    pub process: ProcessName,
    /// Releases (values of the `release` label) whose tasks may get requests.
    pub releases: Vec<String>,
    /// Health check that the proxy makes as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
    /// What the process speaks.
    #[serde(default, skip_serializing_if = "Protocol::is_default")]
    pub protocol: Protocol,
    /// What the edge does with requests before they reach the app. Passwords are not in it, only their versions.
    #[serde(default, skip_serializing_if = "EdgeSpec::is_empty")]
    pub edge: EdgeSpec,
}

impl Route {
    /// Name of the router and of the service in the proxy. Never the name of another app's:
    /// it carries a part of the uid.
    pub fn key(&self) -> String {
        route_key(self.app_uid, &self.org, &self.app)
    }
}

/// See [`Route::key`].
pub fn route_key(uid: Uuid, org: &OrgName, app: &AppName) -> String {
    let hex = uid.simple().to_string();
    format!("{org}-{app}-{}", &hex[hex.len() - 8..])
}

/// Whether a task may get requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Task id.
    pub task_id: String,
    /// Container id.
    pub container_id: String,
    /// Owner app.
    pub app_uid: Uuid,
    /// Process type.
    pub process: String,
    /// Release label.
    pub release: String,
    /// Slot of the task.
    pub slot: u64,
    /// Address that its own host reaches.
    pub address: SocketAddr,
    /// The way to it from here, when it is on another node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<Hop>,
    /// Whether its node is to be emptied: it gets requests only while the app has no other task.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Whether the last checks say that it answers.
    pub ready: bool,
    /// Since when `ready` has its value.
    pub since: DateTime<Utc>,
    /// What the last check asked and what came back, for people.
    pub last_check: Check,
}

impl Endpoint {
    /// As a backend of a route.
    pub fn backend(&self) -> Backend {
        Backend { address: self.address, node: self.hop.as_ref().map(|hop| hop.node.clone()) }
    }
}

/// Outcome of one health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Check {
    /// Not checked yet.
    Pending,
    /// It answered as wanted.
    Passed,
    /// Nothing listens on the port.
    PortClosed {
        /// What was asked and what came back.
        detail: String,
    },
    /// It answered, but not as wanted, or not in time.
    Failed {
        /// What was asked and what came back.
        detail: String,
    },
}

/// All endpoints that this node can send requests to, and whether the engine could be asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointTable {
    /// By task id.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// When the engine was last read; `None` until the first time, and after the engine was lost.
    pub observed_at: Option<DateTime<Utc>>,
}

impl EndpointTable {
    /// Endpoints of an app, or `None` when the table cannot be trusted.
    pub fn of_app(&self, uid: Uuid) -> Option<Vec<&Endpoint>> {
        self.observed_at?;
        Some(self.endpoints.values().filter(|endpoint| endpoint.app_uid == uid).collect())
    }
}

/// What the proxy does with an app's route, read back from the proxy and asked through it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteFacts {
    /// Rule that the proxy has for the app's routers; empty when they do not have the same.
    pub rule: String,
    /// What the proxy's routers of the app do with requests, as [`policy::marker`] names it; `None` when
    /// they do nothing of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// `enabled`, or the proxy's errors.
    pub error: Option<String>,
    /// Backends that the proxy uses, sorted.
    pub servers: Vec<Backend>,
    /// Backends that the proxy itself found not to answer.
    pub down: Vec<Backend>,
    /// Releases of the tasks behind `servers`, as far as they are known.
    pub releases: Vec<String>,
    /// Outcome of our own request through the edge.
    pub probe: Option<ProbeResult>,
}

/// Outcome of our own request through the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeResult {
    /// Whether the app answered.
    pub ok: bool,
    /// What was asked and what came back.
    pub detail: String,
}
