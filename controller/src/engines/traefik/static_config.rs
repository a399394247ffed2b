//! Traefik's static configuration. Pure.
//!
//! It goes into a file of mode 0600 and not onto the command line, because it holds the internal token
//! and every user of a machine can read command lines.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::binary::Version;
use crate::edge::nodes::ENTRY_POINT;
use crate::edge::provider;

/// How Traefik is to run.
#[derive(Debug, Clone)]
pub struct TraefikConfig {
    /// The program; looked up in `PATH` when absent.
    pub binary: Option<PathBuf>,
    /// Folder for its configuration and pid file; made when absent.
    pub data_dir: PathBuf,
    /// Where apps are reached by HTTP.
    pub edge_http: SocketAddr,
    /// Where apps are reached by HTTPS.
    pub edge_https: Option<SocketAddr>,
    /// Where our own requests to apps go, on loopback; nowhere when absent.
    pub edge_probe: Option<SocketAddr>,
    /// Where edges of other nodes connect; nowhere when absent.
    pub edge_nodes: Option<SocketAddr>,
    /// Its API; must be a loopback address, since the API has no password.
    pub api: SocketAddr,
    /// Address of the provider, such as `http://127.0.0.1:7080`; the path is added.
    pub provider_url: String,
    /// The internal token.
    pub provider_token: SecretString,
    /// Time between two polls. Polls are mostly held by the provider, so a short time costs little.
    pub poll_interval: Duration,
    /// Least time between two changes of its configuration.
    pub throttle: Duration,
    /// Longest time for reading a request with its body; bounds uploads and slow clients alike.
    pub read_timeout: Duration,
    /// How long requests may go on after it was told to stop.
    pub grace: Duration,
}

impl TraefikConfig {
    /// The usual values.
    pub fn new(data_dir: PathBuf, edge_http: SocketAddr, api: SocketAddr, provider_url: String, provider_token: SecretString) -> Self {
        Self {
            binary: None,
            data_dir,
            edge_http,
            edge_https: None,
            edge_probe: None,
            edge_nodes: None,
            api,
            provider_url,
            provider_token,
            poll_interval: Duration::from_millis(100),
            throttle: Duration::from_millis(100),
            read_timeout: Duration::from_secs(600),
            grace: Duration::from_secs(8),
        }
    }
}

/// First version that knows `aliasHeadersStrategy`, as far as it was tried. Older ones refuse a
/// configuration with a key that they do not know.
const ALIAS_HEADERS_SINCE: Version = Version(3, 7, 15);

/// Name of the entry point for HTTPS. Its routers say that they take TLS connections.
pub const HTTPS: &str = "websecure";
/// Name of the entry point for our own requests.
pub const PROBE: &str = "probe";

/// Renders the configuration as JSON, which Traefik reads as YAML. `instance` names this start.
pub fn render(config: &TraefikConfig, version: Version, instance: &str) -> Value {
    let mut entry_points = json!({
        "web": entry_point(config, config.edge_http, version),
        // The name that Traefik gives its own entry point for the API and for pings.
        "traefik": { "address": config.api.to_string() },
    });
    if let Some(https) = config.edge_https {
        entry_points[HTTPS] = entry_point(config, https, version);
    }
    if let Some(probe) = config.edge_probe {
        entry_points[PROBE] = json!({ "address": probe.to_string() });
    }
    if let Some(nodes) = config.edge_nodes {
        entry_points[ENTRY_POINT] = entry_point(config, nodes, version);
    }
    json!({
        "global": { "checkNewVersion": false, "sendAnonymousUsage": false },
        "log": { "level": "WARN", "format": "json" },
        "api": { "insecure": true, "dashboard": false },
        "ping": {},
        "entryPoints": entry_points,
        "providers": {
            "providersThrottleDuration": millis(config.throttle),
            "http": {
                "endpoint": format!("{}{}", config.provider_url.trim_end_matches('/'), provider::PATH),
                "pollInterval": millis(config.poll_interval),
                // Longer than the provider ever holds an answer back.
                "pollTimeout": "60s",
                "headers": {
                    provider::TOKEN_HEADER: config.provider_token.expose_secret(),
                    provider::PROXY_HEADER: instance,
                },
            },
        },
    })
}

fn entry_point(config: &TraefikConfig, address: SocketAddr, version: Version) -> Value {
    let mut point = json!({
        "address": address.to_string(),
        "transport": {
            "lifeCycle": { "graceTimeOut": millis(config.grace) },
            "respondingTimeouts": {
                "readTimeout": millis(config.read_timeout),
                // None: downloads, streams and server-sent events last as long as they last.
                "writeTimeout": "0s",
                "idleTimeout": "180s",
            },
        },
    });
    if version >= ALIAS_HEADERS_SINCE {
        // `X_Forwarded_For` and its like become `X-Forwarded-For` in CGI and WSGI apps: clients could forge it.
        point["http"] = json!({ "aliasHeadersStrategy": "delete" });
    }
    point
}

fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_configuration() {
        let mut config = TraefikConfig::new(
            PathBuf::from("/var/lib/skyswarm/traefik"),
            "0.0.0.0:80".parse().expect("an address"),
            "127.0.0.1:7081".parse().expect("an address"),
            "http://127.0.0.1:7080/".to_owned(),
            SecretString::from("token"),
        );
        config.edge_https = Some("[::]:443".parse().expect("an address"));
        config.edge_probe = Some("127.0.0.1:7082".parse().expect("an address"));
        insta::assert_json_snapshot!("newest", render(&config, Version(3, 7, 15), "start-1"));
        let old = render(&config, Version(3, 0, 0), "start-1");
        assert!(!old.to_string().contains("aliasHeaders"), "an older Traefik would refuse to start");
        assert!(!format!("{config:?}").contains("\"token\""), "the token must not be printed");
    }
}
