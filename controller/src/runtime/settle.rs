//! From how a run ended to when the next one comes: one pure function, tested as a table.
//!
//! It does not write status (a kind does, from its own error) and it does not count attempts (the
//! queue does, by what is returned here).

use std::time::Duration;

use super::backoff::Policy;
use super::reconciler::Outcome;

/// How many conflicts in a row are tried again at once.
pub const CONFLICTS_AT_ONCE: u32 = 5;
/// The shortest time between two runs of a key that asks to be run again: a plan that never comes
/// to rest costs at most fifty runs a second.
pub const LEAST_REQUEUE: Duration = Duration::from_millis(20);
/// The longest time that a run may put itself off.
pub const MOST_REQUEUE: Duration = Duration::from_secs(24 * 3600);

/// What a failure means for the next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// May pass by itself: try again with backoff.
    Transient,
    /// Not a failure: something is under way, look again after this time.
    Waiting(Duration),
    /// Somebody else changed what was read: observe again at once.
    Conflict,
    /// Cannot succeed before the object changes.
    Stalled,
    /// The run was told to stop. Whoever leads next starts over.
    Cancelled,
}

/// When the next run comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeue {
    /// After a time.
    After(Duration),
    /// At once.
    Now,
    /// When somebody hints at the key, or at the next resync.
    AwaitChange,
}

/// What is worth saying about the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Nothing new.
    Quiet,
    /// It succeeded after failures.
    Recovered {
        /// How many.
        failures: u32,
    },
    /// It fails, and is tried again. Given for the failures 1, 2, 4, 8 and so on, so that a lasting
    /// failure does not fill the log.
    Retrying {
        /// How often in a row, this time included.
        failures: u32,
    },
    /// It will not be tried again before the object changes.
    Stalled,
}

/// What follows on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// When the next run comes.
    pub requeue: Requeue,
    /// Whether the key's failures in a row are forgotten; otherwise one more is counted.
    pub forget_attempts: bool,
    /// What is worth saying.
    pub event: Notice,
}

/// Decides what follows on a run.
///
/// `attempts` are the failures in a row before this run, `jitter` a random number from 0 to 1.
pub fn settle(outcome: &Outcome, attempts: u32, jitter: f64, policy: &Policy) -> Settled {
    let back_off = |failures: u32| Settled {
        requeue: Requeue::After(policy.delay(failures, jitter)),
        forget_attempts: false,
        event: retrying(attempts.saturating_add(1)),
    };
    let class = match outcome {
        Outcome::Done { requeue_after } => {
            let requeue = requeue_after.map_or(Requeue::AwaitChange, after);
            return Settled { requeue, forget_attempts: true, event: recovered(attempts) };
        }
        Outcome::Failed { class, .. } => *class,
    };
    match class {
        Class::Transient => back_off(attempts),
        Class::Waiting(time) => Settled { requeue: after(time), forget_attempts: true, event: recovered(attempts) },
        Class::Conflict if attempts < CONFLICTS_AT_ONCE => Settled { requeue: Requeue::Now, forget_attempts: false, event: Notice::Quiet },
        Class::Conflict => back_off(attempts - CONFLICTS_AT_ONCE),
        Class::Stalled => Settled { requeue: Requeue::AwaitChange, forget_attempts: true, event: Notice::Stalled },
        Class::Cancelled => Settled { requeue: Requeue::AwaitChange, forget_attempts: true, event: Notice::Quiet },
    }
}

fn after(time: Duration) -> Requeue {
    Requeue::After(time.clamp(LEAST_REQUEUE, MOST_REQUEUE))
}

fn recovered(attempts: u32) -> Notice {
    if attempts == 0 { Notice::Quiet } else { Notice::Recovered { failures: attempts } }
}

fn retrying(failures: u32) -> Notice {
    if failures.is_power_of_two() { Notice::Retrying { failures } } else { Notice::Quiet }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JITTER: f64 = 1.0;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn failed(class: Class) -> Outcome {
        Outcome::failed(class, "for the test")
    }

    #[test]
    fn every_end_of_a_run_has_its_row() {
        use Notice::{Quiet, Recovered, Retrying, Stalled};
        use Requeue::{After, AwaitChange, Now};
        let half = Duration::from_millis(500);
        #[rustfmt::skip]
        let table: &[(&str, Outcome, u32, Requeue, bool, Notice)] = &[
            ("done", Outcome::done(), 0, AwaitChange, true, Quiet),
            ("done after failures", Outcome::done(), 3, AwaitChange, true, Recovered { failures: 3 }),
            ("done, look again", Outcome::requeue(seconds(7)), 0, After(seconds(7)), true, Quiet),
            ("done, next step", Outcome::requeue(Duration::ZERO), 0, After(LEAST_REQUEUE), true, Quiet),
            ("done, in an age", Outcome::requeue(Duration::MAX), 0, After(MOST_REQUEUE), true, Quiet),
            ("waiting", failed(Class::Waiting(seconds(2))), 0, After(seconds(2)), true, Quiet),
            ("waiting after failures", failed(Class::Waiting(seconds(2))), 2, After(seconds(2)), true, Recovered { failures: 2 }),
            ("first failure", failed(Class::Transient), 0, After(half), false, Retrying { failures: 1 }),
            ("second failure", failed(Class::Transient), 1, After(seconds(1)), false, Retrying { failures: 2 }),
            ("third failure", failed(Class::Transient), 2, After(seconds(2)), false, Quiet),
            ("failure for ever", failed(Class::Transient), u32::MAX, After(seconds(60)), false, Quiet),
            ("first conflict", failed(Class::Conflict), 0, Now, false, Quiet),
            ("fifth conflict", failed(Class::Conflict), 4, Now, false, Quiet),
            ("sixth conflict", failed(Class::Conflict), 5, After(half), false, Quiet),
            ("eighth conflict", failed(Class::Conflict), 7, After(seconds(2)), false, Retrying { failures: 8 }),
            ("stalled", failed(Class::Stalled), 4, AwaitChange, true, Stalled),
            ("cancelled", failed(Class::Cancelled), 4, AwaitChange, true, Quiet),
        ];
        for (name, outcome, attempts, requeue, forget_attempts, event) in table {
            let expected = Settled { requeue: *requeue, forget_attempts: *forget_attempts, event: *event };
            assert_eq!(settle(outcome, *attempts, JITTER, &Policy::default()), expected, "{name}");
        }
    }

    #[test]
    fn jitter_spreads_retries_but_not_waits() {
        let policy = Policy::default();
        assert_ne!(settle(&failed(Class::Transient), 4, 0.2, &policy), settle(&failed(Class::Transient), 4, 0.9, &policy));
        let waiting = failed(Class::Waiting(seconds(3)));
        assert_eq!(settle(&waiting, 4, 0.2, &policy), settle(&waiting, 4, 0.9, &policy));
    }
}
