//! What was observed of one app, and the small picture of it that the plan is made from. Pure.
//!
//! [`Observed`] holds the facts as they were read; it is stored, so that the API can plan without an
//! engine. [`Model`] is what planning needs of them, and can be moved forward by assuming that a step
//! worked: that is how a whole plan is known before its first step is taken.

use std::collections::{BTreeMap, BTreeSet};

use api_types::ProcessName;
use api_types::drift::PauseState;
use api_types::kinds::app::RolloutStatus;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::adopt;
use super::desired::Desired;
use super::names;
use super::render::{self, ProcessTarget};
use crate::edge::{Endpoint, Route, RouteFacts, document, policy};
use crate::engines::swarm::{Network, Secret, Service, Task, labels};
use crate::plan::Fact;

/// Facts of one app, as read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Observed {
    /// Services whose name begins with the app's prefix, ours or not.
    pub services: Fact<Vec<Service>>,
    /// Tasks of these services.
    pub tasks: Fact<Vec<Task>>,
    /// Networks whose name begins with the app's prefix.
    pub networks: Fact<Vec<Network>>,
    /// Secrets whose name begins with the app's prefix.
    pub secrets: Fact<Vec<Secret>>,
    /// Tasks that take requests, with what their health checks said.
    pub endpoints: Fact<Vec<Endpoint>>,
    /// The route that is published.
    pub route: Fact<Route>,
    /// What the proxy made of it.
    pub edge: Fact<RouteFacts>,
    /// Host names of nodes by id, for messages.
    #[serde(default)]
    pub nodes: BTreeMap<String, String>,
    /// Ids of tasks that the node's engine says ran out of memory.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub out_of_memory: BTreeSet<String>,
    /// Whether other processes have an edge, which this one does not look at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_edges: bool,
}

impl Observed {
    /// Everything was looked at, and nothing is there: how a new app is found, since its names carry its uid.
    pub fn nothing() -> Self {
        Self {
            services: Fact::Known(Vec::new()),
            tasks: Fact::Known(Vec::new()),
            networks: Fact::Known(Vec::new()),
            secrets: Fact::Known(Vec::new()),
            endpoints: Fact::Known(Vec::new()),
            route: Fact::Absent,
            edge: Fact::Absent,
            nodes: BTreeMap::new(),
            out_of_memory: BTreeSet::new(),
            other_edges: false,
        }
    }
}

/// One release of one process on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceModel {
    /// Engine id; empty in a simulated step.
    pub id: String,
    /// Service name.
    pub name: String,
    /// Version for compare-and-swap.
    pub version: u64,
    /// Wanted tasks as the engine has it.
    pub replicas: u32,
    /// Tasks that run and answer.
    pub ready: u32,
    /// Tasks that have done so for long enough to replace others. Equal to `ready` for a proven release.
    pub settled: u32,
    /// Tasks whose process may be alive.
    pub live: u32,
    /// Owned fields that are not as we want them; only for services of the target.
    pub differences: Vec<&'static str>,
    /// Whether it is what a failed attempt left, which the newest generation is to make anew.
    pub left_over: bool,
    /// Whether somebody else made it, and it was taken over.
    pub adopted: bool,
}

/// A service that runs and that a process of the target is to take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub service: String,
    /// Wanted tasks as the engine has it.
    pub replicas: u32,
    /// Why it cannot be taken over; `None` when it can.
    pub refused: Option<String>,
}

/// What the proxy sends to the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EdgeModel {
    /// The proxy could not be asked.
    Unknown,
    /// The proxy has no route for the app.
    Absent,
    /// The proxy has a route.
    Serves {
        /// Whether the routers have exactly the wanted hosts, do what `spec.edge` says, and have no error.
        hosts_current: bool,
        /// Backends by release.
        backends: BTreeMap<String, u32>,
        /// Backends that belong to no known endpoint any more.
        strangers: u32,
    },
}

/// How long a task of a new release has to answer before it may replace an old one. One that dies at once
/// after its first answer must not take a good one with it.
const SETTLE: chrono::TimeDelta = chrono::TimeDelta::seconds(2);

