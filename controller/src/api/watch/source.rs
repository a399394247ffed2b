//! What watches need of the database: a part of [`Backend`](crate::api::backend::Backend), in a list of its own.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::api::backend::Read;
use crate::store::{ChangeLook, Changed, Cursor, ListQuery, Scope, Store, StoreHint, Tombstone};

/// See the module.
#[async_trait]
pub trait ChangeSource: Send + Sync + 'static {
    /// Hints that desired state changed, for as long as the receiver lives.
    fn change_hints(&self) -> mpsc::Receiver<StoreHint>;
    /// Where a reader goes on who begins to read after this call.
    async fn change_cursor(&self) -> Read<Cursor>;
    /// Whether a reader who was there can go on.
    async fn change_cursor_is_known(&self, cursor: Cursor) -> Read<bool>;
    /// What changed since, over all organisations.
    async fn change_look(&self, since: Cursor) -> Read<ChangeLook>;
    /// Objects as they are, a part of them by name.
    async fn watch_list(&self, scope: &Scope, query: &ListQuery) -> Read<Vec<Changed>>;
    /// Objects that changed since, a part of them.
    async fn watch_changes(&self, scope: &Scope, since: Cursor, after: Option<(Cursor, &str)>, limit: i64) -> Read<Vec<Changed>>;
    /// What was deleted since; `None` when it is too much to tell.
    async fn tombstones_since(&self, scope: &Scope, since: Cursor) -> Read<Option<Vec<Tombstone>>>;
    /// Forgets what was deleted longer ago.
    async fn tombstones_prune(&self, keep: Duration) -> Read<u64>;
}

#[async_trait]
impl ChangeSource for Store {
    fn change_hints(&self) -> mpsc::Receiver<StoreHint> {
        self.watch()
    }
    async fn change_cursor(&self) -> Read<Cursor> {
        Store::change_cursor(self).await
    }
    async fn change_cursor_is_known(&self, cursor: Cursor) -> Read<bool> {
        Store::change_cursor_is_known(self, cursor).await
    }
    async fn change_look(&self, since: Cursor) -> Read<ChangeLook> {
        Store::change_look(self, since).await
    }
    async fn watch_list(&self, scope: &Scope, query: &ListQuery) -> Read<Vec<Changed>> {
        Store::watch_list(self, scope, query).await
    }
    async fn watch_changes(&self, scope: &Scope, since: Cursor, after: Option<(Cursor, &str)>, limit: i64) -> Read<Vec<Changed>> {
        Store::watch_changes(self, scope, since, after, limit).await
    }
    async fn tombstones_since(&self, scope: &Scope, since: Cursor) -> Read<Option<Vec<Tombstone>>> {
        Store::tombstones_since(self, scope, since).await
    }
    async fn tombstones_prune(&self, keep: Duration) -> Read<u64> {
        Store::tombstones_prune(self, keep).await
    }
}
