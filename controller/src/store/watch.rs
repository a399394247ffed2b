//! LISTEN as a stream of hints that never loses the fact that something changed.
//!
//! Notifications that are sent while the connection is down are gone, so every (re)connect says
//! `Resync`, and a listener reads everything again. A half-open connection is silent for ever, so after
//! a while of silence the server is asked to answer. When the receiver is slow, hints are merged, not
//! queued: one hint of a topic stands for any number of changes.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::mpsc;

use super::connect::bounded;
use super::{Store, StoreError, StoreHint, Topic};

/// Channel name, as in the migration.
const CHANNEL: &str = "skyswarm";
/// Hints that may wait for a receiver; more are merged.
const BUFFER: usize = 8;
/// When a quiet connection is asked whether it is still there, and how long it may take to answer.
const PATIENCE: Patience = Patience { idle: Duration::from_secs(30), answer: Duration::from_secs(5) };
/// First and longest pause between two attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long silence is believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Silence after which the server is asked.
    pub(super) idle: Duration,
    /// Longest wait for its answer.
    pub(super) answer: Duration,
}

impl Store {
    /// Hints about changes of desired state, for as long as the receiver lives.
    ///
    /// Runs as a task of its own on a connection of its own. Must be called inside a Tokio runtime.
    pub fn watch(&self) -> mpsc::Receiver<StoreHint> {
        self.watch_with(PATIENCE)
    }

    pub(super) fn watch_with(&self, patience: Patience) -> mpsc::Receiver<StoreHint> {
        let (sender, receiver) = mpsc::channel(BUFFER);
        let store = self.clone();
        tokio::spawn(async move {
            let closed = sender.clone();
            tokio::select! {
                () = store.watch_forever(sender, patience) => {}
                () = closed.closed() => {}
            }
        });
        receiver
    }

    async fn watch_forever(&self, sender: mpsc::Sender<StoreHint>, patience: Patience) {
        let mut pending = Pending::default();
        let mut pause = BACKOFF.0;
        loop {
            match self.listener().await {
                Ok(mut listener) => {
                    pause = BACKOFF.0;
                    pending.resync = true;
                    let why = listen(&mut listener, &mut pending, &sender, patience).await;
                    tracing::info!(%why, "database listener lost; connecting again");
                }
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "database listener cannot connect"),
            }
            if sender.is_closed() {
                return;
            }
            tokio::time::sleep(pause.mul_f64(0.5 + self.inner.entropy.unit())).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// A listener with a pool of one: sqlx gives a listener's connection back to its pool, and one that
    /// was lost must not come back from there.
    async fn listener(&self) -> Result<PgListener, StoreError> {
        let what = "listening";
        bounded(what, async {
            let options = (*self.pool().connect_options()).clone();
            let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE.answer).connect_lazy_with(options);
            let mut listener = PgListener::connect_with(&pool).await.map_err(StoreError::on(what))?;
            listener.listen(CHANNEL).await.map_err(StoreError::on(what))?;
            // A gap must be seen before notifications flow again.
            listener.eager_reconnect(false);
            Ok(listener)
        })
        .await
    }
}

/// What the receiver has not been told yet.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pending {
    resync: bool,
    topics: BTreeSet<Topic>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        !self.resync && self.topics.is_empty()
    }

    fn add(&mut self, payload: &str) {
        match topic(payload) {
            Some(topic) => drop(self.topics.insert(topic)),
            // A newer release may have topics that this one does not know.
            None => self.resync = true,
        }
    }

    /// The next hint; a resync stands for all topics.
    fn take(&mut self) -> Option<StoreHint> {
        if self.resync {
            *self = Self::default();
            return Some(StoreHint::Resync);
        }
        self.topics.pop_first().map(StoreHint::Changed)
    }
}

fn topic(payload: &str) -> Option<Topic> {
    Some(match payload {
        "apps" => Topic::Apps,
        "domains" => Topic::Domains,
        "routes" => Topic::Routes,
        "settings" => Topic::Settings,
        "organizations" => Topic::Organizations,
        "certificates" => Topic::Certificates,
        "nodes" => Topic::Nodes,
        _ => return None,
    })
}

/// Passes hints on until there may be a gap; says why it ended.
async fn listen(listener: &mut PgListener, pending: &mut Pending, sender: &mpsc::Sender<StoreHint>, patience: Patience) -> String {
    loop {
        tokio::select! {
            permit = sender.reserve(), if !pending.is_empty() => match (permit, pending.take()) {
                (Ok(permit), Some(hint)) => permit.send(hint),
                (Ok(_), None) => {}
                (Err(_), _) => return "nobody listens any more".to_owned(),
            },
            received = tokio::time::timeout(patience.idle, listener.try_recv()) => match received {
                Ok(Ok(Some(notification))) => pending.add(notification.payload()),
                Ok(Ok(None)) => return "the connection was closed".to_owned(),
                Ok(Err(error)) => return error.to_string(),
                Err(_) => match tokio::time::timeout(patience.answer, sqlx::query("SELECT 1").execute(&mut *listener)).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return error.to_string(),
                    Err(_) => return "the server does not answer".to_owned(),
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_at_least_the_meaning() {
        let mut pending = Pending::default();
        for payload in ["apps", "routes", "apps"] {
            pending.add(payload);
        }
        assert_eq!(pending.take(), Some(StoreHint::Changed(Topic::Apps)));
        pending.add("from-a-newer-release");
        assert_eq!(pending.take(), Some(StoreHint::Resync));
        assert_eq!(pending.take(), None, "a resync stands for the topics that waited");
    }
}
