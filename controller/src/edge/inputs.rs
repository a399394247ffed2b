//! What the document is made from besides endpoints: routes, and the secrets that they need.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Route;

/// Everything that is read from the database for the edge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inputs {
    /// Where each app's requests go.
    pub routes: Vec<Route>,
    /// Password hashes for basic authentication.
    pub passwords: Passwords,
    /// Certificates that an administrator supplied. Of two with the same names the first is used.
    pub certificates: Vec<CertificatePair>,
    /// What is served for every other host; the proxy makes one up when there is none.
    pub default_certificate: Option<CertificatePair>,
}

impl Inputs {
    /// Routes that need no secret.
    pub fn of(routes: &[Route]) -> Self {
        Self { routes: routes.to_vec(), ..Self::default() }
    }
}

/// Password hashes by app and version. Its `Debug` shows none.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Passwords(BTreeMap<(Uuid, i64), String>);

impl Passwords {
    /// Notes the hash of a version.
    pub fn insert(&mut self, app: Uuid, version: i64, hash: String) {
        self.0.insert((app, version), hash);
    }
    /// All of them: app, version, hash.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Uuid, i64, &str)> {
        self.0.iter().map(|((app, version), hash)| (*app, *version, hash.as_str()))
    }
    /// The hash of a version.
    pub fn get(&self, app: Uuid, version: i64) -> Option<&str> {
        self.0.get(&(app, version)).map(String::as_str)
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passwords({})", self.0.len())
    }
}

/// A certificate chain and its key, both as PEM. Its `Debug` shows the name alone.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificatePair {
    /// Name of the certificate, for messages.
    pub name: String,
    /// The chain, leaf first.
    pub chain: String,
    /// The key.
    pub key: Zeroizing<String>,
    /// SHA-256 of the leaf, in hex: what a handshake is recognised by.
    pub fingerprint: String,
}

impl fmt::Debug for CertificatePair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificatePair({})", self.name)
    }
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
