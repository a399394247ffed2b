//! Taking services over: who may, what is refused, and that a name in a spec alone gives nothing.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Harness, object};

fn app(service: &str, image: &str) -> Value {
    object("App", "taken", &json!({"image": image, "processes": {"web": {"port": 8080, "adopt": {"service": service}}}}))
}

async fn adopted(api: &Harness) -> Option<String> {
    let record = api.store().app_get(&"acme".parse().expect("a name"), &"taken".parse().expect("a name")).await.expect("reads");
    record.map(|record| format!("{:?}", record.adopted))
}

#[tokio::test]
async fn a_service_is_taken_over_only_when_an_administrator_of_the_platform_asks_for_it() {
    let api = Harness::new().await;
    let body = app("shop_web", "a:1");
    for (path, token, status, said) in [
        ("/v1/orgs/acme/apply", "root", StatusCode::UNPROCESSABLE_ENTITY, "--adopt"),
        ("/v1/orgs/acme/apply", "acme-member", StatusCode::UNPROCESSABLE_ENTITY, "--adopt"),
        ("/v1/orgs/acme/apply?adopt=true", "acme-admin", StatusCode::FORBIDDEN, "platform token"),
        ("/v1/orgs/acme/apply?adopt=true", "platform-member", StatusCode::FORBIDDEN, "admin"),
        ("/v1/orgs/acme/apply?adopt=true&dryRun=true", "root", StatusCode::OK, "created"),
    ] {
        let answer = api.post(path, token, &body).await;
        assert_eq!(answer.status, status, "{path} as {token}: {}", answer.text);
        assert!(answer.text.contains(said), "{path} as {token}: {}", answer.text);
        assert_eq!(adopted(&api).await, None, "{path} as {token}");
    }
    let answer = api.put("/v1/orgs/acme/apps/taken", "root", &body).await;
    assert_eq!((answer.status, answer.paths()), (StatusCode::UNPROCESSABLE_ENTITY, vec!["spec.processes.web.adopt".to_owned()]));
    let answer = api.post("/v1/orgs/acme/apply?adopt=true", "root", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(adopted(&api).await.as_deref(), Some(r#"{"shop_web": "svc1"}"#));

    // What is permitted stays so for everybody who may write the app; anything else does not follow from it.
    let answer = api.post("/v1/orgs/acme/apply", "acme-member", &body).await;
    assert_eq!((answer.status, &answer.json()["results"][0]["action"]), (StatusCode::OK, &json!("unchanged")));
    let answer = api.post("/v1/orgs/acme/apply", "acme-member", &app("shop_web", "a:2")).await;
    assert_eq!((answer.status, &answer.json()["results"][0]["action"]), (StatusCode::OK, &json!("configured")));
    let patch = json!({"spec": {"processes": {"worker": {"adopt": {"service": "shop_worker"}}}}});
    let answer = api.send("PATCH", "/v1/orgs/acme/apps/taken", "acme-member", Some(&patch)).await;
    assert_eq!((answer.status, answer.paths()), (StatusCode::UNPROCESSABLE_ENTITY, vec!["spec.processes.worker.adopt".to_owned()]));
    // Another app of the organization has no part in it.
    let mut thief = body;
    thief["metadata"]["name"] = "thief".into();
    assert_eq!(api.post("/v1/orgs/acme/apply", "acme-member", &thief).await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn what_cannot_be_taken_over_is_told_with_its_place_and_nothing_is_written() {
    let api = Harness::new().await;
    let before = api.everything().await;
    let items = json!({"items": [app("shop_web", "a:1"), object("App", "other", &app("taken", "a:1")["spec"])]});
    let answer = api.post("/v1/orgs/acme/apply?adopt=true", "root", &items).await;
    assert_eq!(
        (answer.status, answer.paths()),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["items[1].spec.processes.web.adopt.service".to_owned()])
    );
    let answer = api.post("/v1/orgs/acme/apply?adopt=true", "root", &app("none", "a:1")).await;
    assert!(answer.text.contains("there is no service none"), "{}", answer.text);
    // A process that runs already does not become another service.
    let mut shop = app("shop_web", "a:1");
    shop["metadata"]["name"] = "shop".into();
    let answer = api.post("/v1/orgs/acme/apply?adopt=true", "root", &shop).await;
    assert!(answer.status == StatusCode::UNPROCESSABLE_ENTITY && answer.text.contains("has a process web already"), "{}", answer.text);
    for name in ["", "-x", "a b", &"x".repeat(64)] {
        let answer = api.post("/v1/orgs/acme/apply?adopt=true", "root", &app(name, "a:1")).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}: {}", answer.text);
    }
    assert_eq!(api.everything().await, before);
}

#[tokio::test]
async fn drafts_are_asked_for_by_name() {
    let api = Harness::new().await;
    for (query, status) in [
        ("?service=shop_web", StatusCode::OK),
        ("?service=down", StatusCode::SERVICE_UNAVAILABLE),
        ("?service=none", StatusCode::NOT_FOUND),
        ("?stack=none", StatusCode::NOT_FOUND),
        ("", StatusCode::BAD_REQUEST),
        ("?service=,", StatusCode::BAD_REQUEST),
        ("?app=Not%20A%20Name&service=shop_web", StatusCode::BAD_REQUEST),
    ] {
        let answer = api.get(&format!("/v1/drafts{query}"), "root").await;
        assert_eq!(answer.status, status, "{query}: {}", answer.text);
    }
}
