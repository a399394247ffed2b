//! What the edge does with requests before they reach an app: `spec.edge` of an app.
//!
//! Every string here ends up in the proxy's configuration, so each is a newtype that can hold nothing but
//! what it is for. Nothing of it restarts a task.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::HumanDuration;
use crate::name::{ParseError, excerpt, string_newtype};
use crate::quantity::ByteSize;
use crate::secret::SecretValue;

/// Most users of one app's basic authentication.
pub const MAX_USERS: usize = 50;
/// Most address ranges of one app's allow list.
pub const MAX_RANGES: usize = 200;
/// Longest text of a maintenance page, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1000;
/// Longest maintenance page of an app's own, in bytes.
pub const MAX_PAGE_BYTES: usize = 64 * 1024;
/// Name of the cookie for sticky sessions, when the app names none.
pub const DEFAULT_COOKIE: &str = "skyswarm_task";

/// What the edge does with requests before they reach the app.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EdgeSpec {
    /// HTTPS: redirect and HSTS. Certificates are the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<HttpsSpec>,
    /// Ask for a user name and a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuthSpec>,
    /// Address ranges of clients that are let in; everybody when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_from: Vec<Cidr>,
    /// Largest body of a request; a larger one is answered with 413. With a limit, bodies of requests and
    /// answers are read completely before they are passed on, so nothing is streamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_request_body: Option<ByteSize>,
    /// Send a client's requests to the same task, by a cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickySpec>,
    /// Answer every request with a maintenance page. Tasks run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceSpec>,
}

impl EdgeSpec {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The maintenance page, when it is switched on.
    pub fn maintenance(&self) -> Option<&MaintenanceSpec> {
        self.maintenance.as_ref().filter(|page| page.enabled)
    }

    /// Whether plain HTTP is redirected, where the edge has HTTPS.
    pub fn redirects(&self) -> bool {
        self.https.as_ref().is_some_and(|https| https.redirect)
    }

    /// What is asked for, in the words of a plan.
    pub fn words(&self) -> Vec<String> {
        let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let hsts = self.https.as_ref().and_then(|https| https.hsts.as_ref());
        [
            self.maintenance().map(|_| "a maintenance page".to_owned()),
            self.redirects().then(|| "redirect to HTTPS".to_owned()),
            hsts.map(|hsts| format!("HSTS for {}", count(hsts.max_age_days as usize, "day"))),
            self.basic_auth.as_ref().map(|auth| format!("basic authentication ({})", count(auth.users.len(), "user"))),
            (!self.allow_from.is_empty()).then(|| format!("an allow list ({})", count(self.allow_from.len(), "range"))),
            self.max_request_body.map(|most| format!("bodies of at most {most}")),
            self.sticky.as_ref().map(|_| "sticky sessions".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Forgets the passwords; versions stay.
    pub fn forget_passwords(&mut self) {
        for user in self.basic_auth.iter_mut().flat_map(|auth| auth.users.values_mut()) {
            user.password = None;
        }
    }
}

/// HTTPS of an app.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpsSpec {
    /// Send clients that come by plain HTTP to HTTPS.
    #[serde(default)]
    pub redirect: bool,
    /// Tell browsers to use HTTPS only, from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts: Option<HstsSpec>,
}

/// HTTP Strict Transport Security (RFC 6797).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HstsSpec {
    /// How long browsers remember it, in days. It cannot be taken back before; begin with a few.
    #[serde(default = "default_hsts_days")]
    #[schemars(range(max = 3650))]
    pub max_age_days: u32,
    /// Also for all subdomains.
    #[serde(default)]
    pub include_subdomains: bool,
    /// Allow the browsers' makers to build the host in.
    #[serde(default)]
    pub preload: bool,
}

/// Basic authentication (RFC 7617).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuthSpec {
    /// Who is let in, by name.
    pub users: BTreeMap<UserName, BasicAuthUser>,
}

