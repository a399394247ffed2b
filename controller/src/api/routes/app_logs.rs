//! Logs: one JSON document per line, as long as the client listens.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::api::LogLine;
use api_types::problem::ProblemKind;
use api_types::{AppName, FieldError, ProcessName};
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Serialize};

use super::app_scale::known_processes;
use crate::api::auth::{Reads, TenantCtx};
use crate::api::docs::{Examples, Tag, add_response, describe, response};
use crate::api::error::{ApiError, ApiResult};
use crate::api::examples;
use crate::api::extract::{Name, Params, bad_request, excerpt};
use crate::api::state::{LogError, LogQuery, SharedCore};
use crate::store::AppRecord;

/// Media type of the answer.
const NDJSON: &str = "application/x-ndjson";
/// Most lines of `tail`.
const MAX_TAIL: u32 = 100_000;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    ApiRouter::new().api_route(
        "/v1/orgs/{org}/apps/{name}/logs",
        get_with(logs, |mut op| {
            let schema = json_schema!({"$ref": "#/components/schemas/LogLine"});
            aide::generate::in_context(|ctx| ctx.schema.subschema_for::<LogLine>());
            add_response(op.inner_mut(), 200, response("One LogLine per line.", NDJSON, Some(schema)));
            describe(
                op,
                Tag::Apps,
                "getLogs",
                "Read an app's logs",
                "Lines of all replicas. With `follow` the answer goes on until the client closes it. When reading fails on the way, the last \
                 line is a problem document.",
            )
            .answer_example(200, examples::log_line())
        }),
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogParams {
    /// Go on with new lines.
    #[serde(default)]
    follow: bool,
    /// Only this process type.
    process: Option<String>,
    /// Only lines since this time: RFC 3339, or how long ago, such as `10m`.
    since: Option<String>,
    /// Only this many of the last lines of each replica.
    tail: Option<u32>,
}

fn process(record: &AppRecord, asked: &str) -> ApiResult<ProcessName> {
    let found = record.spec.processes.keys().find(|name| name.as_str() == asked);
    found.cloned().ok_or_else(|| {
        let message = format!("the app has no process type \"{}\"; it has {}", excerpt(asked), known_processes(record));
        ApiError::invalid(vec![FieldError::new("process", message)])
    })
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        tracing::warn!(%error, "logs cannot be read");
        Self::new(ProblemKind::Unavailable, error.to_string())
    }
}

async fn logs(ctx: TenantCtx<Reads>, Name(name): Name<AppName>, Params(params): Params<LogParams>) -> ApiResult<Response> {
    let app = ctx.app(&name).await?;
    let api = ctx.caller.api();
    if params.tail.is_some_and(|tail| tail > MAX_TAIL) {
        return Err(bad_request(format!("tail must be at most {MAX_TAIL}")));
    }
    let query = LogQuery {
        follow: params.follow,
        process: params.process.as_deref().map(|asked| process(&app, asked)).transpose()?,
        since: params.since.as_deref().map(|text| super::since(text, api.clock.now())).transpose()?,
        tail: params.tail,
        task: None,
    };
    let core = ctx.caller.core();
    let permit = core
        .streams
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError::new(ProblemKind::TooManyRequests, "too many log streams are open; close one or try again later"))?;
    let attendance = core
        .hub
        .attend(ctx.caller.who.id.unwrap_or_default(), false, core.state.limits.streams_per_token)
        .ok_or_else(|| ApiError::new(ProblemKind::TooManyRequests, "this token has too many streams open; close one or try again later"))?;
    let lines = api.logs.logs(&app, query).await?;
    let (shutdown, token_ended) = (core.shutdown.clone(), attendance.ended.clone());
    let end = async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = token_ended.cancelled() => {}
        }
    };
    let chunks = lines
        .scan(false, |failed, line| {
            let go_on = !*failed;
            *failed = line.is_err();
            std::future::ready(go_on.then_some(line))
        })
        .map(move |line| {
            // Both live as long as the stream, that is, as long as the client listens.
            let _held = (&permit, &attendance);
            match line {
                Ok(line) => to_chunk(&line),
                Err(error) => to_chunk(ApiError::from(error).problem()),
            }
        })
        .take_until(Box::pin(end));
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(chunks)).into_response())
}

/// A document and its line end.
fn to_chunk(line: &impl Serialize) -> Result<Bytes, std::io::Error> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(Bytes::from(bytes))
}
