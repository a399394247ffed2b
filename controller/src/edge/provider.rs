//! The endpoint that Traefik's HTTP provider asks.
//!
//! Traefik polls and has no notion of a long poll, but it waits for an answer. So a proxy that names
//! itself (header [`PROXY_HEADER`], a new value for each start of it) and already got the current document
//! is kept waiting until there is another: a change is on its way at once instead of at the next poll,
//! which matters most for addresses that must leave. Which document a proxy has is only guessed here; a
//! lost answer costs one waiting time, since then it is answered with the current document anyway.
//!
//! While there is no document the answer is 503, never an empty 200, which would wipe every route. It
//! is held back too, because Traefik waits longer after each failure in a row.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::publisher::{Documents, Published};

/// Path of the document.
pub const PATH: &str = "/edge/v1/traefik";
/// Header with the internal token.
pub const TOKEN_HEADER: &str = "x-skyswarm-internal-token";
/// Header in which a proxy names its own start, so that it can be kept waiting.
pub const PROXY_HEADER: &str = "x-skyswarm-proxy";
/// Header of the answer: the document's revision.
pub const REVISION_HEADER: &str = "x-skyswarm-revision";
/// Proxies that are remembered; more means that somebody makes names up, and costs only latency.
const MAX_PROXIES: usize = 64;

/// How long a proxy is kept waiting.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// When there is nothing newer than what it has.
    pub hold_current: Duration,
    /// When there is no document yet. Traefik's timeout for polls must be longer.
    pub hold_missing: Duration,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self { hold_current: Duration::from_secs(1), hold_missing: Duration::from_secs(40) }
    }
}

struct Provider {
    published: Documents,
    token_digest: [u8; 32],
    config: ProviderConfig,
    cancel: CancellationToken,
    /// Revision that each proxy was last sent.
    sent: Mutex<HashMap<String, u64>>,
}

/// The endpoint, to be served on loopback or between nodes, never to tenants. Cancelling the token ends
/// the answers that are held back. Do that before Traefik is told to stop: it waits for its last poll.
pub fn router(published: Documents, token: &SecretString, config: ProviderConfig, cancel: CancellationToken) -> Router {
    let token_digest = Sha256::digest(token.expose_secret()).into();
    let state = Arc::new(Provider { published, token_digest, config, cancel, sent: Mutex::default() });
    Router::new().route(PATH, get(document)).with_state(state)
}

async fn document(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    let presented = headers.get(TOKEN_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
    // Digests have one length, so the time tells nothing about the token.
    let digest: [u8; 32] = Sha256::digest(presented).into();
    if !bool::from(digest.ct_eq(&provider.token_digest)) {
        return (StatusCode::UNAUTHORIZED, "the internal token is missing or wrong\n").into_response();
    }
    let proxy = headers.get(PROXY_HEADER).and_then(|value| value.to_str().ok()).filter(|name| name.len() <= 64);
    let found = match proxy {
        Some(proxy) => provider.newer_than_sent(proxy).await,
        None => provider.published.borrow().clone(),
    };
    match found {
        Some(published) => answer(&published),
        None => (StatusCode::SERVICE_UNAVAILABLE, "there is no edge document yet\n").into_response(),
    }
}

impl Provider {
    /// Waits for something that this proxy does not have; gives what there is when the time is up.
    async fn newer_than_sent(&self, proxy: &str) -> Option<Arc<Published>> {
        let mut published = self.published.clone();
        let hold = if published.borrow().is_some() { self.config.hold_current } else { self.config.hold_missing };
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner).get(proxy).copied();
        let newer = published.wait_for(|last| last.as_ref().is_some_and(|last| Some(last.revision) != sent));
        tokio::select! {
            // Whichever way it ends, the current document is the answer.
            _ = timeout(hold, newer) => {}
            () = self.cancel.cancelled() => {}
        }
        let current = self.published.borrow().clone();
        if let Some(current) = &current {
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            if sent.len() >= MAX_PROXIES && !sent.contains_key(proxy) {
                sent.clear();
            }
            sent.insert(proxy.to_owned(), current.revision);
        }
        current
    }
}

