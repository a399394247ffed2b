//! Drafts of manifests for what runs elsewhere or is described elsewhere: a Swarm service, a stack, a Compose file.
//!
//! The sources differ; what becomes of them does not: services of one image are the processes of one app, variables that
//! all of them have are the app's, and everything that a manifest cannot say is noted instead of dropped in silence.
//! Does not read anything; [`crate::api::Draft`] is what comes out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::api::{Draft, Note};
use crate::kinds::app::{App, AppSpec, HealthSpec, ProcessSpec, RolloutSpec};
use crate::meta::ObjectMeta;
use crate::name::{AppName, EnvKey, Host, MAX_NAME, MAX_PROCESS, ProcessName};
use crate::{HumanDuration, ImageRef};

/// One service, in our words.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its name where it comes from.
    pub service: String,
    /// The process that it becomes.
    pub process: ProcessName,
    /// Its image.
    pub image: ImageRef,
    /// Its variables.
    pub env: BTreeMap<EnvKey, String>,
    /// The process, without variables.
    pub spec: ProcessSpec,
    /// Hosts that lead to it.
    pub domains: Vec<Host>,
    /// How it is replaced.
    pub rollout: RolloutSpec,
    /// What is not carried over.
    pub notes: Vec<Note>,
}

/// Puts services together into apps. `base` names the app, or begins the names of several. Parts of one
/// image become one app, in the order in which they come.
pub fn drafts(base: &str, parts: Vec<Part>) -> Vec<Draft> {
    let mut groups: Vec<Vec<Part>> = Vec::new();
    for part in parts {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| first.image == part.image)) {
            Some(group) => group.push(part),
            None => groups.push(vec![part]),
        }
    }
    let only = groups.len() == 1;
    let mut taken = BTreeSet::new();
    groups
        .into_iter()
        .map(|group| {
            let first = group.first().map(|part| part.service.as_str()).unwrap_or_default();
            let own = first.strip_prefix(&format!("{base}_")).unwrap_or(first);
            let wanted = if only || own == base { base.to_owned() } else { format!("{base}-{own}") };
            let name = free(&label(&wanted, MAX_NAME), MAX_NAME, |name| taken.insert(name.to_owned()));
            draft(&name, group)
        })
        .collect()
}

fn draft(name: &str, group: Vec<Part>) -> Draft {
    let mut notes = Vec::new();
    let env = common(&group);
    let mut processes = BTreeMap::new();
    let mut domains: Vec<Host> = Vec::new();
    let (image, rollout) = match group.first() {
        Some(first) => (first.image.clone(), first.rollout),
        None => return Draft { services: Vec::new(), manifest: Value::Null, notes },
    };
    let services = group.iter().map(|part| part.service.clone()).collect();
    for part in group {
        if part.rollout != rollout {
            let message = "an app has one rollout policy; the one of its first service is kept";
            notes.push(Note { path: format!("services.{}", part.service), message: message.to_owned() });
        }
        domains.extend(part.domains.into_iter().filter(|host| !domains.contains(host)).collect::<Vec<_>>());
        notes.extend(part.notes);
        let own = part.env.into_iter().filter(|(key, _)| !env.contains_key(key)).collect();
        let process = unique_process(part.process, &processes);
        processes.insert(process, ProcessSpec { env: own, ..part.spec });
    }
    let spec = serde_json::json!({"image": image, "env": env, "processes": processes, "domains": domains, "rollout": rollout});
    let Ok(mut spec) = serde_json::from_value::<AppSpec>(spec) else { return Draft { services, manifest: Value::Null, notes } };
    if !spec.domains.is_empty() && spec.routed_process().is_none() {
        let hosts: Vec<String> = std::mem::take(&mut spec.domains).iter().map(ToString::to_string).collect();
        let message =
            format!("{} cannot be routed: requests go to the process \"web\", or else to the only process with a port", hosts.join(", "));
        notes.push(Note { path: "spec.domains".to_owned(), message });
    }
    let app = App::new(ObjectMeta::named(name), spec);
    Draft { services, manifest: minimal(&app), notes }
}

