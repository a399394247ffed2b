//! Services that somebody else made and that an app takes over: the manifest that says what runs, and whether a
//! service is what a manifest says. Pure.
//!
//! The two belong together: a draft that nobody changed has no mismatch with the service that it was drawn from.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use api_types::api::{Drafts, Note};
use api_types::draft::{self, Part};
use api_types::kinds::app::{AdoptSpec, AppSpec, MAX_REPLICAS, ProcessSpec, ResourcesSpec, RolloutOrder, RolloutSpec};
use api_types::{EnvKey, FieldError, HumanDuration, ImageRef};

use super::render::{self, Owner};
use crate::engines::swarm::{ForeignService, Service, ServiceSpec, labels};

/// What the engine waits between SIGTERM and SIGKILL when nobody says.
const ENGINE_GRACE_NANOS: i64 = 10_000_000_000;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// A service that a process is to take over: it was permitted, by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// Its name.
    pub service: String,
    /// Its id; a service that comes later under its name is another one.
    pub id: String,
}

/// Whose a service is that is not `owner`'s, if anybody's.
pub fn holder(owner: Option<&Owner>, service: &Service) -> Option<String> {
    let found = &service.spec.labels;
    if owner.is_some_and(|owner| owner.owns(found)) || !(found.contains_key(labels::OWNER_UID) || found.contains_key(labels::MANAGED_BY)) {
        return None;
    }
    let label = |key: &str| found.get(key).map_or("?", String::as_str);
    Some(format!("app {} of the organization {}", label(labels::APP), label(labels::ORG)))
}

/// One thing in which a service is not what a process says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The field.
    pub field: &'static str,
    /// What stands there and here; no value of a variable.
    pub text: String,
}

/// In what a service, which runs, is not what a process says; empty when it is. The scale is told apart from the rest, because it
/// alone changes without a new task template.
pub fn mismatches(spec: &AppSpec, process: &ProcessSpec, found: &ServiceSpec) -> Vec<Mismatch> {
    let mut out = Vec::new();
    let mut differs = |field: &'static str, there: &str, here: &str| {
        if there != here {
            out.push(Mismatch { field, text: format!("{field} is {there} there and {here} here") });
        }
    };
    let digest = found.image.split_once('@').map(|(_, digest)| digest);
    if digest.is_none() || digest != spec.image.digest() {
        differs("image", &found.image, &spec.image.to_string());
    }
    let words = |words: &[String]| format!("{words:?}");
    differs("command", &words(&found.command), &words(&process.command));
    differs("args", &words(&found.args), &words(&process.args));
    let limits = |cpu: i64, memory: i64| format!("{}m and {memory} bytes", cpu / NANOS_PER_MILLI);
    let (cpu, memory) =
        (process.resources.cpu.map_or(0, api_types::Cpu::nanos), process.resources.memory.map_or(0, api_types::Memory::bytes));
    if (found.nano_cpus, found.memory_bytes) != (cpu, memory) {
        differs("resources", &limits(found.nano_cpus, found.memory_bytes), &limits(cpu, memory));
    }
    let grace = if found.stop_grace_nanos > 0 { found.stop_grace_nanos } else { ENGINE_GRACE_NANOS };
    let wanted_grace = process.stop_grace_period.get().as_nanos();
    if u128::try_from(grace).unwrap_or(0) / 1_000_000 != wanted_grace / 1_000_000 {
        differs("stopGracePeriod", &format!("{}ms", grace / NANOS_PER_MILLI), &format!("{}", process.stop_grace_period));
    }
    // Values stay untold: they may be what somebody should have made a secret.
    let wanted: BTreeMap<&EnvKey, &String> = spec.env.iter().chain(&process.env).collect();
    let there = variables(found, process.port);
    let mut env = |text: String| out.push(Mismatch { field: "env", text });
    for key in there.keys().filter(|key| !wanted.contains_key(*key)) {
        env(format!("env.{key} is there and not here"));
    }
    for (key, value) in &wanted {
        match there.get(*key) {
            None => env(format!("env.{key} is here and not there")),
            Some(found) if found != *value => env(format!("env.{key} has another value there")),
            Some(_) => {}
        }
    }
    if !spec.secrets.is_empty() {
        out.push(Mismatch { field: "secrets", text: "it has none of the app's secrets; add them once it is taken over".to_owned() });
    }
    out
}

