//! Just enough HTTP/1.1: keep-alive, `GET` and `HEAD`, bodies read and thrown away.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::server::Shared;
use crate::{log, routes};

const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_BODY_BYTES: u64 = 1024 * 1024;
/// How often an idle connection looks whether the process is about to end, and a stream sends a line.
const TICK: Duration = Duration::from_millis(100);
/// Longer than the idle time of usual proxies, so that the proxy closes first and no request is lost.
const IDLE_LIMIT: Duration = Duration::from_secs(120);
/// Longest wait for the rest of a request that has begun.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// The head of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    keep_alive: bool,
    body_bytes: u64,
}

impl Request {
    /// A value of the query, decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        self.query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| decode(value))
    }
}

/// An answer.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn text(status: u16, body: impl Into<String>) -> Self {
        let mut body = body.into();
        if !body.ends_with('\n') {
            body.push('\n');
        }
        Self { status, content_type: "text/plain; charset=utf-8", body }
    }

    pub(crate) fn json(body: String) -> Self {
        Self { status: 200, content_type: "application/json", body }
    }
}

/// Answers requests on one connection until either side closes it.
pub(crate) fn converse(stream: &TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    if stream.set_read_timeout(Some(TICK)).is_err() || stream.set_write_timeout(Some(READ_LIMIT)).is_err() {
        return;
    }
    let mut buffer = Vec::new();
    while let Ok(Some(head_bytes)) = read_head(stream, &mut buffer, shared) {
        let begun = Instant::now();
        let head = String::from_utf8_lossy(buffer.get(..head_bytes).unwrap_or_default()).into_owned();
        buffer.drain(..head_bytes.min(buffer.len()));
        let Some(request) = parse_head(&head) else {
            let _ = write_response(stream, &Response::text(400, "bad request"), false, true);
            return;
        };
        if request.body_bytes > MAX_BODY_BYTES {
            let _ = write_response(stream, &Response::text(413, "the body is missing its length, or too long"), false, true);
            return;
        }
        if skip_body(stream, &mut buffer, request.body_bytes).is_err() {
            return;
        }
        if let Some(lines) = routes::stream_lines(&request) {
            let written = write_stream(stream, lines);
            log(format_args!("{} {} 200 {lines} lines {}ms", request.method, request.path, begun.elapsed().as_millis()));
            if written.is_err() || shared.closing() {
                return;
            }
            continue;
        }
        let response = routes::answer(&request, shared);
        let close = !request.keep_alive || shared.closing();
        let written = write_response(stream, &response, request.method == "HEAD", close);
        log(format_args!("{} {} {} {}ms", request.method, request.path, response.status, begun.elapsed().as_millis()));
        if close || written.is_err() {
            return;
        }
    }
}

/// Reads until the empty line. `None` when the connection ended, or is idle while the process ends.
fn read_head(mut stream: &TcpStream, buffer: &mut Vec<u8>, shared: &Shared) -> io::Result<Option<usize>> {
    let begun = Instant::now();
    let mut chunk = [0u8; 4096];
    loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(Some(at + 4));
        }
        if buffer.len() > MAX_HEAD_BYTES {
            return Err(io::Error::other("head too long"));
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Ok(n) => buffer.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(error) if is_timeout(&error) => {
                let limit = if buffer.is_empty() { IDLE_LIMIT } else { READ_LIMIT };
                if (buffer.is_empty() && shared.closing()) || begun.elapsed() > limit {
                    return Ok(None);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn skip_body(mut stream: &TcpStream, buffer: &mut Vec<u8>, body_bytes: u64) -> io::Result<()> {
    let buffered = usize::try_from(body_bytes).unwrap_or(usize::MAX).min(buffer.len());
    buffer.drain(..buffered);
    let mut left = usize::try_from(body_bytes).unwrap_or(usize::MAX) - buffered;
    let begun = Instant::now();
    let mut chunk = [0u8; 4096];
    while left > 0 {
        let want = left.min(chunk.len());
        match stream.read(&mut chunk[..want]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => left -= n,
            Err(error) if is_timeout(&error) && begun.elapsed() < READ_LIMIT => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// `None` when it is no HTTP/1 request head. A body without a length counts as endless.
fn parse_head(head: &str) -> Option<Request> {
    let mut lines = head.split("\r\n");
    let mut start = lines.next()?.split(' ');
    let (method, target, version) = (start.next()?, start.next()?, start.next()?);
    if start.next().is_some() || method.is_empty() || !target.starts_with('/') || !version.starts_with("HTTP/1.") {
        return None;
    }
    let mut keep_alive = version != "HTTP/1.0";
    let mut body_bytes = 0;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            body_bytes = value.parse().ok()?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            body_bytes = u64::MAX;
        } else if name.eq_ignore_ascii_case("connection") {
            keep_alive = !value.eq_ignore_ascii_case("close");
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Some(Request { method: method.to_owned(), path: path.to_owned(), query: query.to_owned(), keep_alive, body_bytes })
}

fn write_response(mut stream: &TcpStream, response: &Response, head_only: bool, close: bool) -> io::Result<()> {
    let phrase = match response.status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    };
    let mut text = format!(
        "HTTP/1.1 {} {phrase}\r\ncontent-type: {}\r\ncontent-length: {}\r\nx-version: {}\r\nx-hostname: {}\r\nconnection: {}\r\n\r\n",
        response.status,
        response.content_type,
        response.body.len(),
        routes::header_value(&crate::variable("VERSION", "1")),
        routes::header_value(&routes::hostname()),
        if close { "close" } else { "keep-alive" },
    );
    if !head_only {
        text.push_str(&response.body);
    }
    stream.write_all(text.as_bytes())
}

/// A numbered line every [`TICK`], each a chunk of its own.
fn write_stream(mut stream: &TcpStream, lines: u64) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n")?;
    for number in 0..lines {
        std::thread::sleep(TICK);
        let line = format!("{number}\n");
        stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())?;
    }
    stream.write_all(b"0\r\n\r\n")
}

/// Percent-decoding; what is not valid stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 3;
            }
            _ => {
                out.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_the_protocol_says() {
        let request = parse_head("GET /slow?ms=5&x=a%20b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n").expect("valid");
        assert_eq!((request.path.as_str(), request.body_bytes, request.keep_alive), ("/slow", 3, true));
        assert_eq!(request.parameter("x").as_deref(), Some("a b"));
        assert_eq!(request.parameter("y"), None);
        assert!(!parse_head("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n").expect("valid").keep_alive);
        assert!(!parse_head("GET / HTTP/1.0\r\n\r\n").expect("valid").keep_alive);
        assert_eq!(parse_head("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").expect("valid").body_bytes, u64::MAX);
    }

    #[test]
    fn nonsense_is_refused() {
        for head in ["", "GET /\r\n\r\n", "GET http://x/ HTTP/1.1\r\n\r\n", "GET / HTTP/2\r\n\r\n", "GET / x HTTP/1.1\r\n\r\n"] {
            assert_eq!(parse_head(head), None, "{head:?}");
        }
        assert_eq!(parse_head("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), None);
    }

    #[test]
    fn decoding_survives_broken_escapes() {
        assert_eq!(decode("a%2Fb+c%zz%2"), "a/b c%zz%2");
    }
}
