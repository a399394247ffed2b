//! Watches: the beginning, changes, resuming, and every way in which they end.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use api_types::watch::WatchEvent;
use api_types::{App, Domain, OrgName};
use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Answer, Harness, app_spec, object};
use crate::api::Limits;
use crate::store::Cursor;

const APPS: &str = "/v1/orgs/acme/apps";
/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(10);
/// How long nothing must come.
const QUIET: Duration = Duration::from_millis(700);

/// An open watch.
struct Watch {
    body: BodyDataStream,
    rest: String,
    id: Option<String>,
}

/// A message: its id, if it has one, its type, and its object.
type Message = (Option<String>, String, Value);

impl Watch {
    async fn open(api: &Harness, path: &str, token: &str) -> Self {
        Self::with(api, path, token, None).await.unwrap_or_else(|answer| panic!("{}", answer.text))
    }

    async fn with(api: &Harness, path: &str, token: &str, last_event_id: Option<&str>) -> Result<Self, Answer> {
        let mut request = Request::builder().uri(path).header("authorization", api.bearer(token));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = api.router.clone().oneshot(request).await.expect("infallible");
        if response.status() != StatusCode::OK {
            let (parts, body) = response.into_parts();
            let bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            return Err(Answer { status: parts.status, headers: parts.headers, text });
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Ok(Self { body: response.into_body().into_data_stream(), rest: String::new(), id: None })
    }

    /// The next message; `None` at the end.
    async fn next(&mut self) -> Option<Message> {
        tokio::time::timeout(SOON, self.read()).await.expect("a message in time")
    }

    async fn read(&mut self) -> Option<Message> {
        loop {
            while let Some(end) = self.rest.find("\n\n") {
                let block: String = self.rest.drain(..end + 2).collect();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let Some(data) = field("data: ") else { continue };
                let data: Value = serde_json::from_str(&data).expect("JSON");
                assert_eq!(field("event: ").as_deref(), data["type"].as_str());
                let id = field("id: ");
                self.id = id.clone().or(self.id.take());
                return Some((id, data["type"].as_str().expect("a type").to_owned(), data["object"].clone()));
            }
            let chunk = self.body.next().await?.expect("no error");
            self.rest.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }

    /// Types and names up to the next bookmark.
    async fn until_bookmark(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let (_, word, object) = self.next().await.expect("goes on");
            if word == "BOOKMARK" {
                return told;
            }
            told.push(said(&word, &object));
        }
    }

    /// The next message's type and name.
    async fn said(&mut self) -> String {
        let (_, word, object) = self.next().await.expect("goes on");
        said(&word, &object)
    }

    async fn silence(&mut self) {
        let heard = tokio::time::timeout(QUIET, self.read()).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    /// The error that ends it.
    async fn end(&mut self) -> Value {
        let (_, word, object) = self.next().await.expect("an error");
        assert_eq!(word, "ERROR", "{object}");
        assert!(self.next().await.is_none(), "it ends");
        object
    }
}

fn said(word: &str, object: &Value) -> String {
    format!("{word} {}", object["metadata"]["name"].as_str().or(object["message"].as_str()).unwrap_or("?"))
}

async fn put_app(api: &Harness, name: &str, image: &str) {
    let answer = api.put(&format!("{APPS}/{name}"), "acme-member", &json!({"spec": app_spec(image)})).await;
    assert!(answer.status.is_success(), "{}", answer.text);
}

async fn label(api: &Harness, name: &str, labels: Value) {
    let mut app = object("App", name, &app_spec("a:1"));
    app["metadata"]["labels"] = labels;
    let answer = api.put(&format!("{APPS}/{name}"), "acme-member", &app).await;
    assert!(answer.status.is_success(), "{}", answer.text);
}

/// Deletes, and takes away as the controller would.
async fn remove(api: &Harness, name: &str) {
    assert_eq!(api.delete(&format!("{APPS}/{name}"), "acme-member").await.status, StatusCode::ACCEPTED);
    let record = api.store().app_get(&acme(), &name.parse().expect("a name")).await.expect("reads").expect("is there");
    api.store().app_remove(record.uid, api.epoch).await.expect("removed");
}

fn acme() -> OrgName {
    "acme".parse().expect("a name")
}

fn reads_as<T: DeserializeOwned>((_, word, object): &Message) -> WatchEvent<T> {
    serde_json::from_value(json!({"type": word, "object": object})).unwrap_or_else(|error| panic!("{error}: {object}"))
}

#[tokio::test]
async fn a_watch_tells_what_is_there_and_then_what_changes() {
    let api = Harness::new().await;
    let mut watch = Watch::open(&api, &format!("{APPS}?watch=true"), "acme-viewer").await;
    let first = watch.next().await.expect("the app");
    let WatchEvent::Added(app) = reads_as::<App>(&first) else { panic!("{first:?}") };
    assert_eq!((app.metadata.name.as_str(), first.0.as_deref()), ("shop", None), "no id before everything was told");
    assert!(!first.2.to_string().contains("hunter2"));
    let bookmark = watch.next().await.expect("a bookmark");
    let WatchEvent::Bookmark(place) = reads_as::<App>(&bookmark) else { panic!("{bookmark:?}") };
    assert!(place.initial_events_end && Some(place.resource_version) == bookmark.0);

    put_app(&api, "blog", "a:1").await;
    assert_eq!(watch.said().await, "ADDED blog");
    put_app(&api, "blog", "a:2").await;
    let changed = watch.next().await.expect("goes on");
    assert_eq!((said(&changed.1, &changed.2), &changed.2["spec"]["image"]), ("MODIFIED blog".to_owned(), &json!("a:2")));
    assert!(changed.0.is_some(), "who was told everything may resume from here");

    // A status, which has no hint; another organization's change, which is nobody's business here.
    let record = api.store().app_get(&acme(), &"blog".parse().expect("a name")).await.expect("reads").expect("is there");
    let status = serde_json::from_value(json!({"observedGeneration": 2})).expect("a status");
    api.store().app_status_put(record.uid, &status, record.desired_version, api.epoch).await.expect("written");
    let told = watch.next().await.expect("goes on");
    assert_eq!(told.2["status"]["observedGeneration"], 2);
    api.put("/v1/orgs/rival/apps/secret", "rival-admin", &json!({"spec": app_spec("a:1")})).await;
    watch.silence().await;

    remove(&api, "blog").await;
    let mut words = vec![watch.said().await];
    if words[0] != "DELETED blog" {
        words.push(watch.said().await);
    }
    assert!(words == ["DELETED blog"] || words == ["MODIFIED blog", "DELETED blog"], "{words:?}");
    put_app(&api, "blog", "a:9").await;
    assert_eq!(watch.said().await, "ADDED blog", "another one of this name");
}

#[tokio::test]
async fn domains_nodes_and_events_are_watched_too() {
    let api = Harness::new().await;
    let mut domains = Watch::open(&api, "/v1/orgs/acme/domains?watch=true", "acme-viewer").await;
    assert_eq!(domains.until_bookmark().await, ["ADDED acme.example.com"]);
    api.put("/v1/orgs/acme/domains/new.example.com", "acme-member", &json!({"spec": {"app": "shop"}})).await;
    let told = domains.next().await.expect("goes on");
    assert!(matches!(reads_as::<Domain>(&told), WatchEvent::Added(_)), "{told:?}");
    api.delete("/v1/orgs/acme/domains/new.example.com", "acme-member").await;
    let told = domains.next().await.expect("goes on");
    let WatchEvent::Deleted(gone) = reads_as::<Domain>(&told) else { panic!("{told:?}") };
    assert_eq!((gone.metadata.name.as_str(), gone.metadata.org), ("new.example.com", Some(acme())));

    let mut nodes = Watch::open(&api, "/v1/nodes?watch=true", "root").await;
    assert_eq!(nodes.until_bookmark().await, ["ADDED n1"]);
    api.store().node_replace_all(&[], api.epoch).await.expect("written");
    assert_eq!(nodes.said().await, "DELETED n1");

    let event = |message: &str| crate::store::NewEvent {
        org: Some(acme()),
        kind: "App",
        name: "shop".to_owned(),
        uid: None,
        event_type: api_types::event::EventType::Normal,
        reason: "CreateService".to_owned(),
        message: message.to_owned(),
        generation: 1,
    };
    for n in 1..=3 {
        api.store().event_record(&event(&format!("event {n}"))).await.expect("written");
        api.store_clock.advance(Duration::from_secs(1));
    }
    let mut events = Watch::open(&api, "/v1/orgs/acme/apps/shop/events?watch=true&limit=2", "acme-viewer").await;
    assert_eq!(events.until_bookmark().await, ["ADDED event 2", "ADDED event 3"]);
    api.store().event_record(&event("event 4")).await.expect("written");
    assert_eq!(events.said().await, "ADDED event 4");
    api.store().event_record(&event("event 4")).await.expect("written");
    let again = events.next().await.expect("goes on");
    assert_eq!((said(&again.1, &again.2), &again.2["count"]), ("MODIFIED event 4".to_owned(), &json!(2)));
    api.store().event_record(&crate::store::NewEvent { name: "other".to_owned(), ..event("not of shop") }).await.expect("written");
    events.silence().await;
}

#[tokio::test]
async fn selectors_make_leaving_a_deletion_and_coming_an_addition() {
    let api = Harness::new().await;
    label(&api, "one", json!({"team": "core"})).await;
    let mut watch = Watch::open(&api, &format!("{APPS}?watch=true&labelSelector=team%3Dcore"), "acme-viewer").await;
    assert_eq!(watch.until_bookmark().await, ["ADDED one"]);
    label(&api, "two", json!({"team": "edge"})).await;
    watch.silence().await;
    label(&api, "two", json!({"team": "core"})).await;
    assert_eq!(watch.said().await, "ADDED two");
    label(&api, "one", json!({"team": "edge"})).await;
    assert_eq!(watch.said().await, "DELETED one");
    remove(&api, "one").await;
    watch.silence().await;

    let mut ready =
        Watch::open(&api, &format!("{APPS}?watch=true&fieldSelector=metadata.name%3Dshop,status.ready%3DFalse"), "acme-viewer").await;
    assert!(ready.until_bookmark().await.is_empty());
    let record = api.store().app_get(&acme(), &"shop".parse().expect("a name")).await.expect("reads").expect("is there");
    let status = json!({
        "observedGeneration": 1,
        "conditions": [{"type": "Ready", "status": "False", "reason": "CrashLoop", "message": "", "observedGeneration": 1, "lastTransitionTime": "2026-01-31T12:00:20Z"}],
    });
    let status = serde_json::from_value(status).expect("a status");
    api.store().app_status_put(record.uid, &status, record.desired_version, api.epoch).await.expect("written");
    assert_eq!(ready.said().await, "ADDED shop");
}

#[tokio::test]
async fn who_was_away_is_told_all_that_happened_and_no_more() {
    let api = Harness::new().await;
    put_app(&api, "gone", "a:1").await;
    let list = api.get(APPS, "acme-viewer").await.json();
    let from_list = list["metadata"]["resourceVersion"].as_str().expect("lists can be watched").to_owned();
    let mut watch = Watch::open(&api, &format!("{APPS}?watch=true"), "acme-viewer").await;
    watch.until_bookmark().await;
    put_app(&api, "blog", "a:1").await;
    watch.said().await;
    let left_at = watch.id.clone().expect("an id");
    drop(watch);

    put_app(&api, "blog", "a:2").await;
    put_app(&api, "late", "a:1").await;
    remove(&api, "gone").await;
    // The header is stronger: a client that connects again sends its old address.
    let path = format!("{APPS}?watch=true&resourceVersion=w0");
    let mut watch = Watch::with(&api, &path, "acme-viewer", Some(&left_at)).await.unwrap_or_else(|answer| panic!("{}", answer.text));
    let mut told = watch.until_bookmark().await;
    told.sort();
    assert_eq!(told, ["ADDED late", "DELETED gone", "MODIFIED blog"]);
    let mut watch = Watch::open(&api, &format!("{APPS}?watch=true&resourceVersion={from_list}"), "acme-viewer").await;
    let mut told = watch.until_bookmark().await;
    told.sort();
    assert_eq!(told, ["ADDED blog", "ADDED late", "DELETED gone"]);
    put_app(&api, "late", "a:2").await;
    assert_eq!(watch.said().await, "MODIFIED late");
}

#[tokio::test]
async fn a_place_that_is_too_far_back_or_not_of_this_database_is_410() {
    let api = Harness::new().await;
    let mut watch = Watch::open(&api, &format!("{APPS}?watch=true"), "acme-viewer").await;
    watch.until_bookmark().await;
    let before = watch.id.clone().expect("an id");
    put_app(&api, "blog", "a:1").await;
    remove(&api, "blog").await;
    assert_eq!(api.store().tombstones_prune(Duration::from_secs(60)).await.expect("prunes"), 0, "too young");
    assert_eq!(api.store().tombstones_prune(Duration::ZERO).await.expect("prunes"), 1);
    for place in [before.as_str(), "w99999999999"] {
        let answer = api.get(&format!("{APPS}?watch=true&resourceVersion={place}"), "acme-viewer").await;
        assert_eq!((answer.status.as_u16(), &answer.json()["type"]), (410, &json!("gone")), "{}", answer.text);
        assert!(answer.text.contains("lists everything again"), "{}", answer.text);
    }
    let now = api.store().change_cursor().await.expect("reads");
    let mut watch = Watch::open(&api, &format!("{APPS}?watch=true&resourceVersion=w{now}"), "acme-viewer").await;
    assert!(watch.until_bookmark().await.is_empty());
    for query in ["watch=true&resourceVersion=17", "resourceVersion=w17", "watch=true&limit=5", "watch=true&continue=MWE", "watch=perhaps"]
    {
        assert_eq!(api.get(&format!("{APPS}?{query}"), "acme-viewer").await.status, StatusCode::BAD_REQUEST, "{query}");
    }
    for path in ["/v1/orgs?watch=true", "/v1/settings?watch=true"] {
        assert_eq!(api.get(path, "root").await.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn a_watch_ends_with_its_token() {
    let mut api = Harness::new().await;
    let org = acme();
    let new = crate::store::NewToken::new("watcher", Some(&org), api_types::api::Role::Viewer);
    let (info, text) = api.store().token_create(&new).await.expect("a token");
    api.tokens.insert("watcher", text);
    let mut watch = Watch::open(&api, &format!("{APPS}?watch=true"), "watcher").await;
    watch.until_bookmark().await;
    let logs = Request::builder().uri(format!("{APPS}/shop/logs?follow=true")).header("authorization", api.bearer("watcher"));
    let logs = api.router.clone().oneshot(logs.body(Body::empty()).expect("a request")).await.expect("infallible");
    let mut logs = logs.into_body().into_data_stream();
    for _ in 0..2 {
        assert!(logs.next().await.expect("a line").is_ok());
    }
    let mut other = Watch::open(&api, &format!("{APPS}?watch=true"), "acme-viewer").await;
    other.until_bookmark().await;
    assert!(api.store().token_revoke(Some(&acme()), info.id).await.expect("revokes"));
    let problem = watch.end().await;
    assert_eq!((&problem["type"], &problem["status"]), (&json!("unauthorized"), &json!(401)));
    assert!(tokio::time::timeout(SOON, logs.next()).await.expect("ends with its token").is_none());
    put_app(&api, "blog", "a:1").await;
    assert_eq!(other.said().await, "ADDED blog", "others go on");

    // One that expires.
    let expires = crate::store::NewToken { expires_in: Some("1h".parse().expect("a lifetime")), ..new };
    let (_, text) = api.store().token_create(&expires).await.expect("a token");
    api.tokens.insert("brief", text);
    let mut watch = Watch::open(&api, &format!("{APPS}?watch=true"), "brief").await;
    watch.until_bookmark().await;
    api.store_clock.advance(Duration::from_secs(3601));
    assert_eq!(watch.end().await["type"], "unauthorized");
}

#[tokio::test]
async fn a_watch_ends_with_the_server_and_with_its_organization() {
    let api = Harness::with(Limits { heartbeat: Duration::from_millis(300), ..Limits::default() }, Vec::new()).await;
    api.put("/v1/orgs/brief", "root", &json!({"spec": {}})).await;
    let mut watch = Watch::open(&api, "/v1/orgs/brief/apps?watch=true", "root").await;
    watch.until_bookmark().await;
    assert_eq!(api.delete("/v1/orgs/brief", "root").await.status, StatusCode::NO_CONTENT);
    loop {
        match watch.next().await {
            Some((_, word, _)) if word == "BOOKMARK" => {}
            Some((_, word, object)) => {
                assert_eq!((word.as_str(), &object["type"]), ("ERROR", &json!("not-found")));
                break;
            }
            None => panic!("it ended without a word"),
        }
    }
    let mut watch = Watch::open(&api, &format!("{APPS}?watch=true"), "acme-viewer").await;
    watch.until_bookmark().await;
    api.shutdown.cancel();
    while let Some((_, word, _)) = watch.next().await {
        assert_eq!(word, "BOOKMARK");
    }
}

#[tokio::test]
async fn too_many_watches_are_refused_and_closed_ones_make_room() {
    let api = Harness::with(Limits { watches: 2, streams_per_token: 1, ..Limits::default() }, Vec::new()).await;
    let path = format!("{APPS}?watch=true");
    let mut first = Watch::open(&api, &path, "acme-viewer").await;
    first.until_bookmark().await;
    let Err(refused) = Watch::with(&api, &path, "acme-viewer", None).await else { panic!("one for each token") };
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert!(refused.text.contains("this token has too many"), "{}", refused.text);
    let _second = Watch::open(&api, &path, "acme-member").await;
    let Err(refused) = Watch::with(&api, &path, "root", None).await else { panic!("two over all") };
    assert!(refused.text.contains("the server has too many"), "{}", refused.text);
    drop(first);
    for _ in 0..100 {
        if Watch::with(&api, &path, "root", None).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a closed watch keeps its place");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off_and_can_resume() {
    let api = Harness::with(Limits { stall: Duration::from_millis(300), ..Limits::default() }, Vec::new()).await;
    let mut slow = Watch::open(&api, &format!("{APPS}?watch=true"), "acme-viewer").await;
    slow.until_bookmark().await;
    let left_at = slow.id.clone().expect("an id");
    let mut quick = Watch::open(&api, &format!("{APPS}?watch=true"), "acme-viewer").await;
    quick.until_bookmark().await;
    // More than what may wait, each change in a chunk of its own.
    for n in 0..8 {
        put_app(&api, "blog", &format!("a:{n}")).await;
        assert!(quick.said().await.ends_with("blog"), "the quick one does not wait for the slow one");
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut taken = 0;
    while slow.next().await.is_some() {
        taken += 1;
    }
    assert!(taken < 8, "{taken} were kept for it");
    let mut again =
        Watch::with(&api, &format!("{APPS}?watch=true"), "acme-viewer", Some(&left_at)).await.unwrap_or_else(|_| panic!("resumes"));
    assert_eq!(again.until_bookmark().await, ["ADDED blog"]);
}

#[tokio::test]
async fn nothing_is_lost_while_the_database_is_away() {
    let api = Harness::new().await;
    let mut watch = Watch::open(&api, &format!("{APPS}?watch=true"), "acme-viewer").await;
    watch.until_bookmark().await;
    api.backend.down.store(true, Relaxed);
    // Past the gate, as another server would.
    let manifest = api_types::check::check(&object("App", "blog", &app_spec("a:1")));
    let mut manifest = manifest.expect("valid");
    manifest.metadata_mut().org = Some(acme());
    let cx = crate::store::WriteContext {
        author: "x".to_owned(),
        source: "apply".to_owned(),
        client: String::new(),
        dry_run: false,
        adoptions: Vec::new(),
    };
    api.store().apply(&[manifest], &cx).await.expect("applies");
    watch.silence().await;
    let refused = Watch::with(&api, &format!("{APPS}?watch=true"), "acme-viewer", None).await;
    assert_eq!(refused.err().map(|answer| answer.status), Some(StatusCode::SERVICE_UNAVAILABLE));
    api.backend.down.store(false, Relaxed);
    assert_eq!(watch.said().await, "ADDED blog");
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_told() {
    let api = Harness::new().await;
    let store = api.store();
    let mut watch = Watch::open(&api, &format!("{APPS}?watch=true"), "acme-viewer").await;
    watch.until_bookmark().await;
    // It takes its number now, and commits after others that have larger ones.
    let late = crate::store::testing::late_label(store, "shop").await;
    put_app(&api, "blog", "a:1").await;
    assert_eq!(watch.said().await, "ADDED blog");
    let held: Cursor = store.change_cursor().await.expect("reads");
    put_app(&api, "blog", "a:2").await;
    assert_eq!(watch.said().await, "MODIFIED blog");
    assert_eq!(store.change_cursor().await.expect("reads"), held, "the place waits for the transaction");
    late.commit().await;
    assert_eq!(watch.said().await, "MODIFIED shop");
    watch.silence().await;
}
