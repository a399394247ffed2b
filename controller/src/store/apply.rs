//! Apply: a list of objects, written together or not at all.
//!
//! Order inside the transaction: organisations and settings, because apps need them; then every host
//! that an app of the list no longer wants is released, and only then are hosts claimed, so a domain
//! moves between two apps whatever the order of the list. Writers of one organisation wait for each
//! other on its row; two organisations meet only in hosts and subdomains, where a deadlock is possible
//! and the victim's transaction is run again.

use std::collections::BTreeSet;
use std::time::Duration;

use api_types::api::{ApplyAction, ApplyResult};
use api_types::{FieldError, Kind, Manifest, OrgName};
use chrono::{DateTime, Utc};
use sqlx::{Postgres, Transaction};

use super::apply_items::Items;
use super::connect::bounded;
use super::{Store, WriteContext, WriteError};
use crate::settings::Settings;

/// Runs of one transaction that keeps losing deadlocks.
const ATTEMPTS: u32 = 4;

/// An apply under way.
pub(super) struct Apply<'a> {
    pub(super) store: &'a Store,
    pub(super) tx: Transaction<'static, Postgres>,
    pub(super) cx: &'a WriteContext,
    pub(super) now: DateTime<Utc>,
    pub(super) settings: Settings,
    pub(super) errors: Vec<(usize, FieldError)>,
    results: Vec<Option<ApplyResult>>,
}

impl Store {
    /// Writes all objects in one transaction, or none. Idempotent: an equal object is `Unchanged` and
    /// bumps nothing. Results are in the order of the items.
    ///
    /// # Errors
    /// `Conflict` when a version is stale, the object is being deleted, or a host or subdomain is in use;
    /// `NotFound` when an organisation is missing; `Invalid` with every field that is wrong.
    pub async fn apply(&self, items: &[Manifest], cx: &WriteContext) -> Result<Vec<ApplyResult>, WriteError> {
        let items = Items::parse(items)?;
        bounded("applying", async {
            let mut attempt = 1;
            loop {
                let result = self.apply_once(&items, cx).await;
                if !self.runs_again(&result, &mut attempt).await {
                    return result;
                }
            }
        })
        .await
    }

    /// Whether a transaction is to be run again because it was the victim of a deadlock; waits before it says so.
    pub(super) async fn runs_again<T>(&self, result: &Result<T, WriteError>, attempt: &mut u32) -> bool {
        let lost = matches!(result, Err(WriteError::Store(error)) if error.is_retryable() && *attempt < ATTEMPTS);
        if lost {
            let pause = Duration::from_millis(20).mul_f64(f64::from(*attempt) * (1.0 + self.inner.entropy.unit()));
            tokio::time::sleep(pause).await;
            *attempt += 1;
        }
        lost
    }

    /// Begins a transaction and waits for other writers of these organisations; says which of them exist.
    pub(super) async fn apply_begin<'a>(
        &'a self,
        orgs: &BTreeSet<OrgName>,
        count: usize,
        cx: &'a WriteContext,
    ) -> Result<(Apply<'a>, BTreeSet<OrgName>), WriteError> {
        let mut tx = self.begin().await?;
        let known = super::organizations::lock(&mut tx, orgs).await?;
        let now = self.inner.clock.now();
        Ok((Apply { store: self, tx, cx, now, settings: Settings::default(), errors: Vec::new(), results: vec![None; count] }, known))
    }

    async fn apply_once(&self, items: &Items, cx: &WriteContext) -> Result<Vec<ApplyResult>, WriteError> {
        let count = items.organizations.len() + items.settings.len() + items.certificates.len() + items.apps.len() + items.domains.len();
        let (mut apply, known) = self.apply_begin(&items.org_names(), count, cx).await?;
        apply.platform(items, known).await?;
        apply.settings = super::settings::snapshot(&mut apply.tx).await?;
        apply.apps(&items.apps).await?;
        for item in &items.domains {
            apply.domain(item).await?;
        }
        apply.refuse_errors()?;
        super::apps::finish(apply.tx, cx).await?;
        Ok(apply.results.into_iter().flatten().collect())
    }
}

impl Apply<'_> {
    /// Organisations and settings, and whether every organisation that is referred to is there.
    async fn platform(&mut self, items: &Items, mut known: BTreeSet<OrgName>) -> Result<(), WriteError> {
        for item in &items.organizations {
            self.organization(item).await?;
            known.insert(item.name.clone());
        }
        for item in &items.settings {
            self.setting(item).await?;
        }
        for item in &items.certificates {
            self.certificate(item).await?;
        }
        let apps = items.apps.iter().map(|item| (item.head.item, &item.org));
        let domains = items.domains.iter().map(|item| (item.head.item, &item.org));
        match apps.chain(domains).find(|(_, org)| !known.contains(*org)) {
            None => Ok(()),
            Some((item, org)) => Err(WriteError::NotFound {
                item,
                detail: format!(
                    "there is no organization \"{org}\"; create it first, or put an object of kind Organization named \"{org}\" into the same list"
                ),
            }),
        }
    }

    /// Notes an error and goes on, so that others are found too.
    pub(super) fn reject(&mut self, item: usize, error: FieldError) {
        self.errors.push((item, error));
    }

    /// Ends the apply when something was wrong.
    pub(super) fn refuse_errors(&mut self) -> Result<(), WriteError> {
        let errors = std::mem::take(&mut self.errors);
        if errors.is_empty() { Ok(()) } else { Err(WriteError::Invalid { errors }) }
    }

    /// Notes what was done with an object.
    pub(super) fn done(&mut self, item: usize, result: ApplyResult) {
        if let Some(slot) = self.results.get_mut(item) {
            *slot = Some(result);
        }
    }
}

/// A result; kinds without generations pass 0.
pub(super) fn result(kind: Kind, org: Option<&OrgName>, name: &str, action: ApplyAction, versions: (i64, i64)) -> ApplyResult {
    let (generation, resource_version) = versions;
    ApplyResult {
        kind,
        org: org.map(ToString::to_string),
        name: name.to_owned(),
        action,
        generation,
        resource_version: resource_version.to_string(),
    }
}
