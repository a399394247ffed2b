//! Drives a reconciler: hints, timers and leadership in, runs out.
//!
//! One task owns the queue and everything else that changes, so there is no lock; the runs are tasks
//! of their own. What wakes it up:
//!
//! - a hint: its key is queued;
//! - a request for a resync, or the timer: the keys are listed and queued as background work, spread
//!   over a window so that a resync is no burst;
//! - leadership: gained opens the gate and resyncs, lost closes it and cancels what runs;
//! - the end of a run: [`settle`](super::settle::settle) says when the key is next.
//!
//! What it does not do: write status, record events, or know why a key runs.
//!
//! How it can be misused: at shutdown, the lease has to outlive the controller (see
//! [`super::lease`]), or the next leader starts while runs of this one still end.

mod drive;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::backoff::Policy;
use super::hints::HintReceiver;
use super::lease::Leadership;
use super::metrics::Metrics;
use super::pulse::{Pulses, Questions, pulses};
use super::queue::Limits;
use super::reconciler::Reconciler;
use crate::clock::{SharedClock, SharedEntropy};

/// What an operator may change while the controller runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// The time from one resync to the next; at least one second.
    pub resync_interval: Duration,
    /// The most runs at once; at least one. Background work gets three quarters, rounded up.
    pub concurrency: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { resync_interval: Duration::from_secs(30), concurrency: 8 }
    }
}

impl Tuning {
    fn interval(&self) -> Duration {
        self.resync_interval.max(Duration::from_secs(1))
    }

    fn limits(&self, keys: usize) -> Limits {
        let total = self.concurrency.max(1);
        Limits { keys, total, background: total.saturating_mul(3).div_ceil(4) }
    }
}

/// What is fixed when the controller starts.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The most keys that are queued; further ones wait for a resync that finds room.
    pub keys: usize,
    /// How long one run may take.
    pub deadline: Duration,
    /// How long a cancelled run, or listing, may take to end before it is dropped. Shorter than a
    /// quarter of the lease's time to live.
    pub grace: Duration,
    /// How long a shutdown waits for runs to end by themselves before it cancels them.
    pub drain: Duration,
    /// How long a listing of keys may take.
    pub list_deadline: Duration,
    /// Over how long the periodic resync spreads its keys; at most half its interval.
    pub spread: Duration,
    /// Over how long a resync spreads its keys that somebody asked for, and the one on gaining
    /// leadership: short, since keys may have waited already.
    pub catch_up_spread: Duration,
    /// How failures back off.
    pub backoff: Policy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keys: 100_000,
            deadline: Duration::from_secs(60),
            grace: Duration::from_millis(500),
            drain: Duration::from_secs(10),
            list_deadline: Duration::from_secs(10),
            spread: Duration::from_secs(10),
            catch_up_spread: Duration::from_millis(500),
            backoff: Policy::default(),
        }
    }
}

/// What a controller is connected to.
pub struct Wiring<K> {
    /// Hints from watches and from the API.
    pub hints: HintReceiver<K>,
    /// Whether this process leads. When its sender is gone, it does not.
    pub leadership: watch::Receiver<Leadership>,
    /// What an operator may change. When its sender is gone, it stays as it is.
    pub tuning: watch::Receiver<Tuning>,
    /// Time.
    pub clock: SharedClock,
    /// Jitter.
    pub entropy: SharedEntropy,
    /// What is counted.
    pub metrics: Metrics,
}

/// How a controller came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every run ended by itself.
    Clean,
    /// So many runs had to be cancelled.
    Cancelled(usize),
}

/// A reconciler and what drives it.
pub struct Controller<R: Reconciler> {
    reconciler: Arc<R>,
    wiring: Wiring<R::Key>,
    options: Options,
    pulses: Pulses,
    questions: Questions,
}

impl<R: Reconciler> Controller<R> {
    /// Puts a controller together; nothing runs yet.
    pub fn new(reconciler: Arc<R>, wiring: Wiring<R::Key>, options: Options) -> Self {
        let (pulses, questions) = pulses();
        Self { reconciler, wiring, options, pulses, questions }
    }

    /// How to ask what it has before it.
    pub fn pulses(&self) -> Pulses {
        self.pulses.clone()
    }

    /// Runs until told to stop, then waits for the runs under way, up to [`Options::drain`].
    pub async fn run(self, shutdown: CancellationToken) -> Drained {
        drive::Drive::new(self).run(shutdown).await
    }
}
