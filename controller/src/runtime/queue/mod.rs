//! The delay queue: which key is run next, and when.
//!
//! Pure and synchronous: time goes in as a `Duration` of the monotonic clock, nothing here sleeps or
//! locks, so every rule below is tested without a runtime. The rules:
//!
//! - A key waits at most once. Adding it again keeps the earlier time and the higher priority.
//! - A key runs at most once at a time. Added while it runs, it is queued once more when it ends.
//! - User-facing work may use every permit, background work only its share, so a resync of thousands
//!   of keys cannot delay a user's edit by more than the runs already under way.
//! - A key that failed is held until its backoff ends; background hints do not cut that short (a
//!   failing run often causes the very events that hint at it again), a user's edit does.
//! - Nothing is handed out before [`Queue::open`] or after [`Queue::close`].
//!
//! Memory is bounded by [`Limits::keys`]: keys are unique, so the bound is on the number of keys and
//! not on the number of hints. An attempt count lives only as long as its key is queued or running.
//!
//! How it can be misused: every [`Work`] handed out must come back through [`Queue::finish`], or its
//! key never runs again.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// Who asked for the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Resync, and hints that nobody waits for.
    Background,
    /// Somebody waits for the result: an edit, or the next step of a rollout.
    User,
}

/// How much may be queued and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most keys that are waiting or running.
    pub keys: usize,
    /// The most runs at once.
    pub total: usize,
    /// The most runs at once that were handed out as background work; not above `total`.
    pub background: usize,
}

/// What became of an added key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It was not waiting before.
    New,
    /// It was waiting already, and the two were merged.
    Merged,
    /// The queue holds its most keys. A resync has to repair this.
    Refused,
}

/// A key that is to be run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work<K> {
    /// What to run.
    pub key: K,
    /// As what it was handed out.
    pub priority: Priority,
    /// Failures in a row before this run.
    pub attempts: u32,
    /// When it was due; the difference to now is the delay in the queue.
    pub due: Duration,
}

/// What follows on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until somebody hints at the key.
    Nothing,
    /// Another run.
    At {
        /// When.
        at: Duration,
        /// As what.
        priority: Priority,
    },
    /// Another run, and no background hint may bring it forward.
    BackOff {
        /// When.
        at: Duration,
        /// As what.
        priority: Priority,
    },
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    at: Duration,
    /// Makes slots of one time distinct and first in, first out.
    sequence: u64,
    priority: Priority,
}

#[derive(Debug, Default)]
struct Entry {
    /// Set aside, and in no `due` map, while the key runs.
    waiting: Option<Slot>,
    running: Option<Priority>,
    attempts: u32,
    /// Background work is not due before this.
    hold: Option<Duration>,
}

type Due<K> = BTreeMap<(Duration, u64), K>;

/// A delay queue of unique keys. See the module for its rules.
#[derive(Debug)]
pub struct Queue<K> {
    limits: Limits,
    open: bool,
    entries: HashMap<K, Entry>,
    due_user: Due<K>,
    due_background: Due<K>,
    running_user: usize,
    running_background: usize,
    sequence: u64,
}

