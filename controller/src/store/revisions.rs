//! Revisions: every generation of every app, and what became of it.

use api_types::kinds::app::Verdict;
use api_types::why::Witness;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::connect::bounded;
use super::leases::{Fenced, fence};
use super::{AppRecord, Revision, Store, StoreError};

macro_rules! revision_select {
    ($rest:literal) => {
        concat!(
            "SELECT generation, spec, secret_versions, restarts, resolved_image, verdict, author, source, client, based_on, \
             created_at FROM revisions ",
            $rest
        )
    };
}

/// Most revisions of one list.
const MAX_LIST: i64 = 1_000;

/// Sets one column of a revision (`$2`, `$3`) to `$4`, where it differs, behind the fence.
macro_rules! put_sql {
    ($column:literal) => {
        concat!(
            fence!(),
            "found AS (SELECT 1 FROM revisions WHERE app_uid = $2 AND generation = $3), written AS (UPDATE revisions SET ",
            $column,
            " = $4 FROM fence WHERE app_uid = $2 AND generation = $3 AND ",
            $column,
            " IS DISTINCT FROM $4) SELECT EXISTS (SELECT FROM fence) AS fenced, EXISTS (SELECT FROM found) AS found"
        )
    };
}

impl Store {
    /// One generation.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn revision_get(&self, uid: Uuid, generation: i64) -> Result<Option<Revision>, StoreError> {
        self.revision_find("reading a revision", revision_select!("WHERE app_uid = $1 AND generation = $2"), uid, generation).await
    }

    /// The newest proven generation before another one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn revision_latest_proven(&self, uid: Uuid, before: i64) -> Result<Option<Revision>, StoreError> {
        let sql =
            revision_select!("WHERE app_uid = $1 AND generation < $2 AND verdict ->> 'phase' = 'Ready' ORDER BY generation DESC LIMIT 1");
        self.revision_find("reading the last proven revision", sql, uid, before).await
    }

    async fn revision_find(
        &self,
        what: &'static str,
        sql: &'static str,
        uid: Uuid,
        generation: i64,
    ) -> Result<Option<Revision>, StoreError> {
        bounded(what, async {
            sqlx::query_as(sql).bind(uid).bind(generation).fetch_optional(self.pool()).await.map_err(StoreError::on(what))
        })
        .await
    }

    /// Generations, newest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn revision_list(&self, uid: Uuid, limit: i64) -> Result<Vec<Revision>, StoreError> {
        let what = "listing revisions";
        bounded(what, async {
            sqlx::query_as(revision_select!("WHERE app_uid = $1 ORDER BY generation DESC LIMIT $2"))
                .bind(uid)
                .bind(limit.clamp(0, MAX_LIST))
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))
        })
        .await
    }

    /// Generations before one, and that were there at a time, newest first: the first of a time is what was wanted then.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn revision_page(
        &self,
        uid: Uuid,
        before: Option<i64>,
        at: Option<DateTime<Utc>>,
        limit: i64,
    ) -> Result<Vec<Revision>, StoreError> {
        let what = "listing revisions";
        bounded(what, async {
            let sql = revision_select!(
                "WHERE app_uid = $1 AND ($2::bigint IS NULL OR generation < $2) AND ($4::timestamptz IS NULL OR created_at <= $4) \
                 ORDER BY generation DESC LIMIT $3"
            );
            sqlx::query_as(sql)
                .bind(uid)
                .bind(before)
                .bind(limit.clamp(0, MAX_LIST))
                .bind(at)
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))
        })
        .await
    }

    /// Records what a generation's image was resolved to.
    ///
    /// # Errors
    /// `Deposed` when another controller leads, `Missing` when the revision is gone.
    pub async fn revision_image_put(&self, uid: Uuid, generation: i64, image: &str, epoch: i64) -> Result<(), StoreError> {
        let what = "recording a revision's image";
        let sql = put_sql!("resolved_image");
        bounded(what, async {
            let outcome: Fenced = sqlx::query_as(sql)
                .bind(epoch)
                .bind(uid)
                .bind(generation)
                .bind(super::observations::printable(image))
                .fetch_one(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            outcome.check("the revision")
        })
        .await
    }

    /// Records a generation's verdict.
    ///
    /// # Errors
    /// `Deposed` when another controller leads, `Missing` when the revision is gone.
    pub async fn revision_verdict_put(&self, uid: Uuid, generation: i64, verdict: &Verdict, epoch: i64) -> Result<(), StoreError> {
        let what = "recording a verdict";
        let sql = put_sql!("verdict");
        bounded(what, async {
            let outcome: Fenced = sqlx::query_as(sql)
                .bind(epoch)
                .bind(uid)
                .bind(generation)
                .bind(Json(super::observations::storable(verdict, what)?))
                .fetch_one(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            outcome.check("the revision")
        })
        .await
    }
}

impl Store {
    /// Keeps what shows why a generation failed.
    ///
    /// # Errors
    /// `Deposed` when another controller leads, `Missing` when the revision is gone.
    pub async fn revision_failure_put(&self, uid: Uuid, generation: i64, failure: &Witness, epoch: i64) -> Result<(), StoreError> {
        let what = "keeping what shows a failure";
        let sql = put_sql!("failure");
        bounded(what, async {
            let outcome: Fenced = sqlx::query_as(sql)
                .bind(epoch)
                .bind(uid)
                .bind(generation)
                .bind(Json(super::observations::storable(failure, what)?))
                .fetch_one(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            outcome.check("the revision")
        })
        .await
    }

    /// What shows why a generation failed, if that was kept.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn revision_failure_get(&self, uid: Uuid, generation: i64) -> Result<Option<Witness>, StoreError> {
        let what = "reading what shows a failure";
        bounded(what, async {
            let found: Option<Option<Json<Witness>>> =
                sqlx::query_scalar("SELECT failure FROM revisions WHERE app_uid = $1 AND generation = $2")
                    .bind(uid)
                    .bind(generation)
                    .fetch_optional(self.pool())
                    .await
                    .map_err(StoreError::on(what))?;
            Ok(found.flatten().map(|Json(witness)| witness))
        })
        .await
    }
}

/// One generation, read by who holds the app's lock.
pub(super) async fn revision_in(tx: &mut PgConnection, uid: Uuid, generation: i64) -> Result<Option<Revision>, StoreError> {
    sqlx::query_as(revision_select!("WHERE app_uid = $1 AND generation = $2"))
        .bind(uid)
        .bind(generation)
        .fetch_optional(tx)
        .await
        .map_err(StoreError::on("reading a revision"))
}

/// The newest proven generation before another one, read by who holds the app's lock.
pub(super) async fn proven_in(tx: &mut PgConnection, uid: Uuid, before: i64) -> Result<Option<Revision>, StoreError> {
    sqlx::query_as(revision_select!(
        "WHERE app_uid = $1 AND generation < $2 AND verdict ->> 'phase' = 'Ready' ORDER BY generation DESC LIMIT 1"
    ))
    .bind(uid)
    .bind(before)
    .fetch_optional(tx)
    .await
    .map_err(StoreError::on("reading the last proven revision"))
}

/// Removes revisions beyond `revisions.retention_count`, and the secret values that nothing refers to any more. What
/// serves, what was proven last and what is newest stays, however old it is.
pub(super) async fn prune(tx: &mut PgConnection, record: &AppRecord) -> Result<(), StoreError> {
    let what = "removing old revisions";
    // No setting keeps fewer, so most writes need not read it.
    if record.generation <= crate::settings::LEAST_REVISIONS {
        return Ok(());
    }
    let keep = super::settings::snapshot(&mut *tx).await?.revisions_retention_count();
    let sql = "DELETE FROM revisions WHERE app_uid = $1 \
               AND generation < (SELECT min(generation) FROM (SELECT generation FROM revisions WHERE app_uid = $1 ORDER BY generation DESC LIMIT $2) kept) \
               AND generation <> ALL ($3) \
               AND generation IS DISTINCT FROM (SELECT max(generation) FROM revisions WHERE app_uid = $1 AND verdict ->> 'phase' = 'Ready')";
    let needed: Vec<i64> = [record.status.serving_generation, record.status.proven_generation].into_iter().flatten().collect();
    let removed =
        sqlx::query(sql).bind(record.uid).bind(keep).bind(needed).execute(&mut *tx).await.map_err(StoreError::on(what))?.rows_affected();
    if removed == 0 {
        return Ok(());
    }
    let sql = "DELETE FROM app_secrets s WHERE app_uid = $1 AND NOT EXISTS (\
               SELECT FROM revisions r, jsonb_each_text(r.secret_versions) v WHERE r.app_uid = $1 AND v.value = s.version::text)";
    sqlx::query(sql).bind(record.uid).execute(tx).await.map(drop).map_err(StoreError::on("removing old secrets"))
}
