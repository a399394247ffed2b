//! Going back to an older revision, and trying a failed one again: a new revision with old content.
//!
//! All or nothing: image, variables, secrets, domains, scale and processes are what they were, or nothing is written.
//! The older revision stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use api_types::api::RollbackRequest;
use api_types::diff::diff;
use api_types::kinds::app::{Verdict, VerdictPhase};
use api_types::{AppName, EnvKey, OrgName};
use sqlx::PgConnection;
use uuid::Uuid;

use super::app_write::{NewGeneration, Origin};
use super::apply::Apply;
use super::apply_items::{AppItem, Head};
use super::apps::{app_lock, check_not_deleting, check_version, finish, parse_version};
use super::connect::bounded;
use super::revisions::{proven_in, revision_in};
use super::{AppRecord, Revision, Store, StoreError, WriteContext, WriteError};

/// What going back, or trying again, did or would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    /// The app before.
    pub before: AppRecord,
    /// The revision that was the newest before.
    pub newest: Revision,
    /// The revision whose content was taken.
    pub target: Revision,
    /// The app after; as before when it was as the target already.
    pub after: AppRecord,
}

impl Restored {
    /// Whether there is a new revision.
    pub fn is_changed(&self) -> bool {
        self.after.generation != self.before.generation
    }
}

impl Store {
    /// Makes a new revision with the content of an older one; `None` when there is no such app.
    ///
    /// # Errors
    /// `Conflict` when the version is stale, the app is being deleted, the revision was never proven and it is not forced,
    /// a host of it is in use by another app, or a secret's value is no longer stored; `NotFound` when there is no such
    /// revision; `Invalid` when today's rules refuse its spec.
    pub async fn app_rollback(
        &self,
        org: &OrgName,
        name: &AppName,
        request: &RollbackRequest,
        cx: &WriteContext,
    ) -> Result<Option<Restored>, WriteError> {
        let expected = parse_version(0, "resourceVersion", request.resource_version.as_deref())?;
        bounded("rolling an app back", async {
            let mut attempt = 1;
            loop {
                let result = self.rollback_once(org, name, (request, expected), cx).await;
                if !self.runs_again(&result, &mut attempt).await {
                    return result;
                }
            }
        })
        .await
    }

    async fn rollback_once(
        &self,
        org: &OrgName,
        name: &AppName,
        (request, expected): (&RollbackRequest, Option<i64>),
        cx: &WriteContext,
    ) -> Result<Option<Restored>, WriteError> {
        let mut apply = self.apply_begin(&BTreeSet::from([org.clone()]), 1, cx).await?.0;
        apply.settings = super::settings::snapshot(&mut apply.tx).await?;
        let Some((before, newest)) = locked(&mut apply.tx, (org, name), expected).await? else { return Ok(None) };
        let target = target(&mut apply.tx, &before, request).await?;
        if diff(&newest.content(), &Revision { restarts: newest.restarts.clone(), ..target.clone() }.content()).is_empty() {
            if newest.verdict.phase == VerdictPhase::Failed {
                let detail = format!(
                    "revision {} is the same as revision {}, and failed; to try it again: skyctl retry app/{name}",
                    newest.generation, target.generation
                );
                return Err(WriteError::conflict(0, detail));
            }
            return Ok(Some(Restored { after: before.clone(), before, newest, target }));
        }
        let after = apply.restore(&before, &target, target.resolved_image.as_deref()).await?;
        finish(apply.tx, cx).await?;
        Ok(Some(Restored { before, newest, target, after }))
    }

    /// Makes a new revision with the content of the newest, which has failed; `None` when there is no such app.
    ///
    /// # Errors
    /// `Conflict` when the newest revision has not failed, the version is stale, or the app is being deleted.
    pub async fn app_retry(
        &self,
        org: &OrgName,
        name: &AppName,
        expected: Option<i64>,
        cx: &WriteContext,
    ) -> Result<Option<Restored>, WriteError> {
        bounded("trying an app's newest revision again", async {
            let mut apply = self.apply_begin(&BTreeSet::from([org.clone()]), 1, cx).await?.0;
            apply.settings = super::settings::snapshot(&mut apply.tx).await?;
            let Some((before, newest)) = locked(&mut apply.tx, (org, name), expected).await? else { return Ok(None) };
            let number = newest.generation;
            let detail = match newest.verdict.phase {
                VerdictPhase::Failed => None,
                VerdictPhase::Ready => Some(format!(
                    "revision {number} has not failed: it was proven to serve; to replace its tasks: skyctl restart app/{name}"
                )),
                VerdictPhase::Pending | VerdictPhase::Rolling => Some(format!(
                    "revision {number} has not failed: it is still being rolled out; to wait for its end: skyctl wait app/{name}"
                )),
            };
            if let Some(detail) = detail {
                return Err(WriteError::conflict(0, detail));
            }
            // An image that nobody could find is looked for again: that may be what was put right.
            let image = newest.resolved_image.as_deref().filter(|_| !newest.verdict.is_about_the_image());
            let after = apply.restore(&before, &newest, image).await?;
            finish(apply.tx, cx).await?;
            Ok(Some(Restored { before, target: newest.clone(), newest, after }))
        })
        .await
    }
}

