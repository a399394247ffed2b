//! The server as a node's agent sees it: an HTTP client that takes only the platform's authority.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

use crate::fleet::SERVER_NAME;
use crate::fleet::authority::digest;
use crate::fleet::token::JoinToken;
use crate::fleet::wire::{ASSIGNMENT, Assignment, Issued, JOIN, JoinRequest, RENEW, REPORT, RenewRequest, Report};

const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(5);
/// Longer than the server holds an answer back.
const HELD_ANSWER: Duration = Duration::from_secs(30);

/// Why the server gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No answer.
    #[error("the server at {address} does not answer")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It refused.
    #[error("the server answered {status}: {message}")]
    Refused {
        /// Its status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// Certificate or key of this node cannot be used.
    #[error("this node's certificate cannot be used")]
    Identity(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ServerError {
    /// Whether the server does not take this node's certificate.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { status: 401, .. })
    }
    /// Whether asking again will not help.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == 400 || *status == 403) || matches!(self, Self::Identity(_))
    }
}

/// A connection's worth of trust: certificates of the authority, and this node's own.
#[derive(Clone)]
pub struct ServerClient {
    http: Client,
    address: String,
    port: u16,
}

fn identity(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ServerError {
    ServerError::Identity(error.into())
}

impl ServerClient {
    /// For a node that has a certificate.
    ///
    /// # Errors
    /// When it cannot be used, or the server's name has no address.
    pub async fn new(server: &str, issued: &Issued, key: &str) -> Result<Self, ServerError> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(issued.authority.as_bytes()).map_err(identity)?;
        roots.add(authority).map_err(identity)?;
        let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).map_err(identity)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(identity)?;
        let config = builder()?.with_root_certificates(roots).with_client_auth_cert(vec![certificate], key).map_err(identity)?;
        Self::with(server, config).await
    }

    async fn with(server: &str, config: ClientConfig) -> Result<Self, ServerError> {
        let unreachable =
            |source: Box<dyn std::error::Error + Send + Sync>| ServerError::Unreachable { address: server.to_owned(), source };
        let mut found = tokio::net::lookup_host(server).await.map_err(|error| unreachable(error.into()))?;
        let address: SocketAddr = found.next().ok_or_else(|| unreachable("its name has no address".into()))?;
        let http = Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(config)
            .resolve(SERVER_NAME, address)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(Duration::from_secs(20))
            .build()
            .map_err(|error| unreachable(error.into()))?;
        Ok(Self { http, address: server.to_owned(), port: address.port() })
    }

    /// Asks to be let in.
    ///
    /// # Errors
    /// When the server is not the token's, or refuses the token.
    pub async fn join(server: &str, token: &JoinToken, node: &str, public_key: &[u8]) -> Result<Issued, ServerError> {
        let verifier = Arc::new(Pinned { digest: token.authority.clone(), provider: provider() });
        let config = builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        let client = Self::with(server, config).await?;
        let secret = token.secret.expose_secret().to_owned();
        let request = JoinRequest { secret, node: node.to_owned(), public_key: hex::encode(public_key) };
        client.json(client.http.post(client.url(JOIN)).json(&request).timeout(ANSWER)).await
    }

    /// Gets a newer certificate.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn renew(&self, public_key: &[u8]) -> Result<Issued, ServerError> {
        let request = RenewRequest { public_key: hex::encode(public_key) };
        self.json(self.http.post(self.url(RENEW)).json(&request).timeout(ANSWER)).await
    }

    /// Tells of this node.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn report(&self, report: &Report) -> Result<(), ServerError> {
        self.send(self.http.post(self.url(REPORT)).json(report).timeout(ANSWER)).await.map(drop)
    }

    /// What this node is told; waits a while for something other than the serial that was seen.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn assignment(&self, seen: u64) -> Result<Assignment, ServerError> {
        let url = format!("{}?seen={seen}", self.url(ASSIGNMENT));
        self.json(self.http.get(url).timeout(HELD_ANSWER)).await
    }

    fn url(&self, path: &str) -> String {
        format!("https://{SERVER_NAME}:{}{path}", self.port)
    }

    async fn send(&self, request: RequestBuilder) -> Result<reqwest::Response, ServerError> {
        let unreachable = |error: reqwest::Error| ServerError::Unreachable { address: self.address.clone(), source: error.into() };
        let response = request.send().await.map_err(unreachable)?;
        match response.status() {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(response),
            status => {
                let message = response.text().await.unwrap_or_default();
                let message: String = message.trim().chars().take(500).collect();
                Err(ServerError::Refused { status: status.as_u16(), message })
            }
        }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ServerError> {
        let unreachable = |error: reqwest::Error| ServerError::Unreachable { address: self.address.clone(), source: error.into() };
        self.send(request).await?.json().await.map_err(unreachable)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, ServerError> {
    ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13]).map_err(identity)
}

/// Takes a server whose chain leads to the certificate with a digest. Everything else is checked as always.
#[derive(Debug)]
struct Pinned {
    digest: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates.iter().find(|certificate| digest(certificate) == self.digest);
        let authority =
            authority.ok_or_else(|| rustls::Error::General("the server is not the one that made this join token".to_owned()))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), self.provider.clone()).build();
        let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
