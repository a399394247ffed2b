//! One look at the database for all watches of this process.
//!
//! The hub asks what changed since its last look, at each hint and at least every [`LOOK_EVERY`], and says only
//! which kind and organisation it was; each watch reads its own objects when it has room for them. So a slow client costs
//! nothing but its place, and there is no queue that could overflow. Nothing is asked while nobody watches.
//!
//! Status changes have no hints (NOTIFY takes a lock over all commits), which is why it looks by itself.
//!
//! The hub also finds out which tokens have ended, for every stream that goes on after its request was checked.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::api::backend::Backend;
use crate::api::error::chain;
use crate::store::{ChangeLook, Cursor, Sighting, StoreHint, Watched};

/// Longest time between two looks while somebody watches.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Shortest time between two looks: hints come in bursts.
const LOOK_GAP: Duration = Duration::from_millis(20);
/// How often tokens are looked at: the longest that a stream outlives its token.
const TOKENS_EVERY: Duration = Duration::from_secs(2);
/// How often old deletions are forgotten, and how long they are remembered.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Longest pause after failed looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the hub has seen, for watches to compare with what they have told.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Counts the looks that found something.
    pub(super) tick: u64,
    /// Everything before this was seen by then.
    pub(super) cursor: Cursor,
    /// How many had registered before the last look.
    registered: u64,
    changed: HashMap<(Watched, String), u64>,
}

impl Seen {
    /// When something of this kind and organisation last changed.
    pub(super) fn changed(&self, what: Watched, org: &str) -> u64 {
        self.changed.get(&(what, org.to_owned())).copied().unwrap_or_default()
    }

    /// Takes in a look; whether somebody has to be told. `known` are the sightings of the look before, which a
    /// transaction that is still running makes us see again.
    fn take(&mut self, look: ChangeLook, registered: u64, known: &mut HashSet<Sighting>) -> bool {
        let fresh: Vec<Sighting> = look.found.iter().filter(|sighting| !known.contains(*sighting)).cloned().collect();
        *known = look.found.into_iter().collect();
        let news = !fresh.is_empty();
        if news {
            self.tick += 1;
        }
        for sighting in fresh {
            self.changed.insert((sighting.what, sighting.org), self.tick);
        }
        self.cursor = self.cursor.max(look.cursor);
        let newcomers = self.registered != registered;
        self.registered = registered;
        news || newcomers
    }
}

/// Who listens.
#[derive(Debug, Default)]
struct Roll {
    /// How many ever registered.
    registered: u64,
    /// Watches that are open.
    watches: usize,
    /// Open streams by token.
    tokens: HashMap<Uuid, TokenStreams>,
}

#[derive(Debug)]
struct TokenStreams {
    open: usize,
    ended: CancellationToken,
}

struct Shared {
    roll: Mutex<Roll>,
    wake: Notify,
    seen: watch::Sender<Seen>,
}

impl Shared {
    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hub. Cheap to clone; its task ends at shutdown.
#[derive(Clone)]
pub(in crate::api) struct Hub(Arc<Shared>);

/// A stream that goes on; on drop it is over.
pub(in crate::api) struct Attendance {
    shared: Arc<Shared>,
    token: Uuid,
    /// Counts among the watches, and is told what changes.
    watches: bool,
    number: u64,
    /// Cancelled when the token is revoked or expires.
    pub(in crate::api) ended: CancellationToken,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let mut roll = self.shared.roll();
        roll.watches -= usize::from(self.watches);
        if let Some(streams) = roll.tokens.get_mut(&self.token) {
            streams.open -= 1;
            if streams.open == 0 {
                roll.tokens.remove(&self.token);
            }
        }
    }
}

impl Hub {
    /// Starts the task. Must be called inside a Tokio runtime.
    pub(in crate::api) fn start(backend: Arc<dyn Backend>, shutdown: CancellationToken) -> Self {
        let shared = Arc::new(Shared { roll: Mutex::default(), wake: Notify::new(), seen: watch::Sender::new(Seen::default()) });
        let worker = Worker { shared: shared.clone(), backend, hints: None, since: None, known: HashSet::new(), failed: false };
        tokio::spawn(async move {
            tokio::select! {
                () = worker.run() => {}
                () = shutdown.cancelled() => {}
            }
        });
        Self(shared)
    }

    /// Registers a stream of a token; `None` when the token has `most` already.
    pub(in crate::api) fn attend(&self, token: Uuid, watches: bool, most: usize) -> Option<Attendance> {
        let mut roll = self.0.roll();
        let streams = roll.tokens.entry(token).or_insert_with(|| TokenStreams { open: 0, ended: CancellationToken::new() });
        if streams.open >= most {
            return None;
        }
        streams.open += 1;
        let ended = streams.ended.clone();
        roll.watches += usize::from(watches);
        roll.registered += 1;
        let number = roll.registered;
        drop(roll);
        self.0.wake.notify_one();
        Some(Attendance { shared: self.0.clone(), token, watches, number, ended })
    }

    /// What was seen, once there was a look after the registration: all that changes later will be seen. Waits while
    /// the database does not answer.
    pub(super) async fn seen(&self, attendance: &Attendance) -> Option<watch::Receiver<Seen>> {
        let mut seen = self.0.seen.subscribe();
        seen.wait_for(|seen| seen.registered >= attendance.number).await.ok()?;
        Some(seen)
    }
}

