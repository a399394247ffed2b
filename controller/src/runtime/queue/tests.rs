use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { keys: 100, total: 3, background: 2 };

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn opened(limits: Limits) -> Queue<&'static str> {
    let mut queue = Queue::new(limits);
    queue.open();
    queue
}

fn keys_now(queue: &mut Queue<&'static str>, now: Duration) -> Vec<&'static str> {
    std::iter::from_fn(|| queue.next(now)).map(|work| work.key).collect()
}

#[test]
fn nothing_is_handed_out_before_the_gate_opens_or_after_it_closes() {
    let mut queue = Queue::new(LIMITS);
    queue.add("a", at(0), Priority::User);
    assert_eq!(queue.next(at(10)), None);
    assert_eq!(queue.next_at(), None);
    queue.open();
    assert_eq!(queue.next_at(), Some(at(0)));
    assert_eq!(keys_now(&mut queue, at(10)), ["a"]);
    queue.add("b", at(0), Priority::User);
    queue.close();
    assert_eq!(queue.next(at(10)), None);
}

#[test]
fn adding_a_waiting_key_keeps_the_earliest_time_and_the_highest_priority() {
    let mut queue = opened(LIMITS);
    assert_eq!(queue.add("a", at(5), Priority::User), Added::New);
    assert_eq!(queue.add("a", at(9), Priority::Background), Added::Merged);
    assert_eq!(queue.add("a", at(3), Priority::Background), Added::Merged);
    assert_eq!((queue.depth(Priority::User), queue.depth(Priority::Background)), (1, 0));
    assert_eq!(queue.next(at(2)), None);
    let work = queue.next(at(3)).unwrap();
    assert_eq!(work, Work { key: "a", priority: Priority::User, attempts: 0, due: at(3) });
    assert_eq!(queue.next(at(100)), None, "merged, so it runs once");
}

#[test]
fn a_key_added_while_it_runs_is_run_once_more_after_it_ends_and_not_before() {
    let mut queue = opened(LIMITS);
    queue.add("a", at(0), Priority::Background);
    assert_eq!(keys_now(&mut queue, at(0)), ["a"]);
    queue.add("a", at(1), Priority::Background);
    queue.add("a", at(1), Priority::User);
    assert_eq!(queue.next(at(50)), None);
    queue.finish(&"a", true, Next::Nothing);
    assert_eq!(keys_now(&mut queue, at(50)), ["a"]);
    queue.finish(&"a", true, Next::Nothing);
    assert_eq!(queue.next(at(50)), None);
    assert!(queue.is_empty());
}

#[test]
fn user_work_overtakes_background_work_and_finds_a_permit_that_background_may_not_use() {
    let mut queue = opened(LIMITS);
    for key in ["b1", "b2", "b3"] {
        queue.add(key, at(0), Priority::Background);
    }
    assert_eq!(keys_now(&mut queue, at(0)), ["b1", "b2"], "background has two of three permits");
    assert_eq!(queue.next_at(), None, "nothing to wake up for until a run ends");
    queue.add("u", at(1), Priority::User);
    assert_eq!(keys_now(&mut queue, at(1)), ["u"]);
    queue.finish(&"b1", true, Next::Nothing);
    queue.add("u2", at(1), Priority::User);
    assert_eq!(keys_now(&mut queue, at(1)), ["u2"], "before b3, which has waited longer");
}

#[test]
fn failures_are_counted_per_key_and_success_forgets_them() {
    let mut queue = opened(LIMITS);
    queue.add("a", at(0), Priority::User);
    for attempts in 0..4 {
        let work = queue.next(at(100)).unwrap();
        assert_eq!(work.attempts, attempts);
        queue.finish(&"a", false, Next::BackOff { at: at(u64::from(attempts)), priority: Priority::User });
        assert_eq!(queue.attempts(&"a"), attempts + 1);
    }
    queue.next(at(100)).unwrap();
    queue.finish(&"a", true, Next::At { at: at(200), priority: Priority::Background });
    assert_eq!(queue.attempts(&"a"), 0);
    assert_eq!(queue.attempts(&"never seen"), 0);
}

#[test]
fn a_background_hint_does_not_cut_a_backoff_short_but_a_users_edit_does() {
    let mut queue = opened(LIMITS);
    queue.add("a", at(0), Priority::Background);
    queue.next(at(0)).unwrap();
    queue.add("a", at(0), Priority::Background);
    queue.finish(&"a", false, Next::BackOff { at: at(60), priority: Priority::Background });
    queue.add("a", at(1), Priority::Background);
    assert_eq!(queue.next_at(), Some(at(60)));
    queue.add("a", at(2), Priority::User);
    assert_eq!(queue.next(at(2)).unwrap().attempts, 1);
    queue.finish(&"a", true, Next::Nothing);
    queue.add("a", at(3), Priority::Background);
    assert_eq!(queue.next_at(), Some(at(3)), "the hold went with the run");
}

#[test]
fn a_users_edit_during_a_run_that_fails_is_not_delayed_by_the_backoff() {
    let mut queue = opened(LIMITS);
    queue.add("a", at(0), Priority::Background);
    queue.next(at(0)).unwrap();
    queue.add("a", at(1), Priority::User);
    queue.finish(&"a", false, Next::BackOff { at: at(60), priority: Priority::Background });
    assert_eq!(queue.next_at(), Some(at(1)));
}

#[test]
fn the_bound_is_on_keys_and_known_keys_are_never_refused() {
    let mut queue = opened(Limits { keys: 2, total: 1, background: 1 });
    assert_eq!(queue.add("a", at(0), Priority::User), Added::New);
    assert_eq!(queue.add("b", at(0), Priority::User), Added::New);
    assert_eq!(queue.add("c", at(0), Priority::User), Added::Refused);
    assert_eq!(queue.add("a", at(0), Priority::User), Added::Merged);
    queue.next(at(0)).unwrap();
    assert_eq!(queue.add("c", at(0), Priority::User), Added::Refused, "a running key counts");
    queue.finish(&"a", true, Next::Nothing);
    assert_eq!(queue.add("c", at(0), Priority::User), Added::New);
}

#[test]
fn finishing_a_key_that_does_not_run_changes_nothing() {
    let mut queue = opened(LIMITS);
    queue.add("a", at(0), Priority::User);
    queue.finish(&"a", false, Next::Nothing);
    queue.finish(&"b", false, Next::At { at: at(0), priority: Priority::User });
    assert_eq!((queue.len(), queue.attempts(&"a"), queue.in_flight()), (1, 0, 0));
    assert_eq!(keys_now(&mut queue, at(0)), ["a"]);
}

#[test]
fn lowered_limits_let_no_more_out_until_enough_runs_ended() {
    let mut queue = opened(LIMITS);
    for key in ["a", "b", "c", "d"] {
        queue.add(key, at(0), Priority::User);
    }
    assert_eq!(keys_now(&mut queue, at(0)), ["a", "b", "c"]);
    queue.set_limits(Limits { keys: 100, total: 1, background: 1 });
    queue.finish(&"a", true, Next::Nothing);
    queue.finish(&"b", true, Next::Nothing);
    assert_eq!(queue.next(at(0)), None);
    queue.finish(&"c", true, Next::Nothing);
    assert_eq!(keys_now(&mut queue, at(0)), ["d"]);
}

#[derive(Debug, Clone)]
enum Op {
    Add(u8, u64, Priority),
    Advance(u64),
    Take,
    Finish(usize, bool, Option<(u64, Priority, bool)>),
}

fn priorities() -> impl Strategy<Value = Priority> {
    prop_oneof![Just(Priority::User), Just(Priority::Background)]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let next = proptest::option::of((0u64..20, priorities(), any::<bool>()));
    let op = prop_oneof![
        4 => (0u8..6, 0u64..20, priorities()).prop_map(|(key, delay, priority)| Op::Add(key, delay, priority)),
        2 => (0u64..8).prop_map(Op::Advance),
        4 => Just(Op::Take),
        3 => (any::<usize>(), any::<bool>(), next).prop_map(|(which, forget, next)| Op::Finish(which, forget, next)),
    ];
    proptest::collection::vec(op, 1..120)
}

/// What the rules say, kept in the plainest way.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Wish {
    at: u64,
    priority: Priority,
}

