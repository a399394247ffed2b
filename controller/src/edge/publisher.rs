//! Routes and endpoints to the published document.
//!
//! There is no document until both inputs are known: routes read (or, when the database does not answer,
//! taken from the last-known file), and endpoints read from the engine and checked once. From then on
//! there always is one: an input that fails later keeps its last value, and what is known to be gone
//! still leaves. It does not serve the document; see [`super::provider`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::document::{DocumentOptions, render};
use super::inputs::Inputs;
use super::known_good::KnownGood;
use super::nodes::NodeFiles;
use super::responder::Pages;
use super::{Backend, Check, Endpoint, EndpointTable};
use crate::effects::{Effect, Effects, Injected, Kind};

/// Any error, to be shown with its causes.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where routes, and the secrets that they need, come from: the database.
#[async_trait]
pub trait RouteSource: Send + Sync + 'static {
    /// All of them.
    async fn inputs(&self) -> Result<Inputs, BoxError>;
}

/// A published document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Counts documents since the start.
    pub revision: u64,
    /// Hash of the content without the revision.
    pub hash: String,
    /// Name under which the proxy lists the revision once it runs it.
    pub stamp: String,
    /// Traefik's dynamic configuration.
    pub json: Bytes,
    /// Backends of each route, by its key.
    pub servers_by_key: BTreeMap<String, Vec<Backend>>,
    /// Tasks that other nodes may connect to.
    pub entries: BTreeSet<String>,
    /// Maintenance pages that are switched on, by route key.
    pub pages: Pages,
}

#[cfg(test)]
impl Published {
    /// One without content, for tests.
    pub(crate) fn empty() -> Self {
        Self {
            revision: 0,
            hash: String::new(),
            stamp: String::new(),
            json: Bytes::new(),
            servers_by_key: BTreeMap::new(),
            entries: BTreeSet::new(),
            pages: Pages::new(),
        }
    }
}

/// The newest document that was published, or that the proxy is known to run; `None` until there is one.
pub type Documents = watch::Receiver<Option<Arc<Published>>>;

/// Pace of the publisher. The defaults are meant for use; tests make them shorter.
#[derive(Debug, Clone)]
pub struct PublisherConfig {
    /// What is the same for all routes.
    pub document: DocumentOptions,
    /// What this edge shows to those of other nodes, where that changes; it takes the place of what `document` says.
    pub node: Option<watch::Receiver<Option<NodeFiles>>>,
    /// File of what the edge was last made from, in the data folder.
    pub known_good: Option<KnownGood>,
    /// Time between two reads of the routes when nobody asks for one.
    pub resync: Duration,
    /// Longest a read of the routes may take.
    pub read_timeout: Duration,
    /// How long the first document waits for endpoints that were not checked yet. Without this, a
    /// restart would publish every app as having no tasks.
    pub settle: Duration,
    /// What each document passes through.
    pub effects: Effects,
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self {
            document: DocumentOptions::default(),
            node: None,
            known_good: None,
            resync: Duration::from_secs(5),
            read_timeout: Duration::from_secs(5),
            settle: Duration::from_secs(3),
            effects: Effects::none(),
        }
    }
}

/// A document that a fault kept back, or whose fate a fault hid.
struct Withheld;

impl Injected for Withheld {
    fn lost(_: &Effect) -> Self {
        Self
    }
    fn refused(_: &Effect) -> Self {
        Self
    }
    fn half(_: &Effect) -> Self {
        Self
    }
}

/// From one document to the next: what a proxy takes to work through a route, with some air, up to a limit.
const PER_ROUTE: Duration = Duration::from_millis(1);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// How long after that the document is made anew.
const WITHHELD: Duration = Duration::from_millis(500);

/// A handle on the publisher; cheap to clone.
#[derive(Debug, Clone)]
pub struct EdgeHandle {
    kick: Arc<Notify>,
    published: Documents,
}

impl EdgeHandle {
    /// Hints that routes changed. Nothing depends on it but latency.
    pub fn kick(&self) {
        self.kick.notify_one();
    }
    /// The current document; `None` until there is one.
    pub fn published(&self) -> Documents {
        self.published.clone()
    }
}

