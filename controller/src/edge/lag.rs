//! How far the proxy is behind the document that was published for it.
//!
//! A document that was published is not yet one that is served. After each change the proxy is asked which one it
//! runs, soon and then less often, until it runs the newest; in between it is asked now and then, because a proxy that
//! started again may run an older one. Only counts; whether an app's route is served is the App reconciler's to find out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::metrics::EdgeMetrics;
use super::publisher::{Documents, Published};
use crate::engines::traefik::ProxyApi;

/// From a change to the first question; then longer and longer, up to the last.
const PACE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Between two questions while nothing changes.
const REST: Duration = Duration::from_secs(30);
/// Documents that are kept whole until the proxy is known to run them; they may be large. An older one that it takes is not told of: a newer one follows.
const RECENT: usize = 4;
/// Documents that wait to be served. A proxy that is so far behind is behind since the oldest of them.
const MOST: usize = 64;

/// Documents that the proxy is not known to run yet, the oldest first.
#[derive(Debug, Default)]
struct Backlog {
    newest: Option<Document>,
    waiting: VecDeque<(Document, Instant)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Document {
    stamp: String,
    revision: u64,
}

impl Backlog {
    fn published(&mut self, document: Document, now: Instant) {
        if self.newest.as_ref() == Some(&document) {
            return;
        }
        self.newest = Some(document.clone());
        if self.waiting.len() >= MOST {
            self.waiting.pop_back();
        }
        self.waiting.push_back((document, now));
    }

    /// The proxy runs the document with this stamp, or is not known to run any. Gives the document that it took, and
    /// how long that took, when it is another than before.
    fn runs(&mut self, stamp: Option<&str>, now: Instant) -> Option<(Document, Duration)> {
        if let Some(place) = self.waiting.iter().position(|(document, _)| Some(document.stamp.as_str()) == stamp) {
            let (document, since) = self.waiting.drain(..=place).next_back()?;
            return Some((document, now.saturating_duration_since(since)));
        }
        // It does not run what it ran before: behind since now.
        if self.waiting.is_empty()
            && let Some(newest) = self.newest.clone().filter(|newest| Some(newest.stamp.as_str()) != stamp)
        {
            self.waiting.push_back((newest, now));
        }
        None
    }

    fn since(&self) -> Option<Instant> {
        self.waiting.front().map(|(_, since)| *since)
    }
}

/// Measures until cancelled.
pub async fn follow(
    proxy: Arc<dyn ProxyApi>,
    mut published: Documents,
    taken: watch::Sender<Option<Arc<Published>>>,
    metrics: EdgeMetrics,
    cancel: CancellationToken,
) {
    let mut backlog = Backlog::default();
    let mut recent: VecDeque<Arc<Published>> = VecDeque::new();
    let mut wait = REST;
    published.mark_changed();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = published.changed() => {
                if changed.is_err() {
                    return;
                }
                let newest = published.borrow_and_update().clone();
                if let Some(newest) = newest {
                    let document = Document { stamp: newest.stamp.clone(), revision: newest.revision };
                    if recent.len() >= RECENT {
                        recent.pop_front();
                    }
                    recent.push_back(newest);
                    metrics.published(document.revision);
                    backlog.published(document, Instant::now());
                    metrics.behind_since(backlog.since());
                }
                wait = PACE.0;
                continue;
            }
            () = sleep(wait) => {}
        }
        let answer = proxy.overview().await;
        metrics.answers(answer.is_ok());
        let stamp = answer.ok().and_then(|overview| overview.stamp);
        if let Some((document, took)) = backlog.runs(stamp.as_deref(), Instant::now()) {
            metrics.took(document.revision, took);
            if let Some(place) = recent.iter().position(|recent| recent.stamp == document.stamp) {
                taken.send_replace(recent.drain(..=place).next_back());
            }
        }
        let since = backlog.since();
        metrics.behind_since(since);
        wait = if since.is_none() { REST } else { wait.mul_f64(1.5).clamp(PACE.0, PACE.1) };
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::engines::traefik::FakeProxy;

    fn document(revision: u64) -> Document {
        Document { stamp: format!("skyswarm-rev-{revision}-x"), revision }
    }

    #[tokio::test(start_paused = true)]
    async fn the_proxy_is_behind_since_the_first_document_that_it_does_not_run() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut backlog = Backlog::default();
        assert_eq!((backlog.runs(None, at(0)), backlog.since()), (None, None), "nothing was published");
        for revision in 1..=3 {
            backlog.published(document(revision), at(revision));
            backlog.published(document(revision), at(9));
        }
        assert_eq!(backlog.since(), Some(at(1)));
        assert_eq!(backlog.runs(None, at(4)), None);
        assert_eq!(backlog.runs(Some("skyswarm-rev-2-x"), at(5)), Some((document(2), Duration::from_secs(3))));
        assert_eq!(backlog.since(), Some(at(3)));
        assert_eq!(backlog.runs(Some("skyswarm-rev-2-x"), at(6)), None);
        assert_eq!(backlog.since(), Some(at(3)));
        assert_eq!(backlog.runs(Some("skyswarm-rev-3-x"), at(7)), Some((document(3), Duration::from_secs(4))));
        assert_eq!((backlog.runs(Some("skyswarm-rev-3-x"), at(8)), backlog.since()), (None, None));
        assert_eq!((backlog.runs(None, at(9)), backlog.since()), (None, Some(at(9))), "it started again, with nothing");
        for revision in 4..400 {
            backlog.published(document(revision), at(revision));
        }
        assert_eq!((backlog.waiting.len(), backlog.since()), (MOST, Some(at(9))));
        assert_eq!(backlog.runs(Some("skyswarm-rev-399-x"), at(400)).map(|(document, _)| document.revision), Some(399));
        assert_eq!(backlog.since(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_counts_what_the_proxy_says() {
        let mut registry = Registry::default();
        let metrics = EdgeMetrics::register(&mut registry);
        let proxy = Arc::new(FakeProxy::default());
        let (sender, receiver) = watch::channel(None);
        let (takes, taken) = watch::channel(None);
        let cancel = CancellationToken::new();
        let task = tokio::spawn(follow(proxy.clone(), receiver, takes, metrics, cancel.clone()));
        let sample = |name: &str| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in\n{text}"));
            line.trim().parse::<f64>().unwrap()
        };
        let publish = |revision| {
            let Document { stamp, revision } = document(revision);
            sender.send_replace(Some(Arc::new(Published { revision, stamp, ..Published::empty() })));
        };
        publish(1);
        sleep(Duration::from_secs(5)).await;
        assert_eq!((sample("edge_revision"), sample("edge_proxy_up")), (1.0, 1.0));
        assert!((4.9..5.1).contains(&sample("edge_revision_lag_seconds")), "{}", sample("edge_revision_lag_seconds"));
        proxy.take(&Published { stamp: document(1).stamp, ..Published::empty() });
        sleep(Duration::from_secs(3)).await;
        assert_eq!((sample("edge_revision_applied"), sample("edge_revision_lag_seconds")), (1.0, 0.0));
        assert_eq!(taken.borrow().as_ref().map(|taken| taken.revision), Some(1), "whoever waits for it is told");
        assert_eq!(sample("edge_apply_duration_seconds_count"), 1.0);
        sleep(Duration::from_secs(60)).await;
        proxy.take(&Published { stamp: document(0).stamp, ..Published::empty() });
        sleep(Duration::from_secs(40)).await;
        assert!(sample("edge_revision_lag_seconds") > 5.0, "a proxy that lost its document is behind");
        cancel.cancel();
        task.await.unwrap();
    }
}
