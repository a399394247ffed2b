//! References to container images.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::name::{ParseError, excerpt};

/// A reference to an image: `[registry/]repository[:tag][@sha256:…]`, or `sha256:…`, the full ID of an
/// image that the engine already has.
///
/// The grammar is the distribution project's reference grammar, with `sha256` as the only digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl ImageRef {
    /// Registry and repository; empty for a bare image ID.
    pub fn repository(&self) -> &str {
        &self.repository
    }
    /// The tag, when one is written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }
    /// `sha256:…`, when the reference names exactly one content.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }
    /// Whether this is the ID of an image on the engine, not a reference to a registry.
    pub fn is_id(&self) -> bool {
        self.repository.is_empty()
    }
    /// Whether the reference can only ever mean one content.
    pub fn is_pinned(&self) -> bool {
        self.digest.is_some()
    }
    /// The same repository at `digest` (`sha256:…`).
    ///
    /// # Errors
    /// When `digest` is not a full `sha256` digest.
    pub fn pinned_to(&self, digest: &str) -> Result<Self, ParseError> {
        check_digest(digest)?;
        Ok(Self { repository: self.repository.clone(), tag: None, digest: Some(digest.to_owned()) })
    }
}

fn check_digest(digest: &str) -> Result<(), ParseError> {
    let ok = digest
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
    if ok {
        Ok(())
    } else {
        Err(ParseError::new(format!("a digest is \"sha256:\" and 64 hexadecimal digits; \"{}\" is not", excerpt(digest))))
    }
}

fn check_repository(repository: &str) -> bool {
    let (host, path) = match repository.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, repository),
    };
    let host_ok = host.is_none_or(|host| {
        let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        !name.is_empty()
            && name.split('.').all(|l| !l.is_empty() && !l.starts_with('-') && !l.ends_with('-'))
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
            && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|p| p > 0))
    });
    host_ok && path.split('/').all(check_component)
}

/// `[a-z0-9]+ ((\.|_|__|-+) [a-z0-9]+)*`
fn check_component(component: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner_ok = component.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
    let separators_ok = !["..", "._", "_.", "___", ".-", "-.", "_-", "-_"].iter().any(|bad| component.contains(bad));
    inner_ok && separators_ok && edge(component.chars().next()) && edge(component.chars().last())
}

fn check_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

impl FromStr for ImageRef {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.starts_with("sha256:") {
            check_digest(text)?;
            return Ok(Self { repository: String::new(), tag: None, digest: Some(text.to_owned()) });
        }
        let err = || {
            ParseError::new(format!(
                "an image looks like \"nginx:1.27\", \"registry.example/shop@sha256:…\" or \"sha256:…\"; \"{}\" does not",
                excerpt(text)
            ))
        };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                check_digest(digest)?;
                (name, Some(digest.to_owned()))
            }
            None => (text, None),
        };
        // A colon after the last slash starts a tag; before it, a port.
        let tag_at = name.rfind(':').filter(|colon| name.rfind('/').is_none_or(|slash| slash < *colon));
        let (repository, tag) = match tag_at {
            Some(at) => (&name[..at], Some(name[at + 1..].to_owned())),
            None => (name, None),
        };
        let tag_ok = tag.as_deref().is_none_or(check_tag);
        if repository.len() <= 255 && check_repository(repository) && tag_ok {
            Ok(Self { repository: repository.to_owned(), tag, digest })
        } else {
            Err(err())
        }
    }
}

impl TryFrom<String> for ImageRef {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(value: ImageRef) -> Self {
        value.to_string()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) if self.repository.is_empty() => f.write_str(digest),
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl JsonSchema for ImageRef {
    fn schema_name() -> Cow<'static, str> {
        "ImageRef".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": 512, "examples": ["registry.example/shop:1.4"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn references_read_and_print_as_written() {
        for text in ["nginx", "nginx:1.27", "acme/shop:v1", "localhost:5000/shop", "registry.example:5000/a/b__c:t"] {
            assert_eq!(text.parse::<ImageRef>().map(|i| i.to_string()).as_deref(), Ok(text));
        }
        for text in [DIGEST.to_owned(), format!("registry.example/shop@{DIGEST}"), format!("shop:1@{DIGEST}")] {
            let image: ImageRef = text.parse().expect("valid");
            assert!(image.is_pinned());
            assert_eq!(image.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let short = DIGEST[..20].to_owned();
        for bad in ["", "Nginx", "a b", "a:", ":a", "a/", "/a", "a@b", "a@sha256:12", "a:b:c", "$(id)", "-a", "a..b", "../a", &short] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
        }
    }

    #[test]
    fn pinning_drops_the_tag() {
        let image: ImageRef = "acme/shop:v1".parse().expect("valid");
        assert_eq!(image.pinned_to(DIGEST).map(|i| i.to_string()), Ok(format!("acme/shop@{DIGEST}")));
    }
}
