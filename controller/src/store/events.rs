//! Events: what the controller did or saw, for people. Deduplicated and capped per object; they drive nothing.

use api_types::OrgName;
use api_types::event::{Event, EventType};
use api_types::selector::FieldSelector;
use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::connect::bounded;
use super::observations::printable;
use super::{NewEvent, Store, StoreError};

/// Longest message in characters; engines can send whole logs.
const MAX_MESSAGE: usize = 2_000;
/// Most events of one list.
const MAX_LIST: i64 = 10_000;

/// Which part of the events. The default is none, since it has no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Only events that were last seen before this time, or then and with a smaller id.
    pub before: Option<(DateTime<Utc>, i64)>,
    /// At most so many, the newest.
    pub limit: i64,
    /// Only events with these fields.
    pub fields: FieldSelector,
}

macro_rules! event_columns {
    () => {
        "id, kind, name, event_type, reason, message, generation, count, first_seen, last_seen"
    };
}
pub(super) use event_columns;

/// A condition on an event's fields; the parameter is a field selector as JSON.
macro_rules! event_fields {
    ($selector:literal) => {
        $crate::store::select::fields_match!(
            "CASE f.field WHEN 'kind' THEN kind WHEN 'name' THEN name WHEN 'type' THEN event_type WHEN 'reason' THEN reason END",
            $selector
        )
    };
}
pub(super) use event_fields;

#[derive(sqlx::FromRow)]
pub(super) struct EventRow {
    pub(super) id: i64,
    kind: String,
    name: String,
    event_type: String,
    reason: String,
    message: String,
    generation: i64,
    pub(super) count: i32,
    first_seen: DateTime<Utc>,
    last_seen: DateTime<Utc>,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            name: row.name,
            event_type: if row.event_type == "Warning" { EventType::Warning } else { EventType::Normal },
            reason: row.reason,
            message: row.message,
            generation: row.generation,
            count: row.count,
            first_seen: row.first_seen,
            last_seen: row.last_seen,
        }
    }
}

fn type_word(event_type: EventType) -> &'static str {
    match event_type {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    }
}

impl Store {
    /// Records an event. The same one of the same generation counts up; a new one pushes out the object's oldest ones
    /// beyond the setting `events.retention_per_object`. An event of an organisation that is gone is
    /// dropped without an error: nobody could read it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn event_record(&self, event: &NewEvent) -> Result<(), StoreError> {
        self.event_record_many(event, 1).await
    }

    /// As [`Store::event_record`], for one that happened several times since it was last recorded.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn event_record_many(&self, event: &NewEvent, times: u32) -> Result<(), StoreError> {
        let what = "recording an event";
        bounded(what, async {
            let message: String = printable(&event.message).chars().take(MAX_MESSAGE).collect();
            // The organisation's row is looked up in the statement, so a missing one is "no row".
            let sql = "INSERT INTO events AS e (org, kind, name, uid, event_type, reason, message, generation, first_seen, last_seen, count) \
                       SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10 \
                       WHERE $1::text IS NULL OR EXISTS (SELECT FROM organizations WHERE name = $1) \
                       ON CONFLICT (kind, name, (COALESCE(org, '')), (COALESCE(uid, '00000000-0000-0000-0000-000000000000'::uuid)), \
                           generation, event_type, reason, (md5(message))) \
                       DO UPDATE SET count = LEAST(e.count::bigint + excluded.count, 2147483647), last_seen = excluded.last_seen \
                       RETURNING xmax = 0 AS inserted";
            let inserted: Option<bool> = sqlx::query_scalar(sql)
                .bind(event.org.as_ref().map(OrgName::as_str))
                .bind(event.kind)
                .bind(printable(&event.name))
                .bind(event.uid)
                .bind(type_word(event.event_type))
                .bind(printable(&event.reason))
                .bind(message)
                .bind(event.generation)
                .bind(self.inner.clock.now())
                .bind(i32::try_from(times).unwrap_or(i32::MAX))
                .fetch_optional(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            if inserted == Some(true) { self.event_prune(event).await } else { Ok(()) }
        })
        .await
    }

    /// Removes the object's events beyond the cap, and a few of the oldest of all: objects that are gone
    /// get no more events, so nothing else would ever remove theirs.
    async fn event_prune(&self, event: &NewEvent) -> Result<(), StoreError> {
        let what = "removing old events";
        let mut connection = self.pool().acquire().await.map_err(StoreError::on(what))?;
        let keep = super::settings::snapshot(&mut connection).await?.events_retention_per_object();
        sqlx::query(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE kind = $1 AND name = $2 AND COALESCE(org, '') = COALESCE($3, '') \
             ORDER BY last_seen DESC, id DESC OFFSET $4)",
        )
        .bind(event.kind)
        .bind(printable(&event.name))
        .bind(event.org.as_ref().map(OrgName::as_str))
        .bind(keep)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::on(what))?;
        sqlx::query(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE last_seen < $1 - interval '30 days' ORDER BY last_seen, id LIMIT 20)",
        )
        .bind(self.inner.clock.now())
        .execute(&mut *connection)
        .await
        .map(drop)
        .map_err(StoreError::on(what))
    }

    /// The newest events, newest last; of one object (kind and name), where one is given.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn event_list(&self, org: Option<&OrgName>, object: Option<(&str, &str)>, limit: i64) -> Result<Vec<Event>, StoreError> {
        self.event_page(org, object, &EventQuery { limit, ..EventQuery::default() }).await
    }

    /// A part of the events, newest last.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn event_page(
        &self,
        org: Option<&OrgName>,
        object: Option<(&str, &str)>,
        query: &EventQuery,
    ) -> Result<Vec<Event>, StoreError> {
        let what = "listing events";
        bounded(what, async {
            let sql = concat!(
                "SELECT ",
                event_columns!(),
                " FROM events WHERE ($1::text IS NULL OR org = $1) AND ($2::text IS NULL OR kind = $2) AND ($3::text IS NULL OR name = $3) \
                 AND ($5::timestamptz IS NULL OR (last_seen, id) < ($5, $6)) AND ",
                event_fields!("$7"),
                " ORDER BY last_seen DESC, id DESC LIMIT $4"
            );
            let mut rows: Vec<EventRow> = sqlx::query_as(sql)
                .bind(org.map(OrgName::as_str))
                .bind(object.map(|(kind, _)| kind))
                .bind(object.map(|(_, name)| name))
                .bind(query.limit.clamp(0, MAX_LIST))
                .bind(query.before.map(|(last_seen, _)| last_seen))
                .bind(query.before.map(|(_, id)| id))
                .bind(Json(&query.fields))
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            rows.reverse();
            Ok(rows.into_iter().map(Event::from).collect())
        })
        .await
    }
}
