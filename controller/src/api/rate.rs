//! How many requests a token may make, and how many an address may make without a good one.
//!
//! A leaky bucket (GCRA): one time for each key says when its bucket will be full again, so there is nothing to
//! refill and a bucket that is full needs no memory. Limits are settings that change while requests come, which
//! the packages for this keep fixed; times are arguments.
//!
//! What a good token is refused never depends on others: only requests that fail to authenticate count against
//! their address. Behind a proxy all clients have the proxy's address, and one with a wrong token must not shut
//! out the rest. Tokens have 256 random bits; the limit keeps the database from being asked, not guesses from
//! being right.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

/// The window in which limits count.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Keys that are remembered at once.
const MAX_KEYS: usize = 20_000;
/// Shortest time between two searches for keys to forget.
const SWEEP: Duration = Duration::from_secs(1);

/// How many requests in how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    /// Requests in a [`WINDOW`], in the long run; at least 1.
    pub(super) per_window: u32,
    /// Requests at once, after a pause; at least 1.
    pub(super) burst: u32,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) allowed: bool,
    pub(super) quota: Quota,
    /// Requests that could be made right now.
    pub(super) remaining: u32,
    /// Until the whole burst can be used again.
    pub(super) reset: Duration,
    /// Until the next request is allowed; zero when one is.
    pub(super) retry_after: Duration,
}

/// A time in whole seconds, rounded up.
pub(super) fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// The buckets of one sort of key.
#[derive(Debug)]
struct Buckets<K> {
    /// When each bucket is full again.
    full_at: HashMap<K, Duration>,
    swept: Duration,
    max: usize,
}

impl<K: Eq + Hash> Buckets<K> {
    fn new(max: usize) -> Self {
        Self { full_at: HashMap::new(), swept: Duration::ZERO, max }
    }

    /// Takes a request, if there is room for it.
    fn take(&mut self, key: K, quota: Quota, now: Duration) -> Decision {
        let each = WINDOW / quota.per_window.max(1);
        let whole = each * quota.burst.max(1);
        let full_at = self.full_at.get(&key).copied().unwrap_or(now).max(now);
        let after = full_at + each;
        let missing = after.saturating_sub(now);
        let room = self.full_at.contains_key(&key) || self.make_room(now);
        let allowed = missing <= whole && room;
        if allowed {
            self.full_at.insert(key, after);
        }
        let reset = if allowed { missing } else { full_at.saturating_sub(now) };
        let remaining = whole.saturating_sub(reset).as_nanos() / each.as_nanos().max(1);
        let retry_after = match (allowed, room) {
            (true, _) => Duration::ZERO,
            (false, true) => missing.saturating_sub(whole),
            (false, false) => WINDOW,
        };
        Decision { allowed, quota, remaining: if room { u32::try_from(remaining).unwrap_or(u32::MAX) } else { 0 }, reset, retry_after }
    }

    /// Whether another key can be remembered. Full buckets are forgotten: they are as good as new ones.
    fn make_room(&mut self, now: Duration) -> bool {
        if self.full_at.len() < self.max {
            return true;
        }
        if now.saturating_sub(self.swept) >= SWEEP {
            self.swept = now;
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        self.full_at.len() < self.max
    }
}

/// All buckets.
pub(super) struct RateLimits {
    tokens: Mutex<Buckets<Uuid>>,
    addresses: Mutex<Buckets<IpAddr>>,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { tokens: Mutex::new(Buckets::new(MAX_KEYS)), addresses: Mutex::new(Buckets::new(MAX_KEYS)) }
    }
}

impl RateLimits {
    /// A request with a good token.
    pub(super) fn token(&self, id: Uuid, quota: Quota, now: Duration) -> Decision {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).take(id, quota, now)
    }
    /// A request that failed to authenticate.
    pub(super) fn failure(&self, address: IpAddr, quota: Quota, now: Duration) -> Decision {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).take(network(address), quota, now)
    }
}

