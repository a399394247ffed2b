//! Over a real socket: slow heads, shutdown; and the metrics that result.

use std::net::SocketAddr;
use std::time::Duration;

use api_types::api::Role;
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{empty, state};
use crate::api::{ApiState, Limits, serve};
use crate::store::NewToken;

/// A server on loopback.
struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    state: ApiState,
    root: String,
    _keys: tempfile::TempDir,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let (backend, _, keys) = empty().await;
        let (_, root) = backend.store.token_create(&NewToken::new("root", None, Role::Admin)).await.expect("a token");
        let state = state(&backend, limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let (served, token) = (state.clone(), shutdown.clone());
        let task = tokio::spawn(async move { serve(listener, served, token).await.expect("serves") });
        Self { address, shutdown, task, state, root: root.expose_secret().to_owned(), _keys: keys }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task).await.expect("ends in time").expect("ends");
    }
}

async fn ask(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(text.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    answer
}

#[tokio::test]
async fn a_connection_that_sends_no_head_is_closed() {
    let server = Server::start(Limits { header_read: Duration::from_millis(200), ..Limits::default() }).await;
    for head in ["", "GET /healthz HTTP/1.1\r\nX-Slow: "] {
        let answer = tokio::time::timeout(Duration::from_secs(5), ask(server.address, head)).await.expect("closed by the server");
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    let answer = ask(server.address, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_refused_body_gets_an_answer_over_the_wire() {
    let server = Server::start(Limits::default()).await;
    let head = format!(
        "POST /v1/apply HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
        server.root
    );
    let answer = ask(server.address, &format!("{head}Content-Length: 99999999\r\n\r\n{{")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("\"requestId\""), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn shutdown_ends_idle_connections_at_once_and_cuts_the_rest() {
    let server = Server::start(Limits { drain: Duration::from_millis(300), ..Limits::default() }).await;
    let _idle = TcpStream::connect(server.address).await.expect("connects");
    let mut stuck = TcpStream::connect(server.address).await.expect("connects");
    let head = format!(
        "POST /v1/apply HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n",
        server.root
    );
    stuck.write_all(head.as_bytes()).await.expect("writes");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let address = server.address;
    server.stop().await;
    assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn a_client_that_reads_nothing_gives_its_connection_back() {
    let limits = Limits { stall: Duration::from_millis(300), connections: 1, ..Limits::default() };
    let server = Server::start(limits).await;
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut stuck = socket.connect(server.address).await.expect("connects");
    // More answers than the kernel keeps for anybody. Whoever sends them all may find the connection closed already.
    let request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    let asked = async {
        for _ in 0..2000 {
            stuck.write_all(request).await?;
        }
        Ok::<(), std::io::Error>(())
    };
    let asked = tokio::time::timeout(Duration::from_secs(30), asked).await.expect("the requests are taken or refused");
    // There is one connection, and it is not this one's before the other one has ended.
    let head = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = tokio::time::timeout(Duration::from_secs(30), ask(server.address, head)).await.expect("the other one was cut off");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    // A client that does read is not in a hurry: pauses shorter than the limit end nothing.
    drop((asked, stuck));
    let mut slow = TcpStream::connect(server.address).await.expect("connects");
    slow.write_all(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("writes");
    let (mut got, mut piece) = (0, vec![0; 64 * 1024]);
    loop {
        match tokio::time::timeout(Duration::from_secs(30), slow.read(&mut piece)).await.expect("goes on").expect("is not cut off") {
            0 => break,
            length => got += length,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(got > 100_000, "{got}");
    server.stop().await;
}

#[tokio::test]
async fn metrics_have_route_templates_and_no_names() {
    let server = Server::start(Limits::default()).await;
    let close = format!("Host: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n", server.root);
    for path in ["/v1/orgs/secretorg/apps", "/v1/whoami", "/no/such/secretorg"] {
        ask(server.address, &format!("GET {path} HTTP/1.1\r\n{close}")).await;
    }
    ask(server.address, &format!("PROPFIND /secretorg HTTP/1.1\r\n{close}")).await;
    let mut registry = Registry::with_prefix("skyswarm");
    server.state.metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
    assert!(text.contains(r#"skyswarm_api_requests_total{method="GET",route="/v1/orgs/{org}/apps",status="4xx"} 1"#), "{text}");
    assert!(text.contains(r#"route="/v1/whoami",status="2xx"} 1"#), "{text}");
    assert!(text.contains(r#"method="Other",route="unmatched""#), "{text}");
    assert!(text.contains("skyswarm_api_requests_in_flight 0"), "{text}");
    assert!(!text.contains("secretorg"), "{text}");
    server.stop().await;
}
