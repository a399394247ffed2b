//! Updates under load: no request may fail.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use lab::load::Load;
use lab::platform::{IMAGE, Platform};

const HOST: &str = "shop-default.apps.localhost";
/// Requests a second; each on a connection of its own.
const RATE: u32 = 200;

fn manifest(version: u32, replicas: u32) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  image: {IMAGE}\n  env: {{VERSION: \"{version}\"}}\n  processes:\n    web: {{port: 8080, replicas: {replicas}, health: {{path: /healthz}}}}\n  rollout: {{healthWindow: 1s}}\n"
    )
}

async fn three_rollouts(replicas: u32) -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&manifest(1, replicas)).await?;
    let load = Load::start(HOST, RATE);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for version in 2..=4 {
        let begun = Instant::now();
        platform.deploy(&manifest(version, replicas)).await?;
        println!("rollout of version {version} with {replicas} replicas: {:?}", begun.elapsed());
        let (_, body) = platform.get(HOST, "/").await?;
        assert!(body.contains(&format!("{version}")), "version {version} is not what answers: {body}");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    load.stop(1_000).await.with_context(|| format!("{replicas} replicas\n{}", platform.log()))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_rollouts_of_two_replicas_lose_no_request() -> anyhow::Result<()> {
    three_rollouts(2).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_rollouts_of_a_single_replica_lose_no_request() -> anyhow::Result<()> {
    three_rollouts(1).await
}
