//! Many apps at once: beside the same calls of a bare client, and beside `docker stack deploy` of as many services.
//!
//! None has a replica, because starting containers costs an engine far more than everything that is compared here.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::{ListNetworksOptions, ListServicesOptions};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::process::Command;

use super::{Bench, Extent, Figure, deploy, manifest};
use crate::platform::IMAGE;

const PATIENCE: Duration = Duration::from_secs(240);
/// Between two looks at what is there.
const LOOK: Duration = Duration::from_millis(20);
/// Calls of the bare client at a time: as many runs as a controller has at a time by default.
const CONCURRENCY: usize = 8;
/// How often everything is looked at while nothing is to be done.
const RESYNCS: u64 = 5;

pub(super) async fn measure(bench: &Bench, extent: &Extent) -> Result<Vec<Figure>> {
    let client = Client::new(bench).await?;
    let file = bench.platform.data_dir.join("stack.yaml");
    tokio::fs::write(&file, stack(extent.apps)).await?;
    let (mut ours, mut bare, mut deployed, mut again) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..extent.bulks {
        ours.push(apps(bench, &client, extent.apps).await?);
        client.until_gone(bench).await?;
        bare.push(client.bare(extent.apps).await?);
        client.remove_bare(extent.apps).await?;
        client.until_gone(bench).await?;
        let (first, second) = client.stack(bench, &file, extent.apps).await?;
        deployed.push(first);
        again.push(second);
        client.until_gone(bench).await?;
    }
    let resync = resync(bench, &client, extent.apps).await?;
    let ratio = |of: &[f64], to: &[f64]| of.iter().zip(to).map(|(of, to)| of / to).collect::<Vec<f64>>();
    let noop: Vec<f64> = again.iter().map(|again| resync / again).collect();
    Ok(vec![
        Figure::of("converge_ratio", "ratio", &ratio(&ours, &bare)).at_most(2.0),
        Figure::of("stack_ratio", "ratio", &ratio(&ours, &deployed)).at_most(0.5),
        Figure::of("noop_ratio", "ratio", &noop).at_most(0.1),
        Figure::of("converge_ms", "ms", &ours),
        Figure::of("bare_bulk_ms", "ms", &bare),
        Figure::of("stack_deploy_ms", "ms", &deployed),
        Figure::of("stack_again_ms", "ms", &again),
        Figure::of("resync_ms", "ms", &[resync]),
    ])
}

fn name(number: usize) -> String {
    format!("bulk-{number}")
}

fn manifests(count: usize) -> String {
    (0..count).map(|number| manifest(&name(number), 0, 0)).collect::<Vec<_>>().join("---\n")
}

/// A stack of as many services, each on a network of its own.
fn stack(count: usize) -> String {
    let mut text = String::from("version: '3.8'\nservices:\n");
    for number in 0..count {
        let _ = write!(
            text,
            "  s{number}:\n    image: {IMAGE}\n    environment: {{PORT: '8080'}}\n    networks: [n{number}]\n    \
             deploy: {{replicas: 0, endpoint_mode: dnsrr}}\n"
        );
    }
    text.push_str("networks:\n");
    for number in 0..count {
        let _ = writeln!(text, "  n{number}: {{driver: overlay}}");
    }
    text
}

/// From before the apps are sent until each has its network and its service.
async fn apps(bench: &Bench, client: &Client, count: usize) -> Result<f64> {
    let text = manifests(count);
    let begun = Instant::now();
    bench.platform.apply(&text).await?;
    client.until(bench, count).await?;
    let took = begun.elapsed();
    remove_apps(bench, count).await?;
    Ok(took.as_secs_f64() * 1e3)
}

async fn remove_apps(bench: &Bench, count: usize) -> Result<()> {
    let deleted = bench.platform.skyctl_with(&["delete", "-f", "-"], &manifests(count)).await?;
    ensure!(deleted.code == 0, "{deleted:?}");
    Ok(())
}

/// What one look at all apps costs while there is nothing to do: the look itself, and the runs that it leads to.
async fn resync(bench: &Bench, client: &Client, count: usize) -> Result<f64> {
    bench.platform.apply(&manifests(count)).await?;
    client.until(bench, count).await?;
    super::idle::at_rest(bench).await?;
    bench.platform.put_setting("controller.resync_interval", "1s".into()).await?;
    // The first two find out that there is nothing to do.
    let quiet = counted(bench).await?.0 + 3.0;
    let mut before = until_resyncs(bench, quiet).await?;
    let until = before.0 + f64::from(u32::try_from(RESYNCS)?);
    let after = until_resyncs(bench, until).await?;
    bench.platform.put_setting("controller.resync_interval", "30s".into()).await?;
    remove_apps(bench, count).await?;
    client.until_gone(bench).await?;
    before.0 = after.0 - before.0;
    Ok((after.1 - before.1) / before.0 * 1e3)
}

