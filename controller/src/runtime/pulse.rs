//! What a controller has before it, told on request.
//!
//! The loop owns its queue, and nobody else may look into it; so a question is sent, and the loop answers
//! between two pieces of work. Nothing is computed while nobody asks.
//!
//! How it can be misused: asking more often than a person reads. Counting what is due walks over it.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Questions that wait for the loop; more are refused.
const BOUND: usize = 4;

/// What a controller has before it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pulse {
    /// Keys whose time has come, and that wait for a permit.
    pub due: usize,
    /// Keys that wait for their time.
    pub scheduled: usize,
    /// Runs under way.
    pub running: usize,
    /// The key that has been due for longest, and for how long.
    pub oldest: Option<(String, Duration)>,
    /// How long ago all keys were last listed; `None` before the first time since the start.
    pub resync: Option<Duration>,
}

/// Asks a controller.
#[derive(Debug, Clone)]
pub struct Pulses(mpsc::Sender<oneshot::Sender<Pulse>>);

/// The controller's end.
pub(super) type Questions = mpsc::Receiver<oneshot::Sender<Pulse>>;

pub(super) fn pulses() -> (Pulses, Questions) {
    let (sender, receiver) = mpsc::channel(BOUND);
    (Pulses(sender), receiver)
}

impl Pulses {
    /// The answer, or `None` when the loop has ended or does not answer within `limit`.
    pub async fn take(&self, limit: Duration) -> Option<Pulse> {
        let (answer, wait) = oneshot::channel();
        self.0.try_send(answer).ok()?;
        timeout(limit, wait).await.ok()?.ok()
    }
}
