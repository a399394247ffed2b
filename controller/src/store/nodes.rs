//! Nodes: machines of the Swarm as the controller last saw them, which nobody else writes; and what was asked for of
//! them.

use std::collections::BTreeMap;

use api_types::Node;
use api_types::kinds::node::Availability;
use sqlx::types::Json;

use super::connect::bounded;
use super::leases::{Fenced, fence};
use super::observations::printable;
use super::{Store, StoreError, WriteContext, WriteError};

impl Store {
    /// Makes the stored nodes those of a complete, successful read of the engine. Never call it with
    /// what a failed or partial read returned.
    ///
    /// # Errors
    /// `Deposed` when another controller leads.
    pub async fn node_replace_all(&self, nodes: &[Node], epoch: i64) -> Result<(), StoreError> {
        let what = "writing nodes";
        let sql = concat!(
            fence!(),
            "wanted AS (SELECT DISTINCT ON (node #>> '{status,id}') node #>> '{status,id}' AS id, node \
                 FROM jsonb_array_elements($2) AS node WHERE node #>> '{status,id}' IS NOT NULL), \
             gone AS (DELETE FROM nodes USING fence WHERE nodes.id NOT IN (SELECT id FROM wanted)), \
             forgotten AS (DELETE FROM node_wishes USING fence WHERE node_wishes.node_id NOT IN (SELECT id FROM wanted)), \
             written AS (INSERT INTO nodes (id, node) SELECT wanted.id, wanted.node FROM fence, wanted \
                 ON CONFLICT (id) DO UPDATE SET node = excluded.node WHERE nodes.node IS DISTINCT FROM excluded.node) \
             SELECT EXISTS (SELECT FROM fence) AS fenced, true AS found"
        );
        bounded(what, async {
            let outcome: Fenced = sqlx::query_as(sql)
                .bind(epoch)
                .bind(Json(super::observations::storable(&nodes, what)?))
                .fetch_one(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            outcome.check("the nodes")
        })
        .await
    }

    /// Asks that a node takes tasks, or takes none. Who asked before is forgotten.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn node_ask(&self, id: &str, wanted: Availability, cx: &WriteContext) -> Result<(), WriteError> {
        let what = "asking something of a node";
        let sql = "INSERT INTO node_wishes (node_id, availability, author, asked_at) VALUES ($1, $2, $3, clock_timestamp()) \
                   ON CONFLICT (node_id) DO UPDATE SET availability = excluded.availability, author = excluded.author, \
                       asked_at = excluded.asked_at";
        if cx.dry_run {
            return Ok(());
        }
        bounded(what, async {
            let done = sqlx::query(sql).bind(id).bind(wanted.as_str()).bind(printable(&cx.author)).execute(self.pool()).await;
            done.map(drop).map_err(StoreError::on(what))
        })
        .await
        .map_err(WriteError::from)
    }

    /// What was asked for of nodes, by the engine's id.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn node_wishes(&self) -> Result<BTreeMap<String, Availability>, StoreError> {
        let what = "reading what was asked of nodes";
        bounded(what, async {
            let rows: Vec<(String, String)> = sqlx::query_as("SELECT node_id, availability FROM node_wishes")
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            let wish = |word: &str| if word == Availability::Drain.as_str() { Availability::Drain } else { Availability::Active };
            Ok(rows.into_iter().map(|(id, word)| (id, wish(&word))).collect())
        })
        .await
    }

    /// Nodes by name.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn node_list(&self) -> Result<Vec<Node>, StoreError> {
        let what = "listing nodes";
        bounded(what, async {
            let found: Vec<Json<Node>> = sqlx::query_scalar("SELECT node FROM nodes ORDER BY node #>> '{metadata,name}', id")
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            Ok(found.into_iter().map(|Json(node)| node).collect())
        })
        .await
    }
}
