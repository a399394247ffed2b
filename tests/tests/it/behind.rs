//! A database that was set back, as by restoring a backup: it knows less than runs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use api_types::api::ControllerState::Leading;
use api_types::why::Case;
use api_types::{ConditionStatus, ConditionType, Reason};
use lab::platform::{IMAGE, Platform, says};
use lab::tap::Tap;

const HOST: &str = "shop-default.apps.localhost";
const SOON: Duration = Duration::from_secs(60);

fn manifest(name: &str, version: u32) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  image: {IMAGE}\n  env: {{VERSION: \"{version}\"}}\n  secrets: {{TOKEN: \"value-{version}\"}}\n  processes:\n    web: {{port: 8080, replicas: 1, health: {{path: /healthz}}}}\n  rollout: {{healthWindow: 1s}}\n"
    )
}

async fn ours(platform: &Platform) -> Result<BTreeSet<String>> {
    Ok(platform
        .dockerd
        .everything()
        .await?
        .into_iter()
        .filter(|what| ["shop-", "late-", "quiet-"].iter().any(|name| what.contains(name)))
        .collect())
}

async fn answers(platform: &Platform, version: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let answer = platform.get(HOST, "/").await;
        if answer.as_ref().is_ok_and(|(status, body)| *status == 200 && body.contains(version)) {
            return Ok(());
        }
        ensure!(begun.elapsed() < SOON, "version {version} does not answer: {answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// As the sample app tells a secret that it has.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Case 10 of the faults that the platform is proven against.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_10_a_database_that_was_set_back_deletes_nothing_says_so_and_takes_changes() -> Result<()> {
    let mut platform = Platform::start_apart().await?;
    let tap = Tap::start(platform.dockerd.beside("tap.sock"), &platform.dockerd.beside("docker.sock"))?;
    let mut controller = platform.controller(1, &tap.host())?;
    platform.put_setting("controller.resync_interval", serde_json::json!("1s")).await?;
    controller.start(&[]).await?;
    platform.deploy(&[manifest("shop", 101), manifest("quiet", 101)].join("---\n")).await?;
    controller.stop().await?;
    platform.stop_server().await?;
    platform.database.as_ref().context("a database")?.keep().await?;

    // What is lost: a release, and an app.
    platform.start_server().await?;
    controller.start(&[]).await?;
    platform.deploy(&[manifest("shop", 202), manifest("late", 101)].join("---\n")).await?;
    platform.until_done("shop").await?;
    platform.until_done("late").await?;
    let before = ours(&platform).await?;
    ensure!(before.len() >= 9, "{before:?}");
    controller.kill().await?;
    platform.stop_server().await?;
    platform.database.as_ref().context("a database")?.set_back().await?;

    platform.start_server().await?;
    let written = tap.writes().len();
    controller.start(&[]).await?;
    controller.until(Leading, SOON).await?;
    platform
        .until("shop", SOON, "said to be behind", |app| {
            says(app, ConditionType::Ready, ConditionStatus::Unknown, Reason::StoreBehindCluster)
        })
        .await?;
    let why = platform.why("shop").await?;
    ensure!(why.case == Case::StoreBehindCluster && why.summary.contains("runs generation 2") && !why.next.is_empty(), "{why:?}");
    // What runs is reached, although the database's route is of a release that is gone.
    answers(&platform, "202").await?;
    // Several resyncs later nothing was written to the engine at all.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let writes = tap.writes().split_off(written);
    ensure!(writes.is_empty(), "{writes:?}");
    ensure!(ours(&platform).await? == before, "{:?} instead of {before:?}", ours(&platform).await?);
    let status = platform.skyctl(&["status"]).await?;
    ensure!(status.code == 1 && status.stdout.contains("StoreBehindCluster") && status.stdout.contains("default/shop"), "{status:?}");
    ensure!(platform.until_ready("quiet").await?.metadata.generation == Some(1));

    // A change says what is wanted now, and gets a generation that was never given before.
    let output = platform.skyctl_with(&["apply", "-f", "-", "--wait", "--timeout", "90s"], &manifest("shop", 303)).await?;
    ensure!(output.code == 0, "{output:?}\n{}", controller.log());
    let app = platform.until_done("shop").await?;
    ensure!(app.metadata.generation == Some(3), "{:?}", app.metadata.generation);
    answers(&platform, "303").await?;
    // Its secret is the new one, and not one of a version that was given out before and whose value is another.
    let (_, secret) = platform.get(HOST, "/secret/TOKEN").await?;
    ensure!(secret.contains(&format!("{:016x}", fnv1a(b"value-303"))), "{secret}");
    let left = ours(&platform).await?;
    let of = |name: &str, all: &BTreeSet<String>| all.iter().filter(|what| what.contains(name)).cloned().collect::<Vec<_>>();
    for name in ["late-", "quiet-"] {
        ensure!(of(name, &left) == of(name, &before), "{left:?}");
    }
    ensure!(of("service shop-", &left).len() == 1, "{left:?}");
    let status = platform.skyctl(&["status"]).await?;
    ensure!(!status.stdout.contains("StoreBehindCluster"), "{status:?}");
    Ok(())
}
