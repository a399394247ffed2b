//! Where agents talk to the server: TLS with a certificate of the platform's authority on both ends.
//!
//! Whoever shows no certificate can do one thing, which is to join with a token. Whoever shows one acts for the node that
//! the certificate names, in every path: no request names a node. The database is asked with each connection whether the
//! certificate is that node's newest.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::authority::{Authority, AuthorityError, digest, new_key, node_of};
use super::hub::Fleet;
use super::wire::{ASSIGNMENT, Assignment, Issued, JOIN, JoinRequest, RENEW, REPORT, RenewRequest, Report};
use crate::clock::{SharedClock, SharedEntropy};
use crate::store::{Store, StoreError};

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long an agent waits for something new to be told.
const HOLD: Duration = Duration::from_secs(20);
/// Largest body: reports of nodes with some thousand tasks.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// Connections at a time.
const MAX_CONNECTIONS: usize = 4096;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the gateway works with. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    /// The database.
    pub store: Store,
    /// All nodes.
    pub fleet: Fleet,
    /// Who signs.
    pub authority: Arc<Authority>,
    /// Time.
    pub clock: SharedClock,
    /// Chance.
    pub entropy: SharedEntropy,
}

/// The node whose certificate the connection showed; nothing when it showed none, or one that is no longer good.
#[derive(Debug, Clone)]
struct Shown(Option<String>);

/// The node that a request acts for.
struct Agent(String);

impl<S: Sync> FromRequestParts<S> for Agent {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let shown = parts.extensions.get::<Shown>().and_then(|shown| shown.0.clone());
        shown.map(Self).ok_or_else(|| refused(StatusCode::UNAUTHORIZED, "an agent shows its node's newest certificate; join again"))
    }
}

