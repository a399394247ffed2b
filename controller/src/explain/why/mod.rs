//! Why an app is as it is: walks from the condition `Ready` to the cause. Pure.
//!
//! What decides is the order of the questions in `find`: whether the app goes away, whether anybody looks at it at
//! all, whether its newest change was looked at, and only then what its conditions say. A condition that nobody
//! keeps fresh proves nothing, so the parts that keep it are asked about first.

mod words;

#[cfg(test)]
mod tests;

use api_types::condition::find as condition;
use api_types::kinds::app::VerdictPhase;
use api_types::platform::ServerProcess;
use api_types::why::{Case, Link, Why, Witness};
use api_types::{AppName, AppSpec, AppStatus, Condition, ConditionStatus, ConditionType, Node, OrgName, Reason};
use chrono::{DateTime, TimeDelta, Utc};

use super::platform;

/// How long the proxy may take to follow a rollout before that is told as trouble; usually it is well under a second.
const PATIENCE: TimeDelta = TimeDelta::seconds(5);

/// What is known of an app when the question is asked.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Organisation.
    pub org: &'a OrgName,
    /// App.
    pub name: &'a AppName,
    /// Its newest generation.
    pub generation: i64,
    /// When that was written.
    pub changed: Option<DateTime<Utc>>,
    /// Since when it is to be deleted.
    pub deleting: Option<DateTime<Utc>>,
    /// What is wanted.
    pub spec: &'a AppSpec,
    /// What the controller last told.
    pub status: &'a AppStatus,
    /// The task that shows a failure best.
    pub witness: Option<&'a Witness>,
    /// Processes of the server, by their heartbeats.
    pub processes: &'a [ServerProcess],
    /// Machines of the Swarm.
    pub nodes: &'a [Node],
    /// Older changes of other apps that no controller has looked at.
    pub ahead: i64,
    /// Whether the asker may know of hosts and of the platform's parts.
    pub platform: bool,
    /// Now.
    pub now: DateTime<Utc>,
}

/// A cause and the way to it.
struct Found {
    case: Case,
    ready: ConditionStatus,
    chain: Vec<Link>,
}

/// The answer. Whoever can read logs adds that of the task that [`wants_log`] names.
pub fn why(facts: &Facts<'_>) -> Why {
    let Found { case, ready, chain } = find(facts);
    let last = chain.last();
    let witness = facts.witness.filter(|_| shows_task(case));
    Why {
        org: facts.org.to_string(),
        name: facts.name.to_string(),
        generation: facts.generation,
        ready,
        case,
        summary: words::summary(facts, case, &chain),
        since: witness.map(|witness| witness.since).or(last.and_then(|link| link.since)),
        node: last.and_then(|link| link.node.clone()),
        serving_generation: facts.status.serving_generation,
        next: words::next(facts, case),
        see: case.page(),
        log: witness.and_then(|witness| witness.log.clone()),
        chain,
        time: facts.now,
    }
}

/// The task whose last lines belong to the answer, when nobody read them before. What was kept with a failure is
/// all that there is: the engine has forgotten the task.
pub fn wants_log<'a>(why: &Why, witness: Option<&'a Witness>) -> Option<&'a Witness> {
    witness.filter(|witness| shows_task(why.case) && witness.log.is_none())
}

/// Whether the case is about one task, which may have said something.
fn shows_task(case: Case) -> bool {
    matches!(case, Case::Crash | Case::OutOfMemory | Case::HealthCheck | Case::PortClosed | Case::DeadlineExceeded)
}

/// The case that a reason stands for; `None` for reasons that are no trouble, or name none.
pub fn case_of(reason: Reason) -> Option<Case> {
    Some(match reason {
        Reason::ImageNotFound => Case::ImageMissing,
        Reason::RegistryDenied => Case::RegistryRefuses,
        Reason::RegistryUnreachable => Case::RegistryUnreachable,
        Reason::CrashLoop => Case::Crash,
        Reason::OutOfMemory => Case::OutOfMemory,
        Reason::HealthCheckFailing => Case::HealthCheck,
        Reason::PortClosed => Case::PortClosed,
        Reason::TaskRejected => Case::TaskRejected,
        Reason::Unschedulable => Case::NoNodeFits,
        Reason::AddressPoolExhausted => Case::AddressPoolExhausted,
        Reason::NameTaken => Case::NameTaken,
        Reason::EngineRefused => Case::EngineRefused,
        Reason::AdoptionRefused => Case::AdoptionRefused,
        Reason::StoreBehindCluster => Case::StoreBehindCluster,
        Reason::EngineUnreachable => Case::EngineUnreachable,
        Reason::EdgeUnreachable => Case::EdgeUnreachable,
        Reason::RouteRejected | Reason::RoutePending | Reason::ProbeFailed | Reason::NoBackends => Case::DomainNotRouted,
        Reason::Deleting | Reason::DeletionBlocked => Case::Deleting,
        Reason::Paused => Case::Paused,
        Reason::DriftHeld => Case::DriftHeld,
        Reason::InternalError | Reason::SettingMissing | Reason::Unavailable => Case::Other,
        _ => return None,
    })
}

