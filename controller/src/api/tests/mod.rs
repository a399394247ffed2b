//! Requests through the whole router into a real PostgreSQL: layers, roles, admission, routes, store.

mod adoption;
mod apply;
mod apps;
mod changes;
mod faulty;
mod history;
mod lists;
mod openapi;
mod problems;
mod rates;
mod roles;
mod serving;
mod status;
mod tokens;
mod upkeep;
mod watches;
mod why;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use api_types::api::{Drafts, LogLine, LogStream, PlanStep, Role};
use api_types::usage::{TaskUsage, Usage};
use api_types::{App, FieldError, Node, NodeSpec, NodeStatus, ObjectMeta, OrgName, ProcessName};
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

use super::state::{LogLines, LogQuery};
use super::{
    Adoptable, ApiMetrics, ApiState, DraftQuery, Limits, LogError, LogSource, PlanInput, Planner, ReadyCheck, ServiceError, ServiceSource,
    UsageSource,
};
use crate::clock::{ManualClock, SeededEntropy, SystemEntropy};
use crate::settings::Settings;
use crate::store::{AdoptionGrant, AppRecord, CONTROLLER_LEASE, LeaseClaim, NewToken, Store};

/// Remembers its input; answers one step per process.
#[derive(Default)]
struct RecordingPlanner(Mutex<Vec<PlanInput>>);

impl Planner for RecordingPlanner {
    fn witness(&self, observed: &Value, _generation: i64) -> Option<api_types::why::Witness> {
        serde_json::from_value(observed.get("witness")?.clone()).ok()
    }
    fn plan(&self, input: PlanInput) -> Vec<PlanStep> {
        let step = |name: &api_types::ProcessName| PlanStep { action: "CreateService".to_owned(), description: format!("create {name}") };
        let steps = input.wanted.processes.keys().map(step).collect();
        self.0.lock().expect("not poisoned").push(input);
        steps
    }
}

/// Two lines, then, when followed, silence; `boom` makes it break off.
#[derive(Default)]
struct FixedLogs {
    queries: Mutex<Vec<LogQuery>>,
}

/// One task of each app that is asked for.
struct FixedUsage;

#[async_trait]
impl UsageSource for FixedUsage {
    async fn usage(&self, apps: &[AppRecord]) -> Result<Usage, LogError> {
        let task = |app: &AppRecord| TaskUsage {
            app: app.name.to_string(),
            process: "web".to_owned(),
            replica: "web.1".to_owned(),
            node: "n1".to_owned(),
            cpu_millis: Some(1),
            memory_bytes: None,
        };
        Ok(Usage { measured_at: start(), node: "n1".to_owned(), tasks: apps.iter().map(task).collect() })
    }
}

/// An engine with the service `shop_web`, which is `a:1`, and `taken`, which is somebody's.
struct FixedServices;

#[async_trait]
impl ServiceSource for FixedServices {
    async fn drafts(&self, query: &DraftQuery) -> Result<Drafts, ServiceError> {
        match query.services.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["shop_web"] => Ok(Drafts::default()),
            ["down"] => Err(ServiceError::Unavailable { detail: "the engine does not answer".to_owned() }),
            _ => Err(ServiceError::NotFound { detail: "there is no such service".to_owned() }),
        }
    }
    async fn adoptable(&self, app: &App, _: Option<Uuid>, process: &ProcessName) -> Result<Option<Adoptable>, ServiceError> {
        let service = app.spec.processes[process].adopt.clone().expect("asked for").service;
        let (org, name) = (app.metadata.org.clone().expect("filled in"), app.metadata.name.parse().expect("a name"));
        match service.as_str() {
            "shop_web" => {
                let grant = AdoptionGrant { org, app: name, service, id: "svc1".to_owned() };
                Ok(Some(Adoptable { grant, observed: Value::Null }))
            }
            "taken" => Err(ServiceError::Refused(vec![FieldError::new(format!("spec.processes.{process}.adopt.service"), "it is taken")])),
            _ => Err(ServiceError::NotFound { detail: format!("there is no service {service}") }),
        }
    }
}

#[async_trait]
impl LogSource for FixedLogs {
    async fn logs(&self, app: &AppRecord, query: LogQuery) -> Result<LogLines, LogError> {
        let line = |n: u32| LogLine {
            time: start(),
            process: "web".to_owned(),
            replica: format!("web.{n}"),
            stream: LogStream::Stdout,
            line: format!("line {n} of {}", app.name),
        };
        let follow = query.follow;
        let tail = query.tail;
        let task = query.task.clone();
        self.queries.lock().expect("not poisoned").push(query);
        if task.as_deref() == Some("hangs") {
            return Ok(futures::stream::pending().boxed());
        }
        if tail == Some(13) || task.as_deref() == Some("broken") {
            return Err(LogError::Unavailable { detail: "the engine does not answer".to_owned() });
        }
        let head = futures::stream::iter([Ok(line(1)), Ok(line(2))]);
        if tail == Some(14) {
            return Ok(head.chain(futures::stream::iter([Err(LogError::Unavailable { detail: "gone".to_owned() }), Ok(line(3))])).boxed());
        }
        Ok(if follow { head.chain(futures::stream::pending()).boxed() } else { head.boxed() })
    }
}

