//! A Docker Engine in Swarm mode, through its HTTP API.
//!
//! Every unary call ends by a deadline of ours, because the client library's own covers only the time until
//! the first header. Reads are not retried here and writes never are: after a deadline nobody knows whether
//! a write landed, and only the caller can look. Every write takes a token from one bucket, so share one
//! [`DockerSwarm`] (it is cheap to clone) instead of connecting twice.

mod events;
mod images;
mod lines;
mod logs;
mod memory;
mod networks;
mod raw;
mod secrets;
mod services;
mod stats;
mod system;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use api_types::ImageRef;
use api_types::kinds::app::ImagePullPolicy;
use api_types::kinds::node::Availability;
use async_trait::async_trait;
use bollard::Docker;
use futures::stream::BoxStream;
use secrecy::SecretString;
use tokio::sync::OnceCell;

use super::bucket::TokenBucket;
use super::classify::{Target, classify_client};
use super::metrics::{Call, EngineMetrics};
use super::{
    ContainerUsage, EngineError, EngineHint, EngineInfo, EngineResult, ForeignService, ImageResolution, LogQuery, LogRecord, Network,
    NetworkSpec, Secret, Service, ServiceHead, ServiceSelection, ServiceSpec, SwarmEngine, SwarmInit, SwarmNode, Task, labels,
};
use crate::clock::{SharedEntropy, SystemEntropy};

/// Deadlines and rates of the engine's client.
#[derive(Clone)]
pub struct EngineOptions {
    /// Deadline of a call that only reads.
    pub read_deadline: Duration,
    /// Deadline of a call that changes something; the engine's own limit is 20 s.
    pub write_deadline: Duration,
    /// How long a registry may take to say what a tag means.
    pub registry_deadline: Duration,
    /// Writes per second, over all callers.
    pub writes_per_second: u32,
    /// Writes that may come at once.
    pub write_burst: u32,
    /// First wait before the event stream connects again; doubles up to `reconnect_cap`, with jitter.
    pub reconnect_base: Duration,
    /// Longest wait before the event stream connects again.
    pub reconnect_cap: Duration,
    /// How often a followed service is searched for new tasks.
    pub log_poll: Duration,
    /// Where jitter comes from.
    pub entropy: SharedEntropy,
    /// Where calls are counted.
    pub metrics: EngineMetrics,
    /// Asked right before a request is sent that changes something. Making a Swarm is not such a one: nobody leads yet.
    pub may_write: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            read_deadline: Duration::from_secs(10),
            write_deadline: Duration::from_secs(20),
            registry_deadline: Duration::from_secs(10),
            writes_per_second: 1_000,
            write_burst: 50,
            reconnect_base: Duration::from_millis(200),
            reconnect_cap: Duration::from_secs(10),
            log_poll: Duration::from_secs(1),
            entropy: Arc::new(SystemEntropy),
            metrics: EngineMetrics::default(),
            may_write: Arc::new(|| true),
        }
    }
}

impl std::fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineOptions")
            .field("read_deadline", &self.read_deadline)
            .field("write_deadline", &self.write_deadline)
            .field("writes_per_second", &self.writes_per_second)
            .finish_non_exhaustive()
    }
}

/// The engine behind one address.
#[derive(Clone)]
pub struct DockerSwarm {
    inner: Arc<Inner>,
}

struct Inner {
    docker: Docker,
    address: Address,
    options: EngineOptions,
    bucket: TokenBucket,
    /// Network names by id. Ids are never reused and names never change, so an entry stays true.
    network_names: RwLock<HashMap<String, String>>,
    has_init: OnceCell<bool>,
    /// What is known of how containers ended, by id.
    ends: memory::Ends,
}

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// A socket file.
    Unix(String),
    /// `host:port`.
    Tcp(String),
}

impl Address {
    fn parse(docker_host: &str) -> Result<Self, EngineError> {
        let invalid = || EngineError::Invalid {
            what: "the engine's address".to_owned(),
            message: format!("\"{docker_host}\" is neither unix:///path nor tcp://host:port"),
        };
        if let Some(path) = docker_host.strip_prefix("unix://") {
            return if path.starts_with('/') { Ok(Self::Unix(path.to_owned())) } else { Err(invalid()) };
        }
        let authority = docker_host.strip_prefix("tcp://").ok_or_else(invalid)?.trim_end_matches('/');
        let port_ok = authority.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if port_ok { Ok(Self::Tcp(authority.to_owned())) } else { Err(invalid()) }
    }
}

