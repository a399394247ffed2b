//! Traefik's dynamic configuration, as far as it is used: types that serialise, nothing else.

use std::collections::BTreeMap;

use serde::Serialize;

// Traefik refuses empty maps ("standalone element"), so an empty map or list is left out everywhere.

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Configuration {
    pub(super) http: Http,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tcp: Option<Tcp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<Tls>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Http {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) routers: BTreeMap<String, Router>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) services: BTreeMap<String, Service>,
    pub(super) middlewares: BTreeMap<String, Middleware>,
    pub(super) servers_transports: BTreeMap<String, ServersTransport>,
}

/// Certificates, each inline as PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Tls {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) certificates: Vec<Certificate>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) stores: BTreeMap<String, CertificateStore>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) options: BTreeMap<String, TlsOptions>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TlsOptions {
    pub(super) min_version: &'static str,
    pub(super) alpn_protocols: Vec<&'static str>,
    pub(super) client_auth: ClientAuth,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientAuth {
    pub(super) ca_files: Vec<String>,
    pub(super) client_auth_type: &'static str,
}

/// Connections that are passed on as they are, once TLS is off.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct Tcp {
    pub(super) routers: BTreeMap<String, TcpRouter>,
    pub(super) services: BTreeMap<String, TcpService>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TcpRouter {
    pub(super) rule: String,
    pub(super) entry_points: Vec<String>,
    pub(super) service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) priority: Option<u32>,
    pub(super) tls: TcpRouterTls,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct TcpRouterTls {
    pub(super) options: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TcpService {
    pub(super) load_balancer: TcpLoadBalancer,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct TcpLoadBalancer {
    pub(super) servers: Vec<TcpServer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct TcpServer {
    pub(super) address: String,
}

/// A certificate and its key. Its `Debug` shows neither.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Certificate {
    pub(super) cert_file: String,
    pub(super) key_file: String,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(…)")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CertificateStore {
    pub(super) default_certificate: Certificate,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Router {
    pub(super) rule: String,
    pub(super) entry_points: Vec<String>,
    pub(super) service: String,
    pub(super) middlewares: Vec<String>,
    /// Present on routers that take TLS connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<RouterTls>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RouterTls {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Service {
    LoadBalancer(LoadBalancer),
    Weighted(Weighted),
}

/// Several services as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Weighted {
    pub(super) services: Vec<WeightedService>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sticky: Option<Sticky>,
    /// Present when a part that its own check finds down is to get nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) health_check: Option<PartCheck>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct WeightedService {
    pub(super) name: String,
    pub(super) weight: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct PartCheck {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LoadBalancer {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) servers: Vec<Server>,
    pub(super) pass_host_header: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) health_check: Option<ProxyHealthCheck>,
    pub(super) servers_transport: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sticky: Option<Sticky>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Sticky {
    pub(super) cookie: Cookie,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cookie {
    pub(super) name: String,
    pub(super) secure: bool,
    pub(super) http_only: bool,
    pub(super) same_site: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Server {
    pub(super) url: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProxyHealthCheck {
    pub(super) path: String,
    pub(super) interval: String,
    pub(super) unhealthy_interval: String,
    pub(super) timeout: String,
    pub(super) follow_redirects: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Middleware {
    Retry(Retry),
    Headers(Headers),
    Chain(Chain),
    IpAllowList(IpAllowList),
    BasicAuth(BasicAuth),
    Buffering(Buffering),
    RedirectScheme(RedirectScheme),
    ReplacePath(ReplacePath),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Chain {
    pub(super) middlewares: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IpAllowList {
    pub(super) source_range: Vec<String>,
}

/// Its `Debug` shows no hash.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BasicAuth {
    /// `name:hash`.
    pub(super) users: Vec<String>,
    pub(super) realm: String,
    pub(super) remove_header: bool,
}

impl std::fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BasicAuth({} users)", self.users.len())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Buffering {
    pub(super) max_request_body_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RedirectScheme {
    pub(super) scheme: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<String>,
    pub(super) permanent: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ReplacePath {
    pub(super) path: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Retry {
    pub(super) attempts: u32,
    pub(super) initial_interval: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Headers {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) custom_request_headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sts_seconds: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) sts_include_subdomains: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) sts_preload: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServersTransport {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_name: Option<String>,
    #[serde(rename = "rootCAs", skip_serializing_if = "Vec::is_empty")]
    pub(super) root_cas: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) certificates: Vec<Certificate>,
    #[serde(rename = "disableHTTP2", skip_serializing_if = "std::ops::Not::not")]
    pub(super) disable_http2: bool,
    pub(super) forwarding_timeouts: ForwardingTimeouts,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ForwardingTimeouts {
    pub(super) dial_timeout: String,
    pub(super) idle_conn_timeout: String,
}
