//! Newtypes for the names that users give. Parsing is the only constructor.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Why a string was refused; says what was expected so that it can be shown to a person as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

impl ParseError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Declares a string newtype: a checking `FromStr`, serde through it, and a schema with a pattern.
macro_rules! string_newtype {
    ($(#[$doc:meta])* $name:ident, check = $check:path, pattern = $pattern:expr, max = $max:expr, example = $example:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The checked text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = $crate::name::ParseError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $check(text).map(|()| Self(text.to_owned()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = $crate::name::ParseError;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                $check(&text).map(|()| Self(text))
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "maxLength": $max,
                    "examples": [$example],
                })
            }
        }
    };
}

pub(crate) use string_newtype;

/// Longest organisation and app name. Swarm refuses service names over 63 bytes; a service is named
/// `<app>-<uid8>-<process>-<hash7>`, which leaves 30 for the app and 15 for the process.
pub const MAX_NAME: usize = 30;
/// Longest process name, see [`MAX_NAME`].
pub const MAX_PROCESS: usize = 15;
/// Longest name of a certificate.
pub const MAX_CERTIFICATE: usize = 63;
/// Longest environment key.
pub const MAX_ENV_KEY: usize = 128;

fn check_label(what: &str, text: &str, max: usize) -> Result<(), ParseError> {
    let expected = format!("{what} must be 1 to {max} lower-case letters, digits or '-', start with a letter and not end with '-'");
    let ok = !text.is_empty()
        && text.len() <= max
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        // "--" would make `<app>-<org>` subdomains look like punycode ("xn--").
        && !text.contains("--");
    if ok { Ok(()) } else { Err(ParseError::new(format!("{expected}; \"{}\" is not", excerpt(text)))) }
}

/// A short, printable form of user text for error messages.
pub(crate) fn excerpt(text: &str) -> String {
    let mut out: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().count() > 60 {
        out.push('…');
    }
    out
}

fn check_org(text: &str) -> Result<(), ParseError> {
    check_label("an organization name", text, MAX_NAME)
}
fn check_app(text: &str) -> Result<(), ParseError> {
    check_label("an app name", text, MAX_NAME)
}
fn check_certificate(text: &str) -> Result<(), ParseError> {
    check_label("a certificate name", text, MAX_CERTIFICATE)
}
fn check_process(text: &str) -> Result<(), ParseError> {
    check_label("a process name", text, MAX_PROCESS)
}

fn check_env_key(text: &str) -> Result<(), ParseError> {
    let ok = text.len() <= MAX_ENV_KEY
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if ok {
        Ok(())
    } else {
        Err(ParseError::new(format!(
            "an environment key must be 1 to {MAX_ENV_KEY} letters, digits or '_' and not start with a digit; \"{}\" is not",
            excerpt(text)
        )))
    }
}

/// Checks a DNS host name: labels of letters, digits and hyphens, at least two of them, at most 253
/// bytes, lower case only (`IDNA` names in their `xn--` form).
///
/// Nothing else may ever reach a routing rule: a backtick or a parenthesis in a host value would
/// change the rule's meaning (CVE-2026-32695).
fn check_host(text: &str) -> Result<(), ParseError> {
    let labels: Vec<&str> = text.split('.').collect();
    let label_ok = |label: &&str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let numeric_tld = labels.last().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if text.len() <= 253 && labels.len() >= 2 && labels.iter().all(label_ok) && !numeric_tld {
        Ok(())
    } else {
        let lower = text.to_ascii_lowercase();
        let hint = if lower != text && check_host(&lower).is_ok() {
            format!("; write it in lower case: \"{lower}\"")
        } else if !text.is_ascii() {
            "; write an internationalised name in its xn-- form".to_owned()
        } else {
            String::new()
        };
        Err(ParseError::new(format!(
            "a host must be a lower-case DNS name such as \"shop.example.com\"; \"{}\" is not{hint}",
            excerpt(text)
        )))
    }
}

