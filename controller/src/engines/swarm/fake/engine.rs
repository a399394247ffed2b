//! The trait's methods on the Swarm in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api_types::ImageRef;
use api_types::kinds::app::ImagePullPolicy;
use api_types::kinds::node::Availability;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use secrecy::SecretString;
use tokio::sync::broadcast::error::RecvError;

use super::state::{NODE_ID, is_listed};
use super::{EngineError, EngineHint, EngineResult, FakeSwarm, ImageResolution, LogRecord, Network, Secret, Service, SwarmNode, Task};
use crate::engines::swarm::{
    ContainerUsage, EngineInfo, ForeignService, LogQuery, NetworkSpec, STACK_LABEL, ServiceSelection, ServiceSpec, SwarmEngine, SwarmInit,
    labels,
};

impl FakeSwarm {
    fn changed(&self, kind: &'static str, name: &str) {
        self.hint(EngineHint::Changed { kind, name: name.to_owned() });
    }
}

#[async_trait]
impl SwarmEngine for FakeSwarm {
    async fn info(&self) -> EngineResult<EngineInfo> {
        self.call("info", |_| {
            Ok(EngineInfo {
                version: "20.10.24".to_owned(),
                api_version: "1.41".to_owned(),
                node_id: NODE_ID.to_owned(),
                cluster_id: "fakecluster".to_owned(),
                swarm_state: "active".to_owned(),
                is_manager: true,
            })
        })
    }

    async fn init(&self, _: &SwarmInit) -> EngineResult<()> {
        self.call("init", |_| Ok(()))
    }

    async fn node_list(&self) -> EngineResult<Vec<SwarmNode>> {
        self.call("node_list", |state| Ok(state.nodes.clone()))
    }

    async fn node_set_availability(&self, id: &str, availability: Availability) -> EngineResult<()> {
        self.call("node_set_availability", |state| {
            let found = state.nodes.iter_mut().find(|node| node.id == id);
            found
                .map(|node| node.availability = availability.to_string())
                .ok_or_else(|| EngineError::NotFound { what: format!("node {id}") })
        })?;
        self.changed("node", id);
        Ok(())
    }

    async fn service_list(&self, prefix: &str) -> EngineResult<Vec<Service>> {
        self.call("service_list", |state| {
            let listed = state.seen_services().values().filter(|service| is_listed(&service.spec.name, &service.spec.labels, prefix));
            let listed: Vec<Service> = listed.cloned().collect();
            if state.storm {
                state.bump_all();
            }
            Ok(listed)
        })
    }

    async fn service_labels(&self, name: &str) -> EngineResult<Option<BTreeMap<String, String>>> {
        self.call("service_labels", |state| {
            Ok(state.services.values().find(|service| service.spec.name == name).map(|service| service.spec.labels.clone()))
        })
    }

    async fn service_find(&self, wanted: &ServiceSelection) -> EngineResult<Vec<ForeignService>> {
        self.call("service_find", |state| {
            let found = state.services.values().filter(|service| match wanted {
                ServiceSelection::Name(name) => service.spec.name == *name,
                ServiceSelection::Stack(stack) => service.spec.labels.get(STACK_LABEL) == Some(stack),
            });
            let foreign = |service: &Service| ForeignService {
                networks: Some(service.spec.network.clone()).filter(|name| !name.is_empty()).into_iter().collect(),
                service: service.clone(),
                mode: "replicated",
                ..ForeignService::default()
            };
            Ok(found.map(foreign).collect())
        })
    }

    async fn service_create(&self, spec: &ServiceSpec) -> EngineResult<String> {
        let now = self.clock.0.now();
        let id = self.call("service_create", |state| state.create_service(spec, now))?;
        self.changed("service", &spec.name);
        Ok(id)
    }

    async fn service_update(&self, id: &str, version: u64, spec: &ServiceSpec) -> EngineResult<()> {
        self.call("service_update", |state| state.update_service(id, version, spec))?;
        self.changed("service", &spec.name);
        Ok(())
    }

    async fn service_remove(&self, id: &str) -> EngineResult<()> {
        let name = self.state().services.get(id).map(|service| service.spec.name.clone()).unwrap_or_default();
        self.call("service_remove", |state| state.remove_service(id))?;
        self.changed("service", &name);
        Ok(())
    }