/// A process type and a release of it.
pub type ReleaseKey = (ProcessName, String);

/// The picture that planning works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Set while nothing may be written for the app.
    pub paused: Option<PauseState>,
    /// What somebody changed and is to be left so, in words; whoever found it sets it.
    pub held: Option<String>,
    /// The newest generation whose service the engine has, when the database knows none so new.
    pub behind: Option<i64>,
    /// Whether everything that planning needs was read.
    pub known: bool,
    /// Whether the newest generation's image is resolved.
    pub resolved: bool,
    /// Whether all tasks of releases that were not proven before have been ready for the health window.
    pub stable: bool,
    /// Whether the target has been proven to serve.
    pub proven: bool,
    /// A foreign object that has a name which we need.
    pub name_taken: Option<String>,
    /// Id of the app's network.
    pub network: Option<String>,
    /// Ids of the app's secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// The app's services.
    pub services: BTreeMap<ReleaseKey, ServiceModel>,
    /// Services that processes of the target are to take over, and have not yet.
    pub candidates: BTreeMap<ProcessName, Candidate>,
    /// Tasks that may still be alive although their service is gone.
    pub departing: u32,
    /// The published route.
    pub route: Option<Route>,
    /// The proxy.
    pub edge: EdgeModel,
}

impl Model {
    /// Looks at the facts through the eyes of `desired`. `before` is the progress as it was last stored.
    pub fn new(desired: &Desired, observed: &Observed, before: Option<RolloutStatus>, now: DateTime<Utc>) -> Self {
        let owner = &desired.owner;
        let network_name = names::network(&owner.app, owner.uid);
        let network = observed.networks.known().and_then(|list| list.iter().find(|network| network.name == network_name));
        let mut model = Self {
            paused: Some(desired.pause.state(now)).filter(|pause| pause.paused),
            held: None,
            behind: newest_on_engine(desired, observed).filter(|found| *found > desired.generation),
            known: [
                observed.services.is_unknown(),
                observed.tasks.is_unknown(),
                observed.networks.is_unknown(),
                observed.secrets.is_unknown(),
            ]
            .iter()
            .all(|unknown| !unknown)
                && !observed.route.is_unknown(),
            resolved: desired.target.image.is_some(),
            proven: desired.target.phase == api_types::kinds::app::VerdictPhase::Ready,
            name_taken: name_taken(desired, observed),
            network: network.filter(|network| owner.owns(&network.labels)).map(|network| network.id.clone()),
            secrets: observed
                .secrets
                .known()
                .into_iter()
                .flatten()
                .filter(|secret| owner.owns(&secret.labels))
                .map(|secret| (secret.name.clone(), secret.id.clone()))
                .collect(),
            stable: false,
            services: services(desired, observed, now),
            candidates: candidates(desired, observed),
            departing: departing(observed),
            route: observed.route.known().cloned(),
            edge: edge(desired, observed),
        };
        model.stable = model.is_stable(desired, observed, before, now);
        model
    }

    fn is_stable(&self, desired: &Desired, observed: &Observed, before: Option<RolloutStatus>, now: DateTime<Utc>) -> bool {
        let window = desired.health_window(observed.other_edges);
        let since = before.filter(|rollout| rollout.generation == desired.generation).and_then(|rollout| rollout.healthy_since);
        !desired.needs_health_window() || (self.has_target(desired) && since.is_some_and(|since| now - since >= window))
    }

    /// Whether every wanted task of the target runs and answers, whatever else runs beside it.
    pub fn has_target(&self, desired: &Desired) -> bool {
        desired.target.processes.iter().all(|(name, process)| {
            let wanted = u32::try_from(process.service.replicas).unwrap_or(u32::MAX);
            let current = self.services.get(&(name.clone(), process.release.clone()));
            current.is_some_and(|current| current.replicas == wanted && current.ready >= wanted && current.differences.is_empty())
        })
    }

