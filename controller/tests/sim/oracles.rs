//! What must hold of every run.
//!
//! | oracle | here |
//! | --- | --- |
//! | 1 the end is the reference's | [`Summary`] |
//! | 2 creates and removes are the reference's | [`digest`] |
//! | 3 nothing without an owner | [`at_rest`] |
//! | 4 nothing twice | [`at_rest`] |
//! | 5 foreign objects are as they were | [`Foreign`] |
//! | 6 at rest nothing is written for three resyncs | `World::rest` |
//! | 7 no wrong answer, never too few tasks | [`Watch::requests`] |
//! | 8 what is told is monotone and true | [`Watch::statuses`] |

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use api_types::kinds::app::VerdictPhase;
use api_types::{ConditionStatus, ConditionType};
use skyswarm::edge::route_key;
use skyswarm::effects::SLOW;
use skyswarm::engines::swarm::fake::{FakeSwarm, Landed};
use skyswarm::engines::swarm::{Network, NetworkSpec, Secret, Service, ServiceSpec, SwarmEngine, Task, labels};
use skyswarm::store::AppRecord;
use tokio::time::Instant;

use crate::world::{Shared, World};

/// What a run left, with nothing in it that depends on ids, times or how often something was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Per app and process: image, replicas, environment, secrets by file name, running tasks.
    services: BTreeSet<String>,
    networks: BTreeSet<String>,
    /// Per app: keys of the secrets.
    secrets: BTreeSet<String>,
    /// Per app: hosts, process and number of releases.
    routes: BTreeSet<String>,
    /// Per app: phase of the newest verdict.
    verdicts: BTreeSet<String>,
}

fn label(labels: &BTreeMap<String, String>, key: &str) -> String {
    labels.get(key).cloned().unwrap_or_default()
}

pub(crate) fn is_ours(found: &BTreeMap<String, String>) -> bool {
    found.contains_key(labels::OWNER_UID) && label(found, labels::ORG) != Foreign::ORG
}

impl Summary {
    pub(crate) fn of(world: &World) -> Self {
        let swarm = &world.shared.swarm;
        let tasks = swarm.tasks();
        let service = |service: &Service| {
            let spec = &service.spec;
            let running = tasks.iter().filter(|task| task.service_id == service.id && task.is_running()).count();
            let secrets: Vec<&str> = spec.secrets.iter().map(|mount| mount.file_name.as_str()).collect();
            let (app, process) = (label(&spec.labels, labels::APP), label(&spec.labels, labels::PROCESS));
            format!("{app} {process} {} {} {:?} {secrets:?} {running}", spec.image, spec.replicas, spec.env)
        };
        let app = |found: &BTreeMap<String, String>| label(found, labels::APP);
        let route = |route: &skyswarm::edge::Route| format!("{} {:?} {} {}", route.app, route.hosts, route.process, route.releases.len());
        let verdict = |record: AppRecord| {
            let key = skyswarm::store::AppKey { org: record.org, name: record.name };
            let newest = world.shared.rows.revisions(&key).pop();
            format!("{key} {:?}", newest.map(|revision| revision.verdict.phase))
        };
        Self {
            services: swarm.services().iter().filter(|found| is_ours(&found.spec.labels)).map(service).collect(),
            networks: swarm.networks().iter().filter(|found| is_ours(&found.labels)).map(|found| app(&found.labels)).collect(),
            secrets: swarm
                .secrets()
                .iter()
                .filter(|found| is_ours(&found.labels))
                .map(|found| format!("{} {}", app(&found.labels), label(&found.labels, labels::SECRET_KEY)))
                .collect(),
            routes: world.shared.rows.routes().iter().map(route).collect(),
            verdicts: world.shared.rows.records().into_iter().map(verdict).collect(),
        }
    }
}

/// How often each object was created and removed, from a place in the engine's history on.
pub(crate) fn digest(history: &[Landed]) -> BTreeMap<(&'static str, String), usize> {
    let mut counts = BTreeMap::new();
    for landed in history.iter().filter(|landed| landed.call != "service_update") {
        *counts.entry((landed.call, landed.name.clone())).or_insert(0) += 1;
    }
    counts
}

