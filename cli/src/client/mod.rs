//! Talks HTTP to the server. Every request has a deadline, every answer a size limit.
//!
//! Requests are never repeated here: what may be repeated, and how long, is for each command to say.

pub mod routes;
mod sse;
mod stream;

#[cfg(test)]
mod tests;

use std::time::Duration;

use api_types::api::{HealthResponse, List};
use api_types::problem::ProblemKind;
use api_types::{OrgName, Problem};
use reqwest::{Method, RequestBuilder, Response, StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

pub use sse::Messages;

use crate::context::Target;
use crate::errors::{CliError, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A little more than the server's own deadline, so that its answer says what took so long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(35);
/// Objects that one request asks for.
const PAGE: usize = 500;
/// Longest list that is put together.
const MAX_OBJECTS: usize = 1_000_000;
/// Largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A server and a token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<SecretString>,
}

impl Client {
    /// A client for the target's server.
    ///
    /// # Errors
    /// When its address is no HTTP URL.
    pub fn new(target: &Target) -> Result<Self> {
        let base = parse_base(&target.url)?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect to another host would carry the request's body there.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("skyctl/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| CliError::io("the HTTP client cannot be set up", error))?;
        Ok(Self { http, base, token: target.token.clone() })
    }

    /// The server's address, for messages.
    pub fn url(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, String)]) -> Result<RequestBuilder> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let builder = self.http.request(method, url);
        Ok(match &self.token {
            Some(token) => builder.bearer_auth(token.expose_secret()),
            None => builder,
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.send(request.timeout(REQUEST_TIMEOUT)).await?;
        let bytes = self.body(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.protocol(format!("unexpected JSON ({error})")))
    }

    /// `GET`, answered with JSON.
    ///
    /// # Errors
    /// See [`CliError`]; so below.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T> {
        self.json(self.request(Method::GET, path, query)?).await
    }

    /// A whole list, page by page, so that no answer is larger than it need be.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn list<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<Vec<T>> {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.push(("limit", PAGE.to_string()));
            query.extend(next.take().map(|token| ("continue", token)));
            let page: List<T> = self.get(path, &query).await?;
            items.extend(page.items);
            match page.metadata.continue_token {
                Some(token) if items.len() < MAX_OBJECTS => next = Some(token),
                Some(_) => return Err(self.protocol(format!("a list of more than {MAX_OBJECTS} objects"))),
                None => return Ok(items),
            }
        }
    }

    /// Which parts of the server answer, whatever the status that it says so with.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn health(&self) -> Result<HealthResponse> {
        let request = self.request(Method::GET, routes::READY, &[])?.timeout(REQUEST_TIMEOUT);
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let bytes = self.body(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.protocol(format!("unexpected JSON ({error})")))
    }

    /// `POST` with a JSON body.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)], body: &(impl Serialize + ?Sized)) -> Result<T> {
        self.json(self.request(Method::POST, path, query)?.json(body)).await
    }

    /// `PUT` with a JSON body.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn put<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + ?Sized)) -> Result<T> {
        self.json(self.request(Method::PUT, path, &[])?.json(body)).await
    }

    /// `PATCH` with a JSON merge patch.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)], body: &(impl Serialize + ?Sized)) -> Result<T> {
        // Before the body, which else brings its own along.
        let request = self.request(Method::PATCH, path, query)?.header(reqwest::header::CONTENT_TYPE, "application/merge-patch+json");
        self.json(request.json(body)).await
    }

    /// `DELETE`; the answer's body is of no interest.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn delete(&self, path: &str) -> Result<()> {
        let request = self.request(Method::DELETE, path, &[])?.timeout(REQUEST_TIMEOUT);
        self.send(request).await.map(drop)
    }

    /// The organisation to work in: the one that was named, the token's own, the context's, `default`.
    ///
    /// # Errors
    /// When the server has to be asked and does not answer.
    pub async fn org(&self, target: &Target) -> Result<OrgName> {
        if let Some(org) = &target.explicit_org {
            return Ok(org.clone());
        }
        let whoami: api_types::api::WhoAmI = self.get(routes::WHOAMI, &[]).await?;
        let own = whoami.org.and_then(|org| org.parse().ok());
        let found = own.or_else(|| target.context_org.clone());
        match found {
            Some(org) => Ok(org),
            None => "default".parse().map_err(|error: api_types::name::ParseError| CliError::Failed(error.to_string())),
        }
    }

    fn unreachable(&self, error: reqwest::Error) -> CliError {
        CliError::Unreachable { url: self.url(), source: Box::new(error.without_url()) }
    }

    fn protocol(&self, what: String) -> CliError {
        CliError::Protocol { url: self.url(), what }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(self.protocol(format!("it is larger than {} MiB", MAX_ANSWER >> 20)));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The server's problem document; a proxy's page becomes the problem that its status stands for.
    async fn refusal(&self, response: Response) -> CliError {
        let status = response.status();
        let bytes = match self.body(response).await {
            Ok(bytes) => bytes,
            Err(error) => return error,
        };
        if let Ok(problem) = serde_json::from_slice::<Problem>(&bytes) {
            return CliError::Problem(Box::new(problem));
        }
        let kind = match status {
            StatusCode::UNAUTHORIZED => ProblemKind::Unauthorized,
            StatusCode::FORBIDDEN => ProblemKind::Forbidden,
            StatusCode::TOO_MANY_REQUESTS => ProblemKind::TooManyRequests,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => ProblemKind::Unavailable,
            _ => return self.protocol(format!("HTTP status {status} without a problem document")),
        };
        CliError::Problem(Box::new(Problem::new(kind, format!("{} answered with HTTP status {status}", self.url()))))
    }
}

fn parse_base(text: &str) -> Result<Url> {
    let wrong = |why: &str| CliError::Usage(format!("\"{text}\" is no address of a server ({why}); it looks like http://127.0.0.1:7070"));
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => {}
        _ => return Err(wrong("it must begin with http:// or https://")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(CliError::Usage("the address of the server must not hold a password; use SKYSWARM_TOKEN".to_owned()));
    }
    Ok(url)
}

/// Whether an address is on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
