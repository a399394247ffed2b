//! Bad releases: the right condition and reason, exactly one attempt, and the old release serves on.

use std::time::{Duration, Instant};

use api_types::api::List;
use api_types::event::Event;
use api_types::kinds::app::VerdictPhase;
use api_types::{App, ConditionStatus, ConditionType, Reason};
use lab::platform::{IMAGE, Platform, condition, says};

const HOST: &str = "shop-default.apps.localhost";
const MISSING: &str = "registry.invalid/shop@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Bad {
    image: &'static str,
    env: &'static str,
    web: &'static str,
    deadline: u64,
    condition: ConditionType,
    reason: Reason,
    verdict: Reason,
    /// Words of the message.
    words: &'static str,
    /// Longest time until the failure is told.
    within: u64,
}

impl Bad {
    fn manifest(&self) -> String {
        format!(
            "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  image: {}\n  env: {{{}}}\n  processes:\n    web: {{port: 8080{}}}\n  rollout: {{healthWindow: 1s, progressDeadline: {}s}}\n",
            self.image, self.env, self.web, self.deadline
        )
    }
}

const BAD_IMAGE: Bad = Bad {
    image: MISSING,
    env: "",
    web: "",
    deadline: 60,
    condition: ConditionType::ImagePullable,
    reason: Reason::ImageNotFound,
    verdict: Reason::ImageNotFound,
    words: "No such image",
    within: 60,
};
const CRASHING: Bad = Bad {
    image: IMAGE,
    env: "CRASH: \"1\"",
    web: "",
    deadline: 90,
    condition: ConditionType::Healthy,
    reason: Reason::CrashLoop,
    verdict: Reason::CrashLoop,
    words: "exited with code 1",
    within: 60,
};
const UNSCHEDULABLE: Bad = Bad {
    image: IMAGE,
    env: "",
    web: ", resources: {memory: 4096Gi}",
    deadline: 10,
    condition: ConditionType::Scheduled,
    reason: Reason::Unschedulable,
    verdict: Reason::ProgressDeadlineExceeded,
    words: "insufficient resources",
    within: 20,
};
const UNHEALTHY: Bad = Bad {
    image: IMAGE,
    env: "HEALTH: fail",
    web: ", health: {path: /healthz}",
    deadline: 10,
    condition: ConditionType::Healthy,
    reason: Reason::HealthCheckFailing,
    verdict: Reason::ProgressDeadlineExceeded,
    words: "/healthz",
    within: 20,
};

fn good() -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  image: {IMAGE}\n  env: {{GOOD: \"1\"}}\n  processes:\n    web: {{port: 8080}}\n  rollout: {{healthWindow: 1s}}\n"
    )
}

fn has_failed(app: &App) -> bool {
    let verdict = app.status.as_ref().filter(|s| Some(s.observed_generation) == app.metadata.generation).and_then(|s| s.verdict.as_ref());
    verdict.is_some_and(|verdict| verdict.phase == VerdictPhase::Failed)
}

/// How often services were created or updated for a generation.
async fn attempts(platform: &Platform, generation: i64) -> anyhow::Result<i32> {
    let events: List<Event> = platform.api("/v1/orgs/default/apps/shop/events").await?;
    let creates = events.items.iter().filter(|event| event.generation == generation && event.reason == "CreateService");
    Ok(creates.map(|event| event.count).sum())
}

async fn as_first_release(bad: &Bad) -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.apply(&bad.manifest()).await?;
    let begun = Instant::now();
    let seen = |app: &App| says(app, bad.condition, ConditionStatus::False, bad.reason);
    let app = platform.until("shop", Duration::from_secs(bad.within), "told its cause", seen).await?;
    println!("first release: {} {} told after {:?}", bad.condition, bad.reason, begun.elapsed());
    let message = condition(&app, bad.condition).map(|found| found.message.clone()).unwrap_or_default();
    assert!(message.contains(bad.words), "{message}");
    let app = platform.until("shop", Duration::from_secs(bad.deadline + 15), "failed", has_failed).await?;
    println!("first release: verdict after {:?}", begun.elapsed());
    assert!(says(&app, ConditionType::Ready, ConditionStatus::False, Reason::RolloutFailed), "{app:#?}");
    assert_eq!(app.status.as_ref().and_then(|s| s.verdict.as_ref()).and_then(|v| v.reason), Some(bad.verdict));
    assert_eq!(app.status.as_ref().and_then(|status| status.serving_generation), None);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(attempts(&platform, 1).await?, 1, "a failed generation was tried again");
    Ok(())
}

async fn as_next_release(bad: &Bad) -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&good()).await?;
    platform.apply(&bad.manifest()).await?;
    let begun = Instant::now();
    loop {
        let (status, body) = platform.get(HOST, "/").await?;
        assert_eq!(status, 200, "the old release must serve on: {body}");
        let app = platform.app("shop").await?;
        assert!(
            !says(&app, ConditionType::Ready, ConditionStatus::True, Reason::Serving) || app.metadata.generation == Some(1),
            "a lie: {app:#?}"
        );
        if has_failed(&app) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(bad.deadline + 20), "no verdict: {app:#?}\n{}", platform.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("next release: verdict after {:?}", begun.elapsed());
    // The failed release goes, the old one stays, and that is told.
    let restored = |app: &App| app.status.as_ref().is_some_and(|status| status.serving_generation == Some(1));
    let app = platform.until("shop", Duration::from_secs(30), "restored", restored).await?;
    assert!(says(&app, ConditionType::Ready, ConditionStatus::False, Reason::RolloutFailed), "{app:#?}");
    let message = condition(&app, ConditionType::Ready).map(|found| found.message.clone()).unwrap_or_default();
    assert!(message.contains("generation 1") && message.contains("generation 2"), "{message}");
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(platform.dockerd.service_names().await?.len(), 1);
    assert_eq!(attempts(&platform, 2).await?, 1, "a failed generation was tried again");
    assert_eq!(platform.get(HOST, "/").await?.0, 200);
    // A new generation is a new chance.
    platform.deploy(&good().replace("GOOD: \"1\"", "GOOD: \"2\"")).await?;
    Ok(())
}

#[tokio::test]
async fn a_missing_image_as_first_release() -> anyhow::Result<()> {
    as_first_release(&BAD_IMAGE).await
}

#[tokio::test]
async fn a_missing_image_as_next_release() -> anyhow::Result<()> {
    as_next_release(&BAD_IMAGE).await
}

#[tokio::test]
async fn a_crashing_image_as_first_release() -> anyhow::Result<()> {
    as_first_release(&CRASHING).await
}

#[tokio::test]
async fn a_crashing_image_as_next_release() -> anyhow::Result<()> {
    as_next_release(&CRASHING).await
}

#[tokio::test]
async fn limits_that_no_node_can_hold() -> anyhow::Result<()> {
    as_first_release(&UNSCHEDULABLE).await?;
    as_next_release(&UNSCHEDULABLE).await
}

#[tokio::test]
async fn a_health_check_that_never_passes() -> anyhow::Result<()> {
    as_first_release(&UNHEALTHY).await?;
    as_next_release(&UNHEALTHY).await
}
