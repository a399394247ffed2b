//! Reads the objects of an apply before the database is touched: names, versions, repeated objects.
//! Every error of every object is collected, so that a person corrects a file once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr;

use api_types::kinds::app::App;
use api_types::kinds::edge::UserName;
use api_types::name::{LabelKey, LabelValue, ParseError};
use api_types::{
    AppName, AppSpec, CertificateName, EnvKey, FieldError, Host, Kind, Manifest, ObjectMeta, OrgName, OrganizationSpec, SecretValue,
};
use serde_json::Value;

use super::WriteError;
use super::apps::parse_version;
use crate::certificate::{Chain, read_chain};

/// Longest display name of an organisation, in characters.
const MAX_DISPLAY_NAME: usize = 100;

/// What every object has.
pub(super) struct Head {
    /// Its place in the request.
    pub(super) item: usize,
    /// Version that makes the write conditional.
    pub(super) expected: Option<i64>,
    pub(super) labels: BTreeMap<LabelKey, LabelValue>,
}

pub(super) struct OrganizationItem {
    pub(super) head: Head,
    pub(super) name: OrgName,
    pub(super) spec: OrganizationSpec,
}

pub(super) struct SettingItem {
    pub(super) head: Head,
    pub(super) key: String,
    pub(super) value: Value,
}

pub(super) struct CertificateItem {
    pub(super) head: Head,
    pub(super) name: CertificateName,
    pub(super) chain: Chain,
    /// Checked against the chain only when it is written: without one, the stored one counts.
    pub(super) private_key: Option<SecretValue>,
}

pub(super) struct AppItem {
    pub(super) head: Head,
    pub(super) org: OrgName,
    pub(super) name: AppName,
    /// Without secret values.
    pub(super) spec: AppSpec,
    pub(super) secrets: BTreeMap<EnvKey, Option<SecretValue>>,
    /// Passwords of `spec.edge.basicAuth`.
    pub(super) passwords: BTreeMap<UserName, Option<SecretValue>>,
}

pub(super) struct DomainItem {
    pub(super) head: Head,
    pub(super) org: OrgName,
    pub(super) host: Host,
    pub(super) app: AppName,
}

/// The objects of an apply by kind, in the order of the request.
#[derive(Default)]
pub(super) struct Items {
    pub(super) organizations: Vec<OrganizationItem>,
    pub(super) settings: Vec<SettingItem>,
    pub(super) certificates: Vec<CertificateItem>,
    pub(super) apps: Vec<AppItem>,
    pub(super) domains: Vec<DomainItem>,
}

impl Items {
    pub(super) fn parse(manifests: &[Manifest]) -> Result<Self, WriteError> {
        let (mut items, mut errors, mut seen) = (Self::default(), Vec::new(), HashMap::new());
        for (item, manifest) in manifests.iter().enumerate() {
            let meta = manifest.metadata();
            if let Some(first) = seen.insert((manifest.kind(), &meta.org, &meta.name), item) {
                let message = format!("the list has this {} twice, first as item {first}; which one is meant?", manifest.kind());
                errors.push((item, FieldError::new("metadata.name", message)));
                continue;
            }
            if let Err(WriteError::Invalid { errors: mut found }) = items.push(item, manifest) {
                errors.append(&mut found);
            }
        }
        if errors.is_empty() { Ok(items) } else { Err(WriteError::Invalid { errors }) }
    }

    fn push(&mut self, item: usize, manifest: &Manifest) -> Result<(), WriteError> {
        let head = head(item, manifest.metadata())?;
        let meta = manifest.metadata();
        match manifest {
            Manifest::Organization(object) => {
                let name = parsed(item, "metadata.name", &meta.name)?;
                check_display_name(item, &object.spec)?;
                self.organizations.push(OrganizationItem { head, name, spec: object.spec.clone() });
            }
            Manifest::Setting(object) => {
                self.settings.push(SettingItem { head, key: meta.name.clone(), value: object.spec.value.clone() });
            }
            Manifest::Certificate(object) => {
                let name = parsed(item, "metadata.name", &meta.name)?;
                let chain =
                    read_chain(&object.spec.chain).map_err(|message| WriteError::invalid(item, FieldError::new("spec.chain", message)))?;
                self.certificates.push(CertificateItem { head, name, chain, private_key: object.spec.private_key.clone() });
            }
            Manifest::App(object) => {
                let (org, name) = (org(item, meta, Kind::App)?, parsed(item, "metadata.name", &meta.name)?);
                let (spec, secrets, passwords) = split_secrets(item, object)?;
                self.apps.push(AppItem { head, org, name, spec, secrets, passwords });
            }
            Manifest::Domain(object) => {
                let (org, host) = (org(item, meta, Kind::Domain)?, parsed(item, "metadata.name", &meta.name)?);
                self.domains.push(DomainItem { head, org, host, app: object.spec.app.clone() });
            }
        }
        Ok(())
    }