/// Oracles 3 and 4 of a world at rest.
pub(crate) fn at_rest(world: &World) -> Result<(), String> {
    let owners: BTreeMap<String, AppRecord> =
        world.shared.rows.records().into_iter().map(|record| (record.uid.to_string(), record)).collect();
    let swarm = &world.shared.swarm;
    let all: Vec<(String, BTreeMap<String, String>)> = [
        swarm.services().into_iter().map(|found| (found.spec.name, found.spec.labels)).collect::<Vec<_>>(),
        swarm.networks().into_iter().map(|found| (found.name, found.labels)).collect(),
        swarm.secrets().into_iter().map(|found| (found.name, found.labels)).collect(),
    ]
    .concat();
    for (name, found) in all.iter().filter(|(_, found)| is_ours(found)) {
        if !owners.contains_key(&label(found, labels::OWNER_UID)) {
            return Err(format!("oracle 3: {name} has no owner any more"));
        }
    }
    let mut seen = BTreeSet::new();
    for service in swarm.services().iter().filter(|service| is_ours(&service.spec.labels)) {
        let uid = label(&service.spec.labels, labels::OWNER_UID);
        let process = label(&service.spec.labels, labels::PROCESS);
        // What a first generation that failed left is looked at, and kept beside nothing.
        if !seen.insert((uid.clone(), process.clone())) && is_settled(world, &uid) {
            return Err(format!("oracle 4: process {process} of {uid} has two services"));
        }
        let mut slots = BTreeSet::new();
        for task in swarm.tasks().iter().filter(|task| task.service_id == service.id && task.is_running()) {
            if !slots.insert(task.slot) {
                return Err(format!("oracle 4: two tasks run in slot {} of {}", task.slot, service.spec.name));
            }
        }
    }
    Ok(())
}

/// Whether the newest generation serves; else what is left of it may stand beside what serves.
fn is_settled(world: &World, uid: &str) -> bool {
    let record = world.shared.rows.records().into_iter().find(|record| record.uid.to_string() == uid);
    record.and_then(|record| record.status.verdict).is_some_and(|verdict| verdict.phase == VerdictPhase::Ready)
}

/// Objects of somebody else, some with names that look like ours.
pub(crate) struct Foreign {
    services: Vec<Service>,
    networks: Vec<Network>,
    secrets: Vec<Secret>,
}

impl Foreign {
    const ORG: &'static str = "somebody";

    fn all(swarm: &FakeSwarm) -> (Vec<Service>, Vec<Network>, Vec<Secret>) {
        let is_foreign = |found: &BTreeMap<String, String>| !is_ours(found);
        (
            swarm.services().into_iter().filter(|found| is_foreign(&found.spec.labels)).collect(),
            swarm.networks().into_iter().filter(|found| is_foreign(&found.labels)).collect(),
            swarm.secrets().into_iter().filter(|found| is_foreign(&found.labels)).collect(),
        )
    }

    /// Plants a few that have nothing of ours but the looks.
    pub(crate) async fn plant(world: &World) -> Self {
        let swarm = &world.shared.swarm;
        let other_uid = BTreeMap::from([
            (labels::MANAGED_BY.to_owned(), labels::MANAGED_BY_VALUE.to_owned()),
            (labels::OWNER_UID.to_owned(), "0190aaaa-0000-7000-8000-00000badbad0".to_owned()),
            (labels::ORG.to_owned(), Self::ORG.to_owned()),
            (labels::APP.to_owned(), "shop".to_owned()),
        ]);
        for (name, found) in [("shop", BTreeMap::new()), ("shop-web", other_uid.clone()), ("database", BTreeMap::new())] {
            swarm.network_create(&NetworkSpec { name: name.to_owned(), labels: found.clone() }).await.expect("plants a network");
            swarm.secret_create(name, &found, &secrecy::SecretString::from("x".to_owned())).await.expect("plants a secret");
            let spec = ServiceSpec {
                name: name.to_owned(),
                labels: found,
                image: "acme/foreign@sha256:1".to_owned(),
                replicas: 1,
                ..ServiceSpec::default()
            };
            swarm.service_create(&spec).await.expect("plants a service");
        }
        Self::seen(world)
    }

    pub(crate) fn seen(world: &World) -> Self {
        let (services, networks, secrets) = Self::all(&world.shared.swarm);
        Self { services, networks, secrets }
    }

    /// Oracle 5.
    pub(crate) fn unchanged(&self, world: &World) -> Result<(), String> {
        let now = Self::all(&world.shared.swarm);
        if now != (self.services.clone(), self.networks.clone(), self.secrets.clone()) {
            return Err(format!("oracle 5: foreign objects changed: {now:#?}"));
        }
        Ok(())
    }
}

