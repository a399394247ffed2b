//! One watch of the server, for as long as anybody wants it: goes on after a lost connection where it was, and lists
//! everything again when that place is too old.

use std::time::Duration;

use api_types::problem::ProblemKind;
use api_types::watch::WatchEvent;
use serde_json::Value;
use tokio::time::sleep;

use super::memory::{Change, Memory};
use super::show::Look;
use crate::client::{Client, Messages};
use crate::errors::{CliError, Result};
use crate::output;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is watched.
#[derive(Debug, Clone)]
pub struct Source {
    /// Path of a list that can be watched.
    pub path: String,
    /// Selectors.
    pub query: Vec<(&'static str, String)>,
}

/// Changes that belong together.
#[derive(Debug)]
pub struct Batch {
    /// Whether this is what was there when the watch began.
    pub initial: bool,
    /// The changes; may be none.
    pub changes: Vec<Change>,
}

/// See the module.
pub struct Feed {
    client: Client,
    source: Source,
    look: Look,
    /// Whether this one tells the user of lost connections; one of several is enough.
    speaks: bool,
    messages: Option<Messages>,
    /// Where to resume.
    place: Option<String>,
    /// What came so far of everything there is, until all of it has come.
    listing: Option<Vec<(Value, u64)>>,
    memory: Memory,
    /// Whether everything was told once; before, a failure ends the program.
    begun: bool,
    lost: bool,
    pause: Duration,
}

impl Feed {
    /// A watch, not yet open.
    pub fn new(client: &Client, source: Source, look: Look, speaks: bool) -> Self {
        Self {
            client: client.clone(),
            source,
            look,
            speaks,
            messages: None,
            place: None,
            listing: None,
            memory: Memory::default(),
            begun: false,
            lost: false,
            pause: FIRST_PAUSE,
        }
    }

    /// The next changes. First comes everything that is there.
    ///
    /// # Errors
    /// When the server refuses, or cannot be reached at the beginning. Later failures are waited out.
    pub async fn next(&mut self) -> Result<Batch> {
        loop {
            match self.event().await {
                Ok(Some(event)) => {
                    if let Some(batch) = self.take(event)? {
                        return Ok(batch);
                    }
                }
                Ok(None) => self.resume_later("the server ended the watch").await,
                Err(error) if error.problem_kind() == Some(ProblemKind::Gone) && self.place.is_some() => {
                    (self.place, self.messages) = (None, None);
                }
                Err(error) if self.begun && error.is_transient() => self.resume_later(&error.to_string()).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// The next message; `None` at the end of the answer.
    async fn event(&mut self) -> Result<Option<WatchEvent<Value>>> {
        let messages = match &mut self.messages {
            Some(messages) => messages,
            None => {
                let opened = self.client.messages(&self.source.path, &self.query(), self.place.as_deref()).await?;
                self.listing = self.place.is_none().then(Vec::new);
                self.messages.insert(opened)
            }
        };
        let Some(message) = messages.next().await? else { return Ok(None) };
        if std::mem::take(&mut self.lost) {
            self.pause = FIRST_PAUSE;
            self.say("connected again");
        }
        let event = serde_json::from_str(&message.data)
            .map_err(|error| CliError::io("the server's answer is of another version than this program", error))?;
        if let WatchEvent::Error(problem) = event {
            return Err(CliError::Problem(Box::new(problem)));
        }
        self.place = message.id.or(self.place.take());
        Ok(Some(event))
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        [("watch", "true".to_owned())].into_iter().chain(self.source.query.iter().cloned()).collect()
    }

    fn take(&mut self, event: WatchEvent<Value>) -> Result<Option<Batch>> {
        let change = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let digest = self.look.digest(&object)?;
                match &mut self.listing {
                    Some(listing) => {
                        listing.push((object, digest));
                        None
                    }
                    None => self.memory.told(object, digest),
                }
            }
            WatchEvent::Deleted(gone) => {
                let object = serde_json::to_value(gone).map_err(|error| CliError::io("the answer cannot be read", error))?;
                self.memory.gone(object)
            }
            WatchEvent::Bookmark(bookmark) => {
                let Some(listing) = self.listing.take_if(|_| bookmark.initial_events_end) else { return Ok(None) };
                let initial = !std::mem::replace(&mut self.begun, true);
                return Ok(Some(Batch { initial, changes: self.memory.listed(listing) }));
            }
            // Told apart before.
            WatchEvent::Error(problem) => return Err(CliError::Problem(Box::new(problem))),
        };
        Ok(change.map(|change| Batch { initial: false, changes: vec![change] }))
    }

    async fn resume_later(&mut self, why: &str) {
        self.messages = None;
        if !std::mem::replace(&mut self.lost, true) {
            self.say(&format!("{why}; trying again"));
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn say(&self, text: &str) {
        if self.speaks {
            output::note(&format!("skyctl: {text}\n"));
        }
    }
}
