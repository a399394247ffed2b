//! One run of one key: with a deadline, and an end when it is told to stop.
//!
//! It neither settles nor logs: it says how the run ended.

use std::sync::Arc;
use std::time::Duration;

use super::metrics::RunResult;
use super::reconciler::{Outcome, Reconciler, Run};
use super::settle::Class;

/// How long a run may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// After this a run ends as a transient failure.
    pub(super) deadline: Duration,
    /// After this a cancelled run is dropped.
    pub(super) grace: Duration,
}

/// A run's end.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) result: RunResult,
}

#[derive(Debug, thiserror::Error)]
#[error("the run took longer than {0:?} and was stopped")]
struct DeadlineExceeded(Duration);

#[derive(Debug, thiserror::Error)]
#[error("the run was told to stop")]
struct Stopped;

#[derive(Debug, thiserror::Error)]
#[error("the run {0}")]
struct Crashed(super::crew::Crash);

impl Ended {
    /// The end of a run whose task ended without one.
    pub(super) fn crashed(crash: super::crew::Crash) -> Self {
        let (class, result) = match crash {
            super::crew::Crash::Panicked(_) => (Class::Transient, RunResult::Panicked),
            super::crew::Crash::Aborted => (Class::Cancelled, RunResult::Cancelled),
        };
        Self { outcome: Outcome::failed(class, Crashed(crash)), result }
    }
}

/// Runs a key once.
pub(super) async fn run_once<R: Reconciler>(reconciler: Arc<R>, key: R::Key, run: Run, bounds: Bounds) -> Ended {
    // What the run has started elsewhere must not outlive it.
    let _stop_at_end = run.cancel.clone().drop_guard();
    let stopped = async {
        run.cancel.cancelled().await;
        tokio::time::sleep(bounds.grace).await;
    };
    tokio::select! {
        biased;
        outcome = reconciler.reconcile(&key, &run) => ended(outcome, run.cancel.is_cancelled()),
        () = stopped => Ended { outcome: Outcome::failed(Class::Cancelled, Stopped), result: RunResult::Cancelled },
        () = tokio::time::sleep(bounds.deadline) => {
            let outcome = Outcome::failed(Class::Transient, DeadlineExceeded(bounds.deadline));
            Ended { outcome, result: RunResult::Deadline }
        }
    }
}

/// A run that fails after it was told to stop failed because of that.
fn ended(outcome: Outcome, cancelled: bool) -> Ended {
    let outcome = match outcome {
        Outcome::Failed { error, .. } if cancelled => Outcome::Failed { class: Class::Cancelled, error },
        outcome => outcome,
    };
    let result = match &outcome {
        Outcome::Done { requeue_after: None } => RunResult::Done,
        Outcome::Done { requeue_after: Some(_) } => RunResult::Requeued,
        Outcome::Failed { class, .. } => match class {
            Class::Transient => RunResult::Transient,
            Class::Waiting(_) => RunResult::Waiting,
            Class::Conflict => RunResult::Conflict,
            Class::Stalled => RunResult::Stalled,
            Class::Cancelled => RunResult::Cancelled,
        },
    };
    Ended { outcome, result }
}
