//! Answers that are ours and not an app's: the maintenance page, and 503 for what has to stay closed.
//!
//! It listens on loopback, and the proxy sends requests here with the path replaced by one that names the
//! app: no client can choose it. It runs beside the document, in the controller or, once that is gone, in the keeper;
//! where there is neither, the proxy answers 502, and the app itself stays out of reach all the same.

use std::collections::BTreeMap;

use api_types::kinds::edge::MaintenanceSpec;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use super::publisher::Documents;

/// Path of what has to stay closed.
pub(super) const CLOSED_PATH: &str = "/closed";
/// Header that tells our answer from an app's.
pub const PAGE_HEADER: &str = "x-skyswarm-page";
const CLOSED_RETRY_SECS: u64 = 10;

/// Path of an app's maintenance page.
pub(super) fn maintenance_path(key: &str) -> String {
    format!("/maintenance/{key}")
}

/// Maintenance pages by route key.
pub type Pages = BTreeMap<String, MaintenanceSpec>;

/// The responder, to be served on loopback.
pub fn router(published: Documents) -> Router {
    Router::new()
        .route("/maintenance/{key}", any(maintenance))
        .route(CLOSED_PATH, any(|| async { closed() }))
        .fallback(|| async { closed() })
        .with_state(published)
}

async fn maintenance(State(published): State<Documents>, Path(key): Path<String>) -> Response {
    let published = published.borrow().clone();
    let page = published.as_ref().and_then(|published| published.pages.get(&key));
    match page {
        Some(page) => answer("maintenance", page.retry_after.get().as_secs(), html(page)),
        // Switched off this very moment.
        None => closed(),
    }
}

fn closed() -> Response {
    answer("closed", CLOSED_RETRY_SECS, document("This app cannot be reached right now. Please try again in a moment."))
}

fn answer(word: &'static str, retry_after: u64, body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::RETRY_AFTER, HeaderValue::from(retry_after)),
        (HeaderName::from_static(PAGE_HEADER), HeaderValue::from_static(word)),
    ];
    (StatusCode::SERVICE_UNAVAILABLE, headers, body).into_response()
}

fn html(page: &MaintenanceSpec) -> String {
    match &page.html {
        Some(html) => html.clone(),
        None => document(page.message.as_deref().unwrap_or("This app is under maintenance. Please try again later.")),
    }
}

/// Our own page around a text.
fn document(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Unavailable</title><style>body{{font:1.1rem/1.5 sans-serif;max-width:34rem;margin:20vh auto;padding:0 1rem}}</style></head>\
         <body><p>{escaped}</p></body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::edge::publisher::Published;
    use axum::body::Body;
    use axum::http::Request;
    use tokio::sync::watch;
    use tower::ServiceExt;

    async fn ask(router: &Router, path: &str) -> (StatusCode, String, String, String) {
        let response = router.clone().oneshot(Request::post(path).body(Body::empty()).expect("a request")).await.expect("an answer");
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let (status, retry, word) = (response.status(), header("retry-after"), header(PAGE_HEADER));
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, retry, word, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn a_page_is_the_apps_own_and_its_text_cannot_become_markup() {
        let text = |message: &str| MaintenanceSpec { message: Some(message.to_owned()), ..MaintenanceSpec::default() };
        let own = MaintenanceSpec { html: Some("<h1>Back at nine</h1>".to_owned()), ..MaintenanceSpec::default() };
        let pages = Pages::from([("a".to_owned(), text("<script>x</script> & \"y\"")), ("b".to_owned(), own)]);
        let published = Published { pages, ..Published::empty() };
        let router = router(watch::Sender::new(Some(Arc::new(published))).subscribe());
        let (status, retry, word, body) = ask(&router, "/maintenance/a").await;
        assert_eq!((status.as_u16(), retry.as_str(), word.as_str()), (503, "300", "maintenance"));
        assert!(body.contains("&lt;script&gt;x&lt;/script&gt; &amp; &quot;y&quot;") && !body.contains("<script>"), "{body}");
        assert_eq!(ask(&router, "/maintenance/b").await.3, "<h1>Back at nine</h1>");
        for path in ["/maintenance/c", "/closed", "/", "/edge/v1/traefik"] {
            assert_eq!(ask(&router, path).await.2, "closed", "{path}");
        }
    }
}
