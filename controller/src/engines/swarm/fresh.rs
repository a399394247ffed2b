//! An engine whose lists are not believed while they are older than our own last write.
//!
//! A list may be behind: another manager answers, or the same one before it has applied what it accepted. Acting on such a
//! list repeats what was done, or undoes it. So each write that was answered is remembered until a list shows it, and a list
//! that does not is [`EngineError::Stale`]: nothing is decided from it, and it is asked for again a moment later.
//!
//! What is remembered is given up after [`PATIENCE`]: then somebody else undid the write, and the list is right.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api_types::ImageRef;
use api_types::kinds::app::ImagePullPolicy;
use api_types::kinds::node::Availability;
use async_trait::async_trait;
use futures::stream::BoxStream;
use prometheus_client::metrics::counter::Counter;
use secrecy::SecretString;

use super::{
    ContainerUsage, EngineError, EngineHint, EngineInfo, EngineResult, ForeignService, ImageResolution, LogQuery, LogRecord, Network,
    NetworkSpec, Secret, Service, ServiceSelection, ServiceSpec, SwarmEngine, SwarmInit, SwarmNode, Task,
};
use crate::clock::SharedClock;

/// How long a list is given to show a write.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Most writes that are remembered; the oldest are given up. Each is shown by the next list, as a rule.
const BOUND: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Services,
    Networks,
    Secrets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    /// It is there.
    Created,
    /// It is there with a version above this one, or not at all.
    Above(u64),
    /// It is not there.
    Removed,
}

/// A write of ours that no list has shown yet.
#[derive(Debug)]
struct Awaited {
    of: Of,
    /// Empty of what was removed: that is done by id.
    name: String,
    id: String,
    shows: Shows,
    until: Duration,
}

/// One entry of a list, as far as it matters here.
struct Listed<'a> {
    id: &'a str,
    version: u64,
}

/// See the module.
pub struct FreshSwarm {
    inner: Arc<dyn SwarmEngine>,
    clock: SharedClock,
    awaited: Mutex<Vec<Awaited>>,
    skips: Counter,
}

impl FreshSwarm {
    /// Watches over an engine's lists.
    pub fn new(inner: Arc<dyn SwarmEngine>, clock: SharedClock) -> Self {
        Self { inner, clock, awaited: Mutex::default(), skips: Counter::default() }
    }

    /// Counts lists that were not believed.
    pub fn skips(&self) -> Counter {
        self.skips.clone()
    }

    fn awaited(&self) -> MutexGuard<'_, Vec<Awaited>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrote(&self, of: Of, name: &str, id: &str, shows: Shows) {
        let until = self.clock.monotonic() + PATIENCE;
        let mut awaited = self.awaited();
        // The last write is what has to show.
        awaited.retain(|known| known.of != of || known.id != id);
        if awaited.len() >= BOUND {
            awaited.remove(0);
        }
        awaited.push(Awaited { of, name: name.to_owned(), id: id.to_owned(), shows, until });
    }

    /// Checks a list of what begins with `prefix`.
    fn check<'a>(&self, of: Of, prefix: &str, listed: impl Iterator<Item = Listed<'a>>) -> EngineResult<()> {
        let mut awaited = self.awaited();
        if awaited.is_empty() {
            return Ok(());
        }
        let now = self.clock.monotonic();
        awaited.retain(|write| write.until > now);
        let versions: BTreeMap<&str, u64> = listed.map(|entry| (entry.id, entry.version)).collect();
        let mut stale = None;
        awaited.retain(|write| {
            let found = versions.get(write.id.as_str());
            let (is_behind, is_seen) = match write.shows {
                _ if write.of != of => (false, false),
                // Whether this list is about it is not known when it is not there, so time alone ends this.
                Shows::Removed => (found.is_some(), false),
                // Networks are listed by their whole name.
                _ if of == Of::Networks && !prefix.is_empty() && write.name != prefix => (false, false),
                _ if !write.name.starts_with(prefix) => (false, false),
                Shows::Created => (found.is_none(), found.is_some()),
                Shows::Above(version) => (found.is_some_and(|found| *found <= version), found.is_some_and(|found| *found > version)),
            };
            if is_behind {
                stale.get_or_insert_with(|| if write.name.is_empty() { write.id.clone() } else { write.name.clone() });
            }
            !is_seen
        });
        drop(awaited);
        match stale {
            None => Ok(()),
            Some(what) => {
                self.skips.inc();
                Err(EngineError::Stale { what })
            }
        }
    }
}

