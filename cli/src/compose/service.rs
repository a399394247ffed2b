//! One service of a Compose file.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use api_types::draft::{self, Part};
use api_types::kinds::app::{MAX_REPLICAS, ProcessSpec, RolloutOrder, RolloutSpec};
use api_types::{EnvKey, ImageRef, check};
use serde_json::Value;

use super::cursor::Cursor;
use super::fields::{self, Fate};
use super::interpolate::Variables;
use super::values;

/// Fields that are translated here.
const TRANSLATED: [&str; 22] = [
    "image",
    "build",
    "command",
    "entrypoint",
    "environment",
    "env_file",
    "ports",
    "expose",
    "deploy",
    "scale",
    "labels",
    "healthcheck",
    "secrets",
    "depends_on",
    "links",
    "restart",
    "stop_grace_period",
    "mem_limit",
    "cpus",
    "extends",
    "profiles",
    "develop",
];

/// Fields of `deploy` that are.
const TRANSLATED_DEPLOY: [&str; 6] = ["replicas", "labels", "resources", "mode", "restart_policy", "update_config"];

/// A service that was read.
pub(super) struct Read {
    /// `None` when an error says why.
    pub(super) part: Option<Part>,
    /// Services that it names.
    pub(super) needs: BTreeSet<String>,
}

/// Reads a file that the Compose file names.
pub(super) type Files<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// What is gathered of one service.
struct Service<'c, 'p> {
    cursor: &'c mut Cursor<'p>,
    path: String,
    image: Option<ImageRef>,
    env: BTreeMap<EnvKey, String>,
    spec: ProcessSpec,
    /// Ports by where they were found, best first.
    port: [Option<u16>; 3],
    labels: Vec<(String, String)>,
    rollout: RolloutSpec,
    needs: BTreeSet<String>,
}

pub(super) fn read(name: &str, value: &Value, variables: &Variables<'_>, cursor: &mut Cursor<'_>, files: Files<'_>) -> Option<Read> {
    let path = check::field("services", name);
    let Some(map) = value.as_object() else {
        cursor.error(&path, "expected a service: a map with \"image\"");
        return None;
    };
    let (errors, notes) = (cursor.errors.len(), cursor.notes.len());
    let mut service = Service {
        cursor,
        path,
        image: None,
        env: BTreeMap::new(),
        spec: ProcessSpec::default(),
        port: [None; 3],
        labels: Vec::new(),
        rollout: RolloutSpec::default(),
        needs: BTreeSet::new(),
    };
    // Files first: what the service itself says wins.
    if let Some(value) = map.get("env_file") {
        service.env_files(value, variables, files);
    }
    for (key, value) in map {
        service.field(key, value, variables);
    }
    if map.get("image").is_none() {
        let message = match map.get("build") {
            Some(_) => "it is built and has no image; build it, push it to a registry, and give its name with \"image\"",
            None => "required field is missing: image",
        };
        let at = service.path.clone();
        service.cursor.error(&at, message);
    }
    service.traefik();
    service.settle_port();
    let needs = std::mem::take(&mut service.needs);
    let part = service.part(name);
    let notes = cursor.notes.split_off(notes);
    let part = part.filter(|_| cursor.errors.len() == errors).map(|part| Part { notes, ..part });
    Some(Read { part, needs })
}

impl Service<'_, '_> {
    fn at(&self, key: &str) -> String {
        check::field(&self.path, key)
    }

