//! Why tasks do not run or do not answer, in words for people and reasons for programs. Pure.

use api_types::{ProcessName, Reason};
use chrono::{DateTime, TimeDelta, Utc};

use super::desired::Desired;
use super::model::Observed;
use super::names;
use crate::edge::{Check, Endpoint};
use crate::engines::swarm::{Service, Task, TaskState};

/// One cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// For programs.
    pub reason: Reason,
    /// For people: names the task and its node, and says what happened.
    pub message: String,
}

/// What was found out about the tasks of the target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Causes {
    /// Nodes refused the image.
    pub image: Option<Cause>,
    /// The engine finds no node.
    pub scheduling: Option<Cause>,
    /// Tasks end, are refused, or do not answer.
    pub health: Option<Cause>,
    /// Tasks of releases that this generation made, which ended with an error.
    pub crashes: u32,
    /// Such tasks that a node refused.
    pub rejections: u32,
    /// Wanted tasks that have no node yet.
    pub homeless: u32,
}

/// How long the Swarm may take to give a network its subnet; usually that is a matter of milliseconds.
const ALLOCATION: TimeDelta = TimeDelta::seconds(2);

impl Causes {
    /// Looks through the tasks and endpoints of the target's releases.
    pub fn find(desired: &Desired, observed: &Observed, now: DateTime<Utc>) -> Self {
        let mut found = Self::default();
        let name = names::network(&desired.owner.app, desired.owner.uid);
        let networks = observed.networks.known().into_iter().flatten();
        let unallocated = networks.into_iter().any(|network| network.name == name && !network.allocated);
        for (process, target) in &desired.target.processes {
            let services = observed.services.known().into_iter().flatten();
            let Some(service) = services.into_iter().find(|service| service.spec.name == target.service.name) else { continue };
            found.look_at(observed, process, service, is_new(service, desired.generation));
            if unallocated && service.created_at + ALLOCATION <= now && found.homeless > 0 {
                let message = format!(
                    "the Swarm has no free subnet in its address pool for the network {name}, so task {process}.1 and others cannot start"
                );
                found.scheduling = Some(Cause { reason: Reason::AddressPoolExhausted, message });
            }
        }
        found
    }

    fn look_at(&mut self, observed: &Observed, process: &ProcessName, service: &Service, is_new: bool) {
        let tasks = observed.tasks.known().into_iter().flatten().filter(|task| task.service_id == service.id);
        let mut tasks: Vec<&Task> = tasks.collect();
        // Newest first: the latest failure is the one that people need.
        tasks.sort_by(|a, b| b.state_since.cmp(&a.state_since).then_with(|| b.id.cmp(&a.id)));
        for task in tasks {
            let who = describe(observed, process, task);
            self.homeless += u32::from(task.is_wanted() && task.node_id.is_empty());
            match task.state {
                TaskState::Rejected => {
                    self.rejections += u32::from(is_new);
                    let cause = Cause { reason: rejection_reason(&task.error), message: format!("{who} was rejected: {}", words(task)) };
                    let place = if matches!(cause.reason, Reason::ImageNotFound | Reason::RegistryDenied) {
                        &mut self.image
                    } else {
                        &mut self.health
                    };
                    place.get_or_insert(cause);
                }
                TaskState::Failed => {
                    self.crashes += u32::from(is_new);
                    self.health.get_or_insert(Cause { reason: Reason::CrashLoop, message: format!("{who} {}", exit_words(task)) });
                }
                // A task that the engine stopped on purpose completes as Shutdown; Complete means that the
                // process ended by itself.
                TaskState::Complete => {
                    self.crashes += u32::from(is_new);
                    let message = format!("{who} ended by itself with exit code 0; a process must keep running");
                    self.health.get_or_insert(Cause { reason: Reason::CrashLoop, message });
                }
                TaskState::New | TaskState::Allocated | TaskState::Pending if task.is_wanted() && !task.error.is_empty() => {
                    let message = format!("task {process}.{} has no node: {}", task.slot, task.error);
                    self.scheduling.get_or_insert(Cause { reason: Reason::Unschedulable, message });
                }
                TaskState::Running if task.is_wanted() => {
                    let endpoints = observed.endpoints.known().into_iter().flatten();
                    if let Some(cause) = endpoints.into_iter().find(|e| e.task_id == task.id).and_then(|e| check_cause(&who, e)) {
                        self.health.get_or_insert(cause);
                    }
                }
                _ => {}
            }
        }
    }

    /// The cause to put into a verdict: the most specific one.
    pub fn worst(&self) -> Option<&Cause> {
        self.image.as_ref().or(self.scheduling.as_ref()).or(self.health.as_ref())
    }
}

/// Whether the service was made for this very generation. Failures of a release that an older generation
/// made say nothing about this one.
pub fn is_new(service: &Service, generation: i64) -> bool {
    service.spec.labels.get(crate::engines::swarm::labels::GENERATION).is_some_and(|label| *label == generation.to_string())
}

fn describe(observed: &Observed, process: &ProcessName, task: &Task) -> String {
    match observed.nodes.get(&task.node_id) {
        Some(node) => format!("task {process}.{} on node {node}", task.slot),
        None => format!("task {process}.{}", task.slot),
    }
}

fn words(task: &Task) -> &str {
    if task.error.is_empty() { &task.message } else { &task.error }
}

fn exit_words(task: &Task) -> String {
    match task.exit_code {
        // 137 = 128 + SIGKILL. The engine does not tell Swarm who sent it.
        Some(137) => "was killed (exit code 137); most often it used more memory than its limit".to_owned(),
        Some(code) if code != 0 => format!("exited with code {code}"),
        _ => format!("failed: {}", words(task)),
    }
}

fn rejection_reason(error: &str) -> Reason {
    let lower = error.to_ascii_lowercase();
    let about_image =
        ["no such image", "pull access denied", "manifest unknown", "not found: manifest", "manifest for", "repository does not exist"];
    let about_credentials = ["unauthorized", "authentication required", "no basic auth credentials"];
    if about_credentials.iter().any(|words| lower.contains(words)) {
        Reason::RegistryDenied
    } else if about_image.iter().any(|words| lower.contains(words)) {
        Reason::ImageNotFound
    } else {
        Reason::TaskRejected
    }
}

fn check_cause(who: &str, endpoint: &Endpoint) -> Option<Cause> {
    match &endpoint.last_check {
        _ if endpoint.ready => None,
        Check::PortClosed { detail } => Some(Cause { reason: Reason::PortClosed, message: format!("{who}: {detail}") }),
        Check::Failed { detail } => Some(Cause { reason: Reason::HealthCheckFailing, message: format!("{who}: {detail}") }),
        Check::Pending | Check::Passed => None,
    }
}
