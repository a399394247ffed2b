//! Builders that read as prose: `World::of(spec).running(…)`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use api_types::kinds::app::{AppSpec, AppStatus, RolloutStatus, Verdict, VerdictPhase};
use api_types::{Host, ProcessName};
use chrono::{DateTime, Duration, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::edge::{Check, Endpoint, ProbeResult, RouteFacts};
use crate::engines::swarm::{Network, Secret, Service, Task, TaskState};
use crate::kinds::app::desired::Desired;
use crate::kinds::app::model::{Model, Observed};
use crate::kinds::app::{names, plan};
use crate::plan::{Fact, Plan};
use crate::store::{AppRecord, Revision};

pub const DIGEST: &str = "acme/shop@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).expect("in range")
}

/// An app with its rows and what the engine shows of it.
pub struct World {
    pub record: AppRecord,
    pub newest: Revision,
    pub proven: Option<Revision>,
    pub hosts: Vec<Host>,
    pub observed: Observed,
    pub now: DateTime<Utc>,
    pub rollout: Option<RolloutStatus>,
}

pub fn spec(value: serde_json::Value) -> AppSpec {
    serde_json::from_value(value).expect("a valid spec")
}

pub fn web(replicas: u32) -> AppSpec {
    spec(json!({"image": "acme/shop:1", "processes": {"web": {"port": 8080, "replicas": replicas}}}))
}

