//! A Swarm engine whose writes pass the effects boundary, and whose lists can be made old.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use api_types::ImageRef;
use api_types::kinds::app::ImagePullPolicy;
use api_types::kinds::node::Availability;
use async_trait::async_trait;
use futures::stream::BoxStream;
use secrecy::SecretString;

use super::{
    ContainerUsage, EngineError, EngineHint, EngineInfo, EngineResult, ForeignService, ImageResolution, LogQuery, LogRecord, Network,
    NetworkSpec, Secret, Service, ServiceSelection, ServiceSpec, SwarmEngine, SwarmInit, SwarmNode, Task,
};
use crate::effects::{Effect, Effects, Injected, Kind};

impl Injected for EngineError {
    fn lost(effect: &Effect) -> Self {
        Self::Unreachable { what: effect.to_string(), message: "the answer was lost (injected)".to_owned() }
    }
    fn refused(effect: &Effect) -> Self {
        Self::Other { what: effect.to_string(), status: 500, message: "it was not done (injected)".to_owned() }
    }
    fn half(effect: &Effect) -> Self {
        Self::Other { what: effect.to_string(), status: 200, message: "EOF while parsing the answer (injected)".to_owned() }
    }
}

/// The last answers of the lists, by what was asked for.
#[derive(Debug, Default)]
struct Answers {
    services: BTreeMap<String, Vec<Service>>,
    tasks: BTreeMap<String, Vec<Task>>,
    networks: BTreeMap<String, Vec<Network>>,
    secrets: BTreeMap<String, Vec<Secret>>,
}

/// See the module.
pub struct InjectedSwarm {
    inner: Arc<dyn SwarmEngine>,
    effects: Effects,
    answers: Mutex<Answers>,
}

impl InjectedSwarm {
    /// Puts the boundary before an engine. Without an injector the engine is given back as it is.
    pub fn wrap(inner: Arc<dyn SwarmEngine>, effects: &Effects) -> Arc<dyn SwarmEngine> {
        if !effects.is_injected() {
            return inner;
        }
        Arc::new(Self { inner, effects: effects.clone(), answers: Mutex::default() })
    }

    /// A new answer, or the last one when reads are to be old.
    async fn read<T: Clone>(
        &self,
        key: String,
        field: fn(&mut Answers) -> &mut BTreeMap<String, Vec<T>>,
        read: impl Future<Output = EngineResult<Vec<T>>>,
    ) -> EngineResult<Vec<T>> {
        if self.effects.take_stale_read() {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(old) = field(&mut answers).get(&key) {
                return Ok(old.clone());
            }
        }
        let answer = read.await?;
        field(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner)).insert(key, answer.clone());
        Ok(answer)
    }
}

#[async_trait]
impl SwarmEngine for InjectedSwarm {
    async fn info(&self) -> EngineResult<EngineInfo> {
        self.inner.info().await
    }
    async fn init(&self, init: &SwarmInit) -> EngineResult<()> {
        self.inner.init(init).await
    }
    async fn node_list(&self) -> EngineResult<Vec<SwarmNode>> {
        self.inner.node_list().await
    }
    async fn node_set_availability(&self, id: &str, availability: Availability) -> EngineResult<()> {
        self.effects.run(Kind::NodeUpdate, id, || self.inner.node_set_availability(id, availability)).await
    }
    async fn service_list(&self, prefix: &str) -> EngineResult<Vec<Service>> {
        self.read(prefix.to_owned(), |answers| &mut answers.services, self.inner.service_list(prefix)).await
    }
    async fn service_labels(&self, name: &str) -> EngineResult<Option<BTreeMap<String, String>>> {
        self.inner.service_labels(name).await
    }
    async fn service_find(&self, wanted: &ServiceSelection) -> EngineResult<Vec<ForeignService>> {
        self.inner.service_find(wanted).await
    }
    async fn service_create(&self, spec: &ServiceSpec) -> EngineResult<String> {
        self.effects.run(Kind::ServiceCreate, &spec.name, || self.inner.service_create(spec)).await
    }
    async fn service_update(&self, id: &str, version: u64, spec: &ServiceSpec) -> EngineResult<()> {
        self.effects.run(Kind::ServiceUpdate, &spec.name, || self.inner.service_update(id, version, spec)).await
    }
    async fn service_remove(&self, id: &str) -> EngineResult<()> {
        self.effects.run(Kind::ServiceRemove, id, || self.inner.service_remove(id)).await
    }
    async fn task_list(&self, service_ids: &[String]) -> EngineResult<Vec<Task>> {
        self.read(service_ids.join(" "), |answers| &mut answers.tasks, self.inner.task_list(service_ids)).await
    }
    async fn network_list(&self, prefix: &str) -> EngineResult<Vec<Network>> {
        self.read(prefix.to_owned(), |answers| &mut answers.networks, self.inner.network_list(prefix)).await
    }
    async fn network_create(&self, spec: &NetworkSpec) -> EngineResult<String> {
        self.effects.run(Kind::NetworkCreate, &spec.name, || self.inner.network_create(spec)).await
    }
    async fn network_remove(&self, id: &str) -> EngineResult<()> {
        self.effects.run(Kind::NetworkRemove, id, || self.inner.network_remove(id)).await
    }
    async fn secret_list(&self, prefix: &str) -> EngineResult<Vec<Secret>> {
        self.read(prefix.to_owned(), |answers| &mut answers.secrets, self.inner.secret_list(prefix)).await
    }
    async fn secret_create(&self, name: &str, labels: &BTreeMap<String, String>, value: &SecretString) -> EngineResult<String> {
        self.effects.run(Kind::SecretCreate, name, || self.inner.secret_create(name, labels, value)).await
    }
    async fn secret_remove(&self, id: &str) -> EngineResult<()> {
        self.effects.run(Kind::SecretRemove, id, || self.inner.secret_remove(id)).await
    }
    async fn gateway_addresses(&self) -> EngineResult<BTreeMap<String, IpAddr>> {
        self.inner.gateway_addresses().await
    }
    async fn ran_out_of_memory(&self, container_id: &str) -> EngineResult<Option<bool>> {
        self.inner.ran_out_of_memory(container_id).await
    }
    async fn container_usage(&self, id: &str) -> EngineResult<ContainerUsage> {
        self.inner.container_usage(id).await
    }
    async fn image_resolve(&self, image: &ImageRef, policy: ImagePullPolicy) -> EngineResult<ImageResolution> {
        self.inner.image_resolve(image, policy).await
    }
    fn hints(&self) -> BoxStream<'static, EngineHint> {
        self.inner.hints()
    }
    async fn logs(&self, query: &LogQuery) -> EngineResult<BoxStream<'static, EngineResult<LogRecord>>> {
        self.inner.logs(query).await
    }
}
