//! Answers of a server that is not well, and what the command line makes of them.

use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::cmd::Session;

async fn serve(router: Router) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    client(&url)
}

fn client(url: &str) -> Client {
    let target = Target { url: url.to_owned(), token: Some(SecretString::from("sky_secret")), explicit_org: None, context_org: None };
    Client::new(&target).expect("a client")
}

fn problem(kind: ProblemKind) -> impl IntoResponse {
    let status = StatusCode::from_u16(kind.status()).expect("a status");
    (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(Problem::new(kind, "because")).into_response().into_body())
}

#[tokio::test]
async fn every_refusal_has_its_exit_code_and_its_hint() {
    let router = Router::new()
        .route("/401", get(async || problem(ProblemKind::Unauthorized)))
        .route("/403", get(async || problem(ProblemKind::Forbidden)))
        .route("/404", get(async || problem(ProblemKind::NotFound)))
        .route("/409", get(async || problem(ProblemKind::Conflict)))
        .route("/422", get(async || problem(ProblemKind::Invalid)))
        .route("/500", get(async || problem(ProblemKind::Internal)))
        .route("/503", get(async || problem(ProblemKind::Unavailable)))
        .route("/502", get(async || (StatusCode::BAD_GATEWAY, "<html>")))
        .route("/302", get(async || (StatusCode::FOUND, [(header::LOCATION, "http://elsewhere.example/")], "")))
        .route("/html", get(async || "<html>"));
    let client = serve(router).await;
    let url = client.url();
    let mut text = String::new();
    for path in ["/401", "/403", "/404", "/409", "/422", "/500", "/503", "/502", "/302", "/html"] {
        let error = client.get::<Value>(path, &[]).await.expect_err(path);
        text.push_str(&format!(
            "{path} exit {} transient {}\n{}\n",
            error.exit_code(),
            error.is_transient(),
            error.report().replace(&url, "URL")
        ));
    }
    assert!(!text.contains("sky_secret"));
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_what_to_do() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let error = client("http://127.0.0.1:1").get::<Value>("/v1/whoami", &[]).await.expect_err("nobody listens");
    assert_eq!(error.exit_code(), 6);
    let text = error.report();
    assert!(text.contains("http://127.0.0.1:1") && text.contains("SKYSWARM_URL") && text.contains("skyswarm up"), "{text}");
    for bad in ["127.0.0.1:7070", "ftp://x", "http://", "http://user:pw@host"] {
        let target = Target { url: bad.to_owned(), token: None, explicit_org: None, context_org: None };
        let error = Client::new(&target).err().expect(bad);
        assert_eq!(error.exit_code(), 2, "{bad}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_brings_similar_names() {
    let list = json!({"items": [{"kind": "App", "metadata": {"name": "shop"}}, {"kind": "App", "metadata": {"name": "blog"}}]});
    let router = Router::new()
        .route("/v1/orgs/acme/apps", get(async || Json(list)))
        .route("/v1/orgs/acme/apps/{name}", get(async || problem(ProblemKind::NotFound)));
    let client = serve(router).await;
    let target = Target { url: client.url(), token: None, explicit_org: "acme".parse().ok(), context_org: None };
    let session = Session { client, target };
    let org = session.org().await.expect("named");
    let error = session.object(api_types::Kind::App, &org, "shpo").await.expect_err("missing");
    assert_eq!(error.exit_code(), 3);
    assert_eq!(error.report(), "error: there is no app \"shpo\" in the organization acme\nhint: did you mean \"shop\"?\n");
    // Its revision is missing, not the app.
    let missing = CliError::Problem(Box::new(Problem::new(ProblemKind::NotFound, "App shop has no revision 99")));
    let error = session.with_similar(missing, api_types::Kind::App, &org, "shop").await;
    assert_eq!((error.exit_code(), error.report().contains("has no revision 99")), (3, true));
}

#[tokio::test]
async fn the_organization_is_the_named_one_or_the_tokens_own_or_the_contexts() {
    let own = Router::new().route("/v1/whoami", get(async || Json(json!({"name": "ci", "org": "own", "role": "member"}))));
    let platform = Router::new().route("/v1/whoami", get(async || Json(json!({"name": "root", "role": "admin"}))));
    let (own, platform) = (serve(own).await, serve(platform).await);
    let target = |explicit: &str, context: &str| Target {
        url: String::new(),
        token: None,
        explicit_org: explicit.parse().ok(),
        context_org: context.parse().ok(),
    };
    for (client, explicit, context, wanted) in
        [(&own, "named", "ctx", "named"), (&own, "", "ctx", "own"), (&platform, "", "ctx", "ctx"), (&platform, "", "", "default")]
    {
        assert_eq!(client.org(&target(explicit, context)).await.expect("an org").as_str(), wanted);
    }
}

#[tokio::test]
async fn log_lines_come_over_any_cut() {
    let line = |text: &str| {
        json!({"time": "2026-01-01T00:00:00Z", "process": "web", "replica": "web.1", "stream": "stdout", "line": text}).to_string()
    };
    let body = format!("{}\n\n{}\r\n{}", line("one"), line("two ä"), line("three"));
    let chunks: Vec<Vec<u8>> = body.as_bytes().chunks(7).map(<[u8]>::to_vec).collect();
    let chunks = move || futures::stream::iter(chunks.clone().into_iter().map(Ok::<_, std::io::Error>));
    let router = Router::new()
        .route("/logs", get(move || std::future::ready(axum::body::Body::from_stream(chunks()))))
        .route("/bad", get(async || "no json\n"));
    let client = serve(router).await;
    let mut lines = client.log_lines("/logs", &[]).await.expect("opens");
    let mut found = Vec::new();
    while let Some(line) = tokio::time::timeout(Duration::from_secs(5), lines.next()).await.expect("in time").expect("a line") {
        found.push(line.line);
    }
    assert_eq!(found, ["one", "two ä", "three"]);
    let mut bad = client.log_lines("/bad", &[]).await.expect("opens");
    assert_eq!(bad.next().await.expect_err("no line").exit_code(), 1);
}

#[test]
fn names_are_one_segment_whatever_is_typed() {
    let org = "acme".parse().expect("a name");
    assert_eq!(routes::object(api_types::Kind::Domain, &org, "a.example"), "/v1/orgs/acme/domains/a.example");
    assert_eq!(routes::object(api_types::Kind::App, &org, "../../settings?x#y"), "/v1/orgs/acme/apps/..%2F..%2Fsettings%3Fx%23y");
    assert_eq!(routes::object(api_types::Kind::App, &org, ".."), "/v1/orgs/acme/apps/%2E%2E");
}
