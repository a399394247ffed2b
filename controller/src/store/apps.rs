//! Apps: reads, the status, deletion and scale.

use std::collections::BTreeSet;

use api_types::api::ScaleRequest;
use api_types::{AppName, AppStatus, FieldError, Host, OrgName};
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::app_write::NewGeneration;
use super::connect::bounded;
use super::select::labels_match;
use super::{AppKey, AppRecord, ListQuery, MUST_BE_ABSENT, MUST_EXIST, Store, StoreError, WriteContext, WriteError};

macro_rules! app_columns {
    () => {
        "org, name, uid, generation, resource_version, desired_version, labels, finalizers, created_at, \
         deletion_timestamp, spec, secret_versions, restarts, adopted, status, paused_at, paused_until, paused_by, paused_because"
    };
}
pub(super) use app_columns;

/// A condition on an app's fields; the parameter is a field selector as JSON.
macro_rules! app_fields {
    ($selector:literal) => {
        $crate::store::select::fields_match!(
            "CASE f.field WHEN 'metadata.name' THEN name WHEN 'spec.image' THEN spec ->> 'image' WHEN 'condition' THEN \
             COALESCE((SELECT c ->> 'status' FROM jsonb_array_elements(status -> 'conditions') AS c WHERE c ->> 'type' = f.condition \
             LIMIT 1), 'Unknown') END",
            $selector
        )
    };
}
pub(super) use app_fields;

