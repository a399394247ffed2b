//! What tests look at and plant on the engine, past the platform.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use bollard::models::{
    ConfigSpec, NetworkCreateRequest, SecretSpec, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated, TaskSpec, TaskSpecContainerSpec,
};
use bollard::query_parameters::{ListContainersOptions, ListServicesOptions, UpdateServiceOptions};
use skyswarm::engines::swarm::labels;

use crate::dockerd::Dockerd;
use crate::tar;

const FOREIGN: &str = "foreign-";

/// As JSON whose keys are sorted: the client's maps come in any order.
fn sorted(value: &impl serde::Serialize) -> Result<String> {
    Ok(serde_json::to_value(value)?.to_string())
}

impl Dockerd {
    /// Makes the image of the sample app, with the app as its entrypoint.
    ///
    /// # Errors
    /// When the binary cannot be read or the engine does not take the image.
    pub async fn import_app(&self, name: &str, binary: &std::path::Path) -> Result<()> {
        let content = tokio::fs::read(binary).await.with_context(|| binary.display().to_string())?;
        self.import(name, &[tar::File::executable("app", content)], vec!["ENTRYPOINT [\"/app\"]".to_owned()]).await?;
        Ok(())
    }

    /// Containers that run now.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn running_containers(&self) -> Result<usize> {
        Ok(self.docker()?.list_containers(None::<ListContainersOptions>).await?.len())
    }

    /// Names of our services.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn service_names(&self) -> Result<BTreeSet<String>> {
        let services = self.docker()?.list_services(None::<ListServicesOptions>).await?;
        let names = services.into_iter().filter_map(|service| service.spec.and_then(|spec| spec.name));
        Ok(names.filter(|name| !name.starts_with(FOREIGN)).collect())
    }

    /// Names of our secrets.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn secret_names(&self) -> Result<BTreeSet<String>> {
        let secrets = self.docker()?.list_secrets(None).await?;
        let names = secrets.into_iter().filter_map(|secret| secret.spec.and_then(|spec| spec.name));
        Ok(names.filter(|name| !name.starts_with(FOREIGN)).collect())
    }

    /// All services as the engine tells them.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn services_json(&self) -> Result<String> {
        Ok(serde_json::to_string(&self.docker()?.list_services(None::<ListServicesOptions>).await?)?)
    }

    /// Names of all services, networks, secrets, configs and running containers.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn everything(&self) -> Result<BTreeSet<String>> {
        let docker = self.docker()?;
        let mut names: BTreeSet<String> = self.service_names().await?.into_iter().map(|name| format!("service {name}")).collect();
        names.extend(self.secret_names().await?.into_iter().map(|name| format!("secret {name}")));
        let networks = docker.list_networks(None).await?;
        names.extend(networks.into_iter().filter_map(|network| network.name).map(|name| format!("network {name}")));
        let configs = docker.list_configs(None).await?;
        names.extend(configs.into_iter().filter_map(|config| config.spec.and_then(|spec| spec.name)).map(|name| format!("config {name}")));
        let containers = docker.list_containers(None::<ListContainersOptions>).await?;
        names.extend(containers.into_iter().filter_map(|container| container.id).map(|id| format!("container {id}")));
        Ok(names)
    }

    /// Puts a service, a network, a secret and a config of somebody else on the engine, some with labels that look like ours.
    /// Returns what [`Self::foreign_objects`] says of them.
    ///
    /// # Errors
    /// When the engine refuses one.
    pub async fn plant_foreign_objects(&self, image: &str) -> Result<String> {
        let docker = self.docker()?;
        let image = docker.inspect_image(image).await?.id.context("an image without an id")?;
        for (name, ours) in [("foreign-plain", false), ("foreign-lookalike", true)] {
            let mut labels = std::collections::HashMap::from([("team".to_owned(), "them".to_owned())]);
            if ours {
                labels.insert(labels::MANAGED_BY.to_owned(), labels::MANAGED_BY_VALUE.to_owned());
                labels.insert(labels::OWNER_UID.to_owned(), "00000000-0000-7000-8000-000000000000".to_owned());
                labels.insert(labels::APP.to_owned(), "shop".to_owned());
                labels.insert(labels::PROCESS.to_owned(), "web".to_owned());
            }
            let spec = ServiceSpec {
                name: Some(name.to_owned()),
                labels: Some(labels.clone()),
                task_template: Some(TaskSpec {
                    container_spec: Some(TaskSpecContainerSpec {
                        image: Some(image.clone()),
                        args: Some(vec!["worker".to_owned()]),
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                mode: Some(ServiceSpecMode { replicated: Some(ServiceSpecModeReplicated { replicas: Some(1) }), ..Default::default() }),
                ..Default::default()
            };
            docker.create_service(spec, None).await?;
            let network = NetworkCreateRequest {
                name: format!("{name}-net"),
                driver: Some("overlay".to_owned()),
                labels: Some(labels.clone()),
                ..Default::default()
            };
            docker.create_network(network).await?;
            docker
                .create_secret(SecretSpec {
                    name: Some(name.to_owned()),
                    labels: Some(labels.clone()),
                    data: Some("eA==".to_owned()),
                    ..Default::default()
                })
                .await?;
            docker
                .create_config(ConfigSpec {
                    name: Some(name.to_owned()),
                    labels: Some(labels),
                    data: Some("eA==".to_owned()),
                    ..Default::default()
                })
                .await?;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.foreign_objects().await
    }

    /// The planted objects with their versions and specs, as text.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn foreign_objects(&self) -> Result<String> {
        let docker = self.docker()?;
        let mut out = BTreeMap::new();
        for service in docker.list_services(None::<ListServicesOptions>).await? {
            let name = service.spec.as_ref().and_then(|spec| spec.name.clone()).unwrap_or_default();
            out.insert(format!("service {name}"), sorted(&(service.id, service.version, service.spec))?);
        }
        for network in docker.list_networks(None).await? {
            out.insert(format!("network {}", network.name.clone().unwrap_or_default()), sorted(&(network.id, network.labels))?);
        }
        for secret in docker.list_secrets(None).await? {
            let name = secret.spec.as_ref().and_then(|spec| spec.name.clone()).unwrap_or_default();
            out.insert(format!("secret {name}"), sorted(&(secret.id, secret.version, secret.spec))?);
        }
        for config in docker.list_configs(None).await? {
            let name = config.spec.as_ref().and_then(|spec| spec.name.clone()).unwrap_or_default();
            out.insert(format!("config {name}"), sorted(&(config.id, config.version, config.spec))?);
        }
        let lines = out.into_iter().filter(|(name, _)| name.contains(FOREIGN)).map(|(name, text)| format!("{name}: {text}"));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    /// Creates a network of somebody else.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub async fn take_network_name(&self, name: &str) -> Result<()> {
        let owner = std::collections::HashMap::from([("owner".to_owned(), "somebody else".to_owned())]);
        let request =
            NetworkCreateRequest { name: name.to_owned(), driver: Some("overlay".to_owned()), labels: Some(owner), ..Default::default() };
        self.docker()?.create_network(request).await?;
        Ok(())
    }

    /// The `owner` label of a network.
    ///
    /// # Errors
    /// When there is no such network.
    pub async fn network_owner(&self, name: &str) -> Result<String> {
        let network = self.docker()?.inspect_network(name, None).await?;
        Ok(network.labels.unwrap_or_default().remove("owner").unwrap_or_default())
    }

    /// Addresses of the containers of an app, on every network.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn addresses_of(&self, app: &str) -> Result<BTreeSet<String>> {
        let docker = self.docker()?;
        let mut addresses = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for container in docker.list_containers(None::<ListContainersOptions>).await? {
            if container.labels.unwrap_or_default().get(labels::APP).is_some_and(|label| label == app) {
                let networks = container.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
                addresses.extend(networks.into_values().filter_map(|network| network.ip_address).filter(|address| !address.is_empty()));
                ids.extend(container.id);
            }
        }
        let gateway = docker.inspect_network("docker_gwbridge", None).await?;
        for (id, container) in gateway.containers.unwrap_or_default() {
            if ids.contains(&id) {
                addresses.extend(container.ipv4_address.and_then(|address| address.split('/').next().map(str::to_owned)));
            }
        }
        Ok(addresses)
    }

    /// Edits a service behind the platform's back.
    ///
    /// # Errors
    /// When the engine refuses it; a version that is stale is tried again.
    pub async fn edit_service(&self, name: &str, edit: impl Fn(&mut ServiceSpec)) -> Result<()> {
        let docker = self.docker()?;
        for attempt in 0.. {
            let current = docker.inspect_service(name, None).await?;
            let version = current.version.and_then(|version| version.index).context("a service without a version")?;
            let mut spec = current.spec.context("a service without a spec")?;
            edit(&mut spec);
            let options = UpdateServiceOptions { version: i32::try_from(version)?, ..Default::default() };
            match docker.update_service(name, spec, options, None).await {
                Err(error) if attempt < 5 && error.to_string().contains("out of sequence") => {}
                other => return Ok(other.map(drop)?),
            }
        }
        Ok(())
    }

    /// The spec of a service as text, in a stable order; labels that say when it was written are left out.
    ///
    /// # Errors
    /// When there is no such service.
    pub async fn spec_text(&self, name: &str) -> Result<String> {
        let mut spec = self.docker()?.inspect_service(name, None).await?.spec.context("a service without a spec")?;
        if let Some(found) = &mut spec.labels {
            found.remove(labels::EPOCH);
        }
        // What was taken away may come back as an empty one.
        let template = spec.task_template.get_or_insert_default();
        template.placement = template.placement.take().filter(|placement| *placement != Default::default());
        sorted(&spec)
    }

    /// The specs of all services as text, in a stable order.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn specs_text(&self) -> Result<String> {
        let services = self.docker()?.list_services(None::<ListServicesOptions>).await?;
        let lines: BTreeSet<String> = services.iter().map(|service| sorted(&(&service.id, &service.spec))).collect::<Result<_>>()?;
        Ok(lines.into_iter().collect::<Vec<_>>().join("\n"))
    }

    /// Makes an overlay network of somebody else and returns its id.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub async fn make_network(&self, name: &str) -> Result<String> {
        let request = NetworkCreateRequest { name: name.to_owned(), driver: Some("overlay".to_owned()), ..Default::default() };
        Ok(self.docker()?.create_network(request).await?.id)
    }

    /// A running container of a process of an app.
    ///
    /// # Errors
    /// When there is none.
    pub async fn container_of(&self, app: &str, process: &str) -> Result<String> {
        let is_wanted = |found: &std::collections::HashMap<String, String>| {
            found.get(labels::APP).is_some_and(|name| name == app) && found.get(labels::PROCESS).is_some_and(|name| name == process)
        };
        let all = self.docker()?.list_containers(None::<ListContainersOptions>).await?;
        let found = all.into_iter().find(|container| container.labels.as_ref().is_some_and(is_wanted));
        found.and_then(|container| container.id).context("no such container runs")
    }
}
