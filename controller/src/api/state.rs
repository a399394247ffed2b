//! What the API is given by `boot`: the database, the planner, the log source, limits.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api_types::api::{Drafts, LogLine, PlanStep};
use api_types::usage::Usage as UsageReport;
use api_types::why::Witness;
use api_types::{App, AppName, AppSpec, EnvKey, FieldError, Host, OrgName, ProcessName};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::backend::Backend;
use super::metrics::ApiMetrics;
use super::rate::RateLimits;
use super::usage::Usage;
use super::watch::Hub;
use crate::clock::{SharedClock, SharedEntropy};
use crate::settings::Settings;
use crate::store::{AdoptionGrant, AppRecord, Revision};

/// Everything that the API uses. Built once by `boot`; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// The database.
    pub backend: Arc<dyn Backend>,
    /// Computes the steps of a plan.
    pub planner: Arc<dyn Planner>,
    /// Reads logs.
    pub logs: Arc<dyn LogSource>,
    /// Measures what tasks use.
    pub usage: Arc<dyn UsageSource>,
    /// Finds services that apps may take over.
    pub services: Arc<dyn ServiceSource>,
    /// Further checks of `/readyz`; the database is always checked.
    pub checks: Vec<Arc<dyn ReadyCheck>>,
    /// Whether this process's controller leads; `None` when it has none.
    pub controller: Option<ControllerWatch>,
    /// Counts requests.
    pub metrics: Arc<ApiMetrics>,
    /// The text that `/metrics` answers.
    pub metrics_text: Arc<dyn Fn() -> String + Send + Sync>,
    /// Time.
    pub clock: SharedClock,
    /// Ids of requests.
    pub entropy: SharedEntropy,
    /// Limits.
    pub limits: Limits,
    /// The settings, as they are now and change.
    pub settings: watch::Receiver<Arc<Settings>>,
}

/// Whether the controller leads now.
pub type ControllerWatch = Arc<dyn Fn() -> bool + Send + Sync>;

/// Address of who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Limits of the API. The defaults are what production uses; tests make them small.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest body in bytes.
    pub body: usize,
    /// Longest time until a response begins. Streams go on after it.
    pub deadline: Duration,
    /// Requests under way at once; more are refused with 503.
    pub concurrency: usize,
    /// Log streams under way at once; more are refused with 429.
    pub streams: usize,
    /// Watches under way at once; more are refused with 429.
    pub watches: usize,
    /// Streams of any sort that one token may have open.
    pub streams_per_token: usize,
    /// Longest time until a quiet watch says that it is there.
    pub heartbeat: Duration,
    /// Longest time that a client may take nothing of what is sent, before it is cut off.
    pub stall: Duration,
    /// Open connections; more wait in the listener's backlog.
    pub connections: usize,
    /// Longest time for a request's head, also for the first byte of a connection.
    pub header_read: Duration,
    /// Longest time for requests to end after shutdown was asked for.
    pub drain: Duration,
    /// Longest time of one readiness check.
    pub check: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 4 * 1024 * 1024,
            deadline: Duration::from_secs(30),
            concurrency: 256,
            streams: 128,
            watches: 512,
            streams_per_token: 64,
            heartbeat: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            connections: 2048,
            header_read: Duration::from_secs(20),
            drain: Duration::from_secs(10),
            check: Duration::from_secs(2),
        }
    }
}

/// What a plan is computed from. It holds no secret value.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanInput {
    /// Organisation of the app.
    pub org: OrgName,
    /// Name of the app.
    pub name: AppName,
    /// The app as it is stored; `None` for a new one.
    pub current: Option<AppRecord>,
    /// The wanted spec, valid; secret values are `None`.
    pub wanted: AppSpec,
    /// Keys whose secret value would be new or another one. Keys that would be removed are in
    /// `current.spec.secrets` and not in `wanted.secrets`.
    pub changed_secrets: BTreeSet<EnvKey>,
    /// Custom hosts that the app would have: those of `wanted`, and free-standing domains that point to it. Sorted.
    pub custom_hosts: Vec<Host>,
    /// What the controller last observed; `None` when it did not look yet.
    pub observed: Option<Value>,
    /// The newest revisions of the stored app, newest first.
    pub revisions: Vec<Revision>,
    /// Services that it would be permitted to take over.
    pub adoptions: Vec<Adoptable>,
    /// The revision whose content is wanted, with its own secrets and image: a rollback or a retry.
    pub restored: Option<Revision>,
}

