//! Rules between fields of a valid app: what types cannot say.
//!
//! The store calls this again after a scale or any other change that did not come as a manifest.

use std::collections::{BTreeMap, BTreeSet};

use super::{edge, path};
use crate::kinds::app::{AppSpec, HealthSpec, MAX_DOMAINS, MAX_PROCESSES, MAX_REPLICAS, MAX_VARIABLES, ProcessSpec, RolloutSpec};
use crate::kinds::edge::Protocol;
use crate::{EnvKey, FieldError, HumanDuration};

/// Largest value of one plain variable; the kernel refuses more than 128 KiB for key and value together.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;
/// Largest sum of all variables, plain and secret, with their keys. A process's arguments and
/// environment share a quarter of its stack, and the engine keeps them with every task.
pub const MAX_VARIABLES_BYTES: usize = 512 * 1024;

/// Shortest time between two health checks.
const MIN_INTERVAL: HumanDuration = HumanDuration::from_millis(500);
/// Shortest wait for the answer to one.
const MIN_TIMEOUT: HumanDuration = HumanDuration::from_millis(50);

/// Everything that contradicts itself in an app's spec.
pub fn semantic_app(spec: &AppSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_processes(spec, &mut errors);
    check_variables(spec, &mut errors);
    check_domains(spec, &mut errors);
    check_rollout(&spec.rollout, &mut errors);
    edge::check(spec, &mut errors);
    errors
}

fn check_processes(spec: &AppSpec, errors: &mut Vec<FieldError>) {
    match spec.processes.len() {
        0 => errors.push(FieldError::new("spec.processes", "expected at least one process, such as web: {port: 8080}")),
        n if n > MAX_PROCESSES => {
            errors.push(FieldError::new("spec.processes", format!("expected at most {MAX_PROCESSES} processes, found {n}")));
        }
        _ => {}
    }
    let mut adopted = BTreeSet::new();
    for (name, process) in &spec.processes {
        let at = path::field("spec.processes", name.as_str());
        check_process(process, &at, errors);
        let Some(adopt) = &process.adopt else { continue };
        let at = path::field(&path::field(&at, "adopt"), "service");
        if !adopt.is_valid() {
            let message = "expected the name of a Swarm service: letters, digits, \"_\", \".\" and \"-\", at most 63";
            errors.push(FieldError::new(at, message));
        } else if !adopted.insert(&adopt.service) {
            errors.push(FieldError::new(at, format!("another process takes {} over already", adopt.service)));
        }
    }
}

fn check_process(process: &ProcessSpec, at: &str, errors: &mut Vec<FieldError>) {
    if process.replicas > MAX_REPLICAS {
        let message = format!("expected at most {MAX_REPLICAS} replicas, found {}", process.replicas);
        errors.push(FieldError::new(path::field(at, "replicas"), message));
    }
    if process.command.first().is_some_and(String::is_empty) {
        errors.push(FieldError::new(path::index(&path::field(at, "command"), 0), "the name of a program must not be empty"));
    }
    for (list, words) in [("command", &process.command), ("args", &process.args)] {
        for (index, word) in words.iter().enumerate() {
            if word.contains('\0') {
                errors.push(FieldError::new(path::index(&path::field(at, list), index), "an argument cannot contain a NUL character"));
            }
        }
    }
    if let Some(health) = &process.health {
        let at = path::field(at, "health");
        if process.port.is_none() {
            errors.push(FieldError::new(&at, "an HTTP health check needs a port; add \"port\" to this process"));
        }
        if process.protocol == Protocol::H2c {
            errors
                .push(FieldError::new(&at, "the health check speaks HTTP/1.1, this process does not; remove it, then the port is checked"));
        }
        check_health(health, &at, errors);
    }
    if process.protocol != Protocol::Http && process.port.is_none() {
        errors.push(FieldError::new(path::field(at, "protocol"), "a protocol needs a port; add \"port\" to this process"));
    }
}

fn check_health(health: &HealthSpec, at: &str, errors: &mut Vec<FieldError>) {
    let mut error = |name: &str, message: String| errors.push(FieldError::new(path::field(at, name), message));
    let (interval, timeout) = (health.interval, health.timeout);
    if !health.path.starts_with('/') {
        error("path", "a path begins with \"/\"".to_owned());
    }
    if interval < MIN_INTERVAL {
        error("interval", format!("expected at least {MIN_INTERVAL}, found {interval}"));
    }
    if timeout < MIN_TIMEOUT {
        error("timeout", format!("expected at least {MIN_TIMEOUT}, found {timeout}"));
    }
    if !(1..=100).contains(&health.failure_threshold) {
        error("failureThreshold", format!("expected a number from 1 to 100, found {}", health.failure_threshold));
    }
}

