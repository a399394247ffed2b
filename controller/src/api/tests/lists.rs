//! Lists: selectors, pages; and conditions of reads and writes in headers.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Harness, app_spec, object};

const APPS: &str = "/v1/orgs/acme/apps";

fn names(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let items = answer.json()["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// `%` escapes for what a query cannot hold.
fn escaped(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

async fn fleet() -> Harness {
    let api = Harness::new().await;
    let app = |name: &str, image: &str, labels: Value| {
        let mut app = object("App", name, &app_spec(image));
        app["metadata"]["labels"] = labels;
        app
    };
    let items = json!({"items": [
        app("api", "a:1", json!({"team": "core", "tier": "web"})),
        app("db", "b:1", json!({"team": "core"})),
        app("web", "a:2", json!({"team": "edge", "tier": "web"})),
        object("Domain", "api.example.net", &json!({"app": "api"})),
    ]});
    let answer = api.post("/v1/orgs/acme/apply", "acme-member", &items).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    api
}

#[tokio::test]
async fn apps_are_selected_in_the_database_by_labels_and_fields() {
    let api = fleet().await;
    for (selector, wanted) in [
        ("", vec!["api", "db", "shop", "web"]),
        ("team=core", vec!["api", "db"]),
        ("team!=core", vec!["shop", "web"]),
        ("tier", vec!["api", "web"]),
        ("!tier", vec!["db", "shop"]),
        ("team in (core,edge),tier", vec!["api", "web"]),
        ("tier notin (web)", vec!["db", "shop"]),
        ("team=acme", vec!["shop"]),
        ("team=x' OR true --", vec![]),
    ] {
        let answer = api.get(&format!("{APPS}?labelSelector={}", escaped(selector)), "acme-viewer").await;
        if selector.contains('\'') {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            continue;
        }
        assert_eq!(names(&answer), wanted, "{selector}");
    }
    for (selector, wanted) in [
        ("metadata.name=db", vec!["db"]),
        ("metadata.name!=db,spec.image!=a:1", vec!["web"]),
        ("spec.image=a:2", vec!["web"]),
        ("status.ready=True", vec![]),
        ("status.ready=Unknown", vec!["api", "db", "shop", "web"]),
        ("status.ready!=Unknown", vec![]),
    ] {
        let answer = api.get(&format!("{APPS}?fieldSelector={}", escaped(selector)), "acme-viewer").await;
        assert_eq!(names(&answer), wanted, "{selector}");
    }
    let both = api.get(&format!("{APPS}?labelSelector=team%3Dcore&fieldSelector=spec.image%3Da%3A1"), "acme-viewer").await;
    assert_eq!(names(&both), ["api"]);
    let domains = api.get("/v1/orgs/acme/domains?fieldSelector=spec.app%3Dapi", "acme-viewer").await;
    assert_eq!(names(&domains), ["api.example.net"]);
    assert_eq!(names(&api.get("/v1/orgs?fieldSelector=metadata.name%3Drival", "root").await), ["rival"]);
    assert_eq!(names(&api.get("/v1/orgs?fieldSelector=metadata.name%3Drival", "acme-admin").await), Vec::<String>::new());
    assert_eq!(names(&api.get("/v1/nodes?fieldSelector=status.state%3Dnonsense", "root").await), Vec::<String>::new());
}

#[tokio::test]
async fn a_condition_selects_by_what_was_observed() {
    let api = fleet().await;
    let store = api.store();
    let record = store.app_get(&"acme".parse().expect("a name"), &"db".parse().expect("a name")).await.expect("reads").expect("is there");
    let status = json!({
        "observedGeneration": 1,
        "conditions": [{"type": "Ready", "status": "False", "reason": "CrashLoop", "message": "it ends", "observedGeneration": 1, "lastTransitionTime": "2026-01-31T12:00:20Z"}],
    });
    let status = serde_json::from_value(status).expect("a status");
    store.app_status_put(record.uid, &status, record.desired_version, api.epoch).await.expect("written");
    assert_eq!(names(&api.get(&format!("{APPS}?fieldSelector=status.ready%3DFalse"), "acme-viewer").await), ["db"]);
    assert_eq!(names(&api.get(&format!("{APPS}?fieldSelector=status.ready!%3DFalse"), "acme-viewer").await), ["api", "shop", "web"]);
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended_whatever_happens_between() {
    let api = fleet().await;
    let first = api.get(&format!("{APPS}?limit=2"), "acme-viewer").await;
    assert_eq!(names(&first), ["api", "db"]);
    let token = first.json()["metadata"]["continue"].as_str().expect("goes on").to_owned();
    let late = json!({"items": [object("App", "aaa", &app_spec("a:1")), object("App", "xyz", &app_spec("a:1"))]});
    assert_eq!(api.post("/v1/orgs/acme/apply", "acme-member", &late).await.status, StatusCode::OK);
    let second = api.get(&format!("{APPS}?limit=2&continue={token}"), "acme-viewer").await;
    assert_eq!(names(&second), ["shop", "web"]);
    let token = second.json()["metadata"]["continue"].as_str().expect("goes on").to_owned();
    let third = api.get(&format!("{APPS}?limit=2&continue={token}"), "acme-viewer").await;
    assert_eq!((names(&third), third.json()["metadata"].get("continue")), (vec!["xyz".to_owned()], None));
    assert_eq!(names(&api.get(APPS, "acme-viewer").await).len(), 6, "without a limit all of them");

    let pages = api.get("/v1/settings?limit=3", "root").await;
    assert_eq!(names(&pages).len(), 3);
    for (path, token) in [("/v1/orgs?limit=1", "root"), ("/v1/orgs/acme/domains?limit=1", "acme-viewer"), ("/v1/tokens?limit=1", "root")] {
        assert!(api.get(path, token).await.json()["metadata"]["continue"].is_string(), "{path}");
    }
    for query in ["limit=0", "limit=1001", "limit=x", "continue=nonsense", "fieldSelector=spec.env%3Dx", "labelSelector=%3D", "nonsense=1"]
    {
        assert_eq!(api.get(&format!("{APPS}?{query}"), "acme-viewer").await.status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn events_and_revisions_are_read_back_in_pages() {
    let api = Harness::new().await;
    for (n, kind) in [(1, "Normal"), (2, "Warning"), (3, "Normal"), (4, "Warning"), (5, "Normal")] {
        let event = crate::store::NewEvent {
            org: Some("acme".parse().expect("a name")),
            kind: "App",
            name: "shop".to_owned(),
            uid: None,
            event_type: if kind == "Normal" { api_types::event::EventType::Normal } else { api_types::event::EventType::Warning },
            reason: "CreateService".to_owned(),
            message: format!("event {n}"),
            generation: 1,
        };
        api.store().event_record(&event).await.expect("written");
        api.put("/v1/orgs/acme/apps/shop", "acme-member", &json!({"spec": app_spec(&format!("a:{n}"))})).await;
    }
    let messages = |answer: &Answer| -> Vec<String> {
        let items = answer.json()["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["message"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let events = "/v1/orgs/acme/apps/shop/events";
    let first = api.get(&format!("{events}?limit=2"), "acme-viewer").await;
    assert_eq!(messages(&first), ["event 4", "event 5"]);
    let next = first.json()["metadata"]["continue"].as_str().expect("goes on").to_owned();
    let second = api.get(&format!("{events}?limit=2&continue={next}"), "acme-viewer").await;
    assert_eq!(messages(&second), ["event 2", "event 3"]);
    let next = second.json()["metadata"]["continue"].as_str().expect("goes on").to_owned();
    let third = api.get(&format!("/v1/orgs/acme/events?limit=2&continue={next}"), "acme-viewer").await;
    assert_eq!((messages(&third), third.json()["metadata"].get("continue")), (vec!["event 1".to_owned()], None));
    assert_eq!(messages(&api.get(&format!("{events}?fieldSelector=type%3DWarning"), "acme-viewer").await), ["event 2", "event 4"]);

    let mut generations = Vec::new();
    let mut path = "/v1/orgs/acme/apps/shop/revisions?limit=2".to_owned();
    loop {
        let page = api.get(&path, "acme-viewer").await.json();
        generations.extend(page["items"].as_array().cloned().unwrap_or_default().iter().map(|item| item["generation"].as_i64()));
        let Some(next) = page["metadata"]["continue"].as_str() else { break };
        path = format!("/v1/orgs/acme/apps/shop/revisions?limit=2&continue={next}");
    }
    let newest = generations.first().copied().flatten().expect("a generation");
    assert_eq!(generations, (1..=newest).rev().map(Some).collect::<Vec<_>>());
}

async fn with_header(api: &Harness, (method, path): (&str, &str), header: (&str, &str), body: Option<Value>) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", api.bearer("root"))
        .header("content-type", "application/json")
        .header(header.0, header.1);
    api.raw(request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).expect("a request")).await
}

#[tokio::test]
async fn every_write_of_an_object_takes_its_conditions_from_headers() {
    let api = Harness::new().await;
    api.put("/v1/settings/limits.max_replicas", "root", &json!({"value": 50})).await;
    let spec = |image: &str| json!({"spec": app_spec(image)});
    for (path, body) in [
        ("/v1/orgs/acme/apps/shop", Some(spec("a:7"))),
        ("/v1/orgs/acme/apps/shop/scale", Some(json!({"processes": {"web": 3}}))),
        ("/v1/orgs/acme/domains/acme.example.com", Some(json!({"spec": {"app": "shop"}, "metadata": {"labels": {"a": "b"}}}))),
        ("/v1/orgs/acme", Some(json!({"spec": {"displayName": "Acme"}}))),
        ("/v1/settings/limits.max_replicas", Some(json!({"value": 60}))),
    ] {
        let before = api.everything().await;
        let tag = api.get(path, "root").await.header("etag").to_owned();
        assert!(tag.starts_with('"'), "{path} has a version");
        let mut methods = vec![("PUT", body)];
        if !path.ends_with("/scale") {
            methods.push(("DELETE", None));
        }
        for (method, body) in &methods {
            let stale = with_header(&api, (method, path), ("if-match", "\"999999\""), body.clone()).await;
            assert_eq!(
                (stale.status, &stale.json()["type"]),
                (StatusCode::PRECONDITION_FAILED, &json!("precondition-failed")),
                "{method} {path}"
            );
            assert_eq!(stale.json()["status"], 412);
            assert_eq!(api.everything().await, before, "{method} {path} wrote nothing");
        }
        for nonsense in [("if-match", "x"), ("if-match", "\"-1\""), ("if-match", "\"0\""), ("if-none-match", "\"5\"")] {
            assert_eq!(with_header(&api, ("PUT", path), nonsense, methods[0].1.clone()).await.status, StatusCode::BAD_REQUEST, "{path}");
        }
        let fresh = with_header(&api, ("PUT", path), ("if-match", &tag), methods[0].1.clone()).await;
        assert_eq!(fresh.status, StatusCode::OK, "{path}: {}", fresh.text);
        assert_ne!(fresh.header("etag"), tag, "{path}");
    }
}

#[tokio::test]
async fn create_only_and_change_only_are_held() {
    let api = Harness::new().await;
    let spec = json!({"spec": app_spec("a:1")});
    let fresh = "/v1/orgs/acme/apps/fresh";
    let missing = with_header(&api, ("PUT", fresh), ("if-match", "*"), Some(spec.clone())).await;
    assert_eq!(missing.status, StatusCode::PRECONDITION_FAILED, "{}", missing.text);
    let created = with_header(&api, ("PUT", fresh), ("if-none-match", "*"), Some(spec.clone())).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    let again = with_header(&api, ("PUT", fresh), ("if-none-match", "*"), Some(spec.clone())).await;
    assert_eq!(again.status, StatusCode::PRECONDITION_FAILED, "{}", again.text);
    assert!(again.json()["detail"].as_str().is_some_and(|detail| detail.contains("exists already")), "{}", again.text);
    assert_eq!(with_header(&api, ("PUT", fresh), ("if-match", "*"), Some(spec)).await.status, StatusCode::OK);
    let mut zero = object("App", "fresh", &app_spec("a:1"));
    zero["metadata"]["resourceVersion"] = json!("0");
    assert_eq!(api.post("/v1/orgs/acme/apply", "acme-member", &zero).await.status, StatusCode::CONFLICT, "in the body it is 409");
}

#[tokio::test]
async fn a_reader_who_has_the_newest_version_gets_no_body() {
    let api = Harness::new().await;
    let path = "/v1/orgs/acme/apps/shop";
    let tag = api.get(path, "root").await.header("etag").to_owned();
    for known in [tag.clone(), format!("\"1\", {tag}"), format!("W/{tag}")] {
        let answer = with_header(&api, ("GET", path), ("if-none-match", &known), None).await;
        assert_eq!((answer.status, answer.text.as_str(), answer.header("etag")), (StatusCode::NOT_MODIFIED, "", tag.as_str()));
    }
    assert_eq!(with_header(&api, ("GET", path), ("if-none-match", "\"1\""), None).await.status, StatusCode::OK);
}
