//! What the runtime counts.
//!
//! Labels come from closed sets only: the controllers' names, which are constants of the program, and
//! enums. Keys and ids belong to spans; as labels they would grow without bound.

use std::fmt::{self, Write as _};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::queue::Priority;
use crate::telemetry::Since;

/// How a run ended, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunResult {
    /// Done, until somebody hints at the key.
    Done,
    /// Done for now, to be looked at again.
    Requeued,
    /// Waits for something that is under way.
    Waiting,
    /// Failed, tried again with backoff.
    Transient,
    /// Somebody else changed what was read.
    Conflict,
    /// Failed until the object changes.
    Stalled,
    /// Told to stop.
    Cancelled,
    /// Took longer than it may.
    Deadline,
    /// Panicked.
    Panicked,
}

impl RunResult {
    /// Every value.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Requeued,
        Self::Waiting,
        Self::Transient,
        Self::Conflict,
        Self::Stalled,
        Self::Cancelled,
        Self::Deadline,
        Self::Panicked,
    ];
}

/// How a listing of keys ended, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListResult {
    /// The keys were queued.
    Done,
    /// They could not be read; tried again with backoff.
    Failed,
}

/// Writes an enum's value as its word in a label.
macro_rules! label {
    ($name:ident { $($variant:ident => $word:literal),+ $(,)? }) => {
        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                encoder.write_str(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

label!(RunResult {
    Done => "done",
    Requeued => "requeued",
    Waiting => "waiting",
    Transient => "transient",
    Conflict => "conflict",
    Stalled => "stalled",
    Cancelled => "cancelled",
    Deadline => "deadline",
    Panicked => "panicked",
});
label!(ListResult { Done => "done", Failed => "failed" });
label!(Lane { User => "user", Background => "background" });

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    controller: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunOf {
    controller: &'static str,
    result: RunResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListOf {
    controller: &'static str,
    result: ListResult,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    User,
    Background,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneOf {
    controller: &'static str,
    priority: Lane,
}

type Histograms = Family<Of, Histogram, fn() -> Histogram>;

/// The runtime's metrics, for all controllers. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    runs: Family<RunOf, Counter>,
    run_seconds: Histograms,
    queue_depth: Family<LaneOf, Gauge>,
    queue_seconds: Histograms,
    overdue: Family<Of, Since>,
    in_flight: Family<Of, Gauge>,
    retries: Family<Of, Counter>,
    panics: Family<Of, Counter>,
    resyncs: Family<ListOf, Counter>,
    resync_age: Family<Of, Since>,
    resync_seconds: Histograms,
    hints_dropped: Family<Of, Counter>,
    /// 1 while this process leads.
    pub leader: Gauge,
    /// Events that were not written, because of a full buffer or a sink that failed.
    pub events_dropped: Counter,
}

impl Metrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        // 1 ms to 65 s for a run, whose default deadline is a minute.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 17));
        let metrics = Self {
            runs: Family::default(),
            run_seconds: Family::new_with_constructor(seconds),
            queue_depth: Family::default(),
            queue_seconds: Family::new_with_constructor(seconds),
            overdue: Family::default(),
            in_flight: Family::default(),
            retries: Family::default(),
            panics: Family::default(),
            resyncs: Family::default(),
            resync_age: Family::default(),
            resync_seconds: Family::new_with_constructor(seconds),
            hints_dropped: Family::default(),
            leader: Gauge::default(),
            events_dropped: Counter::default(),
        };
        registry.register("reconcile_runs", "Reconcile runs by how they ended", metrics.runs.clone());
        registry.register("reconcile_duration_seconds", "How long a run took", metrics.run_seconds.clone());
        registry.register("reconcile_queue_depth", "Keys that wait, now or for their time", metrics.queue_depth.clone());
        registry.register("reconcile_queue_seconds", "How long a due key waited for its run", metrics.queue_seconds.clone());
        registry.register("reconcile_overdue_seconds", "How long the oldest due key has been waiting", metrics.overdue.clone());
        registry.register("reconcile_in_flight", "Runs under way", metrics.in_flight.clone());
        registry.register("reconcile_retries", "Runs of keys that had failed before", metrics.retries.clone());
        registry.register("reconcile_panics", "Runs and listings that panicked", metrics.panics.clone());
        registry.register("reconcile_resyncs", "Listings of all keys, by how they ended", metrics.resyncs.clone());
        let help = "Time since all keys were last listed, or since this process began to lead; 0 while it does not";
        registry.register("reconcile_resync_age_seconds", help, metrics.resync_age.clone());
        let help = "How long a listing of all keys took, with the look that tells which need no run";
        registry.register("reconcile_resync_duration_seconds", help, metrics.resync_seconds.clone());
        registry.register("reconcile_hints_dropped", "Hints that a resync has to repair", metrics.hints_dropped.clone());
        registry.register("leader", "1 while this process leads", metrics.leader.clone());
        registry.register("events_dropped", "Events that were not written", metrics.events_dropped.clone());
        metrics
    }

    /// One controller's part, every series of it there from the start.
    pub fn controller(&self, controller: &'static str) -> ControllerMetrics {
        let of = Of { controller };
        for result in RunResult::ALL {
            self.runs.get_or_create_owned(&RunOf { controller, result });
        }
        for result in [ListResult::Done, ListResult::Failed] {
            self.resyncs.get_or_create_owned(&ListOf { controller, result });
        }
        ControllerMetrics {
            run_seconds: self.run_seconds.get_or_create_owned(&of),
            depth_user: self.queue_depth.get_or_create_owned(&LaneOf { controller, priority: Lane::User }),
            depth_background: self.queue_depth.get_or_create_owned(&LaneOf { controller, priority: Lane::Background }),
            queue_seconds: self.queue_seconds.get_or_create_owned(&of),
            overdue: self.overdue.get_or_create_owned(&of),
            resync_age: self.resync_age.get_or_create_owned(&of),
            resync_seconds: self.resync_seconds.get_or_create_owned(&of),
            in_flight: self.in_flight.get_or_create_owned(&of),
            retries: self.retries.get_or_create_owned(&of),
            panics: self.panics.get_or_create_owned(&of),
            hints_dropped: self.hints_dropped.get_or_create_owned(&of),
            all: self.clone(),
            controller,
        }
    }
}

/// When a key is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It has been for so long.
    Since(Duration),
    /// It will be in so long.
    In(Duration),
}

/// The metrics of one controller.
#[derive(Debug, Clone)]
pub struct ControllerMetrics {
    all: Metrics,
    controller: &'static str,
    run_seconds: Histogram,
    depth_user: Gauge,
    depth_background: Gauge,
    queue_seconds: Histogram,
    overdue: Since,
    resync_age: Since,
    resync_seconds: Histogram,
    in_flight: Gauge,
    retries: Counter,
    panics: Counter,
    hints_dropped: Counter,
}

impl ControllerMetrics {
    /// A run starts, so long after it was due, after so many failures.
    pub fn run_started(&self, delay: Duration, attempts: u32) {
        self.queue_seconds.observe(delay.as_secs_f64());
        if attempts > 0 {
            self.retries.inc();
        }
    }

    /// A run ended.
    pub fn run_ended(&self, result: RunResult, took: Duration) {
        self.all.runs.get_or_create_owned(&RunOf { controller: self.controller, result }).inc();
        self.run_seconds.observe(took.as_secs_f64());
        if result == RunResult::Panicked {
            self.panics.inc();
        }
    }

    /// This process leads from now on, or no more: only the leader lists keys.
    pub fn leads(&self, leads: bool) {
        self.resync_age.set(leads.then(Instant::now));
    }

    /// A listing of all keys ended, and took so long.
    pub fn resync_ended(&self, result: ListResult, took: Duration) {
        self.resync_seconds.observe(took.as_secs_f64());
        if result == ListResult::Done {
            self.resync_age.set(Some(Instant::now()));
        }
        self.all.resyncs.get_or_create_owned(&ListOf { controller: self.controller, result }).inc();
    }

    /// A listing panicked.
    pub fn listing_panicked(&self) {
        self.panics.inc();
    }

    /// A hint found no place.
    pub fn hint_dropped(&self) {
        self.hints_dropped.inc();
    }

    /// What waits and what runs now, and since when the first key is due, or in how long it will be.
    pub fn queue(&self, depth: impl Fn(Priority) -> usize, in_flight: usize, first: Option<Due>) {
        let now = Instant::now();
        self.overdue.set(first.and_then(|due| match due {
            Due::Since(time) => now.checked_sub(time),
            Due::In(time) => now.checked_add(time),
        }));
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.depth_user.set(number(depth(Priority::User)));
        self.depth_background.set(number(depth(Priority::Background)));
        self.in_flight.set(number(in_flight));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_of_a_controller_exists_before_its_first_run() {
        let mut registry = Registry::with_prefix("skyswarm");
        let metrics = Metrics::register(&mut registry).controller("app");
        metrics.run_ended(RunResult::Transient, Duration::from_millis(3));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "skyswarm_reconcile_runs_total{controller=\"app\",result=\"done\"} 0",
            "skyswarm_reconcile_runs_total{controller=\"app\",result=\"panicked\"} 0",
            "skyswarm_reconcile_runs_total{controller=\"app\",result=\"transient\"} 1",
            "skyswarm_reconcile_resyncs_total{controller=\"app\",result=\"failed\"} 0",
            "skyswarm_reconcile_queue_depth{controller=\"app\",priority=\"user\"} 0",
            "skyswarm_reconcile_duration_seconds_count{controller=\"app\"} 1",
            "skyswarm_reconcile_panics_total{controller=\"app\"} 0",
            "skyswarm_reconcile_overdue_seconds{controller=\"app\"} 0.0",
            "skyswarm_reconcile_resync_age_seconds{controller=\"app\"} 0.0",
            "skyswarm_reconcile_resync_duration_seconds_count{controller=\"app\"} 0",
            "skyswarm_leader 0",
            "skyswarm_events_dropped_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line:?} in:\n{text}");
        }
    }
}
