//! Domains: hosts of apps. Inline ones belong to an app's manifest, the others are objects.

use std::collections::{BTreeMap, BTreeSet};

use api_types::name::{LabelKey, LabelValue};
use api_types::{AppName, Domain, DomainSpec, Host, ObjectMeta, OrgName};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::apps::check_version;
use super::connect::bounded;
use super::select::labels_match;
use super::{ListQuery, Store, StoreError, WriteContext, WriteError};

macro_rules! domain_columns {
    () => {
        "d.host, d.uid, d.org, d.app_uid, a.name AS app, d.inline, d.generation, d.resource_version, d.labels, d.created_at"
    };
}
pub(super) use domain_columns;

/// A condition on a domain's fields; the parameter is a field selector as JSON.
macro_rules! domain_fields {
    ($selector:literal) => {
        $crate::store::select::fields_match!("CASE f.field WHEN 'metadata.name' THEN d.host WHEN 'spec.app' THEN a.name END", $selector)
    };
}
pub(super) use domain_fields;

macro_rules! domain_select {
    ($rest:literal) => {
        concat!("SELECT ", domain_columns!(), " FROM domains d JOIN apps a ON a.uid = d.app_uid ", $rest)
    };
}

/// A domain as it is stored.
#[derive(sqlx::FromRow)]
pub(super) struct DomainRow {
    #[sqlx(try_from = "String")]
    pub(super) host: Host,
    pub(super) uid: Uuid,
    #[sqlx(try_from = "String")]
    pub(super) org: OrgName,
    pub(super) app_uid: Uuid,
    #[sqlx(try_from = "String")]
    pub(super) app: AppName,
    pub(super) inline: bool,
    pub(super) generation: i64,
    pub(super) resource_version: i64,
    #[sqlx(json)]
    pub(super) labels: BTreeMap<LabelKey, LabelValue>,
    pub(super) created_at: DateTime<Utc>,
}

impl From<DomainRow> for Domain {
    fn from(row: DomainRow) -> Self {
        let metadata = ObjectMeta {
            name: row.host.to_string(),
            org: Some(row.org),
            uid: Some(row.uid),
            generation: Some(row.generation),
            resource_version: Some(row.resource_version.to_string()),
            labels: row.labels,
            owner: row.inline.then(|| format!("App/{}", row.app)),
            creation_timestamp: Some(row.created_at),
            ..ObjectMeta::default()
        };
        Domain::new(metadata, DomainSpec { app: row.app })
    }
}

/// Reads a domain and keeps others from writing it until the transaction ends.
pub(super) async fn domain_lock(tx: &mut PgConnection, host: &Host) -> Result<Option<DomainRow>, StoreError> {
    sqlx::query_as(domain_select!("WHERE d.host = $1 FOR UPDATE OF d"))
        .bind(host.as_str())
        .fetch_optional(tx)
        .await
        .map_err(StoreError::on("reading a domain to write it"))
}

/// Makes apps dirty: something that belongs to them changed, but not their spec.
pub(super) async fn apps_touch(tx: &mut PgConnection, apps: &[Uuid]) -> Result<(), StoreError> {
    sqlx::query("UPDATE apps SET desired_version = desired_version + 1 WHERE uid = ANY ($1)")
        .bind(apps)
        .execute(tx)
        .await
        .map(drop)
        .map_err(StoreError::on("marking apps as changed"))
}

impl Store {
    /// Domains by host, inline ones included.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn domain_list(&self, org: Option<&OrgName>) -> Result<Vec<Domain>, StoreError> {
        let what = "listing domains";
        bounded(what, async {
            let rows: Vec<DomainRow> = sqlx::query_as(domain_select!("WHERE $1::text IS NULL OR d.org = $1 ORDER BY d.host"))
                .bind(org.map(OrgName::as_str))
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            Ok(rows.into_iter().map(Domain::from).collect())
        })
        .await
    }

    /// A part of an organisation's domains, by host.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn domain_page(&self, org: &OrgName, query: &ListQuery) -> Result<Vec<Domain>, StoreError> {
        let what = "listing domains";
        let sql = concat!(
            domain_select!("WHERE d.org = $1 AND ($2::text IS NULL OR d.host > $2) AND "),
            labels_match!("d.labels", "$3"),
            " AND ",
            domain_fields!("$4"),
            " ORDER BY d.host LIMIT $5"
        );
        bounded(what, async {
            let rows: Vec<DomainRow> = sqlx::query_as(sql)
                .bind(org.as_str())
                .bind(query.after.as_deref())
                .bind(Json(&query.labels))
                .bind(Json(&query.fields))
                .bind(query.limit)
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            Ok(rows.into_iter().map(Domain::from).collect())
        })
        .await
    }

    /// The domain of a host, of whatever organisation: check `metadata.org` before it is shown.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn domain_get(&self, host: &Host) -> Result<Option<Domain>, StoreError> {
        let what = "reading a domain";
        bounded(what, async {
            let row: Option<DomainRow> = sqlx::query_as(domain_select!("WHERE d.host = $1"))
                .bind(host.as_str())
                .fetch_optional(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            Ok(row.map(Domain::from))
        })
        .await
    }

    /// Deletes a domain that is an object of its own; `false` when the organisation has no such domain.
    ///
    /// # Errors
    /// `Stale` when it has another version than the expected one, `Conflict` when it belongs to an app's manifest.
    pub async fn domain_delete(&self, org: &OrgName, host: &Host, expected: Option<i64>, cx: &WriteContext) -> Result<bool, WriteError> {
        let what = "deleting a domain";
        bounded(what, async {
            let mut tx = self.begin().await?;
            super::organizations::lock(&mut tx, &BTreeSet::from([org.clone()])).await?;
            let Some(row) = domain_lock(&mut tx, host).await?.filter(|row| row.org == *org) else { return Ok(false) };
            check_version(0, "Domain", host.as_str(), Some(row.resource_version), expected)?;
            if row.inline {
                let detail = format!("{host} is in the manifest of App {}; take it out of its spec.domains instead", row.app);
                return Err(WriteError::conflict(0, detail));
            }
            sqlx::query("DELETE FROM domains WHERE host = $1").bind(host.as_str()).execute(&mut *tx).await.map_err(StoreError::on(what))?;
            apps_touch(&mut tx, &[row.app_uid]).await?;
            super::apps::finish(tx, cx).await?;
            Ok(true)
        })
        .await
    }
}
