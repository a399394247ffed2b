//! The delay before another attempt: exponential, capped, with full jitter.
//!
//! A pure function of the number of failures and one random number: the count lives in the queue, per
//! key, so there is nothing here to reset and a test can ask for any delay directly. This is the only
//! file that uses the `backoff` crate, which is no longer maintained; only its growth arithmetic is
//! used, not its clock, its randomness or its retry functions.
//!
//! It does not decide whether to try again: that is [`super::settle`].

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::exponential::ExponentialBackoffBuilder;
use backoff::{ExponentialBackoff, SystemClock};

/// Beyond this many doublings every policy has reached its cap.
const MOST_STEPS: u32 = 64;

/// How delays grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The ceiling of the first delay; doubled for each further failure.
    pub initial: Duration,
    /// The ceiling that no delay exceeds.
    pub cap: Duration,
    /// The least delay, so that jitter never makes a retry immediate.
    pub floor: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { initial: Duration::from_millis(500), cap: Duration::from_secs(60), floor: Duration::from_millis(100) }
    }
}

impl Policy {
    /// The longest delay after so many failures (the first delay follows on `failures` = 0).
    pub fn ceiling(&self, failures: u32) -> Duration {
        let cap = self.cap.max(Duration::from_millis(1));
        let mut growth: ExponentialBackoff = ExponentialBackoffBuilder::<SystemClock>::new()
            .with_initial_interval(self.initial.clamp(Duration::from_millis(1), cap))
            .with_randomization_factor(0.0)
            .with_multiplier(2.0)
            .with_max_interval(cap)
            .with_max_elapsed_time(None)
            .build();
        let mut ceiling = cap;
        for _ in 0..=failures.min(MOST_STEPS) {
            ceiling = growth.next_backoff().unwrap_or(cap).min(cap);
            if ceiling == cap {
                break;
            }
        }
        ceiling
    }

    /// The delay after so many failures. `unit` is a random number from 0 to 1: full jitter spreads
    /// the delay from the floor to the ceiling, so that keys which failed together part ways.
    pub fn delay(&self, failures: u32, unit: f64) -> Duration {
        let ceiling = self.ceiling(failures);
        let unit = if unit.is_finite() { unit.clamp(0.0, 1.0) } else { 1.0 };
        ceiling.mul_f64(unit).max(self.floor.min(ceiling))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ceiling_doubles_until_the_cap_and_stays_there() {
        let policy = Policy::default();
        let millis: Vec<u128> = (0..10).map(|failures| policy.ceiling(failures).as_millis()).collect();
        assert_eq!(millis, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        assert_eq!(policy.ceiling(u32::MAX), policy.cap);
    }

    #[test]
    fn full_jitter_reaches_from_the_floor_to_the_ceiling() {
        let policy = Policy::default();
        assert_eq!(policy.delay(3, 0.0), policy.floor);
        assert_eq!(policy.delay(3, 0.5), Duration::from_secs(2));
        assert_eq!(policy.delay(3, 1.0), Duration::from_secs(4));
        assert_eq!(policy.delay(3, f64::NAN), Duration::from_secs(4), "a broken generator waits longest");
    }

    #[test]
    fn a_policy_without_sense_still_gives_a_delay() {
        let zero = Policy { initial: Duration::ZERO, cap: Duration::ZERO, floor: Duration::from_secs(9) };
        assert_eq!(zero.delay(0, 0.0), Duration::from_millis(1));
        let endless = Policy { initial: Duration::MAX, cap: Duration::from_secs(3), floor: Duration::ZERO };
        assert_eq!(endless.ceiling(0), Duration::from_secs(3));
    }

    proptest! {
        #[test]
        fn delays_stay_within_bounds_and_ceilings_never_shrink(
            initial in 1u64..10_000, cap in 1u64..600_000, floor in 0u64..1000, failures in 0u32..200, unit in 0.0f64..1.0,
        ) {
            let [initial, cap, floor] = [initial, cap, floor].map(Duration::from_millis);
            let policy = Policy { initial, cap, floor };
            let delay = policy.delay(failures, unit);
            prop_assert!(delay <= policy.ceiling(failures) && policy.ceiling(failures) <= cap);
            prop_assert!(delay >= floor.min(policy.ceiling(failures)));
            prop_assert!(policy.ceiling(failures) <= policy.ceiling(failures + 1));
        }
    }
}