/// One user of basic authentication.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuthUser {
    /// The password, or its hash as htpasswd writes it (bcrypt with a cost of at most 8, or apr1).
    /// Write-only: reading shows `null`, and `null` keeps what is stored. Only a hash is stored.
    #[serde(default)]
    pub password: Option<SecretValue>,
    /// Set by the server: counts changes of the app's secrets.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub password_version: i64,
}

/// Sticky sessions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StickySpec {
    /// Name of the cookie (`skyswarm_task`). It is `HttpOnly`, `SameSite=Lax`, and `Secure` when plain
    /// HTTP is redirected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieName>,
}

impl StickySpec {
    /// Name of the cookie in force.
    pub fn cookie_name(&self) -> &str {
        self.cookie.as_ref().map_or(DEFAULT_COOKIE, CookieName::as_str)
    }
}

/// A maintenance page: status 503 with `Retry-After`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MaintenanceSpec {
    /// Whether it is on; `false` keeps the page in the manifest for the next time.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Text on the platform's own page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub message: Option<String>,
    /// A whole page of HTML, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub html: Option<String>,
    /// When clients should come back.
    #[serde(default = "default_retry_after")]
    pub retry_after: HumanDuration,
}

impl Default for MaintenanceSpec {
    fn default() -> Self {
        Self { enabled: true, message: None, html: None, retry_after: default_retry_after() }
    }
}

/// What a process speaks on its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1, with upgrades such as websockets.
    #[default]
    Http,
    /// HTTP/2 without TLS, as gRPC servers speak it.
    H2c,
}

impl Protocol {
    /// Whether it is what a process speaks when nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
    /// The scheme in a backend's URL.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
        }
    }
}

const fn default_hsts_days() -> u32 {
    365
}
const fn default_retry_after() -> HumanDuration {
    HumanDuration::from_secs(300)
}
const fn yes() -> bool {
    true
}
const fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn check_user(text: &str) -> Result<(), ParseError> {
    // A colon would end the name in the proxy's list, and in the client's header.
    let ok = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b));
    if ok {
        return Ok(());
    }
    Err(ParseError::new(format!("a user name must be 1 to 64 letters, digits, '.', '_', '@' or '-'; \"{}\" is not", excerpt(text))))
}

fn check_cookie(text: &str) -> Result<(), ParseError> {
    let ok = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if ok {
        return Ok(());
    }
    Err(ParseError::new(format!("a cookie's name must be 1 to 64 letters, digits, '_' or '-'; \"{}\" is not", excerpt(text))))
}

fn check_cidr(text: &str) -> Result<(), ParseError> {
    let err = |why: String| Err(ParseError::new(format!("an address range looks like \"192.0.2.0/24\" or \"2001:db8::/32\"; {why}")));
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(ip) = address.parse::<IpAddr>() else { return err(format!("\"{}\" does not", excerpt(text))) };
    let most: u32 = if ip.is_ipv4() { 32 } else { 128 };
    let digits = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    let bits = match length {
        None => most,
        Some(length) => match length.parse::<u32>() {
            Ok(bits) if digits(length) && bits <= most => bits,
            _ => return err(format!("the length after \"/\" must be a number from 0 to {most}, not \"{}\"", excerpt(length))),
        },
    };
    let network = masked(ip, bits);
    if network == ip { Ok(()) } else { err(format!("\"{}\" has bits beyond its length; write \"{network}/{bits}\"", excerpt(text))) }
}

/// The address with everything beyond the first `bits` cleared.
fn masked(ip: IpAddr, bits: u32) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - bits).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - bits).unwrap_or(0)).into()),
    }
}

string_newtype!(
    /// Name of a user of basic authentication.
    UserName, check = check_user, pattern = "^[A-Za-z0-9._@-]+$", max = 64, example = "ana"
);
string_newtype!(
    /// Name of a cookie.
    CookieName, check = check_cookie, pattern = "^[A-Za-z0-9_-]+$", max = 64, example = "session_task"
);
string_newtype!(
    /// A range of IP addresses, or one address.
    Cidr, check = check_cidr, pattern = "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$", max = 49, example = "192.0.2.0/24"
);

