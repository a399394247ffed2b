//! What a kind implements to be driven by the runtime.

use std::fmt::Display;
use std::hash::Hash;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::settle::Class;

/// An error of any kind, with its cause in `source()`.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Brings one object closer to its desired state, again and again.
///
/// # Guarantees
/// Never two runs of one key at once in this process. No run while this process does not lead.
/// A run that panics, or exceeds its deadline, ends as a transient failure of its key alone.
///
/// # What the implementor owes
/// A run may be dropped at any `await`, and a process may die at any point, so every step has to be
/// safe to repeat. Nothing says why a run happens: read the state of the world.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// Names an object. `Display` goes to logs, never to metrics.
    type Key: Ord + Hash + Clone + Display + Send + Sync + 'static;

    /// The controller's name in logs and metrics.
    fn name(&self) -> &'static str;

    /// One run for one key.
    async fn reconcile(&self, key: &Self::Key, run: &Run) -> Outcome;

    /// All keys, for the resync. A key too many costs one run, a key too few is never repaired.
    async fn keys(&self) -> Result<Vec<Self::Key>, BoxError>;

    /// The keys that somebody waits for, such as those whose newest spec was not observed yet. They
    /// are queued as user work; all of them appear in [`Reconciler::keys`] too.
    async fn dirty_keys(&self) -> Result<Vec<Self::Key>, BoxError> {
        Ok(Vec::new())
    }
}

/// What a run may know of itself.
#[derive(Debug, Clone)]
pub struct Run {
    /// The leader's epoch: every write of this run is fenced by it.
    pub epoch: i64,
    /// Failures of this key in a row before this run.
    pub attempts: u32,
    /// Cancelled when leadership is lost, at the deadline and at shutdown. Shortly after that the run
    /// is dropped, whatever it does.
    pub cancel: CancellationToken,
    /// Numbers the runs of this process, for logs.
    pub id: u64,
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing failed.
    Done {
        /// When to look again; `None` leaves that to hints and the resync.
        requeue_after: Option<Duration>,
    },
    /// Something failed, or has to be waited for.
    Failed {
        /// What the failure means for the next run.
        class: Class,
        /// What failed.
        error: BoxError,
    },
}

impl Outcome {
    /// Done, until somebody hints at the key.
    pub fn done() -> Self {
        Self::Done { requeue_after: None }
    }

    /// Done for now; look again after a time.
    pub fn requeue(after: Duration) -> Self {
        Self::Done { requeue_after: Some(after) }
    }

    /// Failed.
    pub fn failed(class: Class, error: impl Into<BoxError>) -> Self {
        Self::Failed { class, error: error.into() }
    }
}

/// An error with all its causes on one line, for the one place that logs it.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