/// Variables that all parts have with the same value.
fn common(group: &[Part]) -> BTreeMap<EnvKey, String> {
    let Some((first, rest)) = group.split_first() else { return BTreeMap::new() };
    let everywhere = |key: &EnvKey, value: &String| rest.iter().all(|part| part.env.get(key) == Some(value));
    first.env.iter().filter(|(key, value)| everywhere(key, value)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn unique_process(wanted: ProcessName, taken: &BTreeMap<ProcessName, ProcessSpec>) -> ProcessName {
    let is_free = |name: &str| name.parse::<ProcessName>().is_ok_and(|name| !taken.contains_key(&name));
    free(wanted.as_str(), MAX_PROCESS, is_free).parse().unwrap_or(wanted)
}

/// `wanted`, or `wanted-2`, `wanted-3`…, within `max` bytes.
fn free(wanted: &str, max: usize, mut take: impl FnMut(&str) -> bool) -> String {
    if take(wanted) {
        return wanted.to_owned();
    }
    (2..1000)
        .map(|number| {
            let end = format!("-{number}");
            let start: String = wanted.chars().take(max.saturating_sub(end.len())).collect();
            format!("{}{end}", start.trim_end_matches('-'))
        })
        .find(|name| take(name))
        .unwrap_or_else(|| wanted.to_owned())
}

/// A process name made of any text.
pub fn process_name(text: &str) -> Option<ProcessName> {
    label(text, MAX_PROCESS).parse().ok()
}

/// An app name made of any text.
pub fn app_name(text: &str) -> Option<AppName> {
    label(text, MAX_NAME).parse().ok()
}

/// Text as a name: lower case, letters, digits and single hyphens, a letter first.
fn label(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in text.to_ascii_lowercase().chars() {
        let c = if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        if out.len() >= max || (out.is_empty() && !c.is_ascii_lowercase()) || (c == '-' && out.ends_with('-')) {
            continue;
        }
        out.push(c);
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() { "app".to_owned() } else { out.to_owned() }
}

/// The manifest as a person would write it: without what is the default anyway.
fn minimal(app: &App) -> Value {
    let mut value = serde_json::to_value(app).unwrap_or_default();
    let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else { return value };
    let without = |value: &mut Value, defaults: &Value| {
        if let (Some(map), Some(defaults)) = (value.as_object_mut(), defaults.as_object()) {
            map.retain(|key, value| defaults.get(key) != Some(value));
        }
    };
    // Whatever else a spec may have: a field that is as if nobody had written it is not written.
    let bare = serde_json::json!({"image": spec.get("image"), "processes": spec.get("processes")});
    let bare = serde_json::from_value::<AppSpec>(bare).ok().and_then(|bare| serde_json::to_value(bare).ok()).unwrap_or_default();
    spec.retain(|key, value| matches!(key.as_str(), "image" | "processes") || bare.get(key) != Some(value));
    let rollout = serde_json::to_value(RolloutSpec::default()).unwrap_or_default();
    if let Some(given) = spec.get_mut("rollout") {
        without(given, &rollout);
    }
    let health =
        serde_json::json!({"interval": HumanDuration::from_secs(5), "timeout": HumanDuration::from_secs(2), "failureThreshold": 3});
    let grace = serde_json::json!({"stopGracePeriod": HumanDuration::from_secs(10)});
    for process in spec.get_mut("processes").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        without(process, &grace);
        if let Some(given) = process.get_mut("health") {
            without(given, &health);
        }
    }
    value
}

/// Whether a variable's name says that its value should not be seen.
pub fn is_suspicious(key: &str) -> bool {
    let upper = key.to_ascii_uppercase();
    let words = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE"];
    // `API_KEY` and `KEY`, but not `KEYBOARD` and `MONKEY_COUNT`.
    let is_key =
        upper.split('_').any(|word| word == "KEY" || word == "KEYS" || word == "PASS" || word == "PWD" || word.ends_with("APIKEY"));
    is_key || words.iter().any(|word| upper.contains(word))
}

/// The health check that a command line inside a container makes, if it is an HTTP request to itself: its path.
pub fn health_path(words: &[String]) -> Option<String> {
    let text = words.join(" ");
    let at = ["http://localhost", "http://127.0.0.1", "http://[::1]", "http://0.0.0.0"]
        .iter()
        .find_map(|start| Some((text.find(start)?, start.len())));
    let (at, length) = at?;
    let rest = text.get(at + length..)?;
    let rest = rest.split([' ', '\'', '"', '|', ';', '&', ')']).next().unwrap_or_default();
    let path = rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/");
    let port = rest.split('/').next().unwrap_or_default();
    let plain = path.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) && (port.is_empty() || port.starts_with(':'));
    plain.then(|| path.to_owned())
}

/// A health check with the given rhythm, or the default one where a number is out of our bounds.
pub fn health(path: String, interval: Option<HumanDuration>, timeout: Option<HumanDuration>, retries: Option<u32>) -> HealthSpec {
    let in_bounds = |value: Option<HumanDuration>, least: HumanDuration| value.filter(|value| *value >= least);
    HealthSpec {
        path,
        interval: in_bounds(interval, HumanDuration::from_millis(500)).unwrap_or(HumanDuration::from_secs(5)),
        timeout: in_bounds(timeout, HumanDuration::from_millis(50)).unwrap_or(HumanDuration::from_secs(2)),
        failure_threshold: retries.filter(|retries| (1..=100).contains(retries)).unwrap_or(3),
    }
}

/// What labels for Traefik say of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraefikLabels {
    /// Hosts of its routers' rules.
    pub hosts: Vec<Host>,
    /// Port of its load balancer.
    pub port: Option<u16>,
    /// What of them is not carried over.
    pub lost: Vec<String>,
}

