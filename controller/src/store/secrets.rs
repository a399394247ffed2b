//! Secrets of apps: versions, encryption, and the comparison that keeps an equal value from becoming a
//! new version. Values leave here only through [`Store::secret_value`], for the engine.

use std::collections::BTreeMap;

use api_types::{EnvKey, FieldError, OrgName, SecretValue};
use secrecy::SecretString;
use sqlx::PgConnection;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::apply::Apply;
use super::apply_items::AppItem;
use super::connect::bounded;
use super::{AppRecord, Store, StoreError, WriteError};
use crate::keyring::{DataKey, KeyringError, Place, Sealed};

/// What an apply does with an app's secrets.
pub(super) struct SecretChange {
    /// Version of each key afterwards.
    pub(super) versions: BTreeMap<EnvKey, i64>,
    /// Rows to add: key, version, value.
    new: Vec<(String, i64, Sealed)>,
    /// Last version that was given out, once it was asked for.
    last: Option<i64>,
    /// The organisation's newest data key, once it was asked for.
    data_key: Option<(i32, DataKey)>,
}

impl SecretChange {
    /// Gives a value the next version.
    pub(super) async fn add(
        &mut self,
        apply: &mut Apply<'_>,
        (item, uid): (&AppItem, Uuid),
        key: &str,
        value: &str,
    ) -> Result<i64, StoreError> {
        let last = match self.last {
            Some(last) => last,
            None => secret_counter(&mut apply.tx, uid).await?,
        };
        if self.data_key.is_none() {
            self.data_key = Some(apply.store.data_key_newest(&mut apply.tx, &item.org).await?);
        }
        let version = last + 1;
        self.last = Some(version);
        if let Some((_, data_key)) = &self.data_key {
            let owner = uid.to_string();
            let place = Place { org: item.org.as_str(), owner: &owner, key, version };
            let sealed = data_key.seal(place, value.as_bytes(), &*apply.store.inner.entropy)?;
            self.new.push((key.to_owned(), version, sealed));
        }
        Ok(version)
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct SecretRow {
    version: i64,
    data_key: i32,
    nonce: Vec<u8>,
    ciphertext: Vec<u8>,
}

#[derive(sqlx::FromRow)]
struct DataKeyRow {
    version: i32,
    nonce: Vec<u8>,
    wrapped: Vec<u8>,
}

impl Store {
    /// The value of a secret version; `None` when there is no such version of this key.
    ///
    /// # Errors
    /// `Crypto` when it does not decrypt.
    pub async fn secret_value(&self, app_uid: Uuid, org: &OrgName, key: &EnvKey, version: i64) -> Result<Option<SecretValue>, StoreError> {
        let plain = self.secret_bytes(app_uid, org, key.as_str(), version).await?;
        let text = |plain: Zeroizing<Vec<u8>>| {
            std::str::from_utf8(&plain).map(|text| SecretValue::new(text.to_owned())).map_err(|_| KeyringError::Tampered)
        };
        Ok(plain.map(text).transpose()?)
    }

    /// As [`Store::secret_value`], for any key.
    pub(super) async fn secret_bytes(
        &self,
        app_uid: Uuid,
        org: &OrgName,
        key: &str,
        version: i64,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let what = "reading a secret";
        bounded(what, async {
            let mut connection = self.pool().acquire().await.map_err(StoreError::on(what))?;
            let sql = "SELECT version, data_key, nonce, ciphertext FROM app_secrets \
                       WHERE app_uid = $1 AND version = $2 AND org = $3 AND key = $4";
            let row: Option<SecretRow> = sqlx::query_as(sql)
                .bind(app_uid)
                .bind(version)
                .bind(org.as_str())
                .bind(key)
                .fetch_optional(&mut *connection)
                .await
                .map_err(StoreError::on(what))?;
            let Some(row) = row else { return Ok(None) };
            let data_key = self.data_key_get(&mut connection, org, row.data_key).await?;
            Ok(Some(row.open(&data_key, org, &app_uid.to_string(), key)?))
        })
        .await
    }

    /// The platform's internal token: made once, the same for all roles that share database and key file.
    ///
    /// # Errors
    /// `Crypto` when no keyring is open, or it is another one than the token was made with.
    pub async fn internal_token(&self) -> Result<SecretString, StoreError> {
        let what = "reading the internal token";
        let place = Place { org: "", owner: "platform", key: "internal-token", version: 1 };
        bounded(what, async {
            let (keyring, entropy) = (self.keyring()?, &*self.inner.entropy);
            let mut random = Zeroizing::new([0u8; 32]);
            entropy.fill(&mut *random);
            let sealed = keyring.seal(place, Zeroizing::new(hex::encode(*random)).as_bytes(), entropy)?;
            // The first one stays; whoever comes later reads it.
            sqlx::query(
                "INSERT INTO platform_secrets (name, key_id, nonce, ciphertext, created_at) VALUES ('internal-token', $1, $2, $3, $4) \
                 ON CONFLICT (name) DO NOTHING",
            )
            .bind(keyring.key_id())
            .bind(sealed.nonce)
            .bind(sealed.ciphertext)
            .bind(self.inner.clock.now())
            .execute(self.pool())
            .await
            .map_err(StoreError::on(what))?;
            let (nonce, ciphertext) = sqlx::query_as("SELECT nonce, ciphertext FROM platform_secrets WHERE name = 'internal-token'")
                .fetch_one(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            let plain = keyring.open(place, &Sealed { nonce, ciphertext })?;
            let text = std::str::from_utf8(&plain).map_err(|_| KeyringError::Tampered)?;
            Ok(SecretString::from(text.to_owned()))
        })
        .await
    }

    async fn data_key_get(&self, connection: &mut PgConnection, org: &OrgName, version: i32) -> Result<DataKey, StoreError> {
        let what = "reading a data key";
        let row: DataKeyRow = sqlx::query_as("SELECT version, nonce, wrapped FROM data_keys WHERE org = $1 AND version = $2")
            .bind(org.as_str())
            .bind(version)
            .fetch_one(connection)
            .await
            .map_err(StoreError::on(what))?;
        self.data_key_open(org, row)
    }

    fn data_key_open(&self, org: &OrgName, row: DataKeyRow) -> Result<DataKey, StoreError> {
        let wrapped = Sealed { nonce: row.nonce, ciphertext: row.wrapped };
        Ok(self.keyring()?.data_key_open(org.as_str(), row.version, &wrapped)?)
    }

    /// The organisation's newest data key, made when it has none. Not cached: the transaction may be
    /// rolled back, and then a cached key would encrypt what nobody can decrypt.
    async fn data_key_newest(&self, tx: &mut PgConnection, org: &OrgName) -> Result<(i32, DataKey), StoreError> {
        let what = "reading a data key";
        let row: Option<DataKeyRow> =
            sqlx::query_as("SELECT version, nonce, wrapped FROM data_keys WHERE org = $1 ORDER BY version DESC LIMIT 1")
                .bind(org.as_str())
                .fetch_optional(&mut *tx)
                .await
                .map_err(StoreError::on(what))?;
        if let Some(row) = row {
            return Ok((row.version, self.data_key_open(org, row)?));
        }
        let keyring = self.keyring()?;
        let (data_key, wrapped) = keyring.data_key_make(org.as_str(), 1, &*self.inner.entropy)?;
        sqlx::query("INSERT INTO data_keys (org, version, key_id, nonce, wrapped, created_at) VALUES ($1, 1, $2, $3, $4, $5)")
            .bind(org.as_str())
            .bind(keyring.key_id())
            .bind(wrapped.nonce)
            .bind(wrapped.ciphertext)
            .bind(self.inner.clock.now())
            .execute(tx)
            .await
            .map_err(StoreError::on("making a data key"))?;
        Ok((1, data_key))
    }
}

impl SecretRow {
    fn open(&self, data_key: &DataKey, org: &OrgName, owner: &str, key: &str) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let sealed = Sealed { nonce: self.nonce.clone(), ciphertext: self.ciphertext.clone() };
        data_key.open(Place { org: org.as_str(), owner, key, version: self.version }, &sealed)
    }
}

impl Apply<'_> {
    /// Decides about every secret of the manifest: kept, or a new version.
    pub(super) async fn secrets_resolve(
        &mut self,
        item: &AppItem,
        uid: Uuid,
        before: Option<&AppRecord>,
    ) -> Result<SecretChange, WriteError> {
        let mut change = SecretChange { versions: BTreeMap::new(), new: Vec::new(), last: None, data_key: None };
        for (key, value) in &item.secrets {
            let current = before.and_then(|record| record.secret_versions.get(key)).copied();
            let version = match (value, current) {
                (None, Some(current)) => current,
                (None, None) => {
                    let message = "null keeps the stored value, but none is stored; give a value";
                    self.reject(item.head.item, FieldError::new(format!("spec.secrets.{key}"), message));
                    continue;
                }
                (Some(value), Some(current)) if self.secret_equals(item, uid, (key, current), value).await? => current,
                (Some(value), _) => change.add(self, (item, uid), key.as_str(), value.expose()).await?,
            };
            change.versions.insert(key.clone(), version);
        }
        Ok(change)
    }

    async fn secret_equals(
        &mut self,
        item: &AppItem,
        uid: Uuid,
        (key, version): (&EnvKey, i64),
        value: &SecretValue,
    ) -> Result<bool, StoreError> {
        let plain = self.secret_plain(item, uid, (key.as_str(), version)).await?;
        Ok(plain.is_some_and(|plain| plain.as_slice() == value.expose().as_bytes()))
    }

    /// A stored value, to compare it with a wanted one.
    pub(super) async fn secret_plain(
        &mut self,
        item: &AppItem,
        uid: Uuid,
        (key, version): (&str, i64),
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let what = "comparing a secret";
        let row: Option<SecretRow> =
            sqlx::query_as("SELECT version, data_key, nonce, ciphertext FROM app_secrets WHERE app_uid = $1 AND version = $2 AND key = $3")
                .bind(uid)
                .bind(version)
                .bind(key)
                .fetch_optional(&mut *self.tx)
                .await
                .map_err(StoreError::on(what))?;
        let Some(row) = row else { return Ok(None) };
        let data_key = self.store.data_key_get(&mut self.tx, &item.org, row.data_key).await?;
        Ok(Some(row.open(&data_key, &item.org, &uid.to_string(), key)?))
    }

    /// Writes what [`Apply::secrets_resolve`] decided; the app's row must be there.
    pub(super) async fn secrets_insert(&mut self, item: &AppItem, uid: Uuid, change: &SecretChange) -> Result<(), StoreError> {
        let what = "writing a secret";
        let (Some(last), Some((data_key, _))) = (change.last, &change.data_key) else { return Ok(()) };
        for (key, version, sealed) in &change.new {
            sqlx::query(
                "INSERT INTO app_secrets (app_uid, version, org, key, data_key, nonce, ciphertext, created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(uid)
            .bind(version)
            .bind(item.org.as_str())
            .bind(key.as_str())
            .bind(*data_key)
            .bind(&sealed.nonce)
            .bind(&sealed.ciphertext)
            .bind(self.now)
            .execute(&mut *self.tx)
            .await
            .map_err(StoreError::on(what))?;
        }
        sqlx::query("UPDATE apps SET secret_counter = $2 WHERE uid = $1")
            .bind(uid)
            .bind(last)
            .execute(&mut *self.tx)
            .await
            .map(drop)
            .map_err(StoreError::on(what))
    }
}

/// Last secret version that was given out for an app; 0 for a new one.
async fn secret_counter(tx: &mut PgConnection, uid: Uuid) -> Result<i64, StoreError> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT GREATEST(secret_counter, COALESCE((status ->> 'clusterSecretVersion')::bigint, 0)) FROM apps WHERE uid = $1",
    )
    .bind(uid)
    .fetch_optional(tx)
    .await
    .map_err(StoreError::on("reading an app's secret counter"))?;
    Ok(found.unwrap_or(0))
}
