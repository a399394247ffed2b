//! What is counted of the connections to the database.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Store;

/// Counts a pool's connections when it is read.
#[derive(Debug)]
pub struct PoolCounts(pub Store);

impl Collector for PoolCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let pool = self.0.pool();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let idle = number(pool.num_idle());
        let used = (i64::from(pool.size()) - idle).max(0);
        let help = "Connections to the database by what they do";
        let mut metric = encoder.encode_descriptor("database_connections", help, None, MetricType::Gauge)?;
        for (state, count) in [("idle", idle), ("used", used)] {
            ConstGauge::new(count).encode(metric.encode_family(&[("state", state)])?)?;
        }
        let most = ConstGauge::new(i64::from(pool.options().get_max_connections()));
        let help = "Connections to the database that this process may have";
        most.encode(encoder.encode_descriptor("database_connections_max", help, None, MetricType::Gauge)?)
    }
}
