//! Starts the controllers: lease, reconcilers, hints; and brings them to rest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::core::Core;
use super::edge::Edge;
use super::fleet::follow_agents;
use super::hints::{Controls, EngineFollower, follow_store};
use super::sources::{StoredEvents, StoredLease};
use crate::edge::awaited::Awaited;
use crate::engines::swarm::SwarmEngine;
use crate::kinds::app::AppIndex;
use crate::kinds::app::apply::Executor;
use crate::kinds::app::ledger::{DriftMetrics, DriftWatch, Killed};
use crate::kinds::app::metrics::AppMetrics;
use crate::kinds::app::observe::Observer;
use crate::kinds::app::quiet::Quiet;
use crate::kinds::app::reconcile::{AppReconciler, EventSender};
use crate::kinds::app::records::{InjectedRecords, SharedRecords};
use crate::kinds::app::wall::Wall;
use crate::kinds::certificate::{CertificateMetrics, CertificateReconciler};
use crate::kinds::node::NodeReconciler;
use crate::runtime::lease::{DEFAULT_TTL, Leash};
use crate::runtime::{
    Controller, Drained, ElectorOptions, Hints, Leadership, Metrics, Options, Pulses, Reconciler, Tuning, Wiring, elector, hints, recorder,
};
use crate::settings::Settings;
use crate::store::AppKey;

/// The one lease.
const LEASE: &str = "controller";
/// Hints that wait for a controller; more become a resync.
const HINT_BOUND: usize = 1024;
/// Events that wait to be written; more are dropped and counted.
const EVENT_BOUND: usize = 1024;

/// The running controllers.
pub(super) struct Control {
    /// Asks the controller of apps what it has before it.
    pub(super) pulses: Pulses,
    runs: CancellationToken,
    watches: CancellationToken,
    lease: CancellationToken,
    controllers: Vec<JoinHandle<Drained>>,
    followers: Vec<JoinHandle<()>>,
    elector: JoinHandle<()>,
    events: JoinHandle<()>,
}

/// What all controllers are made with.
struct Workshop<'a> {
    core: &'a Core,
    metrics: Metrics,
    leadership: watch::Receiver<Leadership>,
    tuning: watch::Receiver<Tuning>,
    stop: CancellationToken,
}

impl Workshop<'_> {
    /// Starts a controller and gives the ways to hint at its keys and to ask what it has before it.
    fn start<R: Reconciler>(&self, reconciler: R) -> (Hints<R::Key>, JoinHandle<Drained>, Pulses) {
        let (sender, receiver) = hints(HINT_BOUND);
        let wiring = Wiring {
            hints: receiver,
            leadership: self.leadership.clone(),
            tuning: self.tuning.clone(),
            clock: self.core.clock.clone(),
            entropy: self.core.entropy.clone(),
            metrics: self.metrics.clone(),
        };
        let controller = Controller::new(Arc::new(reconciler), wiring, Options::default());
        let pulses = controller.pulses();
        (sender, tokio::spawn(controller.run(self.stop.clone())), pulses)
    }
}

fn node_reconciler(core: &Core, engine: Arc<dyn SwarmEngine>, edge: &Edge, names: Arc<RwLock<HashMap<String, String>>>) -> NodeReconciler {
    NodeReconciler {
        engine,
        store: core.store.clone(),
        effects: core.effects.clone(),
        clock: core.clock.clone(),
        fleet: edge.fleet.clone(),
        edge: edge.handle.clone(),
        proxy: edge.proxy.clone(),
        emptying: Mutex::default(),
        names,
    }
}

/// Competes for the lease, and tells who has it.
fn compete(core: &Core, metrics: &Metrics, leash: Leash, stop: &CancellationToken) -> (JoinHandle<()>, watch::Receiver<Leadership>) {
    let options = ElectorOptions { name: LEASE.to_owned(), holder: core.id.clone(), place: core.place.clone(), ttl: DEFAULT_TTL };
    let stored = Arc::new(StoredLease(core.store.clone()));
    let (elector, leadership) = elector(stored, options, core.clock.clone(), core.entropy.clone(), metrics.leader.clone(), leash);
    (tokio::spawn(elector.run(stop.clone())), leadership)
}

