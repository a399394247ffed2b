//! Chains and keys, made for each test.

use chrono::TimeDelta;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, Issuer, KeyPair};

use super::*;

/// A chain with its key.
pub(crate) struct Made {
    pub(crate) chain: String,
    pub(crate) key: String,
}

fn time(text: &str) -> DateTime<Utc> {
    format!("{text}T00:00:00Z").parse().expect("a time")
}

fn params(names: &[&str], subject: &str, until: &str) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    let until = time(until);
    params.not_after = rcgen::date_time_ymd(
        until.format("%Y").to_string().parse().expect("a year"),
        until.format("%m").to_string().parse().expect("a month"),
        until.format("%d").to_string().parse().expect("a day"),
    );
    params
}

fn authority(subject: &str, until: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params(&[], subject, until);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signs")
}

fn signed(names: &[&str], until: &str, by: &Issuer<'_, KeyPair>) -> Made {
    let key = KeyPair::generate().expect("a key");
    let leaf = params(names, "leaf", until).signed_by(&key, by).expect("signs");
    Made { chain: leaf.pem(), key: key.serialize_pem() }
}

/// A certificate that signed itself.
pub(crate) fn self_signed(names: &[&str], until: &str) -> Made {
    let key = KeyPair::generate().expect("a key");
    let made = params(names, "own", until).self_signed(&key).expect("signs");
    Made { chain: made.pem(), key: key.serialize_pem() }
}

#[test]
fn a_chain_is_read_as_clients_build_it() {
    let root = authority("root", "2030-01-01");
    let leaf = signed(&["Shop.example.com", "*.example.com"], "2031-01-01", &root);
    let chain = read_chain(&format!("# a comment\n{}\n{}", leaf.chain, root.pem())).expect("is one");
    assert_eq!(chain.dns_names, ["shop.example.com", "*.example.com"]);
    assert_eq!((chain.subject.as_str(), chain.issuer.as_str()), ("CN=leaf", "CN=root"));
    assert_eq!((chain.not_before, chain.not_after), (time("2020-01-01"), time("2030-01-01")), "the root ends first");
    assert_eq!(chain.fingerprint.len(), 64);
    assert!(chain.pem.starts_with("-----BEGIN CERTIFICATE-----\n") && !chain.pem.contains("comment"));
    assert_eq!(read_chain(&chain.pem), Ok(chain.clone()), "what is written reads the same");
    assert!(check_time(&chain, time("2029-12-31")).is_ok());
    assert!(check_time(&chain, time("2030-01-01")).expect_err("ended").contains("ended on 2030-01-01"));
    assert!(check_time(&chain, time("2020-01-01") - TimeDelta::seconds(1)).expect_err("is early").contains("only from 2020-01-01"));
    assert!(read_key(&leaf.key, &chain).is_ok());
}

#[test]
fn what_is_wrong_is_said() {
    let (root, other) = (authority("root", "2030-01-01"), authority("root", "2030-01-01"));
    let third = authority("third", "2030-01-01");
    let leaf = signed(&["a.example"], "2030-01-01", &root);
    let own = self_signed(&["b.example"], "2030-01-01");
    let refused = |text: &str| read_chain(text).expect_err("is refused");
    assert!(refused("").contains("no certificate"));
    assert!(refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").contains("certificate 1 of the chain is no X.509"));
    assert!(refused(&format!("{}{}", leaf.chain, leaf.key)).contains("holds a private key"));
    assert!(refused(&root.pem()).contains("no DNS name"));
    assert!(refused(&format!("{}{}", root.pem(), leaf.chain)).contains("the host's certificate first"));
    assert!(
        refused(&format!("{}{}", leaf.chain, third.pem())).contains("signed by \"CN=root\", but certificate 2 is that of \"CN=third\"")
    );
    assert!(refused(&format!("{}{}", leaf.chain, other.pem())).contains("do not make a chain"));
    assert!(refused(&leaf.chain.repeat(MAX_CHAIN + 1)).contains("more than 10 certificates"));

    let chain = read_chain(&leaf.chain).expect("is one");
    let key_refused = |text: &str| match read_key(text, &chain) {
        Ok(_) => panic!("was taken"),
        Err(message) => message,
    };
    assert!(key_refused(&own.key).contains("key of another certificate"));
    assert!(key_refused("hunter2").contains("no private key") && !key_refused("hunter2").contains("hunter2"));
    assert!(key_refused("-----BEGIN ENCRYPTED PRIVATE KEY-----").contains("protected by a password"));
}
