//! When keys are listed: requests merged, one listing of a scope at a time, failures tried again.
//!
//! Pure, like the queue. A request that comes while a listing of its scope runs asks for another one
//! after it, since the running one may have read before the change.

use std::time::Duration;

use super::backoff::Policy;

/// Which keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those that somebody waits for.
    Dirty,
    /// All.
    All,
}

/// A listing to be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) scope: Scope,
    /// Over how long its keys are spread.
    pub(super) spread: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Request {
    at: Duration,
    spread: Duration,
}

#[derive(Debug, Default)]
struct State {
    wanted: Option<Request>,
    running: bool,
    failures: u32,
}

/// The listings of one controller.
#[derive(Debug, Default)]
pub(super) struct Listings {
    dirty: State,
    all: State,
}

impl Listings {
    /// Asks for a listing at a time. Of two requests the earlier time and the narrower spread count.
    pub(super) fn request(&mut self, listing: Listing, at: Duration) {
        let state = self.state(listing.scope);
        let wanted = state.wanted.get_or_insert(Request { at, spread: listing.spread });
        wanted.at = wanted.at.min(at);
        wanted.spread = wanted.spread.min(listing.spread);
    }

    /// Forgets what was asked for.
    pub(super) fn clear(&mut self) {
        self.dirty.wanted = None;
        self.all.wanted = None;
    }

    /// A listing that is due, the dirty keys first; it runs from now on.
    pub(super) fn next(&mut self, now: Duration) -> Option<Listing> {
        for scope in [Scope::Dirty, Scope::All] {
            let state = self.state(scope);
            if state.running {
                continue;
            }
            if let Some(request) = state.wanted.take_if(|request| request.at <= now) {
                state.running = true;
                return Some(Listing { scope, spread: request.spread });
            }
        }
        None
    }

    /// When [`Listings::next`] may have something.
    pub(super) fn next_at(&self) -> Option<Duration> {
        [&self.dirty, &self.all].into_iter().filter(|state| !state.running).filter_map(|state| state.wanted).map(|request| request.at).min()
    }

    /// A listing ended well.
    pub(super) fn succeeded(&mut self, scope: Scope) {
        let state = self.state(scope);
        state.running = false;
        state.failures = 0;
    }

    /// A listing failed, and is made again after a backoff, however often it was asked for.
    pub(super) fn failed(&mut self, listing: Listing, now: Duration, unit: f64, policy: &Policy) {
        let state = self.state(listing.scope);
        state.running = false;
        let at = now + policy.delay(state.failures, unit);
        state.failures = state.failures.saturating_add(1);
        let spread = state.wanted.map_or(listing.spread, |request| request.spread.min(listing.spread));
        state.wanted = Some(Request { at, spread });
    }

    fn state(&mut self, scope: Scope) -> &mut State {
        match scope {
            Scope::Dirty => &mut self.dirty,
            Scope::All => &mut self.all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Listing = Listing { scope: Scope::All, spread: Duration::from_secs(10) };
    const NARROW: Listing = Listing { scope: Scope::All, spread: Duration::ZERO };
    const DIRTY: Listing = Listing { scope: Scope::Dirty, spread: Duration::ZERO };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn requests_are_merged_and_one_made_during_a_listing_asks_for_another() {
        let mut listings = Listings::default();
        listings.request(WIDE, at(5));
        listings.request(NARROW, at(2));
        listings.request(DIRTY, at(2));
        assert_eq!(listings.next(at(1)), None);
        assert_eq!((listings.next(at(2)), listings.next(at(2)), listings.next(at(9))), (Some(DIRTY), Some(NARROW), None));
        listings.request(WIDE, at(3));
        assert_eq!((listings.next(at(9)), listings.next_at()), (None, None), "one at a time");
        listings.succeeded(Scope::All);
        assert_eq!((listings.next_at(), listings.next(at(9))), (Some(at(3)), Some(WIDE)));
    }

    #[test]
    fn a_failed_listing_is_made_again_with_growing_delay_until_it_succeeds() {
        let (mut listings, policy) = (Listings::default(), Policy::default());
        listings.request(NARROW, at(0));
        let mut delays = Vec::new();
        for _ in 0..3 {
            assert_eq!(listings.next(at(1000)), Some(NARROW));
            listings.request(WIDE, at(0));
            listings.failed(NARROW, at(1000), 1.0, &policy);
            delays.push((listings.next_at().unwrap() - at(1000)).as_millis());
            listings.clear();
            listings.request(NARROW, at(0));
        }
        assert_eq!(delays, [500, 1000, 2000]);
        listings.next(at(0)).unwrap();
        listings.succeeded(Scope::All);
        listings.request(NARROW, at(0));
        listings.next(at(0)).unwrap();
        listings.failed(NARROW, at(0), 1.0, &policy);
        assert_eq!(listings.next_at(), Some(Duration::from_millis(500)));
    }
}
