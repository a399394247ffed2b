//! Several controllers on one database: one leads, the others stand by, and whatever happens to the leader nothing is lost,
//! undone or done twice.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use api_types::api::ControllerState::{Leading, Standby};
use api_types::platform::PlatformStatus;
use lab::controllers::Controller;
use lab::load::Load;
use lab::platform::{IMAGE, Platform, is_ready};
use lab::tap::Tap;
use rustix::process::Signal;

const HOST: &str = "shop-default.apps.localhost";
/// A killed leader is replaced within this.
const REPLACED: Duration = Duration::from_secs(5);
/// For whatever takes no time of its own.
const SOON: Duration = Duration::from_secs(30);

fn manifest(version: u32) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  image: {IMAGE}\n  env: {{VERSION: \"{version}\"}}\n  processes:\n    web: {{port: 8080, replicas: 2, health: {{path: /healthz}}}}\n  rollout: {{healthWindow: 1s}}\n"
    )
}

fn tap(platform: &Platform, name: &str) -> Result<Tap> {
    Tap::start(platform.dockerd.beside(name), &platform.dockerd.beside("docker.sock"))
}

async fn epoch(platform: &Platform) -> Result<i64> {
    Ok(platform.sql("SELECT epoch FROM leases WHERE name = 'controller'").await?.trim().parse()?)
}

