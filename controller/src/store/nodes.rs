//! Nodes: machines of the Swarm as the controller last saw them. Nobody else writes them.

use api_types::Node;
use sqlx::types::Json;

use super::connect::bounded;
use super::leases::{Fenced, fence};
use super::{Store, StoreError};

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