impl Store {
    /// One app.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn app_get(&self, org: &OrgName, name: &AppName) -> Result<Option<AppRecord>, StoreError> {
        let what = "reading an app";
        bounded(what, async {
            sqlx::query_as(concat!("SELECT ", app_columns!(), " FROM apps WHERE org = $1 AND name = $2"))
                .bind(org.as_str())
                .bind(name.as_str())
                .fetch_optional(self.pool())
                .await
                .map_err(StoreError::on(what))
        })
        .await
    }

    /// Apps by organisation and name.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn app_list(&self, org: Option<&OrgName>) -> Result<Vec<AppRecord>, StoreError> {
        let what = "listing apps";
        bounded(what, async {
            sqlx::query_as(concat!("SELECT ", app_columns!(), " FROM apps WHERE $1::text IS NULL OR org = $1 ORDER BY org, name"))
                .bind(org.map(OrgName::as_str))
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))
        })
        .await
    }

    /// A part of an organisation's apps, by name.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn app_page(&self, org: &OrgName, query: &ListQuery) -> Result<Vec<AppRecord>, StoreError> {
        let what = "listing apps";
        let sql = concat!(
            "SELECT ",
            app_columns!(),
            " FROM apps WHERE org = $1 AND ($2::text IS NULL OR name > $2) AND ",
            labels_match!("labels", "$3"),
            " AND ",
            app_fields!("$4"),
            " ORDER BY name LIMIT $5"
        );
        bounded(what, async {
            sqlx::query_as(sql)
                .bind(org.as_str())
                .bind(query.after.as_deref())
                .bind(Json(&query.labels))
                .bind(Json(&query.fields))
                .bind(query.limit)
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))
        })
        .await
    }

    /// Keys of all apps. Reads no specs, so one row that cannot be read does not hide the others.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn app_keys_all(&self) -> Result<Vec<AppKey>, StoreError> {
        self.app_keys("listing app keys", "SELECT org, name FROM apps ORDER BY org, name").await
    }

    /// Keys of the apps that must be looked at: a generation not observed, domains changed, or deletion
    /// asked for.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn app_keys_dirty(&self) -> Result<Vec<AppKey>, StoreError> {
        // The condition is the one of the index `apps_dirty`, word for word, so that it is used.
        let sql = "SELECT org, name FROM apps \
                   WHERE desired_version > observed_version OR generation > observed_generation OR deletion_timestamp IS NOT NULL \
                   ORDER BY org, name";
        self.app_keys("listing apps that changed", sql).await
    }

    async fn app_keys(&self, what: &'static str, sql: &'static str) -> Result<Vec<AppKey>, StoreError> {
        bounded(what, async { sqlx::query_as(sql).fetch_all(self.pool()).await.map_err(StoreError::on(what)) }).await
    }

    /// Custom hosts of an app, inline and free-standing, sorted.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn domains_of_app(&self, uid: Uuid) -> Result<Vec<Host>, StoreError> {
        let what = "reading an app's domains";
        bounded(what, async {
            let rows: Vec<HostRow> = sqlx::query_as("SELECT host FROM domains WHERE app_uid = $1 ORDER BY host")
                .bind(uid)
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            Ok(rows.into_iter().map(|row| row.host).collect())
        })
        .await
    }

    /// Writes the status, when it differs. `desired_version` is the record's that the status was
    /// computed from: a change made since then leaves the app dirty.
    ///
    /// # Errors
    /// `Deposed` when another controller leads, `Missing` when the app is gone.
    pub async fn app_status_put(&self, uid: Uuid, status: &AppStatus, desired_version: i64, epoch: i64) -> Result<(), StoreError> {
        let what = "writing an app's status";
        let sql = concat!(
            super::leases::fence!(),
            "found AS (SELECT 1 FROM apps WHERE uid = $2), \
             written AS (UPDATE apps SET status = $3, observed_generation = $4, \
                 observed_version = GREATEST(apps.observed_version, $5), resource_version = nextval('resource_version') \
                 FROM fence WHERE uid = $2 AND \
                 (status IS DISTINCT FROM $3 OR apps.observed_generation IS DISTINCT FROM $4 OR apps.observed_version < $5)) \
             SELECT EXISTS (SELECT FROM fence) AS fenced, EXISTS (SELECT FROM found) AS found"
        );
        bounded(what, async {
            let outcome = sqlx::query_as(sql)
                .bind(epoch)
                .bind(uid)
                .bind(Json(super::observations::storable(status, what)?))
                .bind(status.observed_generation)
                .bind(desired_version)
                .fetch_one(self.pool());
            super::leases::Fenced::check(outcome.await.map_err(StoreError::on(what))?, "the app")
        })
        .await
    }

    /// Takes away a deleted app: its row, revisions, secrets, domains and route. The last step of a
    /// delete, after everything on the engine and the edge is gone. An app that nobody asked to delete
    /// is left alone.
    ///
    /// # Errors
    /// `Deposed` when another controller leads.
    pub async fn app_remove(&self, uid: Uuid, epoch: i64) -> Result<(), StoreError> {
        let what = "removing an app";
        let sql = concat!(
            super::leases::fence!(),
            "written AS (DELETE FROM apps USING fence WHERE uid = $2 AND deletion_timestamp IS NOT NULL) \
             SELECT EXISTS (SELECT FROM fence) AS fenced, true AS found"
        );
        bounded(what, async {
            let outcome = sqlx::query_as(sql).bind(epoch).bind(uid).fetch_one(self.pool());
            super::leases::Fenced::check(outcome.await.map_err(StoreError::on(what))?, "the app")
        })
        .await
    }

    /// Asks for an app's deletion; `None` when there is no such app. Asking again changes nothing.
    ///
    /// # Errors
    /// `Conflict` when `resource_version` is stale.
    pub async fn app_delete(
        &self,
        org: &OrgName,
        name: &AppName,
        resource_version: Option<i64>,
        cx: &WriteContext,
    ) -> Result<Option<AppRecord>, WriteError> {
        let what = "deleting an app";
        bounded(what, async {
            let mut tx = self.begin().await?;
            super::organizations::lock(&mut tx, &BTreeSet::from([org.clone()])).await?;
            let Some(record) = app_lock(&mut tx, org, name).await? else { return Ok(None) };
            check_version(0, "App", name.as_str(), Some(record.resource_version), resource_version)?;
            if record.deletion_timestamp.is_some() {
                return Ok(Some(record));
            }
            let sql = concat!(
                "UPDATE apps SET deletion_timestamp = $2, desired_version = desired_version + 1, \
                 resource_version = nextval('resource_version') WHERE uid = $1 RETURNING ",
                app_columns!()
            );
            let marked: AppRecord = sqlx::query_as(sql)
                .bind(record.uid)
                .bind(self.inner.clock.now())
                .fetch_one(&mut *tx)
                .await
                .map_err(StoreError::on(what))?;
            finish(tx, cx).await?;
            Ok(Some(marked))
        })
        .await
    }

    /// Sets replicas as a new generation; `None` when there is no such app.
    ///
    /// # Errors
    /// `Invalid` for an unknown process or too many replicas, `Conflict` when the version is stale or
    /// the app is being deleted.
    pub async fn app_scale(
        &self,
        org: &OrgName,
        name: &AppName,
        req: &ScaleRequest,
        cx: &WriteContext,
    ) -> Result<Option<AppRecord>, WriteError> {
        bounded("scaling an app", async {
            let expected = parse_version(0, "resourceVersion", req.resource_version.as_deref())?;
            let mut tx = self.begin().await?;
            super::organizations::lock(&mut tx, &BTreeSet::from([org.clone()])).await?;
            let Some(record) = app_lock(&mut tx, org, name).await? else { return Ok(None) };
            check_version(0, "App", name.as_str(), Some(record.resource_version), expected)?;
            check_not_deleting(0, &record)?;
            let max_replicas = super::settings::snapshot(&mut tx).await?.max_replicas();
            let mut spec = record.spec.clone();
            let mut errors = Vec::new();
            for (process, replicas) in &req.processes {
                let path = format!("processes.{process}");
                match spec.processes.get_mut(process) {
                    None => {
                        let known: Vec<&str> = record.spec.processes.keys().map(AsRef::as_ref).collect();
                        let message = format!("the app has no process \"{process}\"; it has {}", known.join(", "));
                        errors.push((0, FieldError::new(path, message)));
                    }
                    Some(_) if *replicas > max_replicas => errors.push((0, too_many_replicas(path, *replicas, max_replicas))),
                    Some(found) => found.replicas = *replicas,
                }
            }
            if !errors.is_empty() {
                return Err(WriteError::Invalid { errors });
            }
            if spec == record.spec {
                return Ok(Some(record));
            }
            let written =
                NewGeneration { spec: &spec, ..NewGeneration::of(&record) }.update(&mut tx, &record, self.inner.clock.now(), cx).await?;
            finish(tx, cx).await?;
            Ok(Some(written))
        })
        .await
    }
}