#[derive(Debug, Default)]
struct Model {
    waiting: BTreeMap<u8, Wish>,
    running: BTreeMap<u8, Priority>,
    attempts: BTreeMap<u8, u32>,
    hold: BTreeMap<u8, u64>,
}

impl Model {
    fn wish(&mut self, key: u8, at: u64, priority: Priority) {
        let at = if priority == Priority::Background { at.max(self.hold.get(&key).copied().unwrap_or(0)) } else { at };
        let new = Wish { at, priority };
        let merged = self.waiting.get(&key).map_or(new, |old| Wish { at: old.at.min(at), priority: old.priority.max(priority) });
        self.waiting.insert(key, merged);
    }

    fn background(&self) -> usize {
        self.running.values().filter(|priority| **priority == Priority::Background).count()
    }

    /// The keys that may be handed out at a time, by the rules.
    fn eligible(&self, now: u64) -> BTreeSet<u8> {
        if self.running.len() >= LIMITS.total {
            return BTreeSet::new();
        }
        let due = |priority: Priority| -> BTreeSet<u8> {
            let ready = self.waiting.iter().filter(|(key, wish)| !self.running.contains_key(key) && wish.at <= now);
            ready.filter(|(_, wish)| wish.priority == priority).map(|(key, _)| *key).collect()
        };
        match due(Priority::User) {
            users if !users.is_empty() => users,
            _ if self.background() >= LIMITS.background => BTreeSet::new(),
            _ => due(Priority::Background),
        }
    }

