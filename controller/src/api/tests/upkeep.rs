//! Pauses: who may hold the platform's hands, for how long, and what is told of it.

use axum::http::StatusCode;
use serde_json::json;

use super::Harness;

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