fn find(facts: &Facts<'_>) -> Found {
    let ready = condition(&facts.status.conditions, ConditionType::Ready);
    let is_current = facts.status.observed_generation == facts.generation && ready.is_some();
    let first: Vec<Link> = ready.map(|ready| link(ready, None)).into_iter().collect();
    let told = ready.filter(|_| is_current).map_or(ConditionStatus::Unknown, |ready| ready.status);
    if let Some(since) = facts.deleting {
        return deleting(facts, since, first);
    }
    if let Some(broken) = broken_platform(facts) {
        let case = broken.0;
        let verdict_stands = is_current && failed_for_good(facts);
        if case == Case::NoController || !verdict_stands {
            // What was told before is shown, but nobody vouches for it now.
            let mut chain = first;
            chain.push(broken.1);
            return Found { case, ready: ConditionStatus::Unknown, chain };
        }
    }
    let Some(ready) = ready.filter(|_| is_current) else {
        return not_looked_at(facts);
    };
    if ready.status == ConditionStatus::True {
        return Found { case: Case::Ready, ready: told, chain: proof(facts, ready) };
    }
    let (case, chain) = cause(facts, ready);
    Found { case, ready: told, chain }
}

/// A controller or an engine that is missing, for everything that depends on it.
fn broken_platform(facts: &Facts<'_>) -> Option<(Case, Link)> {
    let part =
        |about: &str, message: String, since| Link { about: about.to_owned(), status: None, reason: None, message, since, node: None };
    if let Some(text) = platform::controllers(facts.processes, facts.now) {
        let text = if facts.platform { text } else { "no controller works now, so nothing that is changed is carried out".to_owned() };
        let last = facts.processes.iter().filter(|process| process.has_role("controller")).map(|process| process.heartbeat_at).max();
        return Some((Case::NoController, part("controller", text, last)));
    }
    let leader = facts.processes.iter().find(|process| process.epoch.is_some())?;
    let engine = leader.report.engine.as_ref().filter(|engine| !engine.ok)?;
    let text = if facts.platform {
        format!("the engine of {} cannot be used: {}", leader.report.host, engine.detail)
    } else {
        "the engine cannot be used now".to_owned()
    };
    Some((Case::EngineUnreachable, part("engine", text, None)))
}

/// Whether the newest generation has a final verdict with a cause: that stands, whatever else is wrong by now.
fn failed_for_good(facts: &Facts<'_>) -> bool {
    facts.status.verdict.as_ref().is_some_and(|verdict| verdict.phase == VerdictPhase::Failed)
}

fn deleting(facts: &Facts<'_>, since: DateTime<Utc>, mut chain: Vec<Link>) -> Found {
    let progress = condition(&facts.status.conditions, ConditionType::Progressing).filter(|told| told.reason == Reason::Deleting);
    let message = match (progress, broken_platform(facts)) {
        (_, Some((_, part))) => format!("the deletion waits: {}", part.message),
        (Some(told), None) => told.message.clone(),
        (None, None) => "the deletion has not begun yet".to_owned(),
    };
    chain.push(Link {
        about: ConditionType::Progressing.to_string(),
        status: progress.map(|told| told.status),
        reason: Some(Reason::Deleting),
        message,
        since: Some(since),
        node: None,
    });
    Found { case: Case::Deleting, ready: ConditionStatus::False, chain }
}

/// The newest change waits for a controller.
fn not_looked_at(facts: &Facts<'_>) -> Found {
    let mut chain = vec![Link {
        about: ConditionType::Ready.to_string(),
        status: Some(ConditionStatus::Unknown),
        reason: Some(Reason::Pending),
        message: match facts.status.observed_generation {
            0 => "no controller has looked at the app yet".to_owned(),
            seen => format!("generation {} was not looked at yet; what is known is about generation {seen}", facts.generation),
        },
        since: facts.changed,
        node: None,
    }];
    if let Some(paused) = paused(facts) {
        chain.push(link(paused, None));
        return Found { case: Case::Paused, ready: ConditionStatus::Unknown, chain };
    }
    chain.push(Link {
        about: "queue".to_owned(),
        status: None,
        reason: None,
        message: words::queue(facts),
        since: facts.changed,
        node: None,
    });
    Found { case: Case::Queued, ready: ConditionStatus::Unknown, chain }
}

/// What shows that the app is ready: every condition that has something to say.
fn proof(facts: &Facts<'_>, ready: &Condition) -> Vec<Link> {
    let mut chain = vec![link(ready, None)];
    for kind in [ConditionType::Serving, ConditionType::Healthy, ConditionType::Routed] {
        chain.extend(condition(&facts.status.conditions, kind).map(|told| link(told, None)));
    }
    let drifted = condition(&facts.status.conditions, ConditionType::Drifted).filter(|told| told.status == ConditionStatus::True);
    chain.extend(drifted.into_iter().chain(paused(facts)).map(|told| link(told, None)));
    chain
}

