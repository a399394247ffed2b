//! One watch: reads what its client does not have yet, and sends it, as fast as the client takes it.
//!
//! A round reads everything from the watch's cursor on; when all of it is sent, the cursor moves. Only the last message of
//! a round carries an id, so a client that is cut off in the middle gets the whole round again.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use api_types::Problem;
use api_types::problem::ProblemKind;
use api_types::watch::{Bookmark, WatchEvent};
use axum::body::Bytes;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::hub::Seen;
use super::memory::{Memory, Word};
use super::object::{Object, Selection, buried};
use super::{cursor_text, sse, too_old};
use crate::api::auth::no_such_org;
use crate::api::error::ApiError;
use crate::api::metrics::WatchEnd;
use crate::api::state::SharedCore;
use crate::store::{Cursor, ListQuery, Scope, StoreError, Watched};

/// Objects that are read at once.
const PAGE: i64 = 100;
/// Bytes that are sent at once, but for a message that is larger.
const CHUNK: usize = 64 * 1024;
/// Pause before a round is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// How the client begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// With everything; of events, with the last so many.
    List(Option<i64>),
    /// With what changed since.
    From(Cursor),
}

/// Why a watch ends, and what the client is told.
#[derive(Debug)]
struct End(WatchEnd, Option<Box<Problem>>);

impl End {
    fn told(reason: WatchEnd, error: &ApiError) -> Self {
        Self(reason, Some(Box::new(error.problem().clone())))
    }
}

/// Why a round was not finished.
enum Stop {
    End(End),
    /// The database does not answer; the round is made again.
    Again,
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Again,
            other => Self::End(End::told(WatchEnd::Failed, &ApiError::from(other))),
        }
    }
}

/// One watch.
pub(super) struct Feed {
    core: SharedCore,
    scope: Scope,
    selection: Selection,
    seen: watch::Receiver<Seen>,
    sender: mpsc::Sender<Bytes>,
    memory: Memory,
    /// What lies before it was told.
    cursor: Cursor,
    buffer: Vec<u8>,
    /// The last message of the round, until the round's end gives it an id.
    held: Option<WatchEvent<Object>>,
}

impl Feed {
    pub(super) fn new(
        core: SharedCore,
        (scope, selection): (Scope, Selection),
        mut seen: watch::Receiver<Seen>,
        sender: mpsc::Sender<Bytes>,
        begin: Begin,
    ) -> Self {
        // What an event is selected by never changes, so none ceases to match.
        let complete = matches!(begin, Begin::List(_)) || scope.what == Watched::Events;
        let memory = Memory::new(!selection.is_everything(), complete);
        let cursor = match begin {
            Begin::List(_) => seen.borrow_and_update().cursor,
            Begin::From(cursor) => cursor,
        };
        Self { core, scope, selection, seen, sender, memory, cursor, buffer: Vec::new(), held: None }
    }

    /// Until the client goes away or the watch has to end.
    pub(super) async fn run(mut self, begin: Begin, token_ended: CancellationToken) {
        let (sender, core) = (self.sender.clone(), self.core.clone());
        let End(reason, problem) = tokio::select! {
            // The token first: nothing more may be sent.
            biased;
            () = token_ended.cancelled() => {
                let problem = Problem::new(ProblemKind::Unauthorized, "the token of this watch was revoked or has expired");
                End(WatchEnd::Token, Some(Box::new(problem)))
            }
            () = core.shutdown.cancelled() => End(WatchEnd::Shutdown, None),
            () = sender.closed() => End(WatchEnd::Left, None),
            ended = self.tell(begin) => match ended {
                Ok(never) => match never {},
                Err(end) => end,
            },
        };
        core.state.metrics.watch_ended(reason);
        tracing::debug!(scope = ?self.scope, ?reason, "a watch ended");
        if let Some(problem) = problem
            && let Ok(message) = sse::message(&WatchEvent::<Object>::Error(*problem), None)
        {
            // Whether it arrives or not, the watch is over.
            let _ = tokio::time::timeout(core.state.limits.stall, sender.send(message.into())).await;
        }
    }

    /// Tells everything, then every change, for ever.
    async fn tell(&mut self, begin: Begin) -> Result<Infallible, End> {
        self.buffer.extend_from_slice(sse::PREAMBLE);
        self.flush().await?;
        if let Begin::List(last) = begin {
            self.list(last).await?;
        }
        let every = self.core.state.limits.heartbeat;
        let mut heartbeat = interval_at(Instant::now() + every, every);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut first, mut beat) = (0, true, false);
        loop {
            let (tick, cursor, changed) = {
                let seen = self.seen.borrow_and_update();
                (seen.tick, seen.cursor, seen.changed(self.scope.what, self.scope.org_word()))
            };
            if first || changed > told {
                match self.round(cursor).await {
                    Ok(()) => {}
                    Err(Stop::End(end)) => return Err(end),
                    Err(Stop::Again) => {
                        // What was read counts as told.
                        self.release(None).await?;
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                }
            }
            let moved = cursor > self.cursor;
            (self.cursor, told) = (cursor, tick);
            self.memory.passed(cursor);
            self.release(Some(cursor)).await?;
            if first || (beat && moved) {
                let initial_events_end = first && matches!(begin, Begin::List(_));
                let bookmark = Bookmark { resource_version: cursor_text(cursor), initial_events_end };
                self.write(&WatchEvent::Bookmark(bookmark), Some(cursor)).await?;
            } else if beat {
                self.buffer.extend_from_slice(sse::COMMENT);
            }
            self.flush().await?;
            (first, beat) = (false, false);
            tokio::select! {
                changed = self.seen.changed() => if changed.is_err() {
                    return Err(End(WatchEnd::Shutdown, None));
                },
                _ = heartbeat.tick() => beat = true,
            }
            if beat && self.org_is_gone().await {
                return Err(End::told(WatchEnd::Failed, &no_such_org(self.scope.org_word())));
            }
        }
    }

