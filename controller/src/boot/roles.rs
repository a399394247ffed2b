//! The roles of the server, put together from their parts, and ended in order: API, controllers, proxy
//! and edge, database.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::args::{ApiRoleArgs, ControllerRoleArgs, EdgeArgs, EngineArgs, TokenCreateArgs, UpArgs};
use super::control::Control;
use super::core::Core;
use super::datadir::DataDir;
use super::edge::{Edge, Place};
use super::heartbeat::{Heart, Parts};
use super::hints::follow_store;
use super::logs::{EngineLogs, NoLogs};
use super::planner::AppPlanner;
use super::postgres::PrivatePostgres;
use super::preflight::{self, EngineNeed, Listener, Needs};
use super::services::{EngineServices, NoServices};
use super::signals;
use super::sources::{EngineReady, StoreReady};
use super::usage::{EngineUsage, NoUsage};
use crate::api::health::HealthState;
use crate::api::{self, ApiMetrics, ApiState, ControllerWatch, Limits, LogSource, ReadyCheck, ServiceSource, UsageSource};
use crate::engines::swarm::metrics::EngineMetrics;
use crate::engines::swarm::real::{DockerSwarm, EngineOptions};
use crate::engines::swarm::{EngineResult, FreshSwarm, InjectedSwarm, SwarmEngine, SwarmInit};
use crate::engines::traefik::binary;
use crate::runtime::lease::Leash;
use crate::store::NewToken;

/// Everything on one machine.
pub async fn up(args: UpArgs) -> anyhow::Result<()> {
    let stop = signals::stop_token()?;
    let mut needs = controller_needs(&args.engine, &args.edge, &args.data.data_dir);
    needs.private_postgres = args.data.database_url.is_none();
    needs.listeners.push(Listener { what: "the API", argument: "--listen", address: args.api.listen });
    preflight::check(needs).await?;
    let data = DataDir::open(&args.data.data_dir)?;
    let key_file = args.data.key_file();
    let database = Database::open(args.data.database_url, &data).await?;
    let result = up_with(&args.engine, &args.edge, args.api.listen, (&data, &key_file, &database.url), stop).await;
    database.close().await;
    result
}

/// The API alone.
pub async fn api(args: ApiRoleArgs) -> anyhow::Result<()> {
    let stop = signals::stop_token()?;
    let listener = Listener { what: "the API", argument: "--listen", address: args.api.listen };
    preflight::check(Needs { listeners: vec![listener], ..Needs::default() }).await?;
    let key_file = args.data.key_file();
    let url = args.data.database_url.context("`skyswarm api` needs --database-url; only `skyswarm up` has a database of its own")?;
    let data = DataDir::open(&args.data.data_dir)?;
    let core = Core::open(&url, &key_file, data.place()).await?;
    core.bootstrap(&data).await?;
    let watches = CancellationToken::new();
    let follower = tokio::spawn(follow_store(core.store.clone(), core.settings_sender(), None, watches.clone()));
    let listener = TcpListener::bind(args.api.listen).await.context("the API cannot listen")?;
    let heart = Heart::start(&core, Parts { roles: vec!["api"], ..Parts::default() });
    let reads = Reads { logs: Arc::new(NoLogs), services: Arc::new(NoServices), usage: Arc::new(NoUsage) };
    api::serve(listener, state(&core, reads, Vec::new()), stop).await?;
    heart.stop().await;
    watches.cancel();
    Ok(follower.await?)
}

/// The controllers and the edge alone.
pub async fn controller(args: ControllerRoleArgs) -> anyhow::Result<()> {
    let stop = signals::stop_token()?;
    let mut needs = controller_needs(&args.engine, &args.edge, &args.data.data_dir);
    needs.listeners.push(Listener { what: "health checks", argument: "--health-listen", address: args.health_listen });
    preflight::check(needs).await?;
    let key_file = args.data.key_file();
    let url = args.data.database_url.context("`skyswarm controller` needs --database-url; only `skyswarm up` has a database of its own")?;
    let data = DataDir::open(&args.data.data_dir)?;
    let core = Core::open(&url, &key_file, data.place()).await?;
    let leash = Leash::new(core.clock.clone());
    let engine = engine(&args.engine, &core, &leash).await?;
    let edge = Edge::start(&core, engine.clone(), place(&data, key_file, &args.engine), &args.edge).await?;
    let control = Control::start(&core, engine.clone(), leash.clone(), &edge, edge_url(&args.edge));
    let heart = Heart::start(&core, controller_parts(&["controller", "edge"], engine.clone(), &edge, &control));
    let state = HealthState {
        database: Arc::new(StoreReady(core.store.clone())),
        checks: vec![Arc::new(EngineReady(engine)), Arc::new(edge.ready())],
        controller: Some(Arc::new(move || leash.holds())),
        metrics_text: metrics_text(&core),
        limit: Limits::default().check,
    };
    let served = match TcpListener::bind(args.health_listen).await {
        Ok(listener) => serve_health(listener, state, stop).await,
        Err(error) => Err(anyhow::Error::from(error).context("health checks cannot be listened for")),
    };
    heart.stop().await;
    control.stop().await;
    edge.stop().await;
    served
}

