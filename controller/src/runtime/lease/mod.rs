//! Leader election over a lease in the store: at most one process works at a time.
//!
//! No wall clock decides anything. Who waits for the lease remembers how its row looked and takes it only when
//! the row stood still for a whole time to live by the waiter's own monotonic clock; the store lets it do so only
//! if the row still looks the same. So a clock that jumps, on whatever machine, neither ends a lease early nor
//! prolongs a dead one.
//!
//! The holder stops well before anybody else can start: it counts from before it *sent* a renewal, and only to
//! three quarters, while others count from after they *saw* it:
//!
//! ```text
//! renewal sent            retried every ttl/12          stops leading        others may acquire
//! |------- ttl/3 -------|--|--|--|--|--|--|------------| 3/4 ttl ------------| ttl (waiter's clock)
//! ```
//!
//! The last quarter is for work that is cancelled to come to rest (the grace of a run has to be
//! shorter) and for clocks that run at slightly different rates. Three quarters and not a half, since
//! between the renewal at one third and the stop lies all the time that a store may be away without
//! costing the leadership. With the default of 3 s: renewed every second, given up after 2.25 s, and a
//! killed leader is replaced within 3 s plus the time until its last renewal was seen, at most 0.47 s. A process
//! that starts where the holder ran (same kernel, same locked data folder) need not wait: it knows that the
//! holder is dead.
//!
//! What it does not do: a process that is stopped, or a machine that is suspended, may believe
//! that it leads when it does not. So leadership saves work; what makes a late writer harmless is the
//! epoch, which every write to the store is fenced by, and for acts that the store does not see the
//! [`Leash`], which is asked right before each. See `docs/adr/0012-who-may-act.md`.
//!
//! How it can be misused: cancel the token of [`Elector::run`] only after the controllers came to
//! rest, because the lease is given up at once.

mod leash;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::reconciler::BoxError;
use crate::clock::{SharedClock, SharedEntropy};

pub use leash::Leash;

/// The default time to live of the lease.
pub const DEFAULT_TTL: Duration = Duration::from_secs(3);

/// How the lease's row looked. Equal as long as nobody renewed or took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(pub String);

/// What asking for the lease gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It is ours, with an epoch higher than any before.
    Ours {
        /// Fences every write.
        epoch: i64,
    },
    /// Somebody else has it.
    Theirs(Mark),
}

/// Where the lease lies.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// Takes the lease when it is free, when its row still looks like `dead`, or when its holder is known to have died.
    async fn acquire(&self, options: &ElectorOptions, dead: Option<&Mark>) -> Result<Asked, BoxError>;
    /// Whether the lease was still ours, and is so for another `ttl`.
    async fn renew(&self, name: &str, holder: &str, epoch: i64, ttl: Duration) -> Result<bool, BoxError>;
    /// Gives the lease up, if it is ours.
    async fn release(&self, name: &str, holder: &str, epoch: i64) -> Result<(), BoxError>;
}

/// Whether this process leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// It does not, and starts nothing.
    Standby,
    /// It does.
    Leading {
        /// Fences every write.
        epoch: i64,
    },
}

/// Which lease, for whom, for how long.
#[derive(Debug, Clone)]
pub struct ElectorOptions {
    /// The lease's name.
    pub name: String,
    /// This process; unique among all that ever compete, so that a restarted process is another.
    pub holder: String,
    /// Where it runs, as a part of `holder`: an earlier holder with the same is dead. Empty when that cannot be known.
    pub place: String,
    /// How long a renewal lasts.
    pub ttl: Duration,
}

/// Competes for a lease and says who leads.
pub struct Elector<S> {
    store: Arc<S>,
    options: ElectorOptions,
    clock: SharedClock,
    entropy: SharedEntropy,
    leader: Gauge,
    leash: Leash,
    leadership: watch::Sender<Leadership>,
}

/// A row that is watched for a sign of life.
struct Watched {
    mark: Mark,
    /// When it was first seen to look so.
    since: Duration,
}

/// An elector, and what it says. The receiver reports an error once the elector is gone, which has
/// to be read as [`Leadership::Standby`].
pub fn elector<S: LeaseStore>(
    store: Arc<S>,
    options: ElectorOptions,
    clock: SharedClock,
    entropy: SharedEntropy,
    leader: Gauge,
    leash: Leash,
) -> (Elector<S>, watch::Receiver<Leadership>) {
    let (leadership, receiver) = watch::channel(Leadership::Standby);
    (Elector { store, options, clock, entropy, leader, leash, leadership }, receiver)
}

/// Publishes leadership and takes it back when dropped, however the leading ended.
struct Stint<'a> {
    leadership: &'a watch::Sender<Leadership>,
    leader: &'a Gauge,
    leash: &'a Leash,
}

impl<'a> Stint<'a> {
    fn begin<S>(elector: &'a Elector<S>, epoch: i64, valid_until: Duration) -> Self {
        let Elector { leadership, leader, leash, .. } = elector;
        leader.set(1);
        leash.extend(valid_until);
        leadership.send_replace(Leadership::Leading { epoch });
        Self { leadership, leader, leash }
    }
}

impl Drop for Stint<'_> {
    fn drop(&mut self) {
        self.leash.end();
        self.leadership.send_replace(Leadership::Standby);
        self.leader.set(0);
    }
}

