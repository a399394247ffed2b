//! From desired state and what was observed to the steps between them. Synchronous, total, pure.
//!
//! [`next`] decides one thing: the next step, or what has to be seen first. [`plan`] calls it again and
//! again on a model that it moves forward as if each step had worked and each wait had ended well. So the
//! dry run shows what will be done, and the executor, which takes only the first step and then looks
//! again, does what the dry run showed.
//!
//! The order within a generation: image, network, secrets, services, route, scale up and down step by
//! step, health window, clean-up. Nothing old is stopped before the new is ready *and* the proxy was seen
//! to send requests to it; the last old tasks stay until the new ones have outlived the health window.

use std::fmt;

use api_types::ProcessName;
use api_types::drift::PauseState;
use api_types::kinds::app::RolloutOrder;

use super::desired::Desired;
use super::model::{Candidate, EdgeModel, Model, ReleaseKey, ServiceModel};
use super::render::ProcessTarget;
use crate::edge::Route;
use crate::plan::{Plan, Planned};

/// Upper bound of the steps of one plan. 500 replicas replaced one by one need about 1,000 steps.
const MAX_STEPS: usize = 20_000;

/// One act of the App reconciler.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what their Display says")]
pub enum Step {
    /// Find out what the image reference means, and record it with the revision.
    ResolveImage { image: String },
    /// Create the app's overlay network.
    CreateNetwork { name: String },
    /// Create one version of a secret.
    CreateSecret { name: String, key: String, version: i64 },
    /// Create the service of a release.
    CreateService { process: ProcessName, release: String, replicas: u32, wanted: u32, image: String },
    /// Take over a service that runs already: only its own labels change, so no task is restarted.
    AdoptService { process: ProcessName, release: String, service: String },
    /// Put fields right that were changed behind our back.
    UpdateService { process: ProcessName, release: String, fields: Vec<&'static str> },
    /// Change the scale of a release.
    ScaleService { process: ProcessName, release: String, from: u32, to: u32, current: bool },
    /// Publish where requests go.
    PublishRoute { route: Box<Route>, previous_too: bool },
    /// Take the app off the edge.
    WithdrawRoute,
    /// Remove a service that is not wanted any more.
    RemoveService { process: ProcessName, release: String },
    /// Remove a secret that nothing refers to any more.
    RemoveSecret { name: String },
    /// Remove the app's network.
    RemoveNetwork { name: String },
    /// Remove the app's row, last of all.
    Finalize,
}

impl Step {
    /// Whether the step only adds something, and can do no harm when the world has moved since it was planned: a name
    /// that is taken is refused by the engine, and a route without ready tasks gets no requests.
    pub fn adds(&self) -> bool {
        matches!(self, Self::CreateNetwork { .. } | Self::CreateSecret { .. } | Self::CreateService { .. } | Self::PublishRoute { .. })
    }
}

impl crate::plan::Step for Step {
    fn word(&self) -> &'static str {
        match self {
            Self::ResolveImage { .. } => "ResolveImage",
            Self::CreateNetwork { .. } => "CreateNetwork",
            Self::CreateSecret { .. } => "CreateSecret",
            Self::CreateService { .. } => "CreateService",
            Self::AdoptService { .. } => "AdoptService",
            Self::UpdateService { .. } => "UpdateService",
            Self::ScaleService { .. } => "ScaleService",
            Self::PublishRoute { .. } => "PublishRoute",
            Self::WithdrawRoute => "WithdrawRoute",
            Self::RemoveService { .. } => "RemoveService",
            Self::RemoveSecret { .. } => "RemoveSecret",
            Self::RemoveNetwork { .. } => "RemoveNetwork",
            Self::Finalize => "Finalize",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ResolveImage { image } => write!(f, "resolve image {image}"),
            Self::CreateNetwork { .. } => f.write_str("create the app's network"),
            Self::CreateSecret { key, version, .. } => write!(f, "create secret {key} (version {version})"),
            Self::CreateService { process, replicas, wanted, image, .. } => {
                write!(f, "create service {process}: {replicas} of {wanted} replicas of {image}")
            }
            Self::AdoptService { process, service, .. } => {
                write!(f, "take over service {service} as {process}, without a restart of a task")
            }
            Self::UpdateService { process, fields, .. } => write!(f, "correct service {process}: {}", fields.join(", ")),
            Self::ScaleService { process, from, to, current: true, .. } => write!(f, "scale {process} from {from} to {to}"),
            Self::ScaleService { process, from, to, current: false, .. } => {
                write!(f, "scale the previous release of {process} from {from} to {to}")
            }
            Self::PublishRoute { route, previous_too } => {
                let hosts: Vec<&str> = route.hosts.iter().map(api_types::Host::as_str).collect();
                let which = if *previous_too { " (previous release too)" } else { "" };
                write!(f, "route {} to {}{which}", hosts.join(", "), route.process)?;
                let words = route.edge.words();
                if words.is_empty() { Ok(()) } else { write!(f, " with {}", words.join(", ")) }
            }
            Self::WithdrawRoute => f.write_str("take the app off the edge"),
            Self::RemoveService { process, .. } => write!(f, "remove service {process}"),
            Self::RemoveSecret { name } => write!(f, "remove secret {name}"),
            Self::RemoveNetwork { .. } => f.write_str("remove the app's network"),
            Self::Finalize => f.write_str("remove the app's records"),
        }
    }
}

