//! Settings: what is stored over the defaults of [`crate::settings::registry`].

use std::collections::BTreeMap;

use api_types::api::ApplyAction;
use api_types::{FieldError, Kind, ObjectMeta, Setting, SettingKey, SettingSpec, SettingStatus};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::apply::{Apply, result};
use super::apply_items::SettingItem;
use super::apps::check_version;
use super::connect::bounded;
use super::observations::printable;
use super::{Store, StoreError, WriteContext, WriteError};
use crate::settings::{Definition, Settings, find, registry};

#[derive(sqlx::FromRow)]
struct SettingRow {
    key: String,
    value: Value,
    resource_version: i64,
    created_at: DateTime<Utc>,
}

/// All settings, read in a transaction.
pub(super) async fn snapshot(connection: &mut PgConnection) -> Result<Settings, StoreError> {
    let stored: Vec<(String, Value)> =
        sqlx::query_as("SELECT key, value FROM settings").fetch_all(connection).await.map_err(StoreError::on("reading settings"))?;
    Ok(Settings::from_stored(&stored.into_iter().collect()))
}

impl Store {
    /// All settings at this moment, typed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn settings_snapshot(&self) -> Result<Settings, StoreError> {
        let what = "reading settings";
        bounded(what, async {
            let mut connection = self.pool().acquire().await.map_err(StoreError::on(what))?;
            snapshot(&mut connection).await
        })
        .await
    }

    /// All settings by key, also those that show their default.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn setting_list(&self) -> Result<Vec<Setting>, StoreError> {
        let what = "listing settings";
        bounded(what, async {
            let rows: Vec<SettingRow> = sqlx::query_as("SELECT key, value, resource_version, created_at FROM settings")
                .fetch_all(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            let mut rows: BTreeMap<String, SettingRow> = rows.into_iter().map(|row| (row.key.clone(), row)).collect();
            Ok(registry().iter().map(|definition| object(definition, rows.remove(definition.key))).collect())
        })
        .await
    }

    /// One setting; `None` when there is none of this key.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn setting_get(&self, key: &SettingKey) -> Result<Option<Setting>, StoreError> {
        let what = "reading a setting";
        let Ok(definition) = find(key.as_str()) else { return Ok(None) };
        bounded(what, async {
            let mut connection = self.pool().acquire().await.map_err(StoreError::on(what))?;
            Ok(Some(object(definition, setting_row(&mut connection, definition.key).await?)))
        })
        .await
    }

    /// Sets a value.
    ///
    /// # Errors
    /// `Invalid` with what is allowed, at `metadata.name` or `spec.value`.
    pub async fn setting_put(&self, key: &SettingKey, value: &Value, cx: &WriteContext) -> Result<(), WriteError> {
        let what = "writing a setting";
        let definition = find(key.as_str()).map_err(|error| WriteError::invalid(0, error))?;
        let value = definition.check(value).map_err(|error| WriteError::invalid(0, error))?;
        bounded(what, async {
            let mut tx = self.begin().await?;
            let before = setting_row(&mut tx, definition.key).await?;
            if before.is_some_and(|row| row.value == value) {
                return Ok(());
            }
            check_hosts(&mut tx, definition, &value).await?.map_or(Ok(()), |error| Err(WriteError::invalid(0, error)))?;
            setting_write(&mut tx, definition, &value, self.inner.clock.now(), cx).await?;
            Ok(super::apps::finish(tx, cx).await?)
        })
        .await
    }

    /// Goes back to the default.
    ///
    /// # Errors
    /// `Invalid` when there is no such setting, `Stale` when it has another version than the expected one.
    pub async fn setting_reset(&self, key: &SettingKey, expected: Option<i64>, cx: &WriteContext) -> Result<(), WriteError> {
        let what = "resetting a setting";
        let definition = find(key.as_str()).map_err(|error| WriteError::invalid(0, error))?;
        bounded(what, async {
            let mut tx = self.begin().await?;
            let stored = setting_row(&mut tx, definition.key).await?.map(|row| row.resource_version);
            check_version(0, "Setting", definition.key, stored, expected)?;
            check_hosts(&mut tx, definition, &definition.default_value())
                .await?
                .map_or(Ok(()), |error| Err(WriteError::invalid(0, error)))?;
            sqlx::query("DELETE FROM settings WHERE key = $1")
                .bind(definition.key)
                .execute(&mut *tx)
                .await
                .map_err(StoreError::on(what))?;
            Ok(super::apps::finish(tx, cx).await?)
        })
        .await
    }
}

