//! The one renderer: an app's spec to what runs on the engine. Pure, and an allowlist by type.

use std::collections::BTreeMap;

use api_types::kinds::app::{AppSpec, ProcessSpec};
use api_types::kinds::edge::Protocol;
use api_types::{AppName, EnvKey, OrgName, ProcessName};
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::adopt::Adoption;
use super::names;
use crate::edge::route_key;
use crate::engines::swarm::{SecretMount, ServiceSpec, labels};
use crate::store::Revision;

/// Processes and threads of one task. A fork bomb must not take the node down.
const PIDS_LIMIT: i64 = 1024;

/// Whose objects are rendered, and how the platform is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Organisation.
    pub org: OrgName,
    /// App.
    pub app: AppName,
    /// Identity of the app.
    pub uid: Uuid,
    /// Setting `swarm.endpoint_mode`.
    pub dnsrr: bool,
}

impl Owner {
    /// Labels that mark everything of this app as ours.
    pub fn labels(&self) -> BTreeMap<String, String> {
        [
            (labels::MANAGED_BY, labels::MANAGED_BY_VALUE.to_owned()),
            (labels::OWNER_UID, self.uid.to_string()),
            (labels::ORG, self.org.to_string()),
            (labels::APP, self.app.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// See [`crate::edge::Route::key`].
    pub fn route_key(&self) -> String {
        route_key(self.uid, &self.org, &self.app)
    }

    /// Whether labels say that an object is this app's.
    pub fn owns(&self, found: &BTreeMap<String, String>) -> bool {
        found.get(labels::OWNER_UID).is_some_and(|uid| *uid == self.uid.to_string())
            && found.get(labels::MANAGED_BY).is_some_and(|by| by == labels::MANAGED_BY_VALUE)
    }
}

/// One process type of one generation, ready to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessTarget {
    /// Hash of everything that tasks are made from; equal for generations that differ in scale or
    /// domains only, so these restart nothing.
    pub release: String,
    /// What the engine is to run; `replicas` is the wanted scale.
    pub service: ServiceSpec,
    /// Port that requests go to.
    pub port: Option<u16>,
    /// A service that runs already and is to become this release, where that is wanted and permitted.
    pub adoption: Option<Adoption>,
}

/// What tasks are made from. Its hash is the release.
#[derive(Serialize)]
struct Template<'a> {
    image: &'a str,
    command: &'a [String],
    args: &'a [String],
    env: &'a BTreeMap<String, String>,
    secrets: &'a [SecretMount],
    nano_cpus: i64,
    memory_bytes: i64,
    stop_grace_nanos: i64,
    port: Option<u16>,
    health: Option<&'a str>,
    dnsrr: bool,
    // Left out when it is what it always was: an upgrade of the platform restarts nothing.
    #[serde(skip_serializing_if = "Protocol::is_default")]
    protocol: Protocol,
    /// Left out when there was none, so that the field's coming restarted nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    restarts: Option<i64>,
}

/// Renders one process. `image` is the resolved reference.
pub fn process(owner: &Owner, revision: &Revision, image: &str, (name, process): (&ProcessName, &ProcessSpec)) -> ProcessTarget {
    let port = process.port.map(std::num::NonZeroU16::get);
    let health = process.health.as_ref().and_then(|health| serde_json::to_string(health).ok());
    let secrets = secret_mounts(owner, &revision.secret_versions);
    let env = environment(&revision.spec, process, &secrets);
    let nano_cpus = process.resources.cpu.map_or(0, api_types::Cpu::nanos);
    let memory_bytes = process.resources.memory.map_or(0, api_types::Memory::bytes);
    let stop_grace_nanos = i64::try_from(process.stop_grace_period.get().as_nanos()).unwrap_or(i64::MAX);
    let template = Template {
        image,
        command: &process.command,
        args: &process.args,
        env: &env,
        secrets: &secrets,
        nano_cpus,
        memory_bytes,
        stop_grace_nanos,
        port,
        health: health.as_deref(),
        dnsrr: owner.dnsrr,
        protocol: process.protocol,
        restarts: revision.restarts.get(name).copied().filter(|count| *count > 0),
    };
    let release = short_hash(&template);

    let mut container_labels = owner.labels();
    container_labels.insert(labels::PROCESS.to_owned(), name.to_string());
    container_labels.insert(labels::RELEASE.to_owned(), release.clone());
    if let Some(port) = port {
        container_labels.insert(labels::PORT.to_owned(), port.to_string());
    }
    if let Some(health) = &health {
        container_labels.insert(labels::HEALTH.to_owned(), health.clone());
    }
    let mut service_labels = container_labels.clone();
    service_labels.insert(labels::GENERATION.to_owned(), revision.generation.to_string());

    let service = ServiceSpec {
        name: names::service(&owner.app, owner.uid, name, &release),
        labels: service_labels,
        container_labels,
        image: image.to_owned(),
        command: process.command.clone(),
        args: process.args.clone(),
        env,
        secrets,
        network: names::network(&owner.app, owner.uid),
        aliases: vec![name.to_string()],
        nano_cpus,
        memory_bytes,
        pids_limit: PIDS_LIMIT,
        stop_grace_nanos,
        replicas: u64::from(revision.spec.wanted_replicas(process)),
        dnsrr: owner.dnsrr,
        extras: BTreeMap::new(),
    };
    ProcessTarget { release, service, port, adoption: None }
}

fn secret_mounts(owner: &Owner, versions: &BTreeMap<EnvKey, i64>) -> Vec<SecretMount> {
    let mut mounts: Vec<_> = versions
        .iter()
        .map(|(key, version)| SecretMount { secret_name: names::secret(&owner.app, owner.uid, *version), file_name: key.to_string() })
        .collect();
    mounts.sort();
    mounts
}

fn environment(spec: &AppSpec, process: &ProcessSpec, secrets: &[SecretMount]) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    if let Some(port) = process.port {
        env.insert("PORT".to_owned(), port.to_string());
    }
    for mount in secrets {
        env.insert(format!("{}_FILE", mount.file_name), format!("/run/secrets/{}", mount.file_name));
    }
    // What the user wrote wins over what the platform adds, and the nearer wins over the farther.
    env.extend(spec.env.iter().chain(&process.env).map(|(key, value)| (key.to_string(), value.clone())));
    env
}

