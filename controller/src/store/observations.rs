//! What the controller last saw of each app, as JSON: the API computes plans from it without asking an engine.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use super::connect::bounded;
use super::leases::{Fenced, fence};
use super::{Store, StoreError};

impl Store {
    /// Writes an observation when it differs from the stored one.
    ///
    /// # Errors
    /// `Deposed` when another controller leads, `Missing` when the app is gone.
    pub async fn observation_put(&self, uid: Uuid, observed: &Value, epoch: i64) -> Result<(), StoreError> {
        let what = "writing an observation";
        let sql = concat!(
            fence!(),
            "found AS (SELECT org FROM apps WHERE uid = $2), \
             written AS (INSERT INTO observations AS o (app_uid, org, observed, observed_at) \
                 SELECT $2, found.org, $3, $4 FROM fence, found \
                 ON CONFLICT (app_uid) DO UPDATE SET observed = excluded.observed, observed_at = excluded.observed_at \
                 WHERE o.observed IS DISTINCT FROM excluded.observed) \
             SELECT EXISTS (SELECT FROM fence) AS fenced, EXISTS (SELECT FROM found) AS found"
        );
        bounded(what, async {
            let outcome: Fenced = sqlx::query_as(sql)
                .bind(epoch)
                .bind(uid)
                .bind(Json(storable(observed, what)?))
                .bind(self.inner.clock.now())
                .fetch_one(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            outcome.check("the app")
        })
        .await
    }

    /// The stored observation, and since when it has been so.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn observation_get(&self, uid: Uuid) -> Result<Option<(Value, DateTime<Utc>)>, StoreError> {
        let what = "reading an observation";
        bounded(what, async {
            sqlx::query_as("SELECT observed, observed_at FROM observations WHERE app_uid = $1")
                .bind(uid)
                .fetch_optional(self.pool())
                .await
                .map_err(StoreError::on(what))
        })
        .await
    }
}

/// A value as JSON that PostgreSQL can store: engines and programs may send NUL in their texts, which
/// `jsonb` refuses, and a message with one must not keep a status from being written.
pub(super) fn storable(value: &impl Serialize, what: &'static str) -> Result<Value, StoreError> {
    let mut json = serde_json::to_value(value).map_err(|error| StoreError::Query { what, source: sqlx::Error::Encode(error.into()) })?;
    replace_nul(&mut json);
    Ok(json)
}

/// Depth is bounded by the types that are stored here, and by serde_json's own limit when parsing.
fn replace_nul(value: &mut Value) {
    match value {
        Value::String(text) => {
            if text.contains('\0') {
                *text = printable(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(replace_nul),
        Value::Object(map) => {
            if map.keys().any(|key| key.contains('\0')) {
                *map = std::mem::take(map).into_iter().map(|(key, value)| (printable(&key), value)).collect();
            }
            map.values_mut().for_each(replace_nul);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text without NUL.
pub(super) fn printable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
