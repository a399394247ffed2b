//! Counts and times of requests. Labels come from closed sets: route templates, never paths.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Metrics of the API.
#[derive(Debug, Clone)]
pub struct ApiMetrics {
    requests: Family<Request, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    pub(super) in_flight: Gauge,
    watches: Gauge,
    watches_ended: Family<Ended, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    reason: WatchEnd,
}

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum WatchEnd {
    /// The client went away.
    Left,
    /// The client did not take what was sent.
    Slow,
    /// Its token ended.
    Token,
    /// It could not go on, and the client was told why.
    Failed,
    /// The server stops.
    Shutdown,
}

/// A watch that is open; it no longer is on drop.
pub(super) struct OpenWatch(Gauge);

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: MethodLabel,
    route: RouteLabel,
    status: Class,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: MethodLabel,
    route: RouteLabel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(clippy::upper_case_acronyms, reason = "the label's words as HTTP writes them")]
enum MethodLabel {
    GET,
    HEAD,
    PUT,
    POST,
    DELETE,
    Other,
}

/// The route's template, such as `/v1/orgs/{org}/apps`, or `unmatched`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct RouteLabel(String);

impl EncodeLabelValue for RouteLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.as_str().encode(encoder)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    Success,
    Redirect,
    ClientError,
    ServerError,
}

impl EncodeLabelValue for Class {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
        .encode(encoder)
    }
}

fn histogram() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0])
}

impl Default for ApiMetrics {
    fn default() -> Self {
        let watches_ended = Family::<Ended, Counter>::default();
        for reason in [WatchEnd::Left, WatchEnd::Slow, WatchEnd::Token, WatchEnd::Failed, WatchEnd::Shutdown] {
            drop(watches_ended.get_or_create(&Ended { reason }));
        }
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            in_flight: Gauge::default(),
            watches: Gauge::default(),
            watches_ended,
        }
    }
}

impl ApiMetrics {
    /// Adds the metrics to a registry, which prefixes their names; call it once.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("api_requests", "Requests by route template and status class", self.requests.clone());
        registry.register("api_request_duration_seconds", "Time until a response began, by route template", self.seconds.clone());
        registry.register("api_requests_in_flight", "Requests whose response has not begun", self.in_flight.clone());
        registry.register("api_watches", "Watches that are open", self.watches.clone());
        registry.register("api_watches_ended", "Watches that ended, by reason", self.watches_ended.clone());
    }

    pub(super) fn watch_opened(&self) -> OpenWatch {
        self.watches.inc();
        OpenWatch(self.watches.clone())
    }

    pub(super) fn watch_ended(&self, reason: WatchEnd) {
        self.watches_ended.get_or_create(&Ended { reason }).inc();
    }

    pub(super) fn record(&self, method: &Method, route: Option<&str>, status: StatusCode, took: Duration) {
        let method = match method.as_str() {
            "GET" => MethodLabel::GET,
            "HEAD" => MethodLabel::HEAD,
            "PUT" => MethodLabel::PUT,
            "POST" => MethodLabel::POST,
            "DELETE" => MethodLabel::DELETE,
            _ => MethodLabel::Other,
        };
        let status = match status.as_u16() {
            500.. => Class::ServerError,
            400..=499 => Class::ClientError,
            300..=399 => Class::Redirect,
            _ => Class::Success,
        };
        let route = RouteLabel(route.unwrap_or("unmatched").to_owned());
        self.seconds.get_or_create(&Route { method, route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Request { method, route, status }).inc();
    }
}
