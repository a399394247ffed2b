//! Paths of the API, all in one place.

use api_types::{Kind, OrgName};

/// Who the token is.
pub const WHOAMI: &str = "/v1/whoami";
/// The platform at a glance.
pub const STATUS: &str = "/v1/status";
/// Which parts of the server answer; needs no token.
pub const READY: &str = "/readyz";
/// Version of the server.
pub const VERSION: &str = "/version";
/// Where manifests are applied; apps and domains name their organisation.
pub const APPLY: &str = "/v1/apply";
/// Manifests for services that run already.
pub const DRAFTS: &str = "/v1/drafts";
/// Tokens that nodes join with.
pub const JOIN_TOKENS: &str = "/v1/join-tokens";
/// Platform settings.
pub const SETTINGS: &str = "/v1/settings";

/// Objects of a kind.
pub fn list(kind: Kind, org: &OrgName) -> String {
    if kind.is_namespaced() { format!("/v1/orgs/{org}/{}", kind.plural()) } else { format!("/v1/{}", kind.plural()) }
}

/// One object.
pub fn object(kind: Kind, org: &OrgName, name: &str) -> String {
    format!("{}/{}", list(kind, org), segment(name))
}

/// A sub-resource of an app.
pub fn app(org: &OrgName, name: &str, sub: &str) -> String {
    format!("{}/{sub}", object(Kind::App, org, name))
}

/// Events of an organisation.
pub fn events(org: &OrgName) -> String {
    format!("/v1/orgs/{org}/events")
}

/// Tokens of an organisation, or of the platform.
pub fn tokens(org: Option<&OrgName>) -> String {
    org.map_or_else(|| "/v1/tokens".to_owned(), |org| format!("/v1/orgs/{org}/tokens"))
}

/// What tasks of an organisation use.
pub fn usage(org: &OrgName) -> String {
    format!("/v1/orgs/{org}/usage")
}

/// A name as one segment of a path, whatever the user typed.
fn segment(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') || (byte == b'.' && name.bytes().any(|b| b != b'.')) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
