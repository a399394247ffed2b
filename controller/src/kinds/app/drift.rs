//! Drift: what of an app is not as we last left it. Pure.
//!
//! The question is not "does it differ from what is wanted" (that is the plan's, and a rollout under way always
//! differs) but "did somebody else change it". Three marks tell our own hand from another's:
//!
//! - each service carries the scale that we last set, and a hash of the spec as we last wrote it, in the same
//!   write. What does not agree with its own mark was changed by somebody else.
//! - whatever is set that we would never render is somebody else's, by whatever name ([`ServiceSpec::extras`]).
//! - what was seen, was not removed by us, and is gone, was removed by somebody else ([`Memory`]).
//!
//! A reading that failed finds nothing. An app that is being deleted has no drift: it is to go away anyway.

use std::collections::{BTreeMap, BTreeSet};

use api_types::drift::{DriftAction, DriftObject, DriftPolicy};
use api_types::kinds::app::VerdictPhase;
use chrono::{DateTime, TimeDelta, Utc};

use super::adopt;
use super::desired::Desired;
use super::model::{Observed, ReleaseKey, key_of};
use super::plan::Step;
use super::{names, render};
use crate::engines::swarm::{Service, ServiceSpec, Task, TaskState, labels};
use crate::plan::Fact;

/// Most findings of one look; what is beyond is found when these are put right.
pub const MAX_FINDINGS: usize = 50;
/// How long the proxy may be without a route before somebody took it away: it reads the routes several times a
/// second, and starts without any.
const ROUTER_PATIENCE: TimeDelta = TimeDelta::seconds(1);

/// One field of one object that somebody else changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Kind of the object.
    pub kind: DriftObject,
    /// Its name.
    pub object: String,
    /// The field.
    pub field: String,
    /// As it should be.
    pub desired: String,
    /// As it is.
    pub observed: String,
    /// Whether there is something for us to put right.
    pub mendable: bool,
}

impl Finding {
    /// What is done about it.
    pub fn action(&self, policy: DriftPolicy, paused: bool) -> DriftAction {
        match policy {
            _ if !self.mendable => DriftAction::Recorded,
            _ if paused => DriftAction::Paused,
            DriftPolicy::Hold => DriftAction::Held,
            DriftPolicy::Correct => DriftAction::Correcting,
        }
    }

    /// In words, for conditions and events.
    pub fn words(&self) -> String {
        let (kind, object) = (self.kind.word(), &self.object);
        match self.field.as_str() {
            "exists" => format!("{kind} {object} was removed"),
            field => format!("{field} of {kind} {object} is {} instead of {}", self.observed, self.desired),
        }
    }
}

/// What one process remembers of one app between two looks, under one term of leadership. Losing it costs only
/// what was removed before its generation was proven.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// Objects that were there and that we did not remove.
    seen: BTreeSet<(DriftObject, String)>,
    /// Whether the objects of what was proven were taken as seen.
    seeded: bool,
    /// Objects that we wrote to since somebody else's change of them was found.
    pub touched: BTreeSet<String>,
    /// Whether the proxy has had the route.
    has_router: bool,
    /// Since when the proxy is without it.
    router_gone: Option<DateTime<Utc>>,
}

impl Memory {
    /// Takes note of a step that is about to be taken: what we remove is no drift, whether or not its answer is lost.
    pub fn before(&mut self, step: &Step, desired: &Desired) {
        match step {
            Step::RemoveService { process, release } => {
                let owner = &desired.owner;
                let name = names::service(&owner.app, owner.uid, process, release);
                self.seen.remove(&(DriftObject::Service, name));
                // One that was taken over has another name; those that stay are seen again with the next look.
                self.seen.retain(|(kind, name)| *kind != DriftObject::Service || !desired.adopted.contains_key(name));
            }
            Step::RemoveSecret { name } => {
                self.seen.remove(&(DriftObject::Secret, name.clone()));
            }
            Step::RemoveNetwork { name } => {
                self.seen.remove(&(DriftObject::Network, name.clone()));
            }
            Step::WithdrawRoute => {
                self.seen.retain(|(kind, _)| *kind != DriftObject::Route);
                (self.has_router, self.router_gone) = (false, None);
            }
            _ => {}
        }
    }

