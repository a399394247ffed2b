//! Roles × routes, over every documented operation.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::openapi::{concrete, operations};
use super::{Answer, Harness, app_spec};

/// A body that the operation takes.
fn body_for(method: &str, template: &str) -> Option<Value> {
    match (method, template) {
        ("PUT", "/v1/orgs/{org}") => Some(json!({"spec": {}})),
        ("PUT", "/v1/orgs/{org}/apps/{name}") => Some(json!({"spec": app_spec("a:1")})),
        ("PUT", "/v1/orgs/{org}/apps/{name}/scale") => Some(json!({"processes": {"web": 2}})),
        ("PUT", "/v1/orgs/{org}/domains/{host}") => Some(json!({"spec": {"app": "shop"}})),
        ("PUT", "/v1/certificates/{name}") => {
            let made = crate::certificate::tests::self_signed(&["own.example"], "2040-01-01");
            Some(json!({"spec": {"chain": made.chain, "privateKey": made.key}}))
        }
        ("PUT", "/v1/settings/{key}") => Some(json!({"value": "apps.example.com"})),
        ("POST", "/v1/orgs/{org}/apply" | "/v1/apply") => Some(json!({"items": []})),
        ("POST", "/v1/tokens" | "/v1/orgs/{org}/tokens") => Some(json!({"name": "fresh", "role": "viewer"})),
        ("PATCH", "/v1/orgs/{org}/apps/{name}") => Some(json!({"spec": {"env": {"A": "1"}}})),
        ("PUT", path) if path.ends_with("/pause") => Some(json!({"for": "2h", "because": "we look"})),
        ("POST", "/v1/orgs/{org}/apps/{name}/plan" | "/v1/orgs/{org}/apps/{name}/restart") => None,
        ("POST", path) if path.ends_with("/rollback") => Some(json!({"to": 1})),
        ("POST", path) if path.ends_with("/retry") || path.starts_with("/v1/nodes/") => None,
        ("POST" | "PUT" | "PATCH", other) => panic!("no body for {other}"),
        _ => None,
    }
}

async fn ask(api: &Harness, method: &str, template: &str, org: &str, token: &str) -> Answer {
    let path = concrete(&template.replace("{id}", &api.spare.to_string()), org);
    api.send(method, &path, token, body_for(method, template).as_ref()).await
}

/// The least role, and whether the token must be the platform's.
fn needs(method: &str, template: &str) -> (u8, bool) {
    match (method, template) {
        ("POST", "/v1/apply") => (2, false),
        ("DELETE", "/v1/orgs/{org}") => (3, true),
        ("PUT", "/v1/orgs/{org}") => (3, false),
        (_, path) if path.starts_with("/v1/certificates") => (3, true),
        (_, path) if path.contains("/tokens") => (3, path.starts_with("/v1/tokens")),
        (method, path) if path.starts_with("/v1/nodes") || path.starts_with("/v1/settings") => (if method == "GET" { 1 } else { 3 }, true),
        ("POST", path) if path.ends_with("/plan") => (1, false),
        ("GET", "/v1/drafts") => (3, true),
        ("GET", _) => (1, false),
        _ => (2, false),
    }
}

