//! Finds the app that an engine object or an endpoint belongs to, without asking the database.
//!
//! Filled as apps are reconciled. A miss costs nothing but latency: what was missed is found by the next
//! resync.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use uuid::Uuid;

use super::names;
use crate::store::{AppKey, AppRecord};

/// Apps by uid and by the prefix of their engine names. Holds one entry an app.
#[derive(Debug, Default)]
pub struct AppIndex {
    /// By services that they took over, which have names of their own.
    by_adopted: RwLock<HashMap<String, Uuid>>,
    by_uid: RwLock<HashMap<Uuid, AppKey>>,
    by_prefix: RwLock<HashMap<String, Uuid>>,
}

impl AppIndex {
    /// Remembers an app.
    pub fn insert(&self, record: &AppRecord) {
        if !record.adopted.is_empty() {
            let mut by_adopted = self.by_adopted.write().unwrap_or_else(PoisonError::into_inner);
            by_adopted.extend(record.adopted.keys().map(|service| (service.clone(), record.uid)));
        }
        let known = self.by_uid.read().unwrap_or_else(PoisonError::into_inner).contains_key(&record.uid);
        if known {
            return;
        }
        self.by_uid.write().unwrap_or_else(PoisonError::into_inner).insert(record.uid, record.key());
        let prefix = names::prefix(&record.name, record.uid);
        self.by_prefix.write().unwrap_or_else(PoisonError::into_inner).insert(prefix, record.uid);
    }

    /// Forgets an app that is gone.
    pub fn remove(&self, record: &AppRecord) {
        self.by_adopted.write().unwrap_or_else(PoisonError::into_inner).retain(|_, uid| *uid != record.uid);
        self.by_uid.write().unwrap_or_else(PoisonError::into_inner).remove(&record.uid);
        let prefix = names::prefix(&record.name, record.uid);
        self.by_prefix.write().unwrap_or_else(PoisonError::into_inner).remove(&prefix);
    }

    /// The app with a uid.
    pub fn by_uid(&self, uid: Uuid) -> Option<AppKey> {
        self.by_uid.read().unwrap_or_else(PoisonError::into_inner).get(&uid).cloned()
    }

    /// The app whose service, network or secret has this name: `<app>-<uid8>[-…]`, or one that it took over.
    pub fn by_engine_name(&self, name: &str) -> Option<AppKey> {
        if let Some(uid) = self.by_adopted.read().unwrap_or_else(PoisonError::into_inner).get(name).copied() {
            return self.by_uid(uid);
        }
        let by_prefix = self.by_prefix.read().unwrap_or_else(PoisonError::into_inner);
        // App and process names contain '-', so every cut at one is tried; there are few.
        let cuts = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
        let uid = cuts.filter_map(|at| name.get(..at)).find_map(|prefix| by_prefix.get(prefix).copied())?;
        drop(by_prefix);
        self.by_uid(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::app::tests::fixtures::{World, web};

    #[test]
    fn engine_names_lead_to_their_app() {
        let index = AppIndex::default();
        let record = World::of(web(1)).record;
        index.insert(&record);
        let found = |name: &str| index.by_engine_name(name).map(|key| key.to_string());
        for name in ["shop-c0ffee01", "shop-c0ffee01-web-0123456", "shop-c0ffee01-s4"] {
            assert_eq!(found(name).as_deref(), Some("acme/shop"), "{name}");
        }
        assert_eq!(found("shop-c0ffee02-web-0123456"), None);
        assert_eq!(found("shop"), None);
        index.remove(&record);
        assert_eq!((found("shop-c0ffee01"), index.by_uid(record.uid)), (None, None));
    }
}