    async fn task_list(&self, service_ids: &[String]) -> EngineResult<Vec<Task>> {
        if self.state().auto_tick {
            self.tick();
        }
        self.call("task_list", |state| {
            let wanted: BTreeSet<&str> = service_ids.iter().map(String::as_str).collect();
            let ours = |task: &Task| {
                task.container_labels.get(labels::MANAGED_BY).map(String::as_str) == Some(labels::MANAGED_BY_VALUE)
                    || state.services.get(&task.service_id).is_some_and(|service| is_listed("", &service.spec.labels, ""))
            };
            let listed = |task: &&Task| if wanted.is_empty() { ours(task) } else { wanted.contains(task.service_id.as_str()) };
            let mut found: Vec<Task> = state.seen_tasks().values().filter(listed).cloned().collect();
            // As the engine's own adapter does: such containers say nothing of us.
            for task in found.iter_mut().filter(|_| wanted.is_empty()) {
                let service = state.services.get(&task.service_id).filter(|service| service.is_adopted());
                task.container_labels.extend(service.map(|service| service.spec.labels.clone()).unwrap_or_default());
            }
            Ok(found)
        })
    }

    async fn network_list(&self, name: &str) -> EngineResult<Vec<Network>> {
        self.call("network_list", |state| {
            let is_meant =
                |network: &&Network| is_listed(&network.name, &network.labels, name) && (name.is_empty() || network.name == name);
            let listed = state.seen_networks().values().filter(is_meant);
            Ok(listed.cloned().collect())
        })
    }

    async fn network_create(&self, spec: &NetworkSpec) -> EngineResult<String> {
        let id = self.call("network_create", |state| state.create_network(spec))?;
        self.changed("network", &id);
        Ok(id)
    }

    async fn network_remove(&self, id: &str) -> EngineResult<()> {
        self.call("network_remove", |state| state.remove_network(id))?;
        self.changed("network", id);
        Ok(())
    }

    async fn secret_list(&self, prefix: &str) -> EngineResult<Vec<Secret>> {
        self.call("secret_list", |state| {
            let listed = state.seen_secrets().values().filter(|secret| is_listed(&secret.name, &secret.labels, prefix));
            Ok(listed.cloned().collect())
        })
    }

    async fn secret_create(&self, name: &str, labels: &BTreeMap<String, String>, _: &SecretString) -> EngineResult<String> {
        let id = self.call("secret_create", |state| state.create_secret(name, labels))?;
        self.changed("secret", &id);
        Ok(id)
    }

    async fn secret_remove(&self, id: &str) -> EngineResult<()> {
        self.call("secret_remove", |state| state.remove_secret(id))?;
        self.changed("secret", id);
        Ok(())
    }

    async fn gateway_addresses(&self) -> EngineResult<BTreeMap<String, IpAddr>> {
        self.call("gateway_addresses", |state| Ok(state.addresses.clone()))
    }

    async fn ran_out_of_memory(&self, container_id: &str) -> EngineResult<Option<bool>> {
        // A container that was killed while it had a limit is taken to have met it.
        self.call("ran_out_of_memory", |state| {
            let task = state.tasks.values().find(|task| !task.container_id.is_empty() && task.container_id == container_id);
            let limit = |task: &Task| state.services.get(&task.service_id).is_some_and(|service| service.spec.memory_bytes > 0);
            Ok(task.map(|task| task.exit_code == Some(137) && limit(task)))
        })
    }

    async fn image_resolve(&self, image: &ImageRef, _: ImagePullPolicy) -> EngineResult<ImageResolution> {
        self.call("image_resolve", |state| match state.images.get(&image.to_string()) {
            Some(resolution) => Ok(resolution.clone()),
            None if image.is_pinned() && !image.is_id() => Ok(ImageResolution::Pinned(image.to_string())),
            None => Err(EngineError::NotFound { what: format!("image {image}") }),
        })
    }

    fn hints(&self) -> BoxStream<'static, EngineHint> {
        let receiver = self.hints.subscribe();
        let later = stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(hint) => Some((hint, receiver)),
                // As on the engine, a reader that is too slow loses events and has to look at everything.
                Err(RecvError::Lagged(_)) => Some((EngineHint::Connected, receiver)),
                Err(RecvError::Closed) => None,
            }
        });
        stream::iter([EngineHint::Connected]).chain(later).boxed()
    }

    async fn container_usage(&self, id: &str) -> EngineResult<ContainerUsage> {
        self.call("container_usage", |state| {
            let lives = state.tasks.values().any(|task| task.container_id == id);
            if lives { Ok(ContainerUsage::default()) } else { Err(EngineError::NotFound { what: format!("container {id}") }) }
        })
    }

    async fn logs(&self, query: &LogQuery) -> EngineResult<BoxStream<'static, EngineResult<LogRecord>>> {
        let records = self.call("logs", |state| {
            let wanted =
                |record: &&LogRecord| query.services.contains(&record.service) && query.since.is_none_or(|since| record.time >= since);
            let mut records: Vec<LogRecord> = state.logs.iter().filter(wanted).cloned().collect();
            records.sort_by_key(|record| record.time);
            if let Some(tail) = query.tail {
                let skip = records.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX));
                records.drain(..skip);
            }
            Ok(records)
        })?;
        let past = stream::iter(records.into_iter().map(Ok));
        Ok(if query.follow { past.chain(stream::pending()).boxed() } else { past.boxed() })
    }
}