/// Answers health checks until told to stop.
async fn serve_health(listener: TcpListener, state: HealthState, stop: CancellationToken) -> anyhow::Result<()> {
    info!(address = %listener.local_addr()?, "running; health checks are answered here; stop it with SIGTERM");
    Ok(axum::serve(listener, api::health::router(state)).with_graceful_shutdown(stop.cancelled_owned()).await?)
}

/// Makes a token and prints it.
pub async fn token_create(args: TokenCreateArgs) -> anyhow::Result<SecretString> {
    let key_file = args.data.key_file();
    let url = args.data.database_url.context("needs --database-url; with `skyswarm up`, use the API and the administrator's token")?;
    let core = Core::open(&url, &key_file, String::new()).await?;
    let new = NewToken { expires_in: args.expires, ..NewToken::new(&args.name, args.org.as_ref(), args.role.into()) };
    let (_, token) = core.store.token_create(&new).await?;
    Ok(token)
}

/// The database that was given, or our own.
struct Database {
    url: SecretString,
    own: Option<PrivatePostgres>,
}

impl Database {
    async fn open(url: Option<SecretString>, data: &DataDir) -> anyhow::Result<Self> {
        if let Some(url) = url {
            return Ok(Self { url, own: None });
        }
        let own = PrivatePostgres::start(data.path()).await?;
        Ok(Self { url: SecretString::from(own.url()), own: Some(own) })
    }

    async fn close(self) {
        if let Some(own) = self.own {
            own.stop().await;
        }
    }
}

async fn up_with(
    engine_args: &EngineArgs,
    edge_args: &EdgeArgs,
    listen: std::net::SocketAddr,
    (data, key_file, url): (&DataDir, &Path, &SecretString),
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let core = Core::open(url, key_file, data.place()).await?;
    core.bootstrap(data).await?;
    let leash = Leash::new(core.clock.clone());
    let engine = engine(engine_args, &core, &leash).await?;
    let edge = Edge::start(&core, engine.clone(), place(data, key_file.to_owned(), engine_args), edge_args).await?;
    let control = Control::start(&core, engine.clone(), leash.clone(), &edge, edge_url(edge_args));
    let checks: Vec<Arc<dyn ReadyCheck>> = vec![Arc::new(EngineReady(engine.clone())), Arc::new(edge.ready())];
    let heart = Heart::start(&core, controller_parts(&["api", "controller", "edge"], engine.clone(), &edge, &control));
    let reads = Reads {
        services: Arc::new(EngineServices(engine.clone())),
        usage: Arc::new(EngineUsage { engine: engine.clone(), clock: core.clock.clone() }),
        logs: Arc::new(EngineLogs { engine, clock: core.clock.clone() }),
    };
    let served = match TcpListener::bind(listen).await {
        Ok(listener) => {
            let controller: Option<ControllerWatch> = Some(Arc::new(move || leash.holds()));
            let state = ApiState { controller, ..state(&core, reads, checks) };
            api::serve(listener, state, stop).await.map_err(anyhow::Error::from)
        }
        Err(error) => Err(anyhow::Error::from(error).context("the API cannot listen")),
    };
    heart.stop().await;
    control.stop().await;
    edge.stop().await;
    served
}

