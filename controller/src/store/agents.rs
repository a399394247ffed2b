//! Who may be a node's agent: the platform's authority with its key, tokens to join with, and each node's newest
//! certificate. The key is encrypted with the platform's key and stands in no other place; of tokens the hash is kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api_types::api::JoinTokenInfo;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;

use super::connect::bounded;
use super::observations::printable;
use super::{Store, StoreError, WriteContext};
use crate::fleet::authority::Authority;
use crate::fleet::token::{JoinToken, digest};
use crate::keyring::{KeyringError, Place, Sealed};

/// What the authority's key is bound to.
const PLACE: Place<'_> = Place { org: "", owner: "nodes", key: "authority", version: 1 };

#[derive(sqlx::FromRow)]
struct Row {
    certificate: String,
    nonce: Vec<u8>,
    ciphertext: Vec<u8>,
}

impl Store {
    /// The platform's authority for nodes; made the first time. Of several servers that make one at the same time, one wins.
    ///
    /// # Errors
    /// When the database does not answer, or the key does not decrypt.
    pub async fn authority(&self) -> Result<Arc<Authority>, StoreError> {
        if let Some(found) = self.authority_get().await? {
            return Ok(found);
        }
        let broken = |error: crate::fleet::authority::AuthorityError| {
            tracing::error!(error = &error as &dyn std::error::Error, "the nodes' authority cannot be made");
            StoreError::Crypto(KeyringError::Tampered)
        };
        let made = Authority::create(self.inner.clock.now(), self.inner.entropy.as_ref()).map_err(broken)?;
        let sealed = self.keyring()?.seal(PLACE, made.key().as_bytes(), self.inner.entropy.as_ref())?;
        let what = "writing the nodes' authority";
        let sql = "INSERT INTO node_authority (certificate, key_id, nonce, ciphertext) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        bounded(what, async {
            let query = sqlx::query(sql).bind(made.pem()).bind(self.keyring()?.key_id()).bind(&sealed.nonce).bind(&sealed.ciphertext);
            query.execute(self.pool()).await.map(drop).map_err(StoreError::on(what))
        })
        .await?;
        self.authority_get().await?.ok_or(StoreError::Missing { what: "the nodes' authority" })
    }

    async fn authority_get(&self) -> Result<Option<Arc<Authority>>, StoreError> {
        let what = "reading the nodes' authority";
        let row: Option<Row> = bounded(what, async {
            let query = sqlx::query_as("SELECT certificate, nonce, ciphertext FROM node_authority");
            query.fetch_optional(self.pool()).await.map_err(StoreError::on(what))
        })
        .await?;
        let Some(row) = row else { return Ok(None) };
        let key = self.keyring()?.open(PLACE, &Sealed { nonce: row.nonce, ciphertext: row.ciphertext })?;
        let key = std::str::from_utf8(&key).map_err(|_| KeyringError::Tampered)?;
        let found = Authority::load(&row.certificate, key).map_err(|_| KeyringError::Tampered)?;
        Ok(Some(Arc::new(found)))
    }

    /// Notes where agents reach the server, for those who are given a token.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn gateway_put(&self, address: &str) -> Result<(), StoreError> {
        let what = "noting where agents reach the server";
        bounded(what, async {
            let query = sqlx::query("UPDATE node_authority SET gateway = $1 WHERE gateway IS DISTINCT FROM $1").bind(address);
            query.execute(self.pool()).await.map(drop).map_err(StoreError::on(what))
        })
        .await
    }

    /// Makes a token that nodes can join with for a while. `None` when no server takes agents.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn join_token_create(&self, lifetime: Duration, cx: &WriteContext) -> Result<Option<JoinTokenInfo>, StoreError> {
        let what = "making a join token";
        let gateway: Option<String> = bounded(what, async {
            let query = sqlx::query_scalar("SELECT gateway FROM node_authority WHERE gateway IS NOT NULL");
            query.fetch_optional(self.pool()).await.map_err(StoreError::on(what))
        })
        .await?;
        let Some(server) = gateway else { return Ok(None) };
        let authority = self.authority().await?;
        let mut random = [0_u8; 32];
        self.inner.entropy.fill(&mut random);
        let token = JoinToken::new(authority.digest(), &random);
        let sql = "WITH gone AS (DELETE FROM join_tokens WHERE expires_at < clock_timestamp()) \
                   INSERT INTO join_tokens (digest, author, expires_at) VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3)) \
                   RETURNING expires_at";
        let expires_at: DateTime<Utc> = bounded(what, async {
            let query = sqlx::query_scalar(sql).bind(digest(&token.secret)).bind(printable(&cx.author)).bind(lifetime.as_secs_f64());
            query.fetch_one(self.pool()).await.map_err(StoreError::on(what))
        })
        .await?;
        Ok(Some(JoinTokenInfo { token: token.text().expose_secret().to_owned(), server, expires_at }))
    }

    /// Whether a token's secret lets a node in now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn join_token_is_good(&self, digest: &[u8]) -> Result<bool, StoreError> {
        let what = "looking a join token up";
        bounded(what, async {
            let query = sqlx::query_scalar("SELECT EXISTS (SELECT FROM join_tokens WHERE digest = $1 AND expires_at > clock_timestamp())");
            query.bind(digest).fetch_one(self.pool()).await.map_err(StoreError::on(what))
        })
        .await
    }

    /// Notes a node's newest certificate; older ones are no longer taken.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn agent_put(&self, node: &str, fingerprint: &str) -> Result<(), StoreError> {
        let what = "noting a node's certificate";
        let sql = "INSERT INTO agents (node_id, fingerprint, issued_at) VALUES ($1, $2, clock_timestamp()) \
                   ON CONFLICT (node_id) DO UPDATE SET fingerprint = excluded.fingerprint, issued_at = excluded.issued_at";
        bounded(what, async {
            let query = sqlx::query(sql).bind(node).bind(fingerprint);
            query.execute(self.pool()).await.map(drop).map_err(StoreError::on(what))
        })
        .await
    }

    /// A node's newest certificate.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn agent_fingerprint(&self, node: &str) -> Result<Option<String>, StoreError> {
        let what = "reading a node's certificate";
        bounded(what, async {
            let query = sqlx::query_scalar("SELECT fingerprint FROM agents WHERE node_id = $1").bind(node);
            query.fetch_optional(self.pool()).await.map_err(StoreError::on(what))
        })
        .await
    }

    /// Nodes whose agents were let in.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn agent_nodes(&self) -> Result<BTreeSet<String>, StoreError> {
        let what = "listing agents";
        bounded(what, async {
            let found: Vec<String> =
                sqlx::query_scalar("SELECT node_id FROM agents").fetch_all(self.pool()).await.map_err(StoreError::on(what))?;
            Ok(found.into_iter().collect())
        })
        .await
    }
}