#[tokio::test]
async fn nothing_under_v1_answers_without_a_valid_token() {
    let api = Harness::new().await;
    let before = api.everything().await;
    for (method, template, _) in operations().into_iter().filter(|(_, path, _)| path.starts_with("/v1/")) {
        for token in ["", "wrong", "sky_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
            let answer = ask(&api, &method, &template, "acme", token).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {template} with {token:?}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
    assert_eq!(api.everything().await, before);
}

#[tokio::test]
async fn each_role_may_do_what_the_matrix_says() {
    let mut api = Harness::new().await;
    for (method, template, _) in operations().into_iter().filter(|(_, path, _)| path.starts_with("/v1/")) {
        let (role, platform) = needs(&method, &template);
        for (rank, scope) in [(1, "viewer"), (2, "member"), (3, "admin")] {
            for (token, allowed) in [
                (if rank == 3 { "root".to_owned() } else { format!("platform-{scope}") }, rank >= role),
                (format!("acme-{scope}"), rank >= role && !platform),
            ] {
                api.seed().await;
                api.make_spare().await;
                let before = api.everything().await;
                let answer = ask(&api, &method, &template, "acme", &token).await;
                let what = format!("{method} {template} as {token}: {} {}", answer.status, answer.text);
                if allowed {
                    // Deleting an organization that has apps is a conflict, and so is a retry of what has not failed: that is
                    // past the roles.
                    assert!(answer.status.is_success() || answer.status == StatusCode::CONFLICT, "{what}");
                } else {
                    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{what}");
                    assert_eq!(api.everything().await, before, "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn another_organization_answers_exactly_as_one_that_does_not_exist() {
    let api = Harness::new().await;
    let before = api.everything().await;
    let scrub = |answer: &Answer, org: &str| {
        let mut headers: Vec<_> = answer
            .headers
            .iter()
            .filter(|(name, _)| *name != "x-request-id" && !name.as_str().starts_with("ratelimit-"))
            .map(|(n, v)| format!("{n}: {v:?}"))
            .collect();
        headers.sort();
        let mut body = answer.json();
        body.as_object_mut().expect("an object").remove("requestId").expect("an id");
        // Both names have five letters, so that lengths agree as well.
        (answer.status, headers, body.to_string().replace(org, "ORG"))
    };
    let mut asked = 0;
    for (method, template, _) in operations().into_iter().filter(|(_, path, _)| path.contains("{org}")) {
        for token in ["acme-viewer", "acme-member", "acme-admin"] {
            let foreign = ask(&api, &method, &template, "rival", token).await;
            let missing = ask(&api, &method, &template, "nobdy", token).await;
            assert_eq!(foreign.status, StatusCode::NOT_FOUND, "{method} {template}: {}", foreign.text);
            assert_eq!(scrub(&foreign, "rival"), scrub(&missing, "nobdy"), "{method} {template}");
            asked += 1;
        }
        // A platform token gets the same words for a missing one.
        let missing = ask(&api, &method, &template, "nobdy", "platform-viewer").await;
        assert!(
            missing.status == StatusCode::NOT_FOUND || missing.status == StatusCode::FORBIDDEN,
            "{method} {template}: {}",
            missing.text
        );
    }
    assert!(asked >= 45, "{asked}");
    assert_eq!(api.everything().await, before);
}

#[tokio::test]
async fn a_foreign_organization_is_not_found_before_anything_else_is_looked_at() {
    let api = Harness::new().await;
    for (path, body) in [
        ("/v1/orgs/rival/apps/NOT-A-NAME", json!(3)),
        ("/v1/orgs/rival/apps/shop?nonsense=1", json!({"spec": {}})),
        ("/v1/orgs/rival/domains/not_a_host", json!(null)),
    ] {
        let answer = api.put(path, "acme-admin", &body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_domain_of_another_organization_cannot_be_read_or_deleted() {
    let api = Harness::new().await;
    for method in ["GET", "DELETE"] {
        let foreign = api.send(method, "/v1/orgs/acme/domains/rival.example.com", "acme-admin", None).await;
        assert_eq!(foreign.status, StatusCode::NOT_FOUND, "{}", foreign.text);
    }
    assert_eq!(api.get("/v1/orgs/rival/domains/rival.example.com", "rival-admin").await.status, StatusCode::OK);
    let listed = api.get("/v1/orgs/acme/domains", "acme-viewer").await.json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_limited_token_lists_only_its_own_organization() {
    let api = Harness::new().await;
    let names = |answer: Answer| {
        let items = answer.json()["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(api.get("/v1/orgs", "acme-viewer").await), ["acme"]);
    assert_eq!(names(api.get("/v1/orgs", "platform-viewer").await), ["acme", "rival"]);
    let who = api.get("/v1/whoami", "acme-viewer").await.json();
    assert_eq!((&who["name"], &who["org"], &who["role"]), (&json!("acme-viewer"), &json!("acme"), &json!("viewer")));
}

#[tokio::test]
async fn one_token_per_request() {
    let api = Harness::new().await;
    let request = axum::http::Request::builder()
        .uri("/v1/whoami")
        .header("authorization", api.bearer("acme-viewer"))
        .header("authorization", api.bearer("root"))
        .body(axum::body::Body::empty())
        .expect("a request");
    assert_eq!(api.raw(request).await.status, StatusCode::UNAUTHORIZED);
}