impl std::fmt::Debug for DockerSwarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DockerSwarm").field("address", &self.inner.address).finish_non_exhaustive()
    }
}

impl DockerSwarm {
    /// Prepares a client for `unix:///path` or `tcp://host:port`. Nothing is sent yet, except that a socket
    /// file has to exist.
    ///
    /// # Errors
    /// `Invalid` for another kind of address, `Unreachable` when there is no socket file.
    pub fn connect(docker_host: &str, options: EngineOptions) -> Result<Self, EngineError> {
        let address = Address::parse(docker_host)?;
        // Until the first header only; the deadlines above are shorter. Streams rely on it.
        let header_seconds = 60;
        let docker = match &address {
            Address::Unix(path) => Docker::connect_with_unix(path, header_seconds, bollard::API_DEFAULT_VERSION),
            Address::Tcp(authority) => {
                Docker::connect_with_http(&format!("tcp://{authority}"), header_seconds, bollard::API_DEFAULT_VERSION)
            }
        };
        let docker = docker.map_err(|error| classify_client(&Target::new("engine at", docker_host), &error))?;
        let bucket = TokenBucket::new(options.writes_per_second, options.write_burst);
        let inner = Inner {
            docker,
            address,
            options,
            bucket,
            network_names: RwLock::default(),
            has_init: OnceCell::new(),
            ends: memory::Ends::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn docker(&self) -> &Docker {
        &self.inner.docker
    }

    /// A call that only reads.
    async fn read<T>(&self, call: Call, target: &Target, answer: impl Future<Output = Answer<T>>) -> EngineResult<T> {
        let options = &self.inner.options;
        options.metrics.count(call, within(target, options.read_deadline, answer)).await
    }

    /// A call that changes something: waits for its token first.
    async fn write<T>(&self, call: Call, target: &Target, answer: impl Future<Output = Answer<T>>) -> EngineResult<T> {
        let options = &self.inner.options;
        self.inner.bucket.take().await;
        // After all that was waited for, and as near to the request as can be: the future that sends it was made,
        // but is polled only now.
        if !(options.may_write)() {
            return options.metrics.count(call, async { Err(EngineError::NotLeading { what: target.to_string() }) }).await;
        }
        options.metrics.count(call, within(target, options.write_deadline, answer)).await
    }

    fn cached_network_name(&self, id: &str) -> Option<String> {
        self.inner.network_names.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn remember_networks<'a>(&self, networks: impl Iterator<Item = (&'a str, &'a str)>) {
        /// Far above what one Swarm can hold at a time; only a bound on what churn leaves behind.
        const MOST: usize = 50_000;
        let mut names = self.inner.network_names.write().unwrap_or_else(PoisonError::into_inner);
        if names.len() > MOST {
            names.clear();
        }
        names.extend(networks.map(|(id, name)| (id.to_owned(), name.to_owned())));
    }
}

/// What the client library says.
type Answer<T> = Result<T, bollard::errors::Error>;

async fn within<T>(target: &Target, deadline: Duration, answer: impl Future<Output = Answer<T>>) -> EngineResult<T> {
    match tokio::time::timeout(deadline, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(classify_client(target, &error)),
        Err(_) => Err(EngineError::Unreachable { what: target.to_string(), message: format!("no answer within {deadline:?}") }),
    }
}

/// The filter that a listing sends: by name where there is one, else by our label.
fn list_filter(prefix: &str) -> HashMap<String, Vec<String>> {
    if prefix.is_empty() {
        HashMap::from([("label".to_owned(), vec![format!("{}={}", labels::MANAGED_BY, labels::MANAGED_BY_VALUE)])])
    } else {
        HashMap::from([("name".to_owned(), vec![prefix.to_owned()])])
    }
}

#[async_trait]
impl SwarmEngine for DockerSwarm {
    async fn info(&self) -> EngineResult<EngineInfo> {
        self.engine_info().await
    }
    async fn init(&self, init: &SwarmInit) -> EngineResult<()> {
        self.swarm_init(init).await
    }
    async fn node_list(&self) -> EngineResult<Vec<SwarmNode>> {
        self.nodes().await
    }
    async fn node_set_availability(&self, id: &str, availability: Availability) -> EngineResult<()> {
        self.set_node_availability(id, availability).await
    }
    async fn service_list(&self, prefix: &str) -> EngineResult<Vec<Service>> {
        self.services(prefix).await
    }
    async fn service_heads(&self) -> EngineResult<Vec<ServiceHead>> {
        self.heads_of_services().await
    }
    async fn service_labels(&self, name: &str) -> EngineResult<Option<BTreeMap<String, String>>> {
        self.labels_of_service(name).await
    }
    async fn service_find(&self, wanted: &ServiceSelection) -> EngineResult<Vec<ForeignService>> {
        self.foreign_services(wanted).await
    }
    async fn service_create(&self, spec: &ServiceSpec) -> EngineResult<String> {
        self.create_service(spec).await
    }
    async fn service_update(&self, id: &str, version: u64, spec: &ServiceSpec) -> EngineResult<()> {
        self.update_service(id, version, spec).await
    }
    async fn service_remove(&self, id: &str) -> EngineResult<()> {
        self.write(Call::ServiceRemove, &Target::new("service", id), self.docker().delete_service(id)).await
    }
    async fn task_list(&self, service_ids: &[String]) -> EngineResult<Vec<Task>> {
        self.tasks(service_ids).await
    }
    async fn network_list(&self, name: &str) -> EngineResult<Vec<Network>> {
        self.networks(name).await
    }
    async fn network_create(&self, spec: &NetworkSpec) -> EngineResult<String> {
        self.create_network(spec).await
    }
    async fn network_remove(&self, id: &str) -> EngineResult<()> {
        self.write(Call::NetworkRemove, &Target::new("network", id), self.docker().remove_network(id)).await
    }
    async fn secret_list(&self, prefix: &str) -> EngineResult<Vec<Secret>> {
        self.secrets(prefix).await
    }
    async fn secret_create(&self, name: &str, labels: &BTreeMap<String, String>, value: &SecretString) -> EngineResult<String> {
        self.create_secret(name, labels, value).await
    }
    async fn secret_remove(&self, id: &str) -> EngineResult<()> {
        self.write(Call::SecretRemove, &Target::new("secret", id), self.docker().delete_secret(id)).await
    }
    async fn gateway_addresses(&self) -> EngineResult<BTreeMap<String, IpAddr>> {
        self.addresses_on_gateway().await
    }
    async fn ran_out_of_memory(&self, container_id: &str) -> EngineResult<Option<bool>> {
        self.container_ran_out_of_memory(container_id).await
    }
    async fn container_usage(&self, id: &str) -> EngineResult<ContainerUsage> {
        self.usage_of(id).await
    }
    async fn image_resolve(&self, image: &ImageRef, policy: ImagePullPolicy) -> EngineResult<ImageResolution> {
        self.resolve_image(image, policy).await
    }
    fn hints(&self) -> BoxStream<'static, EngineHint> {
        events::hints(self.clone())
    }
    async fn logs(&self, query: &LogQuery) -> EngineResult<BoxStream<'static, EngineResult<LogRecord>>> {
        self.service_logs(query).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_socket_or_a_host_with_a_port() {
        assert_eq!(Address::parse("unix:///run/docker.sock").ok(), Some(Address::Unix("/run/docker.sock".into())));
        assert_eq!(Address::parse("tcp://127.0.0.1:2375/").ok(), Some(Address::Tcp("127.0.0.1:2375".into())));
        for bad in ["", "/run/docker.sock", "unix://relative", "http://x:1", "tcp://host", "tcp://:1", "tcp://host:port", "ssh://x"] {
            assert!(matches!(Address::parse(bad), Err(EngineError::Invalid { .. })), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_call_without_an_answer_ends_by_its_deadline() {
        tokio::time::pause();
        let never = std::future::pending::<Result<(), bollard::errors::Error>>();
        let result = within(&Target::of("info"), Duration::from_secs(10), never).await;
        assert!(matches!(result, Err(EngineError::Unreachable { .. })), "{result:?}");
    }
}
