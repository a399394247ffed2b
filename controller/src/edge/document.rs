//! Routes and endpoints to Traefik's dynamic configuration. Pure.
//!
//! What must hold for every input: a rule names only hosts that parsed as [`Host`]; a host belongs to
//! one router; a service holds only ready endpoints of its own app, process and releases; an address
//! that two containers seem to have is in no service. A route without endpoints keeps its router, so
//! that users get 503 (try again) and not 404 (no such app).
//!
//! It does not decide whether the inputs can be trusted: a caller that renders a document from half an
//! observation takes routes away. The publisher does that check.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use api_types::Host;
use api_types::kinds::app::HealthSpec;
use api_types::kinds::edge::Protocol;
use bytes::Bytes;

use super::dynamic::{
    Certificate, CertificateStore, Configuration, Cookie, ForwardingTimeouts, Headers, Http, LoadBalancer, Middleware, PartCheck,
    ProxyHealthCheck, Retry, Router, RouterTls, Server, ServersTransport, Service, Sticky, Tls, Weighted,
};
use super::inputs::{CertificatePair, Inputs, sha256_hex};
use super::nodes::{self, NodeFiles};
use super::policy::{self, Policy, PolicyInput, RETRY};
use super::responder::Pages;
use super::{Backend, Endpoint, EndpointTable, Route};

/// Begin of the name of the middleware that carries the document's revision.
pub const REVISION_PREFIX: &str = "skyswarm-rev-";
const TRANSPORT: &str = "skyswarm";
const RESPONDER: &str = "skyswarm-responder";
/// The store that the proxy takes certificates from when nothing else is said.
const DEFAULT_STORE: &str = "default";

/// Name of a route's router for TLS connections.
pub fn tls_router(key: &str) -> String {
    format!("{key}-tls")
}

/// Name of a route's router for our own requests, which passes by what the app asks of the edge.
pub fn probe_router(key: &str) -> String {
    format!("{key}-probe")
}

/// What is the same for all routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentOptions {
    /// Entry points for plain HTTP.
    pub entry_points: Vec<String>,
    /// Entry point for HTTPS with the port that clients know; `None` when the edge has none.
    pub https: Option<(String, u16)>,
    /// Entry point on loopback for our own requests; `None` when there is none.
    pub probe: Option<String>,
    /// Where our own responder listens; `None` when there is none, and then what it answers is 503 too.
    pub responder: Option<SocketAddr>,
    /// What this edge shows to those of other nodes; `None` when there are none.
    pub node: Option<NodeFiles>,
    /// How often a request is tried when no connection comes about.
    pub retry_attempts: u32,
    /// Wait before the second try.
    pub retry_initial_interval: Duration,
    /// Longest wait for a connection to a task.
    pub dial_timeout: Duration,
    /// How long an unused connection to a task is kept.
    pub idle_timeout: Duration,
}

impl Default for DocumentOptions {
    fn default() -> Self {
        Self {
            entry_points: vec!["web".to_owned()],
            https: None,
            probe: None,
            responder: None,
            node: None,
            retry_attempts: 4,
            retry_initial_interval: Duration::from_millis(20),
            dial_timeout: Duration::from_secs(1),
            // Below the keep-alive limit of common servers (2 s and 5 s are usual defaults): whoever closes
            // an idle connection first decides whether a request can meet a closed one, and a request
            // whose headers were written cannot be tried again.
            idle_timeout: Duration::from_millis(1500),
        }
    }
}

/// The document before it has a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    config: Configuration,
    /// First 16 hex digits of the content's SHA-256.
    pub hash: String,
    /// Backends of each service.
    pub servers_by_key: BTreeMap<String, Vec<Backend>>,
    /// Maintenance pages that are switched on.
    pub pages: Pages,
    /// What could not be honoured, for the log.
    pub conflicts: Vec<String>,
}

