//! First deploy, scale, and that the plan is what is then done.

use std::time::Duration;

use api_types::api::{List, PlanResponse};
use api_types::event::Event;
use api_types::{ConditionStatus, ConditionType, Reason};
use lab::platform::{IMAGE, Platform, says};

const HOST: &str = "shop-default.apps.localhost";

fn manifest(replicas: u32) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  image: {IMAGE}\n  processes:\n    web: {{port: 8080, replicas: {replicas}, health: {{path: /healthz}}}}\n  rollout: {{healthWindow: 1s}}\n"
    )
}

/// Words of the steps that were done, in order of their first appearance.
async fn steps_done(platform: &Platform) -> anyhow::Result<Vec<String>> {
    let events: List<Event> = platform.api("/v1/orgs/default/apps/shop/events").await?;
    let plan_words = [
        "ResolveImage",
        "CreateNetwork",
        "CreateSecret",
        "CreateService",
        "UpdateService",
        "ScaleService",
        "PublishRoute",
        "WithdrawRoute",
        "RemoveService",
        "RemoveSecret",
        "RemoveNetwork",
    ];
    let steps = events.items.into_iter().filter(|event| plan_words.contains(&event.reason.as_str()));
    Ok(steps.map(|event| event.message).collect())
}

async fn planned(platform: &Platform, manifest: &str) -> anyhow::Result<Vec<String>> {
    let output = platform.skyctl_with(&["plan", "-f", "-", "-o", "json"], manifest).await?;
    anyhow::ensure!(output.code == 0, "{output:?}");
    let plans: Vec<PlanResponse> = serde_json::from_str(&output.stdout)?;
    Ok(plans.into_iter().flat_map(|plan| plan.steps).map(|step| step.description).collect())
}

#[tokio::test]
async fn a_manifest_becomes_an_app_that_answers_and_the_plan_said_how() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    let plan = planned(&platform, &manifest(2)).await?;
    assert!(plan.len() >= 4, "{plan:?}");
    let before: Result<api_types::App, _> = platform.app("shop").await;
    assert!(before.is_err(), "a plan must not create anything");

    let begun = std::time::Instant::now();
    platform.deploy(&manifest(2)).await?;
    println!("first deploy of 2 replicas, apply to ready: {:?}", begun.elapsed());

    let (status, body) = platform.get(HOST, "/").await?;
    assert_eq!(status, 200, "{body}");
    let app = platform.app("shop").await?;
    assert!(says(&app, ConditionType::Ready, ConditionStatus::True, Reason::Serving), "{app:#?}");
    for kind in
        [ConditionType::Accepted, ConditionType::ImagePullable, ConditionType::Scheduled, ConditionType::Healthy, ConditionType::Routed]
    {
        let condition = lab::platform::condition(&app, kind).expect("every condition is there");
        assert_eq!(condition.status, ConditionStatus::True, "{condition:?}");
    }
    assert_eq!(steps_done(&platform).await?, plan, "what was done is not what was planned");

    // Nothing is left to do, and applying again changes nothing.
    assert_eq!(planned(&platform, &manifest(2)).await?, Vec::<String>::new());
    let again = platform.apply(&manifest(2)).await?;
    assert!(again.stdout.contains("unchanged"), "{again:?}");
    assert_eq!(platform.app("shop").await?.metadata.generation, Some(1));
    Ok(())
}

#[tokio::test]
async fn scaling_up_and_down_and_to_zero_and_back() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&manifest(1)).await?;
    for replicas in [3u32, 1, 0, 2] {
        let output = platform.skyctl(&["scale", "shop", &format!("web={replicas}"), "--wait", "--timeout", "60s"]).await?;
        assert_eq!(output.code, 0, "{output:?}\n{}", platform.log());
        let app = platform.until_ready("shop").await?;
        let web = app.status.as_ref().and_then(|status| status.processes.values().next().cloned()).expect("one process");
        assert_eq!((web.desired, web.ready), (replicas, replicas));
        // Swarm takes some seconds to tell a task to stop, and the task may take its grace time.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while platform.dockerd.running_containers().await? != usize::try_from(replicas)? {
            anyhow::ensure!(std::time::Instant::now() < deadline, "not {replicas} containers after 20 s");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let expected = if replicas == 0 { 503 } else { 200 };
        platform.until_status(HOST, expected, Duration::from_secs(2)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn process_types_come_and_go() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&manifest(1)).await?;
    let with_worker = manifest(1).replace("  rollout:", "    worker: {args: [worker]}\n  rollout:");
    platform.deploy(&with_worker).await?;
    assert_eq!(platform.dockerd.service_names().await?.len(), 2);
    let logs = platform.skyctl(&["logs", "shop", "--process", "worker", "--tail", "5"]).await?;
    assert!(logs.code == 0 && logs.stdout.contains("worker"), "{logs:?}");
    platform.deploy(&manifest(1)).await?;
    platform.until_done("shop").await?;
    assert_eq!(platform.dockerd.service_names().await?.len(), 1);
    Ok(())
}
