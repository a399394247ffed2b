//! Who waits for the proxy to take a document. Without this every app in a rollout would ask again and again until the
//! proxy has its route, and a proxy that makes many routes anew is slow to answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::publisher::Documents;

/// Waiters by key `K`; each waits for a route to be in the proxy's document, or to be gone from it.
#[derive(Debug)]
pub struct Awaited<K> {
    published: Documents,
    taken: Documents,
    waiting: Mutex<HashMap<K, (String, bool)>>,
}

impl<K: Eq + Hash + Clone> Awaited<K> {
    /// With the newest document that was published, and the newest that the proxy is known to run.
    pub fn new(published: Documents, taken: Documents) -> Self {
        Self { published, taken, waiting: Mutex::default() }
    }

    /// Notes that `waiter` waits until the route with this key is there, or gone. False when the proxy runs the newest document,
    /// so that nothing is to be waited for: whoever asks has to look by itself.
    pub fn wait(&self, waiter: K, route: String, there: bool) -> bool {
        let stamp = |documents: &Documents| documents.borrow().as_ref().map(|document| document.stamp.clone());
        let is_behind = stamp(&self.published) != stamp(&self.taken);
        if is_behind {
            self.lock().insert(waiter, (route, there));
        }
        is_behind
    }

    /// One that is gone waits for nothing.
    pub fn forget(&self, waiter: &K) {
        self.lock().remove(waiter);
    }

    /// Waiters whose document the proxy has taken; each is named once.
    pub fn due(&self) -> Vec<K> {
        let Some(taken) = self.taken.borrow().clone() else { return Vec::new() };
        let mut due = Vec::new();
        self.lock().retain(|waiter, (route, there)| {
            let waits = taken.servers_by_key.contains_key(route) != *there;
            if !waits {
                due.push(waiter.clone());
            }
            waits
        });
        due
    }

    /// The newest document that the proxy is known to run.
    pub fn taken(&self) -> Documents {
        self.taken.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, (String, bool)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Default for Awaited<K> {
    /// Nothing is ever waited for.
    fn default() -> Self {
        Self::new(watch::channel(None).1, watch::channel(None).1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::edge::publisher::Published;

    fn document(revision: u64, routes: &[&str]) -> Option<Arc<Published>> {
        let servers_by_key = routes.iter().map(|route| ((*route).to_owned(), Vec::new())).collect();
        Some(Arc::new(Published { revision, stamp: format!("rev-{revision}"), servers_by_key, ..Published::empty() }))
    }

    #[test]
    fn who_waits_is_named_once_when_its_route_is_there_or_gone() {
        let (publish, published) = watch::channel(document(1, &["a", "b"]));
        let (take, taken) = watch::channel(document(1, &["a", "b"]));
        let awaited = Awaited::new(published, taken);
        assert!(!awaited.wait(1, "a".to_owned(), true), "the proxy has the newest");
        publish.send_replace(document(2, &["b", "c"]));
        assert!(awaited.wait(1, "c".to_owned(), true) && awaited.wait(2, "a".to_owned(), false) && awaited.wait(3, "d".to_owned(), true));
        assert!(awaited.due().is_empty());
        take.send_replace(document(2, &["b", "c"]));
        let mut due = awaited.due();
        due.sort_unstable();
        assert_eq!(due, [1, 2], "the third one's is not published yet");
        assert!(awaited.due().is_empty());
        awaited.forget(&3);
        take.send_replace(document(3, &["d"]));
        assert!(awaited.due().is_empty(), "it is gone");
    }
}