/// Renders the document.
///
/// # Errors
/// Only when the document cannot be serialised, which its types exclude.
pub fn render(inputs: &Inputs, table: &EndpointTable, options: &DocumentOptions) -> Result<Rendered, serde_json::Error> {
    let mut http = Http {
        routers: BTreeMap::new(),
        services: BTreeMap::new(),
        middlewares: BTreeMap::from([(RETRY.to_owned(), Middleware::Retry(retry(options)))]),
        servers_transports: BTreeMap::from([(TRANSPORT.to_owned(), transport(options))]),
    };
    let mut servers_by_key = BTreeMap::new();
    let mut pages = Pages::new();
    let mut conflicts = Vec::new();
    let doubtful = doubtful(table, &mut conflicts);
    let by_app = ready_by_app(table, &doubtful);
    for (route, hosts) in with_own_hosts(&inputs.routes, &mut conflicts) {
        let key = route.key();
        let endpoints = by_app.get(&route.app_uid).map_or(&[][..], Vec::as_slice);
        let chosen = servers_of(route, endpoints);
        add_services(&mut http, route, &chosen, options);
        let input = PolicyInput { route, passwords: &inputs.passwords, https: options.https.is_some() };
        add_routers(&mut http, &input, &rule(hosts.iter().copied()), options);
        pages.extend(route.edge.maintenance().map(|page| (key.clone(), page.clone())));
        servers_by_key.insert(key, backends(&chosen));
    }
    let tcp = options.node.as_ref().map(|files| nodes::entries(table, files, |endpoint| doubtful.contains(&endpoint.address.ip())));
    let config = Configuration { http, tcp, tls: tls(inputs, options) };
    let hash = sha256_hex(&serde_json::to_vec(&config)?).chars().take(16).collect();
    Ok(Rendered { config, hash, servers_by_key, pages, conflicts })
}

/// The routers of a route: for plain HTTP, for HTTPS where the edge has it, and one for our own requests
/// where what the app asks of the edge would keep them out.
fn add_routers(http: &mut Http, input: &PolicyInput<'_>, rule: &str, options: &DocumentOptions) {
    let key = input.route.key();
    let add = |http: &mut Http, name: String, entry_points: Vec<String>, policy: Policy, tls: bool| {
        let service = if policy.answered_by_us { RESPONDER.to_owned() } else { key.clone() };
        if policy.answered_by_us {
            http.services.entry(RESPONDER.to_owned()).or_insert_with(|| responder_service(options));
        }
        let middlewares = policy.middlewares;
        let router = Router { rule: rule.to_owned(), entry_points, service, middlewares, tls: tls.then_some(RouterTls {}) };
        http.routers.insert(name, router);
    };
    let policy = input.render(false, &mut http.middlewares);
    add(http, key.clone(), options.entry_points.clone(), policy, false);
    if let Some((entry_point, port)) = &options.https {
        if input.route.edge.redirects() {
            http.middlewares.insert(policy::REDIRECT.to_owned(), policy::redirect(*port));
        }
        let policy = input.render(true, &mut http.middlewares);
        add(http, tls_router(&key), vec![entry_point.clone()], policy, true);
    }
    if let Some(entry_point) = options.probe.as_ref().filter(|_| !input.route.edge.is_empty()) {
        let policy = Policy { middlewares: vec![RETRY.to_owned()], answered_by_us: false };
        add(http, probe_router(&key), vec![entry_point.clone()], policy, false);
    }
}

fn tls(inputs: &Inputs, options: &DocumentOptions) -> Option<Tls> {
    let https = options.https.is_some();
    let pair = |pair: &CertificatePair| Certificate { cert_file: pair.chain.clone(), key_file: pair.key.to_string() };
    let stores: BTreeMap<String, CertificateStore> = inputs
        .default_certificate
        .iter()
        .filter(|_| https)
        .map(|default| (DEFAULT_STORE.to_owned(), CertificateStore { default_certificate: pair(default) }))
        .collect();
    let mut certificates: Vec<Certificate> = inputs.certificates.iter().filter(|_| https).map(pair).collect();
    certificates.extend(options.node.iter().map(NodeFiles::pair));
    let tls = Tls { certificates, stores, options: options.node.iter().map(NodeFiles::options).collect() };
    (!tls.certificates.is_empty() || !tls.stores.is_empty()).then_some(tls)
}

fn responder_service(options: &DocumentOptions) -> Service {
    Service::LoadBalancer(LoadBalancer {
        servers: options.responder.iter().map(|address| Server { url: format!("http://{address}") }).collect(),
        pass_host_header: true,
        health_check: None,
        servers_transport: TRANSPORT.to_owned(),
        sticky: None,
    })
}

impl Rendered {
    /// Name of the middleware that stands for a revision in the proxy's own listing.
    pub fn stamp(&self, revision: u64) -> String {
        format!("{REVISION_PREFIX}{revision}-{}", self.hash)
    }

