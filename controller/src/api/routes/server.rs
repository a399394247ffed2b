//! The server itself: alive, ready, metrics, version, this API's document, and whose token is used.

use std::sync::LazyLock;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::api::{HealthResponse, VersionInfo, WhoAmI};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use schemars::json_schema;

use crate::api::auth::Caller;
use crate::api::docs::{Examples, Tag, add_response, describe, response};
use crate::api::error::{ApiResult, chain};
use crate::api::health::{self, Readiness};
use crate::api::state::SharedCore;
use crate::api::{examples, openapi};
use crate::telemetry::exposition;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    ApiRouter::new()
        .api_route(
            "/healthz",
            get_with(healthz, |op| {
                describe(op, Tag::Server, "healthz", "Alive", "Answers as long as the process serves; asks no other part.")
                    .answer_example(200, examples::healthy())
            }),
        )
        .api_route(
            "/readyz",
            get_with(readyz, |mut op| {
                let schema = json_schema!({"$ref": "#/components/schemas/HealthResponse"});
                let mut unready = response("A part does not answer; `checks` says which.", "application/json", Some(schema));
                for media in unready.content.values_mut() {
                    media.example = Some(examples::unready());
                }
                add_response(op.inner_mut(), 503, unready);
                describe(op, Tag::Server, "readyz", "Ready", "Asks every part that this server needs.")
                    .answer_example(200, examples::ready())
            }),
        )
        .api_route(
            "/metrics",
            get_with(metrics, |mut op| {
                let text = Some(json_schema!({"type": "string"}));
                add_response(op.inner_mut(), 200, response("Metrics as text.", exposition::PROMETHEUS, text));
                let long = "For Prometheus, in its text format, or as OpenMetrics where `Accept` asks for that.";
                describe(op, Tag::Server, "metrics", "Metrics", long).answer_example(200, examples::metrics())
            }),
        )
        .api_route(
            "/openapi.json",
            get_with(document, |mut op| {
                add_response(op.inner_mut(), 200, response("The document.", "application/json", Some(json_schema!({"type": "object"}))));
                describe(op, Tag::Server, "openapi", "This document", "The OpenAPI 3.1 document of this API.")
                    .answer_example(200, examples::document_head())
            }),
        )
        .api_route(
            "/version",
            get_with(version, |op| {
                describe(op, Tag::Server, "version", "Version", "Release of the server and the API versions that it serves.")
                    .answer_example(200, examples::version())
            }),
        )
        .api_route(
            "/v1/whoami",
            get_with(whoami, |op| {
                describe(op, Tag::Server, "whoami", "Whose token", "Name, organization and role of the token that is sent.")
                    .answer_example(200, examples::whoami())
            }),
        )
}

async fn healthz() -> Json<HealthResponse> {
    Json(health::alive())
}

impl aide::OperationOutput for Readiness {
    type Inner = HealthResponse;
    fn operation_response(
        ctx: &mut aide::generate::GenContext,
        operation: &mut aide::openapi::Operation,
    ) -> Option<aide::openapi::Response> {
        Json::<HealthResponse>::operation_response(ctx, operation)
    }
    fn inferred_responses(
        ctx: &mut aide::generate::GenContext,
        operation: &mut aide::openapi::Operation,
    ) -> Vec<(Option<aide::openapi::StatusCode>, aide::openapi::Response)> {
        Json::<HealthResponse>::inferred_responses(ctx, operation)
    }
}

async fn readyz(State(core): State<SharedCore>) -> Readiness {
    let ping = async { core.state.backend.ping().await.map_err(|error| (chain(&error), error.to_string())) };
    Readiness(health::ready(ping, &core.state.checks, core.state.controller.as_ref(), core.state.limits.check).await)
}

async fn metrics(State(core): State<SharedCore>, headers: HeaderMap) -> Response {
    health::metrics(&core.state.metrics_text, &headers)
}

async fn document() -> Response {
    // Made once: it depends on nothing but the sources.
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::document().to_string());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

async fn version() -> Json<VersionInfo> {
    Json(VersionInfo { version: env!("CARGO_PKG_VERSION").to_owned(), api_versions: vec![api_types::API_VERSION.to_owned()] })
}

async fn whoami(caller: Caller) -> ApiResult<Json<WhoAmI>> {
    Ok(Json(caller.who))
}
