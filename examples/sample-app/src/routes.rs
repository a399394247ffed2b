//! What each path answers.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{env, fs, thread};

use crate::dns;
use crate::http::{Request, Response};
use crate::server::Shared;
use crate::{log, number, variable};

const MAX_SLEEP_MS: u64 = 120_000;
const MAX_MEGABYTES: u64 = 4096;
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// Memory that `/memory` took; kept until the process ends.
static HELD: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Answers one request.
pub(crate) fn answer(request: &Request, shared: &Shared) -> Response {
    match request.path.as_str() {
        "/" => Response::text(200, about()),
        "/json" => Response::json(about_json()),
        "/healthz" => health(shared),
        "/env" => Response::text(200, variable_names()),
        "/slow" => slow(request),
        "/connect" => connect(request),
        "/resolve" => resolve(request),
        "/memory" => memory(request),
        "/crash" => {
            log(format_args!("crashing, as a request asks"));
            std::process::exit(1)
        }
        path => match path.strip_prefix("/secret/") {
            Some(name) => secret(name),
            None => Response::text(404, "no such path"),
        },
    }
}

/// The container's host name.
pub(crate) fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// What may stand in a header: printable ASCII.
pub(crate) fn header_value(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

fn facts() -> [(&'static str, String); 5] {
    [
        ("greeting", variable("GREETING", "Hello from Skyswarm")),
        ("app", variable("SKYSWARM_APP", "sample-app")),
        ("process", variable("SKYSWARM_PROCESS", "web")),
        ("version", variable("VERSION", "1")),
        ("hostname", hostname()),
    ]
}

fn about() -> String {
    let [(_, greeting), rest @ ..] = facts();
    let mut text = format!("{greeting}\n");
    for (name, value) in rest {
        let _ = writeln!(text, "{name}: {value}");
    }
    text
}

fn about_json() -> String {
    let fields: Vec<String> = facts().iter().map(|(name, value)| format!("{}:{}", quote(name), quote(value))).collect();
    format!("{{{}}}\n", fields.join(","))
}

/// A JSON string.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn health(shared: &Shared) -> Response {
    if variable("HEALTH", "ok") == "fail" {
        return Response::text(500, "unhealthy, as the environment asks");
    }
    match number("HEALTH_DELAY") {
        Some(delay) if shared.started.elapsed() < Duration::from_secs(delay) => Response::text(503, "still starting"),
        _ => Response::text(200, "ok"),
    }
}

/// Names only: values may be confidential.
fn variable_names() -> String {
    let mut names: Vec<String> = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names.join("\n")
}

/// Length and hash of a mounted secret, so that a test can tell values apart without seeing any.
fn secret(name: &str) -> Response {
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let Some(value) = plain.then(|| fs::read(format!("/run/secrets/{name}")).ok()).flatten() else {
        return Response::text(404, "no such secret");
    };
    Response::json(format!("{{\"length\":{},\"fnv1a\":\"{:016x}\"}}\n", value.len(), fnv1a(&value)))
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// How many lines `/stream?ms=N` is to send, one every 100 ms; `None` for other paths, and for N that are too long.
pub(crate) fn stream_lines(request: &Request) -> Option<u64> {
    let ms = request.parameter("ms").filter(|_| request.path == "/stream")?.parse::<u64>().ok()?;
    (ms <= MAX_SLEEP_MS).then_some(ms / 100)
}

fn slow(request: &Request) -> Response {
    let Some(ms) = request.parameter("ms").and_then(|ms| ms.parse::<u64>().ok()).filter(|ms| *ms <= MAX_SLEEP_MS) else {
        return Response::text(400, format!("say ms=N, at most {MAX_SLEEP_MS}"));
    };
    thread::sleep(Duration::from_millis(ms));
    Response::text(200, format!("slept {ms} ms"))
}

/// Whether a TCP connection can be opened from here.
fn connect(request: &Request) -> Response {
    let target = request.parameter("addr").unwrap_or_default();
    let Some((host, port)) = target.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?))) else {
        return Response::text(400, "say addr=HOST:PORT");
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => match dns::lookup(host) {
            Ok(addresses) => addresses,
            Err(error) => return Response::text(200, format!("closed: {error}")),
        },
    };
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT_LIMIT) {
            Ok(_) => return Response::text(200, "open"),
            Err(error) => last = error.to_string(),
        }
    }
    Response::text(200, format!("closed: {last}"))
}

fn resolve(request: &Request) -> Response {
    match dns::lookup(&request.parameter("name").unwrap_or_default()) {
        Ok(addresses) => Response::text(200, addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        Err(error) => Response::text(404, error),
    }
}

fn memory(request: &Request) -> Response {
    let Some(mb) = request.parameter("mb").and_then(|mb| mb.parse::<u64>().ok()).filter(|mb| *mb <= MAX_MEGABYTES) else {
        return Response::text(400, format!("say mb=N, at most {MAX_MEGABYTES}"));
    };
    // Written with ones, so that the kernel really gives the pages.
    let block = vec![1u8; usize::try_from(mb * 1024 * 1024).unwrap_or(0)];
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.push(block);
    Response::text(200, format!("holding {} MB", held.iter().map(Vec::len).sum::<usize>() / 1024 / 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_published_function() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn json_strings_are_escaped() {
        assert_eq!(quote("a\"\\\nb"), "\"a\\\"\\\\\\u000ab\"");
    }

    #[test]
    fn a_secret_is_asked_for_by_a_plain_name() {
        assert_eq!(secret("../passwd").status, 404);
        assert_eq!(secret("").status, 404);
    }
}