    fn field(&mut self, key: &str, value: &Value, variables: &Variables<'_>) {
        let at = self.at(key);
        match key {
            "image" => {
                let text = self.cursor.text(value, &at);
                self.image = text.and_then(|text| self.cursor.good(&at, text.parse::<ImageRef>()));
            }
            "command" => self.spec.args = self.cursor.words(value, &at),
            "entrypoint" => self.spec.command = self.cursor.words(value, &at),
            "environment" => {
                for (key, value, at) in self.cursor.pairs(value, &at) {
                    self.variable(&key, value.or_else(|| variables.get(&key)), &at);
                }
            }
            "ports" => self.ports(value, &at),
            "expose" => {
                let exposed = self.cursor.texts(value, &at);
                self.port[2] = exposed.first().and_then(|text| values::port(text).ok()).filter(|port| port.tcp).map(|port| port.target);
            }
            "deploy" => self.deploy(value, &at),
            "scale" => self.replicas(value, &at),
            "labels" => self.label_list(value, &at),
            "healthcheck" => self.health(value, &at),
            "secrets" => self.secrets(value, &at),
            "depends_on" => {
                let names: Vec<String> = match value {
                    Value::Object(map) => map.keys().cloned().collect(),
                    other => self.cursor.texts(other, &at),
                };
                self.needs.extend(names);
                self.cursor.note(&at, "all processes start at once; a process has to wait for what it needs by trying again");
            }
            "links" => {
                let links = self.cursor.texts(value, &at);
                self.needs.extend(links.iter().filter_map(|link| link.split(':').next()).map(str::to_owned));
            }
            "restart" => {
                let policy = self.cursor.text(value, &at).unwrap_or_default();
                if !matches!(policy.as_str(), "always" | "unless-stopped") {
                    self.cursor.note(&at, format!("\"{policy}\" is not kept: a process that ends is started again"));
                }
            }
            "stop_grace_period" => {
                let text = self.cursor.text(value, &at);
                if let Some(grace) = text.and_then(|text| self.cursor.good(&at, values::duration(&text))) {
                    self.spec.stop_grace_period = grace;
                }
            }
            "mem_limit" => {
                let text = self.cursor.text(value, &at);
                self.spec.resources.memory = text.and_then(|text| self.cursor.good(&at, values::memory(&text)));
            }
            "cpus" => {
                let text = self.cursor.text(value, &at);
                self.spec.resources.cpu = text.and_then(|text| self.cursor.good(&at, values::cpus(&text)));
            }
            "build" if self.image.is_none() => {}
            "build" | "develop" => self.cursor.note(&at, "images are not built here; the one that \"image\" names is run"),
            "env_file" => {}
            other => self.other(other, &at, (fields::SERVICE, &TRANSLATED), "a service"),
        }
    }