impl Control {
    /// Starts to compete for the lease; whoever has it works.
    pub(super) fn start(core: &Core, engine: Arc<dyn SwarmEngine>, leash: Leash, edge: &Edge, edge_url: (&'static str, u16)) -> Self {
        let (runs, watches, lease) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let metrics = core.metrics.register(Metrics::register);
        let (events, writer) =
            recorder(Arc::new(StoredEvents(core.store.clone())), EVENT_BOUND, core.clock.clone(), metrics.events_dropped.clone());
        let events_task = tokio::spawn(writer.run(lease.clone()));
        let (elector_task, leadership) = compete(core, &metrics, leash, &lease);
        let (tuning, tuning_task) = follow_tuning(core.settings(), watches.clone());
        let workshop = Workshop { core, metrics, leadership, tuning, stop: runs.clone() };
        let names = Arc::new(RwLock::new(HashMap::new()));
        let (nodes, node_task, _) = workshop.start(node_reconciler(core, engine.clone(), edge, names.clone()));
        let (certificates, certificate_task, _) = workshop.start(CertificateReconciler {
            proxy: edge.proxy.clone(),
            store: core.store.clone(),
            effects: core.effects.clone(),
            clock: core.clock.clone(),
            settings: core.settings(),
            metrics: core.metrics.register(CertificateMetrics::register),
        });
        let quiet_until = Arc::new(Mutex::new(Duration::ZERO));
        let index = Arc::new(AppIndex::default());
        let awaited = Arc::new(Awaited::new(edge.handle.published(), edge.taken.clone()));
        let killed = Arc::new(Killed::default());
        let records = InjectedRecords::wrap(Arc::new(core.store.clone()), &core.effects);
        let (apps, app_task, pulses) = workshop.start(AppReconciler {
            store: records.clone(),
            observer: Observer {
                engine: engine.clone(),
                proxy: edge.proxy.clone(),
                endpoints: edge.endpoints.clone(),
                fleet: edge.fleet.clone(),
                nodes: names,
                other_edges: core.other_edges.clone(),
            },
            executor: executor(records.clone(), engine.clone(), edge),
            clock: core.clock.clone(),
            settings: core.settings(),
            events: Arc::new(move |event| events.record(event)) as EventSender,
            metrics: core.metrics.register(AppMetrics::register),
            quiet: Quiet::default(),
            edge: edge_url,
            https_port: edge.https_port,
            quiet_until: quiet_until.clone(),
            index: index.clone(),
            drift: drift_watch(core, records, killed.clone()),
            wall: Wall::default(),
            held_up: Mutex::default(),
            image_errors: Mutex::default(),
            edge_awaited: awaited.clone(),
        });
        let agents = edge.fleet.clone().map(|fleet| tokio::spawn(follow_agents(fleet, nodes.clone(), watches.clone())));
        let follower = EngineFollower {
            engine,
            index,
            clock: core.clock.clone(),
            endpoints: edge.endpoints.clone(),
            apps: apps.clone(),
            nodes: nodes.clone(),
            quiet_until,
            killed,
            awaited,
        };
        Self {
            pulses,
            controllers: vec![node_task, app_task, certificate_task],
            followers: Vec::from_iter(agents.into_iter().chain([
                tuning_task,
                tokio::spawn(follower.run(watches.clone())),
                follow(core, (apps, certificates, nodes), edge, &watches),
            ])),
            elector: elector_task,
            events: events_task,
            runs,
            watches,
            lease,
        }
    }

    /// Lets runs end, then gives up the lease and writes the last events.
    pub(super) async fn stop(self) {
        self.watches.cancel();
        self.runs.cancel();
        for controller in self.controllers {
            match controller.await {
                Ok(drained) => info!(?drained, "a controller came to rest"),
                Err(error) => error!(%error, "a controller failed"),
            }
        }
        self.lease.cancel();
        for task in self.followers.into_iter().chain([self.elector, self.events]) {
            if let Err(error) = task.await {
                error!(%error, "a task of the controllers failed");
            }
        }
    }
}

fn drift_watch(core: &Core, records: SharedRecords, killed: Arc<Killed>) -> DriftWatch {
    DriftWatch {
        store: records,
        clock: core.clock.clone(),
        controller: core.host.clone(),
        metrics: core.metrics.register(DriftMetrics::register),
        killed,
        memories: Mutex::default(),
    }
}

fn executor(store: SharedRecords, engine: Arc<dyn SwarmEngine>, edge: &Edge) -> Executor {
    let handle = edge.handle.clone();
    Executor { engine, store, kick_edge: Arc::new(move || handle.kick()) }
}

fn follow(core: &Core, hints: (Hints<AppKey>, Hints<String>, Hints<String>), edge: &Edge, cancel: &CancellationToken) -> JoinHandle<()> {
    let (apps, certificates, nodes) = hints;
    let controls = Some(Controls { apps, certificates, nodes, edge: edge.handle.clone() });
    tokio::spawn(follow_store(core.store.clone(), core.settings_sender(), controls, cancel.clone()))
}

fn tuning(settings: &Settings) -> Tuning {
    Tuning { resync_interval: settings.resync_interval(), concurrency: settings.concurrency() }
}

fn follow_tuning(mut settings: watch::Receiver<Arc<Settings>>, cancel: CancellationToken) -> (watch::Receiver<Tuning>, JoinHandle<()>) {
    let (sender, receiver) = watch::channel(tuning(&settings.borrow_and_update()));
    let task = tokio::spawn(async move {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = settings.changed() => if changed.is_err() { return },
            }
            let new = tuning(&settings.borrow_and_update());
            sender.send_if_modified(|old| std::mem::replace(old, new) != new);
        }
    });
    (receiver, task)
}
