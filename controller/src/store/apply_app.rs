//! Apply, for apps: what changed, secrets, limits, and hosts in their manifests.

use std::collections::BTreeMap;

use api_types::api::ApplyAction;
use api_types::why::Case;
use api_types::{FieldError, Host, Kind};
use uuid::Uuid;

use super::app_write::{NewApp, NewGeneration};
use super::apply::{Apply, result};
use super::apply_items::AppItem;
use super::apps::{app_lock, check_not_deleting, check_version, too_many_replicas};
use super::{AppRecord, StoreError, WriteError};

impl Apply<'_> {
    /// Apps of the list: all checked and locked, then all hosts released, then all written.
    pub(super) async fn apps(&mut self, items: &[AppItem]) -> Result<(), WriteError> {
        let mut befores = Vec::with_capacity(items.len());
        for item in items {
            let before = app_lock(&mut self.tx, &item.org, &item.name).await?;
            let stored = before.as_ref().map(|record| record.resource_version);
            check_version(item.head.item, "App", item.name.as_str(), stored, item.head.expected)?;
            if let Some(before) = &before {
                check_not_deleting(item.head.item, before)?;
                self.hosts_release(before.uid, &item.spec.domains).await?;
            }
            self.app_check(item);
            befores.push(before);
        }
        for (item, before) in items.iter().zip(befores) {
            self.app(item, before).await?;
        }
        Ok(())
    }

    /// Rules that need settings. What the manifest alone can tell was checked before.
    pub(super) fn app_check(&mut self, item: &AppItem) {
        let max_replicas = self.settings.max_replicas();
        for (name, process) in &item.spec.processes {
            if process.replicas > max_replicas {
                let path = format!("spec.processes.{name}.replicas");
                self.reject(item.head.item, too_many_replicas(path, process.replicas, max_replicas));
            }
        }
        for (at, host) in item.spec.domains.iter().enumerate() {
            let path = format!("spec.domains[{at}]");
            if let Some(error) = self.host_refused(&path, host) {
                self.reject(item.head.item, error);
            }
        }
    }

    /// Hosts of the platform are not for users: an app could take another one's address.
    pub(super) fn host_refused(&self, path: &str, host: &Host) -> Option<FieldError> {
        self.settings.is_platform_host(host).then(|| {
            let domain = self.settings.default_domain();
            FieldError::new(path, format!("{host} is under the platform's own domain {domain}; apps get their hosts there by themselves"))
                .about(Case::UnsafeHost)
        })
    }

    async fn app(&mut self, item: &AppItem, before: Option<AppRecord>) -> Result<(), WriteError> {
        let uid = before.as_ref().map_or_else(|| self.store.inner.entropy.uuid(self.now), |record| record.uid);
        let mut secrets = self.secrets_resolve(item, uid, before.as_ref()).await?;
        let spec = self.passwords_resolve(item, uid, before.as_ref(), &mut secrets).await?;
        let adopted = self.adoptions(item, before.as_ref());
        if !self.errors.is_empty() {
            // The transaction will be rolled back; what is left is only to find further errors.
            return Ok(());
        }
        let spec_changed = before
            .as_ref()
            .is_none_or(|record| record.spec != spec || record.secret_versions != secrets.versions || record.adopted != adopted);
        let restarts = before.as_ref().map(|record| record.restarts.clone()).unwrap_or_default();
        let next = NewGeneration {
            spec: &spec,
            labels: &item.head.labels,
            secret_versions: &secrets.versions,
            restarts: &restarts,
            adopted: &adopted,
            spec_changed,
            origin: None,
        };
        let (action, record) = match before {
            None => {
                let app = NewApp { item: item.head.item, uid, org: &item.org, name: &item.name };
                (ApplyAction::Created, next.insert(&mut self.tx, app, self.now, self.cx).await?)
            }
            Some(before) if spec_changed || before.labels != item.head.labels => {
                (ApplyAction::Configured, next.update(&mut self.tx, &before, self.now, self.cx).await?)
            }
            Some(before) => (ApplyAction::Unchanged, before),
        };
        self.secrets_insert(item, uid, &secrets).await?;
        self.hosts_claim(item, uid).await?;
        let versions = (record.generation, record.resource_version);
        self.done(item.head.item, result(Kind::App, Some(&item.org), item.name.as_str(), action, versions));
        Ok(())
    }

    /// Services that the app may take over: those that it might before, and those that this write permits. What the
    /// spec names besides is refused, so that nobody gets hold of a service by writing its name.
    fn adoptions(&mut self, item: &AppItem, before: Option<&AppRecord>) -> BTreeMap<String, String> {
        let mut adopted = before.map(|record| record.adopted.clone()).unwrap_or_default();
        let grants = self.cx.adoptions.iter().filter(|grant| grant.org == item.org && grant.app == item.name);
        adopted.extend(grants.map(|grant| (grant.service.clone(), grant.id.clone())));
        for (name, process) in &item.spec.processes {
            let Some(adopt) = &process.adopt else { continue };
            let path = format!("spec.processes.{name}.adopt");
            let old = before.and_then(|record| record.spec.processes.get(name));
            if !adopted.contains_key(&adopt.service) {
                let message = format!(
                    "taking the service {} over has to be asked for in the apply itself: skyctl apply --adopt, with a token of a platform \
                     administrator",
                    adopt.service
                );
                self.reject(item.head.item, FieldError::new(path, message));
            } else if old.is_some_and(|old| old.adopt.as_ref() != Some(adopt))
                && !before.is_some_and(|record| record.adopted.contains_key(&adopt.service))
            {
                let message =
                    format!("the app has a process {name} already, with tasks of its own; take the service over as another process");
                self.reject(item.head.item, FieldError::new(path, message));
            }
        }
        adopted
    }

    /// Takes away the inline hosts that the app no longer wants.
    pub(super) async fn hosts_release(&mut self, uid: Uuid, wanted: &[Host]) -> Result<(), StoreError> {
        let what = "releasing an app's hosts";
        let wanted: Vec<&str> = wanted.iter().map(Host::as_str).collect();
        // Looked at first: even a statement that deletes nothing notifies.
        let gone: Vec<String> = sqlx::query_scalar("SELECT host FROM domains WHERE app_uid = $1 AND inline AND host <> ALL ($2)")
            .bind(uid)
            .bind(&wanted)
            .fetch_all(&mut *self.tx)
            .await
            .map_err(StoreError::on(what))?;
        if gone.is_empty() {
            return Ok(());
        }
        sqlx::query("DELETE FROM domains WHERE app_uid = $1 AND inline AND host = ANY ($2)")
            .bind(uid)
            .bind(&gone)
            .execute(&mut *self.tx)
            .await
            .map(drop)
            .map_err(StoreError::on(what))
    }

    /// Makes rows for the inline hosts that the app does not have yet, in the order of their names: two
    /// transactions that claim the same hosts then wait for each other instead of deadlocking.
    pub(super) async fn hosts_claim(&mut self, item: &AppItem, uid: Uuid) -> Result<(), WriteError> {
        let what = "claiming an app's hosts";
        if item.spec.domains.is_empty() {
            return Ok(());
        }
        let held: Vec<String> = sqlx::query_scalar("SELECT host FROM domains WHERE app_uid = $1 AND inline")
            .bind(uid)
            .fetch_all(&mut *self.tx)
            .await
            .map_err(StoreError::on(what))?;
        let mut wanted: Vec<(&Host, usize)> = item.spec.domains.iter().zip(0..).collect();
        wanted.retain(|(host, _)| !held.iter().any(|held| held == host.as_str()));
        wanted.sort();
        for (host, at) in wanted {
            let claimed = sqlx::query(
                "INSERT INTO domains (host, uid, org, app_uid, inline, created_at) VALUES ($1, $2, $3, $4, true, $5) \
                 ON CONFLICT (host) DO NOTHING",
            )
            .bind(host.as_str())
            .bind(self.store.inner.entropy.uuid(self.now))
            .bind(item.org.as_str())
            .bind(uid)
            .bind(self.now)
            .execute(&mut *self.tx)
            .await
            .map_err(StoreError::on(what))?;
            if claimed.rows_affected() == 0 {
                let why = self.host_holder(host, item, uid).await?;
                return Err(WriteError::host_in_use(item.head.item, format!("spec.domains[{at}]: {host} {why}")));
            }
        }
        Ok(())
    }

    /// Why a host cannot be had. Names the holder only inside the same organisation.
    async fn host_holder(&mut self, host: &Host, item: &AppItem, uid: Uuid) -> Result<String, StoreError> {
        let holder: Option<(String, Uuid, String)> =
            sqlx::query_as("SELECT d.org, d.app_uid, a.name FROM domains d JOIN apps a ON a.uid = d.app_uid WHERE d.host = $1")
                .bind(host.as_str())
                .fetch_optional(&mut *self.tx)
                .await
                .map_err(StoreError::on("reading who holds a host"))?;
        Ok(match holder {
            Some((_, holder, _)) if holder == uid => {
                "is a Domain object of its own that points to this app; delete that object, or leave the host out here".to_owned()
            }
            Some((org, _, name)) if org == item.org.as_str() => format!("is in use by another app of this organization, {name}"),
            _ => "is in use by another app".to_owned(),
        })
    }
}