    /// Services of `process` other than `release`, oldest name first.
    pub fn others<'a>(&'a self, process: &'a ProcessName, release: &'a str) -> impl Iterator<Item = (&'a ReleaseKey, &'a ServiceModel)> {
        self.services.iter().filter(move |((name, other), _)| name == process && other != release)
    }

    /// Whether the proxy sends requests to all ready tasks of `release`, and, if `only`, to nothing else.
    pub fn edge_serves(&self, release: &str, ready: u32, only: bool) -> bool {
        match &self.edge {
            EdgeModel::Serves { hosts_current, backends, strangers } => {
                let has = backends.get(release).copied().unwrap_or(0);
                let others = *strangers > 0 || backends.iter().any(|(name, count)| name != release && *count > 0);
                *hosts_current && has >= ready && !(only && others)
            }
            EdgeModel::Unknown | EdgeModel::Absent => false,
        }
    }
}

/// The newest generation that made a service of the app's. No generation is ever on the engine before it is in the database.
fn newest_on_engine(desired: &Desired, observed: &Observed) -> Option<i64> {
    let services = observed.services.known().into_iter().flatten().filter(|service| desired.owner.owns(&service.spec.labels));
    services.filter_map(|service| service.spec.labels.get(labels::GENERATION)?.parse().ok()).max()
}

/// The first foreign object that stands where one of ours belongs.
fn name_taken(desired: &Desired, observed: &Observed) -> Option<String> {
    let owner = &desired.owner;
    let network_name = names::network(&owner.app, owner.uid);
    let networks = observed.networks.known().into_iter().flatten();
    let foreign_network = networks
        .filter(|network| network.name == network_name && !owner.owns(&network.labels))
        .map(|network| format!("network {}", network.name));
    let wanted: Vec<&str> = desired.target.processes.values().map(|process| process.service.name.as_str()).collect();
    let services = observed.services.known().into_iter().flatten();
    let foreign_service = services
        .filter(|service| wanted.contains(&service.spec.name.as_str()) && !owner.owns(&service.spec.labels))
        .map(|service| format!("service {}", service.spec.name));
    let secrets = desired.target.secrets(owner);
    let found = observed.secrets.known().into_iter().flatten();
    let foreign_secret = found
        .filter(|secret| secrets.contains_key(&secret.name) && !owner.owns(&secret.labels))
        .map(|secret| format!("secret {}", secret.name));
    foreign_network.chain(foreign_service).chain(foreign_secret).next()
}

fn services(desired: &Desired, observed: &Observed, now: DateTime<Utc>) -> BTreeMap<ReleaseKey, ServiceModel> {
    let mut out = BTreeMap::new();
    for service in observed.services.known().into_iter().flatten().filter(|s| desired.owner.owns(&s.spec.labels)) {
        // A service that is ours but whose labels were mangled cannot be placed; it is left alone.
        let Some((process, release)) = key_of(desired, service) else { continue };
        // A release that was not proven has to show for a moment that its tasks stay.
        let settle = SETTLE.min(desired.target.spec.rollout.health_window.chrono());
        let is_proven = desired.proven.contains(&(process.clone(), release.clone()));
        let settled_by = if is_proven { now } else { now - settle };
        let target = desired.target.processes.get(&process).filter(|target| target.release == release);
        let made_by = service.spec.labels.get(labels::GENERATION).and_then(|label| label.parse::<i64>().ok());
        let of_failed = desired.retry_of.zip(made_by).is_some_and(|(failed, made_by)| made_by <= failed);
        let model = ServiceModel {
            id: service.id.clone(),
            name: service.spec.name.clone(),
            version: service.version,
            replicas: u32::try_from(service.spec.replicas).unwrap_or(u32::MAX),
            ready: ready(observed, service, now, now),
            settled: ready(observed, service, settled_by, now),
            live: count(observed.tasks.known().into_iter().flatten().filter(|task| task.service_id == service.id && task.is_live())),
            left_over: of_failed && !is_proven && target.is_some() && !desired.is_reverting() && !service.is_adopted(),
            differences: target.map(|target| differences(desired, &process, target, service)).unwrap_or_default(),
            adopted: service.is_adopted(),
        };
        out.insert((process, release), model);
    }
    out
}