/// Fields of a service that was taken over, which are not as they were then, but for the scale.
pub fn differences(spec: &AppSpec, process: &ProcessSpec, wanted: &ServiceSpec, found: &ServiceSpec) -> Vec<&'static str> {
    let marked = render::without_stamps(&wanted.labels).iter().all(|(key, value)| found.labels.get(key) == Some(value));
    let mut fields: Vec<&'static str> = (!marked).then_some("labels").into_iter().collect();
    fields.extend(mismatches(spec, process, found).into_iter().map(|mismatch| mismatch.field));
    fields.dedup();
    fields
}

/// Why a service cannot be taken over as a process, in one line; `None` when it can.
pub fn refusal(owner: Option<&Owner>, spec: &AppSpec, process: &ProcessSpec, found: &Service) -> Option<String> {
    if let Some(holder) = holder(owner, found) {
        return Some(format!("it belongs to {holder}"));
    }
    let scale = scale_mismatch(spec, process, &found.spec);
    let texts: Vec<String> = mismatches(spec, process, &found.spec).into_iter().map(|mismatch| mismatch.text).chain(scale).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// Whether the scale of a service is what the process says.
pub fn scale_mismatch(spec: &AppSpec, process: &ProcessSpec, found: &ServiceSpec) -> Option<String> {
    let wanted = u64::from(spec.wanted_replicas(process));
    (found.replicas != wanted).then(|| format!("replicas is {} there and {wanted} here", found.replicas))
}

/// Variables of a service that a manifest can say. `PORT` is left out where it is what the platform sets anyway.
fn variables(found: &ServiceSpec, port: Option<NonZeroU16>) -> BTreeMap<EnvKey, String> {
    let port = port.map(|port| port.to_string());
    let is_port = |key: &str, value: &str| key == "PORT" && port.as_deref() == Some(value);
    let kept = found.env.iter().filter(|(key, value)| !is_port(key, value));
    kept.filter_map(|(key, value)| Some((key.parse().ok()?, value.clone()))).collect()
}

/// Puts right what was changed by hand on a service that was taken over; everything that a manifest does not say stays.
pub fn corrected(spec: &AppSpec, process: &ProcessSpec, wanted: &ServiceSpec, found: &ServiceSpec) -> ServiceSpec {
    let mut out = found.clone();
    out.labels.extend(render::without_stamps(&wanted.labels));
    out.labels.insert(labels::ADOPTED.to_owned(), "true".to_owned());
    if mismatches(spec, process, found).is_empty() {
        return out;
    }
    if found.image.split_once('@').map(|(_, digest)| digest) != spec.image.digest() || spec.image.digest().is_none() {
        out.image = if found.image == spec.image.to_string() { found.image.clone() } else { wanted.image.clone() };
    }
    (out.command, out.args) = (process.command.clone(), process.args.clone());
    (out.nano_cpus, out.memory_bytes) = (wanted.nano_cpus, wanted.memory_bytes);
    let grace = if found.stop_grace_nanos > 0 { found.stop_grace_nanos } else { ENGINE_GRACE_NANOS };
    if grace / NANOS_PER_MILLI != wanted.stop_grace_nanos / NANOS_PER_MILLI {
        out.stop_grace_nanos = wanted.stop_grace_nanos;
    }
    let said = variables(found, process.port);
    out.env.retain(|key, _| key.parse::<EnvKey>().map_or(true, |key| !said.contains_key(&key)));
    out.env.extend(spec.env.iter().chain(&process.env).map(|(key, value)| (key.to_string(), value.clone())));
    out
}

/// Manifests for services that run. `base` names the app, or begins the names of several.
pub fn drafts(base: &str, services: &[ForeignService]) -> Result<Drafts, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut parts = Vec::new();
    for service in services {
        match part(service, services) {
            Ok(part) => parts.push(part),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let notes = [
        "apply these as they are with --adopt: the services are taken over without a restart of a task, and change nothing but their \
         own labels",
        "what the comments name stays in force until something changes that tasks are made from (image, command, variables, limits, port): \
         then services of the platform's own making replace them, and have only what the manifest says",
    ];
    let notes = notes.map(|message| Note { path: "adopt".to_owned(), message: message.to_owned() }).to_vec();
    Ok(Drafts { drafts: draft::drafts(base, parts), notes })
}

/// Name of the app where nobody gives one.
pub fn base(services: &[ForeignService], stack: Option<&str>) -> String {
    let first = services.first().map_or("app", |service| service.service.spec.name.as_str());
    stack.unwrap_or(first).to_owned()
}

/// What is gathered of one service.
struct Reader<'a> {
    found: &'a ForeignService,
    notes: Vec<Note>,
}

impl Reader<'_> {
    fn note(&mut self, field: &str, message: impl Into<String>) {
        let path = format!("services.{}.{field}", self.found.service.spec.name);
        self.notes.push(Note { path, message: message.into() });
    }
}

