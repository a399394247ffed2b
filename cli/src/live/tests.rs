//! A watch over connections that break, a server that goes away, and places that are too old.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api_types::problem::ProblemKind;
use api_types::{Kind, Problem};
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::feed::{Batch, Feed};
use super::*;
use crate::context::Target;
use crate::output::Format;

/// What a server answers to one connection after the other, and the places that it was asked to resume from.
struct Script {
    client: Client,
    asked: Arc<Mutex<Vec<Option<String>>>>,
}

impl Script {
    async fn start(answers: Vec<(StatusCode, &'static str, String)>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let left = Arc::new(Mutex::new(VecDeque::from(answers)));
        let seen = asked.clone();
        let answer = async move |headers: HeaderMap| -> Response {
            let place = headers.get("last-event-id").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            seen.lock().expect("a lock").push(place);
            match left.lock().expect("a lock").pop_front() {
                Some((status, media_type, body)) => (status, [(header::CONTENT_TYPE, media_type)], body).into_response(),
                None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }
        };
        let router = Router::new().route("/apps", get(answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let target = Target { url, token: None, explicit_org: None, context_org: None };
        Self { client: Client::new(&target).expect("a client"), asked }
    }

    fn feed(&self) -> Feed {
        let look = Look::of_kind(Kind::App, Format::Json).expect("apps are watched");
        Feed::new(&self.client, Source { path: "/apps".to_owned(), query: Vec::new() }, look, true)
    }

    fn asked(&self) -> Vec<Option<String>> {
        self.asked.lock().expect("a lock").clone()
    }
}

fn app(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "App", "metadata": {"name": name},
        "spec": {"image": image, "processes": {"web": {}}}
    })
}

fn event(word: &str, id: Option<&str>, object: &Value) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {word}\n{id}data: {}\n\n", json!({"type": word, "object": object}))
}

fn bookmark(id: &str, initial: bool) -> String {
    event("BOOKMARK", Some(id), &json!({"resourceVersion": id, "initialEventsEnd": initial}))
}

fn stream(events: &[String]) -> (StatusCode, &'static str, String) {
    (StatusCode::OK, "text/event-stream", format!("retry: 1000\n\n{}", events.concat()))
}

fn refusal(kind: ProblemKind) -> (StatusCode, &'static str, String) {
    let status = StatusCode::from_u16(kind.status()).expect("a status");
    (status, "application/problem+json", serde_json::to_string(&Problem::new(kind, "because")).expect("JSON"))
}

async fn next(feed: &mut Feed) -> Result<Batch> {
    tokio::time::timeout(Duration::from_secs(60), feed.next()).await.expect("in time")
}

async fn said(feed: &mut Feed) -> String {
    let batch = next(feed).await.expect("goes on");
    let words: Vec<String> = batch
        .changes
        .iter()
        .map(|change| {
            let text = |pointer: &str| change.object.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
            format!("{} {} {}", change.word.as_str(), text("/metadata/name"), text("/spec/image"))
        })
        .collect();
    format!("{}{}", if batch.initial { "first: " } else { "" }, words.join(", "))
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_and_tells_nothing_twice() {
    let (a1, a2) = (app("a", "1"), app("a", "2"));
    let server = Script::start(vec![
        // Cut off before everything was told: begins anew.
        stream(&[event("ADDED", None, &a1)]),
        stream(&[event("ADDED", None, &a1), bookmark("w1", true), event("MODIFIED", Some("w2"), &a2)]),
    ])
    .await;
    // Nothing was shown yet, and the first connection ended: that it ends is no failure.
    let mut feed = server.feed();
    assert_eq!(said(&mut feed).await, "first: ADDED a 1");
    assert_eq!(said(&mut feed).await, "MODIFIED a 2");

    let server = Script::start(vec![
        stream(&[event("ADDED", None, &a1), bookmark("w1", true), event("ADDED", Some("w2"), &app("b", "1"))]),
        // The server restarts.
        refusal(ProblemKind::Unavailable),
        // Told again, and something of which we never heard.
        stream(&[event("MODIFIED", None, &app("b", "1")), event("DELETED", None, &app("zz", "1")), event("MODIFIED", Some("w5"), &a2)]),
        stream(&[
            bookmark("w6", false),
            event("DELETED", Some("w7"), &json!({"apiVersion": "skyswarm.dev/v1", "kind": "App", "metadata": {"name": "a"}})),
        ]),
    ])
    .await;
    let mut feed = server.feed();
    assert_eq!(said(&mut feed).await, "first: ADDED a 1");
    assert_eq!(said(&mut feed).await, "ADDED b 1");
    assert_eq!(said(&mut feed).await, "MODIFIED a 2");
    assert_eq!(said(&mut feed).await, "DELETED a -");
    let w = |text: &str| Some(text.to_owned());
    assert_eq!(server.asked(), [None, w("w2"), w("w2"), w("w5")]);
}

#[tokio::test]
async fn a_place_that_is_too_old_lists_everything_again_and_shows_what_differs() {
    let gone = serde_json::to_value(Problem::new(ProblemKind::Gone, "too old")).expect("JSON");
    let server = Script::start(vec![
        stream(&[event("ADDED", None, &app("a", "1")), event("ADDED", None, &app("b", "1")), bookmark("w1", true)]),
        refusal(ProblemKind::Gone),
        stream(&[
            event("ADDED", None, &app("a", "1")),
            event("ADDED", None, &app("c", "1")),
            bookmark("w9", true),
            event("ERROR", None, &gone),
        ]),
        stream(&[event("ADDED", None, &app("a", "3")), event("ADDED", None, &app("c", "1")), bookmark("w9", true)]),
    ])
    .await;
    let mut feed = server.feed();
    assert_eq!(said(&mut feed).await, "first: ADDED a 1, ADDED b 1");
    assert_eq!(said(&mut feed).await, "DELETED b -, ADDED c 1");
    assert_eq!(said(&mut feed).await, "MODIFIED a 3");
    assert_eq!(server.asked(), [None, Some("w1".to_owned()), None, None]);
}

#[tokio::test]
async fn what_waiting_cannot_mend_ends_a_watch() {
    // At the beginning everything does: somebody looks.
    for (answer, code) in [
        (refusal(ProblemKind::Unavailable), 6),
        (refusal(ProblemKind::Unauthorized), 4),
        (refusal(ProblemKind::TooManyRequests), 6),
        ((StatusCode::OK, "application/json", "{\"items\": []}".to_owned()), 1),
        (stream(&["data: nonsense\n\n".to_owned()]), 1),
    ] {
        let server = Script::start(vec![answer]).await;
        assert_eq!(next(&mut server.feed()).await.expect_err("refused").exit_code(), code);
    }
    // Later, what the server says of the token or the organization.
    let problem = serde_json::to_value(Problem::new(ProblemKind::Unauthorized, "the token was revoked")).expect("JSON");
    let server = Script::start(vec![stream(&[bookmark("w1", true), event("ERROR", None, &problem)])]).await;
    let mut feed = server.feed();
    assert_eq!(said(&mut feed).await, "first: ");
    assert_eq!(next(&mut feed).await.expect_err("revoked").exit_code(), 4);
}
