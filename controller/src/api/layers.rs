//! What happens to every request and response, whatever the route.
//!
//! Order from the outside: mark the token as sensitive; `observe` (request id, span, metrics, security
//! headers, problems completed); catch panics; `limit` (concurrency and deadline); the routes and fallbacks.

use std::any::Any;

use api_types::Problem;
use api_types::problem::ProblemKind;
use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tracing::Instrument;

use super::auth::RateCell;
use super::error::{self, ApiError, ProblemMark, StaleMark};
use super::extract::excerpt;
use super::rate::{self, Decision, Quota};
use super::state::SharedCore;

/// Header that carries a request's id, both ways.
const REQUEST_ID: &str = "x-request-id";

/// Puts all layers and fallbacks around the routes.
pub(super) fn wrap(router: Router<SharedCore>, core: &SharedCore) -> Router<SharedCore> {
    router
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(core.clone(), limit))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(core.clone(), observe))
        .layer(SetSensitiveRequestHeadersLayer::new([header::AUTHORIZATION, header::COOKIE]))
}

async fn unknown_route(request: Request) -> ApiError {
    ApiError::not_found(format!("there is no route {}; /openapi.json lists them all", excerpt(request.uri().path())))
}

async fn wrong_method(request: Request) -> ApiError {
    ApiError::new(
        ProblemKind::MethodNotAllowed,
        format!("this path does not take {}; see the header Allow", excerpt(request.method().as_str())),
    )
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("no message"), "a handler panicked");
    ApiError::new(ProblemKind::Internal, "the server could not serve this request; its log says why, under this request id").into_response()
}

/// Bounds how many requests run and how long each may take until its response begins.
async fn limit(State(core): State<SharedCore>, request: Request, next: Next) -> Response {
    // Probes must answer when the API is busy: that is when somebody asks.
    if !request.uri().path().starts_with("/v1/") {
        return next.run(request).await;
    }
    let Ok(_permit) = core.requests.try_acquire() else {
        return ApiError::new(ProblemKind::Unavailable, "too many requests are under way; try again in a moment").into_response();
    };
    let deadline = core.state.limits.deadline;
    match tokio::time::timeout(deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail =
                format!("no answer within {} s; whether a write landed is unknown, so read before you repeat it", deadline.as_secs());
            ApiError::new(ProblemKind::Timeout, detail).into_response()
        }
    }
}

/// Decrements on drop, also when the client goes away in the middle.
struct InFlight<'a>(&'a SharedCore);
impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state.metrics.in_flight.dec();
    }
}

