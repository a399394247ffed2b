//! Tokens over the API: made, used, listed, revoked.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Harness;

const ORG: &str = "/v1/orgs/acme/tokens";

fn names(answer: &super::Answer) -> Vec<String> {
    let items = answer.json()["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| item["name"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn make(api: &Harness, path: &str, token: &str, body: Value) -> (String, String) {
    let answer = api.post(path, token, &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let made = answer.json();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (text(&made["token"]), text(&made["info"]["id"]))
}

#[tokio::test]
async fn a_token_is_shown_once_and_works_until_it_is_revoked() {
    let api = Harness::new().await;
    let (text, id) = make(&api, ORG, "acme-admin", json!({"name": "ci", "role": "member", "expiresIn": "90d"})).await;
    let who = api.get("/v1/whoami", &text).await.json();
    assert_eq!((&who["name"], &who["org"], &who["role"], &who["id"]), (&json!("ci"), &json!("acme"), &json!("member"), &json!(id)));
    let listed = api.get(ORG, "acme-admin").await;
    assert!(!listed.text.contains(&text), "a list shows no token");
    let ours = listed.json()["items"].as_array().and_then(|items| items.iter().find(|item| item["id"] == json!(id)).cloned());
    let ours = ours.expect("is listed");
    assert_eq!((&ours["createdBy"], &ours["expired"]), (&json!("acme-admin"), &json!(false)));

    assert_eq!(api.delete(&format!("{ORG}/{id}"), "acme-admin").await.status, StatusCode::NO_CONTENT);
    let refused = api.get("/v1/whoami", &text).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.contains("was revoked at")), "{}", refused.text);
    assert_eq!(api.delete(&format!("{ORG}/{id}"), "acme-admin").await.status, StatusCode::NOT_FOUND);
    assert_eq!(api.delete(&format!("{ORG}/nonsense"), "acme-admin").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_expired_token_is_told_so_and_a_made_up_one_is_not() {
    let api = Harness::new().await;
    let (text, _) = make(&api, "/v1/tokens", "root", json!({"name": "short", "expiresIn": "1m"})).await;
    assert_eq!(api.get("/v1/whoami", &text).await.status, StatusCode::OK);
    api.store_clock.advance(Duration::from_secs(60));
    let expired = api.get("/v1/whoami", &text).await;
    assert_eq!(expired.status, StatusCode::UNAUTHORIZED);
    assert!(expired.json()["detail"].as_str().is_some_and(|detail| detail.contains("expired at 2026-")), "{}", expired.text);
    let unknown = api.get("/v1/whoami", "sky_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await;
    assert_eq!(unknown.json()["detail"], "the token is not valid");
}

#[tokio::test]
async fn an_organization_reaches_only_its_own_tokens() {
    let api = Harness::new().await;
    let (_, rivals) = make(&api, "/v1/tokens", "root", json!({"name": "theirs", "org": "rival"})).await;
    let (_, platforms) = make(&api, "/v1/tokens", "root", json!({"name": "ours", "role": "admin"})).await;
    let own = names(&api.get(ORG, "acme-admin").await);
    assert_eq!(own, ["acme-admin", "acme-member", "acme-viewer", "spare"]);
    assert!(names(&api.get("/v1/tokens", "root").await).len() >= 9);
    for id in [rivals, platforms] {
        assert_eq!(api.delete(&format!("{ORG}/{id}"), "acme-admin").await.status, StatusCode::NOT_FOUND);
    }
    let elsewhere = api.post(ORG, "acme-admin", &json!({"name": "x", "org": "rival"})).await;
    assert_eq!(elsewhere.paths(), ["org"]);
    let nowhere = api.post("/v1/tokens", "root", &json!({"name": "x", "org": "nobdy"})).await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND, "{}", nowhere.text);
}

#[tokio::test]
async fn a_wrong_request_says_what_is_wrong() {
    let api = Harness::new().await;
    for (body, path) in [
        (json!({"name": ""}), "name"),
        (json!({"name": "x".repeat(101)}), "name"),
        (json!({"name": "a\u{7}b"}), "name"),
        (json!({"name": "x", "role": "owner"}), "role"),
        (json!({"name": "x", "expiresIn": "10s"}), "expiresIn"),
        (json!({"name": "x", "expiresIn": "4000d"}), "expiresIn"),
        (json!({"name": "x", "org": "NOT A NAME"}), "org"),
        (json!({"name": "x", "colour": "red"}), "colour"),
    ] {
        let answer = api.post(ORG, "acme-admin", &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
        assert_eq!(answer.paths(), [path], "{}", answer.text);
    }
}

#[tokio::test]
async fn the_last_use_is_noted_beside_the_request() {
    let api = Harness::new().await;
    api.get("/v1/whoami", "acme-viewer").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        let listed = api.get(ORG, "acme-admin").await.json();
        let viewer = listed["items"].as_array().and_then(|items| items.iter().find(|item| item["name"] == "acme-viewer").cloned());
        if viewer.is_some_and(|viewer| viewer["lastUsedAt"] == json!("2026-02-02T02:40:00Z")) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{listed}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
