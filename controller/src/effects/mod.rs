//! The one place that every act of the controller on the world passes, so that faults can be put there.
//!
//! An act is a write to the engine, a row that the controller writes, or a document for the edge. Each that passes
//! [`Effects::run`] gets an ordinal and a kind, and a fault may happen to it: the process dies before or after it, the
//! answer is lost, it fails, it takes long, half the answer comes, it is done twice, or what is read next is old.
//!
//! Without an [`Injector`] nothing of this happens and an act costs one comparison. Who makes one: tests, in their own
//! process; and, in builds with debug assertions only, [`env::from_env`] for a server that a test started.
//!
//! What may be lost without harm does not pass here: events, heartbeats, counts and the drift ledger's sights.

#[cfg(debug_assertions)]
pub mod env;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// What an act does. A closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "named after the methods that they stand for")]
pub enum Kind {
    NetworkCreate,
    NetworkRemove,
    SecretCreate,
    SecretRemove,
    NodeUpdate,
    ServiceCreate,
    ServiceUpdate,
    ServiceRemove,
    ImagePut,
    VerdictPut,
    FailurePut,
    StatusPut,
    ObservationPut,
    RoutePut,
    RouteRemove,
    DriftPut,
    AppRemove,
    NodesPut,
    CertificatesPut,
    EdgePublish,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::NetworkCreate,
        Self::NetworkRemove,
        Self::SecretCreate,
        Self::SecretRemove,
        Self::NodeUpdate,
        Self::ServiceCreate,
        Self::ServiceUpdate,
        Self::ServiceRemove,
        Self::ImagePut,
        Self::VerdictPut,
        Self::FailurePut,
        Self::StatusPut,
        Self::ObservationPut,
        Self::RoutePut,
        Self::RouteRemove,
        Self::DriftPut,
        Self::AppRemove,
        Self::NodesPut,
        Self::CertificatesPut,
        Self::EdgePublish,
    ];

    /// Its word, such as `service_create`.
    pub fn word(self) -> &'static str {
        match self {
            Self::NetworkCreate => "network_create",
            Self::NetworkRemove => "network_remove",
            Self::SecretCreate => "secret_create",
            Self::SecretRemove => "secret_remove",
            Self::NodeUpdate => "node_update",
            Self::ServiceCreate => "service_create",
            Self::ServiceUpdate => "service_update",
            Self::ServiceRemove => "service_remove",
            Self::ImagePut => "image_put",
            Self::VerdictPut => "verdict_put",
            Self::FailurePut => "failure_put",
            Self::StatusPut => "status_put",
            Self::ObservationPut => "observation_put",
            Self::RoutePut => "route_put",
            Self::RouteRemove => "route_remove",
            Self::DriftPut => "drift_put",
            Self::AppRemove => "app_remove",
            Self::NodesPut => "nodes_put",
            Self::CertificatesPut => "certificates_put",
            Self::EdgePublish => "edge_publish",
        }
    }

    /// Whether it is a write to the engine.
    pub fn is_engine(self) -> bool {
        self <= Self::ServiceRemove
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One act that is about to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Counts the acts of one [`Effects`], from 1.
    pub ordinal: u64,
    /// What it does.
    pub kind: Kind,
    /// What it does it to: a name or an id.
    pub key: String,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.ordinal, self.kind, self.key)
    }
}