async fn until_resyncs(bench: &Bench, number: f64) -> Result<(f64, f64)> {
    let begun = Instant::now();
    loop {
        let found = counted(bench).await?;
        if found.0 >= number {
            return Ok(found);
        }
        ensure!(begun.elapsed() < PATIENCE, "no resync:\n{}", bench.platform.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How many resyncs of apps there were, and the seconds that they and all runs took.
async fn counted(bench: &Bench) -> Result<(f64, f64)> {
    let text = bench.platform.metrics().await?;
    let value = |name: &str| -> Result<f64> {
        let line = format!("skyswarm_reconcile_{name}{{controller=\"app\"}} ");
        let found = text.lines().find_map(|text| text.strip_prefix(&line)).with_context(|| format!("no {line}"))?;
        Ok(found.trim().parse()?)
    };
    let seconds = value("resync_duration_seconds_sum")? + value("duration_seconds_sum")?;
    Ok((value("resync_duration_seconds_count")?, seconds))
}

/// A client that does nothing but what has to be done.
struct Client {
    /// Through the tap, as the server's calls go.
    docker: Docker,
    /// The engine itself.
    engine: Docker,
    /// Services and networks that were there before.
    before: (usize, usize),
}

impl Client {
    async fn new(bench: &Bench) -> Result<Self> {
        let docker = Docker::connect_with_unix(&bench.tap.host(), 60, API_DEFAULT_VERSION)?;
        let mut client = Self { docker, engine: bench.platform.dockerd.docker()?, before: (0, 0) };
        client.before = client.there().await?;
        Ok(client)
    }

    /// From the first network to the last service.
    async fn bare(&self, count: usize) -> Result<f64> {
        let image = self.engine.inspect_image(IMAGE).await?.id.context("an image without an id")?;
        let begun = Instant::now();
        let made = (0..count).map(|number| {
            let image = image.clone();
            async move {
                let driver = Some("overlay".to_owned());
                let network = NetworkCreateRequest { name: name(number), driver, ..Default::default() };
                let network = self.docker.create_network(network).await?.id;
                self.docker.create_service(deploy::spec(&name(number), image, &network, 0), None).await?;
                Ok::<_, anyhow::Error>(())
            }
        });
        stream::iter(made).buffer_unordered(CONCURRENCY).try_collect::<Vec<()>>().await?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    }

    async fn remove_bare(&self, count: usize) -> Result<()> {
        let gone = (0..count).map(|number| async move {
            self.engine.delete_service(&name(number)).await?;
            Ok::<_, anyhow::Error>(self.engine.remove_network(&name(number)).await?)
        });
        stream::iter(gone).buffer_unordered(CONCURRENCY).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// What the engine's own client takes for the stack, and for the same stack once more.
    async fn stack(&self, bench: &Bench, file: &Path, count: usize) -> Result<(f64, f64)> {
        let file = file.to_str().context("a path in UTF-8")?;
        let deploy = ["stack", "deploy", "--resolve-image", "never", "-c", file, "bench"];
        let begun = Instant::now();
        docker(bench, &deploy).await?;
        self.until(bench, count).await?;
        let first = begun.elapsed();
        let begun = Instant::now();
        docker(bench, &deploy).await?;
        let second = begun.elapsed();
        docker(bench, &["stack", "rm", "bench"]).await?;
        Ok((first.as_secs_f64() * 1e3, second.as_secs_f64() * 1e3))
    }

    /// Waits until so many services and networks are there.
    async fn until(&self, bench: &Bench, count: usize) -> Result<()> {
        self.wait(bench, |services, networks| services >= count && networks >= count).await
    }

    async fn until_gone(&self, bench: &Bench) -> Result<()> {
        self.wait(bench, |services, networks| services == 0 && networks == 0).await
    }

    /// How many services and networks there are.
    async fn there(&self) -> Result<(usize, usize)> {
        let services = self.engine.list_services(None::<ListServicesOptions>).await?.len();
        let networks = self.engine.list_networks(None::<ListNetworksOptions>).await?;
        let is_meant = |network: &&bollard::models::Network| network.driver.as_deref() == Some("overlay") && network.ingress != Some(true);
        Ok((services, networks.iter().filter(is_meant).count()))
    }

    async fn wait(&self, bench: &Bench, done: impl Fn(usize, usize) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            let (services, networks) = self.there().await?;
            let (services, networks) = (services.saturating_sub(self.before.0), networks.saturating_sub(self.before.1));
            if done(services, networks) {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "{services} services and {networks} networks:\n{}", bench.platform.log());
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn docker(bench: &Bench, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("docker");
    command.args(arguments).env("DOCKER_HOST", bench.platform.dockerd.host()).env("DOCKER_CONFIG", &bench.platform.data_dir);
    let output = tokio::time::timeout(PATIENCE, command.output()).await?.context("docker")?;
    ensure!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
