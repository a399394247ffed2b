//! One controller process: elector, App controller with its queue, and the edge's publisher, wired as the server wires them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use skyswarm::clock::{SeededEntropy, SharedClock, SharedEntropy};
use skyswarm::edge::publisher::{self, EdgeHandle, PublisherConfig};
use skyswarm::engines::swarm::{FreshSwarm, InjectedSwarm, SwarmEngine};
use skyswarm::engines::traefik::ProxyApi;
use skyswarm::kinds::app::apply::Executor;
use skyswarm::kinds::app::ledger::{DriftMetrics, DriftWatch};
use skyswarm::kinds::app::metrics::AppMetrics;
use skyswarm::kinds::app::observe::Observer;
use skyswarm::kinds::app::quiet::Quiet;
use skyswarm::kinds::app::records::InjectedRecords;
use skyswarm::kinds::app::wall::Wall;
use skyswarm::kinds::app::{AppIndex, AppReconciler};
use skyswarm::runtime::{
    Controller, ElectorOptions, Hints, Metrics, Options, Priority, Tuning, Wiring, elector, hints,
    lease::{DEFAULT_TTL, Leash},
};
use skyswarm::settings::Settings;
use skyswarm::store::AppKey;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::edge::SimProxy;
use crate::faults::Life;
use crate::world::Shared;

/// Time from one resync to the next, shorter than by default: what hints miss is found sooner, in fewer steps.
pub(crate) const RESYNC: Duration = Duration::from_secs(5);
/// How long a process that starts removes nothing.
const QUIET: Duration = Duration::from_secs(3);

pub(crate) struct Process {
    pub(crate) dead: Arc<AtomicBool>,
    pub(crate) edge: EdgeHandle,
    pub(crate) stale_skips: Counter,
    hints: Hints<AppKey>,
    tasks: Vec<JoinHandle<()>>,
    _settings: watch::Sender<Arc<Settings>>,
    _tuning: watch::Sender<Tuning>,
}

impl Process {
    /// Starts the number-th process of a world.
    pub(crate) fn start(shared: &Shared, number: u64) -> Self {
        let (effects, dead) = Life::begin(&shared.faults);
        let clock: SharedClock = shared.clock.clone();
        let entropy: SharedEntropy = Arc::new(SeededEntropy::new(shared.seed ^ (number << 32)));
        let mut registry = prometheus_client::registry::Registry::default();
        let metrics = Metrics::register(&mut registry);
        let cancel = CancellationToken::new();
        let (settings, settings_seen) = watch::channel(Arc::new(Settings::default()));
        let (tuning, tuning_seen) = watch::channel(Tuning { resync_interval: shared.resync, ..Tuning::default() });

        let options =
            ElectorOptions { name: "controller".to_owned(), holder: format!("process-{number}"), place: String::new(), ttl: DEFAULT_TTL };
        let (elector, leadership) =
            elector(shared.rows.clone(), options, clock.clone(), entropy.clone(), metrics.leader.clone(), Leash::new(clock.clone()));
        let config = PublisherConfig { effects: effects.clone(), ..PublisherConfig::default() };
        let (edge, publisher) = publisher::spawn(shared.rows.clone(), shared.edge.table(), config, cancel.child_token());

        let injected = InjectedSwarm::wrap(shared.swarm.clone(), &effects);
        let fresh = FreshSwarm::new(injected, clock.clone());
        let stale_skips = fresh.skips();
        let engine: Arc<dyn SwarmEngine> = Arc::new(fresh);
        let proxy: Arc<dyn ProxyApi> = Arc::new(SimProxy(shared.edge.clone()));
        let records = InjectedRecords::wrap(shared.rows.clone(), &effects);
        let kick = edge.clone();
        let reconciler = AppReconciler {
            store: records.clone(),
            observer: Observer {
                fleet: None,
                engine: engine.clone(),
                proxy,
                endpoints: shared.edge.table(),
                nodes: Arc::new(RwLock::new(HashMap::new())),
                other_edges: Arc::default(),
            },
            executor: Executor { engine, store: records.clone(), kick_edge: Arc::new(move || kick.kick()) },
            clock: clock.clone(),
            settings: settings_seen,
            events: Arc::new(|_| {}),
            metrics: AppMetrics::register(&mut registry),
            quiet: Quiet::default(),
            edge: ("http", 80),
            https_port: None,
            quiet_until: Arc::new(Mutex::new(clock.monotonic() + QUIET)),
            index: Arc::new(AppIndex::default()),
            drift: DriftWatch {
                store: records,
                clock: clock.clone(),
                controller: format!("process-{number}"),
                metrics: DriftMetrics::register(&mut registry),
                killed: Arc::default(),
                memories: Mutex::default(),
            },
            wall: Wall::default(),
            held_up: Mutex::default(),
            image_errors: Mutex::default(),
            edge_awaited: Arc::default(),
        };
        let (sender, receiver) = hints(1024);
        let wiring = Wiring { hints: receiver, leadership, tuning: tuning_seen, clock, entropy, metrics };
        let controller = Controller::new(Arc::new(reconciler), wiring, Options::default());
        let stop = cancel.clone();
        let tasks = vec![
            tokio::spawn(elector.run(cancel.clone())),
            tokio::spawn(async move {
                controller.run(stop).await;
            }),
            publisher,
        ];
        Self { dead, edge, stale_skips, hints: sender, tasks, _settings: settings, _tuning: tuning }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Something may have changed for an app.
    pub(crate) fn hint(&self, key: AppKey) {
        self.hints.key(key, Priority::Background);
    }

    /// Rows changed.
    pub(crate) fn dirty(&self) {
        self.hints.dirty();
    }
}

impl Drop for Process {
    /// As when a process dies: nothing of it comes to rest.
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