/// What has to be observed before the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what their Display says")]
pub enum Gate {
    /// Somebody asked that nothing is written for a while.
    Paused { pause: PauseState },
    /// Somebody changed something, which is to be left so.
    Held { what: String },
    /// The engine could not be read; nothing is decided on a guess.
    EngineUnknown,
    /// A foreign object has a name that we need.
    NameTaken { what: String },
    /// The engine has a newer generation than the database, which was set back: what runs is left as it is.
    StoreBehind { known: i64, found: i64 },
    /// A service that is to be taken over is not what the process says.
    AdoptionRefused { process: ProcessName, service: String, why: String },
    /// Tasks of the target have to become ready.
    TasksReady { process: ProcessName, ready: u32, wanted: u32 },
    /// Tasks of an old release have to be gone.
    TasksGone { left: u32 },
    /// The proxy has to send requests to the new release.
    EdgeServes { process: ProcessName },
    /// The proxy has to forget the app.
    EdgeWithdrawn,
    /// The new release has to stay healthy for its window.
    HealthWindow,
    /// The new release, now alone, has to answer our own request.
    Proof,
    /// The generation failed, and there is no older one that served.
    Failed,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused { pause } => write!(f, "waiting for the end of the pause ({pause})"),
            Self::Held { what } => write!(f, "waiting for another spec: spec.driftPolicy holds what was changed by hand ({what})"),
            Self::EngineUnknown => f.write_str("waiting for the engine to answer"),
            Self::NameTaken { what } => write!(f, "{what} exists and is not ours; rename or remove it"),
            Self::StoreBehind { known, found } => write!(
                f,
                "the engine runs generation {found}, and the database knows none after {known}: it was set back, so nothing is removed or \
                 replaced; apply the app again to go on from what you apply"
            ),
            Self::AdoptionRefused { process, service, why } => {
                write!(f, "service {service} is not taken over as {process}: {why}; make both the same, or remove \"adopt\"")
            }
            Self::TasksReady { process, ready, wanted } => write!(f, "waiting for {process}: {ready} of {wanted} tasks are ready"),
            Self::TasksGone { left } => write!(f, "waiting for {left} old tasks to stop"),
            Self::EdgeServes { process } => write!(f, "waiting for the edge to send requests to the new tasks of {process}"),
            Self::EdgeWithdrawn => f.write_str("waiting for the edge to forget the app"),
            Self::HealthWindow => f.write_str("waiting until the tasks stayed healthy for rollout.healthWindow"),
            Self::Proof => f.write_str("waiting for the proof that the tasks serve"),
            Self::Failed => f.write_str("the rollout failed; change the app to try again"),
        }
    }
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Do this now.
    Act(Step),
    /// See this first.
    Wait(Gate),
    /// Everything is as wanted.
    Done,
}