#[derive(sqlx::FromRow)]
struct HostRow {
    #[sqlx(try_from = "String")]
    host: Host,
}

/// Reads an app and keeps others from writing it until the transaction ends.
pub(super) async fn app_lock(tx: &mut PgConnection, org: &OrgName, name: &AppName) -> Result<Option<AppRecord>, StoreError> {
    // NO KEY: rows that only refer to the app, such as its route, may be written meanwhile.
    sqlx::query_as(concat!("SELECT ", app_columns!(), " FROM apps WHERE org = $1 AND name = $2 FOR NO KEY UPDATE"))
        .bind(org.as_str())
        .bind(name.as_str())
        .fetch_optional(tx)
        .await
        .map_err(StoreError::on("reading an app to write it"))
}

/// Commits, or rolls back for a dry run.
pub(super) async fn finish(tx: Transaction<'static, Postgres>, cx: &WriteContext) -> Result<(), StoreError> {
    if cx.dry_run {
        tx.rollback().await.map_err(StoreError::on("ending a dry run"))
    } else {
        tx.commit().await.map_err(StoreError::on("committing"))
    }
}

/// Refuses a conditional write whose version is not the stored one.
pub(super) fn check_version(item: usize, kind: &str, name: &str, stored: Option<i64>, expected: Option<i64>) -> Result<(), WriteError> {
    match (stored, expected) {
        (_, None) | (None, Some(MUST_BE_ABSENT)) | (Some(_), Some(MUST_EXIST)) => Ok(()),
        (Some(stored), Some(expected)) if stored == expected => Ok(()),
        (Some(_), Some(MUST_BE_ABSENT)) => Err(WriteError::stale(item, format!("{kind} {name} exists already; it was to be created only"))),
        (None, Some(MUST_EXIST)) => Err(WriteError::stale(item, format!("{kind} {name} does not exist; it was to be changed only"))),
        (Some(stored), Some(expected)) => Err(WriteError::stale(
            item,
            format!(
                "{kind} {name} changed since it was read: its resourceVersion is {stored}, not {expected}; read it again and repeat the change"
            ),
        )),
        (None, Some(_)) => Err(WriteError::stale(
            item,
            format!(
                "{kind} {name} does not exist (any more), but metadata.resourceVersion says that it was read; leave that field out to create it"
            ),
        )),
    }
}

/// Reads a resource version as clients send it.
pub(super) fn parse_version(item: usize, path: &str, text: Option<&str>) -> Result<Option<i64>, WriteError> {
    text.map(str::parse)
        .transpose()
        .map_err(|_| WriteError::invalid(item, FieldError::new(path, "a resource version is a number, exactly as the server sent it")))
}

/// Refuses changes to an app that is going away.
pub(super) fn check_not_deleting(item: usize, record: &AppRecord) -> Result<(), WriteError> {
    if record.deletion_timestamp.is_none() {
        return Ok(());
    }
    Err(WriteError::conflict(
        item,
        format!("App {} is being deleted; wait until it is gone, then apply again to make a new one", record.name),
    ))
}

pub(super) fn too_many_replicas(path: String, found: u32, max: u32) -> FieldError {
    FieldError::new(path, format!("at most {max} replicas are allowed here (setting limits.max_replicas); {found} is more"))
}
