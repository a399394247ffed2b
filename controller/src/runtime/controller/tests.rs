use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::runtime::hints::{Hints, hints};
use crate::runtime::queue::Priority;
use crate::runtime::reconciler::{BoxError, Outcome, Run};
use crate::runtime::settle::Class;
use crate::runtime::testing::{TokioClock, entropy};

type Script = Box<dyn Fn(&str, &Run) -> Act + Send + Sync>;

/// What a scripted run does.
enum Act {
    End(Outcome),
    EndAfter(Duration, Outcome),
    /// Ends only when it is told to stop, and then as it should.
    UntilCancelled,
    /// Never ends, whatever it is told.
    Hang,
    Panic,
}

fn done() -> Act {
    Act::End(Outcome::done())
}

fn fail(class: Class) -> Act {
    Act::End(Outcome::failed(class, "as scripted"))
}

#[derive(Debug, Clone, PartialEq)]
struct Started {
    key: String,
    at: Duration,
    epoch: i64,
    attempts: u32,
    id: u64,
}

struct Scripted {
    script: Script,
    start: Instant,
    keys: Mutex<Vec<&'static str>>,
    dirty: Mutex<Vec<&'static str>>,
    listing_fails: AtomicU32,
    listing_panics: AtomicBool,
    listings: AtomicU32,
    started: Mutex<Vec<Started>>,
    cancelled: Mutex<Vec<String>>,
    running: Mutex<HashSet<String>>,
    most_running: AtomicU32,
    /// A key ran twice at once. Not asserted in the run, whose panics the controller survives.
    doubled: AtomicBool,
}

/// Takes the key out of the running ones, also when the run is dropped.
struct Running<'a>(&'a Scripted, String);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.lock().unwrap().remove(&self.1);
    }
}

#[async_trait]
impl Reconciler for Scripted {
    type Key = String;

    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn reconcile(&self, key: &String, run: &Run) -> Outcome {
        let at = self.start.elapsed();
        self.started.lock().unwrap().push(Started { key: key.clone(), at, epoch: run.epoch, attempts: run.attempts, id: run.id });
        let now_running = {
            let mut running = self.running.lock().unwrap();
            if !running.insert(key.clone()) {
                self.doubled.store(true, Ordering::Relaxed);
            }
            u32::try_from(running.len()).unwrap()
        };
        self.most_running.fetch_max(now_running, Ordering::Relaxed);
        let _running = Running(self, key.clone());
        match (self.script)(key, run) {
            Act::End(outcome) => outcome,
            Act::EndAfter(time, outcome) => {
                sleep(time).await;
                outcome
            }
            Act::UntilCancelled => {
                run.cancel.cancelled().await;
                self.cancelled.lock().unwrap().push(key.clone());
                Outcome::failed(Class::Transient, "interrupted")
            }
            Act::Hang => std::future::pending().await,
            Act::Panic => panic!("scripted panic of {key}"),
        }
    }

    async fn keys(&self) -> Result<Vec<String>, BoxError> {
        self.listings.fetch_add(1, Ordering::Relaxed);
        assert!(!self.listing_panics.swap(false, Ordering::Relaxed), "scripted panic of a listing");
        if self.listing_fails.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err("the store is away".into());
        }
        Ok(self.keys.lock().unwrap().iter().map(ToString::to_string).collect())
    }

    async fn dirty_keys(&self) -> Result<Vec<String>, BoxError> {
        Ok(self.dirty.lock().unwrap().iter().map(ToString::to_string).collect())
    }
}