/// All steps from `model` to what is desired.
pub fn plan(desired: &Desired, model: &Model) -> Plan<Step, Gate> {
    let mut model = model.clone();
    let mut steps: Vec<Planned<Step, Gate>> = Vec::new();
    let mut gate: Option<Gate> = None;
    while steps.len() < MAX_STEPS {
        match next(desired, &model) {
            Next::Act(step) => {
                model.take(desired, &step);
                let finished = step == Step::Finalize;
                steps.push(Planned { gate: gate.take(), step });
                if finished {
                    return Plan { steps, waiting: None };
                }
            }
            Next::Wait(waiting) => {
                let changed = model.assume(&waiting);
                gate.get_or_insert(waiting);
                if !changed {
                    break;
                }
            }
            Next::Done => break,
        }
    }
    Plan { steps, waiting: gate }
}

/// The next step, or what it waits for.
pub fn next(desired: &Desired, model: &Model) -> Next {
    let next = next_unpaused(desired, model);
    // Only acts are held back, not waits: what is waited for anyway is the more exact answer.
    match (next, &model.paused, &model.held) {
        (Next::Act(_), Some(pause), _) => Next::Wait(Gate::Paused { pause: pause.clone() }),
        (Next::Act(_), None, Some(what)) if !desired.deleting => Next::Wait(Gate::Held { what: what.clone() }),
        (next, ..) => next,
    }
}

fn next_unpaused(desired: &Desired, model: &Model) -> Next {
    if !model.known {
        return Next::Wait(Gate::EngineUnknown);
    }
    if desired.deleting {
        return next_of_delete(model);
    }
    if let Some(found) = model.behind {
        return next_of_behind(desired, model, found);
    }
    if let Some(what) = &model.name_taken {
        return Next::Wait(Gate::NameTaken { what: what.clone() });
    }
    if desired.is_stuck() {
        return Next::Wait(Gate::Failed);
    }
    if !model.resolved {
        return Next::Act(Step::ResolveImage { image: desired.target.spec.image.to_string() });
    }
    if let Some(step) = next_of_foundation(desired, model) {
        return Next::Act(step);
    }
    let mut waiting = None;
    for (process, target) in &desired.target.processes {
        match next_of_presence(desired, model, process, target) {
            Next::Act(step) => return Next::Act(step),
            Next::Wait(gate) => waiting = waiting.or(Some(gate)),
            Next::Done => {}
        }
    }
    if waiting.is_none()
        && let Some(step) = next_of_route(desired, model)
    {
        return Next::Act(step);
    }
    for (process, target) in &desired.target.processes {
        match next_of_rollout(desired, model, process, target) {
            Next::Act(step) => return Next::Act(step),
            Next::Wait(gate) => waiting = waiting.or(Some(gate)),
            Next::Done => {}
        }
    }
    match waiting {
        Some(gate) => Next::Wait(gate),
        None => next_of_cleanup(desired, model),
    }
}

/// The database was set back: what runs goes on, and goes on being reached, until somebody says what is wanted.
fn next_of_behind(desired: &Desired, model: &Model, found: i64) -> Next {
    let routed = desired.target.spec.routed_process().map(|(process, ..)| process);
    let releases: Vec<String> = model
        .services
        .iter()
        .filter(|((process, _), service)| Some(process) == routed && service.replicas > 0)
        .map(|((_, release), _)| release.clone())
        .collect();
    match desired.route(releases.clone()) {
        Some(route) if !releases.is_empty() && model.route.as_ref() != Some(&route) => {
            Next::Act(Step::PublishRoute { route: Box::new(route), previous_too: releases.len() > 1 })
        }
        _ => Next::Wait(Gate::StoreBehind { known: desired.generation, found }),
    }
}

