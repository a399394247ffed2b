//! Keeps the drift ledger: remembers what was seen of each app, and writes down what [`drift`] finds.
//!
//! What is remembered is of one process and one term of leadership, because another leader removes things too. The
//! ledger itself is in the database; an app without drift costs no statement.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api_types::drift::{DriftAction, DriftObject};
use api_types::event::EventType;
use api_types::{ConditionStatus, ConditionType};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use uuid::Uuid;

use super::desired::Desired;
use super::drift::{self, Finding, Memory};
use super::model::{Model, Observed};
use super::plan::Step;
use super::records::SharedRecords;
use crate::clock::SharedClock;
use crate::store::{AppRecord, DriftChange, DriftFound, DriftLook, NewEvent, StoreError};

/// Containers that are remembered as ended by a signal.
const KILLED_BOUND: usize = 1024;
/// How long a signal is waited upon: a process may take it and live on.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(15);

/// Containers that were sent a signal that ends them, the latest ones. What is forgotten is told as an exit.
#[derive(Debug, Default)]
pub struct Killed(Mutex<VecDeque<(String, Duration)>>);

impl Killed {
    /// Remembers a container; `now` is monotonic.
    pub fn insert(&self, container: String, now: Duration) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KILLED_BOUND {
            known.pop_front();
        }
        known.push_back((container, now));
    }

    fn since(&self, container: &str) -> Option<Duration> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().rev().find(|(id, _)| id == container).map(|(_, at)| *at)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DriftOf {
    object: Object,
    action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Object(DriftObject);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Action(DriftAction);

impl EncodeLabelValue for Object {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.0.word())
    }
}

impl EncodeLabelValue for Action {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(&self.0.word().to_ascii_lowercase())
    }
}

/// Counts drift by kind of object and what was done.
#[derive(Debug, Clone, Default)]
pub struct DriftMetrics(Family<DriftOf, Counter>);

impl DriftMetrics {
    /// Makes the metric with all its series and registers it.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for object in DriftObject::ALL {
            // Correcting is no end, only the way to one.
            for action in DriftAction::ALL.into_iter().filter(|action| *action != DriftAction::Correcting) {
                let _ = metrics.0.get_or_create_owned(&DriftOf { object: Object(object), action: Action(action) });
            }
        }
        registry.register("drift", "Changes that somebody made behind the platform's back, by what became of them", metrics.0.clone());
        metrics
    }

    fn count(&self, object: DriftObject, action: DriftAction) {
        if action != DriftAction::Correcting {
            self.0.get_or_create_owned(&DriftOf { object: Object(object), action: Action(action) }).inc();
        }
    }
}

/// See the module.
pub struct DriftWatch {
    /// The ledger.
    pub store: SharedRecords,
    /// Time.
    pub clock: SharedClock,
    /// Which controller this is.
    pub controller: String,
    /// Counts.
    pub metrics: DriftMetrics,
    /// Containers that were sent a signal that ends them.
    pub killed: Arc<Killed>,
    /// What is remembered of each app, and the term that it is of.
    pub memories: Mutex<HashMap<Uuid, (i64, Memory)>>,
}

impl fmt::Debug for DriftWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DriftWatch")
    }
}

impl DriftWatch {
    /// What somebody else changed of an app. `epoch` is the term of leadership.
    pub fn find(&self, desired: &Desired, observed: &Observed, epoch: i64) -> Vec<Finding> {
        let now = self.clock.now();
        let is_killed = |container: &str| self.killed.since(container).is_some();
        self.with(desired.owner.uid, epoch, |memory| drift::find(desired, observed, memory, is_killed, now))
    }

    /// To be called before a step is taken.
    pub fn before(&self, step: &Step, desired: &Desired, epoch: i64) {
        if *step == Step::Finalize {
            self.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(&desired.owner.uid);
        } else {
            self.with(desired.owner.uid, epoch, |memory| memory.before(step, desired));
        }
    }

    /// To be called when a step was taken while there was drift.
    pub fn after(&self, step: &Step, desired: &Desired, epoch: i64) {
        if *step != Step::Finalize {
            self.with(desired.owner.uid, epoch, |memory| memory.after(step, desired));
        }
    }

