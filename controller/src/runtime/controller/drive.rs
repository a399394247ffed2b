//! The controller's loop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{Controller, Drained, Options, Tuning};
use crate::clock::{SharedClock, SharedEntropy};
use crate::runtime::crew::{Crash, Crew};
use crate::runtime::hints::{Batch, HintReceiver};
use crate::runtime::lease::Leadership;
use crate::runtime::listing::{Listing, Listings, Scope};
use crate::runtime::metrics::{ControllerMetrics, Due, ListResult, RunResult};
use crate::runtime::pulse::{Pulse, Questions};
use crate::runtime::queue::{Added, Next, Priority, Queue, Work};
use crate::runtime::reconciler::{BoxError, Outcome, Reconciler, Run, chain};
use crate::runtime::runner::{Bounds, Ended, run_once};
use crate::runtime::settle::{Notice, Requeue, Settled, settle};

/// A key that asks to run again within this time is still the user's work; later it is background.
const STILL_USERS: Duration = Duration::from_secs(5);
/// A user's key that failed so often in a row is background work.
const USERS_ATTEMPTS: u32 = 3;

/// What is known of a run under way.
struct Underway<K> {
    work: Work<K>,
    span: tracing::Span,
    started: Duration,
}

/// A time of leading, from gaining to losing it.
struct Stint {
    epoch: i64,
    cancel: CancellationToken,
}

/// The state of the loop.
pub(super) struct Drive<R: Reconciler> {
    reconciler: Arc<R>,
    options: Options,
    hints: HintReceiver<R::Key>,
    leadership: watch::Receiver<Leadership>,
    elector_gone: bool,
    tuning: watch::Receiver<Tuning>,
    tuner_gone: bool,
    clock: SharedClock,
    entropy: SharedEntropy,
    metrics: ControllerMetrics,
    queue: Queue<R::Key>,
    runs: Crew<Underway<R::Key>, Ended>,
    listings: Listings,
    lists: Crew<Listing, Result<Vec<R::Key>, BoxError>>,
    stint: Option<Stint>,
    /// When the last periodic resync was, or leadership was gained.
    resynced: Duration,
    /// When all keys were last listed with success.
    listed: Option<Duration>,
    /// When the listing of all keys that is under way began.
    listing_since: Duration,
    questions: Questions,
    runs_started: u64,
}

