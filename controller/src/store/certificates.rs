//! Certificates of the edge. The key is encrypted with the platform's key, bound to the row's uid and to the
//! key's version, and leaves this module only for the edge's document.
//!
//! What a chain says (names, times, fingerprint) is not stored beside it: it is read from the chain each
//! time, so the two cannot differ.

use std::collections::BTreeMap;

use api_types::api::ApplyAction;
use api_types::name::{LabelKey, LabelValue};
use api_types::{Certificate, CertificateName, CertificateSpec, CertificateStatus, Condition, FieldError, Kind, ObjectMeta};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::apply::{Apply, result};
use super::apply_items::CertificateItem;
use super::apps::check_version;
use super::connect::bounded;
use super::leases::{Fenced, fence};
use super::observations::{printable, storable};
use super::{Store, StoreError, WriteContext, WriteError};
use crate::certificate::{Chain, Key, check_time, read_chain, read_key};
use crate::edge::inputs::CertificatePair;
use crate::keyring::{KeyringError, Place, Sealed};

/// Most certificates of a platform. The edge's document holds them all.
pub const MAX_CERTIFICATES: i64 = 1000;

macro_rules! certificate_select {
    ($rest:literal) => {
        concat!(
            "SELECT name, uid, generation, resource_version, labels, chain, key_version, nonce, ciphertext, status, created_at \
             FROM certificates ",
            $rest
        )
    };
}

#[derive(sqlx::FromRow)]
struct CertificateRow {
    name: String,
    uid: Uuid,
    generation: i64,
    resource_version: i64,
    #[sqlx(json)]
    labels: BTreeMap<LabelKey, LabelValue>,
    chain: String,
    key_version: i64,
    nonce: Vec<u8>,
    ciphertext: Vec<u8>,
    #[sqlx(json)]
    status: CertificateStatus,
    created_at: DateTime<Utc>,
}

impl From<CertificateRow> for Certificate {
    fn from(row: CertificateRow) -> Self {
        let metadata = ObjectMeta {
            name: row.name,
            uid: Some(row.uid),
            generation: Some(row.generation),
            resource_version: Some(row.resource_version.to_string()),
            labels: row.labels,
            creation_timestamp: Some(row.created_at),
            ..ObjectMeta::default()
        };
        let conditions = row.status.conditions;
        // It was read before it was stored.
        let status = match read_chain(&row.chain) {
            Ok(chain) => CertificateStatus {
                conditions,
                dns_names: chain.dns_names,
                subject: chain.subject,
                issuer: chain.issuer,
                fingerprint: chain.fingerprint,
                not_before: Some(chain.not_before),
                not_after: Some(chain.not_after),
            },
            Err(_) => CertificateStatus { conditions, ..CertificateStatus::default() },
        };
        Certificate { status: Some(status), ..Certificate::new(metadata, CertificateSpec { chain: row.chain, private_key: None }) }
    }
}

/// What a key is bound to.
fn place<'a>(uid: &'a str, version: i64) -> Place<'a> {
    Place { org: "", owner: uid, key: "certificate-key", version }
}

