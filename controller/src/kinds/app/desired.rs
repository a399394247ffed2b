//! What is wanted of one app: its rows, put together into targets. Pure.

use std::collections::{BTreeMap, BTreeSet};

use api_types::event::EventType;
use api_types::kinds::app::{AppSpec, Verdict, VerdictPhase};
use api_types::{EnvKey, Host, ProcessName};
use chrono::{DateTime, TimeDelta, Utc};

use super::adopt::Adoption;
use super::names;
use super::render::{self, Owner, ProcessTarget};
use crate::edge::Route;
use crate::store::{AppRecord, NewEvent, Pause, Revision};

/// How far edges of other processes may be behind: a proxy whose server was just killed asks its keeper for a document within this time.
const OTHER_EDGES: TimeDelta = TimeDelta::seconds(3);

/// What is wanted of one app.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// Whose objects.
    pub owner: Owner,
    /// The newest generation.
    pub generation: i64,
    /// Verdict of the newest generation.
    pub verdict: Verdict,
    /// Whether the app is to go away.
    pub deleting: bool,
    /// The last pause; it may be over.
    pub pause: Pause,
    /// Hosts of the app, sorted.
    pub hosts: Vec<Host>,
    /// What the engine shall converge to: the newest generation, or the last proven one when the
    /// newest has failed.
    pub target: Target,
    /// Swarm services that the app may have taken over: names and ids.
    pub adopted: BTreeMap<String, String>,
    /// Releases that were proven to serve, by process; they need no health window again.
    pub proven: BTreeSet<(ProcessName, String)>,
    /// The generation that these releases are of.
    pub proven_generation: Option<i64>,
    /// When the newest generation was written.
    pub since: DateTime<Utc>,
    /// The failed generation that the newest one is to try again.
    pub retry_of: Option<i64>,
}

/// One generation, rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its number.
    pub generation: i64,
    /// Its spec.
    pub spec: AppSpec,
    /// Versions of its secrets.
    pub secret_versions: BTreeMap<EnvKey, i64>,
    /// The resolved image, once it is.
    pub image: Option<String>,
    /// Its processes.
    pub processes: BTreeMap<ProcessName, ProcessTarget>,
    /// Its verdict.
    pub phase: VerdictPhase,
}

/// All hosts of an app, sorted: the custom ones, and the platform's when a process takes requests.
pub fn hosts(spec: &AppSpec, custom: impl IntoIterator<Item = Host>, platform: Option<Host>) -> Vec<Host> {
    let platform = spec.routed_process().and(platform);
    let hosts: BTreeSet<Host> = custom.into_iter().chain(platform).collect();
    hosts.into_iter().collect()
}

impl Target {
    /// Renders a revision. While its image is not resolved the reference stands in for it.
    pub fn of(owner: &Owner, revision: &Revision) -> Self {
        let reference = revision.spec.image.to_string();
        let image = revision.resolved_image.as_deref().unwrap_or(&reference);
        let processes = revision
            .spec
            .processes
            .iter()
            .map(|(name, process)| {
                let target = render::process(owner, revision, image, (name, process));
                (name.clone(), target)
            })
            .collect();
        Self {
            generation: revision.generation,
            spec: revision.spec.clone(),
            secret_versions: revision.secret_versions.clone(),
            image: revision.resolved_image.clone(),
            processes,
            phase: revision.verdict.phase,
        }
    }

    /// Says which services may be taken over: names and ids of `permitted`.
    fn with_adoptions(mut self, permitted: &BTreeMap<String, String>) -> Self {
        for (name, process) in &mut self.processes {
            let adopt = self.spec.processes.get(name).and_then(|process| process.adopt.as_ref());
            process.adoption = adopt.and_then(|adopt| {
                let id = permitted.get(&adopt.service)?.clone();
                Some(Adoption { service: adopt.service.clone(), id })
            });
        }
        self
    }

    /// Names of the Swarm secrets that this target needs, by name: key and version.
    pub fn secrets(&self, owner: &Owner) -> BTreeMap<String, (EnvKey, i64)> {
        self.secret_versions
            .iter()
            .map(|(key, version)| (names::secret(&owner.app, owner.uid, *version), (key.clone(), *version)))
            .collect()
    }
}

impl Desired {
    /// An event of the app, of this generation.
    pub fn event(&self, event_type: EventType, reason: &str, message: String) -> NewEvent {
        NewEvent {
            org: Some(self.owner.org.clone()),
            kind: "App",
            name: self.owner.app.to_string(),
            uid: Some(self.owner.uid),
            event_type,
            reason: reason.to_owned(),
            message,
            generation: self.generation,
        }
    }

    /// Puts the rows together. `newest` is the revision of `record.generation`, `proven` the last
    /// revision before it that served.
    pub fn new(record: &AppRecord, newest: &Revision, proven: Option<&Revision>, hosts: Vec<Host>, dnsrr: bool) -> Self {
        let owner = Owner { org: record.org.clone(), app: record.name.clone(), uid: record.uid, dnsrr };
        let failed = newest.verdict.phase == VerdictPhase::Failed;
        let target_of = |revision| Target::of(&owner, revision).with_adoptions(&record.adopted);
        let proven_target = proven.map(target_of);
        let proven_releases = proven_target.iter().flat_map(releases).collect();
        let target = match (failed, proven_target) {
            (true, Some(proven)) => proven,
            _ => target_of(newest),
        };
        Self {
            owner,
            generation: record.generation,
            verdict: newest.verdict.clone(),
            deleting: record.deletion_timestamp.is_some(),
            pause: record.pause.clone(),
            hosts,
            target,
            adopted: record.adopted.clone(),
            proven: proven_releases,
            proven_generation: proven.map(|revision| revision.generation),
            since: newest.created_at,
            retry_of: newest.based_on.filter(|_| newest.source == "retry"),
        }
    }

    /// Whether the target is an older generation because the newest failed.
    pub fn is_reverting(&self) -> bool {
        self.target.generation != self.generation
    }

    /// Whether the newest generation failed and there is nothing to go back to.
    pub fn is_stuck(&self) -> bool {
        self.verdict.phase == VerdictPhase::Failed && !self.is_reverting()
    }

    /// Whether the target has releases with tasks that were never proven to serve.
    pub fn needs_health_window(&self) -> bool {
        let mut processes = self.target.processes.iter();
        processes.any(|(name, process)| process.service.replicas > 0 && !self.proven.contains(&(name.clone(), process.release.clone())))
    }

    /// How long new tasks have to stay healthy before the last old ones go: with other edges, long enough for these to know the new ones.
    pub fn health_window(&self, other_edges: bool) -> TimeDelta {
        let wanted = self.target.spec.rollout.health_window.chrono();
        if other_edges { wanted.max(OTHER_EDGES) } else { wanted }
    }

    /// Where requests shall go, for tasks of `releases`. `None` when no process takes requests.
    pub fn route(&self, releases: Vec<String>) -> Option<Route> {
        let (process, spec, _) = self.target.spec.routed_process()?;
        if self.hosts.is_empty() {
            return None;
        }
        Some(Route {
            app_uid: self.owner.uid,
            org: self.owner.org.clone(),
            app: self.owner.app.clone(),
            hosts: self.hosts.clone(),
            process: process.clone(),
            releases,
            health: spec.health.clone(),
            protocol: spec.protocol,
            edge: self.target.spec.edge.clone(),
        })
    }
}

fn releases(target: &Target) -> Vec<(ProcessName, String)> {
    target.processes.iter().map(|(name, process)| (name.clone(), process.release.clone())).collect()
}
