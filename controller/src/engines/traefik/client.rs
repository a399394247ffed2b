//! Traefik's API, and requests through the edge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use api_types::Host;
use async_trait::async_trait;
use reqwest::{Client, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::timeout;

use super::gate::{self, Answer};
use super::handshake;
use super::{ProxyApi, ProxyError, ProxyOverview};
use crate::edge::document::{REVISION_PREFIX, probe_router, tls_router};
use crate::edge::responder::PAGE_HEADER;
use crate::edge::{Backend, Endpoint, EndpointTable, ProbeResult, Route, RouteFacts, nodes, policy};
use crate::plan::Fact;

const API_TIMEOUT: Duration = Duration::from_secs(1);
/// Parts of a route in one answer.
const PARTS_PAGE: usize = 100;
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// What Traefik says when no router matches.
const NO_ROUTER: &[u8] = b"404 page not found\n";

/// The real proxy.
#[derive(Debug, Clone)]
pub struct TraefikClient {
    client: Client,
    api: String,
    edge: SocketAddr,
    /// Entry point for our own requests.
    probe: Option<SocketAddr>,
    /// Entry point for HTTPS.
    https: Option<SocketAddr>,
    endpoints: watch::Receiver<Arc<EndpointTable>>,
}

impl TraefikClient {
    /// For the Traefik with this API and this entry point. The endpoints tell which release is behind
    /// an address.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(api: SocketAddr, edge_http: SocketAddr, endpoints: watch::Receiver<Arc<EndpointTable>>) -> Result<Self, ProxyError> {
        // Fails when there is a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("skyswarm-probe")
            .pool_idle_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| ProxyError::Unreachable { what: "anything".to_owned(), message: error.to_string() })?;
        Ok(Self { client, api: format!("http://{api}/api"), edge: reachable(edge_http), probe: None, https: None, endpoints })
    }

    /// With the entry point for our own requests, and the one for HTTPS where there is one.
    #[must_use]
    pub fn with(self, probe: Option<SocketAddr>, https: Option<SocketAddr>) -> Self {
        Self { probe: probe.map(reachable), https: https.map(reachable), ..self }
    }

    /// Asks the API; `None` for 404.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ProxyError> {
        let unreachable = |message: String| ProxyError::Unreachable { what: path.to_owned(), message };
        let ask = async {
            let response = self.client.get(format!("{}{path}", self.api)).send().await.map_err(|error| unreachable(chain(&error)))?;
            match response.status() {
                StatusCode::NOT_FOUND => Ok(None),
                StatusCode::OK => response.json().await.map(Some).map_err(|error| {
                    if error.is_decode() {
                        ProxyError::Unexpected { what: path.to_owned(), message: chain(&error) }
                    } else {
                        unreachable(chain(&error))
                    }
                }),
                status => Err(ProxyError::Unexpected { what: path.to_owned(), message: status.to_string() }),
            }
        };
        timeout(API_TIMEOUT, ask).await.unwrap_or_else(|_| Err(unreachable(format!("no answer within {API_TIMEOUT:?}"))))
    }

    async fn read_route(&self, key: &str) -> Result<Option<RouteFacts>, ProxyError> {
        // A key is made of names; anything else would ask for another path.
        if !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            return Ok(None);
        }
        let Some(mut router) = self.router(key).await? else { return Ok(None) };
        let service = self.get::<ServiceInfo>(&format!("/http/services/{key}@http")).await?;
        let parts = self.parts(key, service.as_ref()).await?;
        // The other routers of the route: they came with the same document.
        let plain = policy::marker_of(key, &router.middlewares).is_none();
        let tls = self.https.map(|_| (tls_router(key), true));
        let probe = self.probe.filter(|_| !plain).map(|_| (probe_router(key), false));
        for (name, has_policy) in tls.into_iter().chain(probe) {
            let other = self.router(&name).await?;
            merge(&mut router, key, other, has_policy);
        }
        if !router.error.is_empty() {
            router.error.extend(self.middleware_errors(key, &router).await?);
        }
        Ok(Some(facts(key, router, (service, parts), &self.endpoints.borrow())))
    }

    /// The services of a route's tasks, where it has one for each.
    async fn parts(&self, key: &str, service: Option<&ServiceInfo>) -> Result<Vec<ServiceInfo>, ProxyError> {
        let Some(weighted) = service.and_then(|service| service.weighted.as_ref()) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for page in 1..=weighted.services.len().div_ceil(PARTS_PAGE) {
            let path = format!("/http/services?search={key}-t-&per_page={PARTS_PAGE}&page={page}");
            let services: Vec<ServiceInfo> = self.get(&path).await?.unwrap_or_default();
            found.extend(services);
        }
        let is_part = |name: &str| weighted.services.iter().any(|part| name.strip_suffix("@http").unwrap_or(name) == part.name);
        found.retain(|part| is_part(&part.name));
        Ok(found)
    }

    async fn router(&self, name: &str) -> Result<Option<RouterInfo>, ProxyError> {
        self.get::<RouterInfo>(&format!("/http/routers/{name}@http")).await
    }

    /// What the proxy says about the middlewares of a router that has an error.
    async fn middleware_errors(&self, key: &str, router: &RouterInfo) -> Result<Vec<String>, ProxyError> {
        let found: Vec<MiddlewareInfo> = self.get(&format!("/http/middlewares?search={key}-&per_page=100")).await?.unwrap_or_default();
        let of_route = |info: &MiddlewareInfo| info.name.strip_prefix(key).is_some_and(|rest| rest.starts_with('-'));
        let errors =
            found.into_iter().filter(of_route).flat_map(|info| info.error.into_iter().map(move |error| format!("{}: {error}", info.name)));
        Ok(errors.filter(|error| !router.error.iter().any(|known| error.ends_with(known.as_str()))).collect())
    }

    /// Whether the proxy has a router for the host, so that a 404 must be the app's own.
    async fn has_router(&self, host: &Host) -> bool {
        let found = self.get::<Vec<RouterInfo>>(&format!("/http/routers?search={host}&per_page=100")).await;
        let wanted = format!("Host(`{host}`)");
        found.is_ok_and(|found| found.is_some_and(|list| list.iter().any(|router| router.is_enabled() && router.rule.contains(&wanted))))
    }

    async fn ask(&self, edge: SocketAddr, host: &Host, path: &str) -> Result<Answer, String> {
        let ask = async {
            let request = self.client.get(format!("http://{edge}{path}")).header(header::HOST, host.as_str());
            // A connection of its own: the probe is to say what a new client would see.
            let mut response = request.header(header::CONNECTION, "close").send().await.map_err(|error| chain(&error))?;
            let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let (location, page) = (header(header::LOCATION.as_str()), header(PAGE_HEADER));
            let mut body = Vec::new();
            while body.len() < NO_ROUTER.len() + 1 {
                match response.chunk().await {
                    Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                    // The status is the answer; a body that breaks off does not change it.
                    Ok(None) | Err(_) => break,
                }
            }
            let status = response.status();
            let no_route = status == StatusCode::NOT_FOUND && body == NO_ROUTER;
            Ok(Answer { status: status.as_u16(), no_route, location, page })
        };
        let mut answer = timeout(PROBE_TIMEOUT, ask).await.unwrap_or_else(|_| Err("timed out after 2s".to_owned()))?;
        // Only this answer can be either's.
        answer.no_route = answer.no_route && !self.has_router(host).await;
        Ok(answer)
    }

    async fn probe_at(&self, edge: SocketAddr, host: &Host, health_path: Option<&str>) -> ProbeResult {
        let path = health_path.filter(|path| path.starts_with('/')).unwrap_or("/");
        let asked = format!("GET http://{host}{path}");
        match self.ask(edge, host, path).await {
            Ok(answer) => judge(&asked, answer.status, answer.no_route, health_path.is_some()),
            Err(error) => ProbeResult { ok: false, detail: format!("{asked} through the edge failed: {error}") },
        }
    }
}

