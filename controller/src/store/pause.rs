//! Pauses: until when nothing is written for an app, who wanted it so, and why.
//!
//! A pause is no part of the spec and makes no revision. Ending one early moves its end to now instead of
//! forgetting it: how long the platform's hands were held still counts for the deadlines of a rollout.

use std::collections::BTreeSet;

use api_types::drift::{PauseRequest, PauseState};
use api_types::{AppName, OrgName};
use chrono::{DateTime, Utc};

use super::apps::{app_columns, app_lock, check_not_deleting, check_version, finish};
use super::connect::bounded;
use super::observations::printable;
use super::{AppRecord, Store, StoreError, WriteContext, WriteError};

/// The last pause of an app, which may be over. All of it is there, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, sqlx::FromRow)]
pub struct Pause {
    /// When it began.
    pub paused_at: Option<DateTime<Utc>>,
    /// When it ends or ended.
    pub paused_until: Option<DateTime<Utc>>,
    /// Name of the token that asked for it.
    pub paused_by: Option<String>,
    /// Why.
    pub paused_because: Option<String>,
}

impl Pause {
    /// As it is at a time.
    pub fn state(&self, now: DateTime<Utc>) -> PauseState {
        if self.paused_until.is_none_or(|until| until <= now) {
            return PauseState::default();
        }
        PauseState {
            paused: true,
            by: self.paused_by.clone(),
            because: self.paused_because.clone(),
            since: self.paused_at,
            until: self.paused_until,
        }
    }
}

impl Store {
    /// Pauses an app from now on, instead of whatever pause it has; `None` when there is no such app.
    ///
    /// # Errors
    /// `Conflict` when the version is stale or the app is being deleted.
    pub async fn app_pause(
        &self,
        org: &OrgName,
        name: &AppName,
        (request, expected): (&PauseRequest, Option<i64>),
        cx: &WriteContext,
    ) -> Result<Option<AppRecord>, WriteError> {
        let now = self.inner.clock.now();
        let pause = Pause {
            paused_at: Some(now),
            paused_until: Some(now + request.duration.chrono()),
            paused_by: Some(printable(&cx.author)),
            paused_because: Some(printable(request.because.trim())),
        };
        bounded(
            "pausing an app",
            self.pause_write(org, name, expected, cx, |record| {
                check_not_deleting(0, record)?;
                Ok(Some(pause))
            }),
        )
        .await
    }

    /// Ends the pause of an app now; one that is not paused stays as it is. `None` when there is no such app.
    ///
    /// # Errors
    /// `Conflict` when the version is stale.
    pub async fn app_resume(
        &self,
        org: &OrgName,
        name: &AppName,
        expected: Option<i64>,
        cx: &WriteContext,
    ) -> Result<Option<AppRecord>, WriteError> {
        let now = self.inner.clock.now();
        bounded(
            "resuming an app",
            self.pause_write(org, name, expected, cx, |record| {
                let paused = record.pause.state(now).paused;
                Ok(paused.then(|| Pause { paused_until: Some(now), ..record.pause.clone() }))
            }),
        )
        .await
    }

    /// Writes what `decide` makes of the app, if anything.
    async fn pause_write(
        &self,
        org: &OrgName,
        name: &AppName,
        expected: Option<i64>,
        cx: &WriteContext,
        decide: impl FnOnce(&AppRecord) -> Result<Option<Pause>, WriteError> + Send,
    ) -> Result<Option<AppRecord>, WriteError> {
        let mut tx = self.begin().await?;
        super::organizations::lock(&mut tx, &BTreeSet::from([org.clone()])).await?;
        let Some(record) = app_lock(&mut tx, org, name).await? else { return Ok(None) };
        check_version(0, "App", name.as_str(), Some(record.resource_version), expected)?;
        let Some(pause) = decide(&record)? else { return Ok(Some(record)) };
        // The desired version wakes the controller; the generation stays, since nothing else is wanted.
        let sql = concat!(
            "UPDATE apps SET paused_at = $2, paused_until = $3, paused_by = $4, paused_because = $5, \
             desired_version = desired_version + 1, resource_version = nextval('resource_version') WHERE uid = $1 RETURNING ",
            app_columns!()
        );
        let written: AppRecord = sqlx::query_as(sql)
            .bind(record.uid)
            .bind(pause.paused_at)
            .bind(pause.paused_until)
            .bind(&pause.paused_by)
            .bind(&pause.paused_because)
            .fetch_one(&mut *tx)
            .await
            .map_err(StoreError::on("writing a pause"))?;
        finish(tx, cx).await?;
        Ok(Some(written))
    }
}