impl<R: Reconciler> Drive<R> {
    pub(super) fn new(controller: Controller<R>) -> Self {
        let Controller { reconciler, wiring, options, questions, .. } = controller;
        let queue = Queue::new(wiring.tuning.borrow().limits(options.keys));
        Self {
            options,
            hints: wiring.hints,
            leadership: wiring.leadership,
            elector_gone: false,
            tuning: wiring.tuning,
            tuner_gone: false,
            metrics: wiring.metrics.controller(reconciler.name()),
            queue,
            runs: Crew::new(),
            listings: Listings::default(),
            lists: Crew::new(),
            stint: None,
            resynced: wiring.clock.monotonic(),
            listed: None,
            listing_since: Duration::ZERO,
            questions,
            runs_started: 0,
            clock: wiring.clock,
            entropy: wiring.entropy,
            reconciler,
        }
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) -> Drained {
        self.follow_leadership();
        loop {
            self.start_what_is_due();
            let wake = self.wake_in();
            // In a fixed order, so that a simulated run is the same twice. Runs come before hints: they are few and take time,
            // while hints that wait are only merged.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return self.drain().await,
                changed = self.leadership.changed(), if !self.elector_gone => {
                    self.elector_gone = changed.is_err();
                    self.follow_leadership();
                }
                (underway, ended) = self.runs.join() => self.run_ended(underway, ended),
                (listing, listed) = self.lists.join() => self.listed(listing, listed),
                changed = self.tuning.changed(), if !self.tuner_gone => {
                    self.tuner_gone = changed.is_err();
                    let limits = self.tuning.borrow().limits(self.options.keys);
                    self.queue.set_limits(limits);
                }
                batch = self.hints.recv() => self.hinted(batch),
                Some(answer) = self.questions.recv() => {
                    // Whoever asked may have stopped waiting.
                    let _ = answer.send(self.pulse());
                }
                () = sleep_for(wake) => {}
            }
        }
    }

    /// Any change that is seen ends the stint: with the same epoch again, there was a gap between.
    fn follow_leadership(&mut self) {
        if let Some(stint) = self.stint.take() {
            tracing::info!(controller = self.reconciler.name(), epoch = stint.epoch, runs = self.runs.len(), "no longer leading");
            stint.cancel.cancel();
            self.queue.close();
            self.metrics.leads(false);
            self.listings.clear();
        }
        let leadership = *self.leadership.borrow_and_update();
        if let (Leadership::Leading { epoch }, false) = (leadership, self.elector_gone) {
            self.stint = Some(Stint { epoch, cancel: CancellationToken::new() });
            self.queue.open();
            self.metrics.leads(true);
            self.resynced = self.clock.monotonic();
            self.catch_up();
        }
    }

    fn catch_up(&mut self) {
        let now = self.clock.monotonic();
        self.listings.request(Listing { scope: Scope::Dirty, spread: Duration::ZERO }, now);
        self.listings.request(Listing { scope: Scope::All, spread: self.options.catch_up_spread }, now);
    }

    fn start_what_is_due(&mut self) {
        let now = self.clock.monotonic();
        if let Some((epoch, cancel)) = self.stint.as_ref().map(|stint| (stint.epoch, stint.cancel.clone())) {
            let interval = self.tuning.borrow().interval();
            if now >= self.resynced + interval {
                self.resynced = now;
                // A change whose notice was lost is still a user's: it does not wait for the end of a back-off.
                self.listings.request(Listing { scope: Scope::Dirty, spread: Duration::ZERO }, now);
                self.listings.request(Listing { scope: Scope::All, spread: self.options.spread.min(interval / 2) }, now);
            }
            while let Some(listing) = self.listings.next(now) {
                self.start_listing(listing);
            }
            while let Some(work) = self.queue.next(now) {
                self.start_run(work, epoch, cancel.child_token());
            }
        }
        // A queue that is closed has nothing due: another process works on it.
        let first = self.stint.as_ref().and_then(|_| self.queue.first_at()).map(|at| match now.checked_sub(at) {
            Some(time) => Due::Since(time),
            None => Due::In(at.saturating_sub(now)),
        });
        self.metrics.queue(|priority| self.queue.depth(priority), self.queue.in_flight(), first);
    }

    fn pulse(&self) -> Pulse {
        let now = self.clock.monotonic();
        let waiting = self.queue.depth(Priority::User) + self.queue.depth(Priority::Background);
        let due = self.queue.due(now);
        Pulse {
            due,
            scheduled: waiting.saturating_sub(due),
            running: self.queue.in_flight(),
            oldest: self.queue.oldest(now).map(|(key, since)| (key.to_string(), now.saturating_sub(since))),
            resync: self.listed.map(|at| now.saturating_sub(at)),
        }
    }

    /// How long there is nothing to do; `None` until something happens.
    fn wake_in(&self) -> Option<Duration> {
        self.stint.as_ref()?;
        let resync = self.resynced + self.tuning.borrow().interval();
        let next = [Some(resync), self.queue.next_at(), self.listings.next_at()].into_iter().flatten().min();
        next.map(|at| at.saturating_sub(self.clock.monotonic()))
    }

    fn start_run(&mut self, work: Work<R::Key>, epoch: i64, cancel: CancellationToken) {
        let started = self.clock.monotonic();
        self.runs_started += 1;
        let run = Run { epoch, attempts: work.attempts, cancel, id: self.runs_started };
        let span = tracing::info_span!("reconcile", controller = self.reconciler.name(), key = %work.key, run = run.id, epoch);
        self.metrics.run_started(started.saturating_sub(work.due), work.attempts);
        let bounds = Bounds { deadline: self.options.deadline, grace: self.options.grace };
        let task = run_once(self.reconciler.clone(), work.key.clone(), run, bounds).instrument(span.clone());
        self.runs.spawn(Underway { work, span, started }, task);
    }

    fn run_ended(&mut self, underway: Underway<R::Key>, ended: Result<Ended, Crash>) {
        let Underway { work, span, started } = underway;
        let now = self.clock.monotonic();
        let Ended { outcome, result } = ended.unwrap_or_else(Ended::crashed);
        self.metrics.run_ended(result, now.saturating_sub(started));
        let settled = settle(&outcome, work.attempts, self.entropy.unit(), &self.options.backoff);
        span.in_scope(|| log(&outcome, result, &settled));
        self.queue.finish(&work.key, settled.forget_attempts, next(&settled, &work, now));
    }

    fn start_listing(&mut self, listing: Listing) {
        let (reconciler, deadline) = (self.reconciler.clone(), self.options.list_deadline);
        let name = reconciler.name();
        if listing.scope == Scope::All {
            self.listing_since = self.clock.monotonic();
        }
        let task = async move {
            let keys = async {
                match listing.scope {
                    Scope::Dirty => reconciler.dirty_keys().await,
                    Scope::All => reconciler.keys().await,
                }
            };
            timeout(deadline, keys).await.unwrap_or_else(|_| Err(format!("took longer than {deadline:?}").into()))
        };
        self.lists.spawn(listing, task.instrument(tracing::info_span!("list", controller = name)));
    }

    fn listed(&mut self, listing: Listing, listed: Result<Result<Vec<R::Key>, BoxError>, Crash>) {
        let name = self.reconciler.name();
        if let Err(Crash::Panicked(_)) = &listed {
            self.metrics.listing_panicked();
        }
        let failed = match listed {
            Ok(Ok(keys)) => {
                self.listings.succeeded(listing.scope);
                self.count_resync(listing.scope, ListResult::Done);
                if listing.scope == Scope::All {
                    self.listed = Some(self.clock.monotonic());
                }
                return self.queue_listed(listing, keys);
            }
            Ok(Err(error)) => chain(&*error),
            Err(crash) => crash.to_string(),
        };
        tracing::warn!(controller = name, scope = ?listing.scope, error = %failed, "keys could not be listed");
        self.count_resync(listing.scope, ListResult::Failed);
        let (now, unit) = (self.clock.monotonic(), self.entropy.unit());
        self.listings.failed(listing, now, unit, &self.options.backoff);
        if self.stint.is_none() {
            self.listings.clear();
        }
    }

    fn count_resync(&self, scope: Scope, result: ListResult) {
        if scope == Scope::All {
            self.metrics.resync_ended(result, self.clock.monotonic().saturating_sub(self.listing_since));
        }
    }

    fn queue_listed(&mut self, listing: Listing, keys: Vec<R::Key>) {
        let now = self.clock.monotonic();
        let priority = match listing.scope {
            Scope::Dirty => Priority::User,
            Scope::All => Priority::Background,
        };
        for key in keys {
            let at = now + listing.spread.mul_f64(self.entropy.unit());
            self.add(key, at, priority);
        }
    }

    fn hinted(&mut self, batch: Batch<R::Key>) {
        let now = self.clock.monotonic();
        for (key, priority) in batch.keys {
            self.add(key, now, priority);
        }
        // A standby asks for everything when it gains leadership.
        if self.stint.is_none() {
            return;
        }
        if batch.resync {
            self.catch_up();
        } else if batch.dirty {
            self.listings.request(Listing { scope: Scope::Dirty, spread: Duration::ZERO }, now);
        }
    }

    fn add(&mut self, key: R::Key, at: Duration, priority: Priority) {
        if self.queue.add(key, at, priority) == Added::Refused {
            self.metrics.hint_dropped();
        }
    }

    /// Starts nothing more, and waits for what runs; a loss of leadership cuts that short.
    async fn drain(mut self) -> Drained {
        self.queue.close();
        self.lists.abort_all();
        let limit = sleep(self.options.drain);
        tokio::pin!(limit);
        let deposed = loop {
            if self.runs.is_empty() {
                return Drained::Clean;
            }
            tokio::select! {
                biased;
                (underway, ended) = self.runs.join() => self.run_ended(underway, ended),
                _ = self.leadership.changed(), if !self.elector_gone => break true,
                () = &mut limit => break false,
            }
        };
        let cancelled = self.runs.len();
        tracing::warn!(controller = self.reconciler.name(), runs = cancelled, deposed, "cancelling runs at shutdown");
        if let Some(stint) = self.stint.take() {
            stint.cancel.cancel();
        }
        // Each run ends, or is dropped, within the grace; twice that only guards against a busy machine.
        let limit = self.options.grace * 2;
        let rest = async {
            while !self.runs.is_empty() {
                let (underway, ended) = self.runs.join().await;
                self.run_ended(underway, ended);
            }
        };
        if timeout(limit, rest).await.is_err() {
            self.runs.abort_all();
        }
        Drained::Cancelled(cancelled)
    }
}