fn differences(desired: &Desired, process: &ProcessName, target: &ProcessTarget, found: &Service) -> Vec<&'static str> {
    let spec = &desired.target.spec;
    match spec.processes.get(process).filter(|_| found.is_adopted()) {
        Some(process) => adopt::differences(spec, process, &target.service, &found.spec),
        None => render::differences(&target.service, &found.spec),
    }
}

fn candidates(desired: &Desired, observed: &Observed) -> BTreeMap<ProcessName, Candidate> {
    let spec = &desired.target.spec;
    let mut out = BTreeMap::new();
    for (name, target) in &desired.target.processes {
        let (Some(adoption), Some(process)) = (&target.adoption, spec.processes.get(name)) else { continue };
        let mut services = observed.services.known().into_iter().flatten();
        let found = services.find(|service| service.spec.name == adoption.service && service.id == adoption.id);
        // One that is the app's already is among its services.
        let Some(found) = found.filter(|service| !desired.owner.owns(&service.spec.labels)) else { continue };
        let candidate = Candidate {
            service: adoption.service.clone(),
            replicas: u32::try_from(found.spec.replicas).unwrap_or(u32::MAX),
            refused: adopt::refusal(Some(&desired.owner), spec, process, found),
        };
        out.insert(name.clone(), candidate);
    }
    out
}

/// Which release of which process a service is. By its name, which cannot be changed, where that is wanted; else by its
/// labels.
pub fn key_of(desired: &Desired, service: &Service) -> Option<ReleaseKey> {
    let by_name = desired.target.processes.iter().find(|(_, target)| target.service.name == service.spec.name);
    if let Some((process, target)) = by_name {
        return Some((process.clone(), target.release.clone()));
    }
    let process = service.spec.labels.get(labels::PROCESS)?.parse().ok()?;
    Some((process, service.spec.labels.get(labels::RELEASE).cloned().unwrap_or_default()))
}

/// Live tasks of no service: the engine lists them until their containers have stopped.
fn departing(observed: &Observed) -> u32 {
    let Some(services) = observed.services.known() else { return 0 };
    let tasks = observed.tasks.known().into_iter().flatten();
    count(tasks.filter(|task| task.is_live() && !services.iter().any(|service| service.id == task.service_id)))
}

/// Tasks of a service that run and, if they listen, answer their health check, and have done so since a time. A time after
/// `now` is from before a step of the clock, or another machine's: long enough ago.
fn ready(observed: &Observed, service: &Service, by: DateTime<Utc>, now: DateTime<Utc>) -> u32 {
    let is_by = |since: DateTime<Utc>| since <= by || since > now;
    let tasks = observed.tasks.known().into_iter().flatten();
    let running = tasks.filter(|task| task.service_id == service.id && task.is_running());
    if service.task_labels().contains_key(labels::PORT) {
        let endpoints = observed.endpoints.known().map(Vec::as_slice).unwrap_or_default();
        let is_ready = |endpoint: &&Endpoint| endpoint.ready && is_by(endpoint.since);
        count(running.filter(|task| endpoints.iter().filter(is_ready).any(|endpoint| endpoint.task_id == task.id)))
    } else {
        count(running.filter(|task| is_by(task.state_since)))
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

fn edge(desired: &Desired, observed: &Observed) -> EdgeModel {
    let facts = match &observed.edge {
        Fact::Unknown => return EdgeModel::Unknown,
        Fact::Absent => return EdgeModel::Absent,
        Fact::Known(facts) => facts,
    };
    let endpoints = observed.endpoints.known().map(Vec::as_slice).unwrap_or_default();
    let mut backends = BTreeMap::new();
    let mut strangers = 0;
    for server in &facts.servers {
        match endpoints.iter().find(|endpoint| endpoint.backend() == *server) {
            Some(endpoint) => *backends.entry(endpoint.release.clone()).or_insert(0) += 1,
            None => strangers += 1,
        }
    }
    let current = facts.rule == document::rule(&desired.hosts) && facts.policy == policy::marker(&desired.target.spec.edge);
    let hosts_current = facts.error.is_none() && current;
    EdgeModel::Serves { hosts_current, backends, strangers }
}
