//! Changes behind the platform's back, each kind on the real engine: written down, shown, put right, or left when asked to.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use api_types::api::List;
use api_types::drift::{DriftAction, DriftRecord};
use api_types::why::Case;
use api_types::{ConditionStatus, ConditionType, Reason};
use bollard::models::{
    EndpointPortConfig, EndpointPortConfigPublishModeEnum, HealthConfig, Limit, Mount, MountType, NetworkAttachmentConfig, ServiceSpec,
    TaskSpecPlacement,
};
use lab::platform::{IMAGE, Platform, condition, says};

/// Everything that a service may have: variables, secrets, limits, a health check, several processes.
fn rich(more: &str) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  image: {IMAGE}\n  env: {{ZULU: z, ALPHA: a, BRACES: \"{{{{.Node.ID}}}}\"}}\n  \
         secrets: {{KEY: value, OTHER: value}}\n  processes:\n    web:\n      port: 8080\n      health: {{path: /healthz}}\n      resources: {{cpu: 100m, memory: 64Mi}}\n    \
         worker: {{args: [worker], env: {{ROLE: worker}}}}\n  rollout: {{healthWindow: 1s}}\n{more}"
    )
}

async fn service_of(platform: &Platform, process: &str) -> anyhow::Result<String> {
    let names = platform.dockerd.service_names().await?;
    names.into_iter().find(|name| name.contains(&format!("-{process}-"))).context("no such service")
}

async fn ledger(platform: &Platform) -> anyhow::Result<Vec<DriftRecord>> {
    Ok(platform.api::<List<DriftRecord>>("/v1/orgs/default/apps/shop/drift?limit=1000").await?.items)
}

