//! Which apps a resync may pass over.
//!
//! A resync repairs what hints missed. Looking at each app by itself costs several calls an app, even when nothing
//! moved, so a resync first takes one shared snapshot of everything that a run reads and keeps a digest of each app's
//! part. An app is passed over when its part is the same as in an earlier snapshot, and a whole run of it that began
//! after that snapshot found nothing to do and nothing to wait for.
//!
//! What keeps that safe: a part that cannot be read passes nobody over; a digest holds versions and ids, which never
//! come back; hints are not affected; and every app gets a whole run now and then, whatever the digest says.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::store::AppKey;

/// Each app has a whole run at one of so many resyncs: with one every 30 s, twice an hour. A whole run costs some
/// milliseconds and several calls of the engine, so this is most of what an idle platform costs.
const WHOLE_RUN_EVERY: u64 = 60;

/// What is remembered of an app.
#[derive(Debug, Default)]
struct Known {
    /// Digest of the newest snapshot, and the number of the first one that was so.
    digest: Option<(u64, u64)>,
    /// How many snapshots there were when its last run began, if that run found nothing to do.
    rested: Option<u64>,
}

#[derive(Debug, Default)]
struct Memory {
    snapshots: u64,
    apps: HashMap<AppKey, Known>,
}

/// Remembers snapshots and runs. Holds one small entry an app.
#[derive(Debug, Default)]
pub struct Quiet(Mutex<Memory>);

impl Quiet {
    /// A run begins; the answer belongs to [`Quiet::run_ended`].
    pub fn run_begins(&self, key: &AppKey) -> u64 {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = memory.apps.get_mut(key) {
            known.rested = None;
        }
        memory.snapshots
    }

    /// A run ended, and had nothing to do or not. A run that does not come to its end leaves its app to be looked at.
    pub fn run_ended(&self, key: &AppKey, begun: u64, nothing_to_do: bool) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if nothing_to_do {
            memory.apps.entry(key.clone()).or_default().rested = Some(begun);
        }
    }

    /// Takes a snapshot's digests, and tells which apps need no run.
    pub fn apps_to_pass_over(&self, digests: HashMap<AppKey, u64>) -> HashSet<AppKey> {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.snapshots += 1;
        let number = memory.snapshots;
        memory.apps.retain(|key, _| digests.contains_key(key));
        let mut quiet = HashSet::new();
        for (key, digest) in digests {
            let known = memory.apps.entry(key.clone()).or_default();
            let since = known.digest.filter(|(last, _)| *last == digest).map_or(number, |(_, since)| since);
            known.digest = Some((digest, since));
            let rested = known.rested.is_some_and(|rested| rested >= since);
            if rested && !number.wrapping_add(hash(&key)).is_multiple_of(WHOLE_RUN_EVERY) {
                quiet.insert(key);
            }
        }
        quiet
    }
}

/// A hash for the life of this process only.
pub fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> AppKey {
        AppKey { org: "acme".parse().unwrap(), name: name.parse().unwrap() }
    }

    /// Takes snapshots of one app and tells whether it needs a run, the whole runs left out.
    struct Bench {
        quiet: Quiet,
        key: AppKey,
    }

    impl Bench {
        /// An app whose turn for a whole run does not come within the first snapshots.
        fn new() -> Self {
            let name = (0..1000).map(|number| key(&format!("app-{number}"))).find(|key| hash(key) % WHOLE_RUN_EVERY == 1);
            Self { quiet: Quiet::default(), key: name.expect("one of a thousand") }
        }
        fn needs_run(&self, digest: u64) -> bool {
            !self.quiet.apps_to_pass_over(HashMap::from([(self.key.clone(), digest)])).contains(&self.key)
        }
        fn run(&self, nothing_to_do: bool) {
            let begun = self.quiet.run_begins(&self.key);
            self.quiet.run_ended(&self.key, begun, nothing_to_do);
        }
    }

    #[test]
    fn an_app_is_passed_over_when_a_whole_run_found_nothing_to_do_in_what_is_still_so() {
        let bench = Bench::new();
        bench.run(true);
        assert!(bench.needs_run(7), "it ran, but before the first snapshot");
        assert!(bench.needs_run(7), "it did not run since");
        bench.run(true);
        assert!(!bench.needs_run(7) && !bench.needs_run(7));
        assert!(bench.needs_run(8), "something moved");
        bench.run(false);
        assert!(bench.needs_run(8), "its run has to wait for something");
        bench.run(true);
        assert!(!bench.needs_run(8));
    }

    #[test]
    fn a_run_that_began_before_a_change_proves_nothing_about_it() {
        let bench = Bench::new();
        assert!(bench.needs_run(7));
        let begun = bench.quiet.run_begins(&bench.key);
        assert!(bench.needs_run(8), "while it runs");
        bench.quiet.run_ended(&bench.key, begun, true);
        assert!(bench.needs_run(8), "it may have seen what was before");
        bench.run(true);
        assert!(!bench.needs_run(8));
        bench.quiet.run_begins(&bench.key);
        assert!(bench.needs_run(8), "a run that did not come to its end");
    }

    #[test]
    fn every_app_has_a_whole_run_now_and_then_and_not_all_at_once() {
        let quiet = Quiet::default();
        let keys: Vec<AppKey> = (0..200).map(|number| key(&format!("app-{number}"))).collect();
        let digests: HashMap<AppKey, u64> = keys.iter().map(|key| (key.clone(), 1)).collect();
        assert!(quiet.apps_to_pass_over(digests.clone()).is_empty());
        for key in &keys {
            let begun = quiet.run_begins(key);
            quiet.run_ended(key, begun, true);
        }
        let mut seen = HashSet::new();
        for _ in 0..WHOLE_RUN_EVERY {
            let passed_over = quiet.apps_to_pass_over(digests.clone());
            assert!((180..=200).contains(&passed_over.len()), "{}", passed_over.len());
            seen.extend(keys.iter().filter(|key| !passed_over.contains(*key)));
        }
        assert_eq!(seen.len(), 200);
        quiet.apps_to_pass_over(HashMap::new());
        assert!(quiet.0.lock().unwrap().apps.is_empty(), "apps that are gone are forgotten");
    }
}
