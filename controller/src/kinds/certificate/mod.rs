//! Certificates: the edge's document carries them as they are stored, so there is nothing to plan. What is
//! left is to look: which certificate do clients of its names get, and how long is it still good.
//!
//! One key for all of them: a look costs a handshake for each name, and a thousand certificates are few. When
//! the edge cannot be asked, conditions say so; nothing here takes a certificate away.

mod metrics;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::{Certificate, ConditionStatus};
use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::watch;

use crate::clock::SharedClock;
use crate::effects::{Effects, Kind};
use crate::engines::traefik::ProxyApi;
use crate::plan::Fact;
use crate::runtime::{BoxError, Class, Outcome, Reconciler, Run};
use crate::settings::Settings;
use crate::store::{Store, StoreError};

pub use metrics::CertificateMetrics;
pub use status::{Look, conditions};

/// Names of one certificate that are asked for in a run; with more, the first ones stand for all.
const MAX_ASKED: usize = 20;
/// Handshakes at the same time.
const AT_ONCE: usize = 8;
/// How soon to look again while clients do not get a new certificate yet, and for how long that is so.
const SOON: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at the certificates that the edge serves.
pub struct CertificateReconciler {
    /// The proxy.
    pub proxy: Arc<dyn ProxyApi>,
    /// The database.
    pub store: Store,
    /// What writes pass through.
    pub effects: Effects,
    /// Time.
    pub clock: SharedClock,
    /// Settings.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// What is counted.
    pub metrics: CertificateMetrics,
}

impl CertificateReconciler {
    /// What clients of each name get.
    async fn look(&self, certificate: &Certificate) -> Look {
        let names: Vec<String> = match &certificate.status {
            Some(status) => status.dns_names.iter().take(MAX_ASKED).cloned().collect(),
            None => Vec::new(),
        };
        let asked = futures::stream::iter(names).map(|name| {
            let proxy = self.proxy.clone();
            async move {
                let got = proxy.served_certificate(&host_of(&name)).await;
                (name, got)
            }
        });
        Look(asked.buffered(AT_ONCE).collect::<Vec<(String, Fact<String>)>>().await)
    }
}

/// A host that a name of a certificate is good for.
fn host_of(name: &str) -> String {
    name.strip_prefix("*.").map_or_else(|| name.to_owned(), |rest| format!("skyswarm-probe.{rest}"))
}

#[async_trait]
impl Reconciler for CertificateReconciler {
    type Key = String;

    fn name(&self) -> &'static str {
        "certificate"
    }

    async fn reconcile(&self, _key: &String, run: &Run) -> Outcome {
        let certificates = match self.store.certificate_list().await {
            Ok(certificates) => certificates,
            Err(error) => return Outcome::failed(Class::Transient, error),
        };
        let warning = self.settings.borrow().certificate_warning();
        let mut ends = BTreeMap::new();
        let mut found = Vec::with_capacity(certificates.len());
        let mut soon = false;
        for certificate in &certificates {
            let look = self.look(certificate).await;
            let now = self.clock.now();
            let conditions = conditions(certificate, &look, warning, now);
            soon |= conditions.iter().any(|condition| {
                condition.status != ConditionStatus::True
                    && (now - condition.last_transition_time).to_std().is_ok_and(|since| since < PATIENCE)
            });
            if let Some(until) = certificate.status.as_ref().and_then(|status| status.not_after) {
                ends.insert(certificate.metadata.name.clone(), until - now);
            }
            if let Some(uid) = certificate.metadata.uid {
                found.push((uid, conditions));
            }
        }
        self.metrics.set(&ends);
        let act = || self.store.certificate_conditions_put(&found, run.epoch);
        match self.effects.run(Kind::CertificatesPut, "certificates", act).await {
            Ok(()) if soon => Outcome::requeue(SOON),
            Ok(()) => Outcome::done(),
            Err(StoreError::Deposed) => Outcome::failed(Class::Cancelled, StoreError::Deposed),
            Err(error) => Outcome::failed(Class::Transient, error),
        }
    }

    async fn keys(&self) -> Result<Vec<String>, BoxError> {
        Ok(vec!["certificates".to_owned()])
    }
}
