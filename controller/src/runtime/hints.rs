//! The way into a controller: hints that somebody should look at a key.
//!
//! Giving a hint never blocks and never fails. Keys go through a bounded channel; when it is full the
//! hint becomes a request for a resync, so a burst costs latency and loses nothing. Requests for a
//! resync are a flag each, so any number of them is one.
//!
//! A hint carries no payload and no reason, and must not be relied on: it may come too early, twice,
//! or never.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, mpsc};

use super::queue::Priority;

/// How many hints are taken at once.
const BATCH: usize = 256;

#[derive(Debug, Default)]
struct Flags {
    dirty: AtomicBool,
    resync: AtomicBool,
    raised: Notify,
}

/// Gives hints to a controller. Cloning shares the channel.
#[derive(Debug)]
pub struct Hints<K> {
    keys: mpsc::Sender<(K, Priority)>,
    flags: Arc<Flags>,
}

impl<K> Clone for Hints<K> {
    fn clone(&self) -> Self {
        Self { keys: self.keys.clone(), flags: self.flags.clone() }
    }
}

/// A controller's end of its hints.
#[derive(Debug)]
pub struct HintReceiver<K> {
    keys: mpsc::Receiver<(K, Priority)>,
    /// The last giver is gone; only the flags are left to look at.
    closed: bool,
    flags: Arc<Flags>,
}

/// Hints for one controller; at most `bound` keys wait in between.
pub fn hints<K>(bound: usize) -> (Hints<K>, HintReceiver<K>) {
    let (sender, receiver) = mpsc::channel(bound.max(1));
    let flags = Arc::new(Flags::default());
    (Hints { keys: sender, flags: flags.clone() }, HintReceiver { keys: receiver, closed: false, flags })
}

impl<K> Hints<K> {
    /// Somebody should look at a key.
    pub fn key(&self, key: K, priority: Priority) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.keys.try_send((key, priority)) {
            self.resync();
        }
    }

    /// Something that users wait for changed, it is not known what: asks for the dirty keys.
    pub fn dirty(&self) {
        self.flags.dirty.store(true, Ordering::Release);
        self.flags.raised.notify_one();
    }

    /// Anything may have changed: asks for all keys, and for the dirty ones first.
    pub fn resync(&self) {
        self.flags.resync.store(true, Ordering::Release);
        self.flags.raised.notify_one();
    }
}

/// Hints that came in since the last time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch<K> {
    pub(super) keys: Vec<(K, Priority)>,
    pub(super) dirty: bool,
    pub(super) resync: bool,
}

impl<K> HintReceiver<K> {
    /// Waits for hints. Dropping the future loses none.
    pub(super) async fn recv(&mut self) -> Batch<K> {
        loop {
            let mut keys = Vec::new();
            tokio::select! {
                biased;
                count = self.keys.recv_many(&mut keys, BATCH), if !self.closed => self.closed = count == 0,
                () = self.flags.raised.notified() => {}
            }
            let dirty = self.flags.dirty.swap(false, Ordering::AcqRel);
            let resync = self.flags.resync.swap(false, Ordering::AcqRel);
            if dirty || resync || !keys.is_empty() {
                return Batch { keys, dirty, resync };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_full_channel_turns_hints_into_one_resync_and_never_blocks() {
        let (hints, mut receiver) = hints(2);
        for key in 0..100 {
            hints.key(key, Priority::User);
        }
        let (mut keys, mut resyncs) = (Vec::new(), 0);
        while let Ok(batch) = timeout(Duration::from_millis(20), receiver.recv()).await {
            keys.extend(batch.keys.into_iter().map(|(key, _)| key));
            resyncs += u32::from(batch.resync);
        }
        assert_eq!((keys, resyncs), (vec![0, 1], 1));
    }

    #[tokio::test]
    async fn flags_still_work_when_every_giver_of_keys_is_gone() {
        let (hints, mut receiver) = hints::<u8>(2);
        hints.dirty();
        hints.dirty();
        drop(hints);
        assert_eq!(receiver.recv().await, Batch { keys: vec![], dirty: true, resync: false });
        assert!(timeout(Duration::from_millis(20), receiver.recv()).await.is_err(), "it waits and does not spin");
    }
}
