//! Whether this process lives, is ready, and what it counts: the same answers from the API and, for a process that
//! serves none, from a listener of their own.
//!
//! A standby is ready: its edge serves, and it can take over at any moment. Whoever balances requests over processes,
//! or restarts them, must not treat it otherwise than the leader.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api_types::api::{ControllerState, HealthResponse};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::state::{ControllerWatch, ReadyCheck};
use crate::telemetry::exposition;

/// The health document; 503 when a part does not answer.
pub(super) struct Readiness(pub(super) HealthResponse);

impl IntoResponse for Readiness {
    fn into_response(self) -> Response {
        let status = if self.0.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(self.0)).into_response()
    }
}

/// The process serves.
pub(super) fn alive() -> HealthResponse {
    HealthResponse { ok: true, checks: BTreeMap::new(), controller: None }
}

/// Asks every part. `ping` asks the database; its error comes with all causes for the log, and without for the answer.
pub(super) async fn ready(
    ping: impl Future<Output = Result<(), (String, String)>>,
    checks: &[Arc<dyn ReadyCheck>],
    controller: Option<&ControllerWatch>,
    limit: Duration,
) -> HealthResponse {
    let late = || Err(format!("no answer within {} s", limit.as_secs_f32()));
    let database = async {
        let answer = match tokio::time::timeout(limit, ping).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err((causes, error))) => {
                tracing::warn!(error = causes, "the database is not ready");
                Err(error)
            }
            Err(_) => late(),
        };
        ("database", answer)
    };
    let others = checks.iter().map(|check| async move {
        let answer = tokio::time::timeout(limit, check.check()).await;
        (check.name(), answer.unwrap_or_else(|_| late()))
    });
    let (database, others) = futures::join!(database, futures::future::join_all(others));
    let answers: Vec<_> = std::iter::once(database).chain(others).collect();
    let ok = answers.iter().all(|(_, answer)| answer.is_ok());
    let checks = answers.into_iter().map(|(name, answer)| (name.to_owned(), answer.err().unwrap_or_else(|| "ok".to_owned()))).collect();
    let state = |leads| if leads { ControllerState::Leading } else { ControllerState::Standby };
    HealthResponse { ok, checks, controller: controller.map(|leads| state(leads())) }
}

/// Metrics in the form that is asked for.
pub(super) fn metrics(text: &Arc<dyn Fn() -> String + Send + Sync>, headers: &HeaderMap) -> Response {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let text = text();
    if accepted.any(exposition::wants_openmetrics) {
        ([(header::CONTENT_TYPE, exposition::OPENMETRICS)], text).into_response()
    } else {
        ([(header::CONTENT_TYPE, exposition::PROMETHEUS)], exposition::to_prometheus(&text)).into_response()
    }
}

/// What a process without an API answers with.
pub struct HealthState {
    /// The part that asks the database.
    pub database: Arc<dyn ReadyCheck>,
    /// What else must answer.
    pub checks: Vec<Arc<dyn ReadyCheck>>,
    /// Whether its controller leads.
    pub controller: Option<ControllerWatch>,
    /// The text of all metrics.
    pub metrics_text: Arc<dyn Fn() -> String + Send + Sync>,
    /// Longest wait for a part.
    pub limit: Duration,
}

/// `/healthz`, `/readyz` and `/metrics`, for everybody who reaches them: they tell nothing of users.
pub fn router(state: HealthState) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(alive())))
        .route("/readyz", get(own_readiness))
        .route("/metrics", get(own_metrics))
        .with_state(Arc::new(state))
}

async fn own_readiness(State(state): State<Arc<HealthState>>) -> Readiness {
    let ping = async { state.database.check().await.map_err(|error| (error.clone(), error)) };
    Readiness(ready(ping, &state.checks, state.controller.as_ref(), state.limit).await)
}

async fn own_metrics(State(state): State<Arc<HealthState>>, headers: HeaderMap) -> Response {
    metrics(&state.metrics_text, &headers)
}
