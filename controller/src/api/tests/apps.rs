//! Apps: reading, writing, conditional writes, plan, scale, logs, history; domains and settings.

use std::collections::BTreeSet;
use std::time::Duration;

use api_types::event::EventType;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Harness, app_spec};
use crate::api::Limits;
use crate::store::NewEvent;

const SHOP: &str = "/v1/orgs/acme/apps/shop";

#[tokio::test]
async fn reading_shows_spec_and_status_and_no_secret() {
    let api = Harness::new().await;
    let answer = api.get(SHOP, "acme-viewer").await;
    let app = answer.json();
    assert_eq!(app["spec"]["secrets"], json!({"KEY": null}));
    assert_eq!(app["metadata"]["generation"], 1);
    assert!(app["status"].is_object());
    assert!(!answer.text.contains("hunter2"));
    assert_eq!(answer.header("etag"), format!("\"{}\"", app["metadata"]["resourceVersion"].as_str().expect("a version")));
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn what_was_read_can_be_written_back() {
    let api = Harness::new().await;
    let app = api.get(SHOP, "acme-viewer").await.json();
    let answer = api.put(SHOP, "acme-member", &app).await;
    assert_eq!((answer.status, &answer.json()["metadata"]["generation"]), (StatusCode::OK, &json!(1)), "{}", answer.text);
}

#[tokio::test]
async fn a_list_is_selected_by_labels() {
    let api = Harness::new().await;
    let count = |answer: super::Answer| answer.json()["items"].as_array().map(Vec::len);
    for (query, wanted) in [("", 1), ("?labelSelector=team%3Dacme", 1), ("?labelSelector=team=acme,other", 0), ("?labelSelector=team=x", 0)]
    {
        assert_eq!(count(api.get(&format!("/v1/orgs/acme/apps{query}"), "acme-viewer").await), Some(wanted), "{query}");
    }
    let bad = api.get("/v1/orgs/acme/apps?labelSelector=%3D", "acme-viewer").await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST, "{}", bad.text);
}

#[tokio::test]
async fn put_creates_and_changes_and_holds_path_and_body_together() {
    let api = Harness::new().await;
    let path = "/v1/orgs/acme/apps/fresh";
    let created = api.put(path, "acme-member", &json!({"spec": app_spec("a:1")})).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    assert_eq!(api.put(path, "acme-member", &json!({"spec": app_spec("a:2")})).await.status, StatusCode::OK);
    let other_name = api.put(path, "acme-member", &json!({"metadata": {"name": "other"}, "spec": app_spec("a:1")})).await;
    assert_eq!(other_name.paths(), ["metadata.name"]);
    let other_kind = api.put(path, "acme-member", &json!({"kind": "Setting", "metadata": {"name": "a.b"}, "spec": {"value": 1}})).await;
    assert_eq!(other_kind.paths(), ["kind", "metadata.name"]);
    let other_org = api.put(path, "acme-member", &json!({"metadata": {"org": "rival"}, "spec": app_spec("a:1")})).await;
    assert_eq!(other_org.paths(), ["metadata.org"]);
}

#[tokio::test]
async fn a_stale_write_is_refused_and_nothing_changes() {
    let api = Harness::new().await;
    let version = api.get(SHOP, "acme-viewer").await.json()["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    assert_eq!(api.put(SHOP, "acme-member", &json!({"spec": app_spec("a:2")})).await.status, StatusCode::OK);
    let before = api.everything().await;

    let body = json!({"metadata": {"name": "shop", "resourceVersion": version}, "spec": app_spec("a:3")});
    let stale = api.put(SHOP, "acme-member", &body).await;
    assert_eq!((stale.status, &stale.json()["type"]), (StatusCode::CONFLICT, &json!("conflict")), "{}", stale.text);
    for (method, path) in [("PUT", SHOP.to_owned()), ("DELETE", SHOP.to_owned()), ("PUT", format!("{SHOP}/scale"))] {
        let body = if path.ends_with("scale") { json!({"processes": {"web": 4}}) } else { json!({"spec": app_spec("a:3")}) };
        let request = Request::builder()
            .method(method)
            .uri(path.as_str())
            .header("authorization", api.bearer("acme-member"))
            .header("content-type", "application/json")
            .header("if-match", format!("\"{version}\""));
        let answer = api.raw(request.body(Body::from(body.to_string())).expect("a request")).await;
        assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED, "{method} {path}: {}", answer.text);
        assert_eq!(answer.json()["type"], "precondition-failed");
    }
    let by_query = api.delete(&format!("{SHOP}?resourceVersion={version}"), "acme-member").await;
    assert_eq!(by_query.status, StatusCode::CONFLICT);
    let nonsense = api.delete(&format!("{SHOP}?resourceVersion=x"), "acme-member").await;
    assert_eq!(nonsense.status, StatusCode::BAD_REQUEST);
    assert_eq!(api.everything().await, before);
    assert_eq!(api.get(SHOP, "acme-viewer").await.json()["spec"]["image"], "a:2");
}