    fn other(&mut self, key: &str, at: &str, (table, translated): (&'static [(&'static str, Fate)], &'static [&'static str]), of: &str) {
        match fields::fate(table, key) {
            Some(Fate::Silent) => {}
            Some(Fate::Lost(why)) => self.cursor.note(at, why),
            Some(Fate::Refused(why)) => self.cursor.error(at, why),
            None => {
                let known = table.iter().map(|(name, _)| *name).chain(translated.iter().copied());
                self.cursor.unknown(at, known, of);
            }
        }
    }

    fn variable(&mut self, key: &str, value: Option<String>, at: &str) {
        let Some(value) = value else {
            self.cursor.note(at, format!("{key} has no value here and is left out"));
            return;
        };
        match key.parse::<EnvKey>() {
            Ok(name) => {
                if draft::is_suspicious(key) && !value.is_empty() {
                    let message = format!("{key} looks like a secret; move it from env to secrets, so that nobody can read it back");
                    self.cursor.note(at, message);
                }
                self.env.insert(name, value);
            }
            Err(error) => self.cursor.note(at, format!("{error}; it is left out")),
        }
    }

    fn env_files(&mut self, value: &Value, variables: &Variables<'_>, files: Files<'_>) {
        let at = self.at("env_file");
        let entries: Vec<(Value, String)> = match value {
            Value::Array(items) => items.iter().enumerate().map(|(index, item)| (item.clone(), check::index(&at, index))).collect(),
            other => vec![(other.clone(), at)],
        };
        for (entry, at) in entries {
            let (file, required) = match &entry {
                Value::Object(map) => (map.get("path").cloned().unwrap_or_default(), map.get("required") != Some(&Value::Bool(false))),
                other => (other.clone(), true),
            };
            let Some(file) = self.cursor.text(&file, &at) else { continue };
            let text = match files(&file) {
                Ok(text) => text,
                Err(_) if !required => continue,
                Err(why) => {
                    self.cursor.error(&at, format!("{file} cannot be read: {why}"));
                    continue;
                }
            };
            let Some(pairs) = self.cursor.good(&at, values::env_file(&text).map_err(|why| format!("{file}: {why}"))) else { continue };
            for (key, value) in pairs {
                self.variable(&key, value.or_else(|| variables.get(&key)), &at);
            }
        }
    }

    fn ports(&mut self, value: &Value, at: &str) {
        let items = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        let mut targets = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let at = check::index(at, index);
            let port = match item {
                Value::Object(map) => {
                    let target =
                        map.get("target").and_then(|target| self.cursor.number(target, &at)).and_then(|port| u16::try_from(port).ok());
                    let published = map.get("published").and_then(|port| self.cursor.text(port, &at));
                    let tcp = map.get("protocol").is_none_or(|protocol| protocol.as_str() == Some("tcp"));
                    target.map(|target| values::Port { target, published, tcp })
                }
                item => self.cursor.text(item, &at).and_then(|text| self.cursor.good(&at, values::port(&text))),
            };
            let Some(port) = port else { continue };
            if !port.tcp {
                self.cursor.note(&at, "only HTTP over TCP reaches an app");
                continue;
            }
            if let Some(published) = &port.published {
                self.cursor.note(&at, format!("port {published} of the host is not opened; requests come through the edge, by host name"));
            }
            targets.insert(port.target);
            self.port[1] = self.port[1].or(Some(port.target));
        }
        if targets.len() > 1 {
            let list: Vec<String> = targets.iter().map(u16::to_string).collect();
            self.cursor.note(at, format!("a process takes requests on one port; of {} the first is kept", list.join(", ")));
        }
    }

    fn replicas(&mut self, value: &Value, at: &str) {
        let Some(replicas) = self.cursor.number(value, at) else { return };
        if replicas > MAX_REPLICAS {
            self.cursor.error(at, format!("expected at most {MAX_REPLICAS} replicas, found {replicas}"));
        }
        self.spec.replicas = replicas;
    }

    fn label_list(&mut self, value: &Value, at: &str) {
        let labels = self.cursor.pairs(value, at);
        let others = labels.iter().any(|(key, ..)| !key.starts_with("traefik."));
        if others {
            self.cursor.note(at, "labels of containers and services are the platform's; an app's own go to metadata.labels");
        }
        self.labels.extend(labels.into_iter().map(|(key, value, _)| (key, value.unwrap_or_default())));
    }

    fn deploy(&mut self, value: &Value, at: &str) {
        let Some(map) = value.as_object() else {
            self.cursor.error(at, "expected a map");
            return;
        };
        for (key, value) in map {
            let at = check::field(at, key);
            match key.as_str() {
                "replicas" => self.replicas(value, &at),
                "labels" => self.label_list(value, &at),
                "resources" => self.resources(value, &at),
                "mode" => match value.as_str() {
                    Some("replicated") => {}
                    Some("global") => self.cursor.note(&at, "a process runs a number of replicas, not one on each node"),
                    _ => self.cursor.error(&at, "only \"replicated\" services can be apps"),
                },
                "restart_policy" => {
                    if value.get("condition").is_some_and(|condition| condition.as_str() != Some("any")) {
                        self.cursor.note(&at, "a process that ends is started again, whatever the reason");
                    }
                }
                "update_config" => self.update(value, &at),
                other => self.other(other, &at, (fields::DEPLOY, &TRANSLATED_DEPLOY), "\"deploy\""),
            }
        }
    }

    fn resources(&mut self, value: &Value, at: &str) {
        let at = check::field(at, "limits");
        let limits = value.get("limits").and_then(Value::as_object);
        for (key, value) in limits.into_iter().flatten() {
            let at = check::field(&at, key);
            let Some(text) = self.cursor.text(value, &at) else { continue };
            match key.as_str() {
                "cpus" => self.spec.resources.cpu = self.cursor.good(&at, values::cpus(&text)),
                "memory" => self.spec.resources.memory = self.cursor.good(&at, values::memory(&text)),
                _ => self.cursor.note(&at, "only CPU and memory are limited by a manifest"),
            }
        }
        if value.get("reservations").is_some() {
            let at = at.replace(".limits", ".reservations");
            self.cursor.note(&at, "what is limited is reserved as well; nothing else can be reserved");
        }
    }

    fn update(&mut self, value: &Value, at: &str) {
        if let Some(order) = value.get("order") {
            self.rollout.order = if order.as_str() == Some("stop-first") { RolloutOrder::StopFirst } else { RolloutOrder::StartFirst };
        }
        if let Some(parallelism) = value.get("parallelism") {
            let number = self.cursor.number(parallelism, &check::field(at, "parallelism"));
            self.rollout.parallelism = number.unwrap_or(1).clamp(1, MAX_REPLICAS);
        }
    }

    fn health(&mut self, value: &Value, at: &str) {
        if value.get("disable") == Some(&Value::Bool(true)) {
            return;
        }
        let test = value.get("test").cloned().unwrap_or_default();
        let words = self.cursor.words(&test, &check::field(at, "test"));
        if words.first().is_some_and(|word| word == "NONE") {
            return;
        }
        let Some(path) = draft::health_path(&words) else {
            self.cursor.note(at, "a health check is an HTTP request from outside here; give processes.….health.path if there is one");
            return;
        };
        let duration = |this: &mut Self, key: &str| {
            let value = value.get(key)?;
            let at = check::field(at, key);
            let text = this.cursor.text(value, &at)?;
            this.cursor.good(&at, values::duration(&text))
        };
        let (interval, timeout) = (duration(self, "interval"), duration(self, "timeout"));
        let retries = value.get("retries").and_then(|retries| self.cursor.number(retries, &check::field(at, "retries")));
        self.spec.health = Some(draft::health(path, interval, timeout, retries));
    }

    fn secrets(&mut self, value: &Value, at: &str) {
        let items = value.as_array().cloned().unwrap_or_default();
        let names: Vec<String> = items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| match item {
                Value::Object(map) => map.get("target").or_else(|| map.get("source")).and_then(Value::as_str).map(str::to_owned),
                item => self.cursor.text(item, &check::index(at, index)),
            })
            .collect();
        for name in names {
            let file = name.rsplit('/').next().unwrap_or_default();
            let key: String = file.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
            let message = format!(
                "the value of {file} is not taken over: put it into spec.secrets as {key}; it will be the file /run/secrets/{key} \
                 (it was /run/secrets/{file})"
            );
            self.cursor.note(at, message);
        }
    }

    fn traefik(&mut self) {
        let found = draft::traefik_labels(self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        self.port[0] = found.port;
        let at = self.at("labels");
        for lost in found.lost {
            self.cursor.note(&at, lost);
        }
    }

    /// The port, and what the platform sets by itself once there is one.
    fn settle_port(&mut self) {
        let port = self.port.into_iter().flatten().find_map(NonZeroU16::new);
        self.spec.port = port;
        let at = self.at("environment");
        if let Some(port) = port
            && let Some(key) = self.env.keys().find(|key| key.as_str() == "PORT").cloned()
            && let Some(value) = self.env.remove(&key)
            && value != port.to_string()
        {
            self.cursor.note(&at, format!("PORT is set by the platform to the process's port, {port}; it was {value}"));
        }
        if port.is_none() && self.spec.health.take().is_some() {
            let at = self.at("healthcheck");
            self.cursor.note(&at, "a health check needs a port, and this service names none");
        }
    }

    fn part(self, name: &str) -> Option<Part> {
        let process = draft::process_name(name)?;
        if process.as_str() != name {
            let message = format!("it is the process {process} here, and that is its name in the app's network");
            self.cursor.note(&self.path, message);
        }
        let labels = self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        Some(Part {
            service: name.to_owned(),
            process,
            image: self.image?,
            env: self.env,
            spec: self.spec,
            domains: draft::traefik_labels(labels).hosts,
            rollout: self.rollout,
            notes: Vec::new(),
        })
    }
}