/// Reads labels for Traefik.
pub fn traefik_labels<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> TraefikLabels {
    let mut found = TraefikLabels::default();
    let mut others = BTreeSet::new();
    for (key, value) in labels.filter(|(key, _)| key.starts_with("traefik.")) {
        let parts: Vec<&str> = key.split('.').collect();
        match parts.as_slice() {
            ["traefik", "http", "routers", _, "rule"] => rule(key, value, &mut found),
            ["traefik", "http", "services", _, "loadbalancer", "server", "port"] => found.port = value.parse().ok(),
            // What the platform does by itself, or has another way for.
            ["traefik", "enable"] | ["traefik", "docker" | "swarm", "network" | "lbswarm"] => {}
            ["traefik", "http", "routers", _, "entrypoints" | "service" | "tls"] => {}
            ["traefik", "http", "routers", _, "tls", "certresolver"] => {}
            _ => {
                others.insert(key.to_owned());
            }
        }
    }
    if !others.is_empty() {
        let list: Vec<String> = others.into_iter().collect();
        found.lost.push(format!("{} are not carried over", list.join(", ")));
    }
    found
}

fn rule(key: &str, value: &str, found: &mut TraefikLabels) {
    let mut rest = value;
    let mut only_hosts = true;
    while let Some(at) = rest.find("Host(") {
        let before = rest.get(..at).unwrap_or_default().trim();
        only_hosts &= before.is_empty() || before == "||";
        let Some((inside, after)) = rest.get(at + 5..).and_then(|text| text.split_once(')')) else { break };
        for word in inside.split(',') {
            let word = word.trim().trim_matches(['`', '"', '\'']);
            match word.to_ascii_lowercase().parse::<Host>() {
                Ok(host) if !found.hosts.contains(&host) => found.hosts.push(host),
                Ok(_) => {}
                Err(error) => found.lost.push(format!("{key}: {error}")),
            }
        }
        rest = after;
    }
    if !rest.trim().is_empty() || !only_hosts {
        found.lost.push(format!("{key}: only the hosts of the rule are carried over: {value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(service: &str, image: &str, env: &[(&str, &str)], port: Option<u16>) -> Part {
        Part {
            service: service.to_owned(),
            process: process_name(service).expect("a name"),
            image: image.parse().expect("an image"),
            env: env.iter().map(|(key, value)| (key.parse().expect("a key"), (*value).to_owned())).collect(),
            spec: ProcessSpec { port: port.and_then(std::num::NonZeroU16::new), ..ProcessSpec::default() },
            domains: Vec::new(),
            rollout: RolloutSpec::default(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn services_of_one_image_are_one_app_and_share_what_they_have_in_common() {
        let parts = vec![
            part("web", "shop:1", &[("A", "1"), ("B", "2")], Some(80)),
            part("redis", "redis:7", &[], None),
            part("worker", "shop:1", &[("A", "1"), ("B", "3")], None),
        ];
        let found = drafts("shop", parts);
        let names: Vec<_> = found.iter().map(|draft| draft.manifest["metadata"]["name"].as_str().unwrap_or_default()).collect();
        assert_eq!(names, ["shop-web", "shop-redis"]);
        let spec = &found[0].manifest["spec"];
        assert_eq!(spec["env"], serde_json::json!({"A": "1"}));
        assert_eq!(spec["processes"]["web"], serde_json::json!({"env": {"B": "2"}, "port": 80, "replicas": 1}));
        assert_eq!(spec["processes"]["worker"]["env"], serde_json::json!({"B": "3"}));
        assert_eq!(spec.get("rollout"), None, "the default is not written");
        for draft in &found {
            crate::check::check(&draft.manifest).expect("a draft is a valid manifest");
        }
    }

    #[test]
    fn any_text_becomes_a_name() {
        for (text, want) in [("web", "web"), ("My_Web.App", "my-web-app"), ("9lives", "lives"), ("--", "app"), ("a__b", "a-b"), ("", "app")]
        {
            assert_eq!(process_name(text).expect(text).as_str(), want);
        }
        assert_eq!(process_name(&"x".repeat(40)).map(|name| name.as_str().len()), Some(MAX_PROCESS));
        assert_eq!(process_name("a-very-long-na-x").expect("a name").as_str(), "a-very-long-na");
        assert_eq!(app_name("shop_web").map(|name| name.to_string()).as_deref(), Some("shop-web"));
        let twice = drafts("s", vec![part("a_b", "x:1", &[], None), part("a-b", "x:1", &[], None)]);
        let names: Vec<_> = twice[0].manifest["spec"]["processes"].as_object().expect("processes").keys().cloned().collect();
        assert_eq!(names, ["a-b", "a-b-2"]);
    }

    #[test]
    fn traefik_labels_give_hosts_and_port() {
        let labels = [
            ("traefik.enable", "true"),
            ("traefik.http.routers.a.rule", "Host(`Shop.example.com`) || Host(`b.example.com`, `c.example.com`)"),
            ("traefik.http.routers.a.entrypoints", "websecure"),
            ("traefik.http.services.a.loadbalancer.server.port", "8080"),
            ("traefik.http.middlewares.m.basicauth.users", "x"),
            ("team", "a"),
        ];
        let found = traefik_labels(labels.into_iter());
        assert_eq!(found.hosts.iter().map(Host::as_str).collect::<Vec<_>>(), ["shop.example.com", "b.example.com", "c.example.com"]);
        assert_eq!(found.port, Some(8080));
        assert_eq!(found.lost, ["traefik.http.middlewares.m.basicauth.users are not carried over"]);
        let found = traefik_labels([("traefik.http.routers.a.rule", "Host(`a.example`) && PathPrefix(`/x`)")].into_iter());
        assert_eq!((found.hosts.len(), found.lost.len()), (1, 1));
        let found = traefik_labels([("traefik.http.routers.a.rule", "Host(`a`")].into_iter());
        assert_eq!((found.hosts.len(), found.lost.len()), (0, 1));
    }

    #[test]
    fn an_http_request_to_itself_is_a_health_check() {
        let path = |text: &str| health_path(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(path("CMD curl -f http://localhost:8080/healthz").as_deref(), Some("/healthz"));
        assert_eq!(path("CMD-SHELL wget -qO- 'http://127.0.0.1/up?x=1' || exit 1").as_deref(), Some("/up?x=1"));
        assert_eq!(path("CMD curl http://localhost:80").as_deref(), Some("/"));
        assert_eq!(path("CMD pg_isready"), None);
        assert_eq!(path("CMD curl http://localhost.evil/x"), None);
    }

    #[test]
    fn names_of_secrets_are_noticed() {
        for key in ["PASSWORD", "DB_PASS", "API_KEY", "GITHUB_TOKEN", "SECRET_KEY_BASE", "STRIPE_APIKEY"] {
            assert!(is_suspicious(key), "{key}");
        }
        for key in ["KEYBOARD", "MONKEY_COUNT", "LOG_LEVEL", "PASSENGERS", "PORT"] {
            assert!(!is_suspicious(key), "{key}");
        }
    }
}
