//! Apply: all or nothing, all errors at once.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Harness, app_spec, object};

fn app(name: &str, image: &str) -> Value {
    object("App", name, &app_spec(image))
}

fn with_org(mut object: Value, org: &str) -> Value {
    object["metadata"]["org"] = json!(org);
    object
}

#[tokio::test]
async fn one_object_or_a_list_is_applied_and_applying_again_changes_nothing() {
    let api = Harness::new().await;
    let one = api.post("/v1/orgs/acme/apply", "acme-member", &app("one", "a:1")).await;
    assert_eq!((one.status, &one.json()["results"][0]["action"]), (StatusCode::OK, &json!("created")), "{}", one.text);
    let list = json!({"items": [app("one", "a:1"), app("two", "a:1"), app("shop", "a:2")]});
    let many = api.post("/v1/orgs/acme/apply", "acme-member", &list).await.json();
    let actions: Vec<_> = many["results"].as_array().expect("results").iter().map(|result| result["action"].clone()).collect();
    assert_eq!(actions, ["unchanged", "created", "configured"]);
    assert_eq!(many["dryRun"], false);
    let again = api.post("/v1/orgs/acme/apply", "acme-member", &list).await.json();
    assert!(again["results"].as_array().expect("results").iter().all(|result| result["action"] == "unchanged"), "{again}");
    let revisions = api.get("/v1/orgs/acme/apps/shop/revisions", "acme-viewer").await.json();
    assert_eq!((&revisions["items"][0]["author"], &revisions["items"][0]["source"]), (&json!("acme-member"), &json!("apply")));
}

#[tokio::test]
async fn every_error_of_every_item_is_reported_and_nothing_is_written() {
    let api = Harness::new().await;
    let before = api.everything().await;
    let mut bad = app("two", "a:1");
    bad["spec"]["processes"]["web"]["prot"] = json!(80);
    bad["spec"]["image"] = json!("NOT AN IMAGE");
    let foreign = with_org(bad.clone(), "rival");
    let list = json!({"items": [app("one", "a:1"), bad, foreign, {"kind": "Nonsense"}, app("one", "a:1"), 7]});
    let answer = api.post("/v1/orgs/acme/apply", "acme-member", &list).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        answer.paths(),
        [
            "items[1].spec.image",
            "items[1].spec.processes.web.prot",
            "items[2].spec.image",
            "items[2].spec.processes.web.prot",
            "items[2].metadata.org",
            "items[3].apiVersion",
            "items[3].kind",
            "items[4].metadata.name",
            "items[5]",
        ]
    );
    assert_eq!(api.everything().await, before);
    assert_eq!(api.get("/v1/orgs/acme/apps/one", "acme-viewer").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn one_refused_write_stops_the_whole_list_and_names_the_item() {
    let api = Harness::new().await;
    let mut stale = app("shop", "a:2");
    stale["metadata"]["resourceVersion"] = json!("1");
    let answer = api.post("/v1/orgs/acme/apply", "acme-member", &json!({"items": [app("one", "a:1"), stale]})).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text);
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.starts_with("items[1]: ")), "{}", answer.text);
    assert_eq!(api.get("/v1/orgs/acme/apps/one", "acme-viewer").await.status, StatusCode::NOT_FOUND);

    let mut keeps_nothing = app("one", "a:1");
    keeps_nothing["spec"]["secrets"] = json!({"NEW": null});
    let answer = api.post("/v1/orgs/acme/apply", "acme-member", &json!({"items": [app("two", "a:1"), keeps_nothing]})).await;
    assert_eq!(answer.paths(), ["items[1].spec.secrets.NEW"]);
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_writes_nothing() {
    let api = Harness::new().await;
    let before = api.everything().await;
    let answer =
        api.post("/v1/orgs/acme/apply?dryRun=true", "acme-member", &json!({"items": [app("one", "a:1"), app("shop", "a:9")]})).await;
    assert_eq!(answer.json()["dryRun"], true);
    assert_eq!(answer.json()["results"][1]["action"], "configured");
    let put = api.put("/v1/orgs/acme/apps/one?dryRun=true", "acme-member", &json!({"spec": app_spec("a:1")})).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text);
    assert_eq!(put.json()["spec"]["secrets"], json!({"KEY": null}));
    assert_eq!(api.everything().await, before);
    assert_eq!(api.get("/v1/orgs/acme/apps/one", "acme-viewer").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn kinds_above_the_token_are_forbidden() {
    let api = Harness::new().await;
    let org = |name: &str| object("Organization", name, &json!({}));
    let setting = object("Setting", "edge.default_domain", &json!({"value": "x.example.com"}));
    for (token, item, status) in [
        ("acme-member", org("acme"), StatusCode::FORBIDDEN),
        ("acme-admin", org("acme"), StatusCode::OK),
        ("acme-admin", org("rival"), StatusCode::FORBIDDEN),
        ("acme-admin", org("nobody"), StatusCode::FORBIDDEN),
        ("acme-admin", setting.clone(), StatusCode::FORBIDDEN),
        ("platform-member", setting.clone(), StatusCode::FORBIDDEN),
        ("root", setting, StatusCode::OK),
    ] {
        let answer = api.post("/v1/orgs/acme/apply", token, &json!({"items": [app("one", "a:1"), item]})).await;
        assert_eq!(answer.status, status, "{token}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_platform_token_applies_over_organizations() {
    let api = Harness::new().await;
    let list = json!({"items": [object("Organization", "fresh", &json!({})), with_org(app("one", "a:1"), "fresh"), with_org(app("one", "a:1"), "acme")]});
    let answer = api.post("/v1/apply", "root", &list).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let nowhere = api.post("/v1/apply", "root", &json!({"items": [app("one", "a:1")]})).await;
    assert_eq!(nowhere.paths(), ["items[0].metadata.org"]);
    let limited = api.post("/v1/apply", "acme-member", &json!({"items": [app("two", "a:1"), with_org(app("three", "a:1"), "acme")]})).await;
    assert_eq!(limited.json()["results"][0]["org"], "acme", "{}", limited.text);
    for org in ["rival", "nobody"] {
        let foreign = api.post("/v1/apply", "acme-member", &with_org(app("one", "a:1"), org)).await;
        assert_eq!(foreign.paths(), ["metadata.org"], "the token's own, whether the other exists or not");
    }
    let missing = api.post("/v1/orgs/nobody/apply", "root", &app("one", "a:1")).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND, "{}", missing.text);
}

#[tokio::test]
async fn what_is_neither_an_object_nor_a_list_is_refused() {
    let api = Harness::new().await;
    let many: Vec<_> = (0..501).map(|n| app(&format!("a{n}"), "a:1")).collect();
    for (body, paths) in [
        (json!([]), vec!["$"]),
        (json!("x"), vec!["$"]),
        (json!({"items": {}}), vec!["items"]),
        (json!({"items": [], "extra": 1}), vec!["extra"]),
        (json!({"items": many}), vec!["items"]),
        (json!({}), vec!["apiVersion", "kind"]),
    ] {
        let answer = api.post("/v1/orgs/acme/apply", "acme-member", &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
        assert_eq!(answer.paths(), paths, "{}", answer.text);
    }
    let empty = api.post("/v1/orgs/acme/apply", "acme-member", &json!({"items": []})).await;
    assert_eq!(empty.status, StatusCode::OK);
}
