//! What users are told. Pure: written from observation, never from intention.

use std::collections::BTreeMap;

use api_types::kinds::app::{AppStatus, ProcessStatus, ServingRevision, VerdictPhase};
use api_types::{Condition, ConditionStatus, ConditionType, ProcessName, Reason};
use chrono::{DateTime, Utc};

use super::causes::{Cause, Causes};
use super::desired::Desired;
use super::drift::{self, Finding};
use super::model::{EdgeModel, Model, Observed};
use super::plan::{Gate, Step};
use super::serving::Answering;
use super::verdict::{self, Judgement};
use crate::edge::RouteFacts;
use crate::plan::{Fact, Plan};

/// What a status is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// What is wanted.
    pub desired: &'a Desired,
    /// What was read.
    pub observed: &'a Observed,
    /// The picture of it.
    pub model: &'a Model,
    /// The verdict and the progress.
    pub judgement: &'a Judgement,
    /// What is still to do.
    pub plan: &'a Plan<Step, Gate>,
    /// What somebody else changed.
    pub drift: &'a [Finding],
    /// Why the image could not be resolved, the last time it was tried.
    pub image_error: Option<&'a Cause>,
    /// What keeps a deletion from going on, the last time it was tried.
    pub held_up: Option<&'a str>,
    /// The status before, for transition times.
    pub previous: &'a AppStatus,
    /// Scheme and port under which the edge is reached, such as `("http", 8080)`.
    pub edge: (&'a str, u16),
    /// Port of the edge for HTTPS, when it has one.
    pub https_port: Option<u16>,
    /// Now.
    pub now: DateTime<Utc>,
}

/// A condition before it gets its generation and time.
struct Said(ConditionType, ConditionStatus, Reason, String);

use ConditionStatus::{False, True, Unknown};

/// The status of an app.
pub fn status(inputs: &Inputs<'_>) -> AppStatus {
    let desired = inputs.desired;
    let causes = Causes::find(desired, inputs.observed, inputs.now);
    let answering = Answering::find(desired, inputs.observed, inputs.model);
    let said = [
        ready(inputs, &causes),
        serving(inputs, &answering),
        progressing(inputs),
        accepted(inputs),
        image(inputs, &causes),
        scheduled(inputs, &causes),
        healthy(inputs, &causes),
        routed(inputs),
        drifted(inputs),
        paused(inputs),
    ];
    let conditions = said
        .into_iter()
        .map(|Said(kind, status, reason, message)| {
            let condition =
                Condition { kind, status, reason, message, observed_generation: desired.generation, last_transition_time: inputs.now };
            condition.since(&inputs.previous.conditions)
        })
        .collect();
    let serving = answering.revisions();
    let is_ready_verdict = inputs.judgement.verdict.phase == VerdictPhase::Ready;
    AppStatus {
        observed_generation: desired.generation,
        conditions,
        serving_generation: if let [alone] = serving.as_slice() { Some(alone.generation) } else { None },
        serving,
        proven_generation: if is_ready_verdict { Some(desired.generation) } else { inputs.previous.proven_generation },
        verdict: Some(inputs.judgement.verdict.clone()),
        rollout: Some(inputs.judgement.rollout),
        image: desired.target.image.clone(),
        processes: processes(inputs),
        urls: urls(inputs),
        cluster_generation: inputs.model.behind,
        cluster_secret_version: inputs.model.behind.and(newest_secret(inputs.model)),
    }
}

/// The newest version of a secret of the app's that the engine has.
fn newest_secret(model: &Model) -> Option<i64> {
    model.secrets.keys().filter_map(|name| name.rsplit_once("-s")?.1.parse().ok()).max()
}

fn drifted(inputs: &Inputs<'_>) -> Said {
    let say = |status, reason, message: String| Said(ConditionType::Drifted, status, reason, message);
    if inputs.drift.is_empty() {
        return match inputs.model.known {
            true => say(False, Reason::NoDrift, "everything is as the platform left it".to_owned()),
            false => say(Unknown, Reason::EngineUnreachable, "the engine could not be read".to_owned()),
        };
    }
    let what = drift::list(inputs.drift);
    let mendable = inputs.drift.iter().any(|finding| finding.mendable);
    match (&inputs.model.paused, &inputs.model.held) {
        _ if !mendable => say(True, Reason::DriftFound, format!("{what}; it is recorded, there is nothing to put right")),
        (Some(_), _) => say(True, Reason::Paused, format!("{what}; it is left so while the app is paused")),
        (None, Some(_)) => say(True, Reason::DriftHeld, format!("{what}; it is left so, as spec.driftPolicy says")),
        (None, None) => say(True, Reason::DriftFound, format!("{what}; it is put right")),
    }
}

