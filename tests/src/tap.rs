//! A socket in front of an engine's that passes everything on and notes when something was asked to change.
//!
//! It is how a test or a measurement sees the writes of one client, and only of that one: whoever talks to the engine's
//! own socket is not seen. It understands no more of HTTP than the first word of what a client sends.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// A request that changes something, as it passed.
#[derive(Debug, Clone)]
pub struct Write {
    /// When its first byte came.
    pub at: DateTime<Utc>,
    /// Method and path, such as `POST /networks/create`.
    pub what: String,
}

/// A running tap. Dropping it closes the socket.
#[derive(Debug)]
pub struct Tap {
    path: PathBuf,
    writes: Arc<Mutex<Vec<Write>>>,
    reads: Arc<Mutex<u64>>,
    task: JoinHandle<()>,
}

impl Tap {
    /// Listens at `path` for the engine at `engine`.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(path: PathBuf, engine: &Path) -> Result<Self> {
        let listener = UnixListener::bind(&path)?;
        let (writes, reads) = (Arc::<Mutex<Vec<Write>>>::default(), Arc::<Mutex<u64>>::default());
        let (engine, noted, counted) = (engine.to_owned(), writes.clone(), reads.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = UnixStream::connect(&engine).await else { continue };
                tokio::spawn(pass(client, server, noted.clone(), counted.clone()));
            }
        });
        Ok(Self { path, writes, reads, task })
    }

    /// `unix:///…`, where clients connect.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// What was written so far.
    pub fn writes(&self) -> Vec<Write> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests only read so far.
    pub fn reads(&self) -> u64 {
        *self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the first write after `known` of them.
    ///
    /// # Errors
    /// When there is none within the time.
    pub async fn next_write(&self, known: usize, timeout: Duration) -> Result<Write> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            if let Some(write) = self.writes().get(known) {
                return Ok(write.clone());
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("no write to the engine within {timeout:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

#[expect(clippy::disallowed_methods, reason = "compared with what the server's own clock wrote")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

async fn pass(client: UnixStream, server: UnixStream, writes: Arc<Mutex<Vec<Write>>>, reads: Arc<Mutex<u64>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        let chunk = buffer.get(..read).unwrap_or_default();
        // A client sends the head of a request in one piece, and a body is JSON: it never begins so.
        if chunk.starts_with(b"GET ") || chunk.starts_with(b"HEAD ") {
            *reads.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        } else if ["POST ", "PUT ", "DELETE "].iter().any(|method| chunk.starts_with(method.as_bytes())) {
            let line = chunk.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let what = String::from_utf8_lossy(line).trim_end_matches(" HTTP/1.1").to_owned();
            writes.lock().unwrap_or_else(PoisonError::into_inner).push(Write { at: now(), what });
        }
        if to_server.write_all(chunk).await.is_err() {
            break;
        }
    }
    drop(to_server);
    let _ = back.await;
}
