//! Organisations, and the lock that makes writers of one organisation wait for each other.

use std::collections::{BTreeMap, BTreeSet};

use api_types::api::ApplyAction;
use api_types::name::{LabelKey, LabelValue};
use api_types::{Kind, ObjectMeta, OrgName, Organization, OrganizationSpec, OrganizationStatus};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::apply::{Apply, result};
use super::apply_items::OrganizationItem;
use super::apps::check_version;
use super::connect::bounded;
use super::{Store, StoreError, WriteContext, WriteError};

macro_rules! org_select {
    ($rest:literal) => {
        concat!(
            "SELECT o.name, o.uid, o.generation, o.resource_version, o.labels, o.spec, o.created_at, \
             (SELECT count(*) FROM apps a WHERE a.org = o.name) AS apps FROM organizations o ",
            $rest
        )
    };
}

#[derive(sqlx::FromRow)]
struct OrganizationRow {
    name: String,
    uid: Uuid,
    generation: i64,
    resource_version: i64,
    #[sqlx(json)]
    labels: BTreeMap<LabelKey, LabelValue>,
    #[sqlx(json)]
    spec: OrganizationSpec,
    created_at: DateTime<Utc>,
    apps: i64,
}

impl From<OrganizationRow> for Organization {
    fn from(row: OrganizationRow) -> Self {
        let metadata = ObjectMeta {
            name: row.name,
            uid: Some(row.uid),
            generation: Some(row.generation),
            resource_version: Some(row.resource_version.to_string()),
            labels: row.labels,
            creation_timestamp: Some(row.created_at),
            ..ObjectMeta::default()
        };
        Organization { status: Some(OrganizationStatus { apps: row.apps }), ..Organization::new(metadata, row.spec) }
    }
}

/// Locks organisations against other writers of them, in the order of their names, and tells which exist.
pub(super) async fn lock(tx: &mut PgConnection, names: &BTreeSet<OrgName>) -> Result<BTreeSet<OrgName>, StoreError> {
    let wanted: Vec<&str> = names.iter().map(OrgName::as_str).collect();
    let found: Vec<String> = sqlx::query_scalar("SELECT name FROM organizations WHERE name = ANY ($1) ORDER BY name FOR NO KEY UPDATE")
        .bind(wanted)
        .fetch_all(tx)
        .await
        .map_err(StoreError::on("locking organizations"))?;
    Ok(names.iter().filter(|name| found.iter().any(|found| found == name.as_str())).cloned().collect())
}

impl Store {
    /// One organisation.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn org_get(&self, org: &OrgName) -> Result<Option<Organization>, StoreError> {
        let what = "reading an organization";
        bounded(what, async {
            let row: Option<OrganizationRow> = sqlx::query_as(org_select!("WHERE o.name = $1"))
                .bind(org.as_str())
                .fetch_optional(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            Ok(row.map(Organization::from))
        })
        .await
    }

    /// Organisations by name.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn org_list(&self) -> Result<Vec<Organization>, StoreError> {
        let what = "listing organizations";
        bounded(what, async {
            let rows: Vec<OrganizationRow> =
                sqlx::query_as(org_select!("ORDER BY o.name")).fetch_all(self.pool()).await.map_err(StoreError::on(what))?;
            Ok(rows.into_iter().map(Organization::from).collect())
        })
        .await
    }

    /// Deletes an organisation with its tokens, events and data keys; `false` when there is none.
    ///
    /// # Errors
    /// `Stale` when it has another version than the expected one, `Conflict` while it has apps, also apps that are still being deleted.
    pub async fn org_delete(&self, org: &OrgName, expected: Option<i64>, cx: &WriteContext) -> Result<bool, WriteError> {
        let what = "deleting an organization";
        bounded(what, async {
            let mut tx = self.begin().await?;
            // FOR UPDATE also waits for rows being made that refer to it.
            let found: Option<i64> = sqlx::query_scalar("SELECT resource_version FROM organizations WHERE name = $1 FOR UPDATE")
                .bind(org.as_str())
                .fetch_optional(&mut *tx)
                .await
                .map_err(StoreError::on(what))?;
            let Some(version) = found else { return Ok(false) };
            check_version(0, "Organization", org.as_str(), Some(version), expected)?;
            let apps: i64 = sqlx::query_scalar("SELECT count(*) FROM apps WHERE org = $1")
                .bind(org.as_str())
                .fetch_one(&mut *tx)
                .await
                .map_err(StoreError::on(what))?;
            if apps > 0 {
                let detail = format!("Organization {org} still has {apps} app(s); delete them and wait until they are gone");
                return Err(WriteError::conflict(0, detail));
            }
            sqlx::query("DELETE FROM organizations WHERE name = $1")
                .bind(org.as_str())
                .execute(&mut *tx)
                .await
                .map_err(StoreError::on(what))?;
            super::apps::finish(tx, cx).await?;
            Ok(true)
        })
        .await
    }
}

impl Apply<'_> {
    pub(super) async fn organization(&mut self, item: &OrganizationItem) -> Result<(), WriteError> {
        let row: Option<OrganizationRow> = sqlx::query_as(org_select!("WHERE o.name = $1"))
            .bind(item.name.as_str())
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(StoreError::on("reading an organization"))?;
        let (at, name) = (item.head.item, item.name.as_str());
        check_version(at, "Organization", name, row.as_ref().map(|row| row.resource_version), item.head.expected)?;
        let (action, versions) = match row {
            None => (ApplyAction::Created, self.organization_insert(item).await?),
            Some(row) if row.spec == item.spec && row.labels == item.head.labels => {
                (ApplyAction::Unchanged, (row.generation, row.resource_version))
            }
            Some(row) => (ApplyAction::Configured, self.organization_update(item, row.spec != item.spec).await?),
        };
        self.done(at, result(Kind::Organization, None, name, action, versions));
        Ok(())
    }

    async fn organization_insert(&mut self, item: &OrganizationItem) -> Result<(i64, i64), WriteError> {
        let inserted: Option<(i64, i64)> = sqlx::query_as(
            "INSERT INTO organizations (name, uid, labels, spec, created_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (name) DO NOTHING RETURNING generation, resource_version",
        )
        .bind(item.name.as_str())
        .bind(self.store.inner.entropy.uuid(self.now))
        .bind(Json(&item.head.labels))
        .bind(Json(&item.spec))
        .bind(self.now)
        .fetch_optional(&mut *self.tx)
        .await
        .map_err(StoreError::on("creating an organization"))?;
        // Not an error of the store: another writer made it after our lock looked for it.
        inserted.ok_or_else(|| {
            WriteError::conflict(item.head.item, format!("Organization {} was created by somebody else just now; apply again", item.name))
        })
    }

    async fn organization_update(&mut self, item: &OrganizationItem, spec_changed: bool) -> Result<(i64, i64), StoreError> {
        sqlx::query_as(
            "UPDATE organizations SET spec = $2, labels = $3, generation = generation + $4, \
             resource_version = nextval('resource_version') WHERE name = $1 RETURNING generation, resource_version",
        )
        .bind(item.name.as_str())
        .bind(Json(&item.spec))
        .bind(Json(&item.head.labels))
        .bind(i64::from(spec_changed))
        .fetch_one(&mut *self.tx)
        .await
        .map_err(StoreError::on("changing an organization"))
    }
}
