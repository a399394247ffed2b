//! Events on their way to a sink: bounded, merged, and never in the way of a run.
//!
//! A recorder only puts an event into a bounded buffer. One task writes: an event at once when it is
//! new, and its repetitions within the next ten seconds together, as one write with a count. What
//! finds the buffer full, or a sink that keeps failing, is dropped and counted: events are for
//! people, nothing may depend on one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::reconciler::{BoxError, chain};
use crate::clock::SharedClock;

/// How long repetitions of an event are held back to be written together.
pub const WINDOW: Duration = Duration::from_secs(10);
/// How many different events are remembered at once.
const REMEMBERED: usize = 4096;
/// How often, and how long, a write is tried.
const TRIES: u32 = 3;
const TRY_DEADLINE: Duration = Duration::from_secs(5);
const TRY_PAUSE: Duration = Duration::from_millis(300);
/// How long the shutdown takes at most to write what is left.
const LAST_FLUSH: Duration = Duration::from_secs(3);

/// Where events are kept.
#[async_trait]
pub trait EventSink<E>: Send + Sync + 'static {
    /// Writes an event that happened `count` times since it was last written.
    async fn record(&self, event: &E, count: u32) -> Result<(), BoxError>;
}

/// Records events without waiting. Cloning shares the buffer.
#[derive(Debug)]
pub struct Recorder<E> {
    buffer: mpsc::Sender<E>,
    dropped: Counter,
}

impl<E> Clone for Recorder<E> {
    fn clone(&self) -> Self {
        Self { buffer: self.buffer.clone(), dropped: self.dropped.clone() }
    }
}

impl<E> Recorder<E> {
    /// Records an event, unless the buffer is full.
    pub fn record(&self, event: E) {
        if self.buffer.try_send(event).is_err() {
            self.dropped.inc();
        }
    }
}

/// The task that writes events; see [`EventWriter::run`].
pub struct EventWriter<E, S> {
    buffer: mpsc::Receiver<E>,
    sink: Arc<S>,
    dropped: Counter,
    clock: SharedClock,
    recent: HashMap<E, Recent>,
}

/// An event written not long ago.
#[derive(Debug)]
struct Recent {
    written: Duration,
    /// Repetitions since.
    unwritten: u32,
}

/// A recorder with a buffer of `bound` events, and the task that writes them.
pub fn recorder<E, S>(sink: Arc<S>, bound: usize, clock: SharedClock, dropped: Counter) -> (Recorder<E>, EventWriter<E, S>)
where
    E: Eq + Hash + Clone + Send + Sync + 'static,
    S: EventSink<E>,
{
    let (sender, buffer) = mpsc::channel(bound.max(1));
    let recorder = Recorder { buffer: sender, dropped: dropped.clone() };
    (recorder, EventWriter { buffer, sink, dropped, clock, recent: HashMap::new() })
}

