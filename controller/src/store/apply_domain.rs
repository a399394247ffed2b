//! Apply, for domains that are objects of their own.

use api_types::api::ApplyAction;
use api_types::{FieldError, Kind};
use sqlx::types::Json;
use uuid::Uuid;

use super::apply::{Apply, result};
use super::apply_items::DomainItem;
use super::apps::{app_lock, check_not_deleting, check_version};
use super::domains::{apps_touch, domain_lock};
use super::{StoreError, WriteError};

impl Apply<'_> {
    pub(super) async fn domain(&mut self, item: &DomainItem) -> Result<(), WriteError> {
        if let Some(error) = self.host_refused("metadata.name", &item.host) {
            self.reject(item.head.item, error);
            return Ok(());
        }
        let Some(app) = app_lock(&mut self.tx, &item.org, &item.app).await? else {
            // An app of this very list is missing when an error kept it from being written.
            if self.errors.is_empty() {
                let message =
                    format!("organization {} has no app \"{}\"; create it first, or put it into the same list", item.org, item.app);
                self.reject(item.head.item, FieldError::new("spec.app", message));
            }
            return Ok(());
        };
        check_not_deleting(item.head.item, &app)?;
        let (action, versions) = self.domain_write(item, app.uid).await?;
        self.done(item.head.item, result(Kind::Domain, Some(&item.org), item.host.as_str(), action, versions));
        Ok(())
    }

    async fn domain_write(&mut self, item: &DomainItem, app: Uuid) -> Result<(ApplyAction, (i64, i64)), WriteError> {
        let (at, host) = (item.head.item, &item.host);
        let in_use = || WriteError::host_in_use(at, format!("metadata.name: {host} is in use by another app"));
        let Some(before) = domain_lock(&mut self.tx, host).await? else {
            check_version(at, "Domain", host.as_str(), None, item.head.expected)?;
            let versions = self.domain_insert(item, app).await?.ok_or_else(in_use)?;
            apps_touch(&mut self.tx, &[app]).await?;
            return Ok((ApplyAction::Created, versions));
        };
        // Before anything is said about it: it may be another tenant's.
        if before.org != item.org {
            return Err(in_use());
        }
        if before.inline {
            let detail = format!("metadata.name: {host} is in the manifest of App {}; change its spec.domains instead", before.app);
            return Err(WriteError::conflict(at, detail));
        }
        check_version(at, "Domain", host.as_str(), Some(before.resource_version), item.head.expected)?;
        if before.app_uid == app && before.labels == item.head.labels {
            return Ok((ApplyAction::Unchanged, (before.generation, before.resource_version)));
        }
        let sql = "UPDATE domains SET labels = $2, app_uid = $3, generation = generation + CASE WHEN app_uid = $3 THEN 0 ELSE 1 END, \
                   resource_version = nextval('resource_version') WHERE host = $1 RETURNING generation, resource_version";
        let versions = sqlx::query_as(sql)
            .bind(host.as_str())
            .bind(Json(&item.head.labels))
            .bind(app)
            .fetch_one(&mut *self.tx)
            .await
            .map_err(StoreError::on("changing a domain"))?;
        if before.app_uid != app {
            apps_touch(&mut self.tx, &[before.app_uid, app]).await?;
        }
        Ok((ApplyAction::Configured, versions))
    }

    /// `None` when another transaction took the host meanwhile.
    async fn domain_insert(&mut self, item: &DomainItem, app: Uuid) -> Result<Option<(i64, i64)>, StoreError> {
        sqlx::query_as(
            "INSERT INTO domains (host, uid, org, app_uid, inline, labels, created_at) VALUES ($1, $2, $3, $4, false, $5, $6) \
             ON CONFLICT (host) DO NOTHING RETURNING generation, resource_version",
        )
        .bind(item.host.as_str())
        .bind(self.store.inner.entropy.uuid(self.now))
        .bind(item.org.as_str())
        .bind(app)
        .bind(Json(&item.head.labels))
        .bind(self.now)
        .fetch_optional(&mut *self.tx)
        .await
        .map_err(StoreError::on("creating a domain"))
    }
}