struct Bench {
    reconciler: Arc<Scripted>,
    hints: Hints<String>,
    leadership: watch::Sender<Leadership>,
    tuning: watch::Sender<Tuning>,
    shutdown: CancellationToken,
    registry: Registry,
    pulses: Pulses,
    task: JoinHandle<Drained>,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Bench {
    fn start(script: impl Fn(&str, &Run) -> Act + Send + Sync + 'static) -> Self {
        Self::start_with(Options::default(), Tuning { resync_interval: HOUR, concurrency: 4 }, script)
    }

    fn start_with(options: Options, tuning: Tuning, script: impl Fn(&str, &Run) -> Act + Send + Sync + 'static) -> Self {
        let reconciler = Arc::new(Scripted {
            script: Box::new(script),
            start: Instant::now(),
            keys: Mutex::default(),
            dirty: Mutex::default(),
            listing_fails: AtomicU32::new(0),
            listing_panics: AtomicBool::new(false),
            listings: AtomicU32::new(0),
            started: Mutex::default(),
            cancelled: Mutex::default(),
            running: Mutex::default(),
            most_running: AtomicU32::new(0),
            doubled: AtomicBool::new(false),
        });
        let mut registry = Registry::default();
        let (hints, receiver) = hints(64);
        let (leadership, leading) = watch::channel(Leadership::Leading { epoch: 1 });
        let (tuning, tuned) = watch::channel(tuning);
        let wiring = Wiring {
            hints: receiver,
            leadership: leading,
            tuning: tuned,
            clock: TokioClock::shared(),
            entropy: entropy(7),
            metrics: Metrics::register(&mut registry),
        };
        let shutdown = CancellationToken::new();
        let controller = Controller::new(reconciler.clone(), wiring, options);
        let pulses = controller.pulses();
        let task = tokio::spawn(controller.run(shutdown.clone()));
        Self { reconciler, hints, leadership, tuning, shutdown, registry, pulses, task }
    }

    fn hint(&self, key: &str) {
        self.hints.key(key.to_owned(), Priority::User);
    }

    fn lead(&self, epoch: i64) {
        self.leadership.send_replace(Leadership::Leading { epoch });
    }

    fn depose(&self) {
        self.leadership.send_replace(Leadership::Standby);
    }

    fn started(&self) -> Vec<Started> {
        assert!(!self.reconciler.doubled.load(Ordering::Relaxed), "two runs of a key at once");
        self.reconciler.started.lock().unwrap().clone()
    }

    fn keys_started(&self) -> Vec<String> {
        self.started().into_iter().map(|started| started.key).collect()
    }

    fn runs_of(&self, key: &str) -> usize {
        self.started().iter().filter(|started| started.key == key).count()
    }

    /// A metric's value, by the start of its line.
    fn metric(&self, line: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let found = text.lines().find_map(|found| found.strip_prefix(line)).unwrap_or_else(|| panic!("no {line} in\n{text}"));
        found.trim().parse().unwrap()
    }

    async fn stop(self) -> Drained {
        self.shutdown.cancel();
        timeout(Duration::from_secs(60), self.task).await.expect("a shutdown is bounded").unwrap()
    }
}

async fn pass(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_never_runs_twice_at_once_and_hints_during_its_run_become_one_more_run() {
    let bench = Bench::start(|_, _| Act::EndAfter(Duration::from_millis(100), Outcome::done()));
    bench.hint("a");
    pass(10).await;
    for _ in 0..20 {
        bench.hint("a");
        pass(1).await;
    }
    pass(1000).await;
    assert_eq!(bench.keys_started(), ["a", "a"]);
    assert_eq!(bench.stop().await, Drained::Clean);
}

#[tokio::test(start_paused = true)]
async fn it_says_what_runs_what_waits_and_for_how_long() {
    let bench = Bench::start(|_, _| Act::EndAfter(Duration::from_secs(30), Outcome::requeue(Duration::from_secs(60))));
    pass(10_000).await;
    for key in ["a", "b", "c", "d", "e", "f"] {
        bench.hint(key);
        pass(1).await;
    }
    pass(7_000).await;
    let pulse = bench.pulses.take(Duration::from_secs(1)).await.expect("an answer");
    assert_eq!((pulse.running, pulse.due, pulse.scheduled), (4, 2, 0));
    let (key, waited) = pulse.oldest.expect("one waits");
    assert!(key == "e" && waited.as_secs() == 7, "{key} {waited:?}");
    assert_eq!(pulse.resync.map(|ago| ago.as_secs()), Some(17), "since it began to lead");
    pass(30_000).await;
    let pulse = bench.pulses.take(Duration::from_secs(1)).await.expect("an answer");
    assert_eq!((pulse.running, pulse.due, pulse.scheduled, pulse.oldest), (2, 0, 4, None));
    let pulses = bench.pulses.clone();
    bench.stop().await;
    assert_eq!(pulses.take(Duration::from_secs(1)).await, None, "a controller that has ended says nothing");
}

#[tokio::test(start_paused = true)]
async fn a_users_edit_overtakes_a_resync_of_many_keys() {
    let keys: Vec<&'static str> = (0..400).map(|number| &*Box::leak(format!("k{number}").into_boxed_str())).collect();
    let bench = Bench::start(|_, _| Act::EndAfter(Duration::from_millis(50), Outcome::done()));
    *bench.reconciler.keys.lock().unwrap() = keys;
    bench.hints.resync();
    pass(1000).await;
    let before = bench.started().len();
    assert!((30..300).contains(&before), "{before} runs: the resync is under way");
    bench.hint("edited");
    pass(5).await;
    let edited = bench.started().into_iter().position(|started| started.key == "edited");
    assert!(edited.is_some_and(|place| place <= before + 3), "it had a permit of its own: started as {edited:?} of {before}");
    assert!(bench.reconciler.most_running.load(Ordering::Relaxed) <= 4);
    pass(20_000).await;
    assert_eq!(bench.started().len(), 401, "and the resync came to its end");
}

#[tokio::test(start_paused = true)]
async fn a_lost_hint_is_repaired_by_the_periodic_resync() {
    let tuning = Tuning { resync_interval: Duration::from_secs(30), concurrency: 4 };
    let bench = Bench::start_with(Options::default(), tuning, |_, _| done());
    pass(1000).await;
    *bench.reconciler.keys.lock().unwrap() = vec!["a", "b"];
    pass(20_000).await;
    assert!(bench.keys_started().is_empty());
    pass(20_000).await;
    assert_eq!(bench.keys_started().into_iter().collect::<HashSet<_>>(), HashSet::from(["a".into(), "b".into()]));
    pass(300_000).await;
    assert_eq!((bench.runs_of("a"), bench.runs_of("b")), (11, 11), "at every interval");
    bench.tuning.send_replace(Tuning { resync_interval: HOUR, concurrency: 4 });
    pass(600_000).await;
    assert!(bench.runs_of("a") <= 12, "the interval can be changed");
}

#[tokio::test(start_paused = true)]
async fn a_resync_spreads_its_keys_over_a_window() {
    let keys: Vec<&'static str> = (0..100).map(|number| &*Box::leak(format!("k{number}").into_boxed_str())).collect();
    let tuning = Tuning { resync_interval: Duration::from_secs(30), concurrency: 100 };
    let bench = Bench::start_with(Options::default(), tuning, |_, _| done());
    pass(1000).await;
    *bench.reconciler.keys.lock().unwrap() = keys;
    pass(45_000).await;
    let mut seconds: BTreeMap<u64, u32> = BTreeMap::new();
    for started in bench.started() {
        *seconds.entry(started.at.as_secs()).or_default() += 1;
    }
    assert_eq!(seconds.values().sum::<u32>(), 100);
    assert!(seconds.len() >= 8 && seconds.values().all(|count| *count < 30), "{seconds:?}");
}

#[tokio::test(start_paused = true)]
async fn dirty_keys_are_asked_for_and_run_as_user_work() {
    let bench = Bench::start(|_, _| Act::EndAfter(Duration::from_secs(10), Outcome::done()));
    pass(100).await;
    for key in ["b1", "b2", "b3", "b4", "b5"] {
        bench.hints.key(key.to_owned(), Priority::Background);
    }
    pass(100).await;
    assert_eq!(bench.started().len(), 3, "background work has three of four permits");
    *bench.reconciler.dirty.lock().unwrap() = vec!["edited"];
    for _ in 0..50 {
        bench.hints.dirty();
    }
    pass(100).await;
    assert_eq!(bench.keys_started().last().unwrap(), "edited");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_transient_failure_of_its_key_alone() {
    let bench = Bench::start(|key, run| if key == "bad" && run.attempts < 2 { Act::Panic } else { done() });
    bench.hint("bad");
    bench.hint("good");
    pass(10).await;
    assert_eq!(bench.keys_started().len(), 2);
    pass(10_000).await;
    let attempts: Vec<u32> = bench.started().iter().filter(|started| started.key == "bad").map(|started| started.attempts).collect();
    assert_eq!(attempts, [0, 1, 2]);
    assert_eq!(bench.metric("reconcile_panics_total{controller=\"scripted\"}"), 2);
    assert_eq!(bench.metric("reconcile_runs_total{controller=\"scripted\",result=\"panicked\"}"), 2);
    assert_eq!(bench.metric("reconcile_runs_total{controller=\"scripted\",result=\"done\"}"), 2);
    assert_eq!(bench.stop().await, Drained::Clean);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_or_panics_is_made_again() {
    let bench = Bench::start(|_, _| done());
    *bench.reconciler.keys.lock().unwrap() = vec!["a"];
    bench.reconciler.listing_panics.store(true, Ordering::Relaxed);
    bench.reconciler.listing_fails.store(3, Ordering::Relaxed);
    bench.hints.resync();
    pass(30_000).await;
    assert_eq!(bench.keys_started(), ["a"]);
    assert!(bench.metric("reconcile_resyncs_total{controller=\"scripted\",result=\"failed\"}") >= 4);
}

#[tokio::test(start_paused = true)]
async fn a_standby_runs_nothing_and_starts_with_a_resync_when_it_leads() {
    let bench = Bench::start(|_, _| done());
    bench.depose();
    pass(100).await;
    *bench.reconciler.keys.lock().unwrap() = vec!["a", "b"];
    let listings = bench.reconciler.listings.load(Ordering::Relaxed);
    bench.hint("a");
    bench.hints.resync();
    bench.hints.dirty();
    pass(3_600_000).await;
    assert!(bench.started().is_empty());
    assert_eq!(bench.reconciler.listings.load(Ordering::Relaxed), listings, "it does not even list");
    bench.lead(5);
    pass(1000).await;
    let started = bench.started();
    assert!(started.iter().all(|started| started.epoch == 5), "{started:?}");
    assert!(started.iter().any(|started| started.key == "b"), "nobody hinted at it");
    assert_eq!(bench.stop().await, Drained::Clean);
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_cancels_its_runs_and_drops_those_that_do_not_listen() {
    let bench = Bench::start(|key, _| match key {
        "polite" => Act::UntilCancelled,
        _ => Act::Hang,
    });
    bench.hint("polite");
    bench.hint("deaf");
    pass(1000).await;
    assert_eq!(bench.reconciler.running.lock().unwrap().len(), 2);
    bench.depose();
    pass(10).await;
    assert_eq!(*bench.reconciler.cancelled.lock().unwrap(), ["polite"]);
    pass(600).await;
    assert!(bench.reconciler.running.lock().unwrap().is_empty(), "dropped after the grace");
    pass(120_000).await;
    assert_eq!(bench.started().len(), 2, "and not tried again");
    assert_eq!(bench.metric("reconcile_runs_total{controller=\"scripted\",result=\"cancelled\"}"), 2);
}

#[tokio::test(start_paused = true)]
async fn losing_and_regaining_leadership_never_runs_a_key_twice_at_once() {
    let bench = Bench::start(|_, run| if run.epoch == 1 { Act::Hang } else { done() });
    *bench.reconciler.keys.lock().unwrap() = vec!["a"];
    bench.hint("a");
    pass(100).await;
    bench.depose();
    bench.lead(2);
    pass(100).await;
    assert_eq!(bench.started().last().unwrap().epoch, 1, "the old run has not been dropped yet");
    pass(2000).await;
    assert_eq!(bench.started().last().unwrap().epoch, 2);
    assert_eq!(bench.runs_of("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_vanished_elector_means_standby() {
    let Bench { reconciler, hints, leadership, shutdown, task, tuning: _tuning, .. } = Bench::start(|_, _| Act::UntilCancelled);
    hints.key("a".into(), Priority::User);
    pass(100).await;
    drop(leadership);
    pass(100).await;
    assert_eq!(*reconciler.cancelled.lock().unwrap(), ["a"]);
    hints.key("b".into(), Priority::User);
    pass(100_000).await;
    assert_eq!(reconciler.started.lock().unwrap().len(), 1);
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Drained::Clean);
}

#[tokio::test(start_paused = true)]
async fn backoff_grows_with_every_failure_and_starts_over_after_a_success() {
    let fails = Arc::new(AtomicBool::new(true));
    let failing = fails.clone();
    let bench = Bench::start(move |_, _| if failing.load(Ordering::Relaxed) { fail(Class::Transient) } else { done() });
    bench.hint("a");
    pass(600_000).await;
    let started = bench.started();
    let policy = Policy::default();
    for pair in started.windows(2) {
        let (gap, failures) = (pair[1].at - pair[0].at, pair[0].attempts);
        let slack = Duration::from_millis(3);
        assert!(gap <= policy.ceiling(failures) + slack && gap + slack >= policy.floor, "{gap:?} after {failures} failures");
        assert_eq!(pair[1].attempts, failures + 1);
    }
    assert!((12..120).contains(&started.len()), "{} runs in ten minutes", started.len());
    fails.store(false, Ordering::Relaxed);
    bench.hint("a");
    pass(100).await;
    fails.store(true, Ordering::Relaxed);
    bench.hint("a");
    pass(1).await;
    let again = bench.started().last().unwrap().clone();
    assert_eq!(again.attempts, 0, "the success was what counted");
    pass(510).await;
    assert!(bench.started().last().unwrap().attempts >= 1, "so the next try comes within the first ceiling");
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_tried_again_at_once_and_then_backs_off() {
    let bench = Bench::start(|_, _| fail(Class::Conflict));
    bench.hint("a");
    pass(90).await;
    assert_eq!(bench.started().len(), 6, "the first and five more at once");
    pass(20_000).await;
    let later = bench.started().len();
    assert!((9..40).contains(&later), "{later} runs");
}

#[tokio::test(start_paused = true)]
async fn waiting_comes_back_after_its_time_and_stalled_waits_for_a_hint() {
    let bench = Bench::start(|key, _| match key {
        "waits" => fail(Class::Waiting(Duration::from_secs(2))),
        _ => fail(Class::Stalled),
    });
    bench.hint("waits");
    bench.hint("stalled");
    pass(10_500).await;
    assert_eq!((bench.runs_of("waits"), bench.runs_of("stalled")), (6, 1));
    bench.hint("stalled");
    pass(10).await;
    assert_eq!(bench.runs_of("stalled"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_past_its_deadline_is_stopped_and_tried_again() {
    let options = Options { deadline: Duration::from_secs(5), ..Options::default() };
    let bench = Bench::start_with(options, Tuning::default(), |_, run| if run.attempts == 0 { Act::Hang } else { done() });
    bench.hint("a");
    pass(4900).await;
    assert_eq!(bench.runs_of("a"), 1);
    pass(800).await;
    assert_eq!(bench.started().last().unwrap().attempts, 1);
    assert_eq!(bench.metric("reconcile_runs_total{controller=\"scripted\",result=\"deadline\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_starts_nothing_more_and_waits_for_what_runs() {
    let bench = Bench::start(|_, _| Act::EndAfter(Duration::from_secs(4), Outcome::requeue(Duration::ZERO)));
    bench.hint("a");
    pass(100).await;
    let start = Instant::now();
    let reconciler = bench.reconciler.clone();
    bench.hint("b");
    bench.shutdown.cancel();
    assert_eq!(bench.stop().await, Drained::Clean);
    assert!(start.elapsed() > Duration::from_secs(3));
    assert_eq!(reconciler.started.lock().unwrap().iter().filter(|started| started.key == "a").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_ever() {
    let bench = Bench::start(|_, _| Act::Hang);
    bench.hint("a");
    pass(100).await;
    let (start, reconciler) = (Instant::now(), bench.reconciler.clone());
    assert_eq!(bench.stop().await, Drained::Cancelled(1));
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    assert!(reconciler.running.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_leader_deposed_during_its_shutdown_cancels_at_once() {
    let bench = Bench::start(|_, _| Act::UntilCancelled);
    bench.hint("a");
    pass(100).await;
    bench.shutdown.cancel();
    pass(100).await;
    let start = Instant::now();
    bench.depose();
    assert_eq!(bench.stop().await, Drained::Cancelled(1));
    assert!(start.elapsed() < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn hints_beyond_the_channel_are_made_good_by_a_resync() {
    let keys: Vec<&'static str> = (0..1000).map(|number| &*Box::leak(format!("k{number}").into_boxed_str())).collect();
    let bench = Bench::start(|_, _| done());
    pass(1000).await;
    bench.reconciler.keys.lock().unwrap().clone_from(&keys);
    for key in &keys {
        bench.hint(key);
    }
    pass(5000).await;
    assert_eq!(bench.keys_started().into_iter().collect::<HashSet<_>>().len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn events_that_a_failing_run_causes_do_not_make_it_run_hot() {
    let bench = Bench::start(|_, _| fail(Class::Transient));
    for _ in 0..2000 {
        bench.hints.key("a".into(), Priority::Background);
        pass(10).await;
    }
    let runs = bench.started().len();
    assert!((2..30).contains(&runs), "{runs} runs in twenty seconds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_several_threads_every_hinted_key_runs_after_its_last_hint_and_never_twice_at_once() {
    let bench = Bench::start(|_, run| match run.id % 5 {
        0 => Act::Panic,
        1 => fail(Class::Conflict),
        _ => Act::EndAfter(Duration::from_micros(300), Outcome::done()),
    });
    // On a busy machine the channel may overflow, and the resync then has to know the keys.
    *bench.reconciler.keys.lock().unwrap() = (0..40).map(|number| &*Box::leak(format!("k{number}").into_boxed_str())).collect();
    let givers: Vec<_> = (0..4u32)
        .map(|giver| {
            let (hints, start) = (bench.hints.clone(), bench.reconciler.start);
            tokio::spawn(async move {
                let mut last = BTreeMap::new();
                for round in 0..200u32 {
                    let key = format!("k{}", (round * 7 + giver * 3) % 40);
                    last.insert(key.clone(), start.elapsed());
                    hints.key(key, if round % 2 == 0 { Priority::User } else { Priority::Background });
                    tokio::time::sleep(Duration::from_micros(500)).await;
                }
                last
            })
        })
        .collect();
    let mut last: BTreeMap<String, Duration> = BTreeMap::new();
    for giver in givers {
        for (key, at) in giver.await.unwrap() {
            let latest = last.entry(key).or_default();
            *latest = at.max(*latest);
        }
    }
    let unserved = |started: &[Started]| -> Vec<String> {
        last.iter().filter(|(key, at)| !started.iter().any(|run| run.key == **key && run.at >= **at)).map(|(key, _)| key.clone()).collect()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !unserved(&bench.started()).is_empty() && Instant::now() < deadline {
        pass(20).await;
    }
    assert_eq!(unserved(&bench.started()), Vec::<String>::new());
    assert_eq!(bench.stop().await, Drained::Clean);
}