#[async_trait]
impl ProxyApi for TraefikClient {
    async fn route_facts(&self, key: &str) -> Fact<RouteFacts> {
        match self.read_route(key).await {
            Ok(Some(facts)) => Fact::Known(facts),
            Ok(None) => Fact::Absent,
            Err(error) => {
                tracing::debug!(key, %error, "the proxy could not be asked about a route");
                Fact::Unknown
            }
        }
    }

    async fn route_digests(&self, keys: &[String]) -> Fact<BTreeMap<String, u64>> {
        match self.read_digests(keys).await {
            Ok(digests) => Fact::Known(digests),
            Err(error) => {
                tracing::debug!(%error, "the proxy could not be asked about all routes");
                Fact::Unknown
            }
        }
    }

    async fn overview(&self) -> Result<ProxyOverview, ProxyError> {
        let missing = || ProxyError::Unexpected { what: "/overview".to_owned(), message: "404 Not Found".to_owned() };
        let found: OverviewInfo = self.get("/overview").await?.ok_or_else(missing)?;
        let stamps: Vec<MiddlewareInfo> = self.get(&format!("/http/middlewares?search={REVISION_PREFIX}")).await?.unwrap_or_default();
        let stamp = stamps.iter().filter_map(|info| info.name.strip_suffix("@http")).find(|name| name.starts_with(REVISION_PREFIX));
        Ok(ProxyOverview {
            routers: found.http.routers.total,
            router_errors: found.http.routers.errors,
            services: found.http.services.total,
            service_errors: found.http.services.errors,
            stamp: stamp.map(str::to_owned),
        })
    }