fn answer(published: &Published) -> Response {
    let mut response = Response::new(Body::from(published.json.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REVISION_HEADER, HeaderValue::from(published.revision));
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}-{}\"", published.revision, published.hash)) {
        headers.insert(header::ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use bytes::Bytes;
    use std::collections::BTreeMap;
    use tokio::sync::watch;
    use tokio::time::Instant;
    use tower::ServiceExt;

    fn published(revision: u64) -> Option<Arc<Published>> {
        let json = Bytes::from(format!("{{\"n\":{revision}}}"));
        let hash = "cafe".to_owned();
        Some(Arc::new(Published {
            revision,
            hash,
            stamp: String::new(),
            json,
            servers_by_key: BTreeMap::new(),
            entries: std::collections::BTreeSet::new(),
            pages: BTreeMap::new(),
        }))
    }
    fn config() -> ProviderConfig {
        ProviderConfig { hold_current: Duration::from_secs(5), hold_missing: Duration::from_secs(40) }
    }
    fn lab() -> (watch::Sender<Option<Arc<Published>>>, Router, CancellationToken) {
        let (sender, receiver) = watch::channel(None);
        let cancel = CancellationToken::new();
        (sender, router(receiver, &SecretString::from("secret"), config(), cancel.clone()), cancel)
    }
    async fn ask(router: &Router, token: &str, proxy: Option<&str>) -> (StatusCode, Option<String>, Duration) {
        let start = Instant::now();
        let mut request = Request::get(PATH).header(TOKEN_HEADER, token);
        if let Some(proxy) = proxy {
            request = request.header(PROXY_HEADER, proxy);
        }
        let response = router.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
        let etag = response.headers().get(header::ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
        (response.status(), etag, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_token_opens_and_without_a_document_the_answer_is_503() {
        let (sender, router, _) = lab();
        for wrong in ["", "secre", "secret2", "Secret"] {
            assert_eq!(ask(&router, wrong, None).await.0, StatusCode::UNAUTHORIZED, "{wrong}");
        }
        assert_eq!(ask(&router, "secret", None).await, (StatusCode::SERVICE_UNAVAILABLE, None, Duration::ZERO));
        let (status, _, took) = ask(&router, "secret", Some("p")).await;
        assert_eq!((status, took.as_secs()), (StatusCode::SERVICE_UNAVAILABLE, 40), "held back, or the proxy would wait ever longer");
        sender.send_replace(published(1));
        assert_eq!(ask(&router, "secret", None).await, (StatusCode::OK, Some("\"1-cafe\"".to_owned()), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_gets_what_is_new_at_once_and_waits_for_what_is_not() {
        let (sender, router, cancel) = lab();
        let change = |revision, after| {
            let sender = sender.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                sender.send_replace(published(revision));
            })
        };
        change(1, 100);
        let first = ask(&router, "secret", Some("p")).await;
        assert_eq!((first.0, first.2.as_millis()), (StatusCode::OK, 100), "the first document ends the wait");
        change(2, 700);
        let second = ask(&router, "secret", Some("p")).await;
        assert_eq!((second.1.as_deref(), second.2.as_millis()), (Some("\"2-cafe\""), 700));
        let same = ask(&router, "secret", Some("p")).await;
        assert_eq!((same.0, same.1.as_deref(), same.2.as_secs()), (StatusCode::OK, Some("\"2-cafe\""), 5), "a lost answer is repeated");
        assert_eq!(ask(&router, "secret", Some("restarted")).await.2, Duration::ZERO);
        cancel.cancel();
        assert_eq!(ask(&router, "secret", Some("p")).await.2, Duration::ZERO);
    }
}
