//! What a certificate chain says, and whether a key and a chain belong together. Pure: the time is an argument.
//!
//! A chain is accepted as clients would build it: the leaf first, then each certificate that signed the one
//! before. Whether clients trust the last one is theirs to say; an authority of a company's own is as good
//! here as a public one. What is kept is written anew from what was read, so that nothing else that stood in
//! the text (a private key, a comment) is ever shown.

mod der;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;
use zeroize::Zeroizing;

use crate::edge::inputs::sha256_hex;

/// Most certificates of one chain; clients give up on longer ones.
const MAX_CHAIN: usize = 10;
const ORDER: &str = "the host's certificate comes first, then each certificate that signed the one before it";
/// Characters of a line of PEM.
const PEM_LINE: usize = 64;

/// What a chain says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The chain, written anew.
    pub pem: String,
    /// Names that the leaf is good for, in its order.
    pub dns_names: Vec<String>,
    /// Whom the leaf was made for.
    pub subject: String,
    /// Who signed the leaf.
    pub issuer: String,
    /// SHA-256 of the leaf, in hex.
    pub fingerprint: String,
    /// From when all of it is good.
    pub not_before: DateTime<Utc>,
    /// Until when all of it is good.
    pub not_after: DateTime<Utc>,
}

/// Days until a certificate of our own runs out; 0 for one that cannot be read.
pub fn days_left(pem: &str, now: DateTime<Utc>) -> i64 {
    let end = ders(pem).ok().and_then(|ders| Some(der::fields(ders.first()?)?.not_after));
    end.map_or(0, |end| (end - now).num_days())
}

/// A private key that can be used, as PEM, written anew.
pub struct Key(pub Zeroizing<String>);

/// Reads a chain.
///
/// # Errors
/// What is wrong with it, to be shown to a person.
pub fn read_chain(text: &str) -> Result<Chain, String> {
    if text.contains("PRIVATE KEY-----") {
        return Err(
            "it holds a private key, but this field is shown to whoever may read certificates; move the key to spec.privateKey".to_owned()
        );
    }
    let ders = ders(text)?;
    let mut certificates = Vec::with_capacity(ders.len());
    for (n, der) in ders.iter().enumerate() {
        let fields = der::fields(der).ok_or_else(|| format!("certificate {} of the chain is no X.509 certificate", n + 1))?;
        certificates.push(fields);
    }
    let Some((leaf, der)) = certificates.first().zip(ders.first()) else { return Err("it holds no certificate".to_owned()) };
    let dns_names = dns_names(der)?;
    for (n, pair) in certificates.windows(2).enumerate() {
        if let [child, parent] = pair
            && child.issuer_der != parent.subject_der
        {
            let (number, next) = (n + 1, n + 2);
            return Err(format!(
                "certificate {number} was signed by \"{}\", but certificate {next} is that of \"{}\"; {ORDER}",
                child.issuer, parent.subject
            ));
        }
    }
    let not_before = certificates.iter().map(|fields| fields.not_before).max().unwrap_or_default();
    let not_after = certificates.iter().map(|fields| fields.not_after).min().unwrap_or_default();
    check_signatures(&ders, not_before)?;
    Ok(Chain {
        pem: ders.iter().map(|der| write_pem("CERTIFICATE", der)).collect(),
        dns_names,
        subject: leaf.subject.clone(),
        issuer: leaf.issuer.clone(),
        fingerprint: sha256_hex(der),
        not_before,
        not_after,
    })
}

fn ders(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut ders = Vec::new();
    for der in CertificateDer::pem_slice_iter(text.as_bytes()) {
        ders.push(der.map_err(|error| format!("it is no PEM text: {error}"))?);
        if ders.len() > MAX_CHAIN {
            return Err(format!("it has more than {MAX_CHAIN} certificates; only the chain of one certificate belongs here"));
        }
    }
    if ders.is_empty() {
        return Err("it holds no certificate; PEM text that begins with -----BEGIN CERTIFICATE----- was expected".to_owned());
    }
    Ok(ders)
}

fn dns_names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, String> {
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| format!("its first certificate cannot be read: {error}"))?;
    let names: Vec<String> = leaf.valid_dns_names().map(str::to_ascii_lowercase).collect();
    if names.is_empty() {
        return Err("its first certificate names no DNS name in subjectAltName, so no client would accept it for a host \
                    (the common name does not count); is the chain in the right order, the host's certificate first?"
            .to_owned());
    }
    Ok(names)
}

/// Whether each certificate signed the one before it, as a client that trusts the last one would see it. A
/// certificate alone proves nothing here; it may have signed itself.
fn check_signatures(ders: &[CertificateDer<'_>], at: DateTime<Utc>) -> Result<(), String> {
    let [first, between @ .., last] = ders else { return Ok(()) };
    let broken = |error: webpki::Error| format!("its certificates do not make a chain ({error}); {ORDER}");
    let leaf = EndEntityCert::try_from(first).map_err(broken)?;
    let anchor = webpki::anchor_from_trusted_cert(last).map_err(broken)?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at.timestamp()).unwrap_or(0)));
    let (algorithms, usage) = (webpki::ALL_VERIFICATION_ALGS, webpki::KeyUsage::server_auth());
    leaf.verify_for_usage(algorithms, &[anchor], between, at, usage, None, None).map(drop).map_err(broken)
}

/// Whether a chain is good now; a new one that is not would only take hosts down.
///
/// # Errors
/// Since or from when, to be shown to a person.
pub fn check_time(chain: &Chain, now: DateTime<Utc>) -> Result<(), String> {
    if now >= chain.not_after {
        return Err(format!("it ended on {}, so clients refuse it", chain.not_after.format("%Y-%m-%d %H:%M UTC")));
    }
    if now < chain.not_before {
        return Err(format!("it is good only from {} on", chain.not_before.format("%Y-%m-%d %H:%M UTC")));
    }
    Ok(())
}

/// Reads a key, and makes sure that it is the one that the chain was made for.
///
/// # Errors
/// What is wrong with it, to be shown to a person; never a part of it.
pub fn read_key(text: &str, chain: &Chain) -> Result<Key, String> {
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("it is protected by a password; write it without one: openssl pkey -in KEY.pem".to_owned());
    }
    let der = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| "it holds no private key; PEM text that begins with -----BEGIN PRIVATE KEY----- was expected".to_owned())?;
    let label = match &der {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    let pem = Zeroizing::new(write_pem(label, der.secret_der()));
    let signer = rustls::crypto::ring::sign::any_supported_type(&der).map_err(|_| {
        "it is of a kind that is not supported: RSA from 2048 bits, ECDSA P-256 or P-384, or Ed25519 was expected".to_owned()
    })?;
    let ders = ders(&chain.pem)?;
    match CertifiedKey::new(ders, signer).keys_match() {
        Ok(()) => Ok(Key(pem)),
        Err(_) => Err("it is the key of another certificate: its public part is not the one in spec.chain".to_owned()),
    }
}

fn write_pem(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(PEM_LINE) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
pub(crate) mod tests;