/// Waits for a row; returns it with the time that it took.
async fn until_row(platform: &Platform, what: &str, wanted: impl Fn(&DriftRecord) -> bool) -> anyhow::Result<(DriftRecord, Duration)> {
    let begun = Instant::now();
    loop {
        let rows = ledger(platform).await?;
        if let Some(row) = rows.iter().find(|row| wanted(row)) {
            return Ok((row.clone(), begun.elapsed()));
        }
        ensure!(begun.elapsed() < Duration::from_secs(20), "no row for {what} in {rows:#?}\n{}", platform.log());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

type Edit = fn(&mut ServiceSpec);

fn container(spec: &mut ServiceSpec) -> &mut bollard::models::TaskSpecContainerSpec {
    spec.task_template.get_or_insert_default().container_spec.get_or_insert_default()
}

/// What is edited, the field that the ledger is to name, and what it is to say of what was found.
const EDITS: [(&str, Edit, &str); 13] = [
    ("replicas", |spec| spec.mode.get_or_insert_default().replicated.get_or_insert_default().replicas = Some(3), "3"),
    (
        "image",
        |spec| container(spec).image = Some("sha256:0000000000000000000000000000000000000000000000000000000000000000".into()),
        "sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ),
    ("env.INTRUDER", |spec| container(spec).env.get_or_insert_default().push("INTRUDER=hunter2".into()), "set"),
    ("label.team", |spec| drop(spec.labels.get_or_insert_default().insert("team".into(), "x".into())), "set"),
    (
        "container label.skyswarm.dev/health",
        |spec| drop(container(spec).labels.get_or_insert_default().remove("skyswarm.dev/health")),
        "absent",
    ),
    (
        "memory limit",
        |spec| {
            let resources = spec.task_template.get_or_insert_default().resources.get_or_insert_default();
            resources.limits = Some(Limit { memory_bytes: Some(96 << 20), ..resources.limits.clone().unwrap_or_default() });
        },
        "100663296",
    ),
    (
        "Healthcheck",
        |spec| container(spec).health_check = Some(HealthConfig { test: Some(vec!["NONE".into()]), ..Default::default() }),
        "set",
    ),
    ("args", |spec| container(spec).args = Some(vec!["worker".into()]), "worker"),
    ("User", |spec| container(spec).user = Some("1000".into()), "set"),
    (
        "Mounts",
        |spec| {
            let mount = Mount { target: Some("/x".into()), typ: Some(MountType::TMPFS), ..Default::default() };
            container(spec).mounts = Some(vec![mount]);
        },
        "tmpfs at /x",
    ),
    (
        "Placement",
        |spec| {
            let placement = TaskSpecPlacement { constraints: Some(vec!["node.role==manager".into()]), ..Default::default() };
            spec.task_template.get_or_insert_default().placement = Some(placement);
        },
        "node.role==manager",
    ),
    (
        "Ports",
        |spec| {
            let port = EndpointPortConfig {
                target_port: Some(8080),
                published_port: Some(18080),
                publish_mode: Some(EndpointPortConfigPublishModeEnum::HOST),
                ..Default::default()
            };
            spec.endpoint_spec.get_or_insert_default().ports = Some(vec![port]);
        },
        "18080 to 8080",
    ),
    (
        "RestartPolicy",
        |spec| spec.task_template.get_or_insert_default().restart_policy.get_or_insert_default().max_attempts = Some(1),
        "changed",
    ),
];

#[tokio::test]
async fn every_edit_of_a_service_is_written_down_and_put_right() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&rich("")).await?;
    platform.until_done("shop").await?;
    let service = service_of(&platform, "web").await?;
    let before = platform.dockerd.spec_text(&service).await?;
    for (field, edit, observed) in EDITS {
        platform.dockerd.edit_service(&service, edit).await?;
        let (row, took) = until_row(&platform, field, |row| row.field == field && row.ended_at.is_some()).await?;
        println!("{field}: found and put right after {took:?}");
        assert_eq!(
            (row.action, row.observed.as_str(), row.object.as_str()),
            (DriftAction::Corrected, observed, service.as_str()),
            "{row:#?}"
        );
        assert!(!row.controller.is_empty() && row.first_seen <= row.last_seen);
        assert_eq!(platform.dockerd.spec_text(&service).await?, before, "{field} was not put right");
    }
    let network = platform.dockerd.make_network("intruder").await?;
    let attach = move |spec: &mut ServiceSpec| {
        let attachment = NetworkAttachmentConfig { target: Some(network.clone()), ..Default::default() };
        spec.task_template.get_or_insert_default().networks.get_or_insert_default().push(attachment);
    };
    platform.dockerd.edit_service(&service, attach).await?;
    until_row(&platform, "network", |row| row.field == "Networks" && row.action == DriftAction::Corrected).await?;
    let rows = ledger(&platform).await?;
    assert_eq!(rows.len(), EDITS.len() + 1, "one row for each edit: {rows:#?}");
    assert!(!platform.database_dump().await?.contains("hunter2"), "the value of a variable was written down");
    let app = platform.until("shop", Duration::from_secs(60), "without drift", |app| {
        says(app, ConditionType::Drifted, ConditionStatus::False, Reason::NoDrift)
    });
    let drifted = condition(&app.await?, ConditionType::Drifted).cloned().context("no condition")?;
    assert!(drifted.last_transition_time >= rows.iter().map(|row| row.first_seen).max().context("rows")?, "it was True in between");
    let metrics = platform.metrics().await?;
    let line = format!("skyswarm_drift_total{{object=\"service\",action=\"corrected\"}} {}", EDITS.len() + 1);
    assert!(metrics.lines().any(|found| found == line), "no line {line}");
    let told = platform.skyctl(&["drift", "app/shop", "--since", "1h"]).await?;
    assert!(told.code == 0 && told.stdout.contains("env.INTRUDER") && told.stdout.contains("Corrected"), "{told:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_removed_or_killed_is_written_down_and_comes_back() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&rich("")).await?;
    platform.until_done("shop").await?;
    let worker = service_of(&platform, "worker").await?;
    let docker = platform.dockerd.docker()?;
    docker.delete_service(&worker).await?;
    let (row, took) = until_row(&platform, "the service", |row| row.object == worker && row.ended_at.is_some()).await?;
    println!("a removed service: found and made again after {took:?}");
    assert_eq!((row.field.as_str(), row.observed.as_str(), row.action), ("exists", "absent", DriftAction::Corrected), "{row:#?}");
    platform.until_done("shop").await?;

    for process in ["web", "worker"] {
        let id = platform.dockerd.container_of("shop", process).await?;
        docker.kill_container(&id, None).await?;
        let is_row = |row: &DriftRecord| row.object == format!("{process}.1") && row.ended_at.is_some();
        let (row, took) = until_row(&platform, process, is_row).await?;
        println!("a killed container of {process}: replaced after {took:?}");
        assert_eq!((row.field.as_str(), row.action), ("container", DriftAction::Recorded), "{row:#?}");
        assert!(row.observed.contains("137"), "{row:#?}");
        platform.until_done("shop").await?;
    }

    // Whoever takes the route away wakes nobody: the resync finds it.
    platform.put_setting("controller.resync_interval", serde_json::json!("1s")).await?;
    platform.sql("DELETE FROM routes").await?;
    let (row, _) = until_row(&platform, "the route", |row| row.kind.word() == "route" && row.ended_at.is_some()).await?;
    assert_eq!((row.field.as_str(), row.action), ("exists", DriftAction::Corrected), "{row:#?}");
    platform.until_status("shop-default.apps.localhost", 200, Duration::from_secs(5)).await?;
    Ok(())
}

#[tokio::test]
async fn with_hold_a_change_is_shown_and_stays_until_the_policy_changes() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&rich("  driftPolicy: hold\n")).await?;
    platform.until_done("shop").await?;
    let service = service_of(&platform, "web").await?;
    let before = platform.dockerd.spec_text(&service).await?;
    platform.dockerd.edit_service(&service, |spec| drop(spec.labels.get_or_insert_default().insert("team".into(), "x".into()))).await?;
    let edited = platform.dockerd.spec_text(&service).await?;
    assert_ne!(edited, before);
    let held = |app: &api_types::App| says(app, ConditionType::Drifted, ConditionStatus::True, Reason::DriftHeld);
    let app = platform.until("shop", Duration::from_secs(20), "held", held).await?;
    let message = condition(&app, ConditionType::Drifted).map(|found| found.message.clone()).unwrap_or_default();
    assert!(message.contains("label.team") && message.contains(&service) && message.contains("driftPolicy"), "{message}");
    let worker = service_of(&platform, "worker").await?;
    platform.dockerd.docker()?.delete_service(&worker).await?;
    until_row(&platform, "the worker", |row| row.object == worker && row.action == DriftAction::Held).await?;
    let why = platform.until_why("shop", Case::DriftHeld, Duration::from_secs(10)).await?;
    assert!(why.summary.contains(&worker), "{why:#?}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(platform.dockerd.spec_text(&service).await?, edited, "it was held");
    assert!(service_of(&platform, "worker").await.is_err(), "it was held");
    assert_eq!(ledger(&platform).await?.iter().filter(|row| row.ended_at.is_none()).count(), 2, "one row each, however often seen");

    platform.apply(&rich("  driftPolicy: correct\n")).await?;
    let corrected = |row: &DriftRecord| row.field == "label.team" && row.ended_at.is_some() && row.action == DriftAction::Corrected;
    until_row(&platform, "the label", corrected).await?;
    until_row(&platform, "the worker", |row| row.object == worker && row.action == DriftAction::Corrected).await?;
    assert_eq!(platform.dockerd.spec_text(&service).await?, before);
    Ok(())
}

#[tokio::test]
async fn while_paused_nothing_is_written_and_everything_is_recorded() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&rich("")).await?;
    platform.until_done("shop").await?;
    let output = platform.skyctl(&["pause", "app/shop", "--for", "2h", "--because", "we look"]).await?;
    assert!(output.code == 0 && output.stdout.starts_with("app/shop paused until"), "{output:?}");
    let paused = |app: &api_types::App| says(app, ConditionType::Paused, ConditionStatus::True, Reason::Paused);
    platform.until("shop", Duration::from_secs(5), "paused", paused).await?;

    let docker = platform.dockerd.docker()?;
    let web = service_of(&platform, "web").await?;
    platform.dockerd.edit_service(&web, EDITS[0].1).await?;
    let worker = service_of(&platform, "worker").await?;
    docker.delete_service(&worker).await?;
    for (object, field) in [(&web, "replicas"), (&worker, "exists")] {
        let row = until_row(&platform, field, |row| row.object == *object && row.field == field).await?.0;
        assert_eq!((row.action, row.ended_at), (DriftAction::Paused, None), "{row:#?}");
    }
    platform.apply(&rich("").replace("ALPHA: a", "ALPHA: b")).await?;
    let services = platform.dockerd.specs_text().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(platform.dockerd.specs_text().await?, services, "something was written during the pause");
    let app = platform.app("shop").await?;
    let progressing = condition(&app, ConditionType::Progressing).map(|found| found.message.clone()).unwrap_or_default();
    assert!(progressing.contains("paused by") && progressing.contains("we look"), "{progressing}");

    let output = platform.skyctl(&["resume", "app/shop"]).await?;
    assert_eq!((output.code, output.stdout.trim()), (0, "app/shop resumed"));
    platform.until_ready("shop").await?;
    platform.until_done("shop").await?;
    assert!(ledger(&platform).await?.iter().all(|row| row.ended_at.is_some()));

    // A pause ends by itself, and a deletion waits for it.
    let begun = Instant::now();
    platform.skyctl(&["pause", "app/shop", "--for", "4s", "--because", "short"]).await?;
    platform.skyctl(&["delete", "app", "shop"]).await?;
    let waits = |app: &api_types::App| {
        condition(app, ConditionType::Ready).is_some_and(|ready| ready.reason == Reason::Deleting && ready.message.contains("which waits"))
    };
    platform.until("shop", Duration::from_secs(3), "waiting to be deleted", waits).await?;
    while platform.app("shop").await.is_ok() {
        ensure!(begun.elapsed() < Duration::from_secs(30), "the deletion does not go on:\n{}", platform.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(begun.elapsed() >= Duration::from_secs(4), "deleted during the pause, after {:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn what_the_engine_and_the_platform_do_by_themselves_is_no_drift_over_100_resyncs() -> anyhow::Result<()> {
    let mut platform = Platform::start().await?;
    platform.deploy(&rich("")).await?;
    // Our own hand: a rollout, scaling up and down, a restart, a server that dies in the middle.
    platform.deploy(&rich("").replace("ALPHA: a", "ALPHA: b")).await?;
    for scale in ["web=3", "web=1"] {
        let output = platform.skyctl(&["scale", "shop", scale, "--wait"]).await?;
        assert_eq!(output.code, 0, "{output:?}");
    }
    platform.apply(&rich("").replace("ALPHA: a", "ALPHA: c")).await?;
    tokio::time::sleep(Duration::from_millis(400)).await;
    platform.kill_server().await?;
    platform.start_server().await?;
    platform.until_ready("shop").await?;
    platform.until_done("shop").await?;
    let resyncs = async || -> anyhow::Result<u64> {
        let metrics = platform.metrics().await?;
        let line = "skyswarm_reconcile_resyncs_total{controller=\"app\",result=\"done\"} ";
        let count = metrics.lines().find_map(|found| found.strip_prefix(line)).context("no such metric")?;
        Ok(count.parse()?)
    };
    let quiet = platform.dockerd.specs_text().await?;
    let first = resyncs().await?;
    for round in 0..100 {
        // A changed setting makes every app be looked at again.
        platform.put_setting("limits.max_replicas", serde_json::json!(100 + round % 2)).await?;
        let begun = Instant::now();
        while resyncs().await? <= first + round {
            ensure!(begun.elapsed() < Duration::from_secs(10), "round {round}: no resync");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // A resync passes over what did not move, so each app is also told to be looked at as a whole.
        platform.sql("UPDATE apps SET desired_version = desired_version + 1").await?;
        while platform.sql("SELECT count(*) FROM apps WHERE desired_version > observed_version").await?.trim() != "0" {
            ensure!(begun.elapsed() < Duration::from_secs(10), "round {round}: no run");
        }
    }
    platform.until_done("shop").await?;
    println!("{} resyncs", resyncs().await? - first);
    assert_eq!(ledger(&platform).await?, [], "drift was found where there is none");
    assert_eq!(platform.dockerd.specs_text().await?, quiet, "a resync wrote something");
    let app = platform.app("shop").await?;
    assert!(says(&app, ConditionType::Drifted, ConditionStatus::False, Reason::NoDrift), "{app:#?}");
    Ok(())
}
