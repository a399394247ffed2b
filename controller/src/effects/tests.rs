//! Each fault, on an act that counts how often it was done.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::*;

#[derive(Debug, PartialEq)]
enum Failure {
    Own,
    Lost,
    Refused,
    Half,
}

impl Injected for Failure {
    fn lost(_: &Effect) -> Self {
        Self::Lost
    }
    fn refused(_: &Effect) -> Self {
        Self::Refused
    }
    fn half(_: &Effect) -> Self {
        Self::Half
    }
}

#[derive(Default)]
struct Script {
    faults: Vec<(u64, Fault)>,
    killed: AtomicBool,
    seen: Mutex<Vec<String>>,
}

impl Injector for Arc<Script> {
    fn fault(&self, effect: &Effect) -> Option<Fault> {
        self.faults.iter().find(|(ordinal, _)| *ordinal == effect.ordinal).map(|(_, fault)| *fault)
    }
    fn done(&self, effect: &Effect, worked: bool) {
        self.seen.lock().unwrap().push(format!("{effect} {worked}"));
    }
    fn kill(&self, _: &Effect) {
        self.killed.store(true, Ordering::Release);
    }
}

/// What one act with a fault answers within ten seconds, how often it was done, and whether the process was to die.
async fn with(fault: Fault) -> (Option<Result<u32, Failure>>, u32, bool) {
    let script = Arc::new(Script { faults: vec![(1, fault)], ..Script::default() });
    let effects = Effects::injected(script.clone());
    let count = AtomicU32::new(0);
    let act = || async { Ok(count.fetch_add(1, Ordering::AcqRel) + 1) };
    let answer = tokio::time::timeout(Duration::from_secs(10), effects.run(Kind::StatusPut, "shop", act)).await.ok();
    (answer, count.load(Ordering::Acquire), script.killed.load(Ordering::Acquire))
}

#[tokio::test(start_paused = true)]
async fn every_fault_does_what_its_name_says() {
    for fault in Fault::ALL {
        let want = match fault {
            Fault::KillBefore => (None, 0, true),
            Fault::KillAfter => (None, 1, true),
            Fault::LostReply => (Some(Err(Failure::Lost)), 1, false),
            Fault::Error => (Some(Err(Failure::Refused)), 0, false),
            Fault::Slow | Fault::StaleRead => (Some(Ok(1)), 1, false),
            Fault::HalfAnswer => (Some(Err(Failure::Half)), 1, false),
            Fault::Duplicate => (Some(Ok(1)), 2, false),
        };
        assert_eq!(with(fault).await, want, "{fault}");
    }
}

#[tokio::test]
async fn acts_are_counted_over_all_clones_and_only_the_named_one_is_hit() {
    let script = Arc::new(Script { faults: vec![(2, Fault::Error)], ..Script::default() });
    let effects = Effects::injected(script.clone());
    let good = || async { Ok::<_, Failure>(()) };
    let bad = || async { Err::<(), _>(Failure::Own) };
    assert_eq!(effects.run(Kind::NetworkCreate, "a", good).await, Ok(()));
    assert_eq!(effects.clone().run(Kind::ServiceCreate, "b", good).await, Err(Failure::Refused));
    assert_eq!(effects.run(Kind::VerdictPut, "c", bad).await, Err(Failure::Own));
    assert_eq!(*script.seen.lock().unwrap(), ["1 network_create a true", "3 verdict_put c false"]);
}

#[tokio::test]
async fn without_an_injector_an_act_is_done_as_it_is() {
    let effects = Effects::none();
    assert_eq!(effects.run(Kind::AppRemove, "a", || async { Ok::<_, Failure>(7) }).await, Ok(7));
    assert!(!effects.is_injected() && !effects.take_stale_read());
}

#[test]
fn words_are_unique() {
    let mut words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).chain(Fault::ALL.iter().map(|fault| fault.word())).collect();
    let count = words.len();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), count);
}
