//! Finds the task that shows a failure best. Pure; what is found is kept with a failed revision, and answers
//! `skyctl why`.

use api_types::Reason;
use api_types::why::Witness;

use super::model::Observed;
use crate::edge::Check;
use crate::engines::swarm::{Service, Task, TaskState, labels};

/// A witness, and where its log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The task.
    pub witness: Witness,
    /// Its service on the engine.
    pub service: String,
}

/// Whether a task can show the cause of a reason.
pub fn can_show(reason: Reason) -> bool {
    matches!(reason, Reason::CrashLoop | Reason::OutOfMemory | Reason::HealthCheckFailing | Reason::PortClosed | Reason::TaskRejected)
}

/// The newest failure among the tasks of one generation's services, or, with no generation, of all. A task that
/// ended says more than one that does not answer.
pub fn find(observed: &Observed, generation: Option<i64>) -> Option<Found> {
    let is_meant = |service: &&Service| {
        let made_for = service.spec.labels.get(labels::GENERATION);
        generation.is_none_or(|generation| made_for.is_some_and(|label| *label == generation.to_string()))
    };
    let services: Vec<&Service> = observed.services.known().into_iter().flatten().filter(is_meant).collect();
    let told = observed.tasks.known().into_iter().flatten().filter_map(|task| {
        let service = services.iter().find(|service| service.id == task.service_id)?;
        let (reason, message) = failure(observed, task)?;
        // A task that ended says more than one that does not answer.
        let rank = u8::from(task.state > TaskState::Running);
        Some((rank, task.state_since, task, *service, (reason, message)))
    });
    let (_, _, task, service, (reason, message)) = told.max_by(|a, b| (a.0, a.1, &a.2.id).cmp(&(b.0, b.1, &b.2.id)))?;
    let witness = Witness {
        process: service.spec.labels.get(labels::PROCESS).cloned().unwrap_or_default(),
        slot: task.slot,
        task: task.id.clone(),
        node: observed.nodes.get(&task.node_id).cloned(),
        state: format!("{:?}", task.state).to_lowercase(),
        message,
        reason: Some(reason),
        exit_code: task.exit_code,
        since: task.state_since,
        log: None,
    };
    Some(Found { witness, service: service.spec.name.clone() })
}

/// What happened to a task that failed.
fn failure(observed: &Observed, task: &Task) -> Option<(Reason, String)> {
    let words = if task.error.is_empty() { task.message.as_str() } else { task.error.as_str() };
    match task.state {
        TaskState::Failed if observed.out_of_memory.contains(&task.id) => Some((Reason::OutOfMemory, exit(task, words))),
        TaskState::Failed => Some((Reason::CrashLoop, exit(task, words))),
        TaskState::Complete => Some((Reason::CrashLoop, "it ended by itself with exit code 0".to_owned())),
        TaskState::Rejected => Some((Reason::TaskRejected, format!("its node rejected it: {words}"))),
        TaskState::Running if task.is_wanted() => {
            let endpoint = observed.endpoints.known().into_iter().flatten().find(|endpoint| endpoint.task_id == task.id)?;
            match &endpoint.last_check {
                _ if endpoint.ready => None,
                Check::PortClosed { detail } => Some((Reason::PortClosed, format!("it runs, but {detail}"))),
                Check::Failed { detail } => Some((Reason::HealthCheckFailing, format!("it runs, but {detail}"))),
                Check::Pending | Check::Passed => None,
            }
        }
        _ => None,
    }
}

fn exit(task: &Task, words: &str) -> String {
    match task.exit_code {
        Some(code) if code != 0 => format!("it ended with exit code {code}: {words}"),
        _ => format!("it failed: {words}"),
    }
}