/// The newest release serves through an edge, and nothing of an older one is left.
async fn serves(platform: &Platform, controller: &Controller, version: u32) -> Result<()> {
    platform.until("shop", Duration::from_secs(90), "ready", |app| is_ready(app) && serves_spec(app, version)).await?;
    platform.until_done("shop").await?;
    let begun = Instant::now();
    loop {
        let answer = platform.http.get(format!("http://{}/", controller.edge)).header(reqwest::header::HOST, HOST).send().await;
        let body = match answer {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        if body.contains(&version.to_string()) {
            break;
        }
        ensure!(begun.elapsed() < SOON, "version {version} does not answer at {}: {body}", controller.edge);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let services = platform.dockerd.service_names().await?;
    ensure!(services.len() == 1, "a release is left over: {services:?}");
    Ok(())
}

fn serves_spec(app: &api_types::App, version: u32) -> bool {
    app.spec.env.values().any(|value| *value == version.to_string())
}

/// All that controllers write, as text: what of it changes is seen.
async fn written(platform: &Platform) -> Result<String> {
    let mut text = platform.dockerd.specs_text().await?;
    for query in [
        "SELECT name, generation, observed_generation, observed_version, status FROM apps ORDER BY uid",
        "SELECT app_uid, generation, verdict, resolved_image FROM revisions ORDER BY app_uid, generation",
        "SELECT app_uid, route, resource_version FROM routes ORDER BY app_uid",
        "SELECT app_uid, observed, observed_at FROM observations ORDER BY app_uid",
        "SELECT name, holder, epoch FROM leases ORDER BY name",
    ] {
        text.push_str(&platform.sql(query).await?);
    }
    Ok(text)
}

/// One that was killed in a rollout, and how long it took until the other one wrote to the engine.
async fn replaced_after(
    platform: &Platform,
    leader: (&mut Controller, &Tap),
    standby: (&Controller, &Tap),
    version: u32,
) -> Result<Duration> {
    let (known, waiting) = (leader.1.writes().len(), standby.1.writes().len());
    platform.apply(&manifest(version)).await?;
    leader.1.next_write(known, SOON).await?;
    leader.0.kill().await?;
    let killed = Instant::now();
    // An hour by the database's clock, as after a jump of it: it makes nothing earlier and nothing later.
    platform.sql("UPDATE leases SET expires_at = expires_at + interval '1 hour'").await?;
    standby.1.next_write(waiting, Duration::from_secs(60)).await?;
    let took = killed.elapsed();
    serves(platform, standby.0, version).await?;
    standby.0.until(Leading, SOON).await?;
    Ok(took)
}

/// Case 30 of the faults that the platform is proven against, as far as leases go, is a part of it: clocks that jump.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_within_five_seconds_and_no_request_fails() -> Result<()> {
    let platform = Platform::start_apart().await?;
    let taps = [tap(&platform, "first.sock")?, tap(&platform, "second.sock")?];
    let mut first = platform.controller(1, &taps[0].host())?;
    first.start(&[]).await?;
    first.until(Leading, SOON).await?;
    let mut second = platform.controller(2, &taps[1].host())?;
    second.start(&[]).await?;
    platform.deploy(&manifest(1)).await?;
    serves(&platform, &first, 1).await?;
    serves(&platform, &second, 1).await?;

    // Both are well, and say what they are.
    ensure!(second.health().await?.ok && second.is_alive().await? && second.health().await?.controller == Some(Standby));
    ensure!(second.metrics().await?.contains("skyswarm_leader 0"), "{}", second.metrics().await?);
    let begun = Instant::now();
    loop {
        let status: PlatformStatus = platform.api("/v1/status").await?;
        let controllers: Vec<_> = status.processes.iter().filter(|process| process.has_role("controller")).collect();
        let leaders: Vec<_> = controllers.iter().filter(|process| process.epoch.is_some()).collect();
        if let ([leader], 2, true) = (leaders.as_slice(), controllers.len(), status.healthy)
            && leader.report.queue.as_ref().is_some_and(|queue| queue.resync_seconds.is_some())
        {
            let text = platform.skyctl(&["status"]).await?.stdout;
            ensure!(text.contains("leads, epoch") && text.contains("standby") && text.contains("resync"), "{text}");
            break;
        }
        ensure!(begun.elapsed() < SOON, "{status:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    // Whatever the database's clock says, a leader that renews stays, and nobody joins it.
    let before = epoch(&platform).await?;
    for hours in [-1, 1, -1, 1] {
        platform.sql(&format!("UPDATE leases SET expires_at = expires_at + interval '{hours} hour'")).await?;
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let states = (first.health().await?.controller, second.health().await?.controller);
        ensure!(states == (Some(Leading), Some(Standby)) && epoch(&platform).await? == before, "{states:?}");
    }

    let loads = [Load::start(HOST, 40), Load::start_at(&second.edge, HOST, 40)];
    let mut took = replaced_after(&platform, (&mut first, &taps[0]), (&second, &taps[1]), 2).await?;
    println!("the standby wrote to the engine {took:?} after the leader was killed");
    for load in loads {
        println!("{} requests, none failed", load.stop(100).await?);
    }
    // A machine that was busy at the wrong moment gets another chance; one that is too slow each time does not.
    for version in [3, 4] {
        if took <= REPLACED {
            break;
        }
        first.start(&[]).await?;
        let (leader, standby) =
            if version == 3 { ((&mut second, &taps[1]), (&first, &taps[0])) } else { ((&mut first, &taps[0]), (&second, &taps[1])) };
        took = replaced_after(&platform, leader, standby, version).await?;
        println!("the standby wrote to the engine {took:?} after the leader was killed");
        second.start(&[]).await.or_else(|error| if version == 3 { Err(error) } else { Ok(()) })?;
    }
    ensure!(took <= REPLACED, "{took:?}");
    Ok(())
}

/// Case 3 of the faults that the platform is proven against.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_3_a_leader_frozen_past_its_lease_changes_nothing_when_it_wakes() -> Result<()> {
    let platform = Platform::start_apart().await?;
    let taps = [tap(&platform, "first.sock")?, tap(&platform, "second.sock")?];
    let mut first = platform.controller(1, &taps[0].host())?;
    let acts = first.beside("acts");
    let acts_text = acts.display().to_string();
    // Its second update of a service is decided, and held up right before it is sent.
    first.start(&[("SKYSWARM_FAULTS", "slow:service_update:2"), ("SKYSWARM_EFFECTS_LOG", &acts_text)]).await?;
    first.until(Leading, SOON).await?;
    let mut second = platform.controller(2, &taps[1].host())?;
    second.start(&[]).await?;
    platform.deploy(&manifest(1)).await?;
    platform.apply(&manifest(2)).await?;
    until_written(&acts, "service_update", "slow").await?;
    first.signal(Signal::STOP)?;
    let frozen = taps[0].writes().len();
    second.until(Leading, SOON).await?;
    serves(&platform, &second, 2).await?;
    // The world has moved on when it wakes.
    platform.apply(&manifest(3)).await?;
    serves(&platform, &second, 3).await?;

    let before = written(&platform).await?;
    first.signal(Signal::CONT)?;
    first.until(Standby, SOON).await?;
    until_written(&acts, "service_update", "failed").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let late = taps[0].writes().split_off(frozen);
    ensure!(late.is_empty(), "the one that was frozen wrote to the engine: {late:?}\n{}", first.log());
    let after = written(&platform).await?;
    ensure!(after == before, "it changed something:\n{}", first_difference(&before, &after));
    // It is of use again.
    second.kill().await?;
    first.until(Leading, SOON).await?;
    platform.apply(&manifest(4)).await?;
    serves(&platform, &first, 4).await
}

/// Waits for an act of a kind with a word in the log of acts.
async fn until_written(log: &Path, kind: &str, word: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let is_it = |line: &str| line.split(' ').nth(1) == Some(kind) && line.ends_with(&format!(" {word}"));
        if text.lines().any(is_it) {
            return Ok(());
        }
        ensure!(begun.elapsed() < SOON, "no {kind} with \"{word}\" in:\n{text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn first_difference(before: &str, after: &str) -> String {
    let pair = before.lines().zip(after.lines()).find(|(old, new)| old != new);
    pair.map_or_else(|| "one is longer".to_owned(), |(old, new)| format!("- {old}\n+ {new}"))
}

/// The migrations of a release that is newer than this one.
fn next_release() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    for file in std::fs::read_dir(own)? {
        let file = file?;
        std::fs::copy(file.path(), folder.path().join(file.file_name()))?;
    }
    let adds = "ALTER TABLE apps ADD COLUMN colour text NOT NULL DEFAULT 'none';\nCREATE INDEX apps_colour ON apps (colour);\n\
                CREATE TABLE colours (name text PRIMARY KEY);\nALTER TABLE revisions ADD COLUMN colour text;\n";
    std::fs::write(folder.path().join("9000_colours.sql"), adds)?;
    Ok(folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_are_upgraded_one_after_the_other_with_a_migration_in_between_and_nothing_is_lost() -> Result<()> {
    let platform = Platform::start_apart().await?;
    let migrations = next_release()?;
    let next = [("SKYSWARM_MIGRATIONS", migrations.path().to_str().context("a path")?)];
    let mut old = platform.controller(1, &platform.dockerd.host())?;
    old.start(&[]).await?;
    old.until(Leading, SOON).await?;
    platform.deploy(&manifest(1)).await?;
    let led = epoch(&platform).await?;

    // The new release migrates while the old one leads, and in the middle of its rollout.
    platform.apply(&manifest(2)).await?;
    let mut new = platform.controller(2, &platform.dockerd.host())?;
    new.start(&next).await?;
    ensure!(platform.sql("SELECT count(*) FROM colours").await?.trim() == "0", "the migration did not run");
    serves(&platform, &old, 2).await?;
    let states = (old.health().await?.controller, new.health().await?.controller, epoch(&platform).await?);
    ensure!(states == (Some(Leading), Some(Standby), led), "the old one goes on: {states:?}");

    // The old one ends in the middle of a rollout, and starts again on the new schema.
    platform.apply(&manifest(3)).await?;
    old.stop().await?;
    new.until(Leading, SOON).await?;
    old.start(&[]).await?;
    serves(&platform, &new, 3).await?;
    // It may even have to lead again.
    platform.apply(&manifest(4)).await?;
    new.kill().await?;
    old.until(Leading, SOON).await?;
    serves(&platform, &old, 4).await?;

    // A later migration takes away what it uses: it stands down by itself and does not come back.
    new.start(&next).await?;
    platform.sql("UPDATE schema_floor SET oldest = 9000").await?;
    new.until(Leading, SOON).await?;
    old.until(Standby, SOON).await?;
    platform.apply(&manifest(5)).await?;
    serves(&platform, &new, 5).await?;
    old.stop().await?;
    let refused = old.start(&[]).await.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(refused.contains("migration 9000") && refused.contains("run the newer release"), "{refused}");
    let verdicts = platform.sql("SELECT generation, verdict ->> 'phase' FROM revisions ORDER BY generation").await?;
    ensure!(verdicts.lines().count() == 5 && verdicts.lines().all(|line| line.ends_with("|Ready")), "{verdicts}");
    Ok(())
}
