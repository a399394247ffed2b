//! The drift ledger: what was changed behind the platform's back, when, and what became of it.
//!
//! A change that lasts is one row, however often it is seen. Rows that ended are kept by number and age; a row that
//! lasts stays.

use std::collections::BTreeSet;

use api_types::drift::{DriftAction, DriftObject, DriftRecord};
use api_types::{AppName, OrgName};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::connect::bounded;
use super::observations::printable;
use super::{Store, StoreError};

/// Rows of one app that are kept after they ended.
const KEEP: i64 = 200;
/// How long they are kept.
const KEEP_FOR: TimeDelta = TimeDelta::days(30);
/// How exactly the last sight of a row is known; a write for each look would cost more than it tells.
const SIGHT: TimeDelta = TimeDelta::seconds(10);
/// Longest text of a row, in characters.
const MAX_TEXT: usize = 500;

/// One change as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftFound {
    /// Kind of the object.
    pub kind: DriftObject,
    /// Its name.
    pub object: String,
    /// The field.
    pub field: String,
    /// As it should be.
    pub desired: String,
    /// As it is.
    pub observed: String,
    /// What is done about it.
    pub action: DriftAction,
}

/// Everything that one look at an app found.
#[derive(Debug, Clone, Copy)]
pub struct DriftLook<'a> {
    /// The app.
    pub uid: Uuid,
    /// What was found; whatever else the ledger has open is over.
    pub found: &'a [DriftFound],
    /// Objects that were written to since: what ended of them was put right.
    pub touched: &'a BTreeSet<String>,
    /// Which controller looked.
    pub controller: &'a str,
}

/// A row that is new, or over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftChange {
    /// What it says.
    pub found: DriftFound,
    /// Whether it is over.
    pub ended: bool,
}

#[derive(sqlx::FromRow)]
struct OpenRow {
    id: i64,
    kind: String,
    object: String,
    field: String,
    desired: String,
    observed: String,
    action: String,
    last_seen: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct LedgerRow {
    app: String,
    first_seen: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    controller: String,
    #[sqlx(flatten)]
    row: OpenRow,
}

impl From<LedgerRow> for DriftRecord {
    fn from(LedgerRow { app, first_seen, ended_at, controller, row }: LedgerRow) -> Self {
        Self {
            id: row.id,
            app,
            kind: kind(&row.kind),
            object: row.object,
            field: row.field,
            desired: row.desired,
            observed: row.observed,
            action: action(&row.action),
            first_seen,
            last_seen: row.last_seen,
            ended_at,
            controller,
        }
    }
}

/// The table's constraints have the same words.
fn kind(word: &str) -> DriftObject {
    DriftObject::ALL.into_iter().find(|kind| kind.word() == word).unwrap_or(DriftObject::Service)
}

fn action(word: &str) -> DriftAction {
    DriftAction::ALL.into_iter().find(|action| action.word() == word).unwrap_or(DriftAction::Recorded)
}

/// What is done about a change when it is over.
fn last_action(row: &OpenRow, touched: &BTreeSet<String>) -> DriftAction {
    match action(&row.action) {
        DriftAction::Correcting if touched.contains(&row.object) => DriftAction::Corrected,
        DriftAction::Correcting => DriftAction::Undone,
        // Held until the policy, or the end of the pause, let it be put right.
        DriftAction::Held | DriftAction::Paused if touched.contains(&row.object) => DriftAction::Corrected,
        other => other,
    }
}

fn short(text: &str) -> String {
    printable(text).chars().take(MAX_TEXT).collect()
}

impl Store {
    /// Brings the ledger of an app up to date with what was found just now. Returns the rows that are new or over.
    ///
    /// # Errors
    /// `Deposed` when another controller leads.
    pub async fn drift_put(&self, look: &DriftLook<'_>, epoch: i64) -> Result<Vec<DriftChange>, StoreError> {
        let what = "writing the drift ledger";
        bounded(what, async {
            let now = self.inner.clock.now();
            let mut tx = self.begin().await?;
            let fence = "SELECT true FROM leases WHERE name = 'controller' AND epoch = $1 FOR SHARE";
            let leads: Option<bool> = sqlx::query_scalar(fence).bind(epoch).fetch_optional(&mut *tx).await.map_err(StoreError::on(what))?;
            if leads.is_none() {
                return Err(StoreError::Deposed);
            }
            let open: Vec<OpenRow> = sqlx::query_as(
                "SELECT id, kind, object, field, desired, observed, action, last_seen FROM drift WHERE app_uid = $1 AND ended_at IS NULL",
            )
            .bind(look.uid)
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::on(what))?;
            let mut changes = Vec::new();
            for found in look.found {
                match open.iter().find(|row| row.object == found.object && row.field == found.field) {
                    Some(row) => drift_seen(&mut tx, row, found, now).await?,
                    None if drift_insert(&mut tx, look, found, now).await? => {
                        changes.push(DriftChange { found: found.clone(), ended: false })
                    }
                    None => {}
                }
            }
            for row in open {
                if look.found.iter().any(|found| row.object == found.object && row.field == found.field) {
                    continue;
                }
                changes.push(drift_end(&mut tx, row, look.touched, now).await?);
            }
            if !changes.is_empty() {
                drift_prune(&mut tx, look.uid, now).await?;
            }
            tx.commit().await.map_err(StoreError::on(what))?;
            Ok(changes)
        })
        .await
    }

