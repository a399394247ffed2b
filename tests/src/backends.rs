//! Backends that do what a simple server does not: WebSockets, gRPC, streams, uploads.
#![expect(clippy::expect_used, reason = "helpers of tests fail by panic")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Query, Request};
use axum::http::{HeaderMap, HeaderValue, Request as HttpRequest, Response as HttpResponse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

/// A server of a test, ended with it.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(ip: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((ip, 0)).await.expect("binds");
    let address = listener.local_addr().expect("has an address");
    (listener, address)
}

/// `/hash` says the length and SHA-256 of a body, `/stream?ms=N` sends a numbered line every 100 ms for N ms.
pub async fn http(ip: &str) -> Server {
    let (listener, address) = listen(ip).await;
    let app = axum::Router::new()
        .route("/hash", post(hash))
        .route("/stream", get(stream))
        .fallback(|| async { "ok" })
        .layer(DefaultBodyLimit::disable());
    Server { address, task: tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") }) }
}

async fn hash(request: Request) -> String {
    let (mut body, mut length, mut hasher) = (request.into_body().into_data_stream(), 0usize, Sha256::new());
    while let Some(Ok(chunk)) = body.next().await {
        length += chunk.len();
        hasher.update(&chunk);
    }
    format!("{length} {:x}", HexBytes(hasher.finalize().to_vec()))
}

/// Bytes in hex.
pub struct HexBytes(pub Vec<u8>);

impl std::fmt::LowerHex for HexBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[derive(serde::Deserialize)]
struct StreamFor {
    ms: u64,
}

async fn stream(Query(StreamFor { ms }): Query<StreamFor>) -> Response {
    let lines = futures::stream::iter(0..ms / 100).then(|number| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok::<_, std::io::Error>(format!("{number}\n"))
    });
    Body::from_stream(lines).into_response()
}

/// A WebSocket server that answers every message with `name: message`.
pub async fn websocket(ip: &str, name: &'static str) -> Server {
    let (listener, address) = listen(ip).await;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    let answer = match message {
                        Message::Text(text) => Message::text(format!("{name}: {text}")),
                        Message::Binary(bytes) => Message::Binary(bytes),
                        _ => continue,
                    };
                    if socket.send(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Server { address, task }
}

/// A gRPC server without TLS: every method echoes each message of its stream as it comes, and ends with the
/// status 0 in trailers.
pub async fn grpc(ip: &str) -> Server {
    let (listener, address) = listen(ip).await;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(echo_calls(request, respond));
                }
            });
        }
    });
    Server { address, task }
}

async fn echo_calls(request: HttpRequest<RecvStream>, mut respond: SendResponse<Bytes>) {
    let te = request.headers().get("te").and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned();
    let head = HttpResponse::builder().header("content-type", "application/grpc").header("x-te", te).body(()).expect("a head");
    let Ok(mut out) = respond.send_response(head, false) else { return };
    let mut messages = Messages::new(request.into_body());
    while let Some(message) = messages.next().await {
        if out.send_data(framed(&message), false).is_err() {
            return;
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    // The client may be gone.
    let _ = out.send_trailers(trailers);
}

/// A message with gRPC's prefix: not compressed, length.
pub fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("is short"));
    frame.put_slice(message);
    frame.freeze()
}

/// The messages of one direction of a gRPC call.
pub struct Messages {
    body: RecvStream,
    buffer: BytesMut,
}

impl Messages {
    /// Reads a body.
    pub fn new(body: RecvStream) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next message; `None` at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if self.buffer.len() >= 5 + length {
                    let mut frame = self.buffer.split_to(5 + length);
                    return Some(frame.split_off(5).freeze());
                }
            }
            let chunk = self.body.data().await?.ok()?;
            self.body.flow_control().release_capacity(chunk.len()).ok()?;
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// What came after the last message.
    pub async fn trailers(&mut self) -> Option<HeaderMap> {
        self.body.trailers().await.ok().flatten()
    }
}

/// Sends a message of a call.
pub fn send(out: &mut SendStream<Bytes>, message: &[u8]) {
    out.send_data(framed(message), false).expect("is open");
}