/// What happens to an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The process dies before it.
    KillBefore,
    /// The process dies after it, and never sees the answer.
    KillAfter,
    /// It is done, but the answer does not come.
    LostReply,
    /// It is not done, and the answer is an error.
    Error,
    /// It is done late.
    Slow,
    /// It is done, and half of the answer comes.
    HalfAnswer,
    /// It is done twice, as when a request is sent again below us.
    Duplicate,
    /// It is done, and what is read next is as it was before.
    StaleRead,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::KillBefore, Self::KillAfter, Self::LostReply, Self::Error, Self::Slow, Self::HalfAnswer, Self::Duplicate, Self::StaleRead];

    /// Its word, such as `kill_after`.
    pub fn word(self) -> &'static str {
        match self {
            Self::KillBefore => "kill_before",
            Self::KillAfter => "kill_after",
            Self::LostReply => "lost_reply",
            Self::Error => "error",
            Self::Slow => "slow",
            Self::HalfAnswer => "half_answer",
            Self::Duplicate => "duplicate",
            Self::StaleRead => "stale_read",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How long [`Fault::Slow`] holds an act up.
pub const SLOW: Duration = Duration::from_secs(5);
/// How many lists of each kind are old after [`Fault::StaleRead`].
pub const STALE_READS: u32 = 12;

/// Decides what happens to acts, and hears what became of them.
pub trait Injector: Send + Sync + 'static {
    /// An act is about to happen. `None` lets it pass.
    fn fault(&self, effect: &Effect) -> Option<Fault>;
    /// An act was done, and was answered with success or not.
    fn done(&self, effect: &Effect, worked: bool);
    /// The process dies now. When this returns, the act never answers: whoever injects drops it.
    fn kill(&self, effect: &Effect);
}

/// Errors that a fault can be told as.
pub trait Injected {
    /// No answer came; whether the act landed is unknown.
    fn lost(effect: &Effect) -> Self;
    /// The act was not done.
    fn refused(effect: &Effect) -> Self;
    /// The answer could not be read to its end.
    fn half(effect: &Effect) -> Self;
}

/// What acts pass through. Cheap to clone; clones count together.
#[derive(Clone, Default)]
pub struct Effects(Option<Arc<Inner>>);

struct Inner {
    injector: Box<dyn Injector>,
    ordinal: AtomicU64,
    stale: AtomicU32,
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Effects(injected)" } else { "Effects" })
    }
}

impl Effects {
    /// Every act passes.
    pub fn none() -> Self {
        Self(None)
    }

    /// Acts are subject to what `injector` decides.
    pub fn injected(injector: impl Injector) -> Self {
        Self(Some(Arc::new(Inner { injector: Box::new(injector), ordinal: AtomicU64::new(0), stale: AtomicU32::new(0) })))
    }

    /// Whether anything can happen to an act.
    pub fn is_injected(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a list that is asked for now is to be an old one. Asking uses one up.
    pub fn take_stale_read(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|inner| inner.stale.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok())
    }

    /// Does an act, or what a fault makes of it.
    ///
    /// # Errors
    /// The act's own, and those of a fault.
    pub async fn run<T, E, F>(&self, kind: Kind, key: &str, act: impl Fn() -> F) -> Result<T, E>
    where
        E: Injected,
        F: Future<Output = Result<T, E>>,
    {
        let Some(inner) = &self.0 else { return act().await };
        let ordinal = inner.ordinal.fetch_add(1, Ordering::AcqRel) + 1;
        let effect = Effect { ordinal, kind, key: key.to_owned() };
        inner.run(&effect, act).await
    }
}

impl Inner {
    async fn run<T, E: Injected, F: Future<Output = Result<T, E>>>(&self, effect: &Effect, act: impl Fn() -> F) -> Result<T, E> {
        let done = |result: Result<T, E>| {
            self.injector.done(effect, result.is_ok());
            result
        };
        let Some(fault) = self.injector.fault(effect) else { return done(act().await) };
        match fault {
            Fault::KillBefore => self.die(effect).await,
            Fault::Error => Err(E::refused(effect)),
            Fault::KillAfter => {
                drop(done(act().await));
                self.die(effect).await
            }
            Fault::LostReply => {
                drop(done(act().await));
                Err(E::lost(effect))
            }
            Fault::HalfAnswer => {
                drop(done(act().await));
                Err(E::half(effect))
            }
            Fault::Slow => {
                tokio::time::sleep(SLOW).await;
                done(act().await)
            }
            Fault::Duplicate => {
                let first = done(act().await);
                drop(done(act().await));
                first
            }
            Fault::StaleRead => {
                self.stale.store(STALE_READS, Ordering::Release);
                done(act().await)
            }
        }
    }

    async fn die<T>(&self, effect: &Effect) -> T {
        self.injector.kill(effect);
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests;