fn paused(inputs: &Inputs<'_>) -> Said {
    match &inputs.model.paused {
        Some(pause) => Said(ConditionType::Paused, True, Reason::Paused, pause.to_string()),
        None => Said(ConditionType::Paused, False, Reason::NotPaused, "nothing holds the platform back".to_owned()),
    }
}

/// The verdict's cause as a condition of its own type, so that it outlives the tasks that showed it.
fn failed(inputs: &Inputs<'_>, reasons: &[Reason]) -> Option<(Reason, String)> {
    let verdict = &inputs.judgement.verdict;
    let causes = [verdict.cause, verdict.reason].into_iter().flatten();
    let reason = causes.filter(|_| verdict.phase == VerdictPhase::Failed).find(|reason| reasons.contains(reason))?;
    Some((reason, verdict.message.clone().unwrap_or_default()))
}

fn ready(inputs: &Inputs<'_>, causes: &Causes) -> Said {
    let say = |status, reason, message: String| Said(ConditionType::Ready, status, reason, message);
    let (desired, model) = (inputs.desired, inputs.model);
    if desired.deleting {
        return match &model.paused {
            Some(pause) => say(False, Reason::Deleting, format!("the app is to be deleted, which waits: it is {pause}")),
            None => {
                let waits = inputs.held_up.map_or_else(String::new, |why| format!(", which waits: {why}"));
                say(False, Reason::Deleting, format!("the app is being deleted{waits}"))
            }
        };
    }
    if let Some(found) = model.behind.filter(|_| model.known) {
        let gate = Gate::StoreBehind { known: desired.generation, found };
        return say(Unknown, Reason::StoreBehindCluster, gate.to_string());
    }
    let verdict = &inputs.judgement.verdict;
    if verdict.phase == VerdictPhase::Failed {
        let cause = verdict.message.as_deref().unwrap_or("no cause was recorded");
        let serving = match inputs.desired.is_reverting() {
            true => format!("; generation {} is kept instead", desired.target.generation),
            false => String::new(),
        };
        return say(False, Reason::RolloutFailed, format!("generation {} failed: {cause}{serving}", desired.generation));
    }
    if !model.known {
        return say(Unknown, Reason::EngineUnreachable, "the engine could not be read".to_owned());
    }
    if verdict.phase != VerdictPhase::Ready {
        let why = inputs.plan.gate().map_or_else(|| "work is under way".to_owned(), ToString::to_string);
        return say(False, Reason::RollingOut, format!("generation {} is not proven yet: {why}", desired.generation));
    }
    if desired.target.processes.values().all(|process| process.service.replicas == 0) {
        return match desired.target.spec.suspend {
            true => say(True, Reason::Suspended, "the app is stopped (spec.suspend), as wanted".to_owned()),
            false => say(True, Reason::ScaledToZero, "every process is scaled to zero, as wanted".to_owned()),
        };
    }
    if let Some(held) = model.held.as_ref().filter(|_| !verdict::is_healthy(desired, model)) {
        return say(False, Reason::DriftHeld, format!("the app is not as its spec wants it: {held}; spec.driftPolicy leaves it so"));
    }
    if !verdict::is_healthy(desired, model) {
        let cause = causes.worst().cloned();
        let cause = cause.unwrap_or(Cause { reason: Reason::Starting, message: "not every wanted task is ready".to_owned() });
        return say(False, cause.reason, cause.message);
    }
    let has_route = desired.target.spec.routed_process().is_some() && !desired.hosts.is_empty();
    if !verdict::is_routed(desired, inputs.observed, model) {
        let Said(_, status, reason, message) = routed(inputs);
        return say(if status == Unknown { Unknown } else { False }, reason, message);
    }
    if has_route && desired.target.spec.edge.maintenance().is_some() {
        say(True, Reason::Maintenance, format!("generation {} answers, behind the maintenance page", desired.generation))
    } else if has_route {
        say(True, Reason::Serving, format!("generation {} answers through the edge", desired.generation))
    } else {
        say(True, Reason::Running, format!("all tasks of generation {} run", desired.generation))
    }
}