struct BrokenPart;
#[async_trait]
impl ReadyCheck for BrokenPart {
    fn name(&self) -> &'static str {
        "edge"
    }
    async fn check(&self) -> Result<(), String> {
        Err("no answer".to_owned())
    }
}

/// A fixed time: nothing here may depend on when it runs.
fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_770_000_000, 0).expect("a time")
}

/// An API with two organizations, `acme` and `rival`, each with the app `shop` and a domain, one node, and a
/// token of every kind.
struct Harness {
    router: Router,
    backend: Arc<faulty::Faulty>,
    planner: Arc<RecordingPlanner>,
    logs: Arc<FixedLogs>,
    shutdown: CancellationToken,
    tokens: BTreeMap<&'static str, SecretString>,
    /// The controller's, for what only it writes.
    epoch: i64,
    /// A token of `acme` that nobody uses.
    spare: uuid::Uuid,
    /// The database's clock; requests have another one.
    store_clock: Arc<ManualClock>,
    /// The requests' clock.
    clock: Arc<ManualClock>,
    _keys: tempfile::TempDir,
}

/// Name, organization and role of the tokens.
const TOKENS: [(&str, Option<&str>, Role); 6] = [
    ("platform-member", None, Role::Member),
    ("platform-viewer", None, Role::Viewer),
    ("acme-admin", Some("acme"), Role::Admin),
    ("acme-member", Some("acme"), Role::Member),
    ("acme-viewer", Some("acme"), Role::Viewer),
    ("rival-admin", Some("rival"), Role::Admin),
];

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
    /// The problem's paths, in order.
    fn paths(&self) -> Vec<String> {
        let problem: api_types::Problem = serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text));
        problem.errors.into_iter().map(|error| error.path).collect()
    }
}

