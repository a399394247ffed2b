//! Plans for the API: what the App kind would do, from stored rows and the stored observation alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::EnvKey;
use api_types::api::PlanStep;
use api_types::kinds::app::VerdictPhase;
use api_types::why::Witness;
use serde_json::Value;
use tokio::sync::watch;
use tracing::warn;
use uuid::Uuid;

use crate::api::{Adoptable, PlanInput, Planner};
use crate::clock::SharedClock;
use crate::engines::swarm::Service;
use crate::kinds::app::desired;
use crate::kinds::app::model::Observed;
use crate::kinds::app::preview::{self, Wanted};
use crate::kinds::app::witness;
use crate::plan::Fact;
use crate::settings::{EndpointMode, Settings};
use crate::store::{AppRecord, Revision};

/// Plans apps.
pub(super) struct AppPlanner {
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) clock: SharedClock,
}

impl Planner for AppPlanner {
    fn witness(&self, observed: &Value, generation: i64) -> Option<Witness> {
        let observed: Observed = serde_json::from_value(observed.clone()).ok()?;
        // A change of scale makes no new release, so the services may be those of an older generation.
        let found = witness::find(&observed, Some(generation)).or_else(|| witness::find(&observed, None));
        found.map(|found| found.witness)
    }

    fn plan(&self, input: PlanInput) -> Vec<PlanStep> {
        let settings = self.settings.borrow().clone();
        let secret_versions = match &input.restored {
            Some(revision) => revision.secret_versions.clone(),
            None => secret_versions(&input),
        };
        let changed = match &input.current {
            Some(record) => input.restored.is_some() || record.spec != input.wanted || record.secret_versions != secret_versions,
            None => true,
        };
        let platform = settings.platform_host(&input.org, &input.name);
        let hosts = desired::hosts(&input.wanted, input.custom_hosts.iter().cloned(), platform);
        let PlanInput { org, name, current, wanted, observed, revisions, restored, adoptions, .. } = input;
        let is_new = current.is_none();
        let mut record = current.unwrap_or_else(|| AppRecord {
            org,
            name,
            // Names on the engine carry the uid, and a plan shows none of them.
            uid: Uuid::nil(),
            generation: 1,
            resource_version: 0,
            desired_version: 0,
            labels: BTreeMap::new(),
            finalizers: Vec::new(),
            created_at: self.clock.now(),
            deletion_timestamp: None,
            spec: wanted.clone(),
            secret_versions: secret_versions.clone(),
            restarts: BTreeMap::new(),
            adopted: BTreeMap::new(),
            status: Default::default(),
            pause: Default::default(),
        });
        let changed = changed || adoptions.iter().any(|service| record.adopted.get(&service.grant.service) != Some(&service.grant.id));
        record.adopted.extend(adoptions.iter().map(|service| (service.grant.service.clone(), service.grant.id.clone())));
        let newest = revisions.iter().find(|revision| revision.generation == record.generation);
        let observed = observed.and_then(|value| match serde_json::from_value(value) {
            Ok(observed) => Some(observed),
            Err(error) => {
                // Written by another release; the next observation replaces it.
                warn!(%error, app = %record.name, "a stored observation cannot be read");
                None
            }
        });
        let observed = with_services(observed, &adoptions);
        preview::steps(&Wanted {
            changed,
            spec: &wanted,
            secret_versions: &secret_versions,
            resolved_image: restored.and_then(|revision| revision.resolved_image),
            newest: newest.filter(|_| !is_new),
            proven: proven(&revisions, record.generation),
            hosts,
            observed,
            dnsrr: settings.endpoint_mode() == EndpointMode::Dnsrr,
            now: self.clock.now(),
            record: &record,
        })
    }
}

/// Adds services that may be taken over to what was observed of an app, which was not theirs so far.
fn with_services(observed: Option<Observed>, adoptions: &[Adoptable]) -> Option<Observed> {
    if adoptions.is_empty() {
        return observed;
    }
    let mut observed = observed.unwrap_or_else(Observed::nothing);
    let found: Vec<Service> = adoptions.iter().filter_map(|service| serde_json::from_value(service.observed.clone()).ok()).collect();
    if let Fact::Known(services) = &mut observed.services {
        services.retain(|known| !found.iter().any(|service| service.id == known.id));
        services.extend(found);
    }
    Some(observed)
}

/// The newest revision before a generation that served.
fn proven(revisions: &[Revision], generation: i64) -> Option<&Revision> {
    revisions.iter().find(|revision| revision.generation < generation && revision.verdict.phase == VerdictPhase::Ready)
}

/// Versions as an apply would give them out: one after the other, in the order of the keys.
fn secret_versions(input: &PlanInput) -> BTreeMap<EnvKey, i64> {
    let current = input.current.as_ref().map(|record| &record.secret_versions);
    let given = input.revisions.iter().flat_map(|revision| revision.secret_versions.values());
    let mut last = given.chain(current.iter().flat_map(|versions| versions.values())).max().copied().unwrap_or(0);
    let mut version = |key: &EnvKey| match current.and_then(|versions| versions.get(key)) {
        Some(version) if !input.changed_secrets.contains(key) => *version,
        _ => {
            last += 1;
            last
        }
    };
    input.wanted.secrets.keys().map(|key| (key.clone(), version(key))).collect()
}
