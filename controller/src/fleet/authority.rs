//! The platform's own certificate authority, for its nodes and for nothing that clients of apps see.
//!
//! A node's certificate names the node's id in the Swarm, so whoever shows it can act for that node alone. It is good for
//! some weeks and renewed long before. There is no list of revoked ones: the server asks the database with each connection
//! whether the certificate is the node's newest, and edges drop the addresses of a node that left the Swarm.

use chrono::{DateTime, Datelike, Duration, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clock::Entropy;
use crate::edge::backend::NODE_DOMAIN;

/// How long a node's certificate is good for.
pub const NODE_DAYS: i64 = 60;
/// A certificate with less than this left is renewed.
pub const RENEW_DAYS: i64 = 30;
const AUTHORITY_DAYS: i64 = 3650;
/// Bytes of a public key on P-256, uncompressed.
const POINT: usize = 65;

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The library refused.
    #[error("a certificate of the platform's authority could not be made")]
    Make(#[from] rcgen::Error),
    /// The stored one does not read back.
    #[error("the platform's authority cannot be read: {0}")]
    Stored(String),
    /// The public key is none.
    #[error("this is no public key on P-256")]
    PublicKey,
    /// The node's id is none.
    #[error("this is no id of a node")]
    NodeId,
}

/// The authority with its key.
pub struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    key: Zeroizing<String>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(…)")
    }
}

/// A public key as an agent sends it.
struct PublicKey(Vec<u8>);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A new key: PEM for its owner, and the public part for the authority.
///
/// # Errors
/// When the system gives no randomness.
pub fn new_key() -> Result<(Zeroizing<String>, Vec<u8>), AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok((Zeroizing::new(key.serialize_pem()), key.der_bytes().to_vec()))
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn create(now: DateTime<Utc>, entropy: &dyn Entropy) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let params = authority_params(now, entropy)?;
        let pem = params.self_signed(&key)?.pem();
        let text = Zeroizing::new(key.serialize_pem());
        Self::load(&pem, &text)
    }

    /// One that was stored.
    ///
    /// # Errors
    /// When it does not read back.
    pub fn load(pem: &str, key: &str) -> Result<Self, AuthorityError> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| AuthorityError::Stored(error.to_string()))?;
        let pair = KeyPair::from_pem(key).map_err(|error| AuthorityError::Stored(error.to_string()))?;
        // Only name, key and uses of the issuer go into what it signs.
        let mut params = CertificateParams::default();
        params.distinguished_name = authority_name();
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(Self { pem: pem.to_owned(), der, issuer: Issuer::new(params, pair), key: Zeroizing::new(key.to_owned()) })
    }

    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }
    /// Its certificate.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }
    /// Its key, to be stored encrypted.
    pub fn key(&self) -> &Zeroizing<String> {
        &self.key
    }
    /// What tokens carry of it.
    pub fn digest(&self) -> String {
        digest(&self.der)
    }

    /// A certificate for a node's public key. The node proves with its first connection that it has the private one.
    ///
    /// # Errors
    /// When id or key are none.
    pub fn node(&self, node: &str, public_key: &[u8], now: DateTime<Utc>, entropy: &dyn Entropy) -> Result<String, AuthorityError> {
        if !is_node_id(node) {
            return Err(AuthorityError::NodeId);
        }
        let names = [format!("{node}.{NODE_DOMAIN}"), format!("*.{node}.{NODE_DOMAIN}")];
        self.leaf(&names, (node, public_key), now, entropy)
    }

    /// A certificate for the server that agents talk to.
    ///
    /// # Errors
    /// When the key is none.
    pub fn server(&self, public_key: &[u8], now: DateTime<Utc>, entropy: &dyn Entropy) -> Result<String, AuthorityError> {
        self.leaf(&[super::SERVER_NAME.to_owned()], ("server", public_key), now, entropy)
    }

    fn leaf(
        &self,
        names: &[String],
        (common, public_key): (&str, &[u8]),
        now: DateTime<Utc>,
        entropy: &dyn Entropy,
    ) -> Result<String, AuthorityError> {
        if public_key.len() != POINT || public_key.first() != Some(&4) {
            return Err(AuthorityError::PublicKey);
        }
        let mut params = CertificateParams::default();
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.distinguished_name = name_of(common);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        times(&mut params, now, NODE_DAYS);
        params.serial_number = Some(serial(entropy));
        Ok(params.signed_by(&PublicKey(public_key.to_vec()), &self.issuer)?.pem())
    }
}

