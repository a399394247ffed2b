//! Services and tasks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::models;
use bollard::query_parameters::{ListTasksOptions, UpdateServiceOptions};

use super::{
    Call, DockerSwarm, EngineError, EngineResult, ForeignService, Service, ServiceSelection, ServiceSpec, Target, Task, labels,
    list_filter, raw,
};
use crate::engines::swarm::convert::{self, References};
use crate::engines::swarm::extras;
use crate::engines::swarm::foreign::{self, STACK_LABEL};

/// Service ids per request: a filter travels in the URL.
const IDS_PER_REQUEST: usize = 100;

impl DockerSwarm {
    pub(super) async fn services(&self, prefix: &str) -> EngineResult<Vec<Service>> {
        let services = self.raw_services(list_filter(prefix)).await?;
        let names = self.network_names_of(&services).await?;
        let ours = services.into_iter().filter_map(|service| convert::service_from_engine(service, &names));
        Ok(ours.filter(|service| service.spec.name.starts_with(prefix)).collect())
    }

    pub(super) async fn labels_of_service(&self, name: &str) -> EngineResult<Option<BTreeMap<String, String>>> {
        let services = self.raw_services(HashMap::from([("name".to_owned(), vec![name.to_owned()])])).await?;
        let spec = services.into_iter().filter_map(|service| service.spec).find(|spec| spec.name.as_deref() == Some(name));
        Ok(spec.map(|spec| spec.labels.unwrap_or_default().into_iter().collect()))
    }

    pub(super) async fn foreign_services(&self, wanted: &ServiceSelection) -> EngineResult<Vec<ForeignService>> {
        let filter = match wanted {
            ServiceSelection::Name(name) => ("name", name.clone()),
            ServiceSelection::Stack(stack) => ("label", format!("{STACK_LABEL}={stack}")),
        };
        let services = self.raw_services(HashMap::from([(filter.0.to_owned(), vec![filter.1])])).await?;
        let names = self.network_names_of(&services).await?;
        let found = services.into_iter().filter_map(|service| foreign::from_engine(service, &names));
        let is_wanted = |found: &ForeignService| match wanted {
            // The engine takes a name as a prefix.
            ServiceSelection::Name(name) => found.service.spec.name == *name,
            ServiceSelection::Stack(stack) => found.stack() == Some(stack),
        };
        let mut found: Vec<ForeignService> = found.filter(is_wanted).collect();
        found.sort_by(|a, b| a.service.spec.name.cmp(&b.service.spec.name));
        Ok(found)
    }

    async fn raw_services(&self, filters: HashMap<String, Vec<String>>) -> EngineResult<Vec<models::Service>> {
        self.whole_services(Call::ServiceList, &Target::of("service list"), &filters).await
    }

    pub(super) async fn create_service(&self, spec: &ServiceSpec) -> EngineResult<String> {
        let refs = self.references(spec).await?;
        let rendered = convert::service_to_engine(spec, &refs)?;
        let target = Target::new("service", &spec.name);
        let created = self.write(Call::ServiceCreate, &target, self.docker().create_service(rendered, None)).await?;
        created.id.ok_or_else(|| no_id(&target))
    }

    pub(super) async fn update_service(&self, id: &str, version: u64, spec: &ServiceSpec) -> EngineResult<()> {
        let target = Target::new("service", &spec.name);
        let mut rendered = self.spec_at(id, version, &target).await?;
        let is_marked = |labels: Option<&HashMap<String, String>>| labels.is_some_and(|labels| labels.contains_key(labels::ADOPTED));
        if spec.labels.contains_key(labels::ADOPTED) || is_marked(rendered.labels.as_ref()) {
            convert::apply_changed(&mut rendered, spec);
        } else if spec.extras.is_empty() {
            let refs = self.references(spec).await?;
            rendered = extras::without(&rendered, convert::service_to_engine(spec, &refs)?);
        } else {
            let refs = self.references(spec).await?;
            convert::apply_owned(&mut rendered, spec, &refs)?;
        }
        let version = i32::try_from(version).map_err(|_| EngineError::Invalid {
            what: target.to_string(),
            message: format!("version {version} is larger than the client can send"),
        })?;
        let options = UpdateServiceOptions { version, ..Default::default() };
        self.write(Call::ServiceUpdate, &target, self.docker().update_service(id, rendered, options, None)).await.map(|_| ())
    }