async fn observe(State(core): State<SharedCore>, mut request: Request, next: Next) -> Response {
    let rate = RateCell::default();
    request.extensions_mut().insert(rate.clone());
    let id = request_id(&core, request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let conditions = Conditions::of(&request);
    let quiet = !request.uri().path().starts_with("/v1/");
    let span = tracing::info_span!(
        "request",
        id,
        %method,
        route = route.as_deref().unwrap_or("unmatched"),
        author = tracing::field::Empty,
    );
    let begun = core.state.clock.monotonic();
    core.state.metrics.in_flight.inc();
    let in_flight = InFlight(&core);
    let mut response = next.run(request).instrument(span.clone()).await;
    drop(in_flight);
    conditions.apply(&mut response);
    if let Some(decision) = rate.0.get() {
        tell_rate(&mut response, *decision);
    }
    complete(&mut response, &id);
    let took = core.state.clock.monotonic().saturating_sub(begun);
    let status = response.status();
    core.state.metrics.record(&method, route.as_deref(), status, took);
    let _entered = span.enter();
    let latency_ms = took.as_millis();
    if quiet {
        tracing::debug!(status = status.as_u16(), latency_ms, "served");
    } else {
        tracing::info!(status = status.as_u16(), latency_ms, "served");
    }
    response
}

/// The conditions in a request's headers, as far as the answer depends on them.
struct Conditions {
    /// A write that is conditional by header.
    write: bool,
    /// What a reader has already.
    known: Option<HeaderValue>,
}

impl Conditions {
    fn of(request: &Request) -> Self {
        let headers = request.headers();
        let reads = request.method() == Method::GET;
        let write = !reads && (headers.contains_key(header::IF_MATCH) || headers.contains_key(header::IF_NONE_MATCH));
        Self { write, known: headers.get(header::IF_NONE_MATCH).filter(|_| reads).cloned() }
    }

    /// Makes a stale write 412, and a read of what is known already 304.
    fn apply(&self, response: &mut Response) {
        let stale = response.extensions_mut().remove::<StaleMark>().is_some();
        if self.write
            && stale
            && let Some(ProblemMark(problem)) = response.extensions_mut().get_mut::<ProblemMark>()
        {
            **problem = Problem::new(ProblemKind::PreconditionFailed, std::mem::take(&mut problem.detail));
            *response.status_mut() = StatusCode::PRECONDITION_FAILED;
        }
        let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let known = self.known.as_ref().and_then(|known| known.to_str().ok());
        let same = tag.zip(known).is_some_and(|(tag, known)| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
        if same && response.status() == StatusCode::OK {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::empty();
            response.headers_mut().remove(header::CONTENT_LENGTH);
            response.headers_mut().remove(header::CONTENT_TYPE);
        }
    }
}

/// Says how much of its allowance the token has left, in the fields of the IETF's draft.
fn tell_rate(response: &mut Response, decision: Decision) {
    let Quota { per_window, burst } = decision.quota;
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("ratelimit-policy", format!("{per_window};w={};burst={burst}", rate::WINDOW.as_secs()));
    set("ratelimit-limit", burst.to_string());
    set("ratelimit-remaining", decision.remaining.to_string());
    set("ratelimit-reset", rate::seconds(decision.reset).to_string());
    if !decision.allowed {
        set("retry-after", rate::seconds(decision.retry_after).max(1).to_string());
    }
}

/// The client's id when it is a plain word, else a new one.
fn request_id(core: &SharedCore, headers: &HeaderMap) -> String {
    let plain = |text: &&str| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(plain);
    given.map_or_else(|| core.state.entropy.uuid(core.state.clock.now()).to_string(), str::to_owned)
}

/// Completes a response: problems get the id, bare errors become problems, security headers are set.
fn complete(response: &mut Response, id: &str) {
    let status = response.status();
    let mark = response.extensions_mut().remove::<ProblemMark>();
    let bare = mark.is_none() && (status.is_client_error() || status.is_server_error()) && !has_json(response.headers());
    let problem = mark.map(|mark| *mark.0).or_else(|| bare.then(|| Problem::new(kind_of(status), kind_of(status).title())));
    if let Some(mut problem) = problem {
        problem.request_id = Some(id.to_owned());
        let headers = response.headers_mut();
        // The length was set for the body that is replaced here.
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(error::PROBLEM_JSON));
        *response.body_mut() = error::problem_body(&problem);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, value);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

fn has_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.to_str().is_ok_and(|text| text.contains("json")))
}

/// The problem for an error that some library answered by itself.
fn kind_of(status: StatusCode) -> ProblemKind {
    match status.as_u16() {
        401 => ProblemKind::Unauthorized,
        403 => ProblemKind::Forbidden,
        404 => ProblemKind::NotFound,
        405 => ProblemKind::MethodNotAllowed,
        408 => ProblemKind::Timeout,
        409 => ProblemKind::Conflict,
        410 => ProblemKind::Gone,
        412 => ProblemKind::PreconditionFailed,
        413 => ProblemKind::PayloadTooLarge,
        415 => ProblemKind::UnsupportedMediaType,
        422 => ProblemKind::Invalid,
        429 => ProblemKind::TooManyRequests,
        503 => ProblemKind::Unavailable,
        400..=499 => ProblemKind::BadRequest,
        _ => ProblemKind::Internal,
    }
}