impl<K: Ord + Hash + Clone> Queue<K> {
    /// An empty, closed queue.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: false,
            entries: HashMap::new(),
            due_user: Due::new(),
            due_background: Due::new(),
            running_user: 0,
            running_background: 0,
            sequence: 0,
        }
    }

    /// Lets work out.
    pub fn open(&mut self) {
        self.open = true;
    }

    /// Lets no more work out. What waits stays, what runs is the caller's to stop.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// Changes the limits. Runs above a lowered limit end in their own time.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Queues a key for a time, or merges it with what is queued.
    pub fn add(&mut self, key: K, at: Duration, priority: Priority) -> Added {
        if !self.entries.contains_key(&key) && self.entries.len() >= self.limits.keys {
            return Added::Refused;
        }
        self.sequence = self.sequence.wrapping_add(1);
        let entry = self.entries.entry(key.clone()).or_default();
        let at = match (priority, entry.hold) {
            (Priority::Background, Some(hold)) => at.max(hold),
            _ => at,
        };
        let new = Slot { at, sequence: self.sequence, priority };
        let old = entry.waiting;
        let merged = old.map_or(new, |old| merge(old, new));
        entry.waiting = Some(merged);
        if entry.running.is_none() {
            if let Some(old) = old {
                self.due_mut(old.priority).remove(&(old.at, old.sequence));
            }
            self.due_mut(merged.priority).insert((merged.at, merged.sequence), key);
        }
        if old.is_some() { Added::Merged } else { Added::New }
    }

    /// The next key to run, if one is due and a permit is free. User-facing work comes first.
    pub fn next(&mut self, now: Duration) -> Option<Work<K>> {
        let priority = self.permitted().find(|priority| self.first_of(*priority).is_some_and(|at| at <= now))?;
        let ((due, _), key) = self.due_mut(priority).pop_first()?;
        let entry = self.entries.entry(key.clone()).or_default();
        entry.waiting = None;
        entry.hold = None;
        entry.running = Some(priority);
        let attempts = entry.attempts;
        *self.running_mut(priority) += 1;
        Some(Work { key, priority, attempts, due })
    }

    /// When [`Queue::next`] may have something; `None` until an `add`, a `finish` or an `open`.
    pub fn next_at(&self) -> Option<Duration> {
        self.permitted().filter_map(|priority| self.first_of(priority)).min()
    }

    /// When the first waiting key is or was due, whether or not there is a permit for it.
    pub fn first_at(&self) -> Option<Duration> {
        [Priority::User, Priority::Background].into_iter().filter_map(|priority| self.first_of(priority)).min()
    }

    /// Takes a run back. `forget` resets the key's attempts, otherwise one is counted.
    ///
    /// A key that is not running is left as it is.
    pub fn finish(&mut self, key: &K, forget: bool, next: Next) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(priority) = entry.running.take() else { return };
        entry.attempts = if forget { 0 } else { entry.attempts.saturating_add(1) };
        let mut pending = entry.waiting.take();
        self.sequence = self.sequence.wrapping_add(1);
        let wanted = match next {
            Next::Nothing => None,
            Next::At { at, priority } => Some(Slot { at, sequence: self.sequence, priority }),
            Next::BackOff { at, priority } => {
                entry.hold = Some(at);
                if let Some(slot) = pending.as_mut().filter(|slot| slot.priority == Priority::Background) {
                    slot.at = slot.at.max(at);
                }
                Some(Slot { at, sequence: self.sequence, priority })
            }
        };
        entry.waiting = match (pending, wanted) {
            (Some(pending), Some(wanted)) => Some(merge(pending, wanted)),
            (one, other) => one.or(other),
        };
        match entry.waiting {
            Some(slot) => {
                self.due_mut(slot.priority).insert((slot.at, slot.sequence), key.clone());
            }
            None => {
                self.entries.remove(key);
            }
        }
        let running = self.running_mut(priority);
        *running = running.saturating_sub(1);
    }

    /// Failures in a row of a key that is waiting or running.
    pub fn attempts(&self, key: &K) -> u32 {
        self.entries.get(key).map_or(0, |entry| entry.attempts)
    }

    /// How many keys wait, those that are to run again after their present run left out.
    pub fn depth(&self, priority: Priority) -> usize {
        match priority {
            Priority::User => self.due_user.len(),
            Priority::Background => self.due_background.len(),
        }
    }

    /// How many keys are due and wait for a permit. Walks over them.
    pub fn due(&self, now: Duration) -> usize {
        let until = (now, u64::MAX);
        self.due_user.range(..=until).count() + self.due_background.range(..=until).count()
    }

    /// The key that has been due for longest, and since when.
    pub fn oldest(&self, now: Duration) -> Option<(&K, Duration)> {
        let firsts = [self.due_user.first_key_value(), self.due_background.first_key_value()];
        let due = firsts.into_iter().flatten().filter(|((at, _), _)| *at <= now);
        due.min_by_key(|((at, _), _)| *at).map(|((at, _), key)| (key, *at))
    }

    /// How many keys run.
    pub fn in_flight(&self) -> usize {
        self.running_user + self.running_background
    }

    /// How many keys wait or run: what [`Limits::keys`] bounds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits and nothing runs.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The priorities for which a permit is free, the higher first.
    fn permitted(&self) -> impl Iterator<Item = Priority> + use<K> {
        let user = self.open && self.in_flight() < self.limits.total;
        let background = user && self.running_background < self.limits.background;
        [(user, Priority::User), (background, Priority::Background)].into_iter().filter_map(|(free, priority)| free.then_some(priority))
    }

    fn first_of(&self, priority: Priority) -> Option<Duration> {
        let due = match priority {
            Priority::User => &self.due_user,
            Priority::Background => &self.due_background,
        };
        due.first_key_value().map(|((at, _), _)| *at)
    }

    fn due_mut(&mut self, priority: Priority) -> &mut Due<K> {
        match priority {
            Priority::User => &mut self.due_user,
            Priority::Background => &mut self.due_background,
        }
    }

    fn running_mut(&mut self, priority: Priority) -> &mut usize {
        match priority {
            Priority::User => &mut self.running_user,
            Priority::Background => &mut self.running_background,
        }
    }
}

/// The earlier time and the higher priority; the place in the line is the older one's.
fn merge(old: Slot, new: Slot) -> Slot {
    Slot { at: old.at.min(new.at), sequence: old.sequence.min(new.sequence), priority: old.priority.max(new.priority) }
}

#[cfg(test)]
mod tests;