/// Starts to publish. The task ends after the token is cancelled.
pub fn spawn(
    source: Arc<dyn RouteSource>,
    endpoints: watch::Receiver<Arc<EndpointTable>>,
    config: PublisherConfig,
    cancel: CancellationToken,
) -> (EdgeHandle, JoinHandle<()>) {
    let (sender, published) = watch::channel(None);
    let kick = Arc::new(Notify::new());
    let now = Instant::now();
    let save = watch::Sender::new(None);
    if let Some(file) = config.known_good.clone() {
        tokio::spawn(keep_saved(file, save.subscribe()));
    }
    let publisher = Publisher {
        source,
        endpoints,
        config,
        sender,
        save,
        kick: kick.clone(),
        reads: JoinSet::new(),
        read_at: now,
        inputs: None,
        fresh: false,
        failing: false,
        first_seen: None,
        render_at: Some(now),
        rested_at: now,
        revision: 0,
        conflicts: Vec::new(),
    };
    (EdgeHandle { kick, published }, tokio::spawn(publisher.run(cancel)))
}

struct Publisher {
    source: Arc<dyn RouteSource>,
    endpoints: watch::Receiver<Arc<EndpointTable>>,
    config: PublisherConfig,
    sender: watch::Sender<Option<Arc<Published>>>,
    save: watch::Sender<Option<Arc<Inputs>>>,
    kick: Arc<Notify>,
    reads: JoinSet<Result<Inputs, String>>,
    read_at: Instant,
    inputs: Option<Arc<Inputs>>,
    /// Whether `inputs` came from the source and not from the file.
    fresh: bool,
    failing: bool,
    /// When endpoints were first known.
    first_seen: Option<Instant>,
    render_at: Option<Instant>,
    rested_at: Instant,
    revision: u64,
    conflicts: Vec<String>,
}

