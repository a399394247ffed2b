//! The contract of the Swarm engine, on the fake and on a real Docker engine, and what only a real one shows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use lab::dockerd::{Dockerd, in_lab};
use lab::engine::{Subject, contract, our_labels, page};
use skyswarm::clock::SystemClock;
use skyswarm::engines::swarm::fake::FakeSwarm;
use skyswarm::engines::swarm::{EngineError, EngineHint, ImageResolution, LogQuery, LogRecord, ServiceSpec, SwarmEngine, Task};

const TAG: &str = "skyswarm-contract:1";

#[tokio::test]
async fn the_fake_keeps_the_contract() -> Result<()> {
    let fake = FakeSwarm::new(SystemClock::shared()).auto_tick();
    let id = format!("sha256:{}", "a".repeat(64));
    fake.add_image(TAG, ImageResolution::Local(id.clone()));
    fake.add_image(&id, ImageResolution::Local(id.clone()));
    fake.set_outcome(&"0".repeat(64), skyswarm::engines::swarm::fake::Outcome::MissingImage);
    let found = page(&contract(&fake, &Subject { local_tag: TAG.to_owned(), pause: Duration::from_millis(1) }).await?);
    let file = written();
    if std::env::var_os("SKYSWARM_GENERATE").is_some() {
        std::fs::write(&file, &found)?;
    }
    assert_eq!(found, std::fs::read_to_string(&file)?, "{} is made from what the engine does; see its first lines", file.display());
    Ok(())
}

/// The page that is made from the contract.
fn written() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/engine-behaviour.md")
}

async fn lab() -> Result<Option<Dockerd>> {
    if in_lab() {
        return Dockerd::start().await.map(Some);
    }
    eprintln!("skipped: no lab (SKYSWARM_LAB=1)");
    Ok(None)
}

#[tokio::test]
async fn the_docker_engine_keeps_the_contract() -> Result<()> {
    let Some(mut dockerd) = lab().await? else { return Ok(()) };
    dockerd.import_busybox(TAG).await?;
    let engine = dockerd.connect()?;
    let info = engine.info().await?;
    ensure!(info.is_manager && info.swarm_state == "active" && !info.cluster_id.is_empty(), "{info:?}");
    let nodes = engine.node_list().await?;
    ensure!(nodes.len() == 1 && nodes[0].role == "manager" && nodes[0].state == "ready" && nodes[0].leader, "{nodes:?}");
    let found = contract(&engine, &Subject { local_tag: TAG.to_owned(), pause: Duration::from_millis(200) }).await?;
    assert_eq!(page(&found), std::fs::read_to_string(written())?, "engine {} is not as the simulated one", info.version);
    dockerd.stop().await
}

fn shell(name: &str, image: &str, script: &str, replicas: u64) -> ServiceSpec {
    ServiceSpec {
        name: name.to_owned(),
        labels: our_labels("acme"),
        image: image.to_owned(),
        command: vec!["/bin/busybox".to_owned(), "sh".to_owned(), "-c".to_owned(), script.to_owned()],
        stop_grace_nanos: 2_000_000_000,
        replicas,
        dnsrr: true,
        ..ServiceSpec::default()
    }
}

