//! Every failure is a problem document with the request's id.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use serde_json::json;

use super::{Answer, BrokenPart, Harness};
use crate::api::Limits;

fn assert_problem(answer: &Answer, status: u16, kind: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!((&problem["type"], &problem["status"]), (&json!(kind), &json!(status)), "{}", answer.text);
    assert_eq!(problem["requestId"], json!(answer.header("x-request-id")));
    assert!(!answer.header("x-request-id").is_empty());
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    let length = answer.header("content-length");
    assert!(length.is_empty() || length == answer.text.len().to_string(), "{length} for {}", answer.text);
}

/// Limits that a test can wait for.
fn quick() -> Limits {
    Limits { deadline: Duration::from_millis(400), check: Duration::from_millis(200), ..Limits::default() }
}

fn request(api: &Harness, method: &str, path: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
    let builder = Request::builder().method(method).uri(path).header("authorization", api.bearer("acme-member"));
    let builder = if content_type.is_empty() { builder } else { builder.header("content-type", content_type) };
    builder.body(body.into()).expect("a request")
}

const APPLY: &str = "/v1/orgs/acme/apply";

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let api = Harness::new().await;
    assert_problem(&api.get("/v1/nonsense", "root").await, 404, "not-found");
    assert_problem(&api.get("/", "").await, 404, "not-found");
    let wrong = api.send("TRACE", "/v1/orgs/acme/apps/shop", "root", None).await;
    assert_problem(&wrong, 405, "method-not-allowed");
    for method in ["GET", "PUT", "DELETE"] {
        assert!(wrong.header("allow").contains(method), "{}", wrong.header("allow"));
    }
}

