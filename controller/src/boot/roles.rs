//! The roles of the server, put together from their parts, and ended in order: API, controllers, proxy
//! and edge, database.

use std::path::Path;
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
use super::sources::EngineReady;
use super::usage::{EngineUsage, NoUsage};
use crate::api::{self, ApiMetrics, ApiState, Limits, LogSource, ReadyCheck, ServiceSource, UsageSource};
use crate::engines::swarm::metrics::EngineMetrics;
use crate::engines::swarm::real::{DockerSwarm, EngineOptions};
use crate::engines::swarm::{EngineResult, FreshSwarm, InjectedSwarm, SwarmEngine, SwarmInit};
use crate::engines::traefik::binary;
use crate::store::NewToken;

/// Everything on one machine.
pub async fn up(args: UpArgs) -> anyhow::Result<()> {
    let stop = signals::stop_token()?;
    let mut needs = controller_needs(&args.engine, &args.edge, &args.data.data_dir);
    needs.private_postgres = args.data.database_url.is_none();
    needs.listeners.push(Listener { what: "the API", argument: "--listen", address: args.api.listen });
    preflight::check(needs).await?;
    let data = DataDir::open(&args.data.data_dir)?;
    let database = Database::open(args.data.database_url, &data).await?;
    let result = up_with(&args.engine, &args.edge, args.api.listen, (&data, &database.url), stop).await;
    database.close().await;
    result
}

/// The API alone.
pub async fn api(args: ApiRoleArgs) -> anyhow::Result<()> {
    let stop = signals::stop_token()?;
    let listener = Listener { what: "the API", argument: "--listen", address: args.api.listen };
    preflight::check(Needs { listeners: vec![listener], ..Needs::default() }).await?;
    let url = args.data.database_url.context("`skyswarm api` needs --database-url; only `skyswarm up` has a database of its own")?;
    let data = DataDir::open(&args.data.data_dir)?;
    let core = Core::open(&url, &data.key_file()).await?;
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
    preflight::check(controller_needs(&args.engine, &args.edge, &args.data.data_dir)).await?;
    let url = args.data.database_url.context("`skyswarm controller` needs --database-url; only `skyswarm up` has a database of its own")?;
    let data = DataDir::open(&args.data.data_dir)?;
    let core = Core::open(&url, &data.key_file()).await?;
    let engine = engine(&args.engine, &core).await?;
    let edge = Edge::start(&core, engine.clone(), place(&data, &args.engine), &args.edge).await?;
    let control = Control::start(&core, engine.clone(), &edge, edge_url(&args.edge));
    let heart = Heart::start(&core, controller_parts(&["controller", "edge"], engine, &edge, &control));
    info!("running; stop it with SIGTERM");
    stop.cancelled().await;
    heart.stop().await;
    control.stop().await;
    edge.stop().await;
    Ok(())
}

/// Makes a token and prints it.
pub async fn token_create(args: TokenCreateArgs) -> anyhow::Result<SecretString> {
    let url = args.data.database_url.context("needs --database-url; with `skyswarm up`, use the API and the administrator's token")?;
    let core = Core::open(&url, &args.data.data_dir.join("key")).await?;
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
    (data, url): (&DataDir, &SecretString),
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let core = Core::open(url, &data.key_file()).await?;
    core.bootstrap(data).await?;
    let engine = engine(engine_args, &core).await?;
    let edge = Edge::start(&core, engine.clone(), place(data, engine_args), edge_args).await?;
    let control = Control::start(&core, engine.clone(), &edge, edge_url(edge_args));
    let checks: Vec<Arc<dyn ReadyCheck>> = vec![Arc::new(EngineReady(engine.clone())), Arc::new(edge.ready())];
    let heart = Heart::start(&core, controller_parts(&["api", "controller", "edge"], engine.clone(), &edge, &control));
    let reads = Reads {
        services: Arc::new(EngineServices(engine.clone())),
        usage: Arc::new(EngineUsage { engine: engine.clone(), clock: core.clock.clone() }),
        logs: Arc::new(EngineLogs { engine, clock: core.clock.clone() }),
    };
    let served = match TcpListener::bind(listen).await {
        Ok(listener) => api::serve(listener, state(&core, reads, checks), stop).await.map_err(anyhow::Error::from),
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

fn place<'a>(data: &'a DataDir, engine: &'a EngineArgs) -> Place<'a> {
    Place { data_dir: data.path(), key_file: data.key_file(), docker_host: &engine.docker_host }
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

/// The engine with the settings in force, in a Swarm.
async fn engine(args: &EngineArgs, core: &Core) -> anyhow::Result<Arc<dyn SwarmEngine>> {
    let settings = core.settings().borrow().clone();
    let options = EngineOptions {
        registry_deadline: settings.registry_timeout(),
        writes_per_second: settings.swarm_writes_per_second(),
        metrics: core.metrics.register(EngineMetrics::register),
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
        registry.register("engine_stale_lists", "Lists of the engine that were older than our own last write, and were not acted on", skips);
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
    let registry = core.metrics.clone();
    let metrics_text = move || {
        registry.encode().unwrap_or_else(|error| {
            error!(%error, "metrics cannot be written");
            String::new()
        })
    };
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
        metrics: Arc::new(metrics),
        metrics_text: Arc::new(metrics_text),
        clock: core.clock.clone(),
        entropy: core.entropy.clone(),
        limits: Limits::default(),
        settings,
    }
}
