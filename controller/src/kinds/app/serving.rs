//! Which generations really answer now, from what the proxy and the engine show. Pure.
//!
//! A release is the hash of what its tasks are made from, so generations that differ in scale or domains only have the
//! same one. Tasks count for the newest generation that is in force: the wanted one once everything of it is as it
//! wants it, before that the proven one.

use std::collections::BTreeMap;

use api_types::Reason;
use api_types::kinds::app::{ServingRevision, VerdictPhase};

use super::desired::Desired;
use super::model::{Model, Observed};
use super::verdict;
use crate::edge::Backend;
use crate::engines::swarm::labels;
use crate::plan::Fact;

/// What is known of who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answering {
    /// It could not be observed.
    Unknown(Reason, String),
    /// Nothing answers.
    Nobody(Reason, String),
    /// These do, oldest first; never empty.
    Revisions(Vec<ServingRevision>),
}

impl Answering {
    /// Looks at the proxy for an app with routes, and at the tasks for one without.
    pub fn find(desired: &Desired, observed: &Observed, model: &Model) -> Self {
        if !model.known {
            return Self::Unknown(Reason::EngineUnreachable, "the engine could not be read".to_owned());
        }
        let has_route = desired.target.spec.routed_process().is_some() && !desired.hosts.is_empty();
        if has_route { through_the_edge(desired, observed, model) } else { by_tasks(desired, observed, model) }
    }

    /// The generations; empty when none is known to answer.
    pub fn revisions(self) -> Vec<ServingRevision> {
        match self {
            Self::Revisions(list) => list,
            Self::Unknown(..) | Self::Nobody(..) => Vec::new(),
        }
    }
}

fn through_the_edge(desired: &Desired, observed: &Observed, model: &Model) -> Answering {
    let nobody = |reason, message: &str| Answering::Nobody(reason, message.to_owned());
    let facts = match &observed.edge {
        Fact::Unknown => return Answering::Unknown(Reason::EdgeUnreachable, "the proxy could not be asked who answers".to_owned()),
        Fact::Absent => return nobody(Reason::RoutePending, "the proxy has no route for the app yet"),
        Fact::Known(facts) => facts,
    };
    let Fact::Known(endpoints) = &observed.endpoints else {
        return Answering::Unknown(Reason::EngineUnreachable, "the addresses of the tasks are not known".to_owned());
    };
    if desired.target.spec.edge.maintenance().is_some() {
        return nobody(Reason::Maintenance, "clients get the maintenance page, whatever runs behind it");
    }
    let answering = facts.servers.iter().filter(|server| !facts.down.contains(server));
    let of = |server: &Backend| endpoints.iter().find(|endpoint| endpoint.backend() == *server);
    let as_wanted = || model.has_target(desired) && verdict::is_routed(desired, observed, model);
    let in_force = desired.target.phase == VerdictPhase::Ready || as_wanted();
    let mut found = BTreeMap::new();
    let mut strangers = 0_u32;
    for server in answering {
        match of(server).and_then(|endpoint| generation(desired, observed, &endpoint.release, in_force)) {
            Some(generation) => *found.entry(generation).or_insert(0_u32) += 1,
            None => strangers += 1,
        }
    }
    if found.is_empty() && strangers > 0 {
        let message = format!("the proxy sends requests to {strangers} addresses of which no task is known");
        return Answering::Unknown(Reason::RoutePending, message);
    }
    match facts.probe.as_ref().filter(|probe| !probe.ok && !found.is_empty()) {
        Some(probe) => nobody(Reason::ProbeFailed, &format!("our own request through the edge failed: {}", probe.detail)),
        None => counted(found, || idle(desired, Reason::NoBackends, "no task is ready to take requests")),
    }
}

fn by_tasks(desired: &Desired, observed: &Observed, model: &Model) -> Answering {
    let in_force = desired.target.phase == VerdictPhase::Ready || (model.has_target(desired) && model.stable);
    let mut found = BTreeMap::new();
    for ((_, release), service) in model.services.iter().filter(|(_, service)| service.ready > 0) {
        // Services of one generation have a release for each process.
        if let Some(generation) = generation(desired, observed, release, in_force) {
            *found.entry(generation).or_insert(0_u32) += service.ready;
        }
    }
    counted(found, || idle(desired, Reason::Starting, "no task runs"))
}

fn counted(found: BTreeMap<i64, u32>, otherwise: impl FnOnce() -> Answering) -> Answering {
    if found.is_empty() {
        return otherwise();
    }
    Answering::Revisions(found.into_iter().map(|(generation, tasks)| ServingRevision { generation, tasks }).collect())
}

/// Why nothing answers, when nothing is meant to.
fn idle(desired: &Desired, reason: Reason, message: &str) -> Answering {
    let target = &desired.target;
    if target.spec.suspend {
        return Answering::Nobody(Reason::Suspended, "the app is stopped (spec.suspend)".to_owned());
    }
    let wanted = match target.spec.routed_process().filter(|_| !desired.hosts.is_empty()) {
        Some((_, process, _)) => process.replicas,
        None => target.spec.processes.values().map(|process| process.replicas).sum(),
    };
    match wanted {
        0 => Answering::Nobody(Reason::ScaledToZero, "the app is scaled to zero".to_owned()),
        _ => Answering::Nobody(reason, message.to_owned()),
    }
}

/// The generation that a release stands for: the target's or the proven one, or else the one that made its service.
fn generation(desired: &Desired, observed: &Observed, release: &str, in_force: bool) -> Option<i64> {
    let is_target = desired.target.processes.values().any(|target| target.release == release);
    let proven = desired.proven_generation.filter(|_| desired.proven.iter().any(|(_, other)| other == release));
    match (is_target, proven) {
        (true, Some(proven)) if !in_force => Some(proven),
        (true, _) => Some(desired.target.generation),
        (false, Some(proven)) => Some(proven),
        (false, None) => maker(desired, observed, release),
    }
}

fn maker(desired: &Desired, observed: &Observed, release: &str) -> Option<i64> {
    let mut services = observed.services.known()?.iter().filter(|service| desired.owner.owns(&service.spec.labels));
    let made = services.find(|service| service.spec.labels.get(labels::RELEASE).is_some_and(|label| label == release))?;
    made.spec.labels.get(labels::GENERATION)?.parse().ok()
}
