//! Secrets. Their values go in and never come out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use bollard::models;
use bollard::query_parameters::ListSecretsOptions;
use secrecy::{ExposeSecret, SecretString};

use super::services::no_id;
use super::{Call, DockerSwarm, EngineResult, Secret, Target, list_filter};
use crate::engines::swarm::convert;

impl DockerSwarm {
    pub(super) async fn secrets(&self, prefix: &str) -> EngineResult<Vec<Secret>> {
        let secrets = self.filtered_secrets(list_filter(prefix)).await?;
        Ok(secrets.into_iter().filter(|secret| secret.name.starts_with(prefix)).collect())
    }

    /// Ids of secrets by name; a name without a secret is missing from the answer.
    pub(super) async fn secret_ids(&self, names: &BTreeSet<&str>) -> EngineResult<BTreeMap<String, String>> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let exact = names.iter().map(|name| (*name).to_owned()).collect();
        let secrets = self.filtered_secrets(HashMap::from([("names".to_owned(), exact)])).await?;
        let wanted = secrets.into_iter().filter(|secret| names.contains(secret.name.as_str()));
        Ok(wanted.map(|secret| (secret.name, secret.id)).collect())
    }

    async fn filtered_secrets(&self, filters: HashMap<String, Vec<String>>) -> EngineResult<Vec<Secret>> {
        let options = ListSecretsOptions { filters: Some(filters) };
        let secrets = self.read(Call::SecretList, &Target::of("secret list"), self.docker().list_secrets(Some(options))).await?;
        Ok(secrets.into_iter().filter_map(convert::secret_from_engine).collect())
    }

    pub(super) async fn create_secret(&self, name: &str, labels: &BTreeMap<String, String>, value: &SecretString) -> EngineResult<String> {
        let target = Target::new("secret", name);
        let spec = models::SecretSpec {
            name: Some(name.to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            data: Some(base64::engine::general_purpose::STANDARD.encode(value.expose_secret())),
            ..Default::default()
        };
        let created = self.write(Call::SecretCreate, &target, self.docker().create_secret(spec)).await?;
        if created.id.is_empty() { Err(no_id(&target)) } else { Ok(created.id) }
    }
}
