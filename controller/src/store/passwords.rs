//! Passwords of `spec.edge.basicAuth`. A hash of each is stored like a secret, encrypted, by version; the
//! version stands in the spec, so revisions and routes carry it and never the hash.
//!
//! The cost of the hash is low on purpose: the proxy computes one for each request, on the cores that all
//! tenants share. What keeps the hash from being guessed at leisure is that it is encrypted at rest.

use std::collections::BTreeMap;

use api_types::kinds::app::AppSpec;
use api_types::kinds::edge::{UserName, password_hash};
use api_types::{FieldError, OrgName, SecretValue};
use uuid::Uuid;

use super::apply::Apply;
use super::apply_items::AppItem;
use super::connect::bounded;
use super::secrets::SecretChange;
use super::{AppRecord, Store, StoreError, WriteError};
use crate::clock::Entropy;
use crate::edge::inputs::{Inputs, Passwords};
use crate::keyring::KeyringError;

/// Cost of the hashes that are made here: about 4 ms for each request.
const COST: u32 = 6;

/// Key under which a user's hash is stored; no environment key looks like it.
fn stored_key(user: &UserName) -> String {
    format!("basic-auth/{user}")
}

/// What is stored for a given password: itself when it is a hash already.
fn hash_of(given: &SecretValue, entropy: &dyn Entropy) -> Result<String, StoreError> {
    if password_hash(given.expose()).is_some() {
        return Ok(given.expose().to_owned());
    }
    let mut salt = [0u8; 16];
    entropy.fill(&mut salt);
    let parts = bcrypt::hash_with_salt(given.expose(), COST, salt).map_err(|_| KeyringError::Closed)?;
    Ok(parts.format_for_version(bcrypt::Version::TwoY))
}

/// Whether a given password, or hash, is the stored one.
fn is_stored(given: &SecretValue, stored: &str) -> bool {
    if given.expose() == stored {
        return true;
    }
    // A plain password is never compared with an apr1 hash: it becomes a bcrypt one.
    password_hash(given.expose()).is_none() && stored.starts_with("$2") && bcrypt::verify(given.expose(), stored).unwrap_or(false)
}

impl Apply<'_> {
    /// The spec with the version of each password: kept, or a new one.
    pub(super) async fn passwords_resolve(
        &mut self,
        item: &AppItem,
        uid: Uuid,
        before: Option<&AppRecord>,
        change: &mut SecretChange,
    ) -> Result<AppSpec, WriteError> {
        let mut spec = item.spec.clone();
        let Some(auth) = &mut spec.edge.basic_auth else { return Ok(spec) };
        for (name, user) in &mut auth.users {
            let current = before.and_then(|record| password_version(&record.spec, name));
            let given = item.passwords.get(name).and_then(Option::as_ref);
            user.password_version = match (given, current) {
                (None, Some(current)) => current,
                (None, None) => {
                    let message = "null keeps the stored password, but none is stored; give one";
                    self.reject(item.head.item, FieldError::new(format!("spec.edge.basicAuth.users.{name}.password"), message));
                    continue;
                }
                (Some(given), current) => {
                    let key = stored_key(name);
                    let stored = match current {
                        Some(version) => self.secret_plain(item, uid, (&key, version)).await?,
                        None => None,
                    };
                    let same = stored.is_some_and(|stored| std::str::from_utf8(&stored).is_ok_and(|stored| is_stored(given, stored)));
                    match current.filter(|_| same) {
                        Some(current) => current,
                        None => {
                            let hash = hash_of(given, &*self.store.inner.entropy)?;
                            change.add(self, (item, uid), &key, &hash).await?
                        }
                    }
                }
            };
        }
        Ok(spec)
    }
}

/// The version of a user's password in a spec.
fn password_version(spec: &AppSpec, name: &UserName) -> Option<i64> {
    let auth = spec.edge.basic_auth.as_ref()?;
    auth.users.get(name).map(|user| user.password_version).filter(|version| *version > 0)
}