    /// Everything as it is. While the database does not answer, it is waited for.
    async fn list(&mut self, last: Option<i64>) -> Result<(), End> {
        let Selection { labels, fields } = self.selection.clone();
        let parts = self.scope.what != Watched::Events;
        let mut query = ListQuery { after: None, limit: if parts { Some(PAGE) } else { last }, labels, fields };
        loop {
            let page = match self.core.state.backend.watch_list(&self.scope, &query).await.map_err(Stop::from) {
                Ok(page) => page,
                Err(Stop::Again) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(Stop::End(end)) => return Err(end),
            };
            let more = parts && is_full(page.len());
            query.after = page.last().map(|last| last.mark.key.clone());
            for found in page {
                let object = Object::from(found.object);
                // What the database cannot select by is selected here.
                if self.selection.matches(&object) {
                    self.memory.listed(&found.mark, self.cursor);
                    self.write(&WatchEvent::Added(object), None).await?;
                }
            }
            if !more {
                return self.flush().await;
            }
        }
    }

    /// Everything that changed since the last round.
    async fn round(&mut self, upto: Cursor) -> Result<(), Stop> {
        let (core, since) = (self.core.clone(), self.cursor);
        let backend = &core.state.backend;
        let mut after: Option<(Cursor, String)> = None;
        loop {
            let place = after.as_ref().map(|(cursor, key)| (*cursor, key.as_str()));
            let page = backend.watch_changes(&self.scope, since, place, PAGE).await?;
            // Read after the objects and told before them: what is dead here is not told as alive, and an object that
            // took over a name is told after the end of the one before it.
            let Some(gone) = backend.tombstones_since(&self.scope, since).await? else {
                return Err(Stop::End(End::told(WatchEnd::Failed, &too_old())));
            };
            let dead: HashSet<&str> = gone.iter().map(|gone| gone.uid.as_str()).collect();
            for gone in &gone {
                if self.memory.deleted(gone) {
                    self.hold(WatchEvent::Deleted(buried(gone, self.scope.what, self.scope.org.as_ref()))).await?;
                }
            }
            let more = is_full(page.len());
            after = page.last().map(|last| (last.mark.changed, last.mark.key.clone()));
            for found in page {
                if dead.contains(found.mark.id.as_str()) {
                    continue;
                }
                let object = Object::from(found.object);
                let matches = self.selection.matches(&object);
                match self.memory.changed(&found.mark, matches, since) {
                    None => {}
                    Some(Word::Added) => self.hold(WatchEvent::Added(object)).await?,
                    Some(Word::Modified) => self.hold(WatchEvent::Modified(object)).await?,
                    Some(Word::Deleted) => self.hold(WatchEvent::Deleted(object.gone(self.scope.what))).await?,
                }
            }
            if !more {
                tracing::trace!(scope = ?self.scope, %since, %upto, "a round of a watch");
                return Ok(());
            }
        }
    }

    /// Whether the organisation was deleted; a token of its own ends with it.
    async fn org_is_gone(&self) -> bool {
        match &self.scope.org {
            Some(org) => matches!(self.core.state.backend.org_get(org).await, Ok(None)),
            None => false,
        }
    }

    /// Sends the message that was held before, and holds this one.
    async fn hold(&mut self, event: WatchEvent<Object>) -> Result<(), End> {
        let before = self.held.replace(event);
        match before {
            Some(before) => self.write(&before, None).await,
            None => Ok(()),
        }
    }

    /// Sends the message that is held, with the place that it completes.
    async fn release(&mut self, place: Option<Cursor>) -> Result<(), End> {
        match self.held.take() {
            Some(last) => self.write(&last, place).await,
            None => Ok(()),
        }
    }

    async fn write(&mut self, event: &WatchEvent<Object>, place: Option<Cursor>) -> Result<(), End> {
        let id = place.map(cursor_text);
        let message = sse::message(event, id.as_deref()).map_err(|error| End::told(WatchEnd::Failed, &ApiError::internal(&error)))?;
        self.buffer.extend_from_slice(&message);
        if self.buffer.len() >= CHUNK { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        match self.sender.send_timeout(chunk, self.core.state.limits.stall).await {
            Ok(()) => Ok(()),
            Err(SendTimeoutError::Timeout(_)) => Err(End(WatchEnd::Slow, None)),
            Err(SendTimeoutError::Closed(_)) => Err(End(WatchEnd::Left, None)),
        }
    }
}

fn is_full(found: usize) -> bool {
    i64::try_from(found).unwrap_or(i64::MAX) >= PAGE
}
