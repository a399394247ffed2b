//! Everything that the proxy does with routes, as one number for each.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash as _, Hasher as _};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::TraefikClient;
use super::{ProxyApi as _, ProxyError};
use crate::edge::document::{probe_router, tls_router};
use crate::edge::nodes::part_of;

/// Objects in one answer.
const PAGE: u64 = 1000;

#[derive(Deserialize)]
struct Named<'a> {
    name: &'a str,
}

/// The name that stands for a route: the part for one of its tasks belongs to the route.
fn of_route(name: &str) -> &str {
    part_of(name).map_or(name, |(key, _)| key)
}

impl TraefikClient {
    /// Reads all routers and services, page by page, and hashes what belongs to each key, byte for byte.
    pub(super) async fn read_digests(&self, keys: &[String]) -> Result<BTreeMap<String, u64>, ProxyError> {
        let mut names: HashMap<String, &String> = HashMap::with_capacity(keys.len() * 3);
        for key in keys {
            names.extend([(key.clone(), key), (tls_router(key), key), (probe_router(key), key)]);
        }
        let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        // A page behind the last is refused, so the number of pages has to be known.
        let overview = self.overview().await?;
        for (list, total) in [("routers", overview.routers), ("services", overview.services)] {
            for page in 1..=total.div_ceil(PAGE).max(1) {
                let path = format!("/http/{list}?per_page={PAGE}&page={page}");
                let objects: Vec<Box<RawValue>> = self.get(&path).await?.unwrap_or_default();
                for object in &objects {
                    let named: Result<Named<'_>, _> = serde_json::from_str(object.get());
                    let Some(key) = named.ok().and_then(|named| names.get(of_route(named.name.strip_suffix("@http")?))) else { continue };
                    let mut hasher = DefaultHasher::new();
                    (list, object.get()).hash(&mut hasher);
                    found.entry((*key).clone()).or_default().push(hasher.finish());
                }
            }
        }
        let digest = |mut hashes: Vec<u64>| {
            hashes.sort_unstable();
            let mut hasher = DefaultHasher::new();
            hashes.hash(&mut hasher);
            hasher.finish()
        };
        Ok(found.into_iter().map(|(key, hashes)| (key, digest(hashes))).collect())
    }
}