fn refused(status: StatusCode, why: impl Into<String>) -> Response {
    (status, format!("{}\n", why.into())).into_response()
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Response {
    tracing::warn!(error, "an agent's request failed");
    refused(StatusCode::SERVICE_UNAVAILABLE, "try again")
}

/// The TLS of the server's end.
///
/// # Errors
/// When the authority's certificate cannot be used.
pub fn tls(authority: &Authority, clock: &SharedClock, entropy: &SharedEntropy) -> anyhow::Result<Arc<ServerConfig>> {
    let (key, public) = new_key()?;
    let certificate = CertificateDer::from_pem_slice(authority.server(&public, clock.now(), entropy.as_ref())?.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).allow_unauthenticated().build()?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        // With its issuer: who joins compares the authority's digest with the token's.
        .with_single_cert(vec![certificate, authority.der().clone()], key)?;
    Ok(Arc::new(config))
}

/// The paths, to be served with [`serve`], which says who asks.
fn router(gateway: Gateway) -> Router {
    Router::new()
        .route(JOIN, post(join))
        .route(RENEW, post(renew))
        .route(REPORT, post(report))
        .route(ASSIGNMENT, get(assignment))
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .with_state(gateway)
}

async fn join(State(gateway): State<Gateway>, Json(request): Json<JoinRequest>) -> Response {
    let secret = SecretString::from(request.secret);
    match gateway.store.join_token_is_good(&super::token::digest(&secret)).await {
        Ok(true) => {}
        Ok(false) => {
            return refused(StatusCode::FORBIDDEN, "the join token is not known, or has run out: make another, `skyctl nodes token`");
        }
        Err(error) => return failed(&error),
    }
    if !gateway.fleet.knows(&request.node) {
        let why = format!("the Swarm has no node {:?}; an agent runs beside an engine that has joined it", request.node);
        return refused(StatusCode::CONFLICT, why);
    }
    let heard = gateway.fleet.heard();
    if heard.get(&request.node).is_some_and(|heard| !gateway.fleet.is_silent(heard)) {
        return refused(StatusCode::CONFLICT, "this node has an agent that runs; stop it before another joins in its place");
    }
    tracing::info!(node = request.node, "an agent joins");
    issue(&gateway, &request.node, &request.public_key).await
}

async fn renew(State(gateway): State<Gateway>, Agent(node): Agent, Json(request): Json<RenewRequest>) -> Response {
    issue(&gateway, &node, &request.public_key).await
}

async fn issue(gateway: &Gateway, node: &str, public_key: &str) -> Response {
    let Ok(public) = hex::decode(public_key) else { return refused(StatusCode::BAD_REQUEST, "the public key is not in hex") };
    let certificate = match gateway.authority.node(node, &public, gateway.clock.now(), gateway.entropy.as_ref()) {
        Ok(certificate) => certificate,
        Err(error @ (AuthorityError::PublicKey | AuthorityError::NodeId)) => return refused(StatusCode::BAD_REQUEST, error.to_string()),
        Err(error) => return failed(&error),
    };
    let der = match CertificateDer::from_pem_slice(certificate.as_bytes()) {
        Ok(der) => der,
        Err(error) => return failed(&error),
    };
    match gateway.store.agent_put(node, &digest(&der)).await {
        Ok(()) => Json(Issued { certificate, authority: gateway.authority.pem().to_owned() }).into_response(),
        Err(error) => failed(&error),
    }
}

async fn report(State(gateway): State<Gateway>, Agent(node): Agent, Json(report): Json<Report>) -> Response {
    if !gateway.fleet.knows(&node) {
        return refused(StatusCode::CONFLICT, "the Swarm does not have this node");
    }
    gateway.fleet.report(&node, report);
    StatusCode::NO_CONTENT.into_response()
}

#[derive(Deserialize)]
struct Seen {
    #[serde(default)]
    seen: u64,
}

/// Waits for something that the agent has not seen; the current one is the answer when the time is up.
async fn assignment(State(gateway): State<Gateway>, Agent(node): Agent, Query(Seen { seen }): Query<Seen>) -> Response {
    let mut changes = gateway.fleet.changes();
    let newer = async {
        loop {
            changes.borrow_and_update();
            match gateway.fleet.assignment(&node) {
                Some(found) if found.serial != seen => return,
                _ => {}
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let _ = timeout(HOLD, newer).await;
    let found: Option<Arc<Assignment>> = gateway.fleet.assignment(&node);
    found.map_or_else(|| refused(StatusCode::CONFLICT, "the Swarm does not have this node"), |found| Json(&*found).into_response())
}

/// Serves until cancelled.
pub async fn serve(listener: TcpListener, config: Arc<ServerConfig>, gateway: Gateway, cancel: CancellationToken) {
    let acceptor = TlsAcceptor::from(config);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let router = router(gateway.clone());
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "an agent's connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // More than there can be nodes: they try again.
        let Ok(permit) = slots.clone().try_acquire_owned() else { continue };
        let (acceptor, router, gateway, cancel) = (acceptor.clone(), router.clone(), gateway.clone(), cancel.clone());
        tokio::spawn(async move {
            let served = tokio::select! {
                () = cancel.cancelled() => Ok(()),
                served = connection(stream, acceptor, router, &gateway) => served,
            };
            if let Err(error) = served {
                tracing::debug!(%peer, error, "an agent's connection ended with an error");
            }
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, router: Router, gateway: &Gateway) -> Result<(), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let stream = timeout(HANDSHAKE, acceptor.accept(stream)).await.map_err(|_| "no handshake in time".to_owned())?;
    let stream = stream.map_err(|error| error.to_string())?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
    let node = match &certificate {
        Some(certificate) => newest(gateway, certificate).await.map_err(|error| error.to_string())?,
        None => None,
    };
    let shown = Shown(node);
    let router = router.map_request(move |mut request: axum::http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(shown.clone());
        request
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
    builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await.map_err(|error| error.to_string())
}

/// The node of a certificate, when it is that node's newest.
async fn newest(gateway: &Gateway, certificate: &CertificateDer<'_>) -> Result<Option<String>, StoreError> {
    let Some(node) = node_of(certificate) else { return Ok(None) };
    let known = gateway.store.agent_fingerprint(&node).await?;
    Ok((known.as_deref() == Some(digest(certificate).as_str())).then_some(node))
}
