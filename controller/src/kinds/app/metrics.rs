//! What is counted of apps. Labels are closed sets; which app it was is in the events.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use api_types::kinds::app::{RolloutStatus, Verdict, VerdictPhase};
use api_types::{Condition, ConditionStatus, ConditionType, Reason};
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::store::AppKey;

/// Why generations fail; every series is there from the start.
const FAILURES: [Reason; 10] = [
    Reason::ImageNotFound,
    Reason::RegistryUnreachable,
    Reason::Unschedulable,
    Reason::CrashLoop,
    Reason::OutOfMemory,
    Reason::HealthCheckFailing,
    Reason::PortClosed,
    Reason::TaskRejected,
    Reason::EngineRefused,
    Reason::ProgressDeadlineExceeded,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Because {
    reason: String,
}

/// Whether each app is ready, as it was last seen. One entry an app.
#[derive(Debug, Clone, Default)]
struct ReadyApps(Arc<Mutex<HashMap<AppKey, ConditionStatus>>>);

impl EncodeMetric for ReadyApps {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let apps = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let words = [("true", ConditionStatus::True), ("false", ConditionStatus::False), ("unknown", ConditionStatus::Unknown)];
        for (word, status) in words {
            let count = apps.values().filter(|found| **found == status).count();
            ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX)).encode(encoder.encode_family(&[("ready", word)])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// The metrics of apps. Cloning shares them.
#[derive(Debug, Clone)]
pub struct AppMetrics {
    rollouts: Family<Ended, Counter>,
    failures: Family<Because, Counter>,
    seconds: Family<Ended, Histogram, fn() -> Histogram>,
    apps: ReadyApps,
}

impl AppMetrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        // 0.5 s to 17 min.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.5, 2.0, 12));
        let metrics = Self {
            rollouts: Family::default(),
            failures: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            apps: ReadyApps::default(),
        };
        for result in ["ready", "failed"] {
            metrics.rollouts.get_or_create_owned(&Ended { result });
            metrics.seconds.get_or_create_owned(&Ended { result });
        }
        for reason in FAILURES {
            metrics.failures.get_or_create_owned(&Because { reason: reason.to_string() });
        }
        registry.register("rollouts", "Generations of apps by the verdict on them", metrics.rollouts.clone());
        registry.register("rollout_failures", "Generations of apps that failed, by reason", metrics.failures.clone());
        registry.register("rollout_duration_seconds", "From the start of a rollout to the verdict on it", metrics.seconds.clone());
        registry.register("apps", "Apps by their condition Ready, as the leader last saw them", metrics.apps.clone());
        metrics
    }

    /// A verdict was stored.
    pub fn judged(&self, verdict: &Verdict, rollout: &RolloutStatus) {
        let result = match verdict.phase {
            VerdictPhase::Ready => "ready",
            VerdictPhase::Failed => "failed",
            VerdictPhase::Pending | VerdictPhase::Rolling => return,
        };
        if let Some(reason) = verdict.reason.filter(|_| verdict.phase == VerdictPhase::Failed) {
            self.failures.get_or_create_owned(&Because { reason: reason.to_string() }).inc();
        }
        self.rollouts.get_or_create_owned(&Ended { result }).inc();
        let took = (verdict.time - rollout.started_at).to_std().unwrap_or_default();
        self.seconds.get_or_create_owned(&Ended { result }).observe(took.as_secs_f64());
    }

    /// An app has these conditions now.
    pub fn saw(&self, key: &AppKey, conditions: &[Condition]) {
        let status = api_types::condition::find(conditions, ConditionType::Ready).map_or(ConditionStatus::Unknown, |ready| ready.status);
        let mut apps = self.apps.0.lock().unwrap_or_else(PoisonError::into_inner);
        match apps.get_mut(key) {
            Some(known) => *known = status,
            None => {
                apps.insert(key.clone(), status);
            }
        }
    }

    /// An app is gone.
    pub fn forget(&self, key: &AppKey) {
        self.apps.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// These are all apps; what is known of others is forgotten.
    pub fn keep(&self, keys: &[AppKey]) {
        let keys: HashSet<&AppKey> = keys.iter().collect();
        self.apps.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| keys.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    fn key(name: &str) -> AppKey {
        AppKey { org: "acme".parse().unwrap(), name: name.parse().unwrap() }
    }

    fn ready(status: ConditionStatus) -> Condition {
        Condition {
            kind: ConditionType::Ready,
            status,
            reason: Reason::Serving,
            message: String::new(),
            observed_generation: 1,
            last_transition_time: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn verdicts_and_ready_apps_are_counted() {
        let mut registry = Registry::default();
        let metrics = AppMetrics::register(&mut registry);
        let begun = DateTime::UNIX_EPOCH;
        let rollout = RolloutStatus { generation: 1, started_at: begun, last_progress_at: begun, progress: 0, healthy_since: None };
        let verdict = |phase, reason| Verdict { phase, reason, cause: None, message: None, time: begun + TimeDelta::seconds(3) };
        metrics.judged(&verdict(VerdictPhase::Rolling, None), &rollout);
        metrics.judged(&verdict(VerdictPhase::Failed, Some(Reason::CrashLoop)), &rollout);
        metrics.judged(&verdict(VerdictPhase::Ready, None), &rollout);
        metrics.saw(&key("shop"), &[ready(ConditionStatus::False)]);
        metrics.saw(&key("shop"), &[ready(ConditionStatus::True)]);
        metrics.saw(&key("blog"), &[]);
        metrics.saw(&key("gone"), &[ready(ConditionStatus::True)]);
        metrics.saw(&key("lost"), &[ready(ConditionStatus::True)]);
        metrics.forget(&key("gone"));
        metrics.keep(&[key("shop"), key("blog")]);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "rollouts_total{result=\"ready\"} 1",
            "rollouts_total{result=\"failed\"} 1",
            "rollout_failures_total{reason=\"CrashLoop\"} 1",
            "rollout_failures_total{reason=\"OutOfMemory\"} 0",
            "rollout_duration_seconds_sum{result=\"ready\"} 3.0",
            "apps{ready=\"true\"} 1",
            "apps{ready=\"unknown\"} 1",
            "apps{ready=\"false\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line:?} in:\n{text}");
        }
    }
}
