//! Revisions: every generation of every app, and what became of it.

use api_types::kinds::app::Verdict;
use sqlx::types::Json;
use uuid::Uuid;

use super::connect::bounded;
use super::leases::{Fenced, fence};
use super::{Revision, Store, StoreError};

macro_rules! revision_select {
    ($rest:literal) => {
        concat!(
            "SELECT generation, spec, secret_versions, restarts, resolved_image, verdict, author, source, created_at FROM revisions ",
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