/// Edge first, then services, then what they used, then the row.
fn next_of_delete(model: &Model) -> Next {
    if model.route.is_some() {
        return Next::Act(Step::WithdrawRoute);
    }
    // Not known is not gone: the proxy may still send requests to addresses that the engine is about
    // to give to somebody else.
    if model.edge != EdgeModel::Absent {
        return Next::Wait(Gate::EdgeWithdrawn);
    }
    if let Some((process, release)) = model.services.keys().next().cloned() {
        return Next::Act(Step::RemoveService { process, release });
    }
    if model.departing > 0 {
        return Next::Wait(Gate::TasksGone { left: model.departing });
    }
    if let Some(name) = model.secrets.keys().next() {
        return Next::Act(Step::RemoveSecret { name: name.clone() });
    }
    match &model.network {
        Some(name) => Next::Act(Step::RemoveNetwork { name: name.clone() }),
        None => Next::Act(Step::Finalize),
    }
}

/// What services need before they can be created.
fn next_of_foundation(desired: &Desired, model: &Model) -> Option<Step> {
    let owner = &desired.owner;
    // A service that was taken over keeps its networks, and has no secret of ours.
    if desired.target.processes.iter().all(|(process, target)| is_foreign_made(model, process, target)) {
        return None;
    }
    if model.network.is_none() {
        return Some(Step::CreateNetwork { name: super::names::network(&owner.app, owner.uid) });
    }
    let secrets = desired.target.secrets(owner);
    let missing = secrets.into_iter().find(|(name, _)| !model.secrets.contains_key(name));
    missing.map(|(name, (key, version))| Step::CreateSecret { name, key: key.to_string(), version })
}

/// Whether a process runs, or is going to, in a service that somebody else made.
fn is_foreign_made(model: &Model, process: &ProcessName, target: &ProcessTarget) -> bool {
    match model.services.get(&(process.clone(), target.release.clone())) {
        Some(service) => service.adopted,
        None => model.candidates.contains_key(process),
    }
}

/// Makes sure that the release's service exists and is as it was rendered.
fn next_of_presence(desired: &Desired, model: &Model, process: &ProcessName, target: &ProcessTarget) -> Next {
    let wanted = wanted(target);
    let Some(current) = model.services.get(&(process.clone(), target.release.clone())) else {
        if let Some(Candidate { service, refused, .. }) = model.candidates.get(process) {
            let (process, service) = (process.clone(), service.clone());
            return match refused.clone() {
                Some(why) => Next::Wait(Gate::AdoptionRefused { process, service, why }),
                None => Next::Act(Step::AdoptService { process, release: target.release.clone(), service }),
            };
        }
        let old: u32 = model.others(process, &target.release).map(|(_, service)| service.replicas).sum();
        let rollout = desired.target.spec.rollout;
        if rollout.order == RolloutOrder::StopFirst {
            if let Some((key, service)) = model.others(process, &target.release).find(|(_, service)| service.replicas > 0) {
                return Next::Act(scale(key, service.replicas, 0, false));
            }
            let left: u32 = model.others(process, &target.release).map(|(_, service)| service.live).sum();
            if left > 0 {
                return Next::Wait(Gate::TasksGone { left });
            }
        }
        let replicas = if old == 0 { wanted } else { wanted.min(rollout.parallelism) };
        return Next::Act(Step::CreateService {
            process: process.clone(),
            release: target.release.clone(),
            replicas,
            wanted,
            image: desired.target.spec.image.to_string(),
        });
    };
    // One more attempt is one with new tasks, not the old ones looked at again.
    if current.left_over {
        return Next::Act(Step::RemoveService { process: process.clone(), release: target.release.clone() });
    }
    if current.differences.is_empty() {
        Next::Done
    } else {
        let fields = current.differences.clone();
        Next::Act(Step::UpdateService { process: process.clone(), release: target.release.clone(), fields })
    }
}

