//! The verdict on a generation: Pending → Rolling → Ready or Failed. Pure; stored before anything else is
//! done about it, so that a crash in between can not try a failed generation again.

use api_types::Reason;
use api_types::kinds::app::{RolloutStatus, Verdict, VerdictPhase};
use chrono::{DateTime, Utc};

use super::causes::{Cause, Causes};
use super::desired::Desired;
use super::model::{EdgeModel, Model, Observed};
use crate::edge::Check;
use crate::plan::Fact;

/// Tasks of a new release that may end with an error before the generation has failed. One crash can be
/// bad luck (a dependency that starts at the same time); three in a row are not.
pub const CRASHES_TO_FAIL: u32 = 3;
/// Tasks that nodes may refuse. A refusal seldom mends itself.
pub const REJECTIONS_TO_FAIL: u32 = 2;

/// What is to be remembered of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict on the newest generation.
    pub verdict: Verdict,
    /// How far it came.
    pub rollout: RolloutStatus,
}

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// What is wanted.
    pub desired: &'a Desired,
    /// What was read.
    pub observed: &'a Observed,
    /// The picture of it.
    pub model: &'a Model,
    /// Why the image could not be resolved, the last time it was tried.
    pub image_error: Option<&'a Cause>,
}

/// Judges the newest generation from what was observed.
pub fn judge(look: &Look<'_>, before: Option<RolloutStatus>, now: DateTime<Utc>) -> Judgement {
    let Look { desired, observed, model, .. } = *look;
    let rollout = advance(desired, model, before.filter(|rollout| rollout.generation == desired.generation), observed, now);
    let keep = |verdict: &Verdict| Judgement { verdict: verdict.clone(), rollout };
    let decided = matches!(desired.verdict.phase, VerdictPhase::Ready) || desired.deleting || desired.is_reverting();
    // Of a generation that the engine has left behind nothing can be said.
    if decided || !model.known || model.behind.is_some() {
        return keep(&desired.verdict);
    }
    let give = |phase| Judgement { verdict: Verdict { phase, reason: None, cause: None, message: None, time: now }, rollout };
    // A first generation that failed is left running; if it mends itself, that is what is observed.
    if is_proven(desired, observed, model) {
        return give(VerdictPhase::Ready);
    }
    // What a pause holds back cannot be said to have failed.
    if desired.verdict.phase == VerdictPhase::Failed || model.paused.is_some() {
        return keep(&desired.verdict);
    }
    if let Some(verdict) = failure(look, &rollout, now) {
        return Judgement { verdict, rollout };
    }
    match desired.verdict.phase {
        VerdictPhase::Pending => give(VerdictPhase::Rolling),
        _ => keep(&desired.verdict),
    }
}

/// The verdict that the generation has failed, if it has.
fn failure(look: &Look<'_>, rollout: &RolloutStatus, now: DateTime<Utc>) -> Option<Verdict> {
    let causes = Causes::find(look.desired, look.observed, now);
    let failed =
        |reason, cause, message| Verdict { phase: VerdictPhase::Failed, reason: Some(reason), cause, message: Some(message), time: now };
    let as_is = |cause: Cause| failed(cause.reason, None, cause.message);
    if causes.rejections >= REJECTIONS_TO_FAIL {
        return causes.image.or(causes.health).map(as_is);
    }
    if causes.crashes >= CRASHES_TO_FAIL {
        return causes.health.map(as_is);
    }
    let deadline = look.desired.target.spec.rollout.progress_deadline;
    // It did not run during a pause.
    let resumed = look.desired.pause.paused_until.filter(|until| *until <= now).unwrap_or(rollout.last_progress_at);
    if rollout.unknown_since.is_some() || now - rollout.last_progress_at.max(resumed) < deadline.chrono() {
        return None;
    }
    // The health window does not count against the deadline; a task that drops out of it again and again does.
    let window = look.desired.health_window(look.observed.other_edges);
    if rollout.healthy_since.is_some_and(|since| now - since < window) {
        return None;
    }
    let cause = causes.worst().or(look.image_error);
    let refused = look.model.candidates.values().find_map(|candidate| candidate.refused.as_deref());
    let why = cause.map(|cause| cause.message.as_str()).or(refused).unwrap_or("no task became ready");
    let message = format!("no progress within rollout.progressDeadline ({deadline}): {why}");
    Some(failed(Reason::ProgressDeadlineExceeded, cause.map(|cause| cause.reason), message))
}