    /// The ledger of an organisation, or of one app, from a time on: what lasts, and what was seen since, newest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn drift_list(
        &self,
        org: &OrgName,
        app: Option<&AppName>,
        (since, before): (Option<DateTime<Utc>>, Option<i64>),
        limit: i64,
    ) -> Result<Vec<DriftRecord>, StoreError> {
        let what = "reading the drift ledger";
        let sql = "SELECT id, app, kind, object, field, desired, observed, action, first_seen, last_seen, ended_at, controller FROM drift \
                   WHERE org = $1 AND ($2::text IS NULL OR app = $2) AND ($4::bigint IS NULL OR id < $4) \
                   AND ($3::timestamptz IS NULL OR ended_at IS NULL OR last_seen >= $3 OR ended_at >= $3) ORDER BY id DESC LIMIT $5";
        bounded(what, async {
            let rows: Vec<LedgerRow> = sqlx::query_as(sql)
                .bind(org.as_str())
                .bind(app.map(AppName::as_str))
                .bind(since)
                .bind(before)
                .bind(limit)
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            Ok(rows.into_iter().map(DriftRecord::from).collect())
        })
        .await
    }

    /// How many changes were found since a time.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn drift_count(&self, org: Option<&OrgName>, since: DateTime<Utc>) -> Result<i64, StoreError> {
        let what = "counting drift";
        bounded(what, async {
            sqlx::query_scalar("SELECT count(*) FROM drift WHERE ($1::text IS NULL OR org = $1) AND first_seen >= $2")
                .bind(org.map(OrgName::as_str))
                .bind(since)
                .fetch_one(self.pool())
                .await
                .map_err(StoreError::on(what))
        })
        .await
    }
}

/// Notes that a change lasts, when that is news.
async fn drift_seen(tx: &mut PgConnection, row: &OpenRow, found: &DriftFound, now: DateTime<Utc>) -> Result<(), StoreError> {
    let (desired, observed) = (short(&found.desired), short(&found.observed));
    if (&row.desired, &row.observed, action(&row.action)) == (&desired, &observed, found.action) && now - row.last_seen < SIGHT {
        return Ok(());
    }
    sqlx::query("UPDATE drift SET desired = $2, observed = $3, action = $4, last_seen = $5 WHERE id = $1")
        .bind(row.id)
        .bind(desired)
        .bind(observed)
        .bind(found.action.word())
        .bind(now)
        .execute(tx)
        .await
        .map(drop)
        .map_err(StoreError::on("writing the drift ledger"))
}

/// Whether a row was added: none is for an app that is gone.
async fn drift_insert(tx: &mut PgConnection, look: &DriftLook<'_>, found: &DriftFound, now: DateTime<Utc>) -> Result<bool, StoreError> {
    let sql = "INSERT INTO drift (org, app, app_uid, kind, object, field, desired, observed, action, first_seen, last_seen, controller) \
               SELECT org, name, uid, $2, $3, $4, $5, $6, $7, $8, $8, $9 FROM apps WHERE uid = $1";
    sqlx::query(sql)
        .bind(look.uid)
        .bind(found.kind.word())
        .bind(short(&found.object))
        .bind(short(&found.field))
        .bind(short(&found.desired))
        .bind(short(&found.observed))
        .bind(found.action.word())
        .bind(now)
        .bind(look.controller)
        .execute(tx)
        .await
        .map(|done| done.rows_affected() == 1)
        .map_err(StoreError::on("writing the drift ledger"))
}

async fn drift_end(tx: &mut PgConnection, row: OpenRow, touched: &BTreeSet<String>, now: DateTime<Utc>) -> Result<DriftChange, StoreError> {
    let action = last_action(&row, touched);
    sqlx::query("UPDATE drift SET action = $2, last_seen = $3, ended_at = $3 WHERE id = $1")
        .bind(row.id)
        .bind(action.word())
        .bind(now)
        .execute(tx)
        .await
        .map_err(StoreError::on("writing the drift ledger"))?;
    let OpenRow { object, field, desired, observed, .. } = row;
    Ok(DriftChange { found: DriftFound { kind: kind(&row.kind), object, field, desired, observed, action }, ended: true })
}

async fn drift_prune(tx: &mut PgConnection, uid: Uuid, now: DateTime<Utc>) -> Result<(), StoreError> {
    let sql = "DELETE FROM drift WHERE app_uid = $1 AND ended_at IS NOT NULL AND (ended_at < $2 OR id IN \
               (SELECT id FROM drift WHERE app_uid = $1 AND ended_at IS NOT NULL ORDER BY id DESC OFFSET $3))";
    sqlx::query(sql).bind(uid).bind(now - KEEP_FOR).bind(KEEP).execute(tx).await.map(drop).map_err(StoreError::on("removing old drift"))
}
