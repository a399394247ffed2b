//! Secret values: they come in, and never go out.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest secret in bytes. The engine refuses Swarm secrets of 500 KiB; this leaves room.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;

/// A secret as a user writes it. It has no `Display`, its `Debug` says nothing, its memory is wiped,
/// and it serialises as `null`, which in a manifest means "keep the stored value".
#[derive(Clone)]
pub struct SecretValue(SecretString);

impl SecretValue {
    /// Wraps a value.
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }
    /// The value itself; call it only where it is encrypted or handed to the engine.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

impl PartialEq for SecretValue {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}
impl Eq for SecretValue {}

impl Serialize for SecretValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

impl<'de> Deserialize<'de> for SecretValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = SecretString::deserialize(deserializer)?;
        if text.expose_secret().len() > MAX_SECRET_BYTES {
            return Err(serde::de::Error::custom(format!("a secret may have at most {MAX_SECRET_BYTES} bytes")));
        }
        Ok(Self(text))
    }
}

impl JsonSchema for SecretValue {
    fn schema_name() -> Cow<'static, str> {
        "SecretValue".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": MAX_SECRET_BYTES, "writeOnly": true})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_leaves_through_debug_or_serde() {
        let secret = SecretValue::new("hunter2".to_owned());
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(serde_json::to_string(&secret).expect("serialises"), "null");
    }
}
