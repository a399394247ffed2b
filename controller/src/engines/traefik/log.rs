//! Traefik's log lines in ours.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Longest line that is kept; the rest of a longer one is dropped.
const MAX_LINE: usize = 8 * 1024;

/// Reads lines until the stream ends.
pub(super) async fn forward(mut stream: impl AsyncBufRead + Unpin) {
    let mut line = Vec::new();
    loop {
        let (used, ended) = match stream.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(buffer) => {
                let end = buffer.iter().position(|byte| *byte == b'\n');
                let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
                let room = MAX_LINE.saturating_sub(line.len());
                line.extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
                (end.map_or(buffer.len(), |end| end + 1), end.is_some())
            }
        };
        stream.consume(used);
        if ended {
            emit(&line);
            line.clear();
        }
    }
    emit(&line);
}

fn emit(line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    let (level, text) = parse(text.trim());
    match level {
        _ if text.is_empty() => {}
        Level::Error => tracing::error!(target: "traefik", "{text}"),
        // It warns of each failed check of a task, which is ordinary.
        Level::Warn => tracing::info!(target: "traefik", "{text}"),
        Level::Other => tracing::debug!(target: "traefik", "{text}"),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Level {
    Error,
    Warn,
    Other,
}

/// Message and error of a JSON line, with what it is about; other lines as they are.
fn parse(line: &str) -> (Level, String) {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(line) else { return (Level::Error, line.to_owned()) };
    let text = |key: &str| fields.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let level = match text("level") {
        "error" | "fatal" | "panic" => Level::Error,
        "warn" => Level::Warn,
        _ => Level::Other,
    };
    let about = ["routerName", "serviceName", "targetURL", "entryPointName", "providerName"].map(text);
    let parts = [text("message"), text("error")].into_iter().chain(about).filter(|part| !part.is_empty());
    (level, parts.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_or_passed_on() {
        let line = r#"{"level":"warn","serviceName":"a@http","error":"refused","time":"x","message":"Health check failed."}"#;
        assert_eq!(parse(line), (Level::Warn, "Health check failed.; refused; a@http".to_owned()));
        assert_eq!(parse("command traefik error: no such file"), (Level::Error, "command traefik error: no such file".to_owned()));
    }

    #[tokio::test]
    async fn an_endless_line_does_not_fill_the_memory() {
        let text = [vec![b'x'; 100_000], b"\nshort\n".to_vec()].concat();
        forward(tokio::io::BufReader::new(text.as_slice())).await;
    }
}
