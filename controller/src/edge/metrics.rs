//! What is counted of the edge.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::Instant;

use super::EndpointTable;
use super::publisher::Documents;
use crate::telemetry::Since;

/// The edge's metrics. Cloning shares them.
#[derive(Debug, Clone)]
pub struct EdgeMetrics {
    revision: Gauge,
    applied: Gauge,
    lag: Since,
    seconds: Histogram,
    up: Gauge,
}

impl EdgeMetrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            revision: Gauge::default(),
            applied: Gauge::default(),
            lag: Since::default(),
            // 50 ms to 26 s: a proxy asks every 250 ms.
            seconds: Histogram::new(exponential_buckets(0.05, 2.0, 10)),
            up: Gauge::default(),
        };
        registry.register("edge_revision", "Revision of the newest edge document, counted from the start", metrics.revision.clone());
        registry.register("edge_revision_applied", "Revision that the proxy was last seen to run", metrics.applied.clone());
        let help = "Since when the proxy has not been running the newest document; 0 while it does";
        registry.register("edge_revision_lag_seconds", help, metrics.lag.clone());
        registry.register("edge_apply_duration_seconds", "From publishing a document to seeing the proxy run it", metrics.seconds.clone());
        registry.register("edge_proxy_up", "1 when the proxy's API answered the last question", metrics.up.clone());
        metrics
    }

    pub(super) fn published(&self, revision: u64) {
        self.revision.set(number(revision));
    }

    pub(super) fn took(&self, revision: u64, took: Duration) {
        self.applied.set(number(revision));
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn behind_since(&self, moment: Option<Instant>) {
        self.lag.set(moment);
    }

    pub(super) fn answers(&self, answers: bool) {
        self.up.set(i64::from(answers));
    }
}

/// Counts of what is published, made when they are read.
#[derive(Debug)]
pub struct EdgeCounts {
    /// The document.
    pub published: Documents,
    /// The tasks.
    pub endpoints: watch::Receiver<Arc<EndpointTable>>,
}

impl Collector for EdgeCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let published = self.published.borrow().clone();
        let servers = published.iter().flat_map(|published| published.servers_by_key.values());
        let (mut with, mut without) = (0_i64, 0_i64);
        for servers in servers {
            if servers.is_empty() { without += 1 } else { with += 1 }
        }
        let table = self.endpoints.borrow().clone();
        let ready = number(table.endpoints.values().filter(|endpoint| endpoint.ready).count());
        let unready = number(table.endpoints.len()) - ready;
        let help = "Routes in the newest document, by whether a task can take their requests";
        family(&mut encoder, "edge_routes", help, "backends", [("some", with), ("none", without)])?;
        let help = "Tasks of this node that take requests, by whether their last checks passed";
        family(&mut encoder, "edge_endpoints", help, "ready", [("true", ready), ("false", unready)])
    }
}

/// Gauges that differ in one label.
fn family<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    values: [(&'static str, i64); N],
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (value, count) in values {
        ConstGauge::new(count).encode(metric.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}

fn number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::edge::publisher::Published;

    #[test]
    fn routes_are_counted_by_whether_somebody_answers() {
        let servers = |count: u16| (0..count).map(|port| std::net::SocketAddr::from(([10, 0, 0, 1], port)).into()).collect();
        let servers_by_key = BTreeMap::from([("a".to_owned(), servers(2)), ("b".to_owned(), servers(0)), ("c".to_owned(), servers(1))]);
        let (_published, published) = watch::channel(Some(Arc::new(Published { servers_by_key, ..Published::empty() })));
        let (_endpoints, endpoints) = watch::channel(Arc::new(EndpointTable::default()));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(EdgeCounts { published, endpoints }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in ["edge_routes{backends=\"some\"} 2", "edge_routes{backends=\"none\"} 1", "edge_endpoints{ready=\"true\"} 0"] {
            assert!(text.lines().any(|found| found == line), "no line {line:?} in:\n{text}");
        }
    }
}
