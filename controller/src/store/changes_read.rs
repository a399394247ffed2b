//! The objects of a watch: all as they are, and those that changed since.
//!
//! Two queries for each kind, not one with a condition that may be absent: a list is read by name, changes by the
//! index on their place, and a prepared statement has one plan.

use api_types::event::Event;
use api_types::{Domain, Node, OrgName};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::QueryAs;
use sqlx::types::Json;
use sqlx::{FromRow, Postgres};

use super::apps::app_columns;
use super::changes::{Cursor, Document, Stamped, Watched};
use super::connect::bounded;
use super::domains::{DomainRow, domain_columns};
use super::events::{EventRow, event_columns};
use super::select::labels_match;
use super::{AppRecord, ListQuery, Store, StoreError};

/// Which objects: of a kind, in an organisation, and for events of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The kind.
    pub what: Watched,
    /// The organisation; `None` for objects of the platform.
    pub org: Option<OrgName>,
    /// For events: kind and name of the object that they are about.
    pub object: Option<(&'static str, String)>,
}

impl Scope {
    /// The organisation, or nothing.
    pub fn org_word(&self) -> &str {
        self.org.as_ref().map_or("", OrgName::as_str)
    }
}

/// Which version of which object was found, and its place among the changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its identity.
    pub id: String,
    /// Changes with every write.
    pub version: i64,
    /// When it was made.
    pub created: Cursor,
    /// When it last changed.
    pub changed: Cursor,
    /// What lists and changes are sorted by, after the place.
    pub key: String,
}

/// An object that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// What was found.
    pub mark: Mark,
    /// The object itself.
    pub object: ChangedObject,
}

/// An object that can be watched.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the kinds' names")]
pub enum ChangedObject {
    App(Box<AppRecord>),
    Domain(Box<Domain>),
    Node(Box<Node>),
    Event(Box<Event>),
}

impl From<Stamped<AppRecord>> for Changed {
    fn from(found: Stamped<AppRecord>) -> Self {
        let Stamped { row, created_xid: created, changed_xid: changed } = found;
        let (id, version, key) = (row.uid.to_string(), row.resource_version, row.name.to_string());
        Self { mark: Mark { id, version, created, changed, key }, object: ChangedObject::App(Box::new(row)) }
    }
}

impl From<Stamped<DomainRow>> for Changed {
    fn from(found: Stamped<DomainRow>) -> Self {
        let Stamped { row, created_xid: created, changed_xid: changed } = found;
        let (id, version, key) = (row.uid.to_string(), row.resource_version, row.host.to_string());
        Self { mark: Mark { id, version, created, changed, key }, object: ChangedObject::Domain(Box::new(row.into())) }
    }
}

impl From<Stamped<Document<Node>>> for Changed {
    fn from(found: Stamped<Document<Node>>) -> Self {
        let Stamped { row: Document { id, document: Json(node) }, created_xid: created, changed_xid: changed } = found;
        let mark = Mark { version: changed.0, created, changed, key: id.clone(), id };
        Self { mark, object: ChangedObject::Node(Box::new(node)) }
    }
}

impl From<Stamped<EventRow>> for Changed {
    fn from(found: Stamped<EventRow>) -> Self {
        let Stamped { row, created_xid: created, changed_xid: changed } = found;
        let id = row.id.to_string();
        let mark = Mark { version: row.count.into(), created, changed, key: id.clone(), id };
        Self { mark, object: ChangedObject::Event(Box::new(row.into())) }
    }
}

type Query<'q, T> = QueryAs<'q, Postgres, Stamped<T>, PgArguments>;

impl Store {
    async fn changed<T>(&self, what: &'static str, query: Query<'_, T>) -> Result<Vec<Changed>, StoreError>
    where
        Changed: From<Stamped<T>>,
        T: Send + Unpin,
        Stamped<T>: for<'r> FromRow<'r, PgRow>,
    {
        bounded(what, async {
            let rows = query.fetch_all(self.pool()).await.map_err(StoreError::on(what))?;
            Ok(rows.into_iter().map(Changed::from).collect())
        })
        .await
    }

