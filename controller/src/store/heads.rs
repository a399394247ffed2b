//! The little of every app that tells whether its rows changed.

use sqlx::types::Json;
use uuid::Uuid;

use super::connect::bounded;
use super::{AppKey, Store, StoreError};
use crate::edge::Route;

/// What tells whether the rows of an app changed.
#[derive(Debug, Clone)]
pub struct AppHead {
    /// Which app.
    pub key: AppKey,
    /// Its uid.
    pub uid: Uuid,
    /// Version of its row: every write of it, of its spec as of its status, makes a new one.
    pub version: i64,
    /// Version of its route's row.
    pub route_version: Option<i64>,
    /// Its route.
    pub route: Option<Route>,
}

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    key: AppKey,
    uid: Uuid,
    resource_version: i64,
    route_version: Option<i64>,
    route: Option<Json<Route>>,
}

impl Store {
    /// The heads of all apps.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn app_heads(&self) -> Result<Vec<AppHead>, StoreError> {
        let what = "reading the versions of all apps";
        let sql = "SELECT a.org, a.name, a.uid, a.resource_version, r.resource_version AS route_version, r.route \
                   FROM apps a LEFT JOIN routes r ON r.app_uid = a.uid";
        bounded(what, async {
            let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(self.pool()).await.map_err(StoreError::on(what))?;
            let head = |row: Row| AppHead {
                key: row.key,
                uid: row.uid,
                version: row.resource_version,
                route_version: row.route_version,
                route: row.route.map(|Json(route)| route),
            };
            Ok(rows.into_iter().map(head).collect())
        })
        .await
    }
}