fn part(found: &ForeignService, all: &[ForeignService]) -> Result<Part, FieldError> {
    let spec = &found.service.spec;
    let at = format!("services.{}", spec.name);
    if let Some(holder) = holder(None, &found.service) {
        return Err(FieldError::new(at, format!("it belongs to {holder} already")));
    }
    if found.mode != "replicated" {
        let message = format!("it is {}; only replicated services can be processes of an app", found.mode);
        return Err(FieldError::new(format!("{at}.mode"), message));
    }
    let image: ImageRef = spec.image.parse().map_err(|error| FieldError::new(format!("{at}.image"), format!("{error}")))?;
    let replicas = u32::try_from(spec.replicas).ok().filter(|replicas| *replicas <= MAX_REPLICAS);
    let too_many = || FieldError::new(format!("{at}.replicas"), format!("{} are more than an app may have, {MAX_REPLICAS}", spec.replicas));
    let replicas = replicas.ok_or_else(too_many)?;
    let mut reader = Reader { found, notes: Vec::new() };
    if !image.is_pinned() {
        reader.note("image", "the tag may have come to mean another image; give its digest to be sure that this one goes on");
    }
    let traefik = draft::traefik_labels(spec.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    for lost in &traefik.lost {
        reader.note("labels", lost.clone());
    }
    let port = port(&mut reader, traefik.port);
    let process = ProcessSpec {
        command: spec.command.clone(),
        args: spec.args.clone(),
        env: BTreeMap::new(),
        port,
        replicas,
        resources: resources(&mut reader)?,
        health: health(&mut reader, port),
        stop_grace_period: grace(spec),
        adopt: Some(AdoptSpec { service: spec.name.clone() }),
        ..ProcessSpec::default()
    };
    let env = env(&mut reader, port);
    extras(&mut reader, all);
    let (order, parallelism) = found.update.map_or((RolloutOrder::StartFirst, 1), |(stop_first, many)| {
        // The engine's default stops old tasks first; here nobody would want that without need.
        let order = if stop_first && exclusive(found) { RolloutOrder::StopFirst } else { RolloutOrder::StartFirst };
        (order, many.clamp(1, MAX_REPLICAS))
    });
    let name = found.stack().and_then(|stack| spec.name.strip_prefix(&format!("{stack}_"))).unwrap_or(&spec.name);
    let process_name = draft::process_name(name).ok_or_else(|| FieldError::new(at, "no name of a process can be made of its name"))?;
    Ok(Part {
        service: spec.name.clone(),
        process: process_name,
        image,
        env,
        spec: process,
        domains: traefik.hosts,
        rollout: RolloutSpec { order, parallelism, ..RolloutSpec::default() },
        notes: reader.notes,
    })
}

/// Whether two tasks of a service at once may get into each other's way: they write to one volume.
fn exclusive(found: &ForeignService) -> bool {
    found.extras.iter().any(|(field, _)| *field == "mounts")
}

fn port(reader: &mut Reader<'_>, labelled: Option<u16>) -> Option<NonZeroU16> {
    let published: Vec<_> = reader.found.ports.clone();
    for port in &published {
        let number = if port.published == 0 { "a port".to_owned() } else { format!("port {}", port.published) };
        let what = if port.mesh { "of every node" } else { "of the nodes with a task" };
        match port.tcp {
            true => reader.note(
                "ports",
                format!(
                    "{number} {what} leads to {} for as long as the service runs as it was taken over; afterwards requests come through the edge, \
                     by host name",
                    port.target
                ),
            ),
            false => reader.note("ports", format!("{number} is UDP; only HTTP over TCP reaches an app")),
        }
    }
    let told = reader.found.service.spec.env.get("PORT").and_then(|port| port.parse().ok());
    let first = published.iter().find(|port| port.tcp).map(|port| port.target);
    let port = labelled.or(first).or(told).and_then(NonZeroU16::new);
    if port.is_some() && !reader.found.is_reachable() {
        reader.note("networks", "it is on no overlay network, so the edge cannot reach its tasks; port is left out");
        return None;
    }
    if port.is_none() {
        reader.note("ports", "nothing says on which port it takes requests; give the process its port if it does");
    }
    port
}

fn resources(reader: &mut Reader<'_>) -> Result<ResourcesSpec, FieldError> {
    let spec = &reader.found.service.spec;
    let at = |field: &str| format!("services.{}.{field}", spec.name);
    let wrong = |field: &str, error: api_types::name::ParseError| FieldError::new(at(field), error.to_string());
    let cpu = match spec.nano_cpus {
        0 => None,
        nanos if nanos % NANOS_PER_MILLI != 0 => return Err(FieldError::new(at("limit-cpu"), "finer than a thousandth of a core")),
        nanos => Some(format!("{}m", nanos / NANOS_PER_MILLI).parse().map_err(|error| wrong("limit-cpu", error))?),
    };
    let memory = match spec.memory_bytes {
        0 => None,
        bytes => Some(bytes.to_string().parse().map_err(|error| wrong("limit-memory", error))?),
    };
    Ok(ResourcesSpec { cpu, memory })
}

fn health(reader: &mut Reader<'_>, port: Option<NonZeroU16>) -> Option<api_types::kinds::app::HealthSpec> {
    let check = reader.found.health.clone()?;
    if check.test.is_empty() || check.test.first().is_some_and(|word| word == "NONE") {
        return None;
    }
    let path = draft::health_path(&check.test).filter(|_| port.is_some());
    let Some(path) = path else {
        reader.note("health-cmd", "a health check is an HTTP request from outside here; give processes.….health.path if there is one");
        return None;
    };
    let millis = |nanos: i64| u64::try_from(nanos / NANOS_PER_MILLI).ok().filter(|millis| *millis > 0).map(HumanDuration::from_millis);
    Some(draft::health(path, millis(check.interval_nanos), millis(check.timeout_nanos), u32::try_from(check.retries).ok()))
}

fn grace(spec: &ServiceSpec) -> HumanDuration {
    let nanos = if spec.stop_grace_nanos > 0 { spec.stop_grace_nanos } else { ENGINE_GRACE_NANOS };
    HumanDuration::from_millis(u64::try_from(nanos / NANOS_PER_MILLI).unwrap_or(0))
}

fn env(reader: &mut Reader<'_>, port: Option<NonZeroU16>) -> BTreeMap<EnvKey, String> {
    let spec = &reader.found.service.spec;
    let mut kept = variables(spec, port);
    for (key, value) in &spec.env {
        match key.parse::<EnvKey>() {
            Err(error) => reader.note("env", format!("{error}; the variable is left out")),
            Ok(_) if draft::is_suspicious(key) && !value.is_empty() => {
                reader.note("env", format!("{key} looks like a secret; once it is taken over, move it from env to secrets"));
            }
            Ok(_) if value.contains("{{") => {
                reader.note("env", format!("{key} has a template that the engine fills in; here it is plain text"));
            }
            Ok(_) => {}
        }
    }
    // The platform sets it to the port, and a manifest may not.
    if port.is_some()
        && let Some(key) = kept.keys().find(|key| key.as_str() == "PORT").cloned()
    {
        kept.remove(&key);
        reader.note(
            "env",
            "PORT is set by the platform to the process's port, and has another value here; the service cannot be taken over like this",
        );
    }
    kept
}

/// What a manifest has no place for, and what becomes of it.
fn extras(reader: &mut Reader<'_>, all: &[ForeignService]) {
    let text = |field: &str| match field {
        "mounts" => "an app keeps no files: keep data in a database or an object store before anything is changed",
        "secrets" => {
            "their values cannot be read: put them into spec.secrets with the first change; each is then the file /run/secrets/<KEY>"
        }
        "configs" => "there are no configuration files; use variables, or put the file into the image",
        "user" | "groups" | "dir" => "the image decides",
        "hostname" | "hosts" | "dns" => "each app has a network of its own, and the platform chooses addresses and names",
        "stop-signal" => "a process gets SIGTERM, and SIGKILL after its stopGracePeriod",
        "constraints" | "placement-pref" | "replicas-max-per-node" => "the platform chooses nodes",
        "log-driver" => "logs are read by the platform: skyctl logs",
        "restart-condition" => "a process that ends is started again, whatever the reason",
        "limit-pids" => "the platform limits a task to 1024 processes",
        "read-only" => "the root file system is writable",
        "tty" => "a process has no terminal",
        _ => "an app runs without further privileges, and cannot use parts of the host",
    };
    for (field, detail) in reader.found.extras.clone() {
        reader.note(field, format!("{detail}: {}", text(field)));
    }
    let own = &reader.found.networks;
    let name = &reader.found.service.spec.name;
    let shares = |other: &&ForeignService| other.service.spec.name != *name && other.networks.iter().any(|network| own.contains(network));
    let others: Vec<&str> = all.iter().filter(shares).map(|other| other.service.spec.name.as_str()).collect();
    if !own.is_empty() {
        let whom = if others.is_empty() { "services there".to_owned() } else { others.join(", ") };
        let message = format!(
            "it is on {}, and reaches {whom} by name until it is replaced; an app has a network of its own, where only its processes find each other",
            own.join(", ")
        );
        reader.note("networks", message);
    }
}