fn check_variables(spec: &AppSpec, errors: &mut Vec<FieldError>) {
    let own = spec.processes.values().map(|process| process.env.len()).max().unwrap_or(0);
    let count = spec.env.len() + spec.secrets.len() + own;
    if count > MAX_VARIABLES {
        errors.push(FieldError::new("spec.env", format!("expected at most {MAX_VARIABLES} variables with the secrets, found {count}")));
    }
    let size = |env: &BTreeMap<EnvKey, String>| env.iter().map(|(key, value)| key.as_str().len() + value.len()).sum::<usize>();
    let plain = size(&spec.env) + spec.processes.values().map(|process| size(&process.env)).max().unwrap_or(0);
    let secret: usize = spec.secrets.iter().map(|(key, value)| key.as_str().len() + value.as_ref().map_or(0, |v| v.expose().len())).sum();
    if plain + secret > MAX_VARIABLES_BYTES {
        let message = format!("variables and secrets together may have at most {MAX_VARIABLES_BYTES} bytes, found {}", plain + secret);
        errors.push(FieldError::new("spec.env", message));
    }
    let has_port = spec.processes.values().any(|process| process.port.is_some());
    check_env(spec, &spec.env, "spec.env", has_port, errors);
    for (name, process) in &spec.processes {
        let at = path::field(&path::field("spec.processes", name.as_str()), "env");
        check_env(spec, &process.env, &at, process.port.is_some(), errors);
    }
}

/// One set of variables; `has_port` says whether the platform sets `PORT` beside them.
fn check_env(spec: &AppSpec, env: &BTreeMap<EnvKey, String>, at: &str, has_port: bool, errors: &mut Vec<FieldError>) {
    for (key, value) in env {
        let at = path::field(at, key.as_str());
        if value.len() > MAX_VALUE_BYTES {
            errors.push(FieldError::new(&at, format!("a value may have at most {MAX_VALUE_BYTES} bytes, this one has {}", value.len())));
        }
        if value.contains('\0') {
            errors.push(FieldError::new(&at, "a variable cannot contain a NUL character"));
        }
        if key.as_str() == "PORT" && has_port {
            errors.push(FieldError::new(&at, "PORT is set by the platform from the process's \"port\"; remove it here"));
        }
        if spec.secrets.contains_key(key) {
            errors.push(FieldError::new(&at, "the same key is in spec.secrets; keep one of them"));
        }
        if let Some(secret) = key.as_str().strip_suffix("_FILE")
            && spec.secrets.keys().any(|key| key.as_str() == secret)
        {
            let message = format!("the platform sets this to the path of the secret {secret}; rename one of them");
            errors.push(FieldError::new(&at, message));
        }
    }
}

fn check_domains(spec: &AppSpec, errors: &mut Vec<FieldError>) {
    if spec.domains.len() > MAX_DOMAINS {
        errors.push(FieldError::new("spec.domains", format!("expected at most {MAX_DOMAINS} domains, found {}", spec.domains.len())));
    }
    let mut seen = BTreeSet::new();
    for (index, host) in spec.domains.iter().enumerate() {
        if !seen.insert(host) {
            errors.push(FieldError::new(path::index("spec.domains", index), format!("{host} is already in this list")));
        }
    }
    if !spec.domains.is_empty() && spec.routed_process().is_none() && !spec.processes.is_empty() {
        let with_port = spec.processes.values().filter(|process| process.port.is_some()).count();
        let message = if with_port == 0 {
            "a domain needs a process that takes requests; add \"port\" to one".to_owned()
        } else {
            format!("{with_port} processes have a port and none is named \"web\", so it is not clear which one takes requests")
        };
        errors.push(FieldError::new("spec.domains", message));
    }
}

fn check_rollout(rollout: &RolloutSpec, errors: &mut Vec<FieldError>) {
    if !(1..=MAX_REPLICAS).contains(&rollout.parallelism) {
        let message = format!("expected a number from 1 to {MAX_REPLICAS}, found {}", rollout.parallelism);
        errors.push(FieldError::new("spec.rollout.parallelism", message));
    }
    if rollout.progress_deadline <= rollout.health_window {
        let message = format!(
            "must be longer than the health window ({}), found {}; no rollout could finish in time",
            rollout.health_window, rollout.progress_deadline
        );
        errors.push(FieldError::new("spec.rollout.progressDeadline", message));
    }
}