struct Worker {
    shared: Arc<Shared>,
    backend: Arc<dyn Backend>,
    hints: Option<mpsc::Receiver<StoreHint>>,
    /// Where the last look ended; `None` while nobody watches.
    since: Option<Cursor>,
    known: HashSet<Sighting>,
    /// Whether the last look failed: it is logged once.
    failed: bool,
}

impl Worker {
    async fn run(mut self) {
        let mut pause = LOOK_EVERY;
        let begun = Instant::now();
        let (mut tokens_due, mut prune_due) = (begun, begun + PRUNE_EVERY);
        loop {
            let (registered, watches, tokens) = {
                let roll = self.shared.roll();
                (roll.registered, roll.watches > 0, roll.tokens.keys().copied().collect::<Vec<_>>())
            };
            if watches {
                pause = if self.look(registered).await { LOOK_EVERY } else { (pause * 2).min(LONGEST_PAUSE) };
            } else {
                self.rest();
            }
            let now = Instant::now();
            if !tokens.is_empty() && now >= tokens_due {
                self.end_tokens(&tokens).await;
                tokens_due = now + TOKENS_EVERY;
            }
            if now >= prune_due {
                self.prune().await;
                prune_due = now + PRUNE_EVERY;
            }
            let mut until = prune_due;
            if watches {
                until = until.min(now + pause);
            }
            if !tokens.is_empty() {
                until = until.min(tokens_due);
            }
            self.wait(until).await;
        }
    }

    /// Looks once; whether the database answered.
    async fn look(&mut self, registered: u64) -> bool {
        if self.hints.is_none() {
            self.hints = Some(self.backend.change_hints());
        }
        let look = match self.since {
            Some(since) => self.backend.change_look(since).await,
            None => self.backend.change_cursor().await.map(|cursor| ChangeLook { cursor, found: Vec::new() }),
        };
        match look {
            Ok(look) => {
                self.since = Some(look.cursor);
                self.failed = false;
                let known = &mut self.known;
                self.shared.seen.send_if_modified(|seen| seen.take(look, registered, known));
                true
            }
            Err(error) => {
                if !self.failed {
                    tracing::warn!(error = %chain(&error), "changes cannot be looked for; watches wait");
                }
                self.failed = true;
                false
            }
        }
    }

    /// Nobody watches: the listener's connection is given back.
    fn rest(&mut self) {
        if self.since.take().is_some() {
            self.hints = None;
            self.known.clear();
            self.shared.seen.send_if_modified(|seen| {
                seen.changed.clear();
                false
            });
        }
    }

    async fn end_tokens(&self, tokens: &[Uuid]) {
        match self.backend.token_ended(tokens).await {
            Ok(ended) => {
                let mut roll = self.shared.roll();
                for id in ended {
                    if let Some(streams) = roll.tokens.get_mut(&id) {
                        streams.ended.cancel();
                    }
                }
            }
            Err(error) => tracing::debug!(error = %chain(&error), "tokens of open streams cannot be looked up; they will be"),
        }
    }

    async fn prune(&self) {
        match self.backend.tombstones_prune(REMEMBERED).await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "forgot old deletions"),
            Err(error) => tracing::debug!(error = %chain(&error), "old deletions cannot be forgotten now; they will be"),
        }
    }

    /// Until a time, a hint or a newcomer, whichever comes first.
    async fn wait(&mut self, until: Instant) {
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = self.shared.wake.notified() => {}
            hint = hint(&mut self.hints), if !self.failed => {
                if hint.is_none() {
                    self.hints = None;
                }
                tokio::time::sleep(LOOK_GAP).await;
            }
        }
    }
}

/// The next hint, all that wait taken together; never when there is no listener.
async fn hint(hints: &mut Option<mpsc::Receiver<StoreHint>>) -> Option<()> {
    match hints {
        Some(hints) => {
            hints.recv().await?;
            while hints.try_recv().is_ok() {}
            Some(())
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(id: &str, version: i64) -> Sighting {
        Sighting { what: Watched::Apps, org: "acme".to_owned(), id: id.to_owned(), version }
    }

    fn look(cursor: i64, found: &[(&str, i64)]) -> ChangeLook {
        ChangeLook { cursor: Cursor(cursor), found: found.iter().map(|(id, version)| sighting(id, *version)).collect() }
    }

    #[test]
    fn what_a_running_transaction_makes_us_see_again_is_no_news() {
        let (mut seen, mut known) = (Seen::default(), HashSet::new());
        assert!(!seen.take(look(5, &[]), 0, &mut known));
        assert!(seen.take(look(5, &[("a", 1)]), 0, &mut known));
        assert_eq!((seen.changed(Watched::Apps, "acme"), seen.changed(Watched::Apps, "rival")), (1, 0));
        assert!(!seen.take(look(5, &[("a", 1)]), 0, &mut known), "the same again");
        assert!(seen.take(look(6, &[("a", 1), ("b", 1)]), 0, &mut known));
        assert!(seen.take(look(9, &[("a", 2)]), 0, &mut known), "another version");
        assert_eq!((seen.tick, seen.cursor, seen.changed(Watched::Apps, "acme")), (3, Cursor(9), 3));
        assert!(seen.take(look(9, &[("a", 2)]), 1, &mut known), "a newcomer waits for a look");
    }
}