/// Who has an IPv6 address has at least a /64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(|| IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()), IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { per_window: 60, burst: 3 };

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_burst_and_then_one_for_each_interval_to_the_millisecond() {
        let mut buckets = Buckets::new(10);
        let begun = secs(1000);
        for left in [2, 1, 0] {
            let decision = buckets.take("a", QUOTA, begun);
            assert!(decision.allowed);
            assert_eq!((decision.remaining, decision.retry_after), (left, Duration::ZERO));
        }
        let refused = buckets.take("a", QUOTA, begun);
        assert_eq!((refused.allowed, refused.remaining, refused.retry_after, refused.reset), (false, 0, secs(1), secs(3)));
        assert!(buckets.take("b", QUOTA, begun).allowed, "another key has a bucket of its own");

        let almost = begun + Duration::from_millis(999);
        let refused = buckets.take("a", QUOTA, almost);
        assert_eq!((refused.allowed, refused.retry_after), (false, Duration::from_millis(1)));
        assert_eq!(seconds(refused.retry_after), 1, "never less than what has to be waited");
        let allowed = buckets.take("a", QUOTA, begun + secs(1));
        assert_eq!((allowed.allowed, allowed.remaining), (true, 0));
        assert!(!buckets.take("a", QUOTA, begun + secs(1)).allowed, "one for each interval");
    }

    #[test]
    fn who_waits_as_told_is_let_in_and_a_refusal_costs_nothing() {
        let mut buckets = Buckets::new(10);
        let mut now = secs(5);
        for _ in 0..3 {
            assert!(buckets.take("a", QUOTA, now).allowed);
        }
        for _ in 0..100 {
            assert!(!buckets.take("a", QUOTA, now).allowed);
        }
        now += buckets.take("a", QUOTA, now).retry_after;
        assert!(buckets.take("a", QUOTA, now).allowed);
        now += secs(3600);
        assert_eq!(buckets.take("a", QUOTA, now).remaining, 2, "a pause gives the burst back, and no more");
    }

    #[test]
    fn over_a_long_time_exactly_the_limit_is_allowed() {
        let mut buckets = Buckets::new(10);
        let allowed = (0..120_000).filter(|millis| buckets.take("a", QUOTA, secs(9) + Duration::from_millis(*millis)).allowed).count();
        assert_eq!(allowed, 3 + 119, "the burst, and one for each second after the first");
    }

    #[test]
    fn a_new_limit_holds_at_once() {
        let mut buckets = Buckets::new(10);
        for _ in 0..3 {
            buckets.take("a", QUOTA, secs(1));
        }
        assert!(!buckets.take("a", QUOTA, secs(1)).allowed);
        assert!(buckets.take("a", Quota { per_window: 600, burst: 100 }, secs(1)).allowed);
    }

    #[test]
    fn memory_is_bounded_and_full_buckets_are_forgotten() {
        let mut buckets = Buckets::new(100);
        for key in 0..100 {
            assert!(buckets.take(key, QUOTA, secs(10)).allowed);
        }
        let crowded = buckets.take(100, QUOTA, secs(10));
        assert_eq!((crowded.allowed, crowded.retry_after), (false, WINDOW));
        assert_eq!(buckets.full_at.len(), 100);
        assert!(buckets.take(0, QUOTA, secs(10)).allowed, "who is known goes on");
        assert!(buckets.take(100, QUOTA, secs(12)).allowed);
        assert!(buckets.full_at.len() <= 2, "{}", buckets.full_at.len());
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let limits = RateLimits::default();
        let quota = Quota { per_window: 1, burst: 1 };
        let taken = |address: &str| limits.failure(address.parse().expect("an address"), quota, secs(1)).allowed;
        assert!(taken("2001:db8::1") && !taken("2001:db8::2") && taken("2001:db8:0:1::1"));
        assert!(taken("192.0.2.1") && !taken("::ffff:192.0.2.1") && taken("192.0.2.2"));
    }
}