/// SHA-256 of a certificate, in hex.
pub fn digest(der: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(der.as_ref()))
}

/// The engine's ids of nodes: 25 small letters and digits; a little more is believed.
pub fn is_node_id(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// The node that a certificate is for. The certificate must have been checked against the authority.
pub fn node_of(der: &CertificateDer<'_>) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(der).ok()?;
    let suffix = format!(".{NODE_DOMAIN}");
    let mut names = certificate.valid_dns_names().filter_map(|name| name.strip_suffix(&suffix)).filter(|name| is_node_id(name));
    names.next().map(str::to_owned)
}

fn authority_params(now: DateTime<Utc>, entropy: &dyn Entropy) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = authority_name();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    times(&mut params, now, AUTHORITY_DAYS);
    params.serial_number = Some(serial(entropy));
    Ok(params)
}

fn authority_name() -> DistinguishedName {
    name_of("Skyswarm nodes")
}

fn name_of(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// From two days ago, since clocks of machines differ.
fn times(params: &mut CertificateParams, now: DateTime<Utc>, days: i64) {
    let date = |moment: DateTime<Utc>| {
        let part = |number: u32| u8::try_from(number).unwrap_or(1);
        rcgen::date_time_ymd(moment.year(), part(moment.month()), part(moment.day()))
    };
    params.not_before = date(now - Duration::days(2));
    params.not_after = date(now + Duration::days(days));
}

fn serial(entropy: &dyn Entropy) -> SerialNumber {
    let mut bytes = [0_u8; 16];
    entropy.fill(&mut bytes);
    bytes[0] &= 0x7f;
    SerialNumber::from_slice(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).expect("in range")
    }

    #[test]
    fn a_certificate_names_its_node_and_nothing_else() {
        let made = Authority::create(now(), &SystemEntropy).expect("made");
        let authority = Authority::load(made.pem(), made.key()).expect("reads back");
        assert_eq!(authority.digest(), made.digest());
        let (_, public) = new_key().expect("a key");
        let pem = authority.node("abc123", &public, now(), &SystemEntropy).expect("signed");
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
        assert_eq!(node_of(&der).as_deref(), Some("abc123"));
        let server = authority.server(&public, now(), &SystemEntropy).expect("signed");
        assert_eq!(node_of(&CertificateDer::from_pem_slice(server.as_bytes()).expect("a certificate")), None);
        for bad in ["", "a.b", "*", "ABC", "a\0", &"a".repeat(41)] {
            assert!(matches!(authority.node(bad, &public, now(), &SystemEntropy), Err(AuthorityError::NodeId)), "{bad}");
        }
        for bad in [&public[1..], &[5; 65][..], &[]] {
            assert!(matches!(authority.node("a", bad, now(), &SystemEntropy), Err(AuthorityError::PublicKey)));
        }
    }

    #[test]
    fn a_certificate_of_another_authority_is_not_taken() {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let (ours, other) =
            (Authority::create(now(), &SystemEntropy).expect("made"), Authority::create(now(), &SystemEntropy).expect("made"));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ours.der().clone()).expect("a root");
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().expect("a verifier");
        let (_, public) = new_key().expect("a key");
        let leaf = |authority: &Authority| {
            let pem = authority.node("abc", &public, now(), &SystemEntropy).expect("signed");
            CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
        };
        let at = |days: i64| {
            let seconds = u64::try_from((now() + Duration::days(days)).timestamp()).expect("after the epoch");
            rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
        };
        assert!(verifier.verify_client_cert(&leaf(&ours), &[], at(0)).is_ok());
        assert!(verifier.verify_client_cert(&leaf(&other), &[], at(0)).is_err(), "the same name, another key");
        assert!(verifier.verify_client_cert(&leaf(&ours), &[], at(NODE_DAYS + 1)).is_err(), "it has run out");
    }
}
