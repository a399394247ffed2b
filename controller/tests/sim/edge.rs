//! Endpoints from the simulated tasks, and a proxy that takes documents of the real publisher.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use api_types::Host;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use skyswarm::edge::publisher::Published;
use skyswarm::edge::{Backend, Check, Endpoint, EndpointTable, ProbeResult, RouteFacts};
use skyswarm::engines::swarm::fake::FakeSwarm;
use skyswarm::engines::swarm::{SwarmEngine, Task, labels};
use skyswarm::engines::traefik::{ProxyApi, ProxyError, ProxyOverview};
use skyswarm::plan::Fact;
use tokio::sync::watch;

/// How long a task takes from running to answering.
const BOOT: TimeDelta = TimeDelta::milliseconds(300);

/// What the proxy runs.
#[derive(Default)]
struct Running {
    stamp: Option<String>,
    rules: BTreeMap<String, String>,
    servers: BTreeMap<String, Vec<Backend>>,
}

/// The edge of the simulated node.
pub(crate) struct SimEdge {
    running: Mutex<Running>,
    table: watch::Sender<Arc<EndpointTable>>,
    /// Addresses that belong to a live container.
    alive: Mutex<BTreeMap<SocketAddr, String>>,
}

impl SimEdge {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { running: Mutex::default(), table: watch::channel(Arc::default()).0, alive: Mutex::default() })
    }

    pub(crate) fn table(&self) -> watch::Receiver<Arc<EndpointTable>> {
        self.table.subscribe()
    }

    /// Looks at the tasks, as the endpoints' driver does. `sick` says that a task never answers.
    pub(crate) async fn look(&self, swarm: &FakeSwarm, now: DateTime<Utc>, sick: impl Fn(&Task) -> bool) {
        let addresses = swarm.gateway_addresses().await.unwrap_or_default();
        let before = self.table.borrow().clone();
        let mut endpoints = BTreeMap::new();
        let mut alive = BTreeMap::new();
        for task in swarm.tasks() {
            let Some(address) = addresses.get(&task.container_id) else { continue };
            let label = |key: &str| task.container_labels.get(key).cloned().unwrap_or_default();
            let Ok(port) = label(labels::PORT).parse() else { continue };
            let (address, uid) = (SocketAddr::new(*address, port), label(labels::OWNER_UID));
            if !sick(&task) {
                alive.insert(address, uid.clone());
            }
            if !task.is_running() {
                continue;
            }
            // A time in the future is from before a step of the clock.
            let is_up = task.state_since > now || now - task.state_since >= BOOT;
            let ready = is_up && !sick(&task);
            let known = before.endpoints.get(&task.id).filter(|known| known.ready == ready);
            let endpoint = Endpoint {
                task_id: task.id.clone(),
                container_id: task.container_id.clone(),
                app_uid: uid.parse().expect("a uid"),
                process: label(labels::PROCESS),
                release: label(labels::RELEASE),
                slot: task.slot,
                address,
                ready,
                hop: None,
                leaving: false,
                since: known.map_or(now, |known| known.since),
                last_check: if ready { Check::Passed } else { Check::PortClosed { detail: "connection refused".to_owned() } },
            };
            endpoints.insert(task.id.clone(), endpoint);
        }
        *self.alive.lock().expect("unpoisoned") = alive;
        self.table.send_if_modified(|table| {
            let changed = table.endpoints != endpoints || table.observed_at.is_none();
            if changed {
                *table = Arc::new(EndpointTable { endpoints, observed_at: Some(now) });
            }
            changed
        });
    }

    /// The proxy asks for a document, as Traefik does; without one it goes on with what it has.
    pub(crate) fn poll(&self, published: Option<Arc<Published>>) {
        let Some(published) = published else { return };
        let mut running = self.running.lock().expect("unpoisoned");
        if running.stamp.as_deref() == Some(&published.stamp) {
            return;
        }
        let document: serde_json::Value = serde_json::from_slice(&published.json).expect("JSON");
        let rule = |key: &String| document["http"]["routers"][key]["rule"].as_str().unwrap_or_default().to_owned();
        running.rules = published.servers_by_key.keys().map(|key| (key.clone(), rule(key))).collect();
        running.servers = published.servers_by_key.clone();
        running.stamp = Some(published.stamp.clone());
    }

    /// Loses everything, as a proxy that starts anew.
    pub(crate) fn restart(&self) {
        *self.running.lock().expect("unpoisoned") = Running::default();
    }

    /// Servers of a route that answer, and those that answer for another app.
    pub(crate) fn answering(&self, key: &str, uid: &str) -> (usize, usize) {
        let running = self.running.lock().expect("unpoisoned");
        let alive = self.alive.lock().expect("unpoisoned");
        let owners = running.servers.get(key).into_iter().flatten().filter_map(|server| alive.get(&server.address));
        let (own, other): (Vec<&String>, Vec<&String>) = owners.partition(|owner| *owner == uid);
        (own.len(), other.len())
    }
}

/// The proxy as the platform asks it.
pub(crate) struct SimProxy(pub(crate) Arc<SimEdge>);

#[async_trait]
impl ProxyApi for SimProxy {
    async fn route_facts(&self, key: &str) -> Fact<RouteFacts> {
        let running = self.0.running.lock().expect("unpoisoned");
        if running.stamp.is_none() {
            return Fact::Unknown;
        }
        let Some(rule) = running.rules.get(key) else { return Fact::Absent };
        let servers = running.servers.get(key).cloned().unwrap_or_default();
        Fact::Known(RouteFacts { rule: rule.clone(), servers, ..RouteFacts::default() })
    }
    async fn route_digests(&self, keys: &[String]) -> Fact<BTreeMap<String, u64>> {
        let running = self.0.running.lock().expect("unpoisoned");
        let digest = |key: &String| {
            let rule = running.rules.get(key)?;
            Some((key.clone(), skyswarm::kinds::app::quiet::hash((rule, format!("{:?}", running.servers.get(key))))))
        };
        Fact::Known(keys.iter().filter_map(digest).collect())
    }
    async fn overview(&self) -> Result<ProxyOverview, ProxyError> {
        Ok(ProxyOverview { stamp: self.0.running.lock().expect("unpoisoned").stamp.clone(), ..ProxyOverview::default() })
    }
    async fn served_certificate(&self, _: &str) -> Fact<String> {
        Fact::Absent
    }
    async fn probe(&self, host: &Host, _: Option<&str>) -> ProbeResult {
        let running = self.0.running.lock().expect("unpoisoned");
        let alive = self.0.alive.lock().expect("unpoisoned");
        let rule = format!("Host(`{host}`)");
        let key = running.rules.iter().find(|(_, found)| found.split(" || ").any(|part| part == rule)).map(|(key, _)| key);
        let ok = key.and_then(|key| running.servers.get(key)).into_iter().flatten().any(|server| alive.contains_key(&server.address));
        ProbeResult { ok, detail: if ok { "answered 200".to_owned() } else { "answered 503".to_owned() } }
    }
}