    /// The document as JSON, with its revision. The stamp is a middleware that no router uses: the
    /// proxy lists it in its API, which tells which document it runs, and a document without any route
    /// still is not empty.
    ///
    /// # Errors
    /// As [`render`].
    pub fn to_json(&self, revision: u64) -> Result<Bytes, serde_json::Error> {
        let mut config = self.config.clone();
        let headers = BTreeMap::from([("X-Skyswarm-Revision".to_owned(), revision.to_string())]);
        config
            .http
            .middlewares
            .insert(self.stamp(revision), Middleware::Headers(Headers { custom_request_headers: headers, ..Headers::default() }));
        serde_json::to_vec(&config).map(Bytes::from)
    }
}

/// Each route with the hosts that are its own. When two routes name a host, or two have one key, the
/// older app keeps it (uids are ordered by time), so that a newcomer can never take over or take down
/// what somebody else has.
fn with_own_hosts<'a>(routes: &'a [Route], conflicts: &mut Vec<String>) -> Vec<(&'a Route, BTreeSet<&'a Host>)> {
    let mut oldest_first: Vec<&Route> = routes.iter().collect();
    oldest_first.sort_by_key(|route| (route.app_uid, route.key()));
    let mut owners: BTreeMap<&Host, String> = BTreeMap::new();
    let mut keys = BTreeSet::new();
    let mut out = Vec::new();
    for route in oldest_first {
        let key = route.key();
        if !keys.insert(key.clone()) {
            conflicts.push(format!("two routes have the key {key}; the older app keeps it"));
            continue;
        }
        let mut hosts = BTreeSet::new();
        for host in &route.hosts {
            match owners.get(host) {
                Some(owner) if *owner != key => conflicts.push(format!("{key} and {owner} both name {host}; {owner} keeps it")),
                _ => {
                    owners.insert(host, key.clone());
                    hosts.insert(host);
                }
            }
        }
        if !hosts.is_empty() {
            out.push((route, hosts));
        }
    }
    out
}

/// Addresses of this node that two containers seem to have: they go to nobody. What other nodes say is theirs to judge.
fn doubtful(table: &EndpointTable, conflicts: &mut Vec<String>) -> BTreeSet<IpAddr> {
    let mut holder: BTreeMap<IpAddr, &str> = BTreeMap::new();
    let mut doubtful = BTreeSet::new();
    for endpoint in table.endpoints.values().filter(|endpoint| endpoint.hop.is_none()) {
        let first = holder.entry(endpoint.address.ip()).or_insert(endpoint.container_id.as_str());
        if *first != endpoint.container_id && doubtful.insert(endpoint.address.ip()) {
            conflicts.push(format!("{} seems to belong to two containers; neither gets requests", endpoint.address.ip()));
        }
    }
    doubtful
}

/// Endpoints by app that may get requests.
fn ready_by_app<'a>(table: &'a EndpointTable, doubtful: &BTreeSet<IpAddr>) -> BTreeMap<uuid::Uuid, Vec<&'a Endpoint>> {
    let mut by_app: BTreeMap<uuid::Uuid, Vec<&Endpoint>> = BTreeMap::new();
    let sure = |endpoint: &&Endpoint| endpoint.hop.is_some() || !doubtful.contains(&endpoint.address.ip());
    for endpoint in table.endpoints.values().filter(|endpoint| endpoint.ready).filter(sure) {
        by_app.entry(endpoint.app_uid).or_default().push(endpoint);
    }
    by_app
}

fn servers_of<'a>(route: &Route, endpoints: &[&'a Endpoint]) -> Vec<&'a Endpoint> {
    let wanted = |endpoint: &&&Endpoint| {
        endpoint.app_uid == route.app_uid && endpoint.process == route.process.as_str() && route.releases.contains(&endpoint.release)
    };
    let mut chosen: Vec<&Endpoint> = endpoints.iter().filter(wanted).copied().collect();
    // One of a node that is to be emptied is used only while there is no other.
    if chosen.iter().any(|endpoint| !endpoint.leaving) {
        chosen.retain(|endpoint| !endpoint.leaving);
    }
    chosen.sort_by_key(|endpoint| (endpoint.hop.clone(), endpoint.address));
    chosen.dedup_by_key(|endpoint| (endpoint.hop.clone(), endpoint.address));
    chosen
}

fn backends(chosen: &[&Endpoint]) -> Vec<Backend> {
    chosen.iter().map(|endpoint| endpoint.backend()).collect()
}