/// What a process with a controller tells of in its heartbeats.
fn controller_parts(roles: &[&'static str], engine: Arc<dyn SwarmEngine>, edge: &Edge, control: &Control) -> Parts {
    Parts { roles: roles.to_vec(), engine: Some(engine), edge: Some(Arc::new(edge.ready())), pulses: Some(control.pulses.clone()) }
}

fn place<'a>(data: &'a DataDir, key_file: PathBuf, engine: &'a EngineArgs) -> Place<'a> {
    Place { data_dir: data.path(), key_file, docker_host: &engine.docker_host }
}

fn controller_needs(engine: &EngineArgs, edge: &EdgeArgs, data_dir: &Path) -> Needs {
    let connected = DockerSwarm::connect(&engine.docker_host, EngineOptions::default());
    let mut listeners =
        vec![Listener { what: "the proxy's provider", argument: "--edge-provider-listen", address: edge.edge_provider_listen }];
    // A proxy that a killed server left behind still has the ports; it is ended before the new one starts,
    // which looks at the ports again.
    if !data_dir.join("edge/traefik.pid").exists() {
        listeners.push(Listener { what: "the edge", argument: "--edge-http", address: edge.edge_http });
        listeners.extend(edge.edge_https.map(|address| Listener { what: "the edge", argument: "--edge-https", address }));
    }
    Needs {
        engine: Some(EngineNeed {
            host: engine.docker_host.clone(),
            engine: connected.map(|engine| Arc::new(engine) as Arc<dyn SwarmEngine>),
            init_swarm: engine.init_swarm,
        }),
        proxy_problem: binary::find(edge.traefik_bin.as_deref(), std::env::var_os("PATH").as_deref()).err().map(|error| error.to_string()),
        private_postgres: false,
        listeners,
    }
}

/// The engine with the settings in force, in a Swarm. It takes no write while the leash does not hold.
async fn engine(args: &EngineArgs, core: &Core, leash: &Leash) -> anyhow::Result<Arc<dyn SwarmEngine>> {
    let settings = core.settings().borrow().clone();
    let leash = leash.clone();
    let options = EngineOptions {
        registry_deadline: settings.registry_timeout(),
        writes_per_second: settings.swarm_writes_per_second(),
        metrics: core.metrics.register(EngineMetrics::register),
        may_write: Arc::new(move || leash.holds()),
        ..EngineOptions::default()
    };
    let engine: EngineResult<_> = DockerSwarm::connect(&args.docker_host, options);
    let engine = engine.context("the engine cannot be reached")?;
    let info = engine.info().await.context("the engine cannot be reached")?;
    if args.init_swarm && info.swarm_state == "inactive" {
        let init = SwarmInit {
            advertise_addr: args.advertise_addr.clone(),
            listen_addr: format!("{}:2377", args.advertise_addr),
            address_pools: vec![args.address_pool.clone()],
            subnet_size: 24,
        };
        engine.init(&init).await.context("the Swarm cannot be made")?;
        info!("made a Swarm of this engine");
    }
    info!(version = %info.version, host = %args.docker_host, "driving Docker Engine");
    let fresh = FreshSwarm::new(InjectedSwarm::wrap(Arc::new(engine), &core.effects), core.clock.clone());
    let skips = fresh.skips();
    core.metrics.register(|registry| {
        registry.register(
            "engine_stale_lists",
            "Lists of the engine that were older than our own last write, and were not acted on",
            skips,
        );
    });
    Ok(Arc::new(fresh))
}

fn edge_url(args: &EdgeArgs) -> (&'static str, u16) {
    ("http", args.edge_http.port())
}

/// What the API reads of the engine.
struct Reads {
    logs: Arc<dyn LogSource>,
    services: Arc<dyn ServiceSource>,
    usage: Arc<dyn UsageSource>,
}

fn state(core: &Core, Reads { logs, services, usage }: Reads, checks: Vec<Arc<dyn ReadyCheck>>) -> ApiState {
    let settings: watch::Receiver<_> = core.settings();
    let metrics = ApiMetrics::default();
    core.metrics.register(|registry| metrics.register(registry));
    ApiState {
        backend: Arc::new(core.store.clone()),
        planner: Arc::new(AppPlanner { settings: settings.clone(), clock: core.clock.clone() }),
        logs,
        usage,
        services,
        checks,
        controller: None,
        metrics: Arc::new(metrics),
        metrics_text: metrics_text(core),
        clock: core.clock.clone(),
        entropy: core.entropy.clone(),
        limits: Limits::default(),
        settings,
    }
}

fn metrics_text(core: &Core) -> Arc<dyn Fn() -> String + Send + Sync> {
    let registry = core.metrics.clone();
    Arc::new(move || {
        registry.encode().unwrap_or_else(|error| {
            error!(%error, "metrics cannot be written");
            String::new()
        })
    })
}
