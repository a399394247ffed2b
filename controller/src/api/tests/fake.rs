//! A stand-in for the store: enough of its contract to answer every route. What only SQL can prove
//! (transactions, constraints) is tested on the real one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use api_types::api::{ApplyAction, ApplyResult, Role, ScaleRequest, WhoAmI};
use api_types::event::{Event, EventType};
use api_types::kinds::app::{Verdict, VerdictPhase};
use api_types::kinds::organization::OrganizationStatus;
use api_types::kinds::setting::SettingStatus;
use api_types::{
    AppName, AppStatus, Domain, EnvKey, FieldError, Host, Manifest, Node, NodeSpec, ObjectMeta, OrgName, Organization, SecretValue,
    Setting, SettingKey, SettingSpec,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::backend::{Backend, BackendError, Read, Write, WriteContext, WriteFailure};
use crate::store::{AppRecord, Revision};

pub(super) fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(1_770_000_000, 0).expect("in range")
}

#[derive(Default, Clone)]
struct Data {
    version: i64,
    orgs: BTreeMap<OrgName, Organization>,
    apps: BTreeMap<(OrgName, AppName), AppRecord>,
    secrets: BTreeMap<(Uuid, EnvKey, i64), SecretValue>,
    revisions: Vec<(Uuid, Revision)>,
    domains: BTreeMap<Host, Domain>,
    default_domain: Option<Value>,
    tokens: BTreeMap<String, WhoAmI>,
}

#[derive(Default)]
pub(super) struct Fake {
    data: Mutex<Data>,
    pub(super) down: std::sync::atomic::AtomicBool,
    pub(super) slow: std::sync::atomic::AtomicBool,
    pub(super) panics: std::sync::atomic::AtomicBool,
    pub(super) observation: Mutex<Option<Value>>,
    pub(super) writes: Mutex<Vec<WriteContext>>,
}

const SETTING: &str = "edge.default_domain";

impl Fake {
    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().expect("not poisoned")
    }
    pub(super) fn token(&self, text: &str, org: Option<&str>, role: Role) {
        self.data().tokens.insert(text.to_owned(), WhoAmI { name: text.to_owned(), org: org.map(str::to_owned), role });
    }
    async fn gate(&self) -> Read<()> {
        use std::sync::atomic::Ordering::Relaxed;
        if self.panics.load(Relaxed) {
            panic!("secret detail of the panic");
        }
        if self.slow.load(Relaxed) {
            tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
        }
        if self.down.load(Relaxed) {
            return Err(BackendError::Unavailable("connection refused (os error 111)".into()));
        }
        Ok(())
    }
}

impl Data {
    fn next(&mut self) -> i64 {
        self.version += 1;
        self.version
    }

    fn check_version(item: usize, wanted: Option<&str>, found: i64) -> Write<()> {
        match wanted {
            Some(text) if text.parse() != Ok(found) => {
                Err(WriteFailure::Conflict { item, detail: format!("the object has resourceVersion {found}, not {text}") })
            }
            _ => Ok(()),
        }
    }

    fn apply_app(&mut self, item: usize, app: &api_types::App, cx: &WriteContext) -> Write<ApplyResult> {
        let org = app.metadata.org.clone().expect("admission fills it in");
        if !self.orgs.contains_key(&org) {
            return Err(WriteFailure::NotFound { item, detail: format!("there is no organization \"{org}\"") });
        }
        let name: AppName = app.metadata.name.parse().expect("checked");
        let before = self.apps.get(&(org.clone(), name.clone())).cloned();
        if let Some(record) = &before {
            Self::check_version(item, app.metadata.resource_version.as_deref(), record.resource_version)?;
        }
        let uid = before.as_ref().map_or_else(|| Uuid::from_u128(self.version as u128 + 0xabc), |record| record.uid);
        let mut secret_versions = BTreeMap::new();
        let mut spec = app.spec.clone();
        for (key, value) in &mut spec.secrets {
            let stored = before.as_ref().and_then(|record| record.secret_versions.get(key).copied());
            let version = match (value.take(), stored) {
                (None, Some(version)) => version,
                (None, None) => {
                    let error = FieldError::new(format!("spec.secrets.{key}"), "null keeps a stored value, and none is stored");
                    return Err(WriteFailure::Invalid { errors: vec![(item, error)] });
                }
                (Some(value), Some(version)) if self.secrets.get(&(uid, key.clone(), version)) == Some(&value) => version,
                (Some(value), stored) => {
                    let version = stored.unwrap_or(0) + 1;
                    self.secrets.insert((uid, key.clone(), version), value);
                    version
                }
            };
            secret_versions.insert(key.clone(), version);
        }
        let same = before.as_ref().is_some_and(|record| record.spec == spec && record.secret_versions == secret_versions);
        let action = match (&before, same) {
            (None, _) => ApplyAction::Created,
            (Some(_), true) => ApplyAction::Unchanged,
            (Some(_), false) => ApplyAction::Configured,
        };
        let record = match before {
            Some(record) if same => record,
            before => AppRecord {
                org: org.clone(),
                name: name.clone(),
                uid,
                generation: before.as_ref().map_or(0, |record| record.generation) + 1,
                resource_version: self.next(),
                desired_version: 1,
                labels: app.metadata.labels.clone(),
                finalizers: vec!["skyswarm.dev/swarm".to_owned()],
                created_at: epoch(),
                deletion_timestamp: None,
                spec,
                secret_versions,
                status: AppStatus::default(),
            },
        };
        self.remember(&record, cx);
        let result = ApplyResult {
            kind: api_types::Kind::App,
            org: Some(org.to_string()),
            name: name.to_string(),
            action,
            generation: record.generation,
            resource_version: record.resource_version.to_string(),
        };
        self.apps.insert((org, name), record);
        Ok(result)
    }

