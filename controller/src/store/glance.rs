//! Counts over all apps, for `GET /v1/status`: one statement each, no specs read.

use api_types::OrgName;
use api_types::platform::{AppCounts, AppLine, Unreconciled};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::connect::bounded;
use super::{Store, StoreError};

/// The condition `Ready` of the app `a`, or null.
macro_rules! ready {
    () => {
        "jsonb_path_query_first(a.status, '$.conditions[*] ? (@.type == \"Ready\")')"
    };
}

/// The condition of the index `apps_dirty`, deletion left out: a change that no controller has looked at.
macro_rules! unreconciled {
    () => {
        "(a.desired_version > a.observed_version OR a.generation > a.observed_generation)"
    };
}

#[derive(sqlx::FromRow)]
struct CountRow {
    total: i64,
    ready: i64,
    not_ready: i64,
    unreconciled: i64,
}

#[derive(sqlx::FromRow)]
struct LineRow {
    org: String,
    name: String,
    reason: Option<String>,
    message: Option<String>,
    since: Option<String>,
}

#[derive(sqlx::FromRow)]
struct UnreconciledRow {
    org: String,
    name: String,
    generation: i64,
    observed_generation: i64,
    since: DateTime<Utc>,
}

impl Store {
    /// Apps of an organisation, or all, by whether they are ready.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn glance_counts(&self, org: Option<&OrgName>) -> Result<AppCounts, StoreError> {
        let what = "counting apps";
        let sql = concat!(
            "SELECT count(*) AS total, count(*) FILTER (WHERE word = 'True') AS ready, count(*) FILTER (WHERE word = 'False') AS not_ready, \
             count(*) FILTER (WHERE waits) AS unreconciled FROM (SELECT ",
            ready!(),
            " ->> 'status' AS word, ",
            unreconciled!(),
            " AS waits FROM apps a WHERE $1::text IS NULL OR a.org = $1) AS seen"
        );
        bounded(what, async {
            let row: CountRow =
                sqlx::query_as(sql).bind(org.map(OrgName::as_str)).fetch_one(self.pool()).await.map_err(StoreError::on(what))?;
            let unknown = row.total - row.ready - row.not_ready;
            Ok(AppCounts { total: row.total, ready: row.ready, not_ready: row.not_ready, unknown, unreconciled: row.unreconciled })
        })
        .await
    }

    /// Some apps that are not ready, those that became so last first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn glance_not_ready(&self, org: Option<&OrgName>, limit: i64) -> Result<Vec<AppLine>, StoreError> {
        let what = "listing apps that are not ready";
        let sql = concat!(
            "SELECT org, name, ready ->> 'reason' AS reason, ready ->> 'message' AS message, ready ->> 'lastTransitionTime' AS since \
             FROM (SELECT a.org, a.name, ",
            ready!(),
            " AS ready FROM apps a WHERE $1::text IS NULL OR a.org = $1) AS seen \
             WHERE ready ->> 'status' IS DISTINCT FROM 'True' ORDER BY ready ->> 'lastTransitionTime' DESC NULLS FIRST, org, name LIMIT $2"
        );
        bounded(what, async {
            let rows: Vec<LineRow> = sqlx::query_as(sql)
                .bind(org.map(OrgName::as_str))
                .bind(limit)
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            let line = |row: LineRow| AppLine {
                org: row.org,
                name: row.name,
                // A word of a newer release is none that we know; the message still says what it is.
                reason: row.reason.and_then(|word| serde_json::from_value(serde_json::Value::String(word)).ok()),
                message: row.message.unwrap_or_else(|| "no controller has looked at it yet".to_owned()),
                since: row.since.and_then(|text| text.parse().ok()),
            };
            Ok(rows.into_iter().map(line).collect())
        })
        .await
    }

    /// The app whose change has waited longest for a controller.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn glance_unreconciled(&self, org: Option<&OrgName>) -> Result<Option<Unreconciled>, StoreError> {
        let what = "looking for the oldest change";
        let sql = "SELECT a.org, a.name, a.generation, a.observed_generation, r.created_at AS since FROM apps a \
                   JOIN revisions r ON r.app_uid = a.uid AND r.generation = \
                     (SELECT min(n.generation) FROM revisions n WHERE n.app_uid = a.uid AND n.generation > a.observed_generation) \
                   WHERE a.generation > a.observed_generation AND ($1::text IS NULL OR a.org = $1) ORDER BY r.created_at, a.org, a.name LIMIT 1";
        bounded(what, async {
            let row: Option<UnreconciledRow> =
                sqlx::query_as(sql).bind(org.map(OrgName::as_str)).fetch_optional(self.pool()).await.map_err(StoreError::on(what))?;
            Ok(row.map(|row| Unreconciled {
                org: row.org,
                name: row.name,
                generation: row.generation,
                observed_generation: row.observed_generation,
                since: row.since,
            }))
        })
        .await
    }

    /// Changes of any app that are older than the newest one of an app, and that no controller has looked at.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn glance_ahead(&self, uid: Uuid) -> Result<i64, StoreError> {
        let what = "looking for older changes";
        let sql = "SELECT count(DISTINCT a.uid) FROM apps a \
                   JOIN revisions r ON r.app_uid = a.uid AND r.generation = \
                     (SELECT min(n.generation) FROM revisions n WHERE n.app_uid = a.uid AND n.generation > a.observed_generation) \
                   WHERE a.generation > a.observed_generation AND a.uid <> $1 AND r.created_at < \
                   (SELECT o.created_at FROM revisions o JOIN apps b ON b.uid = o.app_uid AND b.generation = o.generation WHERE b.uid = $1)";
        bounded(what, async { sqlx::query_scalar(sql).bind(uid).fetch_one(self.pool()).await.map_err(StoreError::on(what)) }).await
    }

    /// Apps of which the engine runs a generation that the database does not know: how many, and one of them.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn glance_behind(&self, org: Option<&OrgName>) -> Result<Option<(i64, String)>, StoreError> {
        let what = "looking for apps that the engine is ahead of";
        let sql =
            "SELECT count(*), min(org || '/' || name) FROM apps WHERE status ? 'clusterGeneration' AND ($1::text IS NULL OR org = $1)";
        bounded(what, async {
            let row: (i64, Option<String>) =
                sqlx::query_as(sql).bind(org.map(OrgName::as_str)).fetch_one(self.pool()).await.map_err(StoreError::on(what))?;
            Ok(row.1.map(|first| (row.0, first)))
        })
        .await
    }

    /// Generations that failed since a time.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn glance_failures(&self, org: Option<&OrgName>, since: DateTime<Utc>) -> Result<i64, StoreError> {
        let what = "counting failures";
        let sql = "SELECT count(*) FROM revisions WHERE verdict ->> 'phase' = 'Failed' AND (verdict ->> 'time')::timestamptz >= $2 \
                   AND ($1::text IS NULL OR org = $1)";
        bounded(what, async {
            sqlx::query_scalar(sql).bind(org.map(OrgName::as_str)).bind(since).fetch_one(self.pool()).await.map_err(StoreError::on(what))
        })
        .await
    }
}
