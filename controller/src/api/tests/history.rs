//! Revisions, what differs between them, rollback and retry, over the API.

use api_types::kinds::app::{Verdict, VerdictPhase};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Harness, app_spec, start};

const SHOP: &str = "/v1/orgs/acme/apps/shop";

impl Harness {
    /// Gives the newest revision a verdict, as the controller would.
    async fn judge(&self, phase: VerdictPhase, image: &str) {
        let app = self.store().app_get(&"acme".parse().expect("a name"), &"shop".parse().expect("a name")).await;
        let app = app.expect("reads").expect("is there");
        let reason = (phase == VerdictPhase::Failed).then_some(api_types::Reason::CrashLoop);
        let verdict = Verdict { phase, reason, cause: None, message: None, time: start() };
        self.store().revision_image_put(app.uid, app.generation, image, self.epoch).await.expect("written");
        self.store().revision_verdict_put(app.uid, app.generation, &verdict, self.epoch).await.expect("written");
    }

    async fn change(&self, spec: Value) {
        let answer = self.put(SHOP, "acme-member", &json!({"spec": spec})).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
}

fn spec(image: &str, env: &str, secret: Value, domains: Value) -> Value {
    let mut spec = app_spec(image);
    (spec["env"], spec["secrets"], spec["domains"]) = (json!({"A": env}), json!({"KEY": secret}), domains);
    spec
}

/// Revision 1 is proven; 2 changed everything and is proven; 3 has failed.
async fn three() -> Harness {
    let api = Harness::new().await;
    api.judge(VerdictPhase::Ready, "a@sha256:1").await;
    api.change(spec("a:2", "two", json!("second"), json!(["two.example.com"]))).await;
    api.judge(VerdictPhase::Ready, "a@sha256:2").await;
    api.change(spec("a:3", "three", Value::Null, json!(["three.example.com"]))).await;
    api.judge(VerdictPhase::Failed, "a@sha256:3").await;
    api
}

#[tokio::test]
async fn a_history_says_who_when_from_where_what_and_with_which_end() {
    let api = three().await;
    let list = api.get(&format!("{SHOP}/revisions"), "acme-viewer").await.json();
    let items = list["items"].as_array().expect("items");
    let lines: Vec<String> = items
        .iter()
        .map(|item| {
            format!("{} {} {} {}: {}", item["generation"], item["author"], item["source"], item["verdict"]["phase"], item["summary"])
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    3 "acme-member" "apply" "Failed": "image a:2 → a:3, domains -two.example.com +three.example.com, env ~A"
    2 "acme-member" "apply" "Ready": "image a:1 → a:2, domains +two.example.com, env +A, secrets ~KEY"
    1 "root" "apply" "Ready": "created"
    "#);
    assert!(!list.to_string().contains("hunter2") && !list.to_string().contains("second"), "{list}");
    let two = api.get(&format!("{SHOP}/revisions?limit=2"), "acme-viewer").await.json();
    assert_eq!(two["items"][1]["summary"], items[1]["summary"], "the line before the last is told too");
    let past = api.get(&format!("{SHOP}/revisions?at=2000-01-01T00:00:00Z"), "acme-viewer").await.json();
    assert_eq!(past["items"], json!([]));
    let now = api.get(&format!("{SHOP}/revisions?at=2100-01-01T00:00:00%2B02:00&limit=1"), "acme-viewer").await.json();
    assert_eq!(now["items"][0]["generation"], 3);
    assert_eq!(api.get(&format!("{SHOP}/revisions?at=yesterday"), "acme-viewer").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_revision_is_shown_as_it_was_and_compared_without_secrets() {
    let api = three().await;
    let shown = api.get(&format!("{SHOP}/revisions/r2"), "acme-viewer").await.json();
    assert_eq!(shown["manifest"]["spec"]["env"], json!({"A": "two"}));
    assert_eq!(shown["manifest"]["spec"]["secrets"], json!({"KEY": null}));
    assert_eq!(shown["revision"]["resolvedImage"], "a@sha256:2");
    api_types::check::check(&shown["manifest"]).expect("a manifest that can be applied");
    let compared = api.get(&format!("{SHOP}/revisions/1/diff/2"), "acme-viewer").await.json();
    let paths: Vec<&str> = compared["changes"].as_array().expect("changes").iter().filter_map(|change| change["path"].as_str()).collect();
    assert_eq!(paths, ["spec.domains", "spec.env.A", "spec.image", "spec.secrets.KEY"]);
    assert!(!compared.to_string().contains("second"), "{compared}");
    assert_eq!(api.get(&format!("{SHOP}/revisions/2/diff/2"), "acme-viewer").await.json()["changes"], json!([]));
    for (path, status) in [("4", 404), ("1/diff/9", 404), ("0", 400), ("latest", 400), ("1/diff/x", 400)] {
        assert_eq!(api.get(&format!("{SHOP}/revisions/{path}"), "acme-viewer").await.status.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn a_rollback_brings_everything_back_at_once_as_a_new_revision() {
    let api = three().await;
    let dry = api.post(&format!("{SHOP}/rollback?dryRun=true"), "acme-member", &json!({})).await.json();
    assert_eq!((&dry["basedOn"], &dry["generation"], &dry["dryRun"]), (&json!(2), &json!(4), &json!(true)));
    assert!(dry["steps"].as_array().is_some_and(|steps| !steps.is_empty()) && !dry["changes"].to_string().is_empty(), "{dry}");
    let seen = api.planner.0.lock().expect("not poisoned").last().cloned().expect("asked");
    assert_eq!(seen.restored.and_then(|revision| revision.resolved_image).as_deref(), Some("a@sha256:2"));
    assert_eq!(api.get(SHOP, "acme-viewer").await.json()["metadata"]["generation"], 3, "a dry run writes nothing");

    let done = api.post(&format!("{SHOP}/rollback"), "acme-member", &json!({"to": 1})).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    let newest = api.get(&format!("{SHOP}/revisions/4"), "acme-viewer").await.json();
    let first = api.get(&format!("{SHOP}/revisions/1"), "acme-viewer").await.json();
    assert_eq!(newest["manifest"]["spec"], first["manifest"]["spec"]);
    let revision = &newest["revision"];
    assert_eq!(
        (&revision["source"], &revision["basedOn"], &revision["resolvedImage"]),
        (&json!("rollback"), &json!(1), &json!("a@sha256:1"))
    );
    assert!(revision["summary"].as_str().is_some_and(|summary| summary.starts_with("back to revision 1: image a:3 → a:1")), "{revision}");
    let differs = api.get(&format!("{SHOP}/revisions/1/diff/4"), "acme-viewer").await.json();
    assert_eq!(differs["changes"], json!([]), "the secret has its old version again");
    // The host is free again.
    let domains = api.get("/v1/orgs/acme/domains", "acme-viewer").await.text;
    assert!(!domains.contains("three.example.com"), "{domains}");
    let again = api.post(&format!("{SHOP}/rollback"), "acme-member", &json!({"to": 1})).await.json();
    assert_eq!((&again["action"], &again["generation"]), (&json!("unchanged"), &json!(4)));
}

#[tokio::test]
async fn a_rollback_that_cannot_be_whole_writes_nothing_and_says_why() {
    let api = three().await;
    // Another app took the host meanwhile.
    let mut other = app_spec("b:1");
    other["domains"] = json!(["two.example.com"]);
    assert!(api.put("/v1/orgs/acme/apps/thief", "acme-member", &json!({"spec": other})).await.status.is_success());
    let before = api.everything().await;
    let taken = api.post(&format!("{SHOP}/rollback"), "acme-member", &json!({"to": 2})).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert!(taken.text.contains("two.example.com") && taken.text.contains("thief"), "{}", taken.text);
    let failed = api.post(&format!("{SHOP}/rollback"), "acme-member", &json!({"to": 3})).await;
    assert_eq!(failed.status, StatusCode::CONFLICT);
    assert!(failed.text.contains("skyctl retry app/shop"), "{}", failed.text);
    for (body, status) in
        [(json!({"to": 9}), 404), (json!({"to": 0}), 400), (json!({"too": 1}), 422), (json!({"resourceVersion": "1"}), 409)]
    {
        assert_eq!(api.post(&format!("{SHOP}/rollback"), "acme-member", &body).await.status.as_u16(), status, "{body}");
    }
    assert_eq!(api.everything().await, before);
    // A failed revision is gone back to only when that is said.
    api.post(&format!("{SHOP}/rollback"), "acme-member", &json!({"to": 1})).await;
    api.judge(VerdictPhase::Ready, "a@sha256:1").await;
    let refused = api.post(&format!("{SHOP}/rollback"), "acme-member", &json!({"to": 3})).await;
    assert!(refused.status == StatusCode::CONFLICT && refused.text.contains("failed (CrashLoop)"), "{}", refused.text);
    let forced = api.post(&format!("{SHOP}/rollback"), "acme-member", &json!({"to": 3, "force": true})).await;
    assert_eq!(forced.status, StatusCode::OK, "{}", forced.text);
}

#[tokio::test]
async fn only_what_has_failed_is_tried_again() {
    let api = three().await;
    let done = api.post(&format!("{SHOP}/retry"), "acme-member", &Value::Null).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert_eq!((&done.json()["generation"], &done.json()["changes"]), (&json!(4), &json!([])));
    let newest = api.get(&format!("{SHOP}/revisions/4"), "acme-viewer").await.json();
    assert_eq!(newest["revision"]["summary"], "retry of revision 3");
    assert_eq!(newest["revision"]["resolvedImage"], "a@sha256:3");
    let before = api.everything().await;
    let pending = api.post(&format!("{SHOP}/retry"), "acme-member", &json!({})).await;
    assert!(pending.status == StatusCode::CONFLICT && pending.text.contains("skyctl wait app/shop"), "{}", pending.text);
    api.judge(VerdictPhase::Ready, "a@sha256:3").await;
    let ready = api.post(&format!("{SHOP}/retry"), "acme-member", &json!({})).await;
    assert!(ready.status == StatusCode::CONFLICT && ready.text.contains("skyctl restart app/shop"), "{}", ready.text);
    assert_eq!(api.everything().await, before);
    assert_eq!(api.post("/v1/orgs/acme/apps/nobody/retry", "acme-member", &json!({})).await.status, StatusCode::NOT_FOUND);
}