#[tokio::test]
async fn malformed_bodies_say_where() {
    let api = Harness::new().await;
    let broken = api.raw(request(&api, "POST", APPLY, "application/json", "{\n  \"kind\": \"App\",\n  oops\n}")).await;
    assert_problem(&broken, 400, "bad-request");
    assert!(broken.json()["detail"].as_str().is_some_and(|detail| detail.contains("line 3, column 3")), "{}", broken.text);
    assert_problem(&api.raw(request(&api, "POST", APPLY, "application/json", "")).await, 400, "bad-request");
    assert_problem(&api.raw(request(&api, "POST", APPLY, "application/json", vec![0xff, 0xfe])).await, 400, "bad-request");
    assert_problem(&api.raw(request(&api, "POST", APPLY, "application/x-www-form-urlencoded", "a=b")).await, 415, "unsupported-media-type");
    assert_problem(&api.raw(request(&api, "POST", APPLY, "", "{}")).await, 415, "unsupported-media-type");
    let charset = api.raw(request(&api, "POST", APPLY, "Application/JSON; charset=utf-8", r#"{"items": []}"#)).await;
    assert_eq!(charset.status, StatusCode::OK, "{}", charset.text);
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_problem(&api.raw(request(&api, "POST", APPLY, "application/json", deep)).await, 400, "bad-request");
}

#[tokio::test]
async fn names_and_parameters_that_do_not_parse_are_bad_requests() {
    let api = Harness::new().await;
    for path in [
        "/v1/orgs/acme/apps/NOPE",
        "/v1/orgs/acme/apps/%ff",
        "/v1/orgs/acme/domains/nope",
        "/v1/orgs/acme/apps?colour=red",
        "/v1/orgs/acme/apps/shop/events?limit=many",
    ] {
        assert_problem(&api.get(path, "acme-viewer").await, 400, "bad-request");
    }
    assert_problem(&api.post("/v1/orgs/acme/apply?dryRun=perhaps", "acme-member", &json!({"items": []})).await, 400, "bad-request");
    let if_match = Request::builder().method("DELETE").uri("/v1/orgs/acme/apps/shop").header("authorization", api.bearer("acme-member"));
    assert_problem(&api.raw(if_match.header("if-match", "W/x").body(Body::empty()).expect("a request")).await, 400, "bad-request");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_whether_or_not_its_length_is_announced() {
    let api = Harness::new().await;
    let huge = format!(r#"{{"items": ["{}"]}}"#, "x".repeat(4 * 1024 * 1024));
    assert_problem(&api.raw(request(&api, "POST", APPLY, "application/json", huge.clone())).await, 413, "payload-too-large");
    let pieces = huge.as_bytes().chunks(65536).map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk))).collect::<Vec<_>>();
    let body = Body::from_stream(futures::stream::iter(pieces));
    assert_problem(&api.raw(request(&api, "POST", APPLY, "application/json", body)).await, 413, "payload-too-large");
    let announced = Request::builder()
        .method("POST")
        .uri(APPLY)
        .header("authorization", api.bearer("acme-member"))
        .header("content-type", "application/json");
    let announced =
        announced.header("content-length", "99999999").body(Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>()));
    assert_problem(&api.raw(announced.expect("a request")).await, 413, "payload-too-large");
    let within = format!(r#"{{"items": ["{}"]}}"#, "x".repeat(4 * 1024 * 1024 - 64));
    assert_problem(&api.raw(request(&api, "POST", APPLY, "application/json", within)).await, 422, "invalid");
}

#[tokio::test]
async fn a_request_over_the_deadline_is_408() {
    let api = Harness::with(quick(), Vec::new()).await;
    api.backend.slow.store(true, Relaxed);
    assert_problem(&api.get("/v1/whoami", "root").await, 408, "timeout");
    api.backend.slow.store(false, Relaxed);
    let stalled = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    assert_problem(&api.raw(request(&api, "POST", APPLY, "application/json", stalled)).await, 408, "timeout");
}

#[tokio::test]
async fn too_many_requests_at_once_are_refused_and_probes_are_not() {
    let api = Harness::with(Limits { concurrency: 1, ..quick() }, Vec::new()).await;
    api.backend.slow.store(true, Relaxed);
    let (slow, refused, alive) = tokio::join!(api.get("/v1/whoami", "root"), api.get("/v1/whoami", "root"), api.get("/healthz", ""));
    assert_problem(&slow, 408, "timeout");
    assert_problem(&refused, 503, "unavailable");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(alive.status, StatusCode::OK);
    api.backend.slow.store(false, Relaxed);
    assert_eq!(api.get("/v1/whoami", "root").await.status, StatusCode::OK, "the place is given back");
}

#[tokio::test]
async fn a_panic_is_500_without_its_text() {
    let api = Harness::new().await;
    api.backend.panics.store(true, Relaxed);
    let answer = api.get("/v1/whoami", "root").await;
    assert_problem(&answer, 500, "internal");
    assert!(!answer.text.contains("secret detail"));
}

#[tokio::test]
async fn a_database_that_is_down_is_503_without_its_text_and_not_ready() {
    let api = Harness::new().await;
    assert_eq!(api.get("/readyz", "").await.json(), json!({"ok": true, "checks": {"database": "ok"}}));
    api.backend.down.store(true, Relaxed);
    let answer = api.get("/v1/whoami", "root").await;
    assert_problem(&answer, 503, "unavailable");
    assert!(!answer.text.contains("secret detail"), "{}", answer.text);
    let ready = api.get("/readyz", "").await;
    assert_eq!((ready.status, &ready.json()["ok"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(false)));
    assert!(!ready.text.contains("secret detail"), "{}", ready.text);
    assert_eq!(api.get("/healthz", "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_error_of_ours_is_500_without_its_text() {
    let api = Harness::new().await;
    api.backend.broken.store(true, Relaxed);
    let answer = api.get("/v1/whoami", "root").await;
    assert_problem(&answer, 500, "internal");
    assert!(!answer.text.contains("secret detail"));
}

#[tokio::test]
async fn readiness_asks_the_other_parts_and_waits_for_none() {
    let api = Harness::with(quick(), vec![Arc::new(BrokenPart)]).await;
    assert_eq!(api.get("/readyz", "").await.json(), json!({"ok": false, "checks": {"database": "ok", "edge": "no answer"}}));
    api.backend.slow.store(true, Relaxed);
    assert_eq!(api.get("/readyz", "").await.json()["checks"]["database"], "no answer within 0.2 s");
}

#[tokio::test]
async fn a_plain_request_id_is_kept_and_another_is_replaced() {
    let api = Harness::new().await;
    for (given, kept) in [("abc-1", true), ("a b", false), ("", false)] {
        let request = Request::builder().uri("/v1/whoami").header("x-request-id", given).body(Body::empty()).expect("a request");
        let answer = api.raw(request).await;
        assert_problem(&answer, 401, "unauthorized");
        assert_eq!(answer.header("x-request-id") == given, kept, "{given}");
    }
}

#[tokio::test]
async fn the_server_tells_its_version_and_metrics() {
    let api = Harness::new().await;
    assert_eq!(api.get("/version", "").await.json()["apiVersions"], json!(["skyswarm.dev/v1"]));
    let plain = api.get("/metrics", "").await;
    assert_eq!((plain.text.as_str(), plain.header("content-type")), ("", crate::telemetry::exposition::PROMETHEUS));
    let request = Request::builder().uri("/metrics").header("accept", "application/openmetrics-text;version=1.0.0,*/*;q=0.1");
    let open = api.raw(request.body(Body::empty()).expect("a request")).await;
    assert_eq!((open.text.as_str(), open.header("content-type")), ("# EOF\n", crate::telemetry::exposition::OPENMETRICS));
    assert_eq!(api.get("/openapi.json", "").await.json(), crate::api::openapi::document());
}