    /// Takes note of a step that was taken.
    pub fn after(&mut self, step: &Step, desired: &Desired) {
        let owner = &desired.owner;
        let object = match step {
            Step::CreateService { process, release, .. }
            | Step::UpdateService { process, release, .. }
            | Step::ScaleService { process, release, .. } => names::service(&owner.app, owner.uid, process, release),
            Step::CreateNetwork { name } | Step::CreateSecret { name, .. } => name.clone(),
            Step::PublishRoute { .. } => desired.owner.route_key(),
            _ => return,
        };
        self.touched.insert(object);
        if let Step::UpdateService { process, .. } | Step::ScaleService { process, .. } = step {
            let adoption = desired.target.processes.get(process).and_then(|target| target.adoption.as_ref());
            self.touched.extend(adoption.map(|adoption| adoption.service.clone()));
        }
    }

    /// What must be there because it was proven to serve.
    fn seed(&mut self, desired: &Desired, observed: &Observed) {
        let Fact::Known(services) = &observed.services else { return };
        if std::mem::replace(&mut self.seeded, true) {
            return;
        }
        if desired.target.phase != VerdictPhase::Ready {
            return;
        }
        let owner = &desired.owner;
        let taken: BTreeSet<ReleaseKey> =
            services.iter().filter(|service| is_adopted(desired, service)).filter_map(|service| key_of(desired, service)).collect();
        let own = desired.target.processes.iter().filter(|(name, target)| !taken.contains(&((*name).clone(), target.release.clone())));
        let own: Vec<(DriftObject, String)> = own.map(|(_, target)| (DriftObject::Service, target.service.name.clone())).collect();
        // What was taken over uses no network and no secret of ours.
        if own.is_empty() {
            return;
        }
        self.seen.extend(own);
        self.seen.extend(desired.target.secrets(owner).into_keys().map(|name| (DriftObject::Secret, name)));
        self.seen.insert((DriftObject::Network, names::network(&owner.app, owner.uid)));
    }
}

/// Looks for what somebody else changed. `killed` tells whether somebody sent a container a signal that ends it.
pub fn find(
    desired: &Desired,
    observed: &Observed,
    memory: &mut Memory,
    killed: impl Fn(&str) -> bool,
    now: DateTime<Utc>,
) -> Vec<Finding> {
    if desired.deleting {
        return Vec::new();
    }
    memory.seed(desired, observed);
    let mut found = Vec::new();
    for service in ours(desired, observed) {
        of_service(desired, service, &mut found);
    }
    for service in observed.services.known().into_iter().flatten().filter(|service| is_adopted(desired, service)) {
        of_adopted(desired, service, &mut found);
    }
    of_tasks(desired, observed, killed, &mut found);
    of_absence(desired, observed, memory, &mut found);
    of_router(desired, observed, memory, now, &mut found);
    found.sort();
    found.truncate(MAX_FINDINGS);
    found
}

/// Whether a service is this app's because it was taken over.
fn is_adopted(desired: &Desired, service: &Service) -> bool {
    desired.owner.owns(&service.spec.labels) && service.is_adopted()
}

/// A service that was taken over is to stay what it was then, in whatever a manifest can say; the rest is its maker's.
fn of_adopted(desired: &Desired, service: &Service, found: &mut Vec<Finding>) {
    let finding = |field: &str, desired: String, observed: &str| Finding {
        kind: DriftObject::Service,
        object: service.spec.name.clone(),
        field: field.to_owned(),
        desired,
        observed: observed.to_owned(),
        mendable: true,
    };
    if let Some(scale) = service.spec.labels.get(labels::SCALE)
        && *scale != service.spec.replicas.to_string()
    {
        found.push(finding("replicas", scale.clone(), &service.spec.replicas.to_string()));
    }
    let Some((process, release)) = key_of(desired, service) else { return };
    let is_target = desired.target.processes.get(&process).is_some_and(|target| target.release == release);
    let Some(wanted) = desired.target.spec.processes.get(&process).filter(|_| is_target) else { return };
    let fields: BTreeSet<&str> =
        adopt::mismatches(&desired.target.spec, wanted, &service.spec).into_iter().map(|mismatch| mismatch.field).collect();
    found.extend(fields.into_iter().map(|field| finding(field, "as it was taken over".to_owned(), "changed")));
}

