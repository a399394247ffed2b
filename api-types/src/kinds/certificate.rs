//! Certificate: a TLS certificate with its key, which an administrator supplies and the edge serves.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::secret::SecretValue;

/// Longest chain in bytes of PEM.
pub const MAX_CHAIN_BYTES: usize = 64 * 1024;

super::object!(
    /// A certificate of the platform's edge. It belongs to no organization: the edge chooses it by the name that
    /// a client asks for, whichever app answers there.
    Certificate, CertificateKind, CertificateSpec, CertificateStatus
);

/// Desired state of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateSpec {
    /// The chain as PEM: the certificate itself, then each one that signed the one before.
    #[schemars(length(min = 1, max = MAX_CHAIN_BYTES))]
    pub chain: String,
    /// The private key as PEM, not encrypted. Write-only; absent or `null` keeps the stored one, which has to
    /// fit the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<SecretValue>,
}

/// What is in a certificate, and what was observed of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// One per condition type.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Names that it is good for.
    #[serde(default)]
    pub dns_names: Vec<String>,
    /// Whom it was made for.
    #[serde(default)]
    pub subject: String,
    /// Who signed it.
    #[serde(default)]
    pub issuer: String,
    /// SHA-256 of the certificate, in hex.
    #[serde(default)]
    pub fingerprint: String,
    /// From when it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<DateTime<Utc>>,
    /// Until when it is good: the earliest end in its chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<DateTime<Utc>>,
}
