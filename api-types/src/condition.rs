//! Conditions: what the platform observed about an object, in terms that people and programs share.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Truth of a condition. `Unknown` is an answer: it says that nobody looked, or looking failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// Observed to hold.
    True,
    /// Observed not to hold.
    False,
    /// Not observed, or not observed freshly enough to say.
    Unknown,
}

impl fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The kinds of condition. Polarity: all but `Progressing`, `Drifted` and `Paused` are good when `True`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// The object is valid and nothing foreign stands in its way.
    Accepted,
    /// The image of this generation is known to exist and its digest is recorded.
    ImagePullable,
    /// Every wanted task has a node.
    Scheduled,
    /// Every wanted task of this generation runs and answers its health check.
    Healthy,
    /// The proxy has taken the routes of this app, and its backends answer.
    Routed,
    /// This generation serves: it answered our own probe through the edge, or, without a port, its
    /// tasks outlived the health window.
    Ready,
    /// Work is under way. `False` with reason `Settled` when there is none.
    Progressing,
    /// Somebody changed something of the object behind the platform's back. `False` is the usual state.
    Drifted,
    /// Nothing is written for the object for a while, as somebody asked. `False` is the usual state.
    Paused,
    /// Some revision really answers, this one or an older one; the message says which. `False` when none does.
    Serving,
    /// The node has an agent that reports, and its edge lets others in.
    AgentReady,
    /// The other nodes get through to this one: the engines' gossip, and the edge's port.
    Reachable,
}

impl ConditionType {
    /// All of them, in the order in which they are shown: `Ready` first, then causes.
    pub const ALL: [Self; 12] = [
        Self::Ready,
        Self::Serving,
        Self::Progressing,
        Self::Accepted,
        Self::ImagePullable,
        Self::Scheduled,
        Self::Healthy,
        Self::Routed,
        Self::Drifted,
        Self::Paused,
        Self::AgentReady,
        Self::Reachable,
    ];
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a condition has its status. A closed list: programs may match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    // Nothing known yet, or no longer.
    /// Not looked at yet.
    Pending,
    /// The engine did not answer, or its answer was too old to trust.
    EngineUnreachable,
    /// The proxy did not answer.
    EdgeUnreachable,
    /// An error on our side; the message says which. It is retried.
    InternalError,

    // Accepted.
    /// The spec is valid.
    Valid,
    /// An object that is not ours has the name that we need.
    NameTaken,
    /// The engine runs a newer generation of the app than the database knows: it was set back. Nothing is removed.
    StoreBehindCluster,
    /// A service that a process is to take over is not what the process says, or is somebody's.
    AdoptionRefused,
    /// The default domain, or another setting that this object needs, is missing.
    SettingMissing,

    // ImagePullable.
    /// The image reference is pinned to a digest.
    Resolved,
    /// The image is on the engine but in no registry that answers; other nodes could not pull it.
    LocalImage,
    /// The image does not exist, or may not be read with our credentials.
    ImageNotFound,
    /// The registry did not answer.
    RegistryUnreachable,
    /// The registry answered that it wants other credentials.
    RegistryDenied,

    // Any.
    /// The engine refused what we asked of it; the message has its words.
    EngineRefused,

    // Scheduled.
    /// Every wanted task has a node.
    AllScheduled,
    /// No node has room or fits; the message says what is short.
    Unschedulable,
    /// The Swarm has no free subnet left for the app's network.
    AddressPoolExhausted,
    /// The app is scaled to zero.
    ScaledToZero,
    /// The app is stopped (`spec.suspend`).
    Suspended,

    // Healthy.
    /// All wanted tasks run and answer.
    AllHealthy,
    /// Tasks are starting.
    Starting,
    /// A task ended with an error; the message has the exit code.
    CrashLoop,
    /// A task was killed for using more memory than its limit.
    OutOfMemory,
    /// The process runs but does not answer its health check.
    HealthCheckFailing,
    /// The process runs but nothing listens on its port.
    PortClosed,
    /// A task was refused by its node for another cause; see the message.
    TaskRejected,