impl Publisher {
    async fn run(mut self, cancel: CancellationToken) {
        let mut endpoints = self.endpoints.clone();
        let kick = self.kick.clone();
        let mut node = self.config.node.clone();
        loop {
            let now = Instant::now();
            if self.reads.is_empty() && now >= self.read_at {
                self.start_read(now);
            }
            if self.render_at.is_some_and(|at| now >= at) {
                self.publish(now).await;
            }
            let mut wake = self.render_at.unwrap_or(now + Duration::from_secs(3600));
            if self.reads.is_empty() {
                wake = wake.min(self.read_at);
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                changed = endpoints.changed() => {
                    if changed.is_err() {
                        // Its owner is gone: this process is about to stop.
                        return cancel.cancelled().await;
                    }
                    self.want_render();
                }
                () = renewed(&mut node) => self.want_render(),
                // Only between reads: what is written during a read may not be in it.
                () = kick.notified(), if self.reads.is_empty() => self.read_at = self.read_at.min(Instant::now().max(self.rested_at)),
                Some(result) = self.reads.join_next() => {
                    let result = result.unwrap_or_else(|error| Err(error.to_string()));
                    self.on_read(result).await;
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    fn start_read(&mut self, now: Instant) {
        self.read_at = now + self.config.resync;
        let (source, limit) = (self.source.clone(), self.config.read_timeout);
        self.reads.spawn(async move {
            match timeout(limit, source.inputs()).await {
                Ok(Ok(inputs)) => Ok(inputs),
                Ok(Err(error)) => Err(chain(error.as_ref())),
                Err(_) => Err(format!("no answer within {limit:?}")),
            }
        });
    }

    async fn on_read(&mut self, result: Result<Inputs, String>) {
        match result {
            Ok(inputs) => {
                if self.failing {
                    tracing::info!("routes can be read again");
                }
                (self.failing, self.fresh) = (false, true);
                if self.inputs.as_deref() != Some(&inputs) {
                    let inputs = Arc::new(inputs);
                    self.inputs = Some(inputs.clone());
                    self.want_render();
                    self.save.send_replace(Some(inputs));
                }
            }
            Err(error) => {
                if !self.failing {
                    tracing::warn!(error, "reading routes failed; the last known ones stay");
                }
                self.failing = true;
                // Sooner than the usual time, since somebody may wait.
                self.read_at = self.read_at.min(Instant::now() + Duration::from_secs(1));
                if self.inputs.is_none() {
                    self.load().await;
                }
            }
        }
    }

    /// Routes that this process published before its last stop are better than none.
    async fn load(&mut self) {
        let Some(file) = self.config.known_good.clone() else { return };
        match tokio::task::spawn_blocking(move || file.read()).await {
            Ok(Ok(Some(inputs))) => {
                tracing::warn!(routes = inputs.routes.len(), "serving the routes that were last known");
                self.inputs = Some(Arc::new(inputs));
                self.want_render();
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "the last known routes cannot be used");
                self.config.known_good = None;
            }
            Err(error) => tracing::error!(%error, "reading the last known routes ended without a result"),
        }
    }

    fn want_render(&mut self) {
        let at = Instant::now().max(self.rested_at);
        self.render_at = Some(self.render_at.map_or(at, |planned| planned.min(at)));
    }

    async fn publish(&mut self, now: Instant) {
        self.render_at = None;
        let table = self.endpoints.borrow().clone();
        let Some(inputs) = self.inputs.clone() else { return };
        if let Err(until) = self.settled(&table, now) {
            self.render_at = until;
            return;
        }
        if let Some(node) = &self.config.node {
            self.config.document.node.clone_from(&node.borrow());
        }
        let rendered = match render(&inputs, &table, &self.config.document) {
            Ok(rendered) => rendered,
            Err(error) => return tracing::error!(%error, "the edge document could not be rendered; the last one stays"),
        };
        // Many routes take long, to read, here and in the proxy: a first change is published at once, and those that follow it together.
        let routes = u32::try_from(inputs.routes.len()).unwrap_or(u32::MAX);
        self.rested_at = now + now.elapsed().saturating_mul(2).max(PER_ROUTE.saturating_mul(routes)).min(LONGEST_REST);
        if rendered.conflicts != self.conflicts {
            for conflict in rendered.conflicts.iter().filter(|conflict| !self.conflicts.contains(conflict)) {
                tracing::error!(conflict, "the edge has contradictory input");
            }
            self.conflicts.clone_from(&rendered.conflicts);
        }
        if self.sender.borrow().as_ref().is_some_and(|last| last.hash == rendered.hash) {
            return;
        }
        let revision = self.revision + 1;
        match rendered.to_json(revision) {
            Ok(json) => {
                let stamp = rendered.stamp(revision);
                tracing::debug!(revision, bytes = json.len(), fresh = self.fresh, "publishing an edge document");
                self.revision = revision;
                let (hash, servers_by_key, pages) = (rendered.hash, rendered.servers_by_key, rendered.pages);
                let entries = rendered.entries;
                let published = Arc::new(Published { revision, hash, stamp, json, servers_by_key, entries, pages });
                let act = || {
                    self.sender.send_replace(Some(published.clone()));
                    std::future::ready(Ok::<_, Withheld>(()))
                };
                if let Err(Withheld) = self.config.effects.run(Kind::EdgePublish, &published.stamp, act).await {
                    self.render_at = Some(now + WITHHELD);
                }
            }
            Err(error) => tracing::error!(%error, "the edge document could not be serialised; the last one stays"),
        }
    }

    /// Whether the first document may be published; else when to look again, if no change comes before.
    fn settled(&mut self, table: &EndpointTable, now: Instant) -> Result<(), Option<Instant>> {
        if self.sender.borrow().is_some() {
            return Ok(());
        }
        if table.observed_at.is_none() && self.first_seen.is_none() {
            return Err(None);
        }
        let until = *self.first_seen.get_or_insert(now) + self.config.settle;
        // A check that passed before the engine confirmed the address makes nobody ready, and is no reason to say that nobody is.
        let is_open = |end: &Endpoint| end.last_check == Check::Pending || (end.last_check == Check::Passed && !end.ready);
        let waiting = table.endpoints.values().any(is_open);
        if waiting && now < until { Err(Some(until)) } else { Ok(()) }
    }
}

/// Waits for other files; for ever where they do not change.
async fn renewed(node: &mut Option<watch::Receiver<Option<NodeFiles>>>) {
    if let Some(files) = node
        && files.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Writes routes to the file as they change, one write after the other; a slow disk delays no route.
async fn keep_saved(file: KnownGood, mut save: watch::Receiver<Option<Arc<Inputs>>>) {
    while save.changed().await.is_ok() {
        let Some(inputs) = save.borrow_and_update().clone() else { continue };
        let file = file.clone();
        match tokio::task::spawn_blocking(move || file.write(&inputs)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "the last known routes were not saved"),
            Err(error) => tracing::error!(%error, "saving the last known routes ended without a result"),
        }
    }
}

/// An error with its causes, for a log line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