impl World {
    /// A new app: nothing exists, nothing is resolved.
    pub fn of(spec: AppSpec) -> Self {
        let now = start();
        let uid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_c0ff_ee01);
        let verdict = Verdict { phase: VerdictPhase::Pending, reason: None, cause: None, message: None, time: now };
        let record = AppRecord {
            org: "acme".parse().expect("valid"),
            name: "shop".parse().expect("valid"),
            uid,
            generation: 1,
            resource_version: 1,
            desired_version: 1,
            labels: BTreeMap::new(),
            finalizers: Vec::new(),
            created_at: now,
            deletion_timestamp: None,
            spec: spec.clone(),
            secret_versions: spec.secrets.keys().zip(1..).map(|(key, version)| (key.clone(), version)).collect(),
            restarts: BTreeMap::new(),
            adopted: BTreeMap::new(),
            status: AppStatus::default(),
            pause: crate::store::Pause::default(),
        };
        let newest = Revision {
            generation: 1,
            spec,
            secret_versions: record.secret_versions.clone(),
            restarts: BTreeMap::new(),
            resolved_image: None,
            verdict,
            author: "ada".to_owned(),
            source: "apply".to_owned(),
            client: String::new(),
            based_on: None,
            created_at: now,
        };
        let observed = Observed { nodes: [("n1".to_owned(), "node-1".to_owned())].into(), ..Observed::nothing() };
        Self { record, newest, proven: None, hosts: vec!["shop-acme.apps.localhost".parse().expect("valid")], observed, now, rollout: None }
    }

    pub fn resolved(mut self) -> Self {
        self.newest.resolved_image = Some(DIGEST.to_owned());
        self
    }

    pub fn verdict(mut self, phase: VerdictPhase) -> Self {
        self.newest.verdict.phase = phase;
        self
    }

    /// The newest generation becomes the proven one, and `spec` the next.
    pub fn then(mut self, spec: AppSpec) -> Self {
        self.newest.verdict.phase = VerdictPhase::Ready;
        self.proven = Some(self.newest.clone());
        self.record.generation += 1;
        self.record.spec = spec.clone();
        self.newest.generation += 1;
        if self.newest.spec.image != spec.image {
            self.newest.resolved_image = None;
        }
        self.newest.spec = spec;
        self.newest.verdict.phase = VerdictPhase::Pending;
        self
    }

    /// A restart of one process type, as the next generation.
    pub fn then_restarted(self, process: &str) -> Self {
        let spec = self.newest.spec.clone();
        let mut world = self.then(spec);
        let process = process.parse().expect("a name");
        *world.newest.restarts.entry(process).or_insert(0) += 1;
        world.record.restarts = world.newest.restarts.clone();
        world
    }

    pub fn deleting(mut self) -> Self {
        self.record.deletion_timestamp = Some(self.now);
        self
    }

    pub fn desired(&self) -> Desired {
        Desired::new(&self.record, &self.newest, self.proven.as_ref(), self.hosts.clone(), true)
    }

    pub fn model(&self) -> Model {
        Model::new(&self.desired(), &self.observed, self.rollout, self.now + Duration::seconds(60))
    }

    pub fn plan(&self) -> Plan<plan::Step, plan::Gate> {
        plan::plan(&self.desired(), &self.model())
    }

    /// The engine shows the newest generation running, with all its tasks ready and routed.
    pub fn running(mut self) -> Self {
        let desired = self.desired();
        let owner = &desired.owner;
        let network = Network { id: "net1".into(), name: names::network(&owner.app, owner.uid), labels: owner.labels(), allocated: true };
        self.observed.networks = Fact::Known(vec![network]);
        let secret = |name: &String| Secret { id: format!("id-{name}"), name: name.clone(), labels: owner.labels() };
        self.observed.secrets = Fact::Known(desired.target.secrets(owner).keys().map(secret).collect());
        let services: Vec<Service> = desired
            .target
            .processes
            .values()
            .map(|target| Service {
                id: format!("id-{}", target.service.name),
                version: 7,
                spec: target.service.clone(),
                created_at: self.now,
            })
            .collect();
        self.observed.services = Fact::Known(services.clone());
        self.observed.tasks = Fact::Known(Vec::new());
        self.observed.endpoints = Fact::Known(Vec::new());
        for service in &services {
            for slot in 1..=service.spec.replicas {
                self.add_task(service, slot, TaskState::Running, "");
            }
        }
        self.route_follows()
    }

    /// The route and the proxy are as the newest generation wants them.
    pub fn route_follows(mut self) -> Self {
        let desired = self.desired();
        let Some((process, ..)) = desired.target.spec.routed_process() else { return self };
        let release = desired.target.processes[process].release.clone();
        let route = desired.route(vec![release]).expect("it has hosts");
        let servers: Vec<crate::edge::Backend> = self.endpoints().iter().filter(|e| e.ready).map(Endpoint::backend).collect();
        let rule = route.hosts.iter().map(|host| format!("Host(`{host}`)")).collect::<Vec<_>>().join(" || ");
        let policy = crate::edge::policy::marker(&route.edge);
        self.observed.route = Fact::Known(route);
        let probe = Some(ProbeResult { ok: !servers.is_empty(), detail: "GET / answered 200".into() });
        self.observed.edge = Fact::Known(RouteFacts { rule, policy, servers, probe, ..RouteFacts::default() });
        self
    }

    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.observed.endpoints.known().cloned().unwrap_or_default()
    }

    pub fn service(&self, process: &str) -> Service {
        let services = self.observed.services.known().expect("known");
        services.iter().find(|s| s.spec.aliases == [process]).cloned().expect("the service exists")
    }

    /// Adds a task, and a ready endpoint when it runs and listens.
    pub fn add_task(&mut self, service: &Service, slot: u64, state: TaskState, error: &str) {
        let Fact::Known(tasks) = &mut self.observed.tasks else { return };
        let number = tasks.len() + 1;
        let id = format!("task{number}");
        tasks.push(Task {
            id: id.clone(),
            service_id: service.id.clone(),
            slot,
            node_id: "n1".into(),
            state,
            desired_state: if state > TaskState::Running { TaskState::Shutdown } else { TaskState::Running },
            message: String::new(),
            error: error.to_owned(),
            container_id: format!("c{number}"),
            exit_code: (state == TaskState::Failed).then_some(1),
            container_labels: service.spec.container_labels.clone(),
            created_at: self.now,
            state_since: self.now + Duration::milliseconds(i64::try_from(number).expect("small")),
        });
        let label = |key: &str| service.spec.container_labels.get(key).cloned().unwrap_or_default();
        let (Fact::Known(endpoints), true) = (&mut self.observed.endpoints, state == TaskState::Running) else { return };
        if label(crate::engines::swarm::labels::PORT).is_empty() {
            return;
        }
        endpoints.push(Endpoint {
            task_id: id,
            container_id: format!("c{number}"),
            app_uid: self.record.uid,
            process: label(crate::engines::swarm::labels::PROCESS),
            release: label(crate::engines::swarm::labels::RELEASE),
            slot,
            address: SocketAddr::from(([172, 18, 0, u8::try_from(number).expect("small")], 8080)),
            hop: None,
            leaving: false,
            ready: true,
            since: self.now,
            last_check: Check::Passed,
        });
    }
}

pub fn paused(world: &mut World, from: i64, to: i64) {
    let at = |seconds| Some(start() + Duration::seconds(seconds));
    world.record.pause = crate::store::Pause {
        paused_at: at(from),
        paused_until: at(to),
        paused_by: Some("ada".to_owned()),
        paused_because: Some("we look".to_owned()),
    };
}

pub fn process(name: &str) -> ProcessName {
    name.parse().expect("valid")
}

/// The plan as people read it: one line a step, gates in brackets.
pub fn lines(plan: &Plan<plan::Step, plan::Gate>) -> String {
    let mut out = String::new();
    for planned in &plan.steps {
        if let Some(gate) = &planned.gate {
            out.push_str(&format!("[{gate}]\n"));
        }
        out.push_str(&format!("{}\n", planned.step));
    }
    if let Some(gate) = &plan.waiting {
        out.push_str(&format!("[{gate}]\n"));
    }
    out
}
