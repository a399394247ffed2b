//! Objects of the Swarm in memory, and the rules between them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::{Landed, State, View};
use crate::engines::swarm::{EngineError, EngineResult, Network, NetworkSpec, Secret, Service, ServiceSpec, SwarmNode, Task, labels};

pub(super) const NODE_ID: &str = "fakenode00000000000000001";

pub(super) fn only_node() -> SwarmNode {
    SwarmNode {
        id: NODE_ID.to_owned(),
        hostname: "fake".to_owned(),
        role: "manager".to_owned(),
        availability: "active".to_owned(),
        state: "ready".to_owned(),
        leader: true,
        address: "127.0.0.1".to_owned(),
        engine_version: "20.10.24".to_owned(),
        nano_cpus: 2_000_000_000,
        memory_bytes: 4 << 30,
        ..SwarmNode::default()
    }
}

/// A hash of what tasks are made from; a change of anything else does not replace tasks.
pub(super) fn template_hash(spec: &ServiceSpec) -> String {
    let template = ServiceSpec { labels: Default::default(), replicas: 0, ..spec.clone() };
    hex::encode(Sha256::digest(format!("{template:?}")))
}

fn is_ours(labels: &std::collections::BTreeMap<String, String>) -> bool {
    labels.get(labels::MANAGED_BY).map(String::as_str) == Some(labels::MANAGED_BY_VALUE)
}

/// Listing by prefix shows foreign objects too; listing all shows only ours.
pub(super) fn is_listed(name: &str, labels: &std::collections::BTreeMap<String, String>, prefix: &str) -> bool {
    if prefix.is_empty() { is_ours(labels) } else { name.starts_with(prefix) }
}

impl State {
    pub(super) fn view(&self) -> View {
        View { services: self.services.clone(), networks: self.networks.clone(), secrets: self.secrets.clone(), tasks: self.tasks.clone() }
    }

    /// What lists show now of services, of networks, of secrets and of tasks.
    pub(super) fn seen_services(&self) -> &BTreeMap<String, Service> {
        self.past.front().map_or(&self.services, |(_, past)| &past.services)
    }
    pub(super) fn seen_networks(&self) -> &BTreeMap<String, Network> {
        self.past.front().map_or(&self.networks, |(_, past)| &past.networks)
    }
    pub(super) fn seen_secrets(&self) -> &BTreeMap<String, Secret> {
        self.past.front().map_or(&self.secrets, |(_, past)| &past.secrets)
    }
    pub(super) fn seen_tasks(&self) -> &BTreeMap<String, Task> {
        self.past.front().map_or(&self.tasks, |(_, past)| &past.tasks)
    }

    pub(super) fn bump_all(&mut self) {
        for service in self.services.values_mut() {
            self.index += 1;
            service.version = self.index;
        }
    }

    pub(super) fn forget_past(&mut self, now: DateTime<Utc>) {
        let (writes, most) = self.lag;
        while self.past.len() > writes || self.past.front().is_some_and(|(at, _)| *at + most <= now) {
            self.past.pop_front();
        }
    }

    fn landed(&mut self, call: &'static str, name: &str, id: &str) {
        self.history.push(Landed { call, name: name.to_owned(), id: id.to_owned() });
    }

    /// A new id in the engine's form: 25 letters and digits for Swarm's objects.
    pub(super) fn new_id(&mut self, kind: &str) -> String {
        self.serial += 1;
        format!("{kind}{:0>1$}", self.serial, 25 - kind.len().min(24))
    }

    pub(super) fn create_service(&mut self, spec: &ServiceSpec, now: DateTime<Utc>) -> EngineResult<String> {
        self.check_references(spec)?;
        if self.services.values().any(|service| service.spec.name == spec.name) {
            return Err(EngineError::NameTaken { name: spec.name.clone() });
        }
        let id = self.new_id("svc");
        self.index += 1;
        let service = Service { id: id.clone(), version: self.index, spec: spec.clone(), created_at: now };
        self.services.insert(id.clone(), service);
        self.landed("service_create", &spec.name, &id);
        Ok(id)
    }

