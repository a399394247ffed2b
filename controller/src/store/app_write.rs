//! Writing an app's row and, when the spec changed, the revision of its new generation.

use std::collections::BTreeMap;

use api_types::name::{LabelKey, LabelValue};
use api_types::{AppName, AppSpec, EnvKey, OrgName, ProcessName};
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::apps::app_columns;
use super::observations::printable;
use super::{APP_FINALIZER, AppRecord, StoreError, WriteContext, WriteError};

/// What an app is to become.
pub(super) struct NewGeneration<'a> {
    pub(super) spec: &'a AppSpec,
    pub(super) labels: &'a BTreeMap<LabelKey, LabelValue>,
    pub(super) secret_versions: &'a BTreeMap<EnvKey, i64>,
    pub(super) restarts: &'a BTreeMap<ProcessName, i64>,
    /// Swarm services that it may take over: names and ids.
    pub(super) adopted: &'a BTreeMap<String, String>,
    /// Whether it is a new generation, or labels only.
    pub(super) spec_changed: bool,
    /// Where the content comes from, when it is an older revision's.
    pub(super) origin: Option<Origin<'a>>,
}

/// An older revision whose content a new one takes.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    /// Its number.
    pub(super) generation: i64,
    /// Its exact image, so that the very same one runs again; `None` to have it looked up anew.
    pub(super) resolved_image: Option<&'a str>,
}

/// Identity of an app that is to be made.
pub(super) struct NewApp<'a> {
    pub(super) item: usize,
    pub(super) uid: Uuid,
    pub(super) org: &'a OrgName,
    pub(super) name: &'a AppName,
}

impl<'a> NewGeneration<'a> {
    /// A new generation of an app as it is; say with `..` what differs.
    pub(super) fn of(record: &'a AppRecord) -> Self {
        Self {
            spec: &record.spec,
            labels: &record.labels,
            secret_versions: &record.secret_versions,
            restarts: &record.restarts,
            adopted: &record.adopted,
            spec_changed: true,
            origin: None,
        }
    }

    /// Makes the app with its first revision.
    pub(super) async fn insert(
        &self,
        tx: &mut PgConnection,
        app: NewApp<'_>,
        now: DateTime<Utc>,
        cx: &WriteContext,
    ) -> Result<AppRecord, WriteError> {
        let sql = concat!(
            "INSERT INTO apps (uid, org, name, generation, labels, finalizers, created_at, spec, secret_versions, adopted) \
             VALUES ($1, $2, $3, 1, $4, ARRAY[$5], $6, $7, $8, $9) ON CONFLICT (subdomain) DO NOTHING RETURNING ",
            app_columns!()
        );
        let inserted: Option<AppRecord> = sqlx::query_as(sql)
            .bind(app.uid)
            .bind(app.org.as_str())
            .bind(app.name.as_str())
            .bind(Json(self.labels))
            .bind(APP_FINALIZER)
            .bind(now)
            .bind(Json(self.spec))
            .bind(Json(self.secret_versions))
            .bind(Json(self.adopted))
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::on("creating an app"))?;
        let Some(record) = inserted else {
            // Whose it is stays untold: it may be another tenant's.
            let detail = format!("metadata.name: the subdomain {}-{} is taken by another app; choose another name", app.name, app.org);
            return Err(WriteError::conflict(app.item, detail));
        };
        self.revision_insert(tx, &record, now, cx).await?;
        Ok(record)
    }

    /// Changes the app; a changed spec makes a new generation with its revision.
    pub(super) async fn update(
        &self,
        tx: &mut PgConnection,
        before: &AppRecord,
        now: DateTime<Utc>,
        cx: &WriteContext,
    ) -> Result<AppRecord, StoreError> {
        let what = "changing an app";
        if !self.spec_changed {
            // Not a column that notifies: labels concern nobody but readers.
            let sql = concat!(
                "UPDATE apps SET labels = $2, resource_version = nextval('resource_version') WHERE uid = $1 RETURNING ",
                app_columns!()
            );
            let row = sqlx::query_as(sql).bind(before.uid).bind(Json(self.labels)).fetch_one(tx);
            return row.await.map_err(StoreError::on(what));
        }
        let sql = concat!(
            "UPDATE apps SET spec = $2, secret_versions = $3, labels = $4, restarts = $5, adopted = $6, \
             generation = GREATEST(generation, COALESCE((status ->> 'clusterGeneration')::bigint, 0)) + 1, \
             desired_version = desired_version + 1, resource_version = nextval('resource_version') WHERE uid = $1 RETURNING ",
            app_columns!()
        );
        let record: AppRecord = sqlx::query_as(sql)
            .bind(before.uid)
            .bind(Json(self.spec))
            .bind(Json(self.secret_versions))
            .bind(Json(self.labels))
            .bind(Json(self.restarts))
            .bind(Json(self.adopted))
            .fetch_one(&mut *tx)
            .await
            .map_err(StoreError::on(what))?;
        self.revision_insert(tx, &record, now, cx).await?;
        super::revisions::prune(tx, &record, now).await?;
        Ok(record)
    }

    async fn revision_insert(
        &self,
        tx: &mut PgConnection,
        record: &AppRecord,
        now: DateTime<Utc>,
        cx: &WriteContext,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO revisions (app_uid, org, generation, spec, secret_versions, restarts, author, source, created_at, verdict, \
               client, based_on, resolved_image) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        sqlx::query(sql)
            .bind(record.uid)
            .bind(record.org.as_str())
            .bind(record.generation)
            .bind(Json(&record.spec))
            .bind(Json(&record.secret_versions))
            .bind(Json(&record.restarts))
            .bind(printable(&cx.author))
            .bind(printable(&cx.source))
            .bind(now)
            .bind(json!({"phase": "Pending", "time": now}))
            .bind(printable(&cx.client))
            .bind(self.origin.map(|origin| origin.generation))
            .bind(self.origin.and_then(|origin| origin.resolved_image))
            .execute(tx)
            .await
            .map(drop)
            .map_err(StoreError::on("writing a revision"))
    }
}