/// Services of this app that we wrote. One that was taken over is as its maker left it.
fn ours<'a>(desired: &'a Desired, observed: &'a Observed) -> impl Iterator<Item = &'a Service> {
    let services = observed.services.known().into_iter().flatten();
    services.filter(|service| desired.owner.owns(&service.spec.labels) && !service.is_adopted())
}

fn of_service(desired: &Desired, service: &Service, found: &mut Vec<Finding>) {
    let spec = &service.spec;
    let finding = |field: &str, desired: &str, observed: &str, mendable| Finding {
        kind: DriftObject::Service,
        object: spec.name.clone(),
        field: field.to_owned(),
        desired: desired.to_owned(),
        observed: observed.to_owned(),
        mendable,
    };
    if let Some(scale) = spec.labels.get(labels::SCALE)
        && *scale != spec.replicas.to_string()
    {
        found.push(finding("replicas", scale, &spec.replicas.to_string(), true));
    }
    let target = key_of(desired, service)
        .and_then(|(process, release)| desired.target.processes.get(&process).filter(|target| target.release == release));
    let is_target = target.is_some();
    let written = spec.labels.get(labels::SPEC_HASH).map(|stamp| *stamp == render::written_hash(spec));
    match (written, target) {
        // As we wrote it. That we would write it otherwise now is nobody's drift.
        (Some(true), _) => {}
        (_, Some(target)) => {
            found.extend(
                fields(&target.service, spec).into_iter().map(|(field, desired, observed)| finding(&field, &desired, &observed, true)),
            );
        }
        (Some(false), None) => found.push(finding("spec", "as it was made", "changed", false)),
        (None, None) => {}
    }
    // A limit brings its reservation along.
    let limited = found.iter().any(|finding| finding.object == spec.name && finding.field.ends_with("limit"));
    let extras = spec.extras.iter().filter(|(name, _)| !(limited && name.as_str() == "Resources"));
    found.extend(extras.map(|(name, text)| finding(name, "as we set it", text, is_target)));
}

/// Fields that differ, with what is wanted and what was found. Variables are told by name alone: what somebody typed
/// by hand may be a password.
fn fields(wanted: &ServiceSpec, found: &ServiceSpec) -> Vec<(String, String, String)> {
    let mut out = Vec::new();
    let mut differ = |field: &str, wanted: String, found: String| {
        if wanted != found {
            out.push((field.to_owned(), none_if_empty(wanted), none_if_empty(found)));
        }
    };
    differ("image", wanted.image.clone(), found.image.clone());
    differ("command", wanted.command.join(" "), found.command.join(" "));
    differ("args", wanted.args.join(" "), found.args.join(" "));
    differ("secrets", mounts(wanted), mounts(found));
    differ("network", wanted.network.clone(), found.network.clone());
    differ("aliases", wanted.aliases.join(" "), found.aliases.join(" "));
    differ("cpu limit", cpu(wanted.nano_cpus), cpu(found.nano_cpus));
    differ("memory limit", wanted.memory_bytes.to_string(), found.memory_bytes.to_string());
    differ("pids limit", wanted.pids_limit.to_string(), found.pids_limit.to_string());
    differ("stop grace period", wanted.stop_grace_nanos.to_string(), found.stop_grace_nanos.to_string());
    differ("endpoint mode", mode(wanted).to_owned(), mode(found).to_owned());
    let labels = |spec: &ServiceSpec| render::without_stamps(&spec.labels);
    out.extend(entries("label", &labels(wanted), &labels(found), true));
    out.extend(entries("container label", &wanted.container_labels, &found.container_labels, true));
    out.extend(entries("env", &wanted.env, &found.env, false));
    if out.is_empty() && wanted.command != found.command {
        out.push(("command".to_owned(), "as it was made".to_owned(), "cut elsewhere".to_owned()));
    }
    out
}

