//! Routes: where each app's requests go. Written by the App reconciler, read by the edge.

use sqlx::types::Json;
use uuid::Uuid;

use super::connect::bounded;
use super::leases::{Fenced, fence};
use super::{Store, StoreError};
use crate::edge::Route;

impl Store {
    /// Writes a route when it differs, and then notifies.
    ///
    /// # Errors
    /// `Deposed` when another controller leads, `Missing` when the app is gone.
    pub async fn route_put(&self, route: &Route, epoch: i64) -> Result<(), StoreError> {
        let what = "writing a route";
        // A statement trigger fires even when no row changes, so an equal route must not be sent at all.
        let same = concat!(
            fence!(),
            "found AS (SELECT 1 FROM routes WHERE app_uid = $2 AND route = $3) \
             SELECT EXISTS (SELECT FROM fence) AS fenced, EXISTS (SELECT FROM found) AS found"
        );
        let write = concat!(
            fence!(),
            "found AS (SELECT org FROM apps WHERE uid = $2), \
             written AS (INSERT INTO routes (app_uid, org, route) SELECT $2, found.org, $3 FROM fence, found \
                 ON CONFLICT (app_uid) DO UPDATE SET route = excluded.route, resource_version = nextval('resource_version')) \
             SELECT EXISTS (SELECT FROM fence) AS fenced, EXISTS (SELECT FROM found) AS found"
        );
        bounded(what, async {
            for sql in [same, write] {
                let outcome: Fenced = sqlx::query_as(sql)
                    .bind(epoch)
                    .bind(route.app_uid)
                    .bind(Json(route))
                    .fetch_one(self.pool())
                    .await
                    .map_err(StoreError::on(what))?;
                match outcome.check("the app") {
                    Err(StoreError::Missing { .. }) if sql == same => {}
                    other => return other,
                }
            }
            Ok(())
        })
        .await
    }

    /// Takes an app's route away.
    ///
    /// # Errors
    /// `Deposed` when another controller leads.
    pub async fn route_remove(&self, uid: Uuid, epoch: i64) -> Result<(), StoreError> {
        let what = "removing a route";
        let sql = concat!(
            fence!(),
            "written AS (DELETE FROM routes USING fence WHERE app_uid = $2) SELECT EXISTS (SELECT FROM fence) AS fenced, true AS found"
        );
        bounded(what, async {
            let outcome: Fenced = sqlx::query_as(sql).bind(epoch).bind(uid).fetch_one(self.pool()).await.map_err(StoreError::on(what))?;
            outcome.check("the route")
        })
        .await
    }

    /// An app's route.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn route_get(&self, uid: Uuid) -> Result<Option<Route>, StoreError> {
        let what = "reading a route";
        bounded(what, async {
            let found: Option<Json<Route>> = sqlx::query_scalar("SELECT route FROM routes WHERE app_uid = $1")
                .bind(uid)
                .fetch_optional(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            Ok(found.map(|Json(route)| route))
        })
        .await
    }

    /// All routes, by app. A route that cannot be read fails the whole list: an edge document without
    /// one app's routes would take it down in silence.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn route_list(&self) -> Result<Vec<Route>, StoreError> {
        let what = "listing routes";
        bounded(what, async {
            let found: Vec<Json<Route>> = sqlx::query_scalar("SELECT route FROM routes ORDER BY app_uid")
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            Ok(found.into_iter().map(|Json(route)| route).collect())
        })
        .await
    }
}
