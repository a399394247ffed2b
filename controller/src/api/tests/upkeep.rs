//! Pauses: who may hold the platform's hands, for how long, and what is told of it. And the drift ledger.

use std::collections::BTreeSet;

use api_types::drift::{DriftAction, DriftObject};
use axum::http::StatusCode;
use serde_json::json;

use super::Harness;
use crate::store::{DriftFound, DriftLook};

const PAUSE: &str = "/v1/orgs/acme/apps/shop/pause";

#[tokio::test]
async fn a_pause_is_set_read_replaced_and_ended_and_makes_no_revision() {
    let api = Harness::new().await;
    assert_eq!(api.get(PAUSE, "acme-viewer").await.json(), json!({"paused": false}));
    let answer = api.put(PAUSE, "acme-member", &json!({"for": "2h", "because": " we look "})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let paused = answer.json();
    assert_eq!((&paused["paused"], &paused["by"], &paused["because"]), (&json!(true), &json!("acme-member"), &json!("we look")));
    assert_eq!(api.get(PAUSE, "acme-viewer").await.json(), paused);
    let longer = api.put(PAUSE, "acme-admin", &json!({"for": "3h", "because": "still"})).await.json();
    assert_eq!((&longer["by"], &longer["because"]), (&json!("acme-admin"), &json!("still")));
    assert_ne!(longer["until"], paused["until"]);

    let app = api.get("/v1/orgs/acme/apps/shop", "acme-viewer").await.json();
    assert_eq!(app["metadata"]["generation"], 1, "nothing else is wanted than before");
    let resumed = api.send("DELETE", PAUSE, "acme-member", None).await;
    assert_eq!((resumed.status, resumed.json()), (StatusCode::OK, json!({"paused": false})));
    assert_eq!(api.send("DELETE", PAUSE, "acme-member", None).await.status, StatusCode::OK, "ending it twice is no error");
    assert_eq!(api.get(PAUSE, "acme-viewer").await.json(), json!({"paused": false}));
}

#[tokio::test]
async fn a_pause_without_end_or_reason_is_refused_and_nothing_is_written() {
    let api = Harness::new().await;
    let before = api.everything().await;
    for (body, paths) in [
        (json!({"for": "0s", "because": "x"}), vec!["for"]),
        (json!({"for": "2h", "because": " "}), vec!["because"]),
        (json!({"for": "31d", "because": "x"}), vec!["for"]),
        (json!({"for": "2h"}), vec!["$"]),
        (json!({"for": "2h", "because": "x", "force": true}), vec!["force"]),
    ] {
        let answer = api.put(PAUSE, "acme-member", &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text);
        assert_eq!(answer.paths(), paths, "{body}");
    }
    let body = json!({"for": "2h", "because": "x"});
    assert_eq!(api.put(&format!("{PAUSE}?dryRun=true"), "acme-member", &body).await.status, StatusCode::OK);
    assert_eq!(api.put("/v1/orgs/acme/apps/none/pause", "acme-member", &body).await.status, StatusCode::NOT_FOUND);
    assert_eq!(api.everything().await, before);
}

#[tokio::test]
async fn the_drift_ledger_is_read_by_app_and_organization_in_pages() {
    let api = Harness::new().await;
    let uid = api.get("/v1/orgs/acme/apps/shop", "acme-viewer").await.json()["metadata"]["uid"].clone();
    let uid = uid.as_str().and_then(|uid| uid.parse().ok()).expect("a uid");
    let found: Vec<DriftFound> = ["args", "image", "replicas"]
        .into_iter()
        .map(|field| DriftFound {
            kind: DriftObject::Service,
            object: "shop-web".to_owned(),
            field: field.to_owned(),
            desired: "2".to_owned(),
            observed: "5".to_owned(),
            action: DriftAction::Held,
        })
        .collect();
    let look = DriftLook { uid, found: &found, touched: &BTreeSet::new(), controller: "n1" };
    api.backend.store.drift_put(&look, api.epoch).await.expect("writes");

    let fields = |answer: &super::Answer| -> Vec<String> {
        let items = answer.json()["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["field"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let all = api.get("/v1/orgs/acme/drift", "acme-viewer").await;
    assert_eq!(fields(&all), ["replicas", "image", "args"]);
    assert_eq!(all.json()["items"][0]["action"], "Held");
    let first = api.get("/v1/orgs/acme/apps/shop/drift?limit=2", "acme-viewer").await;
    assert_eq!(fields(&first), ["replicas", "image"]);
    let more = first.json()["metadata"]["continue"].as_str().expect("there is more").to_owned();
    let rest = api.get(&format!("/v1/orgs/acme/apps/shop/drift?limit=2&continue={more}"), "acme-viewer").await;
    assert_eq!((fields(&rest), rest.json()["metadata"].get("continue").is_none()), (vec!["args".to_owned()], true));
    assert_eq!(fields(&api.get("/v1/orgs/rival/drift", "rival-admin").await), Vec::<String>::new());
    for (path, status) in [
        ("/v1/orgs/acme/apps/none/drift", StatusCode::NOT_FOUND),
        ("/v1/orgs/acme/drift?since=yesterday", StatusCode::BAD_REQUEST),
        ("/v1/orgs/acme/drift?continue=x", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(api.get(path, "acme-viewer").await.status, status, "{path}");
    }
    assert_eq!(api.get("/v1/status", "acme-viewer").await.json()["driftLastHour"], 3);
}