/// The route lists the new release once a task of it has answered for a moment (at once when nothing else answers), and
/// drops the old ones when the new one carries the load. What has failed gets no requests while anything else answers.
fn next_of_route(desired: &Desired, model: &Model) -> Option<Step> {
    let Some((process, _, _)) = desired.target.spec.routed_process() else {
        return model.route.as_ref().map(|_| Step::WithdrawRoute);
    };
    let target = desired.target.processes.get(process)?;
    let current = model.services.get(&(process.clone(), target.release.clone()))?;
    let carries_load = current.ready >= wanted(target) && model.stable;
    // Another process type gets the requests so far: it goes on until this one can.
    if !carries_load && model.route.as_ref().is_some_and(|route| route.process != *process) {
        return None;
    }
    let releases = routed_releases(desired, model, (process, target), current, carries_load);
    let previous_too = releases.len() > 1;
    let route = desired.route(releases);
    if model.route == route {
        return None;
    }
    Some(route.map_or(Step::WithdrawRoute, |route| Step::PublishRoute { route: Box::new(route), previous_too }))
}

/// Releases whose tasks get requests now, sorted.
fn routed_releases(
    desired: &Desired,
    model: &Model,
    (process, target): (&ProcessName, &ProcessTarget),
    current: &ServiceModel,
    carries_load: bool,
) -> Vec<String> {
    let others = || model.others(process, &target.release).filter(|(_, service)| service.replicas > 0);
    let alone = carries_load || (desired.is_reverting() && current.ready > 0);
    let mut releases = Vec::new();
    // A task that dies right after its first answer would take the requests along that it just got.
    if alone || current.settled > 0 || !others().any(|(_, service)| service.ready > 0) {
        releases.push(target.release.clone());
    }
    if !alone {
        releases.extend(others().map(|((_, release), _)| release.clone()));
    }
    releases.sort();
    releases
}

/// Scales the release up and the old ones down, never below the wanted number of ready tasks.
fn next_of_rollout(desired: &Desired, model: &Model, process: &ProcessName, target: &ProcessTarget) -> Next {
    let wanted = wanted(target);
    let key = (process.clone(), target.release.clone());
    let Some(current) = model.services.get(&key) else { return Next::Done };
    let old: Vec<(&ReleaseKey, &ServiceModel)> =
        model.others(process, &target.release).filter(|(_, service)| service.replicas > 0).collect();
    if old.is_empty() {
        if current.replicas != wanted {
            return Next::Act(scale(&key, current.replicas, wanted, true));
        }
        return if current.ready < wanted {
            tasks_ready(process, current, wanted)
        } else if is_routed(desired, process) && !model.stable && model.route.as_ref().is_some_and(|route| route.process != *process) {
            Next::Wait(Gate::HealthWindow)
        } else if is_routed(desired, process) && wanted > 0 && !model.edge_serves(&target.release, current.ready, true) {
            Next::Wait(Gate::EdgeServes { process: process.clone() })
        } else {
            Next::Done
        };
    }
    let old_replicas: u32 = old.iter().map(|(_, service)| service.replicas).sum();
    let limit = wanted.saturating_add(desired.target.spec.rollout.parallelism);
    let room = limit.saturating_sub(current.replicas.saturating_add(old_replicas));
    if current.replicas < wanted && room > 0 && current.ready >= current.replicas {
        return Next::Act(scale(&key, current.replicas, wanted.min(current.replicas.saturating_add(room)), true));
    }
    if current.replicas > wanted {
        return Next::Act(scale(&key, current.replicas, wanted, true));
    }
    next_of_retirement(desired, model, (process, target), current, &old)
}

