//! Updates under load: no request may fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use lab::platform::{IMAGE, Platform};

const HOST: &str = "shop-default.apps.localhost";
/// Requests a second; each on a connection of its own.
const RATE: u32 = 200;

fn manifest(version: u32, replicas: u32) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  image: {IMAGE}\n  env: {{VERSION: \"{version}\"}}\n  processes:\n    web: {{port: 8080, replicas: {replicas}, health: {{path: /healthz}}}}\n  rollout: {{healthWindow: 1s}}\n"
    )
}

#[derive(Default)]
struct Load {
    sent: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

/// Sends requests at a fixed rate until told to stop, at most for two minutes.
async fn load(load: Arc<Load>) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(Duration::from_secs(5)).build()?;
    let end = Instant::now() + Duration::from_secs(120);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut requests = tokio::task::JoinSet::new();
    while !load.stop.load(Ordering::Relaxed) && Instant::now() < end {
        ticks.tick().await;
        let (client, load) = (client.clone(), load.clone());
        requests.spawn(async move {
            load.sent.fetch_add(1, Ordering::Relaxed);
            let answer = client.get("http://127.0.0.1:8080/").header(reqwest::header::HOST, HOST).send().await;
            let text = match answer {
                Ok(answer) if answer.status() == 200 => return,
                Ok(answer) => format!("status {}", answer.status()),
                Err(error) => format!("{error:?}"),
            };
            println!("failed request: {text}");
            load.failed.fetch_add(1, Ordering::Relaxed);
        });
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
    Ok(())
}

async fn three_rollouts(replicas: u32) -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&manifest(1, replicas)).await?;
    let counts = Arc::new(Load::default());
    let task = tokio::spawn(load(counts.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    for version in 2..=4 {
        let begun = Instant::now();
        platform.deploy(&manifest(version, replicas)).await?;
        println!("rollout of version {version} with {replicas} replicas: {:?}", begun.elapsed());
        let (_, body) = platform.get(HOST, "/").await?;
        assert!(body.contains(&format!("{version}")), "version {version} is not what answers: {body}");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    counts.stop.store(true, Ordering::Relaxed);
    task.await??;
    let (sent, failed) = (counts.sent.load(Ordering::Relaxed), counts.failed.load(Ordering::Relaxed));
    println!("{replicas} replicas: {failed} of {sent} requests failed");
    assert!(sent > 1_000, "the load was too small to say anything: {sent}");
    assert_eq!(failed, 0, "of {sent} requests\n{}", platform.log());
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

/// A stream that is open when a rollout begins goes on to its end from the old task, within its grace period.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_open_goes_on_to_its_end_through_a_rollout() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    let manifest = |version| manifest(version, 1).replace("health:", "stopGracePeriod: 20s, health:");
    platform.deploy(&manifest(1)).await?;
    let answer = platform.http_long()?.get("http://127.0.0.1:8080/stream?ms=9000").header(reqwest::header::HOST, HOST).send().await?;
    let begun = Instant::now();
    let reader = tokio::spawn(async move {
        let mut body = answer.bytes_stream();
        let mut text = String::new();
        while let Some(chunk) = body.next().await {
            text.push_str(&String::from_utf8_lossy(&chunk?));
        }
        anyhow::Ok((text.lines().count(), begun.elapsed()))
    });
    platform.deploy(&manifest(2)).await?;
    let (_, body) = platform.get(HOST, "/").await?;
    assert!(body.contains("version: 2"), "new requests go to the new task: {body}");
    println!("the rollout took {:?}", begun.elapsed());
    let (lines, took) = reader.await??;
    println!("the stream had {lines} lines in {took:?}");
    assert_eq!(lines, 90);
    Ok(())
}
