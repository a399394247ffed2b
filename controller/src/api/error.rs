//! Errors of the API. Every one becomes an RFC 9457 problem document.
//!
//! The cause of an internal error is logged here, once, with its whole chain, and never sent.

use std::error::Error;
use std::fmt::Write as _;

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, Response as DocResponse, SchemaObject, StatusCode as DocStatus};
use api_types::check::within;
use api_types::problem::ProblemKind;
use api_types::{FieldError, Problem};
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::store::{StoreError, WriteError};

/// Media type of problem documents.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A problem on its way to the client.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct ApiError {
    problem: Box<Problem>,
    /// Whether it is a conditional write whose condition does not hold.
    stale: bool,
}

/// Result of a handler.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// A problem with a detail text.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(kind, detail)), stale: false }
    }
    /// 422 with every field that is wrong.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self { problem: Box::new(Problem::invalid(errors)), stale: false }
    }
    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::NotFound, detail)
    }
    /// 500 without details; the cause goes to the log.
    pub fn internal(cause: &(dyn Error + 'static)) -> Self {
        tracing::error!(error = %chain(cause), "request failed");
        Self::new(ProblemKind::Internal, "the server could not serve this request; its log says why, under this request id")
    }
    /// The problem itself.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

/// An error and all its causes on one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(_) => {
                tracing::warn!(error = %chain(&error), "database unavailable");
                Self::new(ProblemKind::Unavailable, "the database does not answer; try again in a moment")
            }
            _ => Self::internal(&error),
        }
    }
}

impl ApiError {
    /// A refused write; `list` says that paths and texts name the item.
    pub(super) fn from_write(failure: WriteError, list: bool) -> Self {
        let at = |item: usize, detail: String| if list { format!("items[{item}]: {detail}") } else { detail };
        match failure {
            WriteError::Conflict { item, detail } => Self::new(ProblemKind::Conflict, at(item, detail)),
            WriteError::Stale { item, detail } => Self { stale: true, ..Self::new(ProblemKind::Conflict, at(item, detail)) },
            WriteError::NotFound { item, detail } => Self::new(ProblemKind::NotFound, at(item, detail)),
            WriteError::Invalid { errors } => {
                Self::invalid(errors.into_iter().map(|(item, error)| if list { in_item(item, error) } else { error }).collect())
            }
            WriteError::Store(error) => error.into(),
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(failure: WriteError) -> Self {
        Self::from_write(failure, false)
    }
}

/// Puts the item's place in a list in front of an error's path.
pub(super) fn in_item(item: usize, error: FieldError) -> FieldError {
    let path = within(&format!("items[{item}]"), &error.path);
    FieldError { path, ..error }
}

/// Marks a response as a problem, so that the outermost layer can write the request's id into it.
#[derive(Debug, Clone)]
pub(super) struct ProblemMark(pub(super) Box<Problem>);

/// Marks a conflict that is a condition of the request which does not hold. Where the condition was in a header,
/// the outermost layer makes it 412; where it was in the body or the query, it stays 409.
#[derive(Debug, Clone, Copy)]
pub(super) struct StaleMark;

/// A problem as a response.
pub(super) fn render(problem: Box<Problem>) -> Response {
    let mut response = Response::new(problem_body(&problem));
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    match problem.kind {
        ProblemKind::Unauthorized => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"skyswarm\""));
        }
        ProblemKind::Unavailable | ProblemKind::TooManyRequests => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response.extensions_mut().insert(ProblemMark(problem));
    response
}

/// The document's bytes.
pub(super) fn problem_body(problem: &Problem) -> Body {
    // A problem holds strings and numbers only, which always serialise.
    Body::from(serde_json::to_vec(problem).unwrap_or_default())
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = render(self.problem);
        if self.stale {
            response.extensions_mut().insert(StaleMark);
        }
        response
    }
}

impl OperationOutput for ApiError {
    type Inner = Problem;

    fn operation_response(ctx: &mut GenContext, _: &mut Operation) -> Option<DocResponse> {
        let json_schema = ctx.schema.subschema_for::<Problem>();
        let schema = Some(SchemaObject { json_schema, external_docs: None, example: None });
        let mut response = DocResponse {
            description:
                "Any failure, as a problem document (RFC 9457). `type` is from a closed list; `errors` names every field that is wrong."
                    .to_owned(),
            ..DocResponse::default()
        };
        response.content.insert(PROBLEM_JSON.to_owned(), MediaType { schema, ..MediaType::default() });
        Some(response)
    }

    fn inferred_responses(ctx: &mut GenContext, operation: &mut Operation) -> Vec<(Option<DocStatus>, DocResponse)> {
        Self::operation_response(ctx, operation).map(|response| (None, response)).into_iter().collect()
    }
}
