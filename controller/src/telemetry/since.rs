//! A metric that grows by itself: the seconds since something began.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};
use tokio::time::Instant;

/// Seconds since a moment, 0 while there is none or it is still to come.
///
/// It is computed when it is read, so that it goes on growing when whoever set it is stuck. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Since(Arc<Mutex<Option<Instant>>>);

impl Since {
    /// Sets the moment.
    pub fn set(&self, moment: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }

    /// The time since the moment.
    pub fn elapsed(&self) -> Duration {
        let moment = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moment.map(|moment| Instant::now().saturating_duration_since(moment)).unwrap_or_default()
    }
}

impl TypedMetric for Since {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for Since {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.encode_gauge(&self.elapsed().as_secs_f64())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_grows_from_its_moment_on_and_is_zero_before() {
        let since = Since::default();
        let mut registry = Registry::default();
        registry.register("age_seconds", "Age", since.clone());
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        assert!(text().contains("# TYPE age_seconds gauge\nage_seconds 0.0\n"), "{}", text());
        since.set(Some(Instant::now() + Duration::from_secs(1)));
        assert_eq!(since.elapsed(), Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(3500)).await;
        assert!(text().contains("\nage_seconds 2.5\n"), "{}", text());
        since.set(None);
        assert_eq!(since.elapsed(), Duration::ZERO);
    }
}