async fn running(engine: &dyn SwarmEngine, id: &str, wanted: usize) -> Result<Vec<Task>> {
    for _ in 0..300 {
        let tasks = engine.task_list(&[id.to_owned()]).await?;
        if tasks.iter().filter(|task| task.is_running()).count() == wanted {
            return Ok(tasks);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    anyhow::bail!("{wanted} tasks did not come to run")
}

#[tokio::test]
async fn logs_come_by_task_and_follow_new_tasks() -> Result<()> {
    let Some(mut dockerd) = lab().await? else { return Ok(()) };
    let image = dockerd.import_busybox(TAG).await?;
    let engine = dockerd.connect()?;
    let script = "echo out; echo err >&2; i=0; while true; do busybox sleep 1; i=$((i+1)); echo tick $i; done";
    let id = engine.service_create(&shell("logs-a", &image, script, 1)).await?;
    running(&engine, &id, 1).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    let query = LogQuery { services: vec!["logs-a".to_owned(), "logs-absent".to_owned()], ..LogQuery::default() };
    let past: Vec<LogRecord> = engine.logs(&query).await?.filter_map(async |line| line.ok()).collect().await;
    let line = |text: &str| past.iter().find(|record| record.line == text).cloned();
    let out = line("out").with_context(|| format!("{past:?}"))?;
    ensure!(!out.stderr && out.slot == 1 && out.service == "logs-a" && !out.task_id.is_empty(), "{out:?}");
    ensure!(line("err").is_some_and(|record| record.stderr), "{past:?}");
    ensure!(past.windows(2).all(|pair| pair[0].time <= pair[1].time), "in order of time: {past:?}");

    let tail = LogQuery { tail: Some(1), ..query.clone() };
    let last: Vec<_> = engine.logs(&tail).await?.collect().await;
    ensure!(last.len() == 1, "{last:?}");
    let since = LogQuery { since: Some(out.time + chrono::TimeDelta::milliseconds(500)), ..query.clone() };
    let later: Vec<LogRecord> = engine.logs(&since).await?.filter_map(async |line| line.ok()).collect().await;
    ensure!(!later.is_empty() && later.iter().all(|record| record.line != "out"), "{later:?}");

    let mut followed = engine.logs(&LogQuery { follow: true, tail: Some(0), ..query }).await?;
    let service = engine.service_list("logs-a").await?.remove(0);
    engine.service_update(&id, service.version, &shell("logs-a", &image, script, 2)).await?;
    let mut seen: BTreeMap<u64, Vec<LogRecord>> = BTreeMap::new();
    let both = async {
        while let Some(record) = followed.next().await {
            let record = record?;
            seen.entry(record.slot).or_default().push(record);
            if seen.len() == 2 && seen.values().all(|records| records.len() > 2) {
                break;
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(40), both).await.context("both tasks in the followed log")??;
    ensure!(seen[&2].iter().any(|record| record.line == "out"), "a new task is read from its start: {seen:?}");
    ensure!(seen[&1].iter().all(|record| record.line != "out"), "tail 0 leaves the past out: {seen:?}");
    for records in seen.values() {
        ensure!(records.windows(2).all(|pair| pair[0].time < pair[1].time), "no line twice: {records:?}");
    }
    drop(followed);
    dockerd.stop().await
}

#[tokio::test]
async fn a_container_that_is_told_to_stop_is_hinted_at_before_it_is_gone() -> Result<()> {
    let Some(mut dockerd) = lab().await? else { return Ok(()) };
    let image = dockerd.import_busybox(TAG).await?;
    let engine = dockerd.connect()?;
    // Takes its time to go, as an app that drains does.
    let script = "trap 'sleep 1; exit 0' TERM; while true; do busybox sleep 0.1; done";
    let id = engine.service_create(&shell("going-a", &image, script, 1)).await?;
    let tasks = running(&engine, &id, 1).await?;
    let container = tasks.into_iter().find(Task::is_running).context("running")?.container_id;
    let mut hints = engine.hints();
    ensure!(hints.next().await == Some(EngineHint::Connected));
    engine.service_remove(&id).await?;
    let seen =
        tokio::time::timeout(Duration::from_secs(20), hints.any(|hint| std::future::ready(hint.going() == Some(container.as_str())))).await;
    ensure!(seen == Ok(true), "no sign that {container} goes");
    let state = dockerd.docker()?.inspect_container(&container, None).await?.state.and_then(|state| state.running);
    ensure!(state == Some(true), "the first sign comes while the container still runs");
    dockerd.stop().await
}

#[tokio::test]
async fn hints_come_back_after_the_engine_was_killed() -> Result<()> {
    let Some(mut dockerd) = lab().await? else { return Ok(()) };
    let engine = dockerd.connect()?;
    let mut hints = engine.hints();
    ensure!(hints.next().await == Some(EngineHint::Connected));
    dockerd.kill9().await?;
    let dead = engine.service_list("").await;
    ensure!(matches!(dead, Err(EngineError::Unreachable { .. })), "{dead:?}");
    dockerd.restart().await?;
    let seen = tokio::time::timeout(Duration::from_secs(60), hints.any(|hint| std::future::ready(hint == EngineHint::Connected))).await;
    ensure!(seen == Ok(true), "connected again");
    dockerd.stop().await
}

#[tokio::test]
async fn a_container_is_what_the_spec_says_and_nothing_more() -> Result<()> {
    let Some(mut dockerd) = lab().await? else { return Ok(()) };
    let image = dockerd.import_busybox(TAG).await?;
    let engine = dockerd.connect()?;
    let braces = "{{.Node.ID}} {{ {{{ }} {{\"{{\"}}";
    let spec = ServiceSpec {
        env: BTreeMap::from([("BRACES".to_owned(), braces.to_owned())]),
        ..shell("init-a", &image, "exec /bin/busybox sleep 1000000", 1)
    };
    let id = engine.service_create(&spec).await?;
    ensure!(engine.service_list("init-a").await?.iter().any(|service| service.spec == spec), "read as sent");
    let tasks = running(&engine, &id, 1).await?;
    let container = tasks.into_iter().find(Task::is_running).context("running")?.container_id;
    let inspected = dockerd.docker()?.inspect_container(&container, None).await?;
    let host = inspected.host_config.unwrap_or_default();
    ensure!(host.init == Some(true), "an init process reaps children and forwards signals: {host:?}");
    ensure!(host.privileged != Some(true) && host.binds.as_ref().is_none_or(Vec::is_empty), "no way to the host: {host:?}");
    let env = inspected.config.and_then(|config| config.env).unwrap_or_default();
    ensure!(env.contains(&format!("BRACES={braces}")), "a value is plain text: {env:?}");

    let ingress = ServiceSpec { network: "ingress".to_owned(), ..shell("init-b", &image, "true", 0) };
    for network in ["ingress", "host", "docker_gwbridge", "none"] {
        let refused = engine.service_create(&ServiceSpec { network: network.to_owned(), ..ingress.clone() }).await;
        ensure!(matches!(refused, Err(EngineError::NotFound { .. })), "{network}: {refused:?}");
    }
    dockerd.stop().await
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_unreachable_unless_the_image_is_here() -> Result<()> {
    let Some(mut dockerd) = lab().await? else { return Ok(()) };
    let id = dockerd.import_busybox("registry.invalid/shop:1").await?;
    let engine = dockerd.connect()?;
    use api_types::kinds::app::ImagePullPolicy::Always;
    let present = engine.image_resolve(&"registry.invalid/shop:1".parse()?, Always).await?;
    ensure!(present == ImageResolution::Local(id), "{present:?}");
    let absent = engine.image_resolve(&"registry.invalid/shop:2".parse()?, Always).await;
    ensure!(matches!(&absent, Err(EngineError::RegistrySilent { registry, .. }) if registry == "registry.invalid"), "{absent:?}");
    dockerd.stop().await
}

#[tokio::test]
async fn an_engine_that_was_killed_leaves_no_process_behind() -> Result<()> {
    let Some(mut dockerd) = lab().await? else { return Ok(()) };
    let image = dockerd.import_busybox(TAG).await?;
    let engine = dockerd.connect()?;
    let id = engine.service_create(&shell("left-a", &image, "exec /bin/busybox sleep 1000000", 1)).await?;
    let tasks = running(&engine, &id, 1).await?;
    let container = tasks.into_iter().find(Task::is_running).context("running")?.container_id;
    let state = dockerd.docker()?.inspect_container(&container, None).await?.state.unwrap_or_default();
    let process = std::path::PathBuf::from(format!("/proc/{}/exe", state.pid.context("a process")?));
    dockerd.kill9().await?;
    ensure!(process.read_link().is_ok(), "containers outlive a killed engine, or this test shows nothing");
    drop(dockerd);
    for _ in 0..50 {
        if process.read_link().is_err() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("{} still runs", process.display())
}
