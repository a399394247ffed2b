//! Watches: lists that go on, as server-sent events. See `docs/adr/0010-watches.md`.
//!
//! ```text
//! Postgres ◀─ looks ── hub ── "apps of acme changed" ──▶ feed (one a watch) ── reads ──▶ Postgres
//!                                                          └── events ──▶ the client
//! ```
//!
//! A watch is level-triggered like everything here: it reads rows from its place on, and a lost hint costs time only.
//! Its place is a number that any server understands, so it resumes anywhere.
//!
//! How it can be misused: a feed outlives the check of its token, so it must be opened through [`open`], which
//! registers it with the hub that looks after tokens.

mod feed;
mod hub;
mod memory;
mod object;
pub mod source;
mod sse;

use std::time::Duration;

use aide::OperationInput;
use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as DocResponse, StatusCode as DocStatus};
use api_types::api::List;
use api_types::problem::ProblemKind;
use api_types::selector::{FieldSelector, LabelSelector};
use api_types::watch::WatchEvent;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use schemars::{JsonSchema, json_schema};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::auth::Caller;
use super::docs;
use super::error::{ApiError, ApiResult};
use super::extract::{bad_request, excerpt};
use super::state::SharedCore;
use crate::store::{Cursor, Scope};
use feed::{Begin, Feed};
pub(super) use hub::Hub;
use object::Selection;

/// Media type of the answer.
const EVENT_STREAM: &str = "text/event-stream";
/// Header with the last id that a client got, as browsers send it.
const LAST_EVENT_ID: &str = "last-event-id";
/// First letter of a place, so that an object's version is not taken for one.
const PREFIX: char = 'w';
/// Chunks that wait for the client.
const BUFFER: usize = 2;
/// Longest wait for the hub's first look.
const READY: Duration = Duration::from_secs(5);

/// A place as clients see it.
pub(super) fn cursor_text(cursor: Cursor) -> String {
    format!("{PREFIX}{cursor}")
}

fn cursor(text: &str) -> ApiResult<Cursor> {
    let number = text.strip_prefix(PREFIX).and_then(|digits| digits.parse::<i64>().ok()).filter(|number| *number >= 0);
    number.map(Cursor).ok_or_else(|| {
        bad_request(format!(
            "a watch goes on from the metadata.resourceVersion of a list or the id of an event, such as w4711; \"{}\" is neither",
            excerpt(text)
        ))
    })
}

/// The place is too far back, or not of this database.
fn too_old() -> ApiError {
    ApiError::new(
        ProblemKind::Gone,
        "what changed since then is no longer known; begin without resourceVersion, which lists everything again",
    )
}

/// Where a client wants to go on.
pub(super) struct Resume(Option<String>);

impl FromRequestParts<SharedCore> for Resume {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &SharedCore) -> ApiResult<Self> {
        let text = parts.headers.get(LAST_EVENT_ID).map(|value| value.to_str().map(str::to_owned));
        text.transpose().map(Self).map_err(|_| bad_request("Last-Event-ID is not text"))
    }
}

impl OperationInput for Resume {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let text = "The last id of a watch that was cut off: go on from there. Stronger than `resourceVersion`.";
        docs::header_parameter(ctx, operation, "Last-Event-ID", text);
    }
}

/// What a watch is asked for.
pub(super) struct Request {
    pub(super) scope: Scope,
    pub(super) labels: LabelSelector,
    pub(super) fields: FieldSelector,
    /// The parameter `resourceVersion`.
    pub(super) from: Option<String>,
    pub(super) resume: Resume,
    /// Of events: how many of the last ones come first.
    pub(super) last: Option<i64>,
}

/// Opens a watch.
pub(super) async fn open(caller: &Caller, request: Request) -> ApiResult<Response> {
    let core = caller.core();
    let limits = core.state.limits;
    let backend = &core.state.backend;
    let begin = match request.resume.0.filter(|text| !text.is_empty()).or(request.from) {
        None => Begin::List(request.last),
        Some(text) => {
            let place = cursor(&text)?;
            if !backend.change_cursor_is_known(place).await? {
                return Err(too_old());
            }
            Begin::From(place)
        }
    };
    let too_many =
        |who: &str| ApiError::new(ProblemKind::TooManyRequests, format!("{who} too many watches open; close one or try again later"));
    let permit = core.watches.clone().try_acquire_owned().map_err(|_| too_many("the server has"))?;
    let token = caller.who.id.unwrap_or_default();
    let attendance = core.hub.attend(token, true, limits.streams_per_token).ok_or_else(|| too_many("this token has"))?;
    let seen = tokio::time::timeout(READY, core.hub.seen(&attendance)).await.ok().flatten();
    let seen = seen.ok_or_else(|| ApiError::new(ProblemKind::Unavailable, "the database does not answer; try again in a moment"))?;
    let (sender, receiver) = mpsc::channel::<Bytes>(BUFFER);
    let selection = Selection { labels: request.labels, fields: request.fields };
    let feed = Feed::new(core.clone(), (request.scope, selection), seen, sender, begin);
    let metrics = core.state.metrics.clone();
    tokio::spawn(async move {
        let ended = attendance.ended.clone();
        let open = metrics.watch_opened();
        feed.run(begin, ended).await;
        drop((open, attendance, permit));
    });
    let body = Body::from_stream(ReceiverStream::new(receiver).map(Ok::<_, std::convert::Infallible>));
    // Proxies must not wait for more before they pass on what there is.
    let headers = [(header::CONTENT_TYPE, EVENT_STREAM), (header::HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, body).into_response())
}

/// A list, or the watch that was asked for in its place.
pub(super) enum Listed<T> {
    Whole(List<T>),
    Watch(Response),
}

impl<T: Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        match self {
            Self::Whole(list) => Json(list).into_response(),
            Self::Watch(response) => response,
        }
    }
}

impl<T: JsonSchema> OperationOutput for Listed<T> {
    type Inner = List<T>;
    fn operation_response(ctx: &mut GenContext, operation: &mut Operation) -> Option<DocResponse> {
        let mut response = Json::<List<T>>::operation_response(ctx, operation)?;
        let schema = ctx.schema.subschema_for::<WatchEvent<T>>();
        let text = "With `watch`: a message is one WatchEvent as JSON in the field `data`; `event` is its type, `id` where to resume.";
        let mut stream = docs::response(
            text,
            EVENT_STREAM,
            Some(json_schema!({"type": "string", "contentMediaType": EVENT_STREAM, "contentSchema": schema})),
        );
        for (media_type, mut media) in std::mem::take(&mut stream.content) {
            media.example = Some(serde_json::Value::from(super::examples::WATCH));
            response.content.insert(media_type, media);
        }
        Some(response)
    }
    fn inferred_responses(ctx: &mut GenContext, operation: &mut Operation) -> Vec<(Option<DocStatus>, DocResponse)> {
        let code = Some(DocStatus::Code(200));
        Self::operation_response(ctx, operation).map(|response| (code, response)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_not_taken_for_an_objects_version() {
        assert_eq!(cursor(&cursor_text(Cursor(4711))).ok(), Some(Cursor(4711)));
        for text in ["4711", "w", "w-1", "wx", "w4711 ", "w99999999999999999999"] {
            assert!(cursor(text).is_err(), "{text}");
        }
    }
}
