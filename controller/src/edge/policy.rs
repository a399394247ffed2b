//! `spec.edge` of an app to Traefik middlewares. Pure.
//!
//! Order, from the client inwards: HSTS, allow list, redirect to HTTPS, maintenance page, basic
//! authentication, body limit, retry. An address that is not allowed learns nothing but 403; a password is
//! asked for only where it is not sent in the clear, if the app redirects.
//!
//! What cannot be done as asked is closed, not open: without the hash of a password every request is
//! answered with 503.

use std::collections::BTreeMap;

use api_types::kinds::edge::EdgeSpec;

use super::dynamic::{BasicAuth, Buffering, Chain, Headers, IpAllowList, Middleware, RedirectScheme, ReplacePath};
use super::inputs::{Passwords, sha256_hex};
use super::{Route, responder};

/// Name of the middleware that tries again when no connection comes about.
pub(super) const RETRY: &str = "retry";
/// Name of the middleware that redirects to HTTPS.
pub(super) const REDIRECT: &str = "redirect-https";
const SECONDS_A_DAY: u64 = 86_400;

/// First 16 hex digits of the hash of what an app asks of the edge; `None` when it asks for nothing. The
/// chain of its router is named after it, so that the proxy's listing tells which version it runs.
pub fn marker(edge: &EdgeSpec) -> Option<String> {
    if edge.is_empty() {
        return None;
    }
    // Serialising strings, numbers and ordered maps cannot fail.
    let text = serde_json::to_vec(edge).unwrap_or_default();
    Some(sha256_hex(&text).chars().take(16).collect())
}

/// What the middlewares of one route are made from.
pub(super) struct PolicyInput<'a> {
    pub(super) route: &'a Route,
    pub(super) passwords: &'a Passwords,
    /// Whether the edge has an HTTPS entry point.
    pub(super) https: bool,
}

/// What a router of a route does.
pub(super) struct Policy {
    /// Names of the router's middlewares.
    pub(super) middlewares: Vec<String>,
    /// Whether our own responder answers, and not the app.
    pub(super) answered_by_us: bool,
}

impl PolicyInput<'_> {
    /// Makes the middlewares of the route's router for plain or TLS connections, and adds them to `all`.
    pub(super) fn render(&self, tls: bool, all: &mut BTreeMap<String, Middleware>) -> Policy {
        let edge = &self.route.edge;
        let Some(marker) = marker(edge) else {
            return Policy { middlewares: vec![RETRY.to_owned()], answered_by_us: false };
        };
        let key = self.route.key();
        let mut chain = Vec::new();
        let mut add = |word: &str, middleware: Middleware| {
            let name = format!("{key}-{word}");
            all.insert(name.clone(), middleware);
            chain.push(name);
        };
        if tls && let Some(hsts) = edge.https.as_ref().and_then(|https| https.hsts.as_ref()) {
            let headers = Headers {
                sts_seconds: Some(u64::from(hsts.max_age_days) * SECONDS_A_DAY),
                sts_include_subdomains: hsts.include_subdomains,
                sts_preload: hsts.preload,
                ..Headers::default()
            };
            add("hsts", Middleware::Headers(headers));
        }
        if !edge.allow_from.is_empty() {
            let source_range = edge.allow_from.iter().map(ToString::to_string).collect();
            add("allow", Middleware::IpAllowList(IpAllowList { source_range }));
        }
        let answered_by_us = if !tls && self.https && edge.redirects() {
            chain.push(REDIRECT.to_owned());
            false
        } else {
            self.inner(&mut add)
        };
        chain.push(RETRY.to_owned());
        let name = chain_name(&key, tls, &marker);
        all.insert(name.clone(), Middleware::Chain(Chain { middlewares: chain }));
        Policy { middlewares: vec![name], answered_by_us }
    }

    /// What comes behind allow list and redirect. Whether our own responder answers.
    fn inner(&self, add: &mut impl FnMut(&str, Middleware)) -> bool {
        let edge = &self.route.edge;
        let page = |path: String| Middleware::ReplacePath(ReplacePath { path });
        if edge.maintenance().is_some() {
            add("page", page(responder::maintenance_path(&self.route.key())));
            return true;
        }
        if let Some(auth) = &edge.basic_auth {
            let user = |(name, user): (&api_types::kinds::edge::UserName, &api_types::kinds::edge::BasicAuthUser)| {
                Some(format!("{name}:{}", self.passwords.get(self.route.app_uid, user.password_version)?))
            };
            match auth.users.iter().map(user).collect::<Option<Vec<String>>>() {
                Some(users) if !users.is_empty() => {
                    let realm = self.route.app.to_string();
                    add("auth", Middleware::BasicAuth(BasicAuth { users, realm, remove_header: true }));
                }
                _ => {
                    add("closed", page(responder::CLOSED_PATH.to_owned()));
                    return true;
                }
            }
        }
        if let Some(most) = edge.max_request_body {
            add("limit", Middleware::Buffering(Buffering { max_request_body_bytes: most.bytes() }));
        }
        false
    }
}

/// Name of a router's chain.
pub(super) fn chain_name(key: &str, tls: bool, marker: &str) -> String {
    format!("{key}-{}{marker}", if tls { "tls-" } else { "" })
}

/// The marker in the middlewares of a router, as the proxy lists them; `None` for a router that does
/// nothing but retry.
pub fn marker_of(key: &str, middlewares: &[String]) -> Option<String> {
    let of_chain = |name: &String| {
        let rest = name.strip_suffix("@http").unwrap_or(name).strip_prefix(key)?.strip_prefix('-')?;
        Some(rest.strip_prefix("tls-").unwrap_or(rest).to_owned())
    };
    middlewares.iter().find_map(of_chain)
}

/// The middleware that sends clients to HTTPS on a port.
pub(super) fn redirect(port: u16) -> Middleware {
    Middleware::RedirectScheme(RedirectScheme { scheme: "https", port: (port != 443).then(|| port.to_string()), permanent: true })
}