fn progressing(inputs: &Inputs<'_>) -> Said {
    let say = |status, reason, message: String| Said(ConditionType::Progressing, status, reason, message);
    if inputs.desired.deleting {
        let what = inputs.plan.gate().map_or_else(|| "removing what belongs to the app".to_owned(), ToString::to_string);
        return say(True, Reason::Deleting, what);
    }
    if let Some(gate @ Gate::StoreBehind { .. }) = inputs.plan.gate() {
        return say(False, Reason::StoreBehindCluster, gate.to_string());
    }
    let verdict = &inputs.judgement.verdict;
    let failed = verdict.phase == VerdictPhase::Failed;
    if failed && verdict.reason == Some(Reason::ProgressDeadlineExceeded) {
        return say(False, Reason::ProgressDeadlineExceeded, verdict.message.clone().unwrap_or_default());
    }
    if failed && inputs.plan.steps.is_empty() {
        return say(False, Reason::RolloutFailed, "nothing more is tried until the app is changed".to_owned());
    }
    if let (Some(pause), Some(Gate::Paused { .. })) = (&inputs.model.paused, inputs.plan.gate()) {
        let first = inputs.plan.steps.first().map(|first| format!("; the next step will be: {}", first.step)).unwrap_or_default();
        return say(False, Reason::Paused, format!("{pause}{first}"));
    }
    if let Some(gate @ Gate::Held { .. }) = inputs.plan.gate() {
        return say(False, Reason::DriftHeld, gate.to_string());
    }
    if inputs.plan.is_empty() {
        return say(False, Reason::Settled, "nothing is left to do".to_owned());
    }
    let message = match (inputs.plan.gate(), inputs.plan.steps.first()) {
        (Some(gate), _) => gate.to_string(),
        (None, Some(first)) => first.step.to_string(),
        (None, None) => String::new(),
    };
    say(True, Reason::RollingOut, message)
}

fn accepted(inputs: &Inputs<'_>) -> Said {
    let refused = inputs.model.candidates.values().find_map(|candidate| Some((&candidate.service, candidate.refused.as_ref()?)));
    if let Some((service, why)) = refused {
        let message = format!("service {service} is not taken over: {why}; make both the same, or remove \"adopt\" from the process");
        return Said(ConditionType::Accepted, False, Reason::AdoptionRefused, message);
    }
    match &inputs.model.name_taken {
        Some(what) => Said(
            ConditionType::Accepted,
            False,
            Reason::NameTaken,
            format!("{what} exists on the engine and does not belong to this app; it is not touched. Rename or remove it"),
        ),
        None => Said(ConditionType::Accepted, True, Reason::Valid, "the spec is valid".to_owned()),
    }
}

fn image(inputs: &Inputs<'_>, causes: &Causes) -> Said {
    let say = |status, reason, message: String| Said(ConditionType::ImagePullable, status, reason, message);
    if let Some((reason, message)) = failed(inputs, &[Reason::ImageNotFound, Reason::RegistryUnreachable, Reason::RegistryDenied]) {
        return say(False, reason, message);
    }
    if let Some(cause) = &causes.image {
        return say(False, cause.reason, cause.message.clone());
    }
    match (&inputs.desired.target.image, inputs.image_error) {
        (Some(image), _) if image.starts_with("sha256:") => {
            say(True, Reason::LocalImage, format!("{image} is on the engine; no registry has it, so other nodes could not pull it"))
        }
        (Some(image), _) => say(True, Reason::Resolved, format!("the image is {image}")),
        (None, Some(cause)) => say(False, cause.reason, cause.message.clone()),
        (None, None) => say(Unknown, Reason::Pending, "the image was not looked up yet".to_owned()),
    }
}

fn scheduled(inputs: &Inputs<'_>, causes: &Causes) -> Said {
    let say = |status, reason, message: String| Said(ConditionType::Scheduled, status, reason, message);
    if let Some((reason, message)) = failed(inputs, &[Reason::Unschedulable, Reason::AddressPoolExhausted]) {
        return say(False, reason, message);
    }
    if let Some(cause) = &causes.scheduling {
        return say(False, cause.reason, cause.message.clone());
    }
    if !inputs.model.known {
        return say(Unknown, Reason::EngineUnreachable, "the engine could not be read".to_owned());
    }
    let (wanted, missing) = totals(inputs);
    if wanted == 0 {
        return say(True, Reason::ScaledToZero, "no task is wanted".to_owned());
    }
    if missing > 0 {
        return say(Unknown, Reason::Pending, format!("{missing} of {wanted} tasks were not asked for yet"));
    }
    if causes.homeless > 0 {
        return say(Unknown, Reason::Pending, format!("{} of {wanted} tasks have no node yet", causes.homeless));
    }
    say(True, Reason::AllScheduled, "every wanted task has a node".to_owned())
}