    fn with<T>(&self, uid: Uuid, epoch: i64, act: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = memories.entry(uid).or_insert_with(|| (epoch, Memory::default()));
        if entry.0 != epoch {
            *entry = (epoch, Memory::default());
        }
        act(&mut entry.1)
    }

    /// Whether a running task was sent a signal a moment ago, so that the engine's word on it is still to come.
    pub fn awaits_an_end(&self, observed: &Observed) -> bool {
        let now = self.clock.monotonic();
        let mut running = observed.tasks.known().into_iter().flatten().filter(|task| task.is_running());
        running.any(|task| self.killed.since(&task.container_id).is_some_and(|at| now.saturating_sub(at) < SIGNAL_PATIENCE))
    }

    /// Writes the findings down, ends what is no more, and returns what is worth an event.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn record(
        &self,
        record: &AppRecord,
        (desired, model): (&Desired, &Model),
        findings: &[Finding],
        epoch: i64,
    ) -> Result<Vec<NewEvent>, StoreError> {
        let before = api_types::condition::find(&record.status.conditions, ConditionType::Drifted);
        // What could not be read has not ended.
        if !model.known {
            return Ok(Vec::new());
        }
        // Without drift then and now there is no open row.
        if findings.is_empty() && before.is_some_and(|before| before.status == ConditionStatus::False) {
            return Ok(Vec::new());
        }
        let (policy, paused) = (desired.target.spec.drift_policy, model.paused.is_some());
        let found = findings.iter().map(|finding| DriftFound {
            kind: finding.kind,
            object: finding.object.clone(),
            field: finding.field.clone(),
            desired: finding.desired.clone(),
            observed: finding.observed.clone(),
            action: match (finding.action(policy, paused), &model.held) {
                // The policy does not hold a rollout back.
                (DriftAction::Held, None) => DriftAction::Correcting,
                (action, _) => action,
            },
        });
        let found: Vec<DriftFound> = found.collect();
        let touched: BTreeSet<String> = self.with(record.uid, epoch, |memory| memory.touched.clone());
        let look = DriftLook { uid: record.uid, found: &found, touched: &touched, controller: &self.controller };
        let changes = self.store.drift_put(&look, epoch).await?;
        if findings.is_empty() {
            self.with(record.uid, epoch, |memory| memory.touched.clear());
        }
        Ok(changes.iter().map(|change| self.tell(desired, change)).collect())
    }

    fn tell(&self, desired: &Desired, change: &DriftChange) -> NewEvent {
        self.metrics.count(change.found.kind, change.found.action);
        let DriftFound { kind, object, field, desired: wanted, observed, action } = &change.found;
        let mut message = format!("{field} of {} {object}: ", kind.word());
        let (event_type, reason, rest) = match (change.ended, action) {
            (true, _) => (EventType::Normal, "DriftEnded", format!("{wanted} again ({action})")),
            (false, DriftAction::Correcting) => {
                (EventType::Warning, "DriftFound", format!("{observed} instead of {wanted}; it is put right"))
            }
            (false, action) => (EventType::Warning, "DriftFound", format!("{observed} instead of {wanted} ({action})")),
        };
        // Writing to a string cannot fail.
        let _ = message.write_str(&rest);
        desired.event(event_type, reason, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_of_the_metric_exists_before_the_first_drift() {
        let mut registry = Registry::with_prefix("skyswarm");
        let metrics = DriftMetrics::register(&mut registry);
        metrics.count(DriftObject::Service, DriftAction::Corrected);
        metrics.count(DriftObject::Service, DriftAction::Correcting);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        for line in [
            "skyswarm_drift_total{object=\"service\",action=\"corrected\"} 1",
            "skyswarm_drift_total{object=\"network\",action=\"held\"} 0",
            "skyswarm_drift_total{object=\"route\",action=\"recorded\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line:?} in:\n{text}");
        }
        assert!(!text.contains("correcting"));
    }

    #[test]
    fn a_bounded_number_of_killed_containers_is_remembered_the_latest_ones() {
        let killed = Killed::default();
        for n in 0..=KILLED_BOUND {
            killed.insert(format!("c{n}"), Duration::from_secs(1));
        }
        assert_eq!((killed.since("c0"), killed.since("c1")), (None, Some(Duration::from_secs(1))));
    }
}