async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

fn next<K>(settled: &Settled, work: &Work<K>, now: Duration) -> Next {
    let failures = if settled.forget_attempts { 0 } else { work.attempts.saturating_add(1) };
    let keep = |after: Duration| {
        let users = after <= STILL_USERS && failures < USERS_ATTEMPTS;
        if users { work.priority } else { Priority::Background }
    };
    match settled.requeue {
        Requeue::AwaitChange => Next::Nothing,
        Requeue::Now => Next::At { at: now, priority: work.priority },
        Requeue::After(after) if settled.forget_attempts => Next::At { at: now + after, priority: keep(after) },
        Requeue::After(after) => Next::BackOff { at: now + after, priority: keep(after) },
    }
}

/// The one place where the end of a run is logged, with the whole chain of causes.
fn log(outcome: &Outcome, result: RunResult, settled: &Settled) {
    let Outcome::Failed { error, .. } = outcome else {
        match settled.event {
            Notice::Recovered { failures } => tracing::info!(failures, "recovered"),
            _ => tracing::debug!(?result, requeue = ?settled.requeue, "done"),
        }
        return;
    };
    let error = chain(&**error);
    match settled.event {
        _ if result == RunResult::Panicked => tracing::error!(%error, requeue = ?settled.requeue, "failed"),
        Notice::Retrying { failures } => tracing::warn!(%error, ?result, failures, requeue = ?settled.requeue, "failed, trying again"),
        Notice::Stalled => tracing::warn!(%error, "failed until the object changes"),
        Notice::Recovered { .. } | Notice::Quiet => tracing::debug!(%error, ?result, requeue = ?settled.requeue, "not done"),
    }
}