/// Takes tasks of old releases away, as many as the new ones make dispensable.
fn next_of_retirement(
    desired: &Desired,
    model: &Model,
    (process, target): (&ProcessName, &ProcessTarget),
    current: &ServiceModel,
    old: &[(&ReleaseKey, &ServiceModel)],
) -> Next {
    let wanted = wanted(target);
    // What does not serve goes first: it must not keep the room that the new tasks need.
    let idle = old.iter().find(|(_, service)| service.ready < service.replicas);
    let Some((key, first)) = idle.or(old.first()) else { return Next::Done };
    let unready = first.replicas.saturating_sub(first.ready);
    let old_ready: u32 = old.iter().map(|(_, service)| service.ready).sum();
    let spare = current.settled.saturating_add(old_ready).saturating_sub(wanted);
    let dispensable = spare.min(first.ready).saturating_add(unready).min(first.replicas);
    if dispensable == 0 || (current.settled == 0 && wanted > 0) {
        return tasks_ready(process, current, wanted);
    }
    let complete = current.ready >= wanted;
    // The last old tasks stay, and keep serving, until the new ones have outlived the health window.
    if let Some(route) = model.route.as_ref().filter(|route| route.process == *process && !is_routed(desired, process)) {
        // This process type gets the requests no more, but the route still says so.
        return Next::Wait(Gate::EdgeServes { process: route.process.clone() });
    }
    let old_replicas: u32 = old.iter().map(|(_, service)| service.replicas).sum();
    if !model.stable && dispensable >= old_replicas && wanted > 0 {
        if complete {
            return Next::Wait(Gate::HealthWindow);
        }
        // Tasks that never became ready are no reserve: as many go as the new ones still need room for.
        let missing = wanted.saturating_sub(current.replicas).min(dispensable);
        return match old_ready {
            0 if missing > 0 => Next::Act(scale(key, first.replicas, first.replicas - missing, false)),
            _ => tasks_ready(process, current, wanted),
        };
    }
    if is_routed(desired, process) && !model.edge_serves(&target.release, current.ready, complete && wanted > 0) && wanted > 0 {
        return Next::Wait(Gate::EdgeServes { process: process.clone() });
    }
    Next::Act(scale(key, first.replicas, first.replicas.saturating_sub(dispensable), false))
}

/// Removes what is left of older releases, once the new one is proven.
fn next_of_cleanup(desired: &Desired, model: &Model) -> Next {
    if !model.proven {
        return Next::Wait(if model.stable { Gate::Proof } else { Gate::HealthWindow });
    }
    let is_target =
        |(process, release): &ReleaseKey| desired.target.processes.get(process).is_some_and(|target| target.release == *release);
    if let Some((process, release)) = model.services.keys().find(|key| !is_target(key)) {
        // A process type that is gone from the spec may have been the routed one.
        if model.route.is_none() && model.edge != EdgeModel::Absent {
            return Next::Wait(Gate::EdgeWithdrawn);
        }
        return Next::Act(Step::RemoveService { process: process.clone(), release: release.clone() });
    }
    let needed = desired.target.secrets(&desired.owner);
    match model.secrets.keys().find(|name| !needed.contains_key(*name)) {
        Some(name) => Next::Act(Step::RemoveSecret { name: name.clone() }),
        None => Next::Done,
    }
}

fn tasks_ready(process: &ProcessName, current: &ServiceModel, wanted: u32) -> Next {
    Next::Wait(Gate::TasksReady { process: process.clone(), ready: current.settled.min(wanted), wanted })
}

fn is_routed(desired: &Desired, process: &ProcessName) -> bool {
    !desired.hosts.is_empty() && desired.target.spec.routed_process().is_some_and(|(name, ..)| name == process)
}

fn wanted(target: &ProcessTarget) -> u32 {
    u32::try_from(target.service.replicas).unwrap_or(u32::MAX)
}

fn scale((process, release): &ReleaseKey, from: u32, to: u32, current: bool) -> Step {
    Step::ScaleService { process: process.clone(), release: release.clone(), from, to, current }
}
