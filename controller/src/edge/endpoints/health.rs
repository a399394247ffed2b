//! Whether an endpoint is ready, from the results of its checks. Pure.

use std::time::Duration;

use api_types::kinds::app::HealthSpec;
use chrono::{DateTime, Utc};

use crate::edge::Check;

/// Time between two checks of a task that is not ready yet.
const EAGER: Duration = Duration::from_millis(150);
/// How long a task is checked that eagerly.
const EAGER_FOR: Duration = Duration::from_secs(10);
/// Time between two checks after that, and while the engine cannot be asked.
const PATIENT: Duration = Duration::from_secs(1);
const TCP_INTERVAL: Duration = Duration::from_secs(10);
const TCP_TIMEOUT: Duration = Duration::from_secs(2);
const TCP_THRESHOLD: u32 = 3;

/// How an endpoint is checked. Values are limited here, whatever a label says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Time between two checks of a ready task.
    pub interval: Duration,
    /// Time to the next check of a ready task after a failed one.
    pub recheck: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Failed checks in a row that make it unready.
    pub failure_threshold: u32,
}

impl Policy {
    /// From the health spec; without one, the port is connected to.
    pub fn of(spec: Option<&HealthSpec>) -> Self {
        let Some(spec) = spec else {
            return Self { interval: TCP_INTERVAL, recheck: PATIENT, timeout: TCP_TIMEOUT, failure_threshold: TCP_THRESHOLD };
        };
        let interval = spec.interval.get().clamp(Duration::from_millis(500), Duration::from_secs(3600));
        Self {
            interval,
            recheck: interval,
            timeout: spec.timeout.get().clamp(Duration::from_millis(50), Duration::from_secs(60)),
            failure_threshold: spec.failure_threshold.clamp(1, 100),
        }
    }
}

/// What the checks so far say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether it may get requests.
    pub ready: bool,
    /// Since when `ready` has its value.
    pub since: DateTime<Utc>,
    /// Failed checks in a row.
    pub failures: u32,
    /// Last result.
    pub last: Check,
    /// Monotonic time of the last change of `ready`.
    pub changed: Duration,
}

/// When a result came, and what it is worth.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Wall time, for the record.
    pub now: DateTime<Utc>,
    /// Monotonic time.
    pub monotonic: Duration,
    /// Whether the engine confirmed the address lately. If not, the address may already be another
    /// container's: an answer proves nothing, and the first failure is enough.
    pub engine_known: bool,
}

impl Health {
    /// A new endpoint: not ready, nothing known.
    pub fn pending(moment: Moment) -> Self {
        Self { ready: false, since: moment.now, failures: 0, last: Check::Pending, changed: moment.monotonic }
    }

    /// The state after a check.
    #[must_use]
    pub fn after(&self, outcome: Check, policy: &Policy, moment: Moment) -> Self {
        let mut next = self.clone();
        match &outcome {
            Check::Pending => return next,
            Check::Passed => {
                next.failures = 0;
                next.ready = self.ready || moment.engine_known;
            }
            Check::PortClosed { .. } | Check::Failed { .. } => {
                next.failures = self.failures.saturating_add(1);
                next.ready = self.ready && moment.engine_known && next.failures < policy.failure_threshold;
            }
        }
        next.last = outcome;
        if next.ready != self.ready {
            next.since = moment.now;
            next.changed = moment.monotonic;
        }
        next
    }

