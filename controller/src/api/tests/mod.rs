//! Requests through the whole router: layers, roles, admission, routes.

mod apply;
mod apps;
mod fake;
mod openapi;
mod problems;
mod roles;
mod serving;

use std::sync::{Arc, Mutex};

use api_types::api::{LogLine, LogStream, PlanStep, Role};
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::state::{LogLines, LogQuery};
use super::{ApiMetrics, ApiState, Limits, LogError, LogSource, PlanInput, Planner, ReadyCheck};
use crate::clock::{ManualClock, SeededEntropy};
use crate::store::AppRecord;

/// Remembers its input; answers one step per process.
#[derive(Default)]
struct RecordingPlanner(Mutex<Vec<PlanInput>>);

impl Planner for RecordingPlanner {
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

#[async_trait]
impl LogSource for FixedLogs {
    async fn logs(&self, app: &AppRecord, query: LogQuery) -> Result<LogLines, LogError> {
        let line = |n: u32| LogLine {
            time: fake::epoch(),
            process: "web".to_owned(),
            replica: format!("web.{n}"),
            stream: LogStream::Stdout,
            line: format!("line {n} of {}", app.name),
        };
        let follow = query.follow;
        let tail = query.tail;
        self.queries.lock().expect("not poisoned").push(query);
        if tail == Some(13) {
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

/// An API with two organizations, `acme` and `rival`, each with the app `shop`, and a token of every kind.
struct Harness {
    router: Router,
    backend: Arc<fake::Fake>,
    planner: Arc<RecordingPlanner>,
    logs: Arc<FixedLogs>,
    shutdown: CancellationToken,
}

/// Name, organization and role of the tokens; each name is the token.
const TOKENS: [(&str, Option<&str>, Role); 7] = [
    ("root", None, Role::Admin),
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

impl Harness {
    async fn new() -> Self {
        Self::with(Limits::default(), Vec::new()).await
    }

    fn state(backend: &Arc<fake::Fake>, limits: Limits) -> ApiState {
        ApiState {
            backend: backend.clone(),
            planner: Arc::new(RecordingPlanner::default()),
            logs: Arc::new(FixedLogs::default()),
            checks: Vec::new(),
            metrics: Arc::new(ApiMetrics::default()),
            metrics_text: Arc::new(|| "# EOF\n".to_owned()),
            clock: Arc::new(ManualClock::at(fake::epoch())),
            entropy: Arc::new(SeededEntropy::new(1)),
            limits,
        }
    }

    async fn with(limits: Limits, checks: Vec<Arc<dyn ReadyCheck>>) -> Self {
        let backend = Arc::new(fake::Fake::default());
        for (name, org, role) in TOKENS {
            backend.token(name, org, role);
        }
        let (planner, logs) = (Arc::new(RecordingPlanner::default()), Arc::new(FixedLogs::default()));
        let shutdown = CancellationToken::new();
        let state = ApiState { planner: planner.clone(), logs: logs.clone(), checks, ..Self::state(&backend, limits) };
        let router = super::router(state, shutdown.clone());
        let harness = Self { router, backend, planner, logs, shutdown };
        for org in ["acme", "rival"] {
            let app = json!({"apiVersion": "skyswarm.dev/v1", "kind": "App", "metadata": {"name": "shop", "labels": {"team": org}}, "spec": app_spec("a:1")});
            let org_manifest = json!({"apiVersion": "skyswarm.dev/v1", "kind": "Organization", "metadata": {"name": org}, "spec": {}});
            let host = format!("{org}.example.com");
            let domain = json!({"apiVersion": "skyswarm.dev/v1", "kind": "Domain", "metadata": {"name": host}, "spec": {"app": "shop"}});
            let answer = harness.post(&format!("/v1/orgs/{org}/apply"), "root", &json!({"items": [org_manifest, app, domain]})).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        }
        harness
    }

    async fn raw(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 24).await.expect("a body");
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).expect("UTF-8") }
    }

    async fn send(&self, method: &str, path: &str, token: &str, body: Option<&Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
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
    fn writes(&self) -> usize {
        self.backend.writes.lock().expect("not poisoned").len()
    }
}
