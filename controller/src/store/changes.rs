//! What changed since a place in time, so that watches of the API lose nothing over any gap.
//!
//! A [`Cursor`] is a snapshot's xmin (see `migrations/0020_changes.sql`): it needs nothing from this process,
//! so a watch goes on at another server, or after a restart. Reading "everything from the cursor on" may find what was
//! found before, while a transaction that began before it still runs; it never leaves anything out.

use std::fmt;
use std::time::Duration;

use api_types::name::{LabelKey, LabelValue};
use sqlx::types::Json;
use std::collections::BTreeMap;

use super::connect::bounded;
use super::{Scope, Store, StoreError};

/// Most deletions that one reader is told; who missed more lists again.
const MAX_TOMBSTONES: i64 = 10_000;
/// Deletions that are forgotten at once.
const PRUNE_BATCH: i64 = 10_000;

/// A place in the order in which changes become visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, sqlx::Type)]
#[sqlx(transparent)]
pub struct Cursor(pub i64);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the kinds' names")]
pub enum Watched {
    Apps,
    Domains,
    Nodes,
    Events,
}

impl Watched {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "App" => Self::Apps,
            "Domain" => Self::Domains,
            "Node" => Self::Nodes,
            "Event" => Self::Events,
            _ => return None,
        })
    }

    /// The kind's word; also that of its tombstones.
    fn word(self) -> &'static str {
        match self {
            Self::Apps => "App",
            Self::Domains => "Domain",
            Self::Nodes => "Node",
            Self::Events => "Event",
        }
    }
}

/// That something changed: no more than is needed to know who has to read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sighting {
    /// What kind it is.
    pub what: Watched,
    /// Its organisation; empty for the platform's.
    pub org: String,
    /// Its identity.
    pub id: String,
    /// Its version, to tell a second sight from a second change.
    pub version: i64,
}

/// What a look over all organisations found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeLook {
    /// Where the next look goes on.
    pub cursor: Cursor,
    /// What changed.
    pub found: Vec<Sighting>,
}

/// What is left of a deleted object.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Tombstone {
    /// Its organisation; empty for the platform's.
    pub org: String,
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: String,
    /// Its last labels.
    #[sqlx(json)]
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Version of the deletion.
    pub resource_version: i64,
    /// When it was deleted.
    #[sqlx(rename = "changed_xid")]
    pub changed: Cursor,
}

impl Store {
    /// Where a reader goes on who begins to read after this call.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn change_cursor(&self) -> Result<Cursor, StoreError> {
        let what = "reading the place of changes";
        bounded(what, async {
            sqlx::query_scalar("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
                .fetch_one(self.pool())
                .await
                .map_err(StoreError::on(what))
        })
        .await
    }

    /// Whether a reader who was at `cursor` can go on from there.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn change_cursor_is_known(&self, cursor: Cursor) -> Result<bool, StoreError> {
        let what = "reading how far back changes are known";
        // What lies beyond the next transaction is from another life of this database, such as before it was restored.
        let sql = "SELECT $1 >= xid AND $1 <= pg_snapshot_xmax(pg_current_snapshot())::text::bigint FROM watch_horizon";
        bounded(what, async { sqlx::query_scalar(sql).bind(cursor).fetch_one(self.pool()).await.map_err(StoreError::on(what)) }).await
    }

    /// What changed since, over all organisations, in one look at one moment.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn change_look(&self, since: Cursor) -> Result<ChangeLook, StoreError> {
        let what = "looking for changes";
        let sql = "SELECT '' AS word, '' AS org, '' AS id, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS version \
                   UNION ALL SELECT 'App', org, uid::text, resource_version FROM apps WHERE changed_xid >= $1 \
                   UNION ALL SELECT 'Domain', org, uid::text, resource_version FROM domains WHERE changed_xid >= $1 \
                   UNION ALL SELECT 'Node', '', id, changed_xid FROM nodes WHERE changed_xid >= $1 \
                   UNION ALL SELECT 'Event', COALESCE(org, ''), id::text, count FROM events WHERE changed_xid >= $1 \
                   UNION ALL SELECT kind, org, uid, resource_version FROM tombstones WHERE changed_xid >= $1";
        bounded(what, async {
            let rows: Vec<(String, String, String, i64)> =
                sqlx::query_as(sql).bind(since).fetch_all(self.pool()).await.map_err(StoreError::on(what))?;
            let mut look = ChangeLook::default();
            for (word, org, id, version) in rows {
                match Watched::from_word(&word) {
                    Some(what) => look.found.push(Sighting { what, org, id, version }),
                    None => look.cursor = Cursor(version),
                }
            }
            Ok(look)
        })
        .await
    }

    /// What was deleted since, oldest first; `None` when it is too much to tell.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn tombstones_since(&self, scope: &Scope, since: Cursor) -> Result<Option<Vec<Tombstone>>, StoreError> {
        let what = "reading what was deleted";
        let sql = "SELECT org, name, uid, labels, resource_version, changed_xid FROM tombstones \
                   WHERE changed_xid >= $1 AND org = $2 AND kind = $3 ORDER BY changed_xid, id LIMIT $4";
        bounded(what, async {
            let found: Vec<Tombstone> = sqlx::query_as(sql)
                .bind(since)
                .bind(scope.org_word())
                .bind(scope.what.word())
                .bind(MAX_TOMBSTONES + 1)
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            Ok((found.len() <= usize::try_from(MAX_TOMBSTONES).unwrap_or(usize::MAX)).then_some(found))
        })
        .await
    }

    /// Forgets what was deleted longer ago; who would have to be told of it can no longer go on. Returns how many
    /// it forgot.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn tombstones_prune(&self, keep: Duration) -> Result<u64, StoreError> {
        let what = "forgetting what was deleted";
        // By the database's clock, which also set the times. The horizon moves in the same statement.
        let sql = "WITH gone AS (DELETE FROM tombstones WHERE id IN (SELECT id FROM tombstones \
                       WHERE deleted_at < now() - make_interval(secs => $1) ORDER BY deleted_at LIMIT $2) RETURNING changed_xid), \
                   moved AS (UPDATE watch_horizon SET xid = GREATEST(xid, (SELECT max(changed_xid) + 1 FROM gone)) \
                       WHERE EXISTS (SELECT FROM gone)) \
                   SELECT count(*) FROM gone";
        bounded(what, async {
            let gone: i64 = sqlx::query_scalar(sql)
                .bind(keep.as_secs_f64())
                .bind(PRUNE_BATCH)
                .fetch_one(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            Ok(u64::try_from(gone).unwrap_or_default())
        })
        .await
    }
}

/// A row with its places: when it was made, and when it last changed.
#[derive(sqlx::FromRow)]
pub(super) struct Stamped<T> {
    #[sqlx(flatten)]
    pub(super) row: T,
    pub(super) created_xid: Cursor,
    pub(super) changed_xid: Cursor,
}

/// A stored JSON document with its identity.
#[derive(sqlx::FromRow)]
pub(super) struct Document<T> {
    pub(super) id: String,
    pub(super) document: Json<T>,
}
