//! An authority of a test's own, certificates that it signed, and clients that trust it alone.
#![expect(clippy::expect_used, reason = "helpers of tests fail by panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A chain with its key, both as PEM.
pub struct Signed {
    /// Leaf and authority.
    pub chain: String,
    /// The leaf's key.
    pub key: String,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signs"))
    }

    /// A certificate for these names, good until the first of January of a year.
    pub fn sign(&self, names: &[&str], until: i32) -> Signed {
        self.sign_to_day(names, (until, 1, 1))
    }

    /// A certificate for these names that ends on a day.
    pub fn sign_to_day(&self, names: &[&str], (year, month, day): (i32, u8, u8)) -> Signed {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("names");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.0).expect("signs");
        Signed { chain: leaf.pem() + &self.0.pem(), key: key.serialize_pem() }
    }

    /// A client that trusts this authority alone, and finds every one of these hosts at an address.
    pub fn client(&self, hosts: &[&str], edge: SocketAddr) -> reqwest::Client {
        self.client_builder(hosts, edge).timeout(Duration::from_secs(60)).build().expect("a client")
    }

    /// As [`Authority::client`], for answers of any length.
    pub fn streaming_client(&self, hosts: &[&str], edge: SocketAddr) -> reqwest::Client {
        self.client_builder(hosts, edge).build().expect("a client")
    }

    fn client_builder(&self, hosts: &[&str], edge: SocketAddr) -> reqwest::ClientBuilder {
        let root = reqwest::Certificate::from_pem(self.0.pem().as_bytes()).expect("PEM");
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([root]).redirect(reqwest::redirect::Policy::none());
        // A new connection for each request, so that each sees the certificate of its moment.
        hosts.iter().fold(builder.pool_max_idle_per_host(0), |builder, host| builder.resolve(host, edge))
    }

    /// A TLS connection to a host at an address, with these protocols on offer.
    pub async fn connect(&self, host: &str, edge: SocketAddr, protocols: &[&str]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.0.pem().as_bytes()).expect("PEM")).expect("an authority");
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(edge).await.expect("connects");
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("shakes hands")
    }
}
