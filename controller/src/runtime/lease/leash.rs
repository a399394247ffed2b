//! Whether the lease still holds, for acts that no epoch can fence.
//!
//! A write to the store carries the epoch and is refused in the store. An engine knows no epochs, so the last
//! thing before a request to it is sent is to look at the clock: past the moment up to which the lease is known to
//! be ours, nothing is sent. That moment only ever comes from a renewal that was answered.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::SharedClock;

/// The moment up to which this process may act. Cloning shares it.
#[derive(Clone)]
pub struct Leash {
    /// Nanoseconds of the monotonic clock; 0 while the lease is not ours.
    valid_until: Arc<AtomicU64>,
    clock: SharedClock,
}

impl fmt::Debug for Leash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leash({})", self.valid_until.load(Ordering::Relaxed))
    }
}

impl Leash {
    /// One that does not hold yet.
    pub fn new(clock: SharedClock) -> Self {
        Self { valid_until: Arc::default(), clock }
    }

    /// Whether an act may begin now.
    pub fn holds(&self) -> bool {
        nanos(self.clock.monotonic()) < self.valid_until.load(Ordering::Acquire)
    }

    pub(super) fn extend(&self, valid_until: Duration) {
        self.valid_until.store(nanos(valid_until), Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.valid_until.store(0, Ordering::Release);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