#[async_trait]
impl SwarmEngine for FreshSwarm {
    async fn node_set_availability(&self, id: &str, availability: Availability) -> EngineResult<()> {
        self.inner.node_set_availability(id, availability).await
    }
    async fn service_list(&self, prefix: &str) -> EngineResult<Vec<Service>> {
        let services = self.inner.service_list(prefix).await?;
        self.check(Of::Services, prefix, services.iter().map(|service| Listed { id: &service.id, version: service.version }))?;
        Ok(services)
    }
    async fn service_create(&self, spec: &ServiceSpec) -> EngineResult<String> {
        let id = self.inner.service_create(spec).await?;
        self.wrote(Of::Services, &spec.name, &id, Shows::Created);
        Ok(id)
    }
    async fn service_update(&self, id: &str, version: u64, spec: &ServiceSpec) -> EngineResult<()> {
        self.inner.service_update(id, version, spec).await?;
        self.wrote(Of::Services, &spec.name, id, Shows::Above(version));
        Ok(())
    }
    async fn service_remove(&self, id: &str) -> EngineResult<()> {
        self.inner.service_remove(id).await?;
        self.wrote(Of::Services, "", id, Shows::Removed);
        Ok(())
    }
    async fn network_list(&self, prefix: &str) -> EngineResult<Vec<Network>> {
        let networks = self.inner.network_list(prefix).await?;
        self.check(Of::Networks, prefix, networks.iter().map(|network| Listed { id: &network.id, version: 0 }))?;
        Ok(networks)
    }
    async fn network_create(&self, spec: &NetworkSpec) -> EngineResult<String> {
        let id = self.inner.network_create(spec).await?;
        self.wrote(Of::Networks, &spec.name, &id, Shows::Created);
        Ok(id)
    }
    async fn network_remove(&self, id: &str) -> EngineResult<()> {
        self.inner.network_remove(id).await?;
        self.wrote(Of::Networks, "", id, Shows::Removed);
        Ok(())
    }
    async fn secret_list(&self, prefix: &str) -> EngineResult<Vec<Secret>> {
        let secrets = self.inner.secret_list(prefix).await?;
        self.check(Of::Secrets, prefix, secrets.iter().map(|secret| Listed { id: &secret.id, version: 0 }))?;
        Ok(secrets)
    }
    async fn secret_create(&self, name: &str, labels: &BTreeMap<String, String>, value: &SecretString) -> EngineResult<String> {
        let id = self.inner.secret_create(name, labels, value).await?;
        self.wrote(Of::Secrets, name, &id, Shows::Created);
        Ok(id)
    }
    async fn secret_remove(&self, id: &str) -> EngineResult<()> {
        self.inner.secret_remove(id).await?;
        self.wrote(Of::Secrets, "", id, Shows::Removed);
        Ok(())
    }

    async fn info(&self) -> EngineResult<EngineInfo> {
        self.inner.info().await
    }
    async fn init(&self, init: &SwarmInit) -> EngineResult<()> {
        self.inner.init(init).await
    }
    async fn node_list(&self) -> EngineResult<Vec<SwarmNode>> {
        self.inner.node_list().await
    }
    async fn service_labels(&self, name: &str) -> EngineResult<Option<BTreeMap<String, String>>> {
        self.inner.service_labels(name).await
    }
    async fn service_find(&self, wanted: &ServiceSelection) -> EngineResult<Vec<ForeignService>> {
        self.inner.service_find(wanted).await
    }
    async fn task_list(&self, service_ids: &[String]) -> EngineResult<Vec<Task>> {
        self.inner.task_list(service_ids).await
    }
    async fn gateway_addresses(&self) -> EngineResult<BTreeMap<String, IpAddr>> {
        self.inner.gateway_addresses().await
    }
    async fn ran_out_of_memory(&self, container_id: &str) -> EngineResult<Option<bool>> {
        self.inner.ran_out_of_memory(container_id).await
    }
    async fn container_usage(&self, id: &str) -> EngineResult<ContainerUsage> {
        self.inner.container_usage(id).await
    }
    async fn image_resolve(&self, image: &ImageRef, policy: ImagePullPolicy) -> EngineResult<ImageResolution> {
        self.inner.image_resolve(image, policy).await
    }
    fn hints(&self) -> BoxStream<'static, EngineHint> {
        self.inner.hints()
    }
    async fn logs(&self, query: &LogQuery) -> EngineResult<BoxStream<'static, EngineResult<LogRecord>>> {
        self.inner.logs(query).await
    }
}