fn none_if_empty(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

fn mounts(spec: &ServiceSpec) -> String {
    let names: BTreeSet<String> = spec.secrets.iter().map(|mount| format!("{} at {}", mount.secret_name, mount.file_name)).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn cpu(nanos: i64) -> String {
    if nanos == 0 { "none".to_owned() } else { format!("{}m", nanos / 1_000_000) }
}

fn mode(spec: &ServiceSpec) -> &'static str {
    if spec.dnsrr { "dnsrr" } else { "vip" }
}

/// Keys of a map that differ. Values are told only where they cannot be secrets: those that we set ourselves as labels.
fn entries(
    what: &str,
    wanted: &BTreeMap<String, String>,
    found: &BTreeMap<String, String>,
    is_label: bool,
) -> Vec<(String, String, String)> {
    let keys: BTreeSet<&String> = wanted.keys().chain(found.keys()).filter(|key| wanted.get(*key) != found.get(*key)).collect();
    let side = |map: &BTreeMap<String, String>, key: &String| match map.get(key) {
        None => "absent".to_owned(),
        Some(value) if is_label && wanted.contains_key(key) => value.clone(),
        Some(_) if std::ptr::eq(map, wanted) => "as in the spec".to_owned(),
        Some(_) if wanted.contains_key(key) => "another value".to_owned(),
        Some(_) => "set".to_owned(),
    };
    keys.into_iter().map(|key| (format!("{what}.{key}"), side(wanted, key), side(found, key))).collect()
}

/// Containers that somebody ended, until another one runs in their place.
fn of_tasks(desired: &Desired, observed: &Observed, killed: impl Fn(&str) -> bool, found: &mut Vec<Finding>) {
    let tasks = observed.tasks.known().map(Vec::as_slice).unwrap_or_default();
    for service in ours(desired, observed) {
        let Some((process, _)) = key_of(desired, service) else { continue };
        let of_slot = |slot: u64| tasks.iter().filter(move |task| task.service_id == service.id && task.slot == slot);
        let slots: BTreeSet<u64> = tasks.iter().filter(|task| task.service_id == service.id).map(|task| task.slot).collect();
        for slot in slots.into_iter().filter(|slot| *slot <= service.spec.replicas) {
            // Only the last end counts: an app that crashes after that crashes by itself.
            let last = of_slot(slot).filter(|task| task.state > TaskState::Running).max_by_key(|task| task.state_since);
            let Some(task) = last.filter(|_| !of_slot(slot).any(Task::is_running)) else { continue };
            // The engine itself ends tasks with signals too; those end as `Shutdown`.
            if !matches!(task.state, TaskState::Failed | TaskState::Complete) || !killed(&task.container_id) {
                continue;
            }
            let code = task.exit_code.map(|code| format!(" (exit code {code})")).unwrap_or_default();
            found.push(Finding {
                kind: DriftObject::Task,
                object: format!("{process}.{slot}"),
                field: "container".to_owned(),
                desired: "running".to_owned(),
                observed: format!("ended by a signal from outside{code}"),
                mendable: false,
            });
        }
    }
}

/// Objects that were there, that we did not remove, and that are gone.
fn of_absence(desired: &Desired, observed: &Observed, memory: &mut Memory, found: &mut Vec<Finding>) {
    let owner = &desired.owner;
    let services = observed.services.known().map(|list| list.iter().map(|service| (&service.spec.name, &service.spec.labels)).collect());
    let networks = observed.networks.known().map(|list| list.iter().map(|network| (&network.name, &network.labels)).collect());
    let secrets = observed.secrets.known().map(|list| list.iter().map(|secret| (&secret.name, &secret.labels)).collect());
    let facts: [(DriftObject, Option<Vec<_>>); 3] =
        [(DriftObject::Service, services), (DriftObject::Network, networks), (DriftObject::Secret, secrets)];
    let mut wanted: BTreeSet<String> = desired.target.processes.values().map(|process| process.service.name.clone()).collect();
    wanted.extend(desired.target.secrets(owner).into_keys());
    wanted.insert(names::network(&owner.app, owner.uid));
    let mut gone: Vec<(DriftObject, String, bool)> = Vec::new();
    for (kind, list) in facts {
        let Some(list) = list else { continue };
        // Of whoever: a foreign object in the place of ours is told elsewhere.
        let there: BTreeSet<&String> = list.iter().map(|(name, _)| *name).collect();
        let missing: Vec<_> = memory.seen.iter().filter(|(of, name)| *of == kind && !there.contains(name)).cloned().collect();
        gone.extend(missing.into_iter().map(|(kind, name)| (kind, name.clone(), wanted.contains(&name))));
        memory.seen.extend(list.iter().filter(|(_, labels)| owner.owns(labels)).map(|(name, _)| (kind, (*name).clone())));
    }
    let route = (DriftObject::Route, desired.owner.route_key());
    match &observed.route {
        Fact::Known(_) => {
            memory.seen.insert(route);
        }
        Fact::Absent if memory.seen.contains(&route) => gone.push((route.0, route.1, desired.route(Vec::new()).is_some())),
        Fact::Absent | Fact::Unknown => {}
    }
    for (kind, name, mendable) in gone {
        if !mendable {
            // It will not come back, so it is told once.
            memory.seen.remove(&(kind, name.clone()));
        }
        found.push(Finding {
            kind,
            object: name,
            field: "exists".to_owned(),
            desired: "there".to_owned(),
            observed: "absent".to_owned(),
            mendable,
        });
    }
}

/// A published route that the proxy had and has no more.
fn of_router(desired: &Desired, observed: &Observed, memory: &mut Memory, now: DateTime<Utc>, found: &mut Vec<Finding>) {
    if observed.route.known().is_none() {
        (memory.has_router, memory.router_gone) = (false, None);
        return;
    }
    match &observed.edge {
        Fact::Known(_) => (memory.has_router, memory.router_gone) = (true, None),
        Fact::Absent if memory.has_router => {
            memory.router_gone.get_or_insert(now);
        }
        // What was found stays so until it is known to be otherwise.
        Fact::Absent | Fact::Unknown => {}
    }
    if memory.router_gone.is_some_and(|since| now - since >= ROUTER_PATIENCE) {
        let hosts: Vec<&str> = desired.hosts.iter().map(api_types::Host::as_str).collect();
        found.push(Finding {
            kind: DriftObject::Route,
            object: desired.owner.route_key(),
            field: "router".to_owned(),
            desired: hosts.join(", "),
            observed: "not in the proxy".to_owned(),
            mendable: false,
        });
    }
}

/// The findings because of which nothing is put right, in words; `None` when everything may be.
///
/// A rollout, and the restoration of the last proven generation, are what the user asked for: only a generation
/// that is proven, and so has nothing left to do by itself, is held.
pub fn held(desired: &Desired, findings: &[Finding]) -> Option<String> {
    let settled = desired.target.phase == VerdictPhase::Ready && !desired.is_reverting();
    let holds = desired.target.spec.drift_policy == DriftPolicy::Hold && settled;
    let mendable: Vec<&Finding> = findings.iter().filter(|finding| holds && finding.mendable).collect();
    (!mendable.is_empty()).then(|| list(mendable))
}

/// A few findings in words.
pub fn list<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> String {
    const TOLD: usize = 3;
    let all: Vec<String> = findings.into_iter().map(Finding::words).collect();
    let more = if all.len() > TOLD { format!("; and {} more", all.len() - TOLD) } else { String::new() };
    format!("{}{more}", all.iter().take(TOLD).cloned().collect::<Vec<_>>().join("; "))
}