impl<E, S> EventWriter<E, S>
where
    E: Eq + Hash + Clone + Send + Sync + 'static,
    S: EventSink<E>,
{
    /// Writes events until told to stop, or until the last recorder is gone; then what is left.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let wake = self.flush_in();
            tokio::select! {
                () = shutdown.cancelled() => break,
                event = self.buffer.recv() => match event {
                    Some(event) => self.take(event).await,
                    None => break,
                },
                () = sleep(wake) => self.flush(false).await,
            }
        }
        self.buffer.close();
        let left = async {
            while let Some(event) = self.buffer.recv().await {
                self.take(event).await;
            }
            self.flush(true).await;
        };
        if timeout(LAST_FLUSH, left).await.is_err() {
            let left = self.recent.values().filter(|recent| recent.unwritten > 0).count() + self.buffer.len();
            self.dropped.inc_by(u64::try_from(left).unwrap_or(u64::MAX));
            tracing::warn!(left, "events were not written before the shutdown");
        }
    }

    async fn take(&mut self, event: E) {
        let now = self.clock.monotonic();
        if let Some(recent) = self.recent.get_mut(&event).filter(|recent| now < recent.written + WINDOW) {
            recent.unwritten = recent.unwritten.saturating_add(1);
            return;
        }
        if self.recent.len() >= REMEMBERED {
            self.flush(true).await;
        }
        let unwritten = self.recent.remove(&event).map_or(0, |recent| recent.unwritten);
        self.write(&event, unwritten.saturating_add(1)).await;
        self.recent.insert(event, Recent { written: self.clock.monotonic(), unwritten: 0 });
    }

    fn flush_in(&self) -> Duration {
        let now = self.clock.monotonic();
        let next = self.recent.values().map(|recent| recent.written + WINDOW).min();
        next.map_or(WINDOW, |at| at.saturating_sub(now)).max(Duration::from_millis(100))
    }

    /// Writes repetitions whose window has passed, or all; forgets events without any.
    async fn flush(&mut self, all: bool) {
        let now = self.clock.monotonic();
        let past: Vec<E> =
            self.recent.iter().filter(|(_, recent)| all || now >= recent.written + WINDOW).map(|(event, _)| event.clone()).collect();
        for event in past {
            let Some(recent) = self.recent.remove(&event).filter(|recent| recent.unwritten > 0) else { continue };
            self.write(&event, recent.unwritten).await;
            if !all {
                self.recent.insert(event, Recent { written: self.clock.monotonic(), unwritten: 0 });
            }
        }
    }

    async fn write(&self, event: &E, count: u32) {
        for attempt in 1..=TRIES {
            let error = match timeout(TRY_DEADLINE, self.sink.record(event, count)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => chain(&*error),
                Err(_) => format!("took longer than {TRY_DEADLINE:?}"),
            };
            if attempt < TRIES {
                sleep(TRY_PAUSE * attempt).await;
            } else {
                tracing::warn!(%error, count, "an event could not be written");
            }
        }
        self.dropped.inc_by(u64::from(count));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::runtime::testing::TokioClock;

    #[derive(Debug, Default)]
    struct Sink {
        written: Mutex<Vec<(&'static str, u32)>>,
        failures_left: AtomicU32,
        slow: bool,
    }

    #[async_trait]
    impl EventSink<&'static str> for Sink {
        async fn record(&self, event: &&'static str, count: u32) -> Result<(), BoxError> {
            if self.slow {
                std::future::pending::<()>().await;
            }
            if self.failures_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                return Err("away".into());
            }
            self.written.lock().unwrap().push((*event, count));
            Ok(())
        }
    }

    fn start(sink: Sink, bound: usize) -> (Recorder<&'static str>, Arc<Sink>, Counter, CancellationToken, tokio::task::JoinHandle<()>) {
        let (sink, dropped, shutdown) = (Arc::new(sink), Counter::default(), CancellationToken::new());
        let (recorder, writer) = recorder(sink.clone(), bound, TokioClock::shared(), dropped.clone());
        let task = tokio::spawn(writer.run(shutdown.clone()));
        (recorder, sink, dropped, shutdown, task)
    }

    fn written(sink: &Sink) -> Vec<(&'static str, u32)> {
        sink.written.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_written_at_once_and_its_burst_once_after_the_window() {
        let (recorder, sink, dropped, ..) = start(Sink::default(), 64);
        recorder.record("pulled");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(written(&sink), [("pulled", 1)]);
        for _ in 0..30 {
            recorder.record("pulled");
            sleep(Duration::from_millis(200)).await;
        }
        recorder.record("started");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(written(&sink), [("pulled", 1), ("started", 1)]);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(written(&sink), [("pulled", 1), ("started", 1), ("pulled", 30)]);
        recorder.record("pulled");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(written(&sink).last(), Some(&("pulled", 1)), "after a quiet time it is news again");
        assert_eq!(dropped.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_hangs_never_blocks_the_recorder_and_the_losses_are_counted() {
        let (recorder, _sink, dropped, shutdown, task) = start(Sink { slow: true, ..Sink::default() }, 4);
        for _ in 0..100 {
            recorder.record("e");
        }
        assert_eq!(dropped.get(), 96);
        sleep(Duration::from_secs(1)).await;
        shutdown.cancel();
        timeout(Duration::from_secs(30), task).await.expect("the shutdown is bounded").unwrap();
        assert!(dropped.get() > 96);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_write_is_tried_again_a_few_times_and_then_given_up() {
        let (recorder, sink, dropped, ..) = start(Sink { failures_left: AtomicU32::new(TRIES - 1), ..Sink::default() }, 4);
        recorder.record("lucky");
        sleep(Duration::from_secs(3)).await;
        assert_eq!((written(&sink), dropped.get()), (vec![("lucky", 1)], 0));
        sink.failures_left.store(TRIES, Ordering::Relaxed);
        recorder.record("unlucky");
        sleep(Duration::from_secs(3)).await;
        assert_eq!((written(&sink).len(), dropped.get()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_writes_what_is_held_back() {
        let (recorder, sink, dropped, shutdown, task) = start(Sink::default(), 64);
        for event in ["a", "a", "b", "a"] {
            recorder.record(event);
        }
        sleep(Duration::from_millis(1)).await;
        recorder.record("c");
        shutdown.cancel();
        task.await.unwrap();
        let mut all = written(&sink);
        all.sort_unstable();
        assert_eq!((all, dropped.get()), (vec![("a", 1), ("a", 2), ("b", 1), ("c", 1)], 0));
    }
}
