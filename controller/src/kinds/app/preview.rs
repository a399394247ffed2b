//! The dry run: what would be done about a manifest, from what was last observed. Pure.

use std::collections::BTreeMap;

use api_types::api::PlanStep;
use api_types::kinds::app::{AppSpec, Verdict, VerdictPhase};
use api_types::{ConditionType, EnvKey, Host, Reason};
use chrono::{DateTime, Utc};

use super::desired::Desired;
use super::model::{Model, Observed};
use super::plan;
use crate::plan::Step;
use crate::store::{AppRecord, Revision};

/// What a preview is made from.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The app as it is stored, or as it would be.
    pub record: &'a AppRecord,
    /// Whether the spec differs from the stored one.
    pub changed: bool,
    /// The spec that would be stored.
    pub spec: &'a AppSpec,
    /// Versions of the secrets as they would be stored.
    pub secret_versions: &'a BTreeMap<EnvKey, i64>,
    /// The exact image, where it is that of an older revision.
    pub resolved_image: Option<String>,
    /// The stored revision of the record's generation.
    pub newest: Option<&'a Revision>,
    /// The last revision before it that served.
    pub proven: Option<&'a Revision>,
    /// Hosts that the app would have, sorted.
    pub hosts: Vec<Host>,
    /// What was last observed; `None` for a new app.
    pub observed: Option<Observed>,
    /// Setting `swarm.endpoint_mode`.
    pub dnsrr: bool,
    /// Now.
    pub now: DateTime<Utc>,
}

/// The steps that would be taken.
pub fn steps(wanted: &Wanted<'_>) -> Vec<PlanStep> {
    let revision = revision(wanted);
    let generation = revision.generation;
    // The generation before may be the proven one when this one is new.
    let before = wanted.newest.filter(|newest| wanted.changed && newest.verdict.phase == VerdictPhase::Ready).or(wanted.proven);
    let record = AppRecord { generation, ..wanted.record.clone() };
    let desired = Desired::new(&record, &revision, before, wanted.hosts.clone(), wanted.dnsrr);
    let observed = wanted.observed.clone().unwrap_or_else(Observed::nothing);
    let mut model = Model::new(&desired, &observed, wanted.record.status.rollout, wanted.now);
    if !wanted.changed {
        let drifted = api_types::condition::find(&wanted.record.status.conditions, ConditionType::Drifted);
        model.held = drifted.filter(|found| found.reason == Reason::DriftHeld).map(|found| found.message.clone());
    }
    let plan = plan::plan(&desired, &model);
    plan.steps.iter().map(|planned| PlanStep { action: planned.step.word().to_owned(), description: planned.step.to_string() }).collect()
}

fn revision(wanted: &Wanted<'_>) -> Revision {
    if let Some(newest) = wanted.newest.filter(|_| !wanted.changed) {
        return newest.clone();
    }
    // An unchanged reference keeps its meaning, as it will when this is applied.
    let same = wanted.newest.filter(|newest| newest.spec.image == wanted.spec.image && !newest.verdict.is_about_the_image());
    let resolved_image = wanted.resolved_image.clone().or_else(|| same.and_then(|newest| newest.resolved_image.clone()));
    Revision {
        generation: wanted.record.generation + i64::from(wanted.changed && wanted.newest.is_some()),
        spec: wanted.spec.clone(),
        secret_versions: wanted.secret_versions.clone(),
        restarts: wanted.record.restarts.clone(),
        resolved_image,
        verdict: Verdict { phase: VerdictPhase::Pending, reason: None, cause: None, message: None, time: wanted.now },
        author: String::new(),
        source: String::new(),
        client: String::new(),
        based_on: None,
        created_at: wanted.now,
    }
}