    /// Organisations that are made or referred to.
    pub(super) fn org_names(&self) -> BTreeSet<OrgName> {
        let made = self.organizations.iter().map(|item| &item.name);
        made.chain(self.apps.iter().map(|item| &item.org)).chain(self.domains.iter().map(|item| &item.org)).cloned().collect()
    }
}

fn head(item: usize, meta: &ObjectMeta) -> Result<Head, WriteError> {
    let expected = parse_version(item, "metadata.resourceVersion", meta.resource_version.as_deref())?;
    Ok(Head { item, expected, labels: meta.labels.clone() })
}

fn org(item: usize, meta: &ObjectMeta, kind: Kind) -> Result<OrgName, WriteError> {
    meta.org.clone().ok_or_else(|| {
        let message = format!("{kind} {} belongs to an organization; say which one", meta.name);
        WriteError::invalid(item, FieldError::new("metadata.org", message))
    })
}

fn parsed<T: FromStr<Err = ParseError>>(item: usize, path: &str, text: &str) -> Result<T, WriteError> {
    text.parse().map_err(|error: ParseError| WriteError::invalid(item, FieldError::new(path, error.to_string())))
}

fn check_display_name(item: usize, spec: &OrganizationSpec) -> Result<(), WriteError> {
    let bad = |name: &String| name.chars().count() > MAX_DISPLAY_NAME || name.chars().any(char::is_control);
    if !spec.display_name.as_ref().is_some_and(bad) {
        return Ok(());
    }
    let message = format!("a display name has at most {MAX_DISPLAY_NAME} characters and no control characters");
    Err(WriteError::invalid(item, FieldError::new("spec.displayName", message)))
}

/// A spec without secret values, the values of its secrets, and its passwords.
type Split = (AppSpec, BTreeMap<EnvKey, Option<SecretValue>>, BTreeMap<UserName, Option<SecretValue>>);

/// Checks the spec as a whole and takes the secret values out, so that nothing behind this line can
/// store or print them by accident.
fn split_secrets(item: usize, object: &App) -> Result<Split, WriteError> {
    // Again, although the API did: nothing else that writes apps can leave it out.
    let errors = api_types::check::semantic_app(&object.spec);
    if !errors.is_empty() {
        return Err(WriteError::Invalid { errors: errors.into_iter().map(|error| (item, error)).collect() });
    }
    let secrets = object.spec.secrets.clone();
    let mut spec = object.spec.clone();
    spec.secrets.values_mut().for_each(|value| *value = None);
    let users = spec.edge.basic_auth.iter().flat_map(|auth| &auth.users);
    let passwords = users.map(|(name, user)| (name.clone(), user.password.clone())).collect();
    spec.edge.forget_passwords();
    // jsonb refuses NUL wherever it is.
    let json = serde_json::to_value(&spec)
        .map_err(|error| WriteError::invalid(item, FieldError::new("spec", format!("it cannot be stored: {error}"))))?;
    match nul_path(&json, "spec") {
        None => Ok((spec, secrets, passwords)),
        Some(path) => Err(WriteError::invalid(item, FieldError::new(path, "a text must not hold the character NUL"))),
    }
}

/// Path of the first text with NUL. The depth is that of the type `AppSpec`.
fn nul_path(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(|| path.to_owned()),
        Value::Array(items) => items.iter().enumerate().find_map(|(at, item)| nul_path(item, &format!("{path}[{at}]"))),
        Value::Object(map) => map.iter().find_map(|(key, item)| nul_path(item, &format!("{path}.{key}"))),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}
