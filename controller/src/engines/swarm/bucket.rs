//! A token bucket for writes to the engine.
//!
//! Update storms hurt Swarm managers, so one rate holds for all writers of a process. It delays, it never
//! refuses. Waiters are served in the order in which they came: a wait reserves its token at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Tokens that come back at a fixed rate, up to a burst.
#[derive(Debug)]
pub(super) struct TokenBucket {
    interval: Duration,
    burst: u32,
    /// When the bucket was, or will be, full: each take moves it one interval on.
    full_at: Mutex<Option<Instant>>,
}

impl TokenBucket {
    /// A full bucket. A rate of 0 counts as 1, and so does a burst of 0.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), burst: burst.max(1), full_at: Mutex::new(None) }
    }

    /// Waits for a token and takes it.
    pub(super) async fn take(&self) {
        let wait = self.reserve(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn reserve(&self, now: Instant) -> Duration {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let next = full_at.map_or(now, |at| at.max(now)) + self.interval;
        *full_at = Some(next);
        next.saturating_duration_since(now + self.interval * self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_the_rest_waits_its_turn() {
        let bucket = TokenBucket::new(10, 5);
        let start = Instant::now();
        for _ in 0..5 {
            bucket.take().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            bucket.take().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(990), "{:?}", start.elapsed());
        assert!(start.elapsed() <= Duration::from_millis(1100), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_bucket_fills_only_to_its_burst() {
        let bucket = TokenBucket::new(10, 2);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..4 {
            bucket.take().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(190), "{:?}", start.elapsed());
    }
}
