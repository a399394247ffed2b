//! Tasks, each with a note of what it was started for, so that a panic does not lose what it was.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;

use tokio::task::{Id, JoinError, JoinSet};

/// A set of tasks. Dropping it aborts them.
#[derive(Debug)]
pub(super) struct Crew<N, T> {
    tasks: JoinSet<T>,
    notes: HashMap<Id, N>,
}

/// Why a task gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Crash {
    /// It panicked.
    #[error("panicked: {0}")]
    Panicked(String),
    /// It was aborted.
    #[error("was aborted")]
    Aborted,
}

impl<N, T: Send + 'static> Crew<N, T> {
    pub(super) fn new() -> Self {
        Self { tasks: JoinSet::new(), notes: HashMap::new() }
    }

    pub(super) fn spawn(&mut self, note: N, task: impl Future<Output = T> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.notes.insert(id, note);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.notes.len()
    }

    /// Waits for the next task to end, for ever while there is none. Dropping the future loses none.
    pub(super) async fn join(&mut self) -> (N, Result<T, Crash>) {
        loop {
            let (id, result) = match self.tasks.join_next_with_id().await {
                Some(Ok((id, value))) => (id, Ok(value)),
                Some(Err(error)) => (error.id(), Err(crash(error))),
                None => std::future::pending().await,
            };
            if let Some(note) = self.notes.remove(&id) {
                return (note, result);
            }
        }
    }

    pub(super) fn abort_all(&mut self) {
        self.tasks.abort_all();
    }
}

fn crash(error: JoinError) -> Crash {
    match error.try_into_panic() {
        Ok(payload) => Crash::Panicked(panic_text(&*payload)),
        Err(_) => Crash::Aborted,
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("with a value that is no text").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_comes_back_with_the_note_and_the_text() {
        let mut crew: Crew<&str, u8> = Crew::new();
        crew.spawn("good", async { 7 });
        assert_eq!(crew.join().await, ("good", Ok(7)));
        let number = 3;
        crew.spawn("bad", async move { panic!("number {number}") });
        assert_eq!(crew.join().await, ("bad", Err(Crash::Panicked("number 3".into()))));
        crew.spawn("odd", async { std::panic::panic_any(5_u8) });
        assert_eq!(crew.join().await.1, Err(Crash::Panicked("with a value that is no text".into())));
        crew.spawn("endless", std::future::pending());
        crew.abort_all();
        assert_eq!(crew.join().await, ("endless", Err(Crash::Aborted)));
        assert!(crew.is_empty());
    }
}
