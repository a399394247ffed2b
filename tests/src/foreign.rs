//! Services that somebody else runs on the engine: made past the platform, with fields that it does not know.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::models::{
    EndpointPortConfig, EndpointPortConfigPublishModeEnum, EndpointSpec, EndpointSpecModeEnum, HealthConfig, Limit,
    NetworkAttachmentConfig, NetworkCreateRequest, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated, TaskSpec,
    TaskSpecContainerSpec, TaskSpecPlacement, TaskSpecResources, TaskState,
};
use bollard::query_parameters::{InspectServiceOptions, ListTasksOptions};
use tokio::process::Command;

use crate::dockerd::Dockerd;
use crate::platform::IMAGE;

const SECOND: i64 = 1_000_000_000;

impl Dockerd {
    /// Makes an overlay network of somebody else.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub async fn plant_network(&self, name: &str) -> Result<()> {
        let request = NetworkCreateRequest { name: name.to_owned(), driver: Some("overlay".to_owned()), ..Default::default() };
        self.docker()?.create_network(request).await.map(drop)?;
        Ok(())
    }

    /// Runs the sample app as a service of somebody else on a network, behind a published port, with about everything that people set; waits until all its tasks run.
    /// Returns their ids, each with its container's.
    ///
    /// # Errors
    /// When the engine refuses it, or the tasks do not start.
    pub async fn plant_service(&self, name: &str, network: &str, replicas: i64) -> Result<BTreeMap<String, String>> {
        let docker = self.docker()?;
        let image = docker.inspect_image(IMAGE).await?.id.context("an image without an id")?;
        let container = TaskSpecContainerSpec {
            image: Some(image),
            env: Some(vec!["GREETING=from before".to_owned(), "VERSION=7".to_owned(), "PORT=8080".to_owned()]),
            user: Some("1000".to_owned()),
            stop_grace_period: Some(3 * SECOND),
            // A health check that is switched off; the image has no program that could make one.
            health_check: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }),
            ..Default::default()
        };
        let spec = ServiceSpec {
            name: Some(name.to_owned()),
            labels: Some(std::collections::HashMap::from([("team".to_owned(), "them".to_owned())])),
            task_template: Some(TaskSpec {
                container_spec: Some(container),
                resources: Some(TaskSpecResources {
                    limits: Some(Limit { nano_cpus: Some(SECOND / 2), memory_bytes: Some(64 << 20), ..Default::default() }),
                    ..Default::default()
                }),
                placement: Some(TaskSpecPlacement { constraints: Some(vec!["node.role==manager".to_owned()]), ..Default::default() }),
                networks: Some(vec![NetworkAttachmentConfig { target: Some(network.to_owned()), ..Default::default() }]),
                ..Default::default()
            }),
            mode: Some(ServiceSpecMode { replicated: Some(ServiceSpecModeReplicated { replicas: Some(replicas) }), ..Default::default() }),
            endpoint_spec: Some(EndpointSpec {
                mode: Some(EndpointSpecModeEnum::DNSRR),
                ports: Some(vec![EndpointPortConfig {
                    target_port: Some(8080),
                    // The routing mesh needs IPVS, which not every kernel has.
                    publish_mode: Some(EndpointPortConfigPublishModeEnum::HOST),
                    ..Default::default()
                }]),
            }),
            ..Default::default()
        };
        docker.create_service(spec, None).await?;
        self.until_tasks(name, usize::try_from(replicas)?).await
    }

    /// Deploys a stack with the engine's own command line.
    ///
    /// # Errors
    /// When it fails.
    pub async fn stack_deploy(&self, file: &std::path::Path, stack: &str) -> Result<()> {
        let output = Command::new("docker")
            .args(["--host", &self.host(), "stack", "deploy", "--resolve-image", "never", "--compose-file"])
            .arg(file)
            .arg(stack)
            .output()
            .await?;
        ensure!(output.status.success(), "docker stack deploy: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// A service's own health check as the engine keeps it: the client library does not read it.
    ///
    /// # Errors
    /// When there is no such service.
    pub async fn health_check(&self, service: &str) -> Result<String> {
        let format = "{{json .Spec.TaskTemplate.ContainerSpec.Healthcheck}}";
        let output =
            Command::new("docker").args(["--host", &self.host(), "service", "inspect", "--format", format, service]).output().await?;
        ensure!(output.status.success(), "docker service inspect: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Waits until a service has this many running tasks; their ids, each with its container's.
    ///
    /// # Errors
    /// When they do not come within a minute.
    pub async fn until_tasks(&self, service: &str, count: usize) -> Result<BTreeMap<String, String>> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let tasks = self.running_tasks(service).await?;
            if tasks.len() == count {
                return Ok(tasks);
            }
            ensure!(Instant::now() < deadline, "{service} has the tasks {tasks:?}, not {count}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Running tasks of a service, each with its container.
    ///
    /// # Errors
    /// When the engine does not answer, or has no such service.
    pub async fn running_tasks(&self, service: &str) -> Result<BTreeMap<String, String>> {
        let filters = std::collections::HashMap::from([("service".to_owned(), vec![service.to_owned()])]);
        let tasks = self.docker()?.list_tasks(Some(ListTasksOptions { filters: Some(filters) })).await?;
        let running = tasks.into_iter().filter(|task| task.desired_state == Some(TaskState::RUNNING)).filter_map(|task| {
            let status = task.status?;
            let container = status.container_status.and_then(|container| container.container_id).filter(|id| !id.is_empty())?;
            (status.state == Some(TaskState::RUNNING)).then_some((task.id?, container))
        });
        Ok(running.collect())
    }

    /// A service's spec without its labels, as text.
    ///
    /// # Errors
    /// When there is none.
    pub async fn spec_without_labels(&self, service: &str) -> Result<String> {
        let found = self.docker()?.inspect_service(service, None::<InspectServiceOptions>).await?;
        let spec = ServiceSpec { labels: None, ..found.spec.context("a service without a spec")? };
        Ok(serde_json::to_value(&spec)?.to_string())
    }
}