/// Wanted tasks, and how many of them the engine was not asked for yet.
fn totals(inputs: &Inputs<'_>) -> (u64, u64) {
    let mut wanted = 0;
    let mut asked = 0;
    for (name, process) in &inputs.desired.target.processes {
        wanted += process.service.replicas;
        let current = inputs.model.services.get(&(name.clone(), process.release.clone()));
        asked += current.map_or(0, |current| u64::from(current.replicas)).min(process.service.replicas);
    }
    (wanted, wanted.saturating_sub(asked))
}

fn healthy(inputs: &Inputs<'_>, causes: &Causes) -> Said {
    let say = |status, reason, message: String| Said(ConditionType::Healthy, status, reason, message);
    let of_health = [Reason::CrashLoop, Reason::OutOfMemory, Reason::HealthCheckFailing, Reason::PortClosed, Reason::TaskRejected];
    if let Some((reason, message)) = failed(inputs, &of_health) {
        return say(False, reason, message);
    }
    if !inputs.model.known {
        return say(Unknown, Reason::EngineUnreachable, "the engine could not be read".to_owned());
    }
    let needs_endpoints = inputs.desired.target.processes.values().any(|process| process.port.is_some() && process.service.replicas > 0);
    if needs_endpoints && inputs.observed.endpoints.is_unknown() {
        return say(Unknown, Reason::EngineUnreachable, "the addresses of the tasks are not known".to_owned());
    }
    if verdict::is_healthy(inputs.desired, inputs.model) {
        let (wanted, _) = totals(inputs);
        return match wanted {
            0 => say(True, Reason::ScaledToZero, "no task is wanted".to_owned()),
            _ => say(True, Reason::AllHealthy, format!("all {wanted} tasks run and answer")),
        };
    }
    match &causes.health {
        Some(cause) => say(False, cause.reason, cause.message.clone()),
        None => say(False, Reason::Starting, counts(inputs)),
    }
}

fn counts(inputs: &Inputs<'_>) -> String {
    let parts: Vec<String> =
        processes(inputs).iter().map(|(name, process)| format!("{name}: {} of {} ready", process.ready, process.desired)).collect();
    parts.join(", ")
}

fn routed(inputs: &Inputs<'_>) -> Said {
    let say = |status, reason, message: String| Said(ConditionType::Routed, status, reason, message);
    let (desired, model) = (inputs.desired, inputs.model);
    let Some((name, process, _)) = desired.target.spec.routed_process() else {
        return say(True, Reason::NoRoutes, "no process takes requests".to_owned());
    };
    if desired.hosts.is_empty() {
        return say(True, Reason::NoRoutes, "the app has no host".to_owned());
    }
    let facts = match &inputs.observed.edge {
        Fact::Unknown => return say(Unknown, Reason::EdgeUnreachable, "the proxy could not be asked".to_owned()),
        Fact::Absent => return say(False, Reason::RoutePending, absent(inputs).to_owned()),
        Fact::Known(facts) => facts,
    };
    if let Some(error) = &facts.error {
        return say(False, Reason::RouteRejected, format!("the proxy does not serve the route as it was published: {error}"));
    }
    if desired.target.spec.suspend {
        return say(False, Reason::Suspended, "the app is stopped; requests are answered with 503".to_owned());
    }
    if process.replicas == 0 {
        return say(False, Reason::NoBackends, format!("{name} is scaled to zero; requests are answered with 503"));
    }
    if verdict::is_routed(desired, inputs.observed, model) {
        let (hosts, tasks) = (join(desired), facts.servers.len());
        let spec = &desired.target.spec.edge;
        if spec.maintenance().is_some() {
            let text = format!(
                "requests for {hosts} get the maintenance page, as spec.edge.maintenance asks; behind it are {tasks} tasks of {name}"
            );
            return say(True, Reason::Maintenance, text);
        }
        let out = out_of_rotation(facts).map_or_else(String::new, |out| format!(", but {out}"));
        let unmet = if spec.https.is_some() && inputs.https_port.is_none() {
            "; spec.edge.https is not in force, since the edge has no HTTPS (skyswarm up --edge-https)"
        } else {
            ""
        };
        return say(True, Reason::RouteLive, format!("requests for {hosts} reach {tasks} tasks of {name}{out}{unmet}"));
    }
    if facts.servers.is_empty() {
        return say(False, Reason::NoBackends, format!("no task of {name} is ready to take requests"));
    }
    if let Some(out) = out_of_rotation(facts).filter(|_| facts.down.len() >= facts.servers.len()) {
        return say(False, Reason::NoBackends, format!("no task of {name} gets requests: {out}"));
    }
    if !matches!(model.edge, EdgeModel::Serves { hosts_current: true, .. }) {
        return say(False, Reason::RoutePending, "the proxy has an older version of the route".to_owned());
    }
    match &facts.probe {
        Some(probe) if !probe.ok => say(False, Reason::ProbeFailed, format!("our own request through the edge failed: {}", probe.detail)),
        _ => say(False, Reason::RoutePending, "the proxy does not send requests to exactly the current tasks yet".to_owned()),
    }
}