impl Apply<'_> {
    /// Writes the content of `target` as a new generation.
    async fn restore(&mut self, before: &AppRecord, target: &Revision, image: Option<&str>) -> Result<AppRecord, WriteError> {
        let errors = api_types::check::semantic_app(&target.spec);
        errors.into_iter().for_each(|error| self.reject(0, error));
        let item = AppItem {
            head: Head { item: 0, expected: None, labels: before.labels.clone() },
            org: before.org.clone(),
            name: before.name.clone(),
            spec: target.spec.clone(),
            secrets: BTreeMap::new(),
            passwords: BTreeMap::new(),
        };
        self.app_check(&item);
        self.refuse_errors()?;
        secrets_are_there(&mut self.tx, before.uid, target).await?;
        self.hosts_release(before.uid, &item.spec.domains).await?;
        let origin = Origin { generation: target.generation, resolved_image: image };
        let next = NewGeneration {
            spec: &target.spec,
            secret_versions: &target.secret_versions,
            origin: Some(origin),
            ..NewGeneration::of(before)
        };
        let after = next.update(&mut self.tx, before, self.now, self.cx).await?;
        self.hosts_claim(&item, before.uid).await?;
        Ok(after)
    }
}

/// The app and its newest revision, kept from other writers.
async fn locked(
    tx: &mut PgConnection,
    (org, name): (&OrgName, &AppName),
    expected: Option<i64>,
) -> Result<Option<(AppRecord, Revision)>, WriteError> {
    let Some(record) = app_lock(tx, org, name).await? else { return Ok(None) };
    check_version(0, "App", name.as_str(), Some(record.resource_version), expected)?;
    check_not_deleting(0, &record)?;
    let newest = revision_in(tx, record.uid, record.generation).await?;
    let newest = newest.ok_or(StoreError::Missing { what: "the revision of the app's newest generation" })?;
    Ok(Some((record, newest)))
}

/// The revision to go back to.
async fn target(tx: &mut PgConnection, record: &AppRecord, request: &RollbackRequest) -> Result<Revision, WriteError> {
    let name = &record.name;
    let Some(number) = request.to else {
        let proven = proven_in(tx, record.uid, record.generation).await?;
        return proven.ok_or_else(|| {
            let detail = format!(
                "no revision before {} was ever proven to serve; `skyctl history app/{name}` shows all, --to N --force goes to any",
                record.generation
            );
            WriteError::conflict(0, detail)
        });
    };
    let Some(found) = revision_in(tx, record.uid, number).await? else {
        let detail = format!("App {name} has no revision {number} (any more); `skyctl history app/{name}` shows what there is");
        return Err(WriteError::NotFound { item: 0, detail });
    };
    let Verdict { phase, reason, .. } = &found.verdict;
    let why = match phase {
        VerdictPhase::Ready => None,
        VerdictPhase::Failed => Some(match reason {
            Some(reason) => format!("failed ({reason})"),
            None => "failed".to_owned(),
        }),
        VerdictPhase::Pending | VerdictPhase::Rolling => Some("was never proven to serve".to_owned()),
    };
    match why.filter(|_| !request.force && number != record.generation) {
        None => Ok(found),
        Some(why) => {
            let detail = format!("revision {number} {why}; choose another one, or say --force (force: true) to roll it out again");
            Err(WriteError::conflict(0, detail))
        }
    }
}

/// Refuses a revision whose secret values are not all stored any more.
async fn secrets_are_there(tx: &mut PgConnection, uid: Uuid, target: &Revision) -> Result<(), WriteError> {
    let versions: Vec<i64> = target.secret_versions.values().copied().collect();
    let stored: Vec<(String, i64)> = sqlx::query_as("SELECT key, version FROM app_secrets WHERE app_uid = $1 AND version = ANY ($2)")
        .bind(uid)
        .bind(versions)
        .fetch_all(tx)
        .await
        .map_err(StoreError::on("looking for a revision's secrets"))?;
    let is_missing = |(key, version): &(&EnvKey, &i64)| !stored.iter().any(|(k, v)| k == key.as_str() && v == *version);
    let missing: Vec<String> =
        target.secret_versions.iter().filter(is_missing).map(|(key, version)| format!("{key} (version {version})")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "revision {} needs values of secrets that are no longer stored: {}; apply a manifest with the values instead",
        target.generation,
        missing.join(", ")
    );
    Err(WriteError::conflict(0, detail))
}
