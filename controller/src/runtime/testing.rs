//! What the tests of the runtime share.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::clock::{Clock, SeededEntropy, SharedClock, SharedEntropy};

/// A clock that follows tokio's, which tests pause; its monotonic side may run fast or slow.
#[derive(Debug)]
pub(crate) struct TokioClock {
    start: Instant,
    rate: f64,
}

impl TokioClock {
    pub(crate) fn shared() -> SharedClock {
        Self::at_rate(1.0)
    }

    pub(crate) fn at_rate(rate: f64) -> SharedClock {
        Arc::new(Self { start: Instant::now(), rate })
    }
}

impl Clock for TokioClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + self.start.elapsed()
    }
    fn monotonic(&self) -> Duration {
        self.start.elapsed().mul_f64(self.rate)
    }
}

/// Repeatable randomness.
pub(crate) fn entropy(seed: u64) -> SharedEntropy {
    Arc::new(SeededEntropy::new(seed))
}