    async fn served_certificate(&self, host: &str) -> Fact<String> {
        let Some(https) = self.https else { return Fact::Absent };
        match handshake::fingerprint(https, host).await {
            Ok(fingerprint) => Fact::Known(fingerprint),
            Err(error) => {
                tracing::debug!(host, error, "the edge could not be asked for a certificate");
                Fact::Unknown
            }
        }
    }

    async fn probe(&self, host: &Host, health_path: Option<&str>) -> ProbeResult {
        self.probe_at(self.edge, host, health_path).await
    }

    async fn probe_route(&self, route: &Route) -> Option<ProbeResult> {
        let host = route.hosts.first()?;
        let path = route.health.as_ref().map(|health| health.path.as_str());
        let gate = gate::of(&route.edge, self.https.is_some());
        let Some(inside) = self.probe.filter(|_| gate.stops_somebody()) else { return Some(self.probe(host, path).await) };
        let mut result = self.probe_at(inside, host, path).await;
        if result.ok {
            let asked = format!("GET http://{host}/");
            match self.ask(self.edge, host, "/").await.and_then(|answer| gate.check(&asked, &answer)) {
                Ok(detail) => result.detail = format!("{}, and {detail}", result.detail),
                Err(detail) => result = ProbeResult { ok: false, detail },
            }
        }
        Some(result)
    }
}

/// Whether an answer says that the app serves. `no_router` is set when the proxy had no route.
fn judge(asked: &str, status: u16, no_router: bool, has_health_path: bool) -> ProbeResult {
    let ok = match status {
        _ if no_router => false,
        // The proxy's own words when no task takes the request, or when one breaks off. An app that says
        // them itself does not serve either.
        502..=504 => false,
        200..=399 => true,
        _ => !has_health_path,
    };
    let detail = match (ok, no_router, status) {
        (_, true, _) => format!("{asked} answered 404: the edge has no route for this host"),
        (_, _, 503) => format!("{asked} answered 503: no task takes requests, or the app says so itself"),
        _ => format!("{asked} answered {status}"),
    };
    ProbeResult { ok, detail }
}

/// Adds what another router of the same route says to the first one. Whatever differs makes the route
/// one that the proxy has not taken whole.
fn merge(router: &mut RouterInfo, key: &str, other: Option<RouterInfo>, has_policy: bool) {
    let Some(other) = other else {
        router.rule.clear();
        return;
    };
    let same_policy = !has_policy || policy::marker_of(key, &other.middlewares) == policy::marker_of(key, &router.middlewares);
    if other.rule != router.rule || !same_policy {
        router.rule.clear();
    }
    if !other.is_enabled() && router.is_enabled() {
        router.status.clone_from(&other.status);
    }
    router.error.extend(other.error.into_iter().filter(|error| !router.error.contains(error)).collect::<Vec<_>>());
}

