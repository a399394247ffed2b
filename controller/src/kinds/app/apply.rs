//! Does one step. Dumb on purpose: what to do was decided in `plan`. Every step is safe to repeat.

use std::sync::Arc;

use api_types::ProcessName;
use secrecy::SecretString;

use super::adopt;
use super::desired::Desired;
use super::model::{Model, ReleaseKey};
use super::names;
use super::plan::Step;
use super::records::SharedRecords;
use super::render;
use crate::engines::swarm::{EngineError, NetworkSpec, Service, SwarmEngine, labels};
use crate::store::StoreError;

/// How a step failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The engine did not do it.
    #[error("the engine did not do the step: {source}")]
    Engine {
        /// The engine's error.
        #[from]
        source: EngineError,
    },
    /// The database did not take it.
    #[error("the database did not take the step")]
    Store {
        /// The store's error.
        #[from]
        source: StoreError,
    },
    /// The world changed between looking and acting.
    #[error("{what} changed between looking and acting")]
    Changed {
        /// What changed.
        what: String,
    },
}

/// What steps act on.
#[derive(Clone)]
pub struct Executor {
    /// The engine.
    pub engine: Arc<dyn SwarmEngine>,
    /// The database.
    pub store: SharedRecords,
    /// Tells the edge that a route changed.
    pub kick_edge: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Executor")
    }
}

impl Executor {
    /// Does `step` under the leader's `epoch`. Returns what the image is, when the step was to find that out.
    ///
    /// # Errors
    /// See [`ApplyError`]; after any of them the world has to be observed again, since the act may have
    /// landed although its answer was lost.
    pub async fn apply(&self, step: &Step, desired: &Desired, model: &Model, epoch: i64) -> Result<Option<String>, ApplyError> {
        let owner = &desired.owner;
        match step {
            Step::ResolveImage { .. } => return self.resolve_image(desired, epoch).await.map(Some),
            Step::CreateNetwork { name } => {
                self.engine.network_create(&NetworkSpec { name: name.clone(), labels: owner.labels() }).await?;
            }
            Step::CreateSecret { name, .. } => self.create_secret(name, desired).await?,
            Step::CreateService { process, replicas, .. } => {
                let target = desired.target.processes.get(process).ok_or_else(|| changed(process.as_str()))?;
                let mut spec = target.service.clone();
                spec.replicas = u64::from(*replicas);
                spec.labels.insert(labels::EPOCH.to_owned(), epoch.to_string());
                spec.labels.insert(labels::SCALE.to_owned(), replicas.to_string());
                render::stamp(&mut spec);
                self.engine.service_create(&spec).await?;
            }
            Step::AdoptService { process, .. } => self.adopt(process, desired, epoch).await?,
            Step::UpdateService { process, release, .. } => {
                let found = self.service(desired, model, &(process.clone(), release.clone())).await?;
                let target = desired.target.processes.get(process).ok_or_else(|| changed(process.as_str()))?;
                if found.is_adopted() {
                    let process = desired.target.spec.processes.get(process).ok_or_else(|| changed(process.as_str()))?;
                    let mut spec = adopt::corrected(&desired.target.spec, process, &target.service, &found.spec);
                    render::stamp(&mut spec);
                    self.engine.service_update(&found.id, found.version, &spec).await?;
                    return Ok(None);
                }
                let mut spec = target.service.clone();
                spec.replicas = found.spec.replicas;
                // The stamps say which generation made the service, not which one corrected it, and which scale we set,
                // which this does not.
                for stamp in [labels::GENERATION, labels::EPOCH, labels::SCALE] {
                    if let Some(value) = found.spec.labels.get(stamp) {
                        spec.labels.insert(stamp.to_owned(), value.clone());
                    }
                }
                render::stamp(&mut spec);
                self.engine.service_update(&found.id, found.version, &spec).await?;
            }
            Step::ScaleService { process, release, from, to, .. } => {
                let found = self.service(desired, model, &(process.clone(), release.clone())).await?;
                // Somebody else scaled meanwhile: the step was decided on another picture.
                if found.spec.replicas != u64::from(*from) {
                    return Err(changed(&found.spec.name));
                }
                let mut spec = found.spec.clone();
                spec.replicas = u64::from(*to);
                spec.labels.insert(labels::SCALE.to_owned(), to.to_string());
                self.engine.service_update(&found.id, found.version, &spec).await?;
            }
            Step::PublishRoute { route, .. } => {
                self.store.route_put(route, epoch).await?;
                (self.kick_edge)();
            }
            Step::WithdrawRoute => {
                self.store.route_remove(owner.uid, epoch).await?;
                (self.kick_edge)();
            }
            Step::RemoveService { process, release } => {
                let found = self.service(desired, model, &(process.clone(), release.clone())).await?;
                gone_is_fine(self.engine.service_remove(&found.id).await)?;
            }
            Step::RemoveSecret { name } => self.remove_secret(name, desired).await?,
            Step::RemoveNetwork { .. } => self.remove_network(desired).await?,
            Step::Finalize => self.store.app_remove(owner.uid, epoch).await?,
        }
        Ok(None)
    }