/// Looks on while a world runs, and keeps the first thing that was wrong.
#[derive(Default)]
pub(crate) struct Watch {
    told: usize,
    observed: BTreeMap<uuid::Uuid, i64>,
    /// Fewest tasks that have to answer for each app, by its key at the proxy and its uid.
    pub(crate) least: Option<(String, String, usize)>,
    /// How often fewer answered, in steps.
    pub(crate) too_few: usize,
    pub(crate) wrong: Option<String>,
    /// Tasks are said to run that do not, so truth cannot be told from what is listed.
    pub(crate) lies: bool,
    /// What was on the engine at each step, as long as a write can be held up.
    past: VecDeque<Picture>,
}

/// What is on the engine.
struct Picture {
    at: Instant,
    services: Vec<Service>,
    tasks: Vec<Task>,
}

impl Picture {
    fn now(swarm: &FakeSwarm) -> Self {
        Self { at: Instant::now(), services: swarm.services(), tasks: swarm.tasks() }
    }
}

impl Watch {
    fn wrong(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    /// Oracle 8: every status that was told since the last step.
    pub(crate) fn statuses(&mut self, shared: &Shared) {
        let now = Picture::now(&shared.swarm);
        let told = shared.rows.told_since(self.told);
        self.told += told.len();
        for told in told {
            let observed = told.status.observed_generation;
            let before = self.observed.insert(told.uid, observed).unwrap_or(0);
            if observed < before || observed > told.generation {
                self.wrong(format!("oracle 8: observed generation {observed} after {before}, of {}", told.generation));
            }
            let ready = api_types::condition::find(&told.status.conditions, ConditionType::Ready);
            if ready.is_some_and(|ready| ready.status == ConditionStatus::True)
                && !self.lies
                && let Err(why) = serves(shared, &now, told.uid, observed)
                && !self.was_true_when_written(shared, told.uid, observed)
            {
                self.wrong(format!("oracle 8: {} was told to be Ready in generation {observed}, but {why}", told.uid));
            }
        }
        self.past.push_back(now);
        while self.past.front().is_some_and(|picture| picture.at.elapsed() > SLOW * 2) {
            self.past.pop_front();
        }
    }

    /// A write that was held up tells what was so when it was sent, whatever happened on the engine since.
    fn was_true_when_written(&self, shared: &Shared, uid: uuid::Uuid, generation: i64) -> bool {
        let Some(since) = shared.faults.slow_status() else { return false };
        // The look is from the step before.
        let first = self.past.iter().rposition(|picture| picture.at <= since);
        first.is_some_and(|first| self.past.iter().skip(first).take(2).any(|then| serves(shared, then, uid, generation).is_ok()))
    }

    /// Oracle 7: who answers now.
    pub(crate) fn requests(&mut self, shared: &Shared) {
        for (uid, app) in shared.rows.uids() {
            let (_, others) = shared.edge.answering(&route_key(uid, &app.org, &app.name), &uid.to_string());
            if others > 0 {
                self.wrong(format!("oracle 7: {others} tasks of another app answer for {app}"));
            }
        }
        if let Some((key, uid, least)) = &self.least
            && shared.edge.answering(key, uid).0 < *least
        {
            self.too_few += 1;
        }
    }
}

/// Whether a generation really serves: its image, as many tasks as wanted, and nothing else that was scaled up.
fn serves(shared: &Shared, picture: &Picture, uid: uuid::Uuid, generation: i64) -> Result<(), String> {
    let Some(record) = shared.rows.records().into_iter().find(|record| record.uid == uid) else { return Ok(()) };
    let key = skyswarm::store::AppKey { org: record.org, name: record.name };
    let revision = shared.rows.revisions(&key).into_iter().find(|revision| revision.generation == generation);
    let revision = revision.ok_or("there is no such revision")?;
    let Picture { services, tasks, .. } = picture;
    for (name, process) in &revision.spec.processes {
        let wanted = usize::try_from(revision.spec.wanted_replicas(process)).unwrap_or(usize::MAX);
        let of = |service: &&Service| {
            label(&service.spec.labels, labels::OWNER_UID) == uid.to_string()
                && label(&service.spec.labels, labels::PROCESS) == name.as_str()
        };
        let found: Vec<&Service> = services.iter().filter(of).filter(|service| service.spec.replicas > 0).collect();
        let right = found.iter().filter(|service| Some(&service.spec.image) == revision.resolved_image.as_ref()).count();
        if found.len() != right {
            return Err(format!("{name} runs another image too"));
        }
        let running = tasks.iter().filter(|task| task.is_running() && found.iter().any(|service| service.id == task.service_id)).count();
        if running < wanted {
            return Err(format!("{running} of {wanted} tasks of {name} run"));
        }
    }
    Ok(())
}
