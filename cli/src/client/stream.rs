//! Answers that come as one JSON document per line, for as long as the server has lines.

use std::collections::VecDeque;

use api_types::api::LogLine;
use reqwest::{Method, Response};

use super::{Client, REQUEST_TIMEOUT};
use crate::errors::Result;

/// Longest line; a longer one is cut off by the server long before.
const MAX_LINE: usize = 1024 * 1024;

/// Lines of a stream that is still open.
pub struct Lines {
    client: Client,
    response: Response,
    rest: Vec<u8>,
    ready: VecDeque<LogLine>,
    ended: bool,
}

impl Client {
    /// Opens a stream of log lines. There is no deadline once the answer has begun.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn log_lines(&self, path: &str, query: &[(&str, String)]) -> Result<Lines> {
        let request = self.request(Method::GET, path, query)?;
        let response = match tokio::time::timeout(REQUEST_TIMEOUT, self.send(request)).await {
            Ok(response) => response?,
            Err(_) => return Err(self.protocol("no answer came in time".to_owned())),
        };
        Ok(Lines { client: self.clone(), response, rest: Vec::new(), ready: VecDeque::new(), ended: false })
    }
}

impl Lines {
    /// The next line; `None` at the end of the stream.
    ///
    /// # Errors
    /// When the connection breaks or something else than log lines comes.
    pub async fn next(&mut self) -> Result<Option<LogLine>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            match self.response.chunk().await.map_err(|error| self.client.unreachable(error))? {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None => {
                    self.ended = true;
                    self.rest.push(b'\n');
                }
            }
            self.split()?;
        }
    }

    fn split(&mut self) -> Result<()> {
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            // A problem may come in place of a line when the source fails later.
            if let Ok(problem) = serde_json::from_slice::<api_types::Problem>(text) {
                return Err(crate::errors::CliError::Problem(Box::new(problem)));
            }
            let line = serde_json::from_slice(text).map_err(|error| self.client.protocol(format!("unexpected log line ({error})")))?;
            self.ready.push_back(line);
        }
        if self.rest.len() > MAX_LINE {
            return Err(self.client.protocol("a log line without end".to_owned()));
        }
        Ok(())
    }
}
