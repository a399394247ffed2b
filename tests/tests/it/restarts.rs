//! Parts that die in the middle: what was wanted still comes about, and the status never lies.

use std::time::{Duration, Instant};

use lab::platform::{IMAGE, Platform, is_ready};

const HOST: &str = "shop-default.apps.localhost";

fn manifest(version: u32) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  image: {IMAGE}\n  env: {{VERSION: \"{version}\"}}\n  processes:\n    web: {{port: 8080, replicas: 2, health: {{path: /healthz}}}}\n  rollout: {{healthWindow: 1s}}\n"
    )
}

async fn serves(platform: &Platform, version: u32) -> anyhow::Result<()> {
    platform.until_ready("shop").await?;
    let (status, body) = platform.get(HOST, "/").await?;
    assert!(status == 200 && body.contains(&version.to_string()), "{status} {body}");
    platform.until_done("shop").await?;
    assert_eq!(platform.dockerd.service_names().await?.len(), 1, "a release is left over");
    Ok(())
}

#[tokio::test]
async fn the_server_is_killed_again_and_again_during_a_rollout() -> anyhow::Result<()> {
    let mut platform = Platform::start().await?;
    platform.deploy(&manifest(1)).await?;
    for (version, delay) in [(2, 30), (3, 400), (4, 1_200)] {
        platform.apply(&manifest(version)).await?;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        platform.kill_server().await?;
        platform.start_server().await?;
        serves(&platform, version).await?;
    }
    Ok(())
}

#[tokio::test]
async fn postgres_is_killed_during_a_rollout() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&manifest(1)).await?;
    platform.apply(&manifest(2)).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    platform.kill_postgres().await?;
    // The edge does not need the database.
    assert_eq!(platform.get(HOST, "/").await?.0, 200);
    serves(&platform, 2).await
}

#[tokio::test]
async fn the_proxy_is_killed_during_a_rollout() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&manifest(1)).await?;
    platform.apply(&manifest(2)).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    platform.kill_traefik().await?;
    let back = platform.until_status(HOST, 200, Duration::from_secs(10)).await?;
    println!("the proxy serves again after {back:?}");
    serves(&platform, 2).await
}

/// Case 17 of the faults that the platform is proven against.
#[tokio::test]
async fn case_17_the_engine_is_killed_during_a_rollout_and_nobody_says_ready_while_nothing_answers() -> anyhow::Result<()> {
    let mut platform = Platform::start().await?;
    platform.deploy(&manifest(1)).await?;
    platform.apply(&manifest(2)).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    platform.dockerd.kill9().await?;
    platform.dockerd.restart().await?;
    // While nothing answers, nobody may say Ready.
    let begun = Instant::now();
    loop {
        let app = platform.app("shop").await?;
        let answers = platform.get(HOST, "/").await.is_ok_and(|(status, _)| status == 200);
        if is_ready(&app) {
            // One more look: the app may have come up between the two questions.
            let now = answers || platform.get(HOST, "/").await.is_ok_and(|(status, _)| status == 200);
            assert!(now, "Ready although nothing answers: {app:#?}");
            if app.metadata.generation == Some(2) && begun.elapsed() > Duration::from_secs(5) {
                break;
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "not ready: {app:#?}\n{}", platform.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("ready {:?} after the engine was killed", begun.elapsed());
    serves(&platform, 2).await
}

/// Case 8 of the faults that the platform is proven against: the notification of a change is lost with the connection that would have
/// brought it. No periodic resync helps here: it is made to come in an hour.
#[tokio::test]
async fn case_8_no_change_is_lost_with_the_listener_or_the_database() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.put_setting("controller.resync_interval", serde_json::json!("1h")).await?;
    platform.deploy(&manifest(11)).await?;
    let listeners = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query ILIKE 'listen%'";
    for version in [12, 13] {
        // All that listen are cut right before the change is committed, so nobody hears of it.
        let cut: u32 = platform.sql(listeners).await?.trim().parse()?;
        platform.put_app(&manifest(version)).await?;
        let begun = Instant::now();
        serves(&platform, version).await?;
        println!("{cut} listeners were cut; the change was done {:?} later", begun.elapsed());
        assert!(cut > 0, "nobody listened");
    }
    platform.put_app(&manifest(14)).await?;
    platform.kill_postgres().await?;
    let begun = Instant::now();
    serves(&platform, 14).await?;
    println!("the change was done {:?} after the database was killed", begun.elapsed());
    let log = std::fs::read_to_string(platform.data_dir.with_extension("log"))?;
    assert!(!log.contains("panicked"), "{log}");
    Ok(())
}