fn check_label_key(text: &str) -> Result<(), ParseError> {
    let ok = !text.is_empty()
        && text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
    // Our own prefix marks what the controller owns; a user label must never look like it.
    if ok && !text.starts_with("skyswarm.dev/") {
        Ok(())
    } else {
        Err(ParseError::new(format!(
            "a label key must be 1 to 63 letters, digits, '-', '_', '.' or '/', and not begin with \"skyswarm.dev/\"; \"{}\" is not",
            excerpt(text)
        )))
    }
}

fn check_setting_key(text: &str) -> Result<(), ParseError> {
    let ok = text.len() <= 64
        && text.split('.').all(|part| {
            part.starts_with(|c: char| c.is_ascii_lowercase())
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        });
    if ok {
        Ok(())
    } else {
        Err(ParseError::new(format!("a setting key looks like \"edge.default_domain\"; \"{}\" does not", excerpt(text))))
    }
}

string_newtype!(
    /// Name of a certificate.
    CertificateName, check = check_certificate, pattern = "^[a-z]([a-z0-9]|-[a-z0-9])*$", max = MAX_CERTIFICATE, example = "example-com"
);
string_newtype!(
    /// Name of an organisation, the tenant: part of every key.
    OrgName, check = check_org, pattern = "^[a-z]([a-z0-9]|-[a-z0-9])*$", max = MAX_NAME, example = "acme"
);
string_newtype!(
    /// Name of an app, unique in its organisation.
    AppName, check = check_app, pattern = "^[a-z]([a-z0-9]|-[a-z0-9])*$", max = MAX_NAME, example = "shop"
);
string_newtype!(
    /// Name of a process type, such as `web` or `worker`.
    ProcessName, check = check_process, pattern = "^[a-z]([a-z0-9]|-[a-z0-9])*$", max = MAX_PROCESS, example = "web"
);
string_newtype!(
    /// Key of an environment variable or secret.
    EnvKey, check = check_env_key, pattern = "^[A-Za-z_][A-Za-z0-9_]*$", max = MAX_ENV_KEY, example = "LOG_LEVEL"
);
string_newtype!(
    /// A fully qualified DNS host name, lower case.
    Host, check = check_host, pattern = "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", max = 253, example = "shop.example.com"
);
string_newtype!(
    /// Key of a label that a user puts on an object.
    LabelKey, check = check_label_key, pattern = "^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$", max = 63, example = "team"
);
string_newtype!(
    /// Key of a setting, dotted.
    SettingKey, check = check_setting_key, pattern = "^[a-z][a-z0-9_]*(\\.[a-z][a-z0-9_]*)*$", max = 64, example = "edge.default_domain"
);

/// A label's value: up to 63 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelValue(String);

impl LabelValue {
    /// The checked text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LabelValue {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        if text.len() <= 63 && text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            Ok(Self(text))
        } else {
            Err(ParseError::new("a label value must be at most 63 printable ASCII characters"))
        }
    }
}

impl From<LabelValue> for String {
    fn from(value: LabelValue) -> Self {
        value.0
    }
}

impl fmt::Display for LabelValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for LabelValue {
    fn schema_name() -> Cow<'static, str> {
        "LabelValue".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 63, "pattern": "^[ -~]*$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_accept_what_dns_accepts_and_nothing_else() {
        for good in ["a", "shop", "shop-2", "a1-b2-c3"] {
            assert!(good.parse::<AppName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "1a", "A", "a_b", "a--b", "a b", "a;rm", "ä", &"a".repeat(31)] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_refuse_everything_that_could_end_a_routing_rule() {
        for good in ["shop.example.com", "a.b", "xn--bcher-kva.example", "1.example"] {
            assert!(good.parse::<Host>().is_ok(), "{good}");
        }
        for bad in
            ["localhost", "a`) || Host(`b.c", "*.example.com", "a..b", "-a.b", "a.b-", "A.example", "a.b:80", "1.2.3.4", "a.b/", "a b.c"]
        {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
        let message = "Shop.Example.com".parse::<Host>().expect_err("upper case").to_string();
        assert!(message.contains("\"shop.example.com\""), "{message}");
    }

    #[test]
    fn labels_cannot_claim_our_prefix() {
        assert!("team".parse::<LabelKey>().is_ok());
        assert!("skyswarm.dev/managed-by".parse::<LabelKey>().is_err());
    }
}