impl Store {
    /// What would change of an app's passwords: the spec with versions as an apply would give them out, from
    /// `next` on. Nothing is written.
    ///
    /// # Errors
    /// `Crypto` when a stored hash does not decrypt.
    pub async fn passwords_preview(&self, record: Option<&AppRecord>, spec: &AppSpec, next: i64) -> Result<AppSpec, StoreError> {
        let (mut spec, mut next) = (spec.clone(), next);
        let Some(auth) = &mut spec.edge.basic_auth else { return Ok(spec) };
        for (name, user) in &mut auth.users {
            let current = record.and_then(|record| password_version(&record.spec, name).map(|version| (record, version)));
            let same = match (&user.password, current) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(given), Some((record, version))) => {
                    let stored = self.password_hash(record.uid, &record.org, name, version).await?;
                    stored.is_some_and(|stored| is_stored(given, &stored))
                }
            };
            user.password_version = match current.filter(|_| same) {
                Some((_, version)) => version,
                None => {
                    next += 1;
                    next
                }
            };
        }
        spec.edge.forget_passwords();
        Ok(spec)
    }

    /// The stored hash of a user's password; `None` when there is none of this version.
    async fn password_hash(&self, app_uid: Uuid, org: &OrgName, user: &UserName, version: i64) -> Result<Option<String>, StoreError> {
        let plain = self.secret_bytes(app_uid, org, &stored_key(user), version).await?;
        plain.map(|plain| String::from_utf8(plain.to_vec()).map_err(|_| KeyringError::Tampered.into())).transpose()
    }

    /// Routes with the secrets that the edge needs for them. A hash that cannot be had is left out, which closes
    /// the app that needs it and no other.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn edge_inputs(&self) -> Result<Inputs, StoreError> {
        bounded("reading what the edge needs", async {
            let routes = self.route_list().await?;
            let mut wanted = BTreeMap::new();
            for route in &routes {
                for (name, user) in route.edge.basic_auth.iter().flat_map(|auth| &auth.users) {
                    wanted.insert((route.app_uid, user.password_version), (route.org.clone(), name.clone()));
                }
            }
            let mut passwords = Passwords::default();
            for ((uid, version), (org, name)) in wanted {
                match self.password_hash(uid, &org, &name, version).await {
                    Ok(Some(hash)) => passwords.insert(uid, version, hash),
                    Ok(None) => tracing::error!(app = %uid, user = %name, "a password is not stored; its app is closed"),
                    Err(error @ StoreError::Crypto(_)) => {
                        tracing::error!(app = %uid, user = %name, error = &error as &dyn std::error::Error, "a password does not decrypt; its app is closed");
                    }
                    Err(error) => return Err(error),
                }
            }
            let certificates = self.certificate_pairs().await?;
            Ok(Inputs { routes, passwords, certificates, ..Inputs::default() })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededEntropy;

    #[test]
    fn a_password_is_stored_as_a_hash_that_knows_it_again() {
        let entropy = SeededEntropy::new(1);
        let secret = |text: &str| SecretValue::new(text.to_owned());
        let stored = hash_of(&secret("hunter2"), &entropy).expect("hashes");
        assert!(stored.starts_with("$2y$06$") && password_hash(&stored) == Some(Ok(())), "{stored}");
        assert_ne!(hash_of(&secret("hunter2"), &entropy).expect("hashes"), stored, "each has a salt of its own");
        assert!(is_stored(&secret("hunter2"), &stored) && !is_stored(&secret("hunter3"), &stored));
        assert!(is_stored(&secret(&stored), &stored), "what was read back from htpasswd");
        let apr1 = "$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00";
        assert_eq!(hash_of(&secret(apr1), &entropy).expect("is one"), apr1);
        assert!(!is_stored(&secret("x"), apr1));
    }
}