    // Routed.
    /// The proxy serves the routes.
    RouteLive,
    /// The proxy has not yet taken the current routes.
    RoutePending,
    /// The proxy refused the route.
    RouteRejected,
    /// No backend is ready, so there is nothing to route to.
    NoBackends,
    /// The app has no process with a port, so it has no routes.
    NoRoutes,
    /// Our own request through the edge failed.
    ProbeFailed,
    /// The maintenance page is served, as the spec asks; the app runs behind it.
    Maintenance,

    // Ready and Progressing.
    /// This generation serves.
    Serving,
    /// All processes run past their health window; there is no port to probe.
    Running,
    /// A rollout is under way.
    RollingOut,
    /// The rollout failed; the cause is in the message and the other conditions.
    RolloutFailed,
    /// The rollout did not finish within `rollout.progressDeadline`.
    ProgressDeadlineExceeded,
    /// Nothing left to do.
    Settled,
    /// Waiting before the next attempt.
    Waiting,
    /// The object is being deleted.
    Deleting,
    /// Deleting is held up; the message says by what.
    DeletionBlocked,
    /// The node or object is as it should be.
    Available,
    /// The node or object is not available.
    Unavailable,

    // Ready of certificates.
    /// Clients of the edge get this certificate.
    CertificateServed,
    /// Clients get it, but it ends soon (setting `edge.certificate_warning`).
    CertificateExpiring,
    /// It is no longer good.
    CertificateExpired,
    /// It is not good yet.
    CertificateNotYetValid,
    /// Clients of the edge get another certificate, or none.
    CertificateNotServed,

    // Drifted.
    /// Everything is as the platform left it.
    NoDrift,
    /// Something was changed; the message says what, and what is done.
    DriftFound,
    /// Something was changed, and is left as it is because of `spec.driftPolicy`.
    DriftHeld,

    // Paused.
    /// Somebody asked that nothing is written for a while; the message says who, why and until when.
    Paused,
    /// Nobody holds the platform's hands.
    NotPaused,

    // Serving.
    /// Tasks of more than one revision answer, as during a rollout; the message says how many of each.
    MixedRevisions,

    // AgentReady and Reachable of nodes.
    /// The agent reports.
    AgentReports,
    /// The agent has said nothing for a while; its node's edge may still work.
    AgentSilent,
    /// The node has no agent, so no request reaches tasks on it.
    NoAgent,
    /// Who tried got through.
    PeersGetThrough,
    /// Some node does not get through; the message says which, and to what.
    PeersBlocked,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One observed fact about an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people: a full sentence that names the object concerned.
    pub message: String,
    /// The generation that was observed.
    pub observed_generation: i64,
    /// When `status` last changed.
    pub last_transition_time: DateTime<Utc>,
}

impl Condition {
    /// Carries the transition time over from `previous` when the status did not change.
    #[must_use]
    pub fn since(mut self, previous: &[Condition]) -> Self {
        if let Some(before) = previous.iter().find(|c| c.kind == self.kind)
            && before.status == self.status
        {
            self.last_transition_time = before.last_transition_time;
        }
        self
    }
}

/// The condition of a type, if it is there.
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|c| c.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: ConditionStatus, at: i64) -> Condition {
        Condition {
            kind: ConditionType::Ready,
            status,
            reason: Reason::Serving,
            message: String::new(),
            observed_generation: 1,
            last_transition_time: DateTime::from_timestamp(at, 0).expect("in range"),
        }
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let before = [ready(ConditionStatus::True, 1)];
        assert_eq!(ready(ConditionStatus::True, 9).since(&before).last_transition_time.timestamp(), 1);
        assert_eq!(ready(ConditionStatus::False, 9).since(&before).last_transition_time.timestamp(), 9);
    }
}