    /// Time to the next check. `unit` is random, from 0 to 1.
    pub fn next_delay(&self, policy: &Policy, moment: Moment, unit: f64) -> Duration {
        let base = match (self.ready, self.failures) {
            (true, 0) => policy.interval,
            (true, _) => policy.recheck,
            (false, _) if moment.monotonic.saturating_sub(self.changed) < EAGER_FOR => EAGER,
            (false, _) => PATIENT,
        };
        let base = if moment.engine_known { base } else { base.min(PATIENT) };
        base.mul_f64(0.9 + 0.2 * unit.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, engine_known: bool) -> Moment {
        let base = DateTime::<Utc>::UNIX_EPOCH;
        Moment { now: base + Duration::from_secs(seconds), monotonic: Duration::from_secs(seconds), engine_known }
    }
    fn failed() -> Check {
        Check::Failed { detail: "answered 500".to_owned() }
    }
    fn closed() -> Check {
        Check::PortClosed { detail: "refused".to_owned() }
    }

    /// `p` passed, `f` failed, `c` closed; upper case: the engine was not known. Result: r ready, - not.
    #[test]
    fn readiness_follows_the_table() {
        let policy = Policy { failure_threshold: 3, ..Policy::of(None) };
        for (results, want) in [
            ("", ""),
            ("p", "r"),
            ("fp", "-r"),
            ("cccp", "---r"),
            ("pff", "rrr"),
            ("pfff", "rrr-"),
            ("pffpff", "rrrrrr"),
            ("pfcfp", "rrr-r"),
            ("pF", "r-"),
            ("pC", "r-"),
            ("pCPp", "r--r"),
            ("P", "-"),
            ("pP", "rr"),
        ] {
            let mut health = Health::pending(at(0, true));
            let mut got = String::new();
            for (second, result) in results.chars().enumerate() {
                let outcome = match result.to_ascii_lowercase() {
                    'p' => Check::Passed,
                    'f' => failed(),
                    _ => closed(),
                };
                health = health.after(outcome, &policy, at(second as u64 + 1, result.is_ascii_lowercase()));
                got.push(if health.ready { 'r' } else { '-' });
            }
            assert_eq!(got, want, "{results}");
        }
    }

    #[test]
    fn since_is_when_readiness_changed_and_not_when_it_was_checked() {
        let policy = Policy::of(None);
        let health = Health::pending(at(0, true)).after(Check::Passed, &policy, at(5, true));
        let later = health.after(Check::Passed, &policy, at(50, true)).after(failed(), &policy, at(60, true));
        assert_eq!((later.ready, later.since, later.failures), (true, at(5, true).now, 1));
        assert_eq!(later.last, failed());
    }

    #[test]
    fn checks_are_eager_then_patient_then_at_the_interval() {
        let spec = HealthSpec {
            path: "/".to_owned(),
            interval: api_types::HumanDuration::from_secs(7),
            timeout: api_types::HumanDuration::from_secs(2),
            failure_threshold: 3,
        };
        let policy = Policy::of(Some(&spec));
        let pending = Health::pending(at(0, true));
        assert_eq!(pending.next_delay(&policy, at(9, true), 0.5), EAGER);
        assert_eq!(pending.next_delay(&policy, at(10, true), 0.5), PATIENT);
        let ready = pending.after(Check::Passed, &policy, at(11, true));
        assert_eq!(ready.next_delay(&policy, at(11, true), 0.5), Duration::from_secs(7));
        assert_eq!(ready.next_delay(&policy, at(11, false), 0.5), PATIENT);
        let (low, high) = (ready.next_delay(&policy, at(11, true), 0.0), ready.next_delay(&policy, at(11, true), 1.0));
        assert!(low < Duration::from_secs(7) && high > Duration::from_secs(7) && high < Duration::from_secs(8), "{low:?} {high:?}");
    }

    #[test]
    fn no_label_can_ask_for_a_storm_or_for_a_check_without_end() {
        let spec = HealthSpec {
            path: "/".to_owned(),
            interval: api_types::HumanDuration::from_millis(0),
            timeout: api_types::HumanDuration::from_secs(86_400),
            failure_threshold: 0,
        };
        let policy = Policy::of(Some(&spec));
        assert_eq!((policy.interval, policy.timeout, policy.failure_threshold), (Duration::from_millis(500), Duration::from_secs(60), 1));
    }
}