    fn take(&mut self, queue: &mut Queue<u8>, now: u64) {
        let eligible = self.eligible(now);
        let Some(work) = queue.next(at(now)) else {
            assert!(eligible.is_empty(), "{eligible:?} was due and a permit was free");
            return;
        };
        assert!(eligible.contains(&work.key), "{work:?} is not among {eligible:?}");
        let wish = self.waiting.remove(&work.key).unwrap();
        assert_eq!((work.due, work.priority), (at(wish.at), wish.priority), "the earliest time and the highest priority win");
        assert_eq!(work.attempts, self.attempts.get(&work.key).copied().unwrap_or(0));
        assert_eq!(self.running.insert(work.key, work.priority), None, "one run of a key at a time");
        self.hold.remove(&work.key);
    }

    fn finish(&mut self, queue: &mut Queue<u8>, key: u8, forget: bool, next: Option<(u64, Priority, bool)>) {
        self.running.remove(&key).unwrap();
        let attempts = if forget { 0 } else { self.attempts.get(&key).copied().unwrap_or(0) + 1 };
        self.attempts.insert(key, attempts);
        let next = match next {
            None => Next::Nothing,
            Some((seconds, priority, hold)) => {
                if hold {
                    self.hold.insert(key, seconds);
                    if let Some(wish) = self.waiting.get_mut(&key).filter(|wish| wish.priority == Priority::Background) {
                        wish.at = wish.at.max(seconds);
                    }
                }
                self.wish(key, seconds, priority);
                let at = at(seconds);
                if hold { Next::BackOff { at, priority } } else { Next::At { at, priority } }
            }
        };
        if !self.waiting.contains_key(&key) {
            self.attempts.remove(&key);
        }
        queue.finish(&key, forget, next);
    }

    fn check(&self, queue: &Queue<u8>) {
        assert_eq!(queue.in_flight(), self.running.len());
        assert!(self.running.len() <= LIMITS.total && self.background() <= LIMITS.background);
        let known: BTreeSet<&u8> = self.waiting.keys().chain(self.running.keys()).collect();
        assert_eq!(queue.len(), known.len(), "each key is held once, and none that has nothing to do");
    }
}

proptest! {
    #[test]
    fn any_course_of_events_keeps_the_rules_and_loses_nothing(ops in ops()) {
        let (mut queue, mut model, mut now) = (Queue::new(LIMITS), Model::default(), 0u64);
        queue.open();
        for op in ops {
            match op {
                Op::Add(key, delay, priority) => {
                    queue.add(key, at(now + delay), priority);
                    model.wish(key, now + delay, priority);
                }
                Op::Advance(seconds) => now += seconds,
                Op::Take => model.take(&mut queue, now),
                Op::Finish(which, forget, next) => {
                    let running: Vec<u8> = model.running.keys().copied().collect();
                    if let Some(key) = running.get(which % running.len().max(1)) {
                        model.finish(&mut queue, *key, forget, next.map(|(delay, priority, hold)| (now + delay, priority, hold)));
                    }
                }
            }
            model.check(&queue);
        }
        // Whatever was asked for comes out in the end.
        now += 1000;
        while !queue.is_empty() {
            for key in model.running.keys().copied().collect::<Vec<_>>() {
                model.finish(&mut queue, key, true, None);
            }
            model.take(&mut queue, now);
            model.check(&queue);
        }
        prop_assert!(model.waiting.is_empty() && model.running.is_empty());
    }
}