    /// Objects as they are, a part of them by name. Of events only the last `limit` are told, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn watch_list(&self, scope: &Scope, query: &ListQuery) -> Result<Vec<Changed>, StoreError> {
        let what = "listing what is watched";
        let selected = |sql: &'static str| (sql, scope.org_word(), query.after.as_deref(), Json(&query.labels), Json(&query.fields));
        match scope.what {
            Watched::Apps => {
                let sql = concat!(
                    "SELECT ",
                    app_columns!(),
                    ", created_xid, changed_xid FROM apps WHERE org = $1 AND ($2::text IS NULL OR name > $2) AND ",
                    labels_match!("labels", "$3"),
                    " AND ",
                    super::apps::app_fields!("$4"),
                    " ORDER BY name LIMIT $5"
                );
                let (sql, org, after, labels, fields) = selected(sql);
                self.changed::<AppRecord>(what, sqlx::query_as(sql).bind(org).bind(after).bind(labels).bind(fields).bind(query.limit)).await
            }
            Watched::Domains => {
                let sql = concat!(
                    "SELECT ",
                    domain_columns!(),
                    ", d.created_xid, d.changed_xid FROM domains d JOIN apps a ON a.uid = d.app_uid \
                     WHERE d.org = $1 AND ($2::text IS NULL OR d.host > $2) AND ",
                    labels_match!("d.labels", "$3"),
                    " AND ",
                    super::domains::domain_fields!("$4"),
                    " ORDER BY d.host LIMIT $5"
                );
                let (sql, org, after, labels, fields) = selected(sql);
                self.changed::<DomainRow>(what, sqlx::query_as(sql).bind(org).bind(after).bind(labels).bind(fields).bind(query.limit)).await
            }
            Watched::Nodes => {
                let sql = "SELECT id, node AS document, created_xid, changed_xid FROM nodes WHERE $1::text IS NULL OR id > $1 ORDER BY id LIMIT $2";
                self.changed::<Document<Node>>(what, sqlx::query_as(sql).bind(query.after.as_deref()).bind(query.limit)).await
            }
            Watched::Events => {
                let sql = concat!(
                    "SELECT * FROM (SELECT ",
                    event_columns!(),
                    ", created_xid, changed_xid FROM events WHERE org = $1 AND ($2::text IS NULL OR (kind = $2 AND name = $3)) AND ",
                    super::events::event_fields!("$4"),
                    " ORDER BY last_seen DESC, id DESC LIMIT $5) AS newest ORDER BY last_seen, id"
                );
                let (kind, name) = scope.object.as_ref().map(|(kind, name)| (*kind, name.as_str())).unzip();
                let (sql, org, _, _, fields) = selected(sql);
                self.changed::<EventRow>(what, sqlx::query_as(sql).bind(org).bind(kind).bind(name).bind(fields).bind(query.limit)).await
            }
        }
    }

    /// Objects that changed since, a part of them, in the order of their places; `after` is place and key of the last one
    /// of the part before.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn watch_changes(
        &self,
        scope: &Scope,
        since: Cursor,
        after: Option<(Cursor, &str)>,
        limit: i64,
    ) -> Result<Vec<Changed>, StoreError> {
        let what = "reading what changed";
        // Without a part before: everything at the first place comes after the empty key.
        let (place, key) = after.unwrap_or((since, ""));
        match scope.what {
            Watched::Apps => {
                let sql = concat!(
                    "SELECT ",
                    app_columns!(),
                    ", created_xid, changed_xid FROM apps WHERE changed_xid >= $1 AND org = $2 AND (changed_xid, name) > ($1, $3) \
                     ORDER BY changed_xid, name LIMIT $4"
                );
                self.changed::<AppRecord>(what, sqlx::query_as(sql).bind(place).bind(scope.org_word()).bind(key).bind(limit)).await
            }
            Watched::Domains => {
                let sql = concat!(
                    "SELECT ",
                    domain_columns!(),
                    ", d.created_xid, d.changed_xid FROM domains d JOIN apps a ON a.uid = d.app_uid \
                     WHERE d.changed_xid >= $1 AND d.org = $2 AND (d.changed_xid, d.host) > ($1, $3) ORDER BY d.changed_xid, d.host LIMIT $4"
                );
                self.changed::<DomainRow>(what, sqlx::query_as(sql).bind(place).bind(scope.org_word()).bind(key).bind(limit)).await
            }
            Watched::Nodes => {
                let sql = "SELECT id, node AS document, created_xid, changed_xid FROM nodes WHERE (changed_xid, id) > ($1, $2) \
                           ORDER BY changed_xid, id LIMIT $3";
                self.changed::<Document<Node>>(what, sqlx::query_as(sql).bind(place).bind(key).bind(limit)).await
            }
            Watched::Events => {
                let sql = concat!(
                    "SELECT ",
                    event_columns!(),
                    ", created_xid, changed_xid FROM events WHERE changed_xid >= $1 AND org = $2 AND (changed_xid, id) > ($1, $3) \
                     AND ($4::text IS NULL OR (kind = $4 AND name = $5)) ORDER BY changed_xid, id LIMIT $6"
                );
                let (kind, name) = scope.object.as_ref().map(|(kind, name)| (*kind, name.as_str())).unzip();
                let id: i64 = key.parse().unwrap_or_default();
                let query = sqlx::query_as(sql).bind(place).bind(scope.org_word()).bind(id).bind(kind).bind(name).bind(limit);
                self.changed::<EventRow>(what, query).await
            }
        }
    }
}
