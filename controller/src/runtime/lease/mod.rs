//! Leader election over a lease in the store: at most one process works at a time.
//!
//! The holder stops well before anybody else can start. The store counts the time to live from when
//! it handled the renewal; the holder counts from before it *sent* it, and only to three quarters:
//!
//! ```text
//! renewal sent            retried every ttl/12          stops leading        others may acquire
//! |------- ttl/3 -------|--|--|--|--|--|--|------------| 3/4 ttl ------------| ttl (store's clock)
//! ```
//!
//! The last quarter is for work that is cancelled to come to rest (the grace of a run has to be
//! shorter) and for clocks that run at slightly different rates. Three quarters and not a half, since
//! between the renewal at one third and the stop lies all the time that a store may be away without
//! costing the leadership. With the default of 4 s: renewed every 1.33 s, given up after 3 s, and a
//! killed leader is replaced within 4 s plus the time between two tries, at most 0.63 s.
//!
//! What it does not do: a machine that is suspended, or whose tasks do not get to run, may believe
//! that it leads when it does not. So leadership saves work; what makes a late writer harmless is the
//! epoch, which every write is fenced by.
//!
//! How it can be misused: cancel the token of [`Elector::run`] only after the controllers came to
//! rest, because the lease is given up at once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::reconciler::BoxError;
use crate::clock::{SharedClock, SharedEntropy};

/// The default time to live of the lease.
pub const DEFAULT_TTL: Duration = Duration::from_secs(4);

/// Where the lease lies.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// The epoch, when the lease was free, expired by the store's clock, or ours already. A new
    /// holder gets a higher epoch than any before.
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<i64>, BoxError>;
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
    leadership: watch::Sender<Leadership>,
}

/// An elector, and what it says. The receiver reports an error once the elector is gone, which has
/// to be read as [`Leadership::Standby`].
pub fn elector<S: LeaseStore>(
    store: Arc<S>,
    options: ElectorOptions,
    clock: SharedClock,
    entropy: SharedEntropy,
    leader: Gauge,
) -> (Elector<S>, watch::Receiver<Leadership>) {
    let (leadership, receiver) = watch::channel(Leadership::Standby);
    (Elector { store, options, clock, entropy, leader, leadership }, receiver)
}

/// Publishes leadership and takes it back when dropped, however the leading ended.
struct Stint<'a> {
    leadership: &'a watch::Sender<Leadership>,
    leader: &'a Gauge,
}

impl<'a> Stint<'a> {
    fn begin(leadership: &'a watch::Sender<Leadership>, leader: &'a Gauge, epoch: i64) -> Self {
        leader.set(1);
        leadership.send_replace(Leadership::Leading { epoch });
        Self { leadership, leader }
    }
}

impl Drop for Stint<'_> {
    fn drop(&mut self) {
        self.leadership.send_replace(Leadership::Standby);
        self.leader.set(0);
    }
}

impl<S: LeaseStore> Elector<S> {
    /// Competes until told to stop, then gives the lease up.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let sent = self.clock.monotonic();
            match self.acquire().await {
                Some(epoch) => self.lead(epoch, sent, &shutdown).await,
                None => self.pause(self.options.ttl / 8, &shutdown).await,
            }
        }
    }

    async fn acquire(&self) -> Option<i64> {
        let ElectorOptions { name, holder, ttl } = &self.options;
        match timeout(*ttl / 4, self.store.acquire(name, holder, *ttl)).await {
            Ok(Ok(epoch)) => epoch,
            Ok(Err(error)) => {
                tracing::warn!(lease = %name, error = %super::reconciler::chain(&*error), "the lease could not be asked for");
                None
            }
            Err(_) => {
                tracing::warn!(lease = %name, "the lease could not be asked for in time");
                None
            }
        }
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
        let stint = Stint::begin(&self.leadership, &self.leader, epoch);
        loop {
            let now = self.clock.monotonic();
            if now >= valid_until {
                drop(stint);
                tracing::warn!(epoch, "the lease could not be renewed in time: standing down");
                return self.pause(ttl / 8, shutdown).await;
            }
            if now < next_renewal {
                tokio::select! {
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
                }
                Renewal::Unknown => next_renewal = self.clock.monotonic() + ttl / 12,
                Renewal::Lost => {
                    drop(stint);
                    tracing::warn!(epoch, "the lease is somebody else's: standing down");
                    return self.pause(ttl / 8, shutdown).await;
                }
            }
        }
    }

    async fn renew(&self, epoch: i64, left: Duration) -> Renewal {
        let ElectorOptions { name, holder, ttl } = &self.options;
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
        let ElectorOptions { name, holder, ttl } = &self.options;
        match timeout(*ttl / 4, self.store.release(name, holder, epoch)).await {
            Ok(Ok(())) => tracing::info!(epoch, "gave the lease up"),
            // It expires by itself.
            Ok(Err(error)) => tracing::warn!(epoch, error = %super::reconciler::chain(&*error), "the lease could not be given up"),
            Err(_) => tracing::warn!(epoch, "the lease could not be given up in time"),
        }
    }

    /// Waits for about a time, so that competitors do not ask in step.
    async fn pause(&self, about: Duration, shutdown: &CancellationToken) {
        let time = about.mul_f64(0.75 + self.entropy.unit() / 2.0);
        tokio::select! {
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