/// Highest cost of a bcrypt hash that is accepted. The proxy computes one hash for each request, for all
/// tenants on the same cores: cost 8 is about 15 ms, cost 12 would be a quarter of a second.
pub const MAX_BCRYPT_COST: u32 = 8;

/// Whether a text is a password hash as htpasswd writes it, or an error that says why it cannot be used;
/// `None` for a plain password.
pub fn password_hash(text: &str) -> Option<Result<(), String>> {
    let is_base64 = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/');
    if let Some(rest) = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| text.strip_prefix(prefix)) {
        let Some((cost, digest)) = rest.split_once('$') else { return Some(Err("the bcrypt hash is cut off".to_owned())) };
        return Some(match u32::from_str(cost) {
            Ok(4..=MAX_BCRYPT_COST) if cost.len() == 2 && digest.len() == 53 && is_base64(digest) => Ok(()),
            Ok(cost) if cost > MAX_BCRYPT_COST => Err(format!(
                "a bcrypt cost of {cost} is too high: the proxy computes it for every request; at most {MAX_BCRYPT_COST} (htpasswd -B -C {MAX_BCRYPT_COST})"
            )),
            _ => Err("this is no whole bcrypt hash".to_owned()),
        });
    }
    let rest = text.strip_prefix("$apr1$")?;
    let whole = rest
        .split_once('$')
        .is_some_and(|(salt, digest)| (1..=8).contains(&salt.len()) && digest.len() == 22 && is_base64(salt) && is_base64(digest));
    Some(if whole { Ok(()) } else { Err("this is no whole apr1 hash".to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_networks_and_nothing_else() {
        for good in ["10.0.0.0/8", "192.0.2.7", "192.0.2.7/32", "0.0.0.0/0", "2001:db8::/32", "::1", "::/0"] {
            assert!(good.parse::<Cidr>().is_ok(), "{good}");
        }
        for bad in
            ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "a", "10.0.0.0/8,::/0", "10.0.0.0 /8", "fe80::1%eth0", "::/129"]
        {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        let message = "10.1.2.3/8".parse::<Cidr>().expect_err("has more bits").to_string();
        assert!(message.ends_with("write \"10.0.0.0/8\""), "{message}");
    }

    #[test]
    fn names_cannot_end_what_they_stand_in() {
        for bad in ["", "a:b", "a b", "a\n", "a`", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<UserName>().is_err(), "{bad}");
            assert!(bad.parse::<CookieName>().is_err(), "{bad}");
        }
        assert!("ana@example.com".parse::<UserName>().is_ok());
        assert!("a;Path=/".parse::<CookieName>().is_err());
    }

    #[test]
    fn hashes_are_told_from_passwords_and_costly_ones_refused() {
        let bcrypt = "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC";
        assert_eq!(password_hash(bcrypt), Some(Ok(())));
        assert!(password_hash(&bcrypt.replace("$05$", "$12$")).is_some_and(|found| found.is_err_and(|why| why.contains("too high"))));
        for broken in ["$2y$05$short", "$2b$", "$2y$5$x", "$apr1$abc", "$apr1$a:b$0123456789012345678901"] {
            assert!(password_hash(broken).is_some_and(|found| found.is_err()), "{broken}");
        }
        assert_eq!(password_hash("$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00"), Some(Ok(())));
        assert_eq!(password_hash("hunter2"), None);
    }

    #[test]
    fn passwords_are_never_written_and_versions_are() {
        let spec: EdgeSpec =
            serde_json::from_value(serde_json::json!({"basicAuth": {"users": {"ana": {"password": "hunter2"}}}})).expect("valid");
        let text = serde_json::to_string(&spec).expect("serialises");
        assert_eq!(text, r#"{"basicAuth":{"users":{"ana":{"password":null}}}}"#);
        assert!(!format!("{spec:?}").contains("hunter2"));
    }
}