fn short_hash(template: &Template<'_>) -> String {
    // Serialising a struct of strings, numbers and ordered maps cannot fail; an empty text would only
    // make two releases look alike, and the owned-field comparison would still see the difference.
    let text = serde_json::to_vec(template).unwrap_or_default();
    hex::encode(Sha256::digest(&text))[..7].to_owned()
}

/// Labels but for those that only say when, by whom or how a service was written.
pub fn without_stamps(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let stamps = [labels::GENERATION, labels::EPOCH, labels::SPEC_HASH, labels::SCALE];
    labels.iter().filter(|(key, _)| !stamps.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Hash of what we own of a service, scale and stamps left out. In the label that says what we last wrote.
pub fn written_hash(spec: &ServiceSpec) -> String {
    let owned = ServiceSpec { labels: without_stamps(&spec.labels), replicas: 0, extras: BTreeMap::new(), ..spec.clone() };
    // As with the release: this cannot fail, and an empty text would only hide somebody's change of a field
    // that the comparison of fields finds anyway.
    let text = serde_json::to_vec(&owned).unwrap_or_default();
    hex::encode(Sha256::digest(&text))[..16].to_owned()
}

/// Stamps a spec that is about to be written with what it is.
pub fn stamp(spec: &mut ServiceSpec) {
    spec.labels.insert(labels::SPEC_HASH.to_owned(), written_hash(spec));
}

/// Fields of a service that we own and that differ from what we want, but for the scale. Labels that
/// only say when or by whom the service was made do not count.
pub fn differences(wanted: &ServiceSpec, found: &ServiceSpec) -> Vec<&'static str> {
    let checks = [
        ("labels", without_stamps(&wanted.labels) == without_stamps(&found.labels)),
        ("container labels", wanted.container_labels == found.container_labels),
        ("image", wanted.image == found.image),
        ("command", wanted.command == found.command),
        ("args", wanted.args == found.args),
        ("env", wanted.env == found.env),
        ("secrets", wanted.secrets == found.secrets),
        ("network", wanted.network == found.network && wanted.aliases == found.aliases),
        ("cpu limit", wanted.nano_cpus == found.nano_cpus),
        ("memory limit", wanted.memory_bytes == found.memory_bytes),
        ("pids limit", wanted.pids_limit == found.pids_limit),
        ("stop grace period", wanted.stop_grace_nanos == found.stop_grace_nanos),
        ("endpoint mode", wanted.dnsrr == found.dnsrr),
        ("foreign settings", wanted.extras == found.extras),
    ];
    checks.into_iter().filter(|(_, same)| !same).map(|(field, _)| field).collect()
}
