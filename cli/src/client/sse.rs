//! Answers that go on as server-sent events: cut into messages, whatever the pieces that they come in.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::{Method, Response, header};

use super::{Client, REQUEST_TIMEOUT};
use crate::errors::{CliError, Result};

/// Longest silence: the server says something every 15 seconds, if only that it is there.
const SILENCE: Duration = Duration::from_secs(45);
/// Longest message.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
const LAST_EVENT_ID: &str = "last-event-id";

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where to resume after it, when it says so.
    pub id: Option<String>,
    /// Its data.
    pub data: String,
}

/// Messages of an answer that is still open.
pub struct Messages {
    client: Client,
    response: Response,
    parser: Parser,
    ready: VecDeque<Message>,
}

impl Client {
    /// Opens a stream of messages, from the place after `last_event_id` on.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn messages(&self, path: &str, query: &[(&str, String)], last_event_id: Option<&str>) -> Result<Messages> {
        let mut request = self.request(Method::GET, path, query)?.header(header::ACCEPT, "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header(LAST_EVENT_ID, id);
        }
        let Ok(response) = tokio::time::timeout(REQUEST_TIMEOUT, self.send(request)).await else {
            return Err(self.silent(REQUEST_TIMEOUT));
        };
        let response = response?;
        let media_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !media_type.starts_with("text/event-stream") {
            return Err(self.protocol(format!("it sends \"{media_type}\" in place of events; is it of an older version?")));
        }
        Ok(Messages { client: self.clone(), response, parser: Parser::default(), ready: VecDeque::new() })
    }

    fn silent(&self, length: Duration) -> CliError {
        CliError::Unreachable { url: self.url(), source: format!("nothing came within {} s", length.as_secs()).into() }
    }
}

impl Messages {
    /// The next message; `None` at the end of the answer.
    ///
    /// # Errors
    /// When the connection breaks, nothing comes for too long, or something else than messages comes.
    pub async fn next(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            let Ok(chunk) = tokio::time::timeout(SILENCE, self.response.chunk()).await else { return Err(self.client.silent(SILENCE)) };
            let Some(chunk) = chunk.map_err(|error| self.client.unreachable(error))? else { return Ok(None) };
            self.parser.push(&chunk, &mut self.ready).map_err(|what| self.client.protocol(what))?;
        }
    }
}

/// Reads lines as <https://html.spec.whatwg.org/multipage/server-sent-events.html> has them. What is not
/// finished at the end of the stream is no message.
#[derive(Default)]
struct Parser {
    rest: Vec<u8>,
    /// How much of the rest is known to have no line end.
    scanned: usize,
    id: Option<String>,
    data: Option<String>,
}

impl Parser {
    fn push(&mut self, bytes: &[u8], ready: &mut VecDeque<Message>) -> Result<(), String> {
        self.rest.extend_from_slice(bytes);
        let mut begin = 0;
        let mut at = self.scanned;
        while let Some(length) = self.rest.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')) {
            let line = self.rest.get(begin..at + length).unwrap_or_default();
            let line = String::from_utf8(line.to_vec()).map_err(|_| "a message that is not UTF-8".to_owned())?;
            self.line(line.trim_end_matches('\r'), ready);
            begin = at + length + 1;
            at = begin;
        }
        self.rest.drain(..begin);
        self.scanned = self.rest.len();
        if self.rest.len() + self.data.as_ref().map_or(0, String::len) > MAX_MESSAGE {
            return Err(format!("a message of more than {} MiB", MAX_MESSAGE >> 20));
        }
        Ok(())
    }

    fn line(&mut self, line: &str, ready: &mut VecDeque<Message>) {
        if line.is_empty() {
            let id = self.id.take();
            ready.extend(self.data.take().map(|data| Message { id, data }));
            return;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // The data says its type itself; how soon to come back, this program decides.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_over_any_cut() {
        let text = "retry: 1000\n\n: nothing new\n\nevent: ADDED\ndata: {\"a\": \"ä\"}\n\nid: w7\r\ndata:one\r\ndata:  two\r\n\r\nid\n\ndata: half";
        let wanted =
            [Message { id: None, data: "{\"a\": \"ä\"}".to_owned() }, Message { id: Some("w7".to_owned()), data: "one\n two".to_owned() }];
        for size in 1..text.len() {
            let (mut parser, mut ready) = (Parser::default(), VecDeque::new());
            for piece in text.as_bytes().chunks(size) {
                parser.push(piece, &mut ready).expect("messages");
            }
            assert_eq!(Vec::from(ready), wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn what_does_not_end_is_not_kept_for_ever() {
        let (mut parser, mut ready) = (Parser::default(), VecDeque::new());
        let piece = vec![b'x'; 1024 * 1024];
        assert!((0..17).any(|_| parser.push(&piece, &mut ready).is_err()));
        assert!(Parser::default().push(b"data: \xff\n", &mut ready).is_err());
    }
}
