//! When each token was last used: noted beside the requests, never in their way.
//!
//! A request only says which token it came with, and only when the stored time is a minute old. One task
//! writes what was said, many at once. When it cannot keep up, what does not fit is dropped: the token's next
//! request says it again.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::token::TokenInfo;
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::backend::Backend;
use super::error::chain;
use crate::store::USE_RESOLUTION;

/// Notes that may wait.
const BUFFER: usize = 256;

/// Where requests note their token. Cheap to clone; the task ends with the last one.
#[derive(Clone)]
pub(super) struct Usage(mpsc::Sender<Uuid>);

impl Usage {
    /// Starts the task. Must be called inside a Tokio runtime.
    pub(super) fn start(backend: Arc<dyn Backend>) -> Self {
        let (sender, receiver) = mpsc::channel(BUFFER);
        tokio::spawn(write(backend, receiver));
        Self(sender)
    }

    /// Notes a use, when the stored one is old.
    pub(super) fn note(&self, token: &TokenInfo, now: DateTime<Utc>) {
        if token.last_used_at.is_none_or(|at| now - at >= USE_RESOLUTION) {
            let _ = self.0.try_send(token.id);
        }
    }
}

async fn write(backend: Arc<dyn Backend>, mut notes: mpsc::Receiver<Uuid>) {
    let mut batch = Vec::new();
    while notes.recv_many(&mut batch, BUFFER).await > 0 {
        let ids: Vec<Uuid> = batch.drain(..).collect::<BTreeSet<_>>().into_iter().collect();
        if let Err(error) = backend.token_used(&ids).await {
            tracing::debug!(error = %chain(&error), "the last use of tokens could not be written; the next use will be");
        }
    }
}
