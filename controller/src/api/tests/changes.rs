//! Changes that start from the stored app: merge patches and restarts.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};

use super::{Answer, Harness};

const SHOP: &str = "/v1/orgs/acme/apps/shop";

async fn patch(api: &Harness, query: &str, body: &Value) -> Answer {
    let request = Request::patch(format!("{SHOP}{query}"))
        .header(header::AUTHORIZATION, api.bearer("acme-member"))
        .header(header::CONTENT_TYPE, "application/merge-patch+json")
        .body(Body::from(body.to_string()));
    api.raw(request.expect("a request")).await
}

async fn sources(api: &Harness) -> Vec<String> {
    let list = api.get(&format!("{SHOP}/revisions"), "acme-viewer").await.json();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| item["source"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_keeps_the_rest() {
    let api = Harness::new().await;
    let body = json!({"spec": {"env": {"A": "1", "B": "2"}, "processes": {"web": {"replicas": 3}}}});
    let answer = patch(&api, "?source=set%20env", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let app = answer.json();
    assert_eq!(app["spec"]["env"], json!({"A": "1", "B": "2"}));
    assert_eq!((&app["spec"]["processes"]["web"]["replicas"], &app["spec"]["processes"]["web"]["port"]), (&json!(3), &json!(8080)));
    assert_eq!(app["spec"]["secrets"], json!({"KEY": null}), "a secret that is not named keeps its value");
    assert_eq!(app["metadata"]["labels"], json!({"team": "acme"}));
    assert_eq!(app["metadata"]["generation"], 2);

    let removed =
        patch(&api, "", &json!({"spec": {"env": {"A": null, "NONE": null}, "secrets": {"KEY": null, "OTHER": "x"}}})).await.json();
    assert_eq!((&removed["spec"]["env"], &removed["spec"]["secrets"]), (&json!({"B": "2"}), &json!({"OTHER": null})));
    let same = patch(&api, "", &json!({"spec": {"env": {"B": "2"}}})).await.json();
    assert_eq!(same["metadata"]["generation"], 3, "nothing changed, so there is no new generation");
    assert_eq!(sources(&api).await, ["patch", "set env", "apply"]);
}

#[tokio::test]
async fn what_a_patch_makes_is_checked_as_a_whole_and_nothing_is_written() {
    let api = Harness::new().await;
    let before = api.everything().await;
    let bad = patch(&api, "", &json!({"spec": {"processes": {"web": {"replicas": "many"}}, "nonsense": 1}})).await;
    assert_eq!(
        (bad.status, bad.paths()),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["spec.nonsense".into(), "spec.processes.web.replicas".into()])
    );
    assert_eq!(patch(&api, "", &json!({"metadata": {"name": "other"}})).await.paths(), ["metadata.name"]);
    assert_eq!(patch(&api, "", &json!({"metadata": {"org": "rival"}})).await.paths(), ["metadata.org"]);
    assert_eq!(patch(&api, "", &json!({"spec": {"processes": null}})).await.paths(), ["spec.processes"]);
    assert_eq!(patch(&api, "", &json!([1])).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(patch(&api, "?source=Bad%3B", &json!({})).await.status, StatusCode::BAD_REQUEST);
    let stale = patch(&api, "", &json!({"metadata": {"resourceVersion": "1"}, "spec": {"env": {"A": "1"}}})).await;
    assert_eq!(stale.status, StatusCode::CONFLICT, "{}", stale.text);
    let dry = patch(&api, "?dryRun=true", &json!({"spec": {"env": {"A": "1"}}})).await;
    assert_eq!((dry.status, &dry.json()["spec"]["env"]), (StatusCode::OK, &json!({"A": "1"})), "{}", dry.text);
    assert_eq!(api.everything().await, before);
    let missing = api.send("PATCH", "/v1/orgs/acme/apps/none", "acme-member", Some(&json!({}))).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(api.send("PATCH", SHOP, "acme-viewer", Some(&json!({}))).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn patches_of_different_fields_at_the_same_time_lose_nothing() {
    let api = Harness::new().await;
    let all = (0..20).map(async |n| patch(&api, "", &json!({"spec": {"env": {format!("KEY_{n}"): "x"}}})).await.status);
    let all: Vec<_> = all.collect();
    let statuses = futures::future::join_all(all).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{statuses:?}");
    let app = api.get(SHOP, "acme-viewer").await.json();
    assert_eq!(app["spec"]["env"].as_object().map(serde_json::Map::len), Some(20));
    assert_eq!(app["metadata"]["generation"], 21);
}

#[tokio::test]
async fn a_restart_is_a_new_revision_that_an_apply_neither_undoes_nor_repeats() {
    let api = Harness::new().await;
    let path = format!("{SHOP}/restart");
    let answer = api.post(&path, "acme-member", &json!({"processes": ["web"]})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let before = api.get(SHOP, "acme-viewer").await.json();
    assert_eq!((&before["metadata"]["generation"], sources(&api).await), (&json!(2), vec!["restart".to_owned(), "apply".to_owned()]));
    assert_eq!(api.put(SHOP, "acme-member", &before).await.json()["metadata"]["generation"], 2, "the spec is the same");
    let counts = async || {
        let record = api.store().app_get(&"acme".parse().expect("a name"), &"shop".parse().expect("a name")).await;
        serde_json::to_value(record.expect("reads").expect("is there").restarts).expect("JSON")
    };
    assert_eq!(counts().await, json!({"web": 1}));
    assert_eq!(api.send("POST", &path, "acme-member", None).await.status, StatusCode::OK);
    assert_eq!(counts().await, json!({"web": 2, "worker": 1}), "without names, all");

    assert_eq!(api.post(&path, "acme-member", &json!({"processes": ["wep"]})).await.paths(), ["processes"]);
    assert_eq!(api.post(&path, "acme-viewer", &json!({})).await.status, StatusCode::FORBIDDEN);
    assert_eq!(patch(&api, "?source=stop", &json!({"spec": {"suspend": true}})).await.status, StatusCode::OK);
    let stopped = api.post(&path, "acme-member", &json!({})).await;
    assert_eq!(stopped.status, StatusCode::CONFLICT);
    assert!(stopped.text.contains("is stopped"), "{}", stopped.text);
    assert_eq!(counts().await, json!({"web": 2, "worker": 1}));
}