/// The proxy does not have the route: not yet, or not any more.
fn absent(inputs: &Inputs<'_>) -> &'static str {
    let before = api_types::condition::find(&inputs.previous.conditions, ConditionType::Routed);
    let live = |before: &Condition| before.status == True && before.observed_generation == inputs.desired.generation;
    if before.is_some_and(live) {
        "the proxy no longer has the route; it is published, so the proxy has started anew or lost it, and takes it with its next look"
    } else {
        "the proxy has not taken the route yet"
    }
}

/// Tasks that the proxy sends nothing to, because its own health check fails.
fn out_of_rotation(facts: &RouteFacts) -> Option<String> {
    let down: Vec<String> = facts.down.iter().map(ToString::to_string).collect();
    let (bad, all) = (down.len(), facts.servers.len());
    (bad > 0).then(|| format!("the proxy's own health check fails for {bad} of {all} ({})", down.join(", ")))
}

fn join(desired: &Desired) -> String {
    desired.hosts.iter().map(api_types::Host::as_str).collect::<Vec<_>>().join(", ")
}

/// Which revisions really answer, whatever is wanted.
fn serving(inputs: &Inputs<'_>, answering: &Answering) -> Said {
    let say = |status, reason, message: String| Said(ConditionType::Serving, status, reason, message);
    let list = match answering {
        Answering::Unknown(reason, message) => return say(Unknown, *reason, message.clone()),
        Answering::Nobody(reason, message) => return say(False, *reason, message.clone()),
        Answering::Revisions(list) => list,
    };
    let tasks = |revision: &ServingRevision| match revision.tasks {
        1 => "1 task".to_owned(),
        count => format!("{count} tasks"),
    };
    let has_route = inputs.desired.target.spec.routed_process().is_some() && !inputs.desired.hosts.is_empty();
    if let [alone] = list.as_slice() {
        let does = if has_route { "answers" } else { "runs" };
        let message = format!("revision {} {does}, with {}", alone.generation, tasks(alone));
        return say(True, if has_route { Reason::Serving } else { Reason::Running }, message);
    }
    let parts: Vec<String> = list.iter().map(|revision| format!("revision {} with {}", revision.generation, tasks(revision))).collect();
    let do_it = if has_route { "answer" } else { "run" };
    say(True, Reason::MixedRevisions, format!("several revisions {do_it}: {}", parts.join(", ")))
}

fn processes(inputs: &Inputs<'_>) -> BTreeMap<ProcessName, ProcessStatus> {
    let of = |(name, process): (&ProcessName, &super::render::ProcessTarget)| {
        let current = inputs.model.services.get(&(name.clone(), process.release.clone()));
        let others: u32 = inputs.model.others(name, &process.release).map(|(_, service)| service.ready).sum();
        let ready = current.map_or(0, |current| current.ready);
        let status = ProcessStatus {
            desired: u32::try_from(process.service.replicas).unwrap_or(u32::MAX),
            running: ready.saturating_add(others),
            updated: current.map_or(0, |current| current.replicas),
            ready,
        };
        (name.clone(), status)
    };
    inputs.desired.target.processes.iter().map(of).collect()
}

fn urls(inputs: &Inputs<'_>) -> Vec<String> {
    if inputs.desired.target.spec.routed_process().is_none() {
        return Vec::new();
    }
    let (scheme, port) = match inputs.https_port {
        Some(port) if inputs.desired.target.spec.edge.redirects() => ("https", port),
        _ => inputs.edge,
    };
    let suffix = match (scheme, port) {
        ("http", 80) | ("https", 443) => String::new(),
        _ => format!(":{port}"),
    };
    inputs.desired.hosts.iter().map(|host| format!("{scheme}://{host}{suffix}")).collect()
}