impl<S: LeaseStore> Elector<S> {
    /// Competes until told to stop, then gives the lease up.
    pub async fn run(self, shutdown: CancellationToken) {
        let ttl = self.options.ttl;
        let mut watched: Option<Watched> = None;
        let mut failing = None;
        while !shutdown.is_cancelled() {
            let sent = self.clock.monotonic();
            let dead = watched.as_ref().filter(|watched| sent >= watched.since + ttl).map(|watched| &watched.mark);
            match self.acquire(dead, &mut failing).await {
                Some(Asked::Ours { epoch }) => {
                    watched = None;
                    self.lead(epoch, sent, &shutdown).await;
                }
                Some(Asked::Theirs(mark)) => {
                    // Whatever it looks like, it may have come to look so only now.
                    let seen = self.clock.monotonic();
                    if watched.as_ref().is_none_or(|watched| watched.mark != mark) {
                        watched = Some(Watched { mark, since: seen });
                    }
                    let left = watched.as_ref().map_or(ttl, |watched| (watched.since + ttl).saturating_sub(seen));
                    let time = self.about(ttl / 8).min(left + self.about(ttl / 100));
                    self.pause(time, &shutdown).await;
                }
                None => self.pause(self.about(ttl / 8), &shutdown).await,
            }
        }
    }

    /// Asks for the lease. Why that failed is logged when it differs from why it failed the last time.
    async fn acquire(&self, dead: Option<&Mark>, failing: &mut Option<String>) -> Option<Asked> {
        let ElectorOptions { name, ttl, .. } = &self.options;
        let error = match timeout(*ttl / 4, self.store.acquire(&self.options, dead)).await {
            Ok(Ok(asked)) => {
                *failing = None;
                return Some(asked);
            }
            Ok(Err(error)) => super::reconciler::chain(&*error),
            Err(_) => "no answer in time".to_owned(),
        };
        if failing.as_ref() != Some(&error) {
            tracing::warn!(lease = %name, %error, "the lease could not be asked for");
            *failing = Some(error);
        }
        None
    }

    /// Leads from an acquisition sent at a time until the lease is lost or the process stops.
    async fn lead(&self, epoch: i64, sent: Duration, shutdown: &CancellationToken) {
        let ttl = self.options.ttl;
        let mut valid_until = sent + ttl * 3 / 4;
        let mut next_renewal = sent + ttl / 3;
        if self.clock.monotonic() >= valid_until {
            return;
        }
        tracing::info!(lease = %self.options.name, epoch, "leading");
        let stint = Stint::begin(self, epoch, valid_until);
        loop {
            let now = self.clock.monotonic();
            if now >= valid_until {
                drop(stint);
                tracing::warn!(epoch, "the lease could not be renewed in time: standing down");
                return self.pause(self.about(ttl / 8), shutdown).await;
            }
            if now < next_renewal {
                tokio::select! {
                    biased;
                    () = sleep(next_renewal.min(valid_until).saturating_sub(now)) => continue,
                    () = shutdown.cancelled() => {
                        drop(stint);
                        return self.release(epoch).await;
                    }
                }
            }
            match self.renew(epoch, valid_until - now).await {
                Renewal::Renewed => {
                    valid_until = now + ttl * 3 / 4;
                    next_renewal = now + ttl / 3;
                    self.leash.extend(valid_until);
                }
                Renewal::Unknown => next_renewal = self.clock.monotonic() + ttl / 12,
                Renewal::Lost => {
                    drop(stint);
                    tracing::warn!(epoch, "the lease is somebody else's: standing down");
                    return self.pause(self.about(ttl / 8), shutdown).await;
                }
            }
        }
    }

    async fn renew(&self, epoch: i64, left: Duration) -> Renewal {
        let ElectorOptions { name, holder, ttl, .. } = &self.options;
        match timeout(left.min(*ttl / 4), self.store.renew(name, holder, epoch, *ttl)).await {
            Ok(Ok(true)) => Renewal::Renewed,
            Ok(Ok(false)) => Renewal::Lost,
            Ok(Err(error)) => {
                tracing::warn!(epoch, error = %super::reconciler::chain(&*error), "the lease could not be renewed");
                Renewal::Unknown
            }
            Err(_) => {
                tracing::warn!(epoch, "the lease could not be renewed in time");
                Renewal::Unknown
            }
        }
    }

    async fn release(&self, epoch: i64) {
        let ElectorOptions { name, holder, ttl, .. } = &self.options;
        match timeout(*ttl / 4, self.store.release(name, holder, epoch)).await {
            Ok(Ok(())) => tracing::info!(epoch, "gave the lease up"),
            // It expires by itself.
            Ok(Err(error)) => tracing::warn!(epoch, error = %super::reconciler::chain(&*error), "the lease could not be given up"),
            Err(_) => tracing::warn!(epoch, "the lease could not be given up in time"),
        }
    }

    /// About a time, so that competitors do not ask in step.
    fn about(&self, time: Duration) -> Duration {
        time.mul_f64(0.75 + self.entropy.unit() / 2.0)
    }

    async fn pause(&self, time: Duration, shutdown: &CancellationToken) {
        tokio::select! {
            biased;
            () = sleep(time) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// What is known of the lease after a renewal.
enum Renewal {
    /// Ours for another term.
    Renewed,
    /// Somebody else's.
    Lost,
    /// No answer: it may have been renewed or not, so it is counted as not.
    Unknown,
}

#[cfg(test)]
mod tests;