    pub(super) fn update_service(&mut self, id: &str, version: u64, spec: &ServiceSpec) -> EngineResult<()> {
        let what = format!("service {}", spec.name);
        self.updates_asked.push((id.to_owned(), version));
        let service = self.services.get(id).ok_or_else(|| EngineError::NotFound { what: what.clone() })?;
        if service.version != version {
            return Err(EngineError::OutOfSequence { what });
        }
        if service.spec.name != spec.name {
            return Err(EngineError::Other { what, status: 501, message: "renaming services is not supported".to_owned() });
        }
        self.check_references(spec)?;
        // An update that changes nothing moves the version as well, as on the engine.
        self.index += 1;
        let index = self.index;
        if let Some(service) = self.services.get_mut(id) {
            service.spec = spec.clone();
            service.version = index;
        }
        self.landed("service_update", &spec.name, id);
        Ok(())
    }

    fn check_references(&self, spec: &ServiceSpec) -> EngineResult<()> {
        let missing = |what: String| Err(EngineError::NotFound { what });
        if !spec.network.is_empty() && !self.networks.values().any(|network| network.name == spec.network) {
            return missing(format!("network {}", spec.network));
        }
        for mount in &spec.secrets {
            if !self.secrets.values().any(|secret| secret.name == mount.secret_name) {
                return missing(format!("secret {}", mount.secret_name));
            }
        }
        if (1..4 << 20).contains(&spec.memory_bytes) {
            let message = format!("invalid memory value {}: must be at least 4MiB", spec.memory_bytes);
            return Err(EngineError::Invalid { what: format!("service {}", spec.name), message });
        }
        Ok(())
    }

    pub(super) fn remove_service(&mut self, id: &str) -> EngineResult<()> {
        // Tasks go later: see `tick`.
        let removed = self.services.remove(id).ok_or_else(|| EngineError::NotFound { what: format!("service {id}") })?;
        self.landed("service_remove", &removed.spec.name, id);
        Ok(())
    }

    pub(super) fn create_network(&mut self, spec: &NetworkSpec) -> EngineResult<String> {
        if self.networks.values().any(|network| network.name == spec.name) {
            return Err(EngineError::NameTaken { name: spec.name.clone() });
        }
        let id = self.new_id("net");
        self.networks.insert(id.clone(), Network { id: id.clone(), name: spec.name.clone(), labels: spec.labels.clone(), allocated: true });
        self.landed("network_create", &spec.name, &id);
        Ok(id)
    }

    pub(super) fn remove_network(&mut self, id: &str) -> EngineResult<()> {
        let what = format!("network {id}");
        let name = self.networks.get(id).map(|network| network.name.clone());
        let name = name.ok_or_else(|| EngineError::NotFound { what: what.clone() })?;
        if self.held.contains(&name) {
            return Err(EngineError::InUse { what, message: format!("network {id} is in use by task of somebody") });
        }
        if let Some(service) = self.services.values().find(|service| service.spec.network == name) {
            return Err(EngineError::InUse { what, message: format!("network {id} is in use by service {}", service.id) });
        }
        self.networks.remove(id);
        self.landed("network_remove", &name, id);
        Ok(())
    }

    pub(super) fn create_secret(&mut self, name: &str, labels: &std::collections::BTreeMap<String, String>) -> EngineResult<String> {
        if self.secrets.values().any(|secret| secret.name == name) {
            return Err(EngineError::NameTaken { name: name.to_owned() });
        }
        let id = self.new_id("sec");
        self.secrets.insert(id.clone(), Secret { id: id.clone(), name: name.to_owned(), labels: labels.clone() });
        self.landed("secret_create", name, &id);
        Ok(id)
    }

    pub(super) fn remove_secret(&mut self, id: &str) -> EngineResult<()> {
        let what = format!("secret {id}");
        let name = self.secrets.get(id).map(|secret| secret.name.clone());
        let name = name.ok_or_else(|| EngineError::NotFound { what: what.clone() })?;
        let user = self.services.values().find(|service| service.spec.secrets.iter().any(|mount| mount.secret_name == name));
        if let Some(user) = user {
            let message = format!("secret '{name}' is in use by the following service: {}", user.spec.name);
            return Err(EngineError::InUse { what, message });
        }
        self.secrets.remove(id);
        self.landed("secret_remove", &name, id);
        Ok(())
    }
}