/// Whether every process of the newest generation runs as wanted, alone, routed, and long enough.
fn is_proven(desired: &Desired, observed: &Observed, model: &Model) -> bool {
    desired.target.image.is_some() && model.stable && is_healthy(desired, model) && is_routed(desired, observed, model)
}

/// Whether every wanted task of the target runs and answers, and nothing else does.
pub fn is_healthy(desired: &Desired, model: &Model) -> bool {
    let mut processes = desired.target.processes.iter();
    let alone = processes.all(|(name, process)| model.others(name, &process.release).all(|(_, old)| old.replicas == 0));
    alone && model.has_target(desired)
}

/// Whether requests for the app reach the target's tasks, and only these, as our own request showed.
pub fn is_routed(desired: &Desired, observed: &Observed, model: &Model) -> bool {
    let Some((name, process, _)) = desired.target.spec.routed_process() else { return true };
    if desired.hosts.is_empty() {
        return true;
    }
    let Some(target) = desired.target.processes.get(name) else { return false };
    let published = model.route.as_ref().is_some_and(|route| desired.route(route.releases.clone()).as_ref() == Some(route));
    if desired.target.spec.wanted_replicas(process) == 0 {
        return published && matches!(&model.edge, EdgeModel::Serves { hosts_current: true, .. });
    }
    let ready = model.services.get(&(name.clone(), target.release.clone())).map_or(0, |service| service.ready);
    published && ready > 0 && model.edge_serves(&target.release, ready, true) && probe_ok(observed)
}

fn probe_ok(observed: &Observed) -> bool {
    match &observed.edge {
        Fact::Known(facts) => facts.probe.as_ref().is_some_and(|probe| probe.ok),
        Fact::Absent | Fact::Unknown => false,
    }
}

/// Carries the generation's progress forward.
fn advance(desired: &Desired, model: &Model, before: Option<RolloutStatus>, observed: &Observed, now: DateTime<Utc>) -> RolloutStatus {
    let progress = progress(desired, observed, model);
    let healthy = model.known && model.has_target(desired);
    let mut rollout = before.unwrap_or(RolloutStatus {
        generation: desired.generation,
        started_at: now,
        last_progress_at: now,
        progress,
        healthy_since: None,
        unknown_since: None,
    });
    // While it cannot be seen how far the rollout is, the deadline stands still: right after the server came back, say.
    if !is_seen(desired, observed, model) {
        rollout.unknown_since.get_or_insert(now);
    } else if let Some(since) = rollout.unknown_since.take() {
        rollout.last_progress_at = (rollout.last_progress_at + (now - since)).min(now);
    }
    if progress > rollout.progress {
        rollout.last_progress_at = now;
        rollout.progress = progress;
    }
    rollout.healthy_since = if healthy { rollout.healthy_since.or(Some(now)) } else { None };
    rollout
}

/// Whether everything that shows progress could be read, and every running task has been asked once.
fn is_seen(desired: &Desired, observed: &Observed, model: &Model) -> bool {
    let takes_requests = desired.target.processes.values().any(|process| process.port.is_some() && process.service.replicas > 0);
    let asked = match &observed.endpoints {
        Fact::Known(endpoints) => endpoints.iter().all(|endpoint| endpoint.last_check != Check::Pending),
        Fact::Absent | Fact::Unknown => !takes_requests,
    };
    let is_routed = desired.target.spec.routed_process().is_some() && !desired.hosts.is_empty();
    model.known && asked && !(is_routed && observed.edge.is_unknown())
}

/// A number that grows with every step forward of the rollout.
fn progress(desired: &Desired, observed: &Observed, model: &Model) -> i64 {
    let mut sum = i64::from(model.resolved) + i64::from(model.network.is_some()) + i64::try_from(model.secrets.len()).unwrap_or(0);
    for (name, process) in &desired.target.processes {
        if let Some(current) = model.services.get(&(name.clone(), process.release.clone())) {
            sum += 1 + 2 * i64::from(current.ready);
        }
        let old: u32 = model.others(name, &process.release).map(|(_, service)| service.replicas).sum();
        sum -= i64::from(old);
    }
    // Outliving the health window is a step forward too.
    sum + i64::from(is_routed(desired, observed, model)) + i64::from(model.stable)
}