/// Notes which task a part of a route is, and what the proxy finds wrong with it.
fn add_part(part: ServiceInfo, table: &EndpointTable, servers: &mut BTreeSet<Backend>, down: &mut BTreeSet<Backend>) -> Vec<String> {
    let name = part.name.strip_suffix("@http").unwrap_or(&part.name);
    let mut errors = part.error;
    if part.status != "enabled" && errors.is_empty() {
        errors.push(format!("the service {name} is {}", part.status));
    }
    let Some(task) = nodes::part_of(name).map(|(_, task)| task) else { return errors };
    // One that the table has no more is on its way out of the document; whose it was is no longer known.
    let gone = || Backend { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), node: Some(task.to_owned()) };
    let backend = table.endpoints.get(task).map_or_else(gone, Endpoint::backend);
    if part.server_status.values().any(|status| status != "UP") {
        down.insert(backend.clone());
    }
    servers.insert(backend);
    errors
}

fn facts(key: &str, router: RouterInfo, (service, parts): (Option<ServiceInfo>, Vec<ServiceInfo>), table: &EndpointTable) -> RouteFacts {
    let mut errors = router.error.clone();
    if !router.is_enabled() && errors.is_empty() {
        errors.push(format!("the router is {}", router.status));
    }
    let mut servers = BTreeSet::new();
    let mut down = BTreeSet::new();
    match service {
        None => errors.push("the router has no service".to_owned()),
        Some(service) => {
            if service.status != "enabled" && service.error.is_empty() {
                errors.push(format!("the service is {}", service.status));
            }
            errors.extend(service.error);
            for server in service.load_balancer.unwrap_or_default().servers {
                match address(&server.url) {
                    Some(address) => servers.insert(Backend::from(address)),
                    None => {
                        errors.push(format!("the proxy has a backend {:?}", server.url));
                        continue;
                    }
                };
            }
            let bad = service.server_status.iter().filter(|(_, status)| *status != "UP");
            down.extend(bad.filter_map(|(url, _)| address(url)).map(Backend::from));
        }
    }
    for part in parts {
        errors.extend(add_part(part, table, &mut servers, &mut down));
    }
    let behind = |server: &Backend| table.endpoints.values().find(|endpoint| endpoint.backend() == *server);
    let releases: BTreeSet<String> = servers.iter().filter_map(behind).map(|endpoint| endpoint.release.clone()).collect();
    RouteFacts {
        policy: policy::marker_of(key, &router.middlewares),
        rule: router.rule,
        error: (!errors.is_empty()).then(|| errors.join("; ")),
        servers: servers.into_iter().collect(),
        down: down.into_iter().collect(),
        releases: releases.into_iter().collect(),
        probe: None,
    }
}

fn address(url: &str) -> Option<SocketAddr> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("h2c://"))?;
    rest.trim_end_matches('/').parse().ok()
}

/// Where a listener on all addresses is reached from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The innermost cause says what happened ("connection refused").
fn chain(error: &dyn std::error::Error) -> String {
    let mut last = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        last = next.to_string();
        cause = next.source();
    }
    last
}

#[derive(Debug, Clone, Deserialize)]
struct RouterInfo {
    #[serde(default)]
    rule: String,
    #[serde(default)]
    middlewares: Vec<String>,
    #[serde(default)]
    status: String,
    #[serde(default)]
    error: Vec<String>,
}

impl RouterInfo {
    fn is_enabled(&self) -> bool {
        self.status == "enabled"
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceInfo {
    #[serde(default)]
    name: String,
    #[serde(default)]
    weighted: Option<WeightedInfo>,
    #[serde(default)]
    status: String,
    #[serde(default)]
    error: Vec<String>,
    #[serde(default)]
    load_balancer: Option<LoadBalancerInfo>,
    #[serde(default)]
    server_status: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
struct WeightedInfo {
    #[serde(default)]
    services: Vec<PartInfo>,
}

#[derive(Debug, Clone, Deserialize)]
struct PartInfo {
    name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct LoadBalancerInfo {
    #[serde(default)]
    servers: Vec<ServerInfo>,
}

#[derive(Debug, Clone, Deserialize)]
struct ServerInfo {
    #[serde(default)]
    url: String,
}

#[derive(Debug, Deserialize)]
struct OverviewInfo {
    http: OverviewHttp,
}

#[derive(Debug, Deserialize)]
struct OverviewHttp {
    routers: Counts,
    services: Counts,
}

#[derive(Debug, Deserialize)]
struct Counts {
    total: u64,
    #[serde(default)]
    errors: u64,
}

#[derive(Debug, Deserialize)]
struct MiddlewareInfo {
    name: String,
    #[serde(default)]
    error: Vec<String>,
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
