//! Rate limits: per token, per address for who has none, told in headers.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;

use super::{Answer, Harness};
use crate::api::Limits;

async fn limited() -> Harness {
    // Sixty in a minute, two at once; seeding is done with another token than the ones that are asked with.
    let settings = [("api.rate_limit", 60), ("api.rate_limit_burst", 40), ("api.rate_limit_failures", 2)];
    Harness::with_settings(Limits::default(), Vec::new(), &settings).await
}

fn left(answer: &Answer) -> (&str, &str, &str, &str) {
    let header = |name| answer.header(name);
    (header("ratelimit-limit"), header("ratelimit-remaining"), header("ratelimit-reset"), header("retry-after"))
}

#[tokio::test]
async fn a_token_that_asks_too_often_is_told_when_to_come_back() {
    let api = limited().await;
    let first = api.get("/v1/whoami", "acme-viewer").await;
    assert_eq!((first.status, left(&first)), (StatusCode::OK, ("40", "39", "1", "")));
    assert_eq!(first.header("ratelimit-policy"), "60;w=60;burst=40");
    for _ in 0..39 {
        assert_eq!(api.get("/v1/whoami", "acme-viewer").await.status, StatusCode::OK);
    }
    let refused = api.get("/v1/orgs/acme/apps", "acme-viewer").await;
    assert_eq!((refused.status, &refused.json()["type"]), (StatusCode::TOO_MANY_REQUESTS, &json!("too-many-requests")));
    assert_eq!(left(&refused), ("40", "0", "40", "1"));
    assert_eq!(refused.json()["requestId"], json!(refused.header("x-request-id")));
    assert_eq!(api.get("/v1/whoami", "acme-member").await.status, StatusCode::OK, "another token has its own allowance");

    api.clock.advance(Duration::from_millis(999));
    assert_eq!(api.get("/v1/whoami", "acme-viewer").await.status, StatusCode::TOO_MANY_REQUESTS);
    api.clock.advance(Duration::from_millis(1));
    assert_eq!(api.get("/v1/whoami", "acme-viewer").await.status, StatusCode::OK);
    assert_eq!(api.get("/v1/whoami", "acme-viewer").await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn failures_are_limited_by_address_and_hinder_no_valid_token() {
    let api = limited().await;
    for _ in 0..2 {
        assert_eq!(api.get("/v1/whoami", "wrong").await.status, StatusCode::UNAUTHORIZED);
    }
    let well_formed = "sky_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    for token in ["", "wrong", well_formed] {
        let refused = api.get("/v1/whoami", token).await;
        assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "30"));
    }
    assert_eq!(api.get("/v1/whoami", "acme-viewer").await.status, StatusCode::OK);
    api.clock.advance(Duration::from_secs(30));
    assert_eq!(api.get("/v1/whoami", "wrong").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn health_and_documents_are_not_limited() {
    let api = limited().await;
    for path in ["/healthz", "/readyz", "/metrics", "/version", "/openapi.json"] {
        for _ in 0..100 {
            let answer = api.get(path, "").await;
            assert_eq!((answer.status, answer.header("ratelimit-limit")), (StatusCode::OK, ""));
        }
    }
}