#[tokio::test]
async fn delete_marks_and_answers_202() {
    let api = Harness::new().await;
    let answer = api.delete(SHOP, "acme-member").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert!(answer.json()["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(api.delete("/v1/orgs/acme/apps/none", "acme-member").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_plan_comes_from_the_planner_and_the_stored_observation() {
    let api = Harness::new().await;
    let uid = api.get(SHOP, "acme-viewer").await.json()["metadata"]["uid"].as_str().expect("a uid").parse().expect("a uid");
    api.store().observation_put(uid, &json!({"services": []}), api.epoch).await.expect("written");
    let before = api.everything().await;

    let stored = api.send("POST", &format!("{SHOP}/plan"), "acme-viewer", None).await.json();
    assert_eq!(api.post(&format!("{SHOP}/plan"), "acme-viewer", &json!(null)).await.json(), stored);
    assert_eq!(stored["action"], "unchanged");
    assert_eq!(stored["steps"].as_array().map(Vec::len), Some(2));
    assert!(stored["observedAt"].is_string());

    let mut spec = app_spec("a:2");
    spec["secrets"] = json!({"KEY": "hunter2", "OTHER": "x"});
    spec["domains"] = json!(["www.example.com"]);
    let wanted = api.post(&format!("{SHOP}/plan"), "acme-member", &json!({"spec": spec})).await.json();
    assert_eq!(wanted["action"], "configured");
    let told = wanted["changes"].to_string();
    assert!(told.contains(r#""path":"spec.image""#) && told.contains("spec.secrets.OTHER") && !told.contains("hunter"), "{told}");
    let new = api.post("/v1/orgs/acme/apps/fresh/plan", "acme-member", &json!({"spec": app_spec("a:1")})).await.json();
    assert_eq!((&new["action"], new.get("observedAt")), (&json!("created"), None));

    let mut inputs = api.planner.0.lock().expect("not poisoned").clone();
    assert_eq!(inputs.remove(0), inputs[0], "null is no body");
    let keys = |index: usize| inputs[index].changed_secrets.iter().map(|key| key.as_str()).collect::<BTreeSet<_>>();
    let hosts = |index: usize| inputs[index].custom_hosts.iter().map(|host| host.as_str()).collect::<Vec<_>>();
    assert_eq!(keys(0), BTreeSet::new());
    assert_eq!(keys(1), BTreeSet::from(["OTHER"]), "an equal value is no change");
    assert_eq!(keys(2), BTreeSet::from(["KEY"]));
    assert_eq!(hosts(0), ["acme.example.com"]);
    assert_eq!(hosts(1), ["acme.example.com", "www.example.com"]);
    assert_eq!(inputs[1].observed, Some(json!({"services": []})));
    assert!(inputs[1].wanted.secrets.values().all(Option::is_none), "the planner sees no secret");
    assert!(inputs[2].current.is_none() && inputs[2].observed.is_none());
    assert_eq!(api.everything().await, before);

    let probing = api.post(&format!("{SHOP}/plan"), "acme-viewer", &json!({"spec": app_spec("a:1")})).await;
    assert_eq!(probing.status, StatusCode::FORBIDDEN, "a viewer could guess secrets");
    let nothing = api.send("POST", "/v1/orgs/acme/apps/none/plan", "acme-viewer", None).await;
    assert_eq!(nothing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn scale_changes_what_is_named_and_refuses_what_is_not_there() {
    let api = Harness::new().await;
    let path = format!("{SHOP}/scale");
    assert_eq!(api.get(&path, "acme-viewer").await.json()["processes"], json!({"web": 1, "worker": 1}));
    let scaled = api.put(&path, "acme-member", &json!({"processes": {"web": 3}})).await;
    assert_eq!(scaled.json()["processes"], json!({"web": 3, "worker": 1}), "{}", scaled.text);
    assert_eq!(api.put(&path, "acme-member", &json!({"processes": {"web": 0}})).await.status, StatusCode::OK);

    let bad = api.put(&path, "acme-member", &json!({"processes": {"wbe": 3, "worker": 501}})).await;
    assert_eq!(bad.paths(), ["processes.wbe", "processes.worker"]);
    assert!(bad.text.contains("web, worker"), "{}", bad.text);
    for (body, path_of_error) in [
        (json!({"processes": {}}), "processes"),
        (json!({"processes": {"web": -1}}), "processes.web"),
        (json!({"processes": {"web": "3"}}), "processes.web"),
        (json!({"replicas": 3}), "replicas"),
    ] {
        let answer = api.put(&path, "acme-member", &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
        assert_eq!(answer.paths(), [path_of_error], "{}", answer.text);
    }
}

#[tokio::test]
async fn history_shows_author_and_source() {
    let api = Harness::new().await;
    api.put(&format!("{SHOP}/scale"), "acme-member", &json!({"processes": {"web": 3}})).await;
    let revisions = api.get(&format!("{SHOP}/revisions"), "acme-viewer").await.json();
    let line = |index: usize, field: &str| revisions["items"][index][field].clone();
    assert_eq!((line(0, "generation"), line(0, "author"), line(0, "source")), (json!(2), json!("acme-member"), json!("scale")));
    assert_eq!((line(1, "generation"), line(1, "author"), line(1, "source")), (json!(1), json!("root"), json!("apply")));
    assert_eq!(line(0, "verdict")["phase"], "Pending");
    let limited = api.get(&format!("{SHOP}/revisions?limit=1"), "acme-viewer").await.json();
    assert_eq!(limited["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(api.get(&format!("{SHOP}/events"), "acme-viewer").await.json()["items"], json!([]));
    for org in ["acme", "rival"] {
        let event = NewEvent {
            org: Some(org.parse().expect("a name")),
            kind: "App",
            name: "shop".to_owned(),
            uid: None,
            event_type: EventType::Normal,
            reason: "CreateService".to_owned(),
            message: format!("of {org}"),
            generation: 2,
        };
        api.store().event_record(&event).await.expect("recorded");
    }
    for path in [format!("{SHOP}/events"), "/v1/orgs/acme/events".to_owned()] {
        let events = api.get(&path, "acme-viewer").await.json();
        assert_eq!((events["items"].as_array().map(Vec::len), &events["items"][0]["message"]), (Some(1), &json!("of acme")), "{path}");
    }
    assert_eq!(api.get("/v1/orgs/acme/apps/none/events", "acme-viewer").await.status, StatusCode::NOT_FOUND);
    assert_eq!(api.get(&format!("{SHOP}/events?limit=0"), "acme-viewer").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn logs_come_line_by_line_and_take_filters() {
    let api = Harness::new().await;
    let answer = api.get(&format!("{SHOP}/logs?process=web&tail=5&since=10m"), "acme-viewer").await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).expect("a document per line")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[1]["replica"].as_str(), lines[1]["line"].as_str()), (Some("web.2"), Some("line 2 of shop")));
    let query = api.logs.queries.lock().expect("not poisoned").last().cloned().expect("a query");
    assert_eq!((query.follow, query.tail), (false, Some(5)));
    assert_eq!(query.since, Some(super::start() - chrono::Duration::minutes(10)));
    for since in ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00+01:00"] {
        assert_eq!(api.get(&format!("{SHOP}/logs?since={since}"), "acme-viewer").await.status, StatusCode::OK, "{since}");
    }
    let unknown = api.get(&format!("{SHOP}/logs?process=wbe"), "acme-viewer").await;
    assert_eq!((unknown.status, unknown.paths()), (StatusCode::UNPROCESSABLE_ENTITY, vec!["process".to_owned()]));
    assert!(unknown.text.contains("web, worker"), "{}", unknown.text);
    for bad in ["since=yesterday", "tail=-1", "tail=100001", "follow=maybe", "colour=red"] {
        assert_eq!(api.get(&format!("{SHOP}/logs?{bad}"), "acme-viewer").await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let unavailable = api.get(&format!("{SHOP}/logs?tail=13"), "acme-viewer").await;
    assert_eq!(unavailable.status, StatusCode::SERVICE_UNAVAILABLE);
}

fn follow(api: &Harness, query: &str) -> Request<Body> {
    Request::builder()
        .uri(format!("{SHOP}/logs?{query}"))
        .header("authorization", api.bearer("acme-viewer"))
        .body(Body::empty())
        .expect("a request")
}

#[tokio::test]
async fn a_followed_log_outlives_the_deadline_and_ends_at_shutdown() {
    let api = Harness::with(Limits { deadline: Duration::from_millis(400), ..Limits::default() }, Vec::new()).await;
    let response = api.router.clone().oneshot(follow(&api, "follow=true")).await.expect("infallible");
    let mut chunks = response.into_body().into_data_stream();
    for _ in 0..2 {
        chunks.next().await.expect("a line").expect("no error");
    }
    let waited = tokio::time::timeout(Duration::from_millis(700), chunks.next()).await;
    assert!(waited.is_err(), "the stream goes on past the deadline");
    api.shutdown.cancel();
    assert!(chunks.next().await.is_none());
}

#[tokio::test]
async fn a_log_that_breaks_off_does_not_look_complete() {
    let api = Harness::new().await;
    let answer = api.get(&format!("{SHOP}/logs?tail=14"), "acme-viewer").await;
    let lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).expect("a document per line")).collect();
    assert_eq!(lines.len(), 3, "nothing follows the failure");
    assert_eq!((&lines[2]["type"], lines[2].get("line")), (&json!("unavailable"), None));
}

#[tokio::test]
async fn log_streams_are_bounded_and_give_their_place_back() {
    let api = Harness::with(Limits { streams: 1, ..Limits::default() }, Vec::new()).await;
    let first = api.router.clone().oneshot(follow(&api, "follow=true")).await.expect("infallible");
    assert_eq!(api.get(&format!("{SHOP}/logs"), "acme-viewer").await.status, StatusCode::TOO_MANY_REQUESTS);
    drop(first);
    assert_eq!(api.get(&format!("{SHOP}/logs"), "acme-viewer").await.status, StatusCode::OK);
}

#[tokio::test]
async fn domains_are_written_and_a_taken_host_is_a_conflict() {
    let api = Harness::new().await;
    let created = api.put("/v1/orgs/acme/domains/new.example.com", "acme-member", &json!({"spec": {"app": "shop"}})).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    let taken = api.put("/v1/orgs/acme/domains/rival.example.com", "acme-member", &json!({"spec": {"app": "shop"}})).await;
    assert_eq!(taken.status, StatusCode::CONFLICT, "{}", taken.text);
    assert!(!taken.json()["detail"].as_str().is_some_and(|detail| detail.contains("organization \"rival\"")));
    assert_eq!(api.delete("/v1/orgs/acme/domains/new.example.com", "acme-member").await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.delete("/v1/orgs/acme/domains/new.example.com", "acme-member").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn settings_take_the_bare_value_or_the_object_and_can_be_reset() {
    let api = Harness::new().await;
    let path = "/v1/settings/edge.default_domain";
    let value = |answer: &super::Answer| (answer.json()["spec"]["value"].clone(), answer.json()["status"]["isDefault"].clone());
    let changed = api.put(path, "root", &json!({"value": "a.example.com"})).await;
    assert_eq!(value(&changed), (json!("a.example.com"), json!(false)), "{}", changed.text);
    let object = api.get(path, "platform-viewer").await.json();
    assert_eq!(api.put(path, "root", &object).await.status, StatusCode::OK);
    assert_eq!(api.put(path, "root", &json!({"value": 3})).await.paths(), ["spec.value"]);
    assert_eq!(value(&api.delete(path, "root").await), (json!("apps.localhost"), json!(true)));
    assert_eq!(api.get("/v1/settings/no.such", "root").await.status, StatusCode::NOT_FOUND);
    assert_eq!(api.get("/v1/nodes/n1", "root").await.json()["metadata"]["name"], "n1");
    assert_eq!(api.get("/v1/nodes/n2", "root").await.status, StatusCode::NOT_FOUND);
}