/// Walks from a `Ready` that is not true to the first condition that says why.
fn cause(facts: &Facts<'_>, ready: &Condition) -> (Case, Vec<Link>) {
    let all = &facts.status.conditions;
    let mut chain = vec![link(ready, None)];
    let verdict = facts.status.verdict.as_ref().filter(|verdict| verdict.phase == VerdictPhase::Failed);
    if let Some(verdict) = verdict {
        let reasons = [verdict.cause, verdict.reason];
        let named = reasons.into_iter().flatten().find_map(|reason| case_of(reason).map(|case| (reason, case)));
        let deadline = verdict.reason == Some(Reason::ProgressDeadlineExceeded);
        if deadline {
            chain.extend(
                condition(all, ConditionType::Progressing)
                    .filter(|told| told.reason == Reason::ProgressDeadlineExceeded)
                    .map(|told| link(told, None)),
            );
        }
        // A deadline may come before a task was first found not to answer; the task that was kept then says why.
        let shown = facts.witness.filter(|_| deadline).and_then(|witness| witness.reason);
        let shown = shown.and_then(|reason| case_of(reason).map(|case| (reason, case)));
        let (reason, case) =
            named.or(shown).unwrap_or((Reason::ProgressDeadlineExceeded, if deadline { Case::DeadlineExceeded } else { Case::Other }));
        // The condition says it of this generation; where it has gone on meanwhile, the verdict remembers.
        let own = causes(all).find(|told| told.reason == reason);
        chain.extend(own.map(|told| link(told, None)));
        chain.extend(task(facts, case));
        return (case, chain);
    }
    let pause = paused(facts);
    // What a pause keeps from being begun has no other cause; what goes wrong meanwhile has.
    if let Some(paused) = pause.filter(|_| ready.reason == Reason::RollingOut) {
        chain.push(link(paused, None));
        return (Case::Paused, chain);
    }
    // Nothing of the rest is about the release that runs.
    if ready.reason == Reason::StoreBehindCluster {
        chain.extend(condition(all, ConditionType::Progressing).map(|told| link(told, None)));
        return (Case::StoreBehindCluster, chain);
    }
    // The reason of `Ready` itself comes from the deepest cause, when it has a name of its own.
    let own = case_of(ready.reason).and_then(|case| Some((case, causes(all).find(|told| told.reason == ready.reason)?)));
    let other = || causes(all).filter(|told| !is_consequence(facts, ready, told)).find_map(|told| Some((case_of(told.reason)?, told)));
    let held =
        || condition(all, ConditionType::Drifted).filter(|told| told.status == ConditionStatus::True && told.reason == Reason::DriftHeld);
    let Some((case, told)) = own.or_else(other).or_else(|| held().map(|told| (Case::DriftHeld, told))) else {
        let progress = condition(all, ConditionType::Progressing);
        chain.extend(progress.map(|told| link(told, None)));
        let under_way = progress.is_some_and(|told| told.status == ConditionStatus::True);
        return (if under_way { Case::RollingOut } else { case_of(ready.reason).unwrap_or(Case::Other) }, chain);
    };
    chain.extend(pause.map(|told| link(told, None)));
    chain.push(link(told, None));
    chain.extend(task(facts, case));
    (case, chain)
}

/// Whether a condition is only not good yet: during a rollout the route waits for the tasks, and then for a moment for
/// the proxy.
fn is_consequence(facts: &Facts<'_>, ready: &Condition, told: &Condition) -> bool {
    let is_healthy = condition(&facts.status.conditions, ConditionType::Healthy).is_some_and(|told| told.status == ConditionStatus::True);
    let is_stalled = facts.status.rollout.is_none_or(|rollout| facts.now - rollout.last_progress_at > PATIENCE);
    let waits = matches!(told.reason, Reason::RoutePending | Reason::NoBackends | Reason::EdgeUnreachable);
    ready.reason == Reason::RollingOut && told.kind == ConditionType::Routed && waits && !(is_healthy && is_stalled)
}

/// Conditions that are not good, in the order in which one depends on the other.
fn causes(all: &[Condition]) -> impl Iterator<Item = &Condition> {
    use ConditionType::{Accepted, Healthy, ImagePullable, Routed, Scheduled};
    let in_order = [Accepted, ImagePullable, Scheduled, Healthy, Routed].into_iter();
    in_order.filter_map(|kind| condition(all, kind)).filter(|told| told.status != ConditionStatus::True)
}

/// The condition that says that the app is paused, while it is.
fn paused<'a>(facts: &'a Facts<'_>) -> Option<&'a Condition> {
    condition(&facts.status.conditions, ConditionType::Paused).filter(|told| told.status == ConditionStatus::True)
}

fn link(told: &Condition, node: Option<String>) -> Link {
    Link {
        about: told.kind.to_string(),
        status: Some(told.status),
        reason: Some(told.reason),
        message: told.message.clone(),
        since: Some(told.last_transition_time),
        node,
    }
}

/// The task that shows the cause.
fn task(facts: &Facts<'_>, case: Case) -> Option<Link> {
    let witness = facts.witness.filter(|_| shows_task(case))?;
    Some(Link {
        about: format!("task {}", witness.replica()),
        status: None,
        reason: None,
        message: witness.message.clone(),
        since: Some(witness.since),
        node: witness.node.clone(),
    })
}