impl Store {
    /// Certificates by name.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn certificate_list(&self) -> Result<Vec<Certificate>, StoreError> {
        Ok(self.certificate_rows().await?.into_iter().map(Certificate::from).collect())
    }

    async fn certificate_rows(&self) -> Result<Vec<CertificateRow>, StoreError> {
        let what = "listing certificates";
        bounded(what, async {
            sqlx::query_as(certificate_select!("ORDER BY name")).fetch_all(self.pool()).await.map_err(StoreError::on(what))
        })
        .await
    }

    /// One certificate.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn certificate_get(&self, name: &CertificateName) -> Result<Option<Certificate>, StoreError> {
        let what = "reading a certificate";
        bounded(what, async {
            let row: Option<CertificateRow> = sqlx::query_as(certificate_select!("WHERE name = $1"))
                .bind(name.as_str())
                .fetch_optional(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            Ok(row.map(Certificate::from))
        })
        .await
    }

    /// Deletes a certificate with its key; `false` when there is none.
    ///
    /// # Errors
    /// `Stale` when it has another version than the expected one.
    pub async fn certificate_delete(&self, name: &CertificateName, expected: Option<i64>, cx: &WriteContext) -> Result<bool, WriteError> {
        let what = "deleting a certificate";
        bounded(what, async {
            let mut tx = self.begin().await?;
            let Some(row) = certificate_lock(&mut tx, name).await? else { return Ok(false) };
            check_version(0, "Certificate", name.as_str(), Some(row.resource_version), expected)?;
            sqlx::query("DELETE FROM certificates WHERE name = $1")
                .bind(name.as_str())
                .execute(&mut *tx)
                .await
                .map_err(StoreError::on(what))?;
            super::apps::finish(tx, cx).await?;
            Ok(true)
        })
        .await
    }

    /// Certificates with their keys, for the edge. One whose key does not decrypt is left out, and no other.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn certificate_pairs(&self) -> Result<Vec<CertificatePair>, StoreError> {
        let mut pairs = Vec::new();
        for row in self.certificate_rows().await? {
            let fingerprint = read_chain(&row.chain).map(|chain| chain.fingerprint).unwrap_or_default();
            match self.certificate_key(&row) {
                Ok(key) => pairs.push(CertificatePair { name: row.name, chain: row.chain, key, fingerprint }),
                Err(error @ StoreError::Crypto(_)) => {
                    tracing::error!(
                        certificate = row.name,
                        error = &error as &dyn std::error::Error,
                        "a key does not decrypt; its certificate is not served"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(pairs)
    }

    fn certificate_key(&self, row: &CertificateRow) -> Result<Zeroizing<String>, StoreError> {
        let sealed = Sealed { nonce: row.nonce.clone(), ciphertext: row.ciphertext.clone() };
        let plain = self.keyring()?.open(place(&row.uid.to_string(), row.key_version), &sealed)?;
        let text = std::str::from_utf8(&plain).map_err(|_| KeyringError::Tampered)?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// Writes the conditions of certificates, where they differ. One that is gone is left out.
    ///
    /// # Errors
    /// `Deposed` when another controller leads.
    pub async fn certificate_conditions_put(&self, all: &[(Uuid, Vec<Condition>)], epoch: i64) -> Result<(), StoreError> {
        let what = "writing what was observed of certificates";
        let sql = concat!(
            fence!(),
            "wanted AS (SELECT (item ->> 'uid')::uuid AS uid, jsonb_build_object('conditions', item -> 'conditions') AS status \
                 FROM jsonb_array_elements($2) AS item), \
             written AS (UPDATE certificates c SET status = wanted.status FROM fence, wanted \
                 WHERE c.uid = wanted.uid AND c.status IS DISTINCT FROM wanted.status) \
             SELECT EXISTS (SELECT FROM fence) AS fenced, true AS found"
        );
        let items: Vec<_> = all.iter().map(|(uid, conditions)| serde_json::json!({"uid": uid, "conditions": conditions})).collect();
        bounded(what, async {
            let outcome: Fenced = sqlx::query_as(sql)
                .bind(epoch)
                .bind(Json(storable(&items, what)?))
                .fetch_one(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            outcome.check("the certificates")
        })
        .await
    }
}

impl Apply<'_> {
    pub(super) async fn certificate(&mut self, item: &CertificateItem) -> Result<(), WriteError> {
        let at = item.head.item;
        let before = certificate_lock(&mut self.tx, &item.name).await?;
        check_version(at, "Certificate", item.name.as_str(), before.as_ref().map(|row| row.resource_version), item.head.expected)?;
        let stored = before.as_ref().map(|row| self.store.certificate_key(row)).transpose()?;
        let key = match key_of(item, stored.as_ref()) {
            Ok(key) => key,
            Err(message) => {
                self.reject(at, FieldError::new("spec.privateKey", message));
                return Ok(());
            }
        };
        let same_chain = before.as_ref().is_some_and(|row| row.chain == item.chain.pem);
        if !same_chain && let Err(message) = check_time(&item.chain, self.now) {
            self.reject(at, FieldError::new("spec.chain", message));
            return Ok(());
        }
        let changed = !same_chain || stored.as_ref().is_none_or(|stored| *stored != key.0);
        let (action, versions) = match before {
            None => (ApplyAction::Created, self.certificate_insert(item, &key).await?),
            Some(row) if !changed && row.labels == item.head.labels => (ApplyAction::Unchanged, (row.generation, row.resource_version)),
            Some(row) => (ApplyAction::Configured, self.certificate_update(item, &row, &key, changed).await?),
        };
        self.done(at, result(Kind::Certificate, None, item.name.as_str(), action, versions));
        Ok(())
    }

    async fn certificate_insert(&mut self, item: &CertificateItem, key: &Key) -> Result<(i64, i64), WriteError> {
        let what = "creating a certificate";
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM certificates").fetch_one(&mut *self.tx).await.map_err(StoreError::on(what))?;
        if count >= MAX_CERTIFICATES {
            let detail =
                format!("there are {count} certificates, and there may be {MAX_CERTIFICATES}; delete one, or use one for several names");
            return Err(WriteError::conflict(item.head.item, detail));
        }
        let uid = self.store.inner.entropy.uuid(self.now);
        let sealed = self.certificate_seal(uid, 1, key)?;
        let inserted: Option<(i64, i64)> = sqlx::query_as(
            "INSERT INTO certificates (name, uid, labels, chain, key_version, key_id, nonce, ciphertext, author, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8, $9, $9) ON CONFLICT DO NOTHING RETURNING generation, resource_version",
        )
        .bind(item.name.as_str())
        .bind(uid)
        .bind(Json(&item.head.labels))
        .bind(&item.chain.pem)
        .bind(self.store.keyring()?.key_id())
        .bind(&sealed.nonce)
        .bind(&sealed.ciphertext)
        .bind(printable(&self.cx.author))
        .bind(self.now)
        .fetch_optional(&mut *self.tx)
        .await
        .map_err(StoreError::on(what))?;
        inserted.ok_or_else(|| {
            WriteError::conflict(item.head.item, format!("Certificate {} was created by somebody else just now; apply again", item.name))
        })
    }

    async fn certificate_update(
        &mut self,
        item: &CertificateItem,
        row: &CertificateRow,
        key: &Key,
        changed: bool,
    ) -> Result<(i64, i64), StoreError> {
        let version = row.key_version + i64::from(changed);
        let sealed = if changed {
            self.certificate_seal(row.uid, version, key)?
        } else {
            Sealed { nonce: row.nonce.clone(), ciphertext: row.ciphertext.clone() }
        };
        sqlx::query_as(
            "UPDATE certificates SET labels = $2, chain = $3, key_version = $4, key_id = $5, nonce = $6, ciphertext = $7, author = $8, \
             updated_at = $9, generation = generation + $10, resource_version = nextval('resource_version') \
             WHERE name = $1 RETURNING generation, resource_version",
        )
        .bind(item.name.as_str())
        .bind(Json(&item.head.labels))
        .bind(&item.chain.pem)
        .bind(version)
        .bind(self.store.keyring()?.key_id())
        .bind(&sealed.nonce)
        .bind(&sealed.ciphertext)
        .bind(printable(&self.cx.author))
        .bind(self.now)
        .bind(i64::from(changed))
        .fetch_one(&mut *self.tx)
        .await
        .map_err(StoreError::on("changing a certificate"))
    }

    fn certificate_seal(&self, uid: Uuid, version: i64, key: &Key) -> Result<Sealed, StoreError> {
        Ok(self.store.keyring()?.seal(place(&uid.to_string(), version), key.0.as_bytes(), &*self.store.inner.entropy)?)
    }
}

/// The key that a chain is to be served with: the given one, or the stored one.
fn key_of(item: &CertificateItem, stored: Option<&Zeroizing<String>>) -> Result<Key, String> {
    let fits = |text: &str, chain: &Chain| read_key(text, chain);
    match (&item.private_key, stored) {
        (Some(given), _) => fits(given.expose(), &item.chain),
        (None, Some(stored)) => {
            fits(stored, &item.chain).map_err(|_| "the stored key is not that of the new chain; give the new key with it".to_owned())
        }
        (None, None) => Err("null keeps the stored key, but none is stored; give one".to_owned()),
    }
}

async fn certificate_lock(connection: &mut PgConnection, name: &CertificateName) -> Result<Option<CertificateRow>, StoreError> {
    sqlx::query_as(certificate_select!("WHERE name = $1 FOR UPDATE"))
        .bind(name.as_str())
        .fetch_optional(connection)
        .await
        .map_err(StoreError::on("reading a certificate"))
}