fn app_spec(image: &str) -> Value {
    json!({"image": image, "secrets": {"KEY": "hunter2"}, "processes": {"web": {"port": 8080}, "worker": {}}})
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "skyswarm.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A state around a backend; its planner and log source are not looked at.
fn state(backend: &Arc<faulty::Faulty>, limits: Limits) -> ApiState {
    ApiState {
        backend: backend.clone(),
        planner: Arc::new(RecordingPlanner::default()),
        logs: Arc::new(FixedLogs::default()),
        usage: Arc::new(FixedUsage),
        services: Arc::new(FixedServices),
        checks: Vec::new(),
        controller: None,
        metrics: Arc::new(ApiMetrics::default()),
        metrics_text: Arc::new(|| "# EOF\n".to_owned()),
        clock: Arc::new(ManualClock::at(start())),
        entropy: Arc::new(SeededEntropy::new(1)),
        limits,
        settings: settings_of(&[]).1,
    }
}

/// Settings that do not follow the database, and what changes them.
fn settings_of(values: &[(&str, i64)]) -> (watch::Sender<Arc<Settings>>, watch::Receiver<Arc<Settings>>) {
    // Roles × routes and the like make far more failures than a client would.
    let mut stored =
        BTreeMap::from([("api.rate_limit_failures".to_owned(), json!(100_000)), ("api.rate_limit_burst".to_owned(), json!(100_000))]);
    stored.extend(values.iter().map(|(key, value)| ((*key).to_owned(), json!(value))));
    watch::channel(Arc::new(Settings::from_stored(&stored)))
}

/// An empty database, and its clock.
async fn empty() -> (Arc<faulty::Faulty>, Arc<ManualClock>, tempfile::TempDir) {
    let clock = Arc::new(ManualClock::at(start()));
    let (store, keys) = crate::store::testing::store(clock.clone(), Arc::new(SystemEntropy)).await;
    (Arc::new(faulty::Faulty::new(store)), clock, keys)
}

impl Harness {
    async fn new() -> Self {
        Self::with(Limits::default(), Vec::new()).await
    }

    async fn with(limits: Limits, checks: Vec<Arc<dyn ReadyCheck>>) -> Self {
        Self::with_settings(limits, checks, &[]).await
    }

    async fn with_settings(limits: Limits, checks: Vec<Arc<dyn ReadyCheck>>, settings: &[(&str, i64)]) -> Self {
        let clock = Arc::new(ManualClock::at(start()));
        let settings = settings_of(settings).1;
        let (backend, store_clock, keys) = empty().await;
        let (planner, logs) = (Arc::new(RecordingPlanner::default()), Arc::new(FixedLogs::default()));
        let shutdown = CancellationToken::new();
        let router = {
            let state = ApiState {
                planner: planner.clone(),
                logs: logs.clone(),
                checks,
                settings,
                clock: clock.clone(),
                ..state(&backend, limits)
            };
            super::router(state, shutdown.clone())
        };
        let ttl = std::time::Duration::from_secs(3600);
        let claim = LeaseClaim { name: CONTROLLER_LEASE, holder: "test", ttl, ..LeaseClaim::default() };
        let epoch = backend.store.lease_acquire(&claim).await.expect("answers").epoch().expect("is free");
        let mut harness = Self {
            router,
            backend,
            planner,
            logs,
            shutdown,
            tokens: BTreeMap::new(),
            epoch,
            spare: uuid::Uuid::nil(),
            store_clock,
            clock,
            _keys: keys,
        };
        let (_, root) = harness.store().token_create(&NewToken::new("root", None, Role::Admin)).await.expect("a token");
        harness.tokens.insert("root", root);
        harness.seed().await;
        for (name, org, role) in TOKENS {
            let org = org.map(|org| org.parse::<OrgName>().expect("a name"));
            let (_, token) = harness.store().token_create(&NewToken::new(name, org.as_ref(), role)).await.expect("a token");
            harness.tokens.insert(name, token);
        }
        harness.make_spare().await;
        let mut node = Node::new(ObjectMeta::named("n1"), NodeSpec::default());
        node.status = Some(NodeStatus { id: "x2o0i1kzq9".to_owned(), ..NodeStatus::default() });
        harness.store().node_replace_all(&[node], harness.epoch).await.expect("written");
        harness
    }

    fn store(&self) -> &Store {
        &self.backend.store
    }

    /// Makes what is missing; takes away what is being deleted, as the controller would.
    async fn seed(&self) {
        for record in self.store().app_list(None).await.expect("reads") {
            if record.deletion_timestamp.is_some() {
                self.store().app_remove(record.uid, self.epoch).await.expect("removed");
            }
        }
        self.make_certificate().await;
        for org in ["acme", "rival"] {
            let mut app = object("App", "shop", &app_spec("a:1"));
            app["metadata"]["labels"] = json!({"team": org});
            let domain = object("Domain", &format!("{org}.example.com"), &json!({"app": "shop"}));
            let items = json!({"items": [object("Organization", org, &json!({})), app, domain]});
            let answer = self.post(&format!("/v1/orgs/{org}/apply"), "root", &items).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        }
    }

    /// Makes the certificate `own`, when there is none.
    async fn make_certificate(&self) {
        if self.store().certificate_list().await.expect("lists").is_empty() {
            let made = crate::certificate::tests::self_signed(&["own.example"], "2040-01-01");
            let spec = json!({"spec": {"chain": made.chain, "privateKey": made.key}});
            let answer = self.put("/v1/certificates/own", "root", &spec).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        }
    }

    /// Makes a token to revoke, when there is none.
    async fn make_spare(&mut self) {
        let acme: OrgName = "acme".parse().expect("a name");
        let known = self.store().token_list(Some(&acme)).await.expect("lists");
        if !known.iter().any(|token| token.id == self.spare) {
            let (token, _) = self.store().token_create(&NewToken::new("spare", Some(&acme), Role::Viewer)).await.expect("a token");
            self.spare = token.id;
        }
    }

    /// All desired state, to see that nothing was written.
    async fn everything(&self) -> String {
        let store = self.store();
        let apps = store.app_list(None).await.expect("reads");
        let domains = store.domain_list(None).await.expect("reads");
        let settings = store.setting_list().await.expect("reads");
        let tokens: Vec<_> = store.token_list(None).await.expect("reads").into_iter().map(|token| (token.id, token.role)).collect();
        let certificates = store.certificate_list().await.expect("reads");
        format!("{:?} {apps:?} {domains:?} {settings:?} {tokens:?} {certificates:?}", store.org_list().await.expect("reads"))
    }

    async fn raw(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 24).await.expect("a body");
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).expect("UTF-8") }
    }

    fn bearer(&self, token: &str) -> String {
        let text = self.tokens.get(token).map_or(token, |token| token.expose_secret());
        format!("Bearer {text}")
    }

    async fn send(&self, method: &str, path: &str, token: &str, body: Option<&Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, self.bearer(token));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.raw(request.body(body).expect("a request")).await
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        self.send("GET", path, token, None).await
    }
    async fn put(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.send("PUT", path, token, Some(body)).await
    }
    async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.send("POST", path, token, Some(body)).await
    }
    async fn delete(&self, path: &str, token: &str) -> Answer {
        self.send("DELETE", path, token, None).await
    }
}