/// Computes steps. Pure: the same input gives the same steps.
pub trait Planner: Send + Sync + 'static {
    /// The steps, in order; none when nothing would change.
    fn plan(&self, input: PlanInput) -> Vec<PlanStep>;
    /// The task that shows best what is wrong with the newest generation, from the stored observation.
    fn witness(&self, observed: &Value, generation: i64) -> Option<Witness>;
}

/// Which lines are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogQuery {
    /// Go on with new lines until the client goes away.
    pub follow: bool,
    /// Only this process type; it exists.
    pub process: Option<ProcessName>,
    /// Only lines since then.
    pub since: Option<DateTime<Utc>>,
    /// Only this many of the last lines of each replica.
    pub tail: Option<u32>,
    /// Only lines of this task, by its id on the engine.
    pub task: Option<String>,
}

/// Why logs cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The engine or the log store does not answer.
    #[error("logs cannot be read now: {detail}")]
    Unavailable {
        /// Which part, and what it said; shown to the user.
        detail: String,
    },
}

/// A stream of log lines.
pub type LogLines = BoxStream<'static, Result<LogLine, LogError>>;

/// Where logs come from.
#[async_trait]
pub trait LogSource: Send + Sync + 'static {
    /// Lines of an app's replicas. Dropping the stream ends the reading.
    async fn logs(&self, app: &AppRecord, query: LogQuery) -> Result<LogLines, LogError>;
}

/// Where figures of running tasks come from.
#[async_trait]
pub trait UsageSource: Send + Sync + 'static {
    /// What the tasks of these apps use now.
    async fn usage(&self, apps: &[AppRecord]) -> Result<UsageReport, LogError>;
}

/// Which services manifests are wanted of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DraftQuery {
    /// Services by name.
    pub services: Vec<String>,
    /// All services of a stack.
    pub stack: Option<String>,
    /// Name of the app, or first part of the names of several.
    pub app: Option<AppName>,
}

/// A service that an app may take over: it runs as the app says, and is nobody's.
#[derive(Debug, Clone, PartialEq)]
pub struct Adoptable {
    /// The permission.
    pub grant: AdoptionGrant,
    /// The service as it was observed; only the planner can read it.
    pub observed: Value,
}

/// Why a service cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceError {
    /// The engine does not answer, or there is none here.
    #[error("services cannot be read now: {detail}")]
    Unavailable {
        /// Which part, and what it said; shown to the user.
        detail: String,
    },
    /// There is no such service.
    #[error("{detail}")]
    NotFound {
        /// What there is not.
        detail: String,
    },
    /// It is there and cannot be an app, or not this one; each with its place.
    #[error("the services cannot be taken over")]
    Refused(Vec<FieldError>),
}

/// Services on the engine, whoever made them.
#[async_trait]
pub trait ServiceSource: Send + Sync + 'static {
    /// Manifests that say what services are.
    async fn drafts(&self, query: &DraftQuery) -> Result<Drafts, ServiceError>;
    /// Whether an app may take a service over as one of its processes; `None` when it has it already. `uid` is the app's, where it is
    /// stored.
    async fn adoptable(&self, app: &App, uid: Option<Uuid>, process: &ProcessName) -> Result<Option<Adoptable>, ServiceError>;
}

/// A part that must answer before the server is ready.
#[async_trait]
pub trait ReadyCheck: Send + Sync + 'static {
    /// The part's word in the answer.
    fn name(&self) -> &'static str;
    /// `Err` says in one line what is wrong. Called with a deadline.
    async fn check(&self) -> Result<(), String>;
}

/// The state of one router: what `boot` gave, and the permits.
pub(super) struct Core {
    pub(super) state: ApiState,
    pub(super) requests: Arc<Semaphore>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) watches: Arc<Semaphore>,
    pub(super) hub: Hub,
    pub(super) usage: Usage,
    pub(super) rates: RateLimits,
    pub(super) shutdown: CancellationToken,
}

impl Core {
    pub(super) fn new(state: ApiState, shutdown: CancellationToken) -> Self {
        let requests = Arc::new(Semaphore::new(state.limits.concurrency));
        let streams = Arc::new(Semaphore::new(state.limits.streams));
        let watches = Arc::new(Semaphore::new(state.limits.watches));
        let hub = Hub::start(state.backend.clone(), shutdown.clone());
        let usage = Usage::start(state.backend.clone());
        Self { state, requests, streams, watches, hub, usage, rates: RateLimits::default(), shutdown }
    }
}

/// How handlers and extractors share the core.
pub(super) type SharedCore = Arc<Core>;