    /// Finds out what the target's image is now, writes it down, and returns it.
    async fn resolve_image(&self, desired: &Desired, epoch: i64) -> Result<String, ApplyError> {
        let spec = &desired.target.spec;
        let resolution = self.engine.image_resolve(&spec.image, spec.effective_pull_policy()).await?;
        self.store.revision_image_put(desired.owner.uid, desired.target.generation, resolution.reference(), epoch).await?;
        Ok(resolution.reference().to_owned())
    }

    /// Marks a service as the app's. What was seen of it is looked at again, since nothing else of it may be changed.
    async fn adopt(&self, process: &ProcessName, desired: &Desired, epoch: i64) -> Result<(), ApplyError> {
        let target = desired.target.processes.get(process).ok_or_else(|| changed(process.as_str()))?;
        let spec = desired.target.spec.processes.get(process).ok_or_else(|| changed(process.as_str()))?;
        let adoption = target.adoption.as_ref().ok_or_else(|| changed(process.as_str()))?;
        let found = self.engine.service_list(&adoption.service).await?;
        let found = found.into_iter().find(|found| found.spec.name == adoption.service && found.id == adoption.id);
        let found = found.ok_or_else(|| changed(&adoption.service))?;
        if adopt::refusal(Some(&desired.owner), &desired.target.spec, spec, &found).is_some() {
            return Err(changed(&adoption.service));
        }
        let mut marked = found.spec.clone();
        marked.labels.extend(target.service.labels.clone());
        marked.labels.insert(labels::ADOPTED.to_owned(), "true".to_owned());
        marked.labels.insert(labels::EPOCH.to_owned(), epoch.to_string());
        marked.labels.insert(labels::SCALE.to_owned(), found.spec.replicas.to_string());
        render::stamp(&mut marked);
        Ok(self.engine.service_update(&found.id, found.version, &marked).await?)
    }

    async fn create_secret(&self, name: &str, desired: &Desired) -> Result<(), ApplyError> {
        let owner = &desired.owner;
        let secrets = desired.target.secrets(owner);
        let (key, version) = secrets.get(name).ok_or_else(|| changed(name))?;
        let value = self.store.secret_value(owner.uid, &owner.org, key, *version).await?;
        let value = value.ok_or_else(|| changed(name))?;
        let mut labels = owner.labels();
        labels.insert(labels::SECRET_KEY.to_owned(), key.to_string());
        self.engine.secret_create(name, &labels, &SecretString::from(value.expose().to_owned())).await?;
        Ok(())
    }

    /// Reads a service again, right before it is changed, and checks that it is still ours.
    async fn service(&self, desired: &Desired, model: &Model, key: &ReleaseKey) -> Result<Service, ApplyError> {
        let name = model.services.get(key).map(|service| service.name.clone()).ok_or_else(|| changed(key.0.as_str()))?;
        let found = self.engine.service_list(&name).await?;
        found
            .into_iter()
            .find(|service| service.spec.name == name && desired.owner.owns(&service.spec.labels))
            .ok_or_else(|| changed(&name))
    }

    async fn remove_secret(&self, name: &str, desired: &Desired) -> Result<(), ApplyError> {
        let found = self.engine.secret_list(name).await?;
        match found.into_iter().find(|secret| secret.name == name && desired.owner.owns(&secret.labels)) {
            Some(secret) => Ok(gone_is_fine(self.engine.secret_remove(&secret.id).await)?),
            None => Ok(()),
        }
    }

    async fn remove_network(&self, desired: &Desired) -> Result<(), ApplyError> {
        let owner = &desired.owner;
        let name = names::network(&owner.app, owner.uid);
        let found = self.engine.network_list(&name).await?;
        match found.into_iter().find(|network| network.name == name && owner.owns(&network.labels)) {
            Some(network) => Ok(gone_is_fine(self.engine.network_remove(&network.id).await)?),
            None => Ok(()),
        }
    }
}

/// Removing what is gone already is success: the answer to an earlier attempt may have been lost.
fn gone_is_fine(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(EngineError::NotFound { .. }) => Ok(()),
        other => other,
    }
}

fn changed(what: &str) -> ApplyError {
    ApplyError::Changed { what: what.to_owned() }
}
