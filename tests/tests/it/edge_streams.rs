//! What passes a real Traefik besides requests and answers: WebSockets, HTTP/2, gRPC, long streams, large
//! uploads; and what becomes of them while tasks are replaced behind it.

use std::net::SocketAddr;
use std::time::Duration;

use api_types::kinds::edge::Protocol;
use axum::http::Request;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use lab::backends::{self, HexBytes, Messages};
use lab::certs::Authority;
use lab::edge::{Backend, Lab, route};
use sha2::{Digest, Sha256};
use skyswarm::certificate::read_chain;
use skyswarm::edge::inputs::CertificatePair;
use skyswarm::edge::{Endpoint, Route};
use skyswarm::engines::traefik::ProxyApi;
use skyswarm::plan::Fact;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use zeroize::Zeroizing;

/// An endpoint of app 1 at an address.
async fn endpoint(address: SocketAddr) -> Endpoint {
    let made = Backend::start("x").await.endpoint(1);
    Endpoint { task_id: format!("t{address}"), container_id: format!("c{address}"), address, ..made }
}

/// Waits until the proxy sends requests to exactly this address.
async fn until_goes_to(lab: &Lab, route: &Route, address: SocketAddr) {
    let begun = Instant::now();
    loop {
        match lab.client.route_facts(&route.key()).await {
            Fact::Known(facts) if facts.servers == [address.into()] => return,
            last => assert!(begun.elapsed() < Duration::from_secs(10), "{last:?}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Gives `a.example` a certificate, and waits until it is served.
async fn certify(lab: &Lab, authority: &Authority) {
    let signed = authority.sign(&["a.example"], 2040);
    let chain = read_chain(&signed.chain).expect("is a chain");
    let fingerprint = chain.fingerprint.clone();
    let pair = CertificatePair { name: "own".to_owned(), chain: chain.pem, key: Zeroizing::new(signed.key), fingerprint };
    lab.edit(|inputs| inputs.certificates = vec![pair]);
    while lab.client.served_certificate("a.example").await != Fact::Known(chain.fingerprint.clone()) {
        sleep(Duration::from_millis(10)).await;
    }
}

async fn open<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> WebSocketStream<S> {
    tokio_tungstenite::client_async("ws://a.example/chat", stream).await.expect("upgrades").0
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, text: &str) -> String {
    socket.send(Message::text(text)).await.expect("is open");
    let answer = tokio::time::timeout(Duration::from_secs(5), socket.next()).await.expect("in time");
    answer.expect("is open").expect("a message").into_text().expect("text").to_string()
}

#[tokio::test]
async fn websockets_pass_and_stay_while_tasks_are_replaced() {
    let (lab, authority) = (Lab::new().await, Authority::new());
    let (old, new) = (backends::websocket("127.0.0.1", "old").await, backends::websocket("127.0.0.2", "new").await);
    let traefik = lab.traefik().await;
    let app = route(1, "a", &["a.example"]);
    lab.set_endpoints([endpoint(old.address).await]);
    lab.set_routes(std::slice::from_ref(&app));
    until_goes_to(&lab, &app, old.address).await;
    certify(&lab, &authority).await;

    let mut plain = open(TcpStream::connect(lab.config.edge_http).await.expect("connects")).await;
    let mut secure = open(authority.connect("a.example", lab.config.edge_https.expect("is on"), &["http/1.1"]).await).await;
    assert_eq!((ask(&mut plain, "1").await, ask(&mut secure, "2").await), ("old: 1".to_owned(), "old: 2".to_owned()));
    let large = vec![7u8; 1 << 20];
    plain.send(Message::Binary(large.clone().into())).await.expect("is open");
    assert_eq!(plain.next().await.expect("is open").expect("a message").into_data(), large, "a message of 1 MiB");

    // A rollout: new connections go to the new task, those that are open stay where they are.
    lab.set_endpoints([endpoint(new.address).await]);
    until_goes_to(&lab, &app, new.address).await;
    let mut fresh = open(TcpStream::connect(lab.config.edge_http).await.expect("connects")).await;
    assert_eq!(ask(&mut fresh, "3").await, "new: 3");
    assert_eq!((ask(&mut plain, "4").await, ask(&mut secure, "5").await), ("old: 4".to_owned(), "old: 5".to_owned()));
    plain.close(None).await.expect("closes");
    lab.stop(traefik).await;
}

#[tokio::test]
async fn grpc_passes_in_both_directions_with_its_trailers() {
    let (lab, authority) = (Lab::new().await, Authority::new());
    let server = backends::grpc("127.0.0.1").await;
    let traefik = lab.traefik().await;
    let mut app = route(1, "a", &["a.example"]);
    app.protocol = Protocol::H2c;
    lab.set_endpoints([endpoint(server.address).await]);
    lab.set_routes(std::slice::from_ref(&app));
    until_goes_to(&lab, &app, server.address).await;
    certify(&lab, &authority).await;
    let secure = authority.connect("a.example", lab.config.edge_https.expect("is on"), &["h2"]).await;
    assert_eq!(secure.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    call(secure, "https").await;
    // Also without TLS, as inside a company's network.
    call(TcpStream::connect(lab.config.edge_http).await.expect("connects"), "http").await;
    lab.stop(traefik).await;
}

/// One call with a stream in each direction; each message is answered before the next is sent.
async fn call(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, scheme: &str) {
    let (client, connection) = h2::client::handshake(stream).await.expect("shakes hands");
    tokio::spawn(connection);
    let mut client = client.ready().await.expect("is ready");
    let request = Request::post(format!("{scheme}://a.example/chat.Chat/Talk"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let (answer, mut out) = client.send_request(request, false).expect("is sent");
    backends::send(&mut out, b"first");
    let answer = answer.await.expect("answers");
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (200, &"application/grpc".parse().expect("a value")));
    let mut messages = Messages::new(answer.into_body());
    assert_eq!(messages.next().await.as_deref(), Some(b"first".as_slice()), "the answer comes while the request is still open");
    for number in 0..50u32 {
        backends::send(&mut out, &number.to_be_bytes());
        assert_eq!(messages.next().await, Some(Bytes::copy_from_slice(&number.to_be_bytes())));
    }
    let large = vec![9u8; 1 << 20];
    out.send_data(backends::framed(&large), true).expect("is open");
    assert_eq!(messages.next().await.map(|message| message.len()), Some(large.len()));
    assert_eq!(messages.next().await, None);
    assert_eq!(messages.trailers().await.expect("trailers")["grpc-status"], "0");
}

#[tokio::test]
async fn fifty_megabytes_arrive_as_they_were_sent() {
    let (lab, authority, server) = (Lab::new().await, Authority::new(), backends::http("127.0.0.1").await);
    let traefik = lab.traefik().await;
    let app = route(1, "a", &["a.example"]);
    lab.set_endpoints([endpoint(server.address).await]);
    lab.set_routes(std::slice::from_ref(&app));
    until_goes_to(&lab, &app, server.address).await;
    certify(&lab, &authority).await;
    // Bytes that no block of which is like another.
    let body: Vec<u8> = (0..50u64 * 1024 * 1024 / 8).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    let expected = format!("{} {:x}", body.len(), HexBytes(Sha256::digest(&body).to_vec()));
    let body = Bytes::from(body);
    let https = lab.config.edge_https.expect("is on");
    let client = authority.client(&["a.example"], https);
    for (url, chunked) in [
        (format!("http://{}/hash", lab.config.edge_http), false),
        (format!("http://{}/hash", lab.config.edge_http), true),
        (format!("https://a.example:{}/hash", https.port()), false),
    ] {
        let begun = Instant::now();
        let chunks: Vec<_> = (0..50).map(|n| Ok::<_, std::io::Error>(body.slice(n << 20..(n + 1) << 20))).collect();
        let sent = if chunked { reqwest::Body::wrap_stream(futures::stream::iter(chunks)) } else { body.clone().into() };
        // A name in the URL is what HTTP/2 sends as the host.
        let request = client.post(&url).body(sent);
        let request = if url.starts_with("http:") { request.header("host", "a.example") } else { request };
        let answer = request.send().await.expect("answers");
        assert_eq!(answer.status(), 200, "{url}");
        assert_eq!(answer.text().await.expect("text"), expected, "{url}");
        println!("50 MB to {url}, chunked {chunked}: {:?}", begun.elapsed());
    }
    lab.stop(traefik).await;
}

/// 15 seconds, or with `SKYSWARM_FULL` ten minutes: beyond every time limit that a proxy could have.
#[tokio::test]
async fn streams_and_sockets_last_as_long_as_they_last() {
    let seconds = if std::env::var_os("SKYSWARM_FULL").is_some() { 630 } else { 15 };
    let (lab, authority) = (Lab::new().await, Authority::new());
    let (server, chat) = (backends::http("127.0.0.1").await, backends::websocket("127.0.0.2", "chat").await);
    let traefik = lab.traefik().await;
    let (app, other) = (route(1, "a", &["a.example"]), route(2, "b", &["b.example"]));
    lab.set_endpoints([endpoint(server.address).await, Endpoint { app_uid: other.app_uid, ..endpoint(chat.address).await }]);
    lab.set_routes(&[app.clone(), other.clone()]);
    until_goes_to(&lab, &app, server.address).await;
    until_goes_to(&lab, &other, chat.address).await;
    certify(&lab, &authority).await;

    let https = lab.config.edge_https.expect("is on");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let path = format!("/stream?ms={}", seconds * 1000);
    let plain = client.get(format!("http://{}{path}", lab.config.edge_http)).header("host", "a.example");
    let secure = authority.streaming_client(&["a.example"], https).get(format!("https://a.example:{}{path}", https.port()));
    let begun = Instant::now();
    let (plain, secure, socket) = tokio::join!(count(plain), count(secure), talk(lab.config.edge_http, seconds));
    println!("streams of {seconds} s: {plain} and {secure} lines, {socket} messages, after {:?}", begun.elapsed());
    assert_eq!((plain, secure), (seconds * 10, seconds * 10), "no line is lost");
    assert_eq!(socket, seconds);
    lab.stop(traefik).await;
}

/// Reads numbered lines to the end, and makes sure that none is missing.
async fn count(request: reqwest::RequestBuilder) -> u64 {
    let answer = request.send().await.expect("answers");
    assert_eq!(answer.status(), 200);
    let mut body = answer.bytes_stream();
    let mut text = String::new();
    while let Some(chunk) = body.next().await {
        text.push_str(&String::from_utf8_lossy(&chunk.expect("is not cut")));
    }
    let mut lines = 0;
    for line in text.lines() {
        assert_eq!(line, lines.to_string());
        lines += 1;
    }
    lines
}

/// A message a second.
async fn talk(edge: SocketAddr, seconds: u64) -> u64 {
    let stream = TcpStream::connect(edge).await.expect("connects");
    let (mut socket, _) = tokio_tungstenite::client_async("ws://b.example/", stream).await.expect("upgrades");
    for number in 0..seconds {
        assert_eq!(ask(&mut socket, &number.to_string()).await, format!("chat: {number}"));
        sleep(Duration::from_secs(1)).await;
    }
    seconds
}
