//! A proxy in memory, for tests of what asks the proxy.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use api_types::Host;
use async_trait::async_trait;

use super::{ProxyApi, ProxyError, ProxyOverview};
use crate::edge::publisher::Published;
use crate::edge::{ProbeResult, RouteFacts};
use crate::plan::Fact;

#[derive(Debug, Default)]
struct State {
    routes: BTreeMap<String, RouteFacts>,
    probes: BTreeMap<String, ProbeResult>,
    stamp: Option<String>,
    certificates: BTreeMap<String, String>,
    away: bool,
}

/// Answers what a test put in. Like the real one it is `Unknown` while away, and `Absent` for a key that it
/// does not have.
#[derive(Debug, Default)]
pub struct FakeProxy {
    state: Mutex<State>,
}

impl FakeProxy {
    /// A proxy without routes.
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets what it does with a route.
    pub fn set_route(&self, key: &str, facts: RouteFacts) {
        self.edit(|state| drop(state.routes.insert(key.to_owned(), facts)));
    }
    /// Takes a route away.
    pub fn remove_route(&self, key: &str) {
        self.edit(|state| drop(state.routes.remove(key)));
    }
    /// Sets what asking a host gives. Without it the answer is the proxy's 404.
    pub fn set_probe(&self, host: &Host, result: ProbeResult) {
        self.edit(|state| drop(state.probes.insert(host.to_string(), result)));
    }
    /// Sets the fingerprint of the certificate that clients of a host get.
    pub fn set_certificate(&self, host: &str, fingerprint: &str) {
        self.edit(|state| drop(state.certificates.insert(host.to_owned(), fingerprint.to_owned())));
    }
    /// Whether it can be asked at all.
    pub fn set_away(&self, away: bool) {
        self.edit(|state| state.away = away);
    }
    /// Takes a published document as Traefik would: its routes replace what was there.
    pub fn take(&self, published: &Published) {
        self.edit(|state| {
            state.stamp = Some(published.stamp.clone());
            let document: serde_json::Value = serde_json::from_slice(&published.json).unwrap_or_default();
            let rule = |key: &str| document["http"]["routers"][key]["rule"].as_str().unwrap_or_default().to_owned();
            let facts = |key: &str, servers: &[crate::edge::Backend]| RouteFacts {
                rule: rule(key),
                servers: servers.to_vec(),
                ..RouteFacts::default()
            };
            state.routes = published.servers_by_key.iter().map(|(key, servers)| (key.clone(), facts(key, servers))).collect();
        });
    }

    fn edit<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl ProxyApi for FakeProxy {
    async fn route_facts(&self, key: &str) -> Fact<RouteFacts> {
        self.edit(|state| match state.routes.get(key) {
            _ if state.away => Fact::Unknown,
            Some(facts) => Fact::Known(facts.clone()),
            None => Fact::Absent,
        })
    }

    async fn overview(&self) -> Result<ProxyOverview, ProxyError> {
        self.edit(|state| {
            if state.away {
                return Err(ProxyError::Unreachable { what: "/overview".to_owned(), message: "connection refused".to_owned() });
            }
            let count = u64::try_from(state.routes.len()).unwrap_or(u64::MAX);
            Ok(ProxyOverview { routers: count, services: count, stamp: state.stamp.clone(), ..ProxyOverview::default() })
        })
    }

    async fn served_certificate(&self, host: &str) -> Fact<String> {
        self.edit(|state| match state.certificates.get(host) {
            _ if state.away => Fact::Unknown,
            Some(fingerprint) => Fact::Known(fingerprint.clone()),
            None => Fact::Absent,
        })
    }

    async fn probe(&self, host: &Host, health_path: Option<&str>) -> ProbeResult {
        let asked = format!("GET http://{host}{}", health_path.unwrap_or("/"));
        self.edit(|state| match state.probes.get(host.as_str()) {
            _ if state.away => ProbeResult { ok: false, detail: format!("{asked} through the edge failed: connection refused") },
            Some(result) => result.clone(),
            None => ProbeResult { ok: false, detail: format!("{asked} answered 404: the edge has no route for this host") },
        })
    }
}