    fn remember(&mut self, record: &AppRecord, cx: &WriteContext) {
        let known = self.revisions.iter().any(|(uid, revision)| *uid == record.uid && revision.generation == record.generation);
        if !known {
            let revision = Revision {
                generation: record.generation,
                spec: record.spec.clone(),
                secret_versions: record.secret_versions.clone(),
                resolved_image: None,
                verdict: Verdict { phase: VerdictPhase::Pending, reason: None, message: None, time: epoch() },
                author: cx.author.clone(),
                source: cx.source.clone(),
                created_at: epoch(),
            };
            self.revisions.push((record.uid, revision));
        }
    }

    fn apply_one(&mut self, item: usize, manifest: &Manifest, cx: &WriteContext) -> Write<ApplyResult> {
        let plain = |action, version: i64| ApplyResult {
            kind: manifest.kind(),
            org: manifest.metadata().org.as_ref().map(ToString::to_string),
            name: manifest.metadata().name.clone(),
            action,
            generation: 0,
            resource_version: version.to_string(),
        };
        match manifest {
            Manifest::App(app) => self.apply_app(item, app, cx),
            Manifest::Organization(organization) => {
                let name: OrgName = organization.metadata.name.parse().expect("checked");
                let action = if self.orgs.contains_key(&name) { ApplyAction::Configured } else { ApplyAction::Created };
                let version = self.next();
                let mut stored = organization.clone();
                stored.metadata.resource_version = Some(version.to_string());
                stored.status = Some(OrganizationStatus::default());
                self.orgs.insert(name, stored);
                Ok(plain(action, version))
            }
            Manifest::Domain(domain) => {
                let host: Host = domain.metadata.name.parse().expect("checked");
                let action = match self.domains.get(&host) {
                    Some(found) if found.metadata.org != domain.metadata.org => {
                        return Err(WriteFailure::Conflict { item, detail: format!("the host {host} is in use") });
                    }
                    Some(_) => ApplyAction::Configured,
                    None => ApplyAction::Created,
                };
                let version = self.next();
                let mut stored = domain.clone();
                stored.metadata.resource_version = Some(version.to_string());
                self.domains.insert(host, stored);
                Ok(plain(action, version))
            }
            Manifest::Setting(setting) => {
                if !setting.spec.value.is_string() {
                    let error = FieldError::new("spec.value", "a host was expected");
                    return Err(WriteFailure::Invalid { errors: vec![(item, error)] });
                }
                self.default_domain = Some(setting.spec.value.clone());
                Ok(plain(ApplyAction::Configured, 1))
            }
        }
    }

    fn setting(&self) -> Setting {
        let value = self.default_domain.clone().unwrap_or(json!("apps.localhost"));
        let mut setting = Setting::new(ObjectMeta::named(SETTING), SettingSpec { value });
        setting.status = Some(SettingStatus {
            description: "text".to_owned(),
            value_type: "host".to_owned(),
            default: json!("apps.localhost"),
            is_default: self.default_domain.is_none(),
        });
        setting
    }
}

