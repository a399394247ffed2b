//! Lists that go on: what is there, then every change, until the user has had enough.
//!
//! ```text
//! server ── messages ──▶ feed (one an organization; resumes, remembers) ── batches ──▶ show ──▶ standard output
//! ```

mod feed;
mod memory;
mod show;

#[cfg(test)]
mod tests;

use futures::stream::{self, StreamExt};

pub use feed::Source;
pub use memory::{Change, Word};
pub use show::{Look, Show};

use crate::client::Client;
use crate::errors::{CliError, Result};
use crate::{clock, output};

/// How a watch is shown.
pub struct Watch<'a> {
    /// Where from; several are merged.
    pub sources: Vec<Source>,
    /// What of each object is looked at.
    pub look: Look,
    /// How it is written.
    pub show: Show,
    /// Leave out what is there already.
    pub only_changes: bool,
    /// Puts what is there at the beginning into order.
    pub order: &'a (dyn Fn(&mut Vec<Change>) -> Result<()> + Sync),
    /// What to say when there is nothing at the beginning.
    pub nothing: Option<String>,
}

impl Watch<'_> {
    /// Shows everything and every change, until the output is closed.
    ///
    /// # Errors
    /// [`CliError::Closed`] when nobody reads any more; and when the server refuses.
    pub async fn run(mut self, client: &Client) -> Result<()> {
        let mut waiting = self.sources.len();
        let sources = std::mem::take(&mut self.sources);
        let feeds = sources.into_iter().enumerate().map(|(n, source)| {
            let feed = feed::Feed::new(client, source, self.look, n == 0);
            Box::pin(stream::unfold(feed, async |mut feed| Some((feed.next().await, feed))))
        });
        let mut batches = stream::select_all(feeds);
        let (mut first, mut later) = (Vec::new(), Vec::new());
        loop {
            let batch = tokio::select! {
                () = output::closed() => return Err(CliError::Closed),
                batch = batches.next() => batch,
            };
            let Some(batch) = batch.transpose()? else { return Ok(()) };
            // The beginnings of all together make one table, in one order.
            if batch.initial {
                waiting -= 1;
                first.extend(batch.changes);
                if waiting == 0 {
                    self.begin(std::mem::take(&mut first))?;
                }
            } else {
                later.extend(batch.changes);
            }
            if waiting == 0 {
                output::print(&self.show.text(&std::mem::take(&mut later), clock::now())?)?;
            }
        }
    }

    fn begin(&mut self, mut all: Vec<Change>) -> Result<()> {
        if all.is_empty()
            && let Some(text) = &self.nothing
        {
            output::note(text);
        }
        if self.only_changes {
            return Ok(());
        }
        (self.order)(&mut all)?;
        output::print(&self.show.text(&all, clock::now())?)
    }
}
