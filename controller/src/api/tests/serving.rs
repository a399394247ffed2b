//! Over a real socket: slow heads, shutdown; and the metrics that result.

use std::sync::Arc;
use std::time::Duration;

use api_types::api::Role;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{Harness, fake};
use crate::api::{ApiState, Limits, serve};

async fn start(limits: Limits) -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>, ApiState) {
    let backend = Arc::new(fake::Fake::default());
    backend.token("root", None, Role::Admin);
    let state = Harness::state(&backend, limits);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let shutdown = CancellationToken::new();
    let (served, token) = (state.clone(), shutdown.clone());
    let task = tokio::spawn(async move { serve(listener, served, token).await.expect("serves") });
    (address, shutdown, task, state)
}

async fn ask(address: std::net::SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(text.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    answer
}

#[tokio::test]
async fn a_connection_that_sends_no_head_is_closed() {
    let (address, shutdown, task, _) = start(Limits { header_read: Duration::from_millis(200), ..Limits::default() }).await;
    for head in ["", "GET /healthz HTTP/1.1\r\nX-Slow: "] {
        let answer = tokio::time::timeout(Duration::from_secs(5), ask(address, head)).await.expect("closed by the server");
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    let answer = ask(address, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    shutdown.cancel();
    task.await.expect("ends");
}

#[tokio::test]
async fn a_refused_body_gets_an_answer_over_the_wire() {
    let (address, shutdown, task, _) = start(Limits::default()).await;
    let head =
        "POST /v1/apply HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer root\r\nContent-Type: application/json\r\n";
    let answer = ask(address, &format!("{head}Content-Length: 99999999\r\n\r\n{{")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("\"requestId\""), "{answer}");
    shutdown.cancel();
    task.await.expect("ends");
}

#[tokio::test]
async fn shutdown_ends_idle_connections_at_once_and_cuts_the_rest() {
    let (address, shutdown, task, _) = start(Limits { drain: Duration::from_millis(300), ..Limits::default() }).await;
    let _idle = TcpStream::connect(address).await.expect("connects");
    let mut stuck = TcpStream::connect(address).await.expect("connects");
    let head =
        "POST /v1/apply HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer root\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n";
    stuck.write_all(head.as_bytes()).await.expect("writes");
    tokio::time::sleep(Duration::from_millis(50)).await;
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), task).await.expect("ends in time").expect("ends");
    assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn metrics_have_route_templates_and_no_names() {
    let (address, shutdown, task, state) = start(Limits::default()).await;
    let close = "Host: x\r\nConnection: close\r\nAuthorization: Bearer root\r\n\r\n";
    for path in ["/v1/orgs/secretorg/apps", "/v1/whoami", "/no/such/secretorg"] {
        ask(address, &format!("GET {path} HTTP/1.1\r\n{close}")).await;
    }
    ask(address, &format!("PROPFIND /secretorg HTTP/1.1\r\n{close}")).await;
    let mut registry = Registry::default();
    state.metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
    assert!(text.contains(r#"skyswarm_api_requests_total{method="GET",route="/v1/orgs/{org}/apps",status="4xx"} 1"#), "{text}");
    assert!(text.contains(r#"route="/v1/whoami",status="2xx"} 1"#), "{text}");
    assert!(text.contains(r#"method="Other",route="unmatched""#), "{text}");
    assert!(text.contains("skyswarm_api_requests_in_flight 0"), "{text}");
    assert!(!text.contains("secretorg"), "{text}");
    shutdown.cancel();
    task.await.expect("ends");
}
