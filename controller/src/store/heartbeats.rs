//! Heartbeats: which processes of the server run, and what each last said of itself. Not fenced, since
//! every process writes about itself only; read by the API, which decides nothing from them.

use std::time::Duration;

use api_types::platform::{ProcessReport, ServerProcess};
use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::connect::bounded;
use super::{CONTROLLER_LEASE, Store, StoreError};

/// How often a process reports.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
/// A report older than this is stale: three were missed.
const STALE_SECONDS: f64 = 16.0;
/// A row older than this is removed by the next process that reports.
const KEPT_SECONDS: f64 = 3_600.0;

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    started_at: DateTime<Utc>,
    heartbeat_at: DateTime<Utc>,
    stale: bool,
    epoch: Option<i64>,
    report: Json<ProcessReport>,
}

impl Store {
    /// Writes a process's report, and takes away rows of processes that are long gone.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn heartbeat_put(&self, id: &str, started_at: DateTime<Utc>, report: &ProcessReport) -> Result<(), StoreError> {
        let what = "writing a heartbeat";
        let sql = "WITH gone AS (DELETE FROM heartbeats WHERE heartbeat_at < clock_timestamp() - make_interval(secs => $4) AND id <> $1) \
                   INSERT INTO heartbeats (id, started_at, heartbeat_at, report) VALUES ($1, $2, clock_timestamp(), $3) \
                   ON CONFLICT (id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at, report = excluded.report";
        bounded(what, async {
            sqlx::query(sql)
                .bind(id)
                .bind(started_at)
                .bind(Json(super::observations::storable(report, what)?))
                .bind(KEPT_SECONDS)
                .execute(self.pool())
                .await
                .map(drop)
                .map_err(StoreError::on(what))
        })
        .await
    }

    /// Takes a process's row away: it ends in order, and nobody shall take it for one that died.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn heartbeat_remove(&self, id: &str) -> Result<(), StoreError> {
        let what = "removing a heartbeat";
        bounded(what, async {
            sqlx::query("DELETE FROM heartbeats WHERE id = $1").bind(id).execute(self.pool()).await.map(drop).map_err(StoreError::on(what))
        })
        .await
    }

    /// Whether processes elsewhere than at `place` (a part of their ids) have an edge, or had one when they were last heard of: their keepers
    /// may serve on.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn other_edges(&self, place: &str) -> Result<bool, StoreError> {
        let what = "looking for other edges";
        let sql = "SELECT EXISTS (SELECT FROM heartbeats WHERE report ->> 'edge' IS NOT NULL \
                     AND NOT $1 = ANY (string_to_array(id, '-')))";
        bounded(what, async { sqlx::query_scalar(sql).bind(place).fetch_one(self.pool()).await.map_err(StoreError::on(what)) }).await
    }

    /// All processes, the leader first, then by start. Who leads is what the lease says, not what a process
    /// believes.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn heartbeat_list(&self) -> Result<Vec<ServerProcess>, StoreError> {
        let what = "listing heartbeats";
        let sql = "SELECT h.id, h.started_at, h.heartbeat_at, h.report, l.epoch, \
                     h.heartbeat_at < clock_timestamp() - make_interval(secs => $1) AS stale \
                   FROM heartbeats h LEFT JOIN leases l ON l.name = $2 AND l.holder = h.id AND l.expires_at > clock_timestamp() \
                   ORDER BY l.epoch IS NULL, stale, h.started_at, h.id";
        bounded(what, async {
            let rows: Vec<Row> = sqlx::query_as(sql)
                .bind(STALE_SECONDS)
                .bind(CONTROLLER_LEASE)
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            let process = |row: Row| ServerProcess {
                id: row.id,
                started_at: row.started_at,
                heartbeat_at: row.heartbeat_at,
                stale: row.stale,
                epoch: row.epoch,
                report: row.report.0,
            };
            Ok(rows.into_iter().map(process).collect())
        })
        .await
    }
}