impl Apply<'_> {
    pub(super) async fn setting(&mut self, item: &SettingItem) -> Result<(), WriteError> {
        let at = item.head.item;
        let checked = find(&item.key).and_then(|definition| definition.check(&item.value).map(|value| (definition, value)));
        let (definition, value) = match checked {
            Ok(checked) => checked,
            Err(error) => {
                self.reject(at, error);
                return Ok(());
            }
        };
        let before = setting_row(&mut self.tx, definition.key).await?;
        check_version(at, "Setting", definition.key, before.as_ref().map(|row| row.resource_version), item.head.expected)?;
        let (action, resource_version) = match before {
            Some(row) if row.value == value => (ApplyAction::Unchanged, row.resource_version),
            before => {
                if let Some(error) = check_hosts(&mut self.tx, definition, &value).await? {
                    self.reject(at, error);
                    return Ok(());
                }
                let action = if before.is_some() { ApplyAction::Configured } else { ApplyAction::Created };
                (action, setting_write(&mut self.tx, definition, &value, self.now, self.cx).await?)
            }
        };
        self.done(at, result(Kind::Setting, None, definition.key, action, (0, resource_version)));
        Ok(())
    }
}

async fn setting_row(connection: &mut PgConnection, key: &str) -> Result<Option<SettingRow>, StoreError> {
    sqlx::query_as("SELECT key, value, resource_version, created_at FROM settings WHERE key = $1")
        .bind(key)
        .fetch_optional(connection)
        .await
        .map_err(StoreError::on("reading a setting"))
}

async fn setting_write(
    tx: &mut PgConnection,
    definition: &Definition,
    value: &Value,
    now: DateTime<Utc>,
    cx: &WriteContext,
) -> Result<i64, StoreError> {
    sqlx::query_scalar(
        "INSERT INTO settings (key, value, author, created_at, updated_at) VALUES ($1, $2, $3, $4, $4) \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, author = excluded.author, updated_at = excluded.updated_at, \
             resource_version = nextval('resource_version') \
         RETURNING resource_version",
    )
    .bind(definition.key)
    .bind(Json(value))
    .bind(printable(&cx.author))
    .bind(now)
    .fetch_one(tx)
    .await
    .map_err(StoreError::on("writing a setting"))
}

/// A new default domain must not cover a host that an app already has: that host would go to two apps.
async fn check_hosts(tx: &mut PgConnection, definition: &Definition, value: &Value) -> Result<Option<FieldError>, StoreError> {
    let (true, Some(domain)) = (definition.key == "edge.default_domain", value.as_str()) else { return Ok(None) };
    let covered: i64 = sqlx::query_scalar("SELECT count(*) FROM domains WHERE host = $1 OR right(host, length($1) + 1) = '.' || $1")
        .bind(domain)
        .fetch_one(tx)
        .await
        .map_err(StoreError::on("looking for hosts under a domain"))?;
    Ok((covered > 0).then(|| {
        let message = format!("{covered} custom domain(s) of apps are {domain} or under it; delete them first");
        FieldError::new("spec.value", message)
    }))
}

fn object(definition: &Definition, row: Option<SettingRow>) -> Setting {
    let status = SettingStatus {
        description: definition.description.to_owned(),
        value_type: definition.type_word(),
        default: definition.default_value(),
        is_default: row.is_none(),
    };
    let metadata = ObjectMeta {
        resource_version: row.as_ref().map(|row| row.resource_version.to_string()),
        creation_timestamp: row.as_ref().map(|row| row.created_at),
        ..ObjectMeta::named(definition.key)
    };
    let value = row.map_or_else(|| definition.default_value(), |row| row.value);
    Setting { status: Some(status), ..Setting::new(metadata, SettingSpec { value }) }
}