#[async_trait]
impl Backend for Fake {
    async fn ping(&self) -> Read<()> {
        self.gate().await
    }
    async fn token_find(&self, presented: &str) -> Read<Option<WhoAmI>> {
        self.gate().await?;
        Ok(self.data().tokens.get(presented).cloned())
    }
    async fn apply(&self, items: &[Manifest], cx: &WriteContext) -> Write<Vec<ApplyResult>> {
        let mut data = self.data();
        let mut draft = data.clone();
        let results = items.iter().enumerate().map(|(item, manifest)| draft.apply_one(item, manifest, cx)).collect::<Write<Vec<_>>>()?;
        if !cx.dry_run {
            *data = draft;
            self.writes.lock().expect("not poisoned").push(cx.clone());
        }
        Ok(results)
    }
    async fn app_get(&self, org: &OrgName, name: &AppName) -> Read<Option<AppRecord>> {
        Ok(self.data().apps.get(&(org.clone(), name.clone())).cloned())
    }
    async fn app_list(&self, org: Option<&OrgName>) -> Read<Vec<AppRecord>> {
        Ok(self.data().apps.values().filter(|record| org.is_none_or(|org| record.org == *org)).cloned().collect())
    }
    async fn app_delete(&self, org: &OrgName, name: &AppName, version: Option<i64>, cx: &WriteContext) -> Write<Option<AppRecord>> {
        let mut data = self.data();
        let next = data.next();
        let Some(record) = data.apps.get_mut(&(org.clone(), name.clone())) else { return Ok(None) };
        Data::check_version(0, version.map(|version| version.to_string()).as_deref(), record.resource_version)?;
        record.deletion_timestamp = Some(epoch());
        record.resource_version = next;
        self.writes.lock().expect("not poisoned").push(cx.clone());
        Ok(Some(record.clone()))
    }
    async fn app_scale(&self, org: &OrgName, name: &AppName, req: &ScaleRequest, cx: &WriteContext) -> Write<Option<AppRecord>> {
        let mut data = self.data();
        let next = data.next();
        let Some(mut record) = data.apps.get(&(org.clone(), name.clone())).cloned() else { return Ok(None) };
        Data::check_version(0, req.resource_version.as_deref(), record.resource_version)?;
        for (process, replicas) in &req.processes {
            record.spec.processes.get_mut(process).expect("checked by the route").replicas = *replicas;
        }
        record.generation += 1;
        record.resource_version = next;
        if !cx.dry_run {
            data.remember(&record, cx);
            data.apps.insert((org.clone(), name.clone()), record.clone());
            self.writes.lock().expect("not poisoned").push(cx.clone());
        }
        Ok(Some(record))
    }
    async fn secret_value(&self, uid: Uuid, _: &OrgName, key: &EnvKey, version: i64) -> Read<Option<SecretValue>> {
        Ok(self.data().secrets.get(&(uid, key.clone(), version)).cloned())
    }
    async fn revision_list(&self, uid: Uuid, limit: i64) -> Read<Vec<Revision>> {
        let data = self.data();
        let found = data.revisions.iter().rev().filter(|(owner, _)| *owner == uid).map(|(_, revision)| revision.clone());
        Ok(found.take(usize::try_from(limit).expect("positive")).collect())
    }
    async fn observation_get(&self, _: Uuid) -> Read<Option<(Value, DateTime<Utc>)>> {
        Ok(self.observation.lock().expect("not poisoned").clone().map(|value| (value, epoch())))
    }
    async fn org_get(&self, org: &OrgName) -> Read<Option<Organization>> {
        Ok(self.data().orgs.get(org).cloned())
    }
    async fn org_list(&self) -> Read<Vec<Organization>> {
        Ok(self.data().orgs.values().cloned().collect())
    }
    async fn org_delete(&self, org: &OrgName, _: &WriteContext) -> Write<bool> {
        let mut data = self.data();
        if data.apps.keys().any(|(owner, _)| owner == org) {
            return Err(WriteFailure::Conflict { item: 0, detail: format!("the organization {org} still has apps") });
        }
        Ok(data.orgs.remove(org).is_some())
    }
    async fn domain_list(&self, org: Option<&OrgName>) -> Read<Vec<Domain>> {
        Ok(self.data().domains.values().filter(|domain| org.is_none() || domain.metadata.org.as_ref() == org).cloned().collect())
    }
    async fn domain_get(&self, host: &Host) -> Read<Option<Domain>> {
        Ok(self.data().domains.get(host).cloned())
    }
    async fn domain_delete(&self, _: &OrgName, host: &Host, _: &WriteContext) -> Write<bool> {
        Ok(self.data().domains.remove(host).is_some())
    }
    async fn node_list(&self) -> Read<Vec<Node>> {
        Ok(vec![Node::new(ObjectMeta::named("n1"), NodeSpec {})])
    }
    async fn event_list(&self, org: Option<&OrgName>, object: Option<(&str, &str)>, limit: i64) -> Read<Vec<Event>> {
        let data = self.data();
        let records =
            data.apps.values().filter(|record| org == Some(&record.org) && object.is_none_or(|(_, name)| record.name.as_str() == name));
        let events = records.enumerate().map(|(id, record)| Event {
            id: id as i64,
            kind: "App".to_owned(),
            name: record.name.to_string(),
            event_type: EventType::Normal,
            reason: "Accepted".to_owned(),
            message: "seen".to_owned(),
            generation: record.generation,
            count: 1,
            first_seen: epoch(),
            last_seen: epoch(),
        });
        Ok(events.take(usize::try_from(limit).expect("positive")).collect())
    }
    async fn setting_list(&self) -> Read<Vec<Setting>> {
        Ok(vec![self.data().setting()])
    }
    async fn setting_get(&self, key: &SettingKey) -> Read<Option<Setting>> {
        Ok((key.as_str() == SETTING).then(|| self.data().setting()))
    }
    async fn setting_reset(&self, _: &SettingKey, _: &WriteContext) -> Write<()> {
        self.data().default_domain = None;
        Ok(())
    }
}
