//! One health check from the host: an HTTP GET, or a connection to the port.
//!
//! Written on a plain socket, because a check needs little and must be exact about that little: no
//! redirects, no proxy from the environment, no name look-ups, no reuse of connections (a task that
//! accepts no new ones is not healthy), a bound on what is read.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use api_types::HumanDuration;
use api_types::kinds::app::HealthSpec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::edge::Check;

/// Most bytes that are read to find the status line.
const HEAD_LIMIT: usize = 1024;
/// Most bytes of the rest that are read, so that the app does not see its connection reset.
const BODY_LIMIT: usize = 64 * 1024;
const BODY_PATIENCE: Duration = Duration::from_millis(250);

/// Checks once, within the limit of time.
pub async fn check(address: SocketAddr, spec: Option<&HealthSpec>, limit: Duration) -> Check {
    match spec {
        Some(spec) => check_http(address, &spec.path, limit).await,
        None => check_tcp(address, limit).await,
    }
}

async fn check_tcp(address: SocketAddr, limit: Duration) -> Check {
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Check::Passed,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => refused(address),
        Ok(Err(error)) => Check::Failed { detail: format!("connecting to {address} failed: {error}") },
        Err(_) => Check::Failed { detail: format!("connecting to {address} timed out after {}", human(limit)) },
    }
}

async fn check_http(address: SocketAddr, path: &str, limit: Duration) -> Check {
    let asked = format!("GET http://{address}{path}");
    // Anything else could end the request line and write a request of its own.
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Check::Failed { detail: format!("the health path {path:?} is not a path") };
    }
    let deadline = Instant::now() + limit;
    let answer = timeout_at(deadline, status_of(address, path)).await;
    match answer {
        Err(_) => Check::Failed { detail: format!("{asked} timed out after {}", human(limit)) },
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => refused(address),
        Ok(Err(error)) => Check::Failed { detail: format!("{asked} failed: {error}") },
        Ok(Ok((status @ 200..=399, stream))) => {
            drain(stream, deadline).await;
            tracing::trace!(%address, status, "health check passed");
            Check::Passed
        }
        Ok(Ok((status, stream))) => {
            drain(stream, deadline).await;
            Check::Failed { detail: format!("{asked} answered {status}") }
        }
    }
}

async fn status_of(address: SocketAddr, path: &str) -> io::Result<(u16, TcpStream)> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: skyswarm-health\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(256);
    loop {
        let mut chunk = [0u8; 256];
        let read = stream.read(&mut chunk).await?;
        head.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if let Some(end) = head.iter().position(|byte| *byte == b'\n') {
            let line = head.get(..end).unwrap_or_default();
            let status = parse_status_line(line).ok_or_else(|| io::Error::other("the answer is not HTTP"))?;
            return Ok((status, stream));
        }
        if read == 0 {
            let text = if head.is_empty() { "the connection was closed without an answer" } else { "the answer is not HTTP" };
            return Err(io::Error::other(text));
        }
        if head.len() > HEAD_LIMIT {
            return Err(io::Error::other("the answer is not HTTP"));
        }
    }
}

/// The status of `HTTP/1.x NNN …`.
fn parse_status_line(line: &[u8]) -> Option<u16> {
    let (head, rest) = line.split_at_checked(12)?;
    if !matches!(rest.first(), None | Some(b' ' | b'\r')) {
        return None;
    }
    let head = std::str::from_utf8(head).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "))?;
    let status: u16 = status.parse().ok()?;
    (100..=599).contains(&status).then_some(status)
}

/// Lets the app finish its answer; what it says does not matter any more.
async fn drain(mut stream: TcpStream, deadline: Instant) {
    let until = deadline.min(Instant::now() + BODY_PATIENCE);
    let mut total = 0;
    let mut chunk = [0u8; 4096];
    while total < BODY_LIMIT {
        match timeout_at(until, stream.read(&mut chunk)).await {
            Ok(Ok(read)) if read > 0 => total += read,
            _ => return,
        }
    }
}

fn refused(address: SocketAddr) -> Check {
    Check::PortClosed { detail: format!("connection refused on port {}", address.port()) }
}

fn human(duration: Duration) -> HumanDuration {
    HumanDuration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const LIMIT: Duration = Duration::from_millis(300);

    fn spec(path: &str) -> HealthSpec {
        serde_json::from_value(serde_json::json!({ "path": path })).expect("a health spec")
    }

    /// Answers each connection with the bytes, then closes; never answers when there are none.
    async fn server(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("has an address");
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if answer.is_empty() {
                    kept.push(stream);
                    continue;
                }
                let mut request = [0u8; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn answers_are_judged_by_status() {
        for (answer, want) in [
            (&b"HTTP/1.1 200 OK\r\n\r\nhello"[..], None),
            (b"HTTP/1.0 204 \r\n\r\n", None),
            (b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n", None),
            (b"HTTP/1.1 500 Oops\r\n\r\n", Some("answered 500")),
            (b"HTTP/1.1 404\r\n\r\n", Some("answered 404")),
            (b"SSH-2.0-OpenSSH\r\n", Some("not HTTP")),
            (b"HTTP/1.1 2000 OK\r\n", Some("not HTTP")),
            (b"HTTP/1.1 20", Some("not HTTP")),
            (&[b'x'; 4000], Some("not HTTP")),
        ] {
            let address = server(answer).await;
            let got = check(address, Some(&spec("/healthz")), LIMIT).await;
            match (&got, want) {
                (Check::Passed, None) => {}
                (Check::Failed { detail }, Some(want)) => {
                    assert!(detail.contains(want) && detail.starts_with(&format!("GET http://{address}/healthz")), "{detail}");
                }
                _ => panic!("{got:?} for {}", String::from_utf8_lossy(answer)),
            }
        }
    }

    #[tokio::test]
    async fn silence_a_closed_port_and_a_bad_path_are_told_apart() {
        let silent = server(b"").await;
        let got = check(silent, Some(&spec("/x")), LIMIT).await;
        assert_eq!(got, Check::Failed { detail: format!("GET http://{silent}/x timed out after 300ms") });
        assert_eq!(check(silent, None, LIMIT).await, Check::Passed, "the port is open");

        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
            listener.local_addr().expect("has an address")
        };
        let want = Check::PortClosed { detail: format!("connection refused on port {}", closed.port()) };
        assert_eq!(check(closed, Some(&spec("/x")), LIMIT).await, want);
        assert_eq!(check(closed, None, LIMIT).await, want);

        let injected = check(silent, Some(&spec("/x HTTP/1.1\r\nHost: a\r\n\r\n")), LIMIT).await;
        assert!(matches!(injected, Check::Failed { detail } if detail.contains("is not a path")));
    }
}
