//! How long each certificate is still good. The one label is a name that only platform administrators give,
//! and there are at most a thousand; a certificate that is gone leaves the metric with the next look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    certificate: String,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct CertificateMetrics {
    expiry: Family<Label, Gauge>,
    known: Arc<Mutex<BTreeSet<String>>>,
}

impl CertificateMetrics {
    /// Registers the metric.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Time until a certificate of the edge ends; negative when it has ended";
        registry.register_with_unit("certificate_expiry", help, Unit::Seconds, metrics.expiry.clone());
        metrics
    }

    /// Makes the metric that of these certificates.
    pub(super) fn set(&self, ends: &BTreeMap<String, TimeDelta>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for name in known.iter().filter(|name| !ends.contains_key(*name)) {
            self.expiry.remove(&Label { certificate: name.clone() });
        }
        for (name, left) in ends {
            self.expiry.get_or_create(&Label { certificate: name.clone() }).set(left.num_seconds());
        }
        *known = ends.keys().cloned().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_certificate_leaves_the_metric() {
        let mut registry = Registry::with_prefix("skyswarm");
        let metrics = CertificateMetrics::register(&mut registry);
        let ends = |names: &[(&str, i64)]| names.iter().map(|(name, left)| ((*name).to_owned(), TimeDelta::seconds(*left))).collect();
        metrics.set(&ends(&[("a", 60), ("b", -5)]));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        assert!(text.contains("skyswarm_certificate_expiry_seconds{certificate=\"a\"} 60"), "{text}");
        assert!(text.contains("{certificate=\"b\"} -5"), "{text}");
        metrics.set(&ends(&[("b", -6)]));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        assert!(!text.contains("\"a\"") && text.contains("{certificate=\"b\"} -6"), "{text}");
    }
}