/// The rule of a router, as it is published and as it is looked for when the proxy is read back. Hosts are
/// checked newtypes: nothing in them can end the literal.
pub fn rule<'a>(hosts: impl IntoIterator<Item = &'a Host>) -> String {
    let terms: Vec<String> = hosts.into_iter().map(|host| format!("Host(`{host}`)")).collect();
    terms.join(" || ")
}

/// The service of a route. Where all tasks are here it is one; else each task is a part of its own, because the way to
/// each on another node is a transport of its own.
fn add_services(http: &mut Http, route: &Route, chosen: &[&Endpoint], options: &DocumentOptions) {
    let key = route.key();
    let sticky = sticky(route, options);
    let scheme = route.protocol.scheme();
    // With one server the proxy's own check could only turn the app's answer into a 503, and it speaks HTTP/1.1.
    let checked = chosen.len() > 1 && route.protocol == Protocol::Http;
    let health_check = route.health.as_ref().filter(|_| checked).and_then(proxy_health_check);
    let own = TRANSPORT.to_owned();
    let Some(files) = options.node.as_ref().filter(|_| chosen.iter().any(|endpoint| endpoint.hop.is_some())) else {
        let here = chosen.iter().filter(|endpoint| endpoint.hop.is_none());
        let servers = here.map(|endpoint| Server { url: format!("{scheme}://{}", endpoint.address) }).collect();
        let all = LoadBalancer { servers, pass_host_header: true, health_check, servers_transport: own, sticky };
        http.services.insert(key, Service::LoadBalancer(all));
        return;
    };
    for endpoint in chosen {
        let name = nodes::part_key(&key, &endpoint.task_id);
        let (server, servers_transport) = nodes::server(endpoint, scheme, &key, TRANSPORT);
        if let Some(hop) = &endpoint.hop {
            http.servers_transports.insert(name.clone(), files.transport(&endpoint.task_id, hop, route.protocol, options));
        }
        let health_check = health_check.clone();
        let part = LoadBalancer { servers: vec![server], pass_host_header: true, health_check, servers_transport, sticky: None };
        http.services.insert(name, Service::LoadBalancer(part));
    }
    let health_check = health_check.map(|_| PartCheck {});
    http.services.insert(key.clone(), Service::Weighted(Weighted { sticky, health_check, ..nodes::weighted(&key, chosen) }));
}

fn sticky(route: &Route, options: &DocumentOptions) -> Option<Sticky> {
    route.edge.sticky.as_ref().map(|sticky| Sticky {
        cookie: Cookie {
            name: sticky.cookie_name().to_owned(),
            // A client that comes by plain HTTP would never send it back.
            secure: options.https.is_some() && route.edge.redirects(),
            http_only: true,
            same_site: "lax",
        },
    })
}

/// The proxy's own check, which keeps working while the controller is away.
///
/// One bad answer is enough for the proxy, whatever threshold the app asks for. So that it never gives
/// up a slow task before the platform would, it asks as rarely and waits as long as `failureThreshold`
/// checks in a row take.
fn proxy_health_check(spec: &HealthSpec) -> Option<ProxyHealthCheck> {
    // The proxy resolves the path as a URL reference: "//host/x" would make it ask another machine.
    let plain = spec.path.starts_with('/') && !spec.path.starts_with("//") && spec.path.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain {
        return None;
    }
    let threshold = spec.failure_threshold.max(1);
    let interval = spec.interval.get().max(Duration::from_millis(1));
    let timeout = spec.timeout.get().max(Duration::from_millis(100));
    Some(ProxyHealthCheck {
        path: spec.path.clone(),
        interval: millis(interval.saturating_mul(threshold).max(Duration::from_secs(1))),
        unhealthy_interval: "1000ms".to_owned(),
        timeout: millis(interval.saturating_mul(threshold - 1).saturating_add(timeout)),
        follow_redirects: false,
    })
}

fn retry(options: &DocumentOptions) -> Retry {
    Retry { attempts: options.retry_attempts.max(1), initial_interval: millis(options.retry_initial_interval) }
}

pub(super) fn transport(options: &DocumentOptions) -> ServersTransport {
    ServersTransport {
        server_name: None,
        root_cas: Vec::new(),
        certificates: Vec::new(),
        disable_http2: false,
        forwarding_timeouts: ForwardingTimeouts {
            dial_timeout: millis(options.dial_timeout),
            idle_conn_timeout: millis(options.idle_timeout),
        },
    }
}

fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
#[path = "document_tests.rs"]
pub(crate) mod tests;
