//! Changes of an app that start from what is stored: a patch, a restart. They are worked out under the app's
//! lock, so two of them at once never lose one, whichever comes first.

use std::collections::BTreeSet;

use api_types::{AppName, FieldError, Manifest, OrgName, ProcessName};

use super::app_write::NewGeneration;
use super::apply_items::Items;
use super::apps::{app_lock, check_not_deleting, check_version, finish};
use super::connect::bounded;
use super::{AppRecord, Store, WriteContext, WriteError};

/// Makes the wanted manifest, of the same app, from the app as it is stored, or says what is wrong with it. It may be called
/// more than once.
pub type Change<'a> = &'a (dyn Fn(&AppRecord) -> Result<Manifest, Vec<FieldError>> + Send + Sync);

impl Store {
    /// Applies what `change` makes of an app; `None` when there is no such app.
    ///
    /// # Errors
    /// As [`Store::apply`]; what `change` refuses is `Invalid`.
    pub async fn app_change(
        &self,
        org: &OrgName,
        name: &AppName,
        change: Change<'_>,
        cx: &WriteContext,
    ) -> Result<Option<AppRecord>, WriteError> {
        bounded("changing an app", async {
            let mut attempt = 1;
            loop {
                let result = self.app_change_once(org, name, change, cx).await;
                if !self.runs_again(&result, &mut attempt).await {
                    return result;
                }
            }
        })
        .await
    }

    async fn app_change_once(
        &self,
        org: &OrgName,
        name: &AppName,
        change: Change<'_>,
        cx: &WriteContext,
    ) -> Result<Option<AppRecord>, WriteError> {
        let mut apply = self.apply_begin(&BTreeSet::from([org.clone()]), 1, cx).await?.0;
        apply.settings = super::settings::snapshot(&mut apply.tx).await?;
        let Some(record) = app_lock(&mut apply.tx, org, name).await? else { return Ok(None) };
        check_not_deleting(0, &record)?;
        let manifest =
            change(&record).map_err(|errors| WriteError::Invalid { errors: errors.into_iter().map(|error| (0, error)).collect() })?;
        let items = Items::parse(std::slice::from_ref(&manifest))?;
        apply.apps(&items.apps).await?;
        apply.refuse_errors()?;
        let written = app_lock(&mut apply.tx, org, name).await?;
        finish(apply.tx, cx).await?;
        Ok(written)
    }

    /// Counts a restart of some of an app's process types, all when none is named, as a new generation; `None`
    /// when there is no such app.
    ///
    /// # Errors
    /// `Invalid` for an unknown process, `Conflict` when the version is stale, or the app is stopped or being
    /// deleted.
    pub async fn app_restart(
        &self,
        org: &OrgName,
        name: &AppName,
        (processes, expected): (&BTreeSet<ProcessName>, Option<i64>),
        cx: &WriteContext,
    ) -> Result<Option<AppRecord>, WriteError> {
        bounded("restarting an app", async {
            let mut tx = self.begin().await?;
            super::organizations::lock(&mut tx, &BTreeSet::from([org.clone()])).await?;
            let Some(record) = app_lock(&mut tx, org, name).await? else { return Ok(None) };
            check_version(0, "App", name.as_str(), Some(record.resource_version), expected)?;
            check_not_deleting(0, &record)?;
            if record.spec.suspend {
                let detail = format!("App {name} is stopped, so there is nothing to restart; set spec.suspend to false to start it");
                return Err(WriteError::conflict(0, detail));
            }
            let has: Vec<&str> = record.spec.processes.keys().map(AsRef::as_ref).collect();
            let unknown = processes.iter().filter(|process| !record.spec.processes.contains_key(*process));
            let errors: Vec<(usize, FieldError)> = unknown
                .map(|process| {
                    let message = format!("the app has no process \"{process}\"; it has {}", has.join(", "));
                    (0, FieldError::new("processes", message))
                })
                .collect();
            if !errors.is_empty() {
                return Err(WriteError::Invalid { errors });
            }
            // Counts of processes that are gone go with them.
            let counted = record.spec.processes.keys().filter_map(|process| {
                let before = record.restarts.get(process).copied().unwrap_or(0);
                let after = before + i64::from(processes.is_empty() || processes.contains(process));
                (after > 0).then(|| (process.clone(), after))
            });
            let restarts = counted.collect();
            let next = NewGeneration { restarts: &restarts, ..NewGeneration::of(&record) };
            let written = next.update(&mut tx, &record, self.inner.clock.now(), cx).await?;
            finish(tx, cx).await?;
            Ok(Some(written))
        })
        .await
    }
}