    /// A service's spec with all that it has, to be written back, as it was at a version.
    async fn spec_at(&self, id: &str, version: u64, target: &Target) -> EngineResult<models::ServiceSpec> {
        let filters = HashMap::from([("id".to_owned(), vec![id.to_owned()])]);
        let found = self.whole_services(Call::ServiceInspect, target, &filters).await?;
        // The engine takes an id as a prefix.
        let current = found.into_iter().find(|service| service.id.as_deref() == Some(id));
        let current = current.ok_or_else(|| EngineError::NotFound { what: target.to_string() })?;
        let at = current.version.as_ref().and_then(|version| version.index).unwrap_or(0);
        if at != version {
            // What we would start from is not what the caller looked at.
            return Err(EngineError::OutOfSequence { what: target.to_string() });
        }
        Ok(current.spec.unwrap_or_default())
    }

    /// Looks up what a spec refers to by name.
    async fn references(&self, spec: &ServiceSpec) -> EngineResult<References> {
        let names: BTreeSet<&str> = spec.secrets.iter().map(|mount| mount.secret_name.as_str()).collect();
        let network = async { if spec.network.is_empty() { Ok(None) } else { self.network_id(&spec.network).await.map(Some) } };
        let (network_id, secret_ids, has_init) = tokio::try_join!(network, self.secret_ids(&names), self.has_init())?;
        Ok(References { network_id, secret_ids, has_init })
    }

    /// Names of the networks that services are attached to; one listing when any is not known yet.
    async fn network_names_of(&self, services: &[models::Service]) -> EngineResult<HashMap<String, String>> {
        let ids: BTreeSet<&str> = services.iter().flat_map(convert::network_ids).collect();
        if ids.iter().any(|id| self.cached_network_name(id).is_none()) {
            self.refresh_networks().await?;
        }
        Ok(ids.into_iter().filter_map(|id| Some((id.to_owned(), self.cached_network_name(id)?))).collect())
    }

    pub(super) async fn tasks(&self, service_ids: &[String]) -> EngineResult<Vec<Task>> {
        if service_ids.is_empty() {
            // Swarm does not put a service's labels on its tasks, so ask for the services first. A task of a
            // service that is gone still shows our label on its container.
            let services = self.heads_of_services().await?;
            let ids: BTreeSet<String> = services.iter().map(|service| service.id.clone()).collect();
            let adopted = services.into_iter().filter(|service| service.labels.contains_key(labels::ADOPTED));
            let adopted: HashMap<String, BTreeMap<String, String>> = adopted.map(|service| (service.id, service.labels)).collect();
            let mut tasks = self.all_tasks().await?;
            tasks.retain(|task| {
                let label = task.container_labels.get(labels::MANAGED_BY).map(String::as_str);
                ids.contains(&task.service_id) || label == Some(labels::MANAGED_BY_VALUE)
            });
            // The containers of a service that was taken over say nothing of us, and cannot be made to.
            for task in &mut tasks {
                let found = adopted.get(&task.service_id).into_iter().flatten();
                task.container_labels.extend(found.map(|(key, value)| (key.clone(), value.clone())));
            }
            return Ok(tasks);
        }
        let mut tasks = Vec::new();
        for chunk in service_ids.chunks(IDS_PER_REQUEST) {
            let filters = HashMap::from([("service".to_owned(), chunk.to_vec())]);
            match self.raw_tasks(filters).await {
                Ok(found) => tasks.extend(found.into_iter().filter_map(convert::task_from_engine)),
                // The engine looks every service up and refuses all for one that is gone, while the tasks of
                // that one may still wind down.
                Err(EngineError::NotFound { .. }) => {
                    let ids: BTreeSet<&str> = service_ids.iter().map(String::as_str).collect();
                    let wanted = |task: &Task| ids.contains(task.service_id.as_str());
                    return Ok(self.all_tasks().await?.into_iter().filter(wanted).collect());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(tasks)
    }

    async fn all_tasks(&self) -> EngineResult<Vec<Task>> {
        Ok(self.raw_tasks(HashMap::new()).await?.into_iter().filter_map(convert::task_from_engine).collect())
    }

    async fn raw_tasks(&self, filters: HashMap<String, Vec<String>>) -> EngineResult<Vec<models::Task>> {
        let target = Target::of("task list");
        let options = ListTasksOptions { filters: Some(filters.clone()) };
        match self.read(Call::TaskList, &target, self.docker().list_tasks(Some(options))).await {
            Err(error) if raw::is_unreadable(&error) => self.list_leniently(Call::TaskList, &target, "/tasks", &filters).await,
            other => other,
        }
    }
}

/// The engine accepted a creation without naming what it made.
pub(super) fn no_id(target: &Target) -> EngineError {
    EngineError::Other { what: target.to_string(), status: 201, message: "the answer has no id".to_owned() }
}
