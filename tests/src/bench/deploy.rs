//! From an app's creation to its first answer, beside what the engine alone needs for a service of the same kind.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use bollard::models::{
    EndpointSpec, EndpointSpecModeEnum, NetworkAttachmentConfig, NetworkCreateRequest, ServiceSpec, ServiceSpecMode,
    ServiceSpecModeReplicated, TaskSpec, TaskSpecContainerSpec, TaskState,
};
use bollard::query_parameters::ListTasksOptions;

use super::{Bench, Extent, Figure, manifest};
use crate::platform::IMAGE;

const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks, on both sides of the comparison.
const LOOK: Duration = Duration::from_millis(10);

pub(super) async fn measure(bench: &Bench, extent: &Extent) -> Result<Vec<Figure>> {
    let (mut bare, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // The first of both is paid for by whatever is cold.
    for round in 0..=extent.pairs {
        let (one, two) = if round % 2 == 0 {
            let one = bare_service(bench, round).await?;
            (one, deploy(bench, round).await?)
        } else {
            let two = deploy(bench, round).await?;
            (bare_service(bench, round).await?, two)
        };
        if round > 0 {
            bare.push(one);
            ours.push(two);
            ratios.push(two / one);
        }
    }
    Ok(vec![
        Figure::of("deploy_ratio", "ratio", &ratios).at_most(1.25),
        Figure::of("deploy_ms", "ms", &ours),
        Figure::of("bare_service_ms", "ms", &bare),
    ])
}

/// From before the app is sent to its first 200 through the edge.
async fn deploy(bench: &Bench, round: usize) -> Result<f64> {
    let name = format!("deploy-{round}");
    let host = format!("{name}-default.apps.localhost");
    let begun = Instant::now();
    bench.platform.put_app(&manifest(&name, 1, 0)).await?;
    loop {
        if bench.platform.get(&host, "/").await.is_ok_and(|(status, _)| status == 200) {
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "{host} does not answer:\n{}", bench.platform.log());
        tokio::time::sleep(LOOK).await;
    }
    let took = begun.elapsed();
    bench.platform.until_ready(&name).await?;
    let deleted = bench.platform.skyctl(&["delete", "app", &name, "--wait"]).await?;
    ensure!(deleted.code == 0, "{deleted:?}");
    quiet(bench).await?;
    Ok(took.as_secs_f64() * 1e3)
}

/// From before the network is asked for to the task that runs.
async fn bare_service(bench: &Bench, round: usize) -> Result<f64> {
    let docker = bench.platform.dockerd.docker()?;
    let image = docker.inspect_image(IMAGE).await?.id.context("an image without an id")?;
    let name = format!("bare-{round}");
    let begun = Instant::now();
    let network = NetworkCreateRequest { name: name.clone(), driver: Some("overlay".to_owned()), ..Default::default() };
    let network = docker.create_network(network).await?.id;
    let service = docker.create_service(spec(&name, image, &network, 1), None).await?.id.context("a service without an id")?;
    while !runs(&docker, &name).await? {
        ensure!(begun.elapsed() < PATIENCE, "service {name} does not run");
        tokio::time::sleep(LOOK).await;
    }
    let took = begun.elapsed();
    docker.delete_service(&service).await?;
    quiet(bench).await?;
    docker.remove_network(&network).await?;
    Ok(took.as_secs_f64() * 1e3)
}

pub(super) fn spec(name: &str, image: String, network: &str, replicas: i64) -> ServiceSpec {
    ServiceSpec {
        name: Some(name.to_owned()),
        task_template: Some(TaskSpec {
            container_spec: Some(TaskSpecContainerSpec {
                image: Some(image),
                env: Some(vec!["PORT=8080".to_owned()]),
                ..Default::default()
            }),
            networks: Some(vec![NetworkAttachmentConfig { target: Some(network.to_owned()), ..Default::default() }]),
            ..Default::default()
        }),
        mode: Some(ServiceSpecMode { replicated: Some(ServiceSpecModeReplicated { replicas: Some(replicas) }), ..Default::default() }),
        endpoint_spec: Some(EndpointSpec { mode: Some(EndpointSpecModeEnum::DNSRR), ..Default::default() }),
        ..Default::default()
    }
}

async fn runs(docker: &Docker, service: &str) -> Result<bool> {
    let filters = HashMap::from([("service".to_owned(), vec![service.to_owned()])]);
    let tasks = docker.list_tasks(Some(ListTasksOptions { filters: Some(filters) })).await?;
    Ok(tasks.iter().any(|task| task.status.as_ref().is_some_and(|status| status.state == Some(TaskState::RUNNING))))
}

/// Waits until no container runs, so that the next one starts on a machine at rest.
async fn quiet(bench: &Bench) -> Result<()> {
    let begun = Instant::now();
    while bench.platform.dockerd.running_containers().await? > 0 {
        ensure!(begun.elapsed() < PATIENCE, "containers do not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(())
}
