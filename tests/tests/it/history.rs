//! Releases over time: what a failed one leaves, what a retry and a rollback bring back, and when the verdict comes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use api_types::api::{List, RevisionInfo};
use api_types::kinds::app::{Verdict, VerdictPhase};
use api_types::{App, ConditionStatus, ConditionType, Reason};
use lab::dockerd::Dockerd;
use lab::load::Load;
use lab::platform::{IMAGE, Platform, condition, from_env, is_ready, says};
use lab::tap::{Tap, Write};
use lab::tar;

const HOST: &str = "shop-default.apps.localhost";

fn manifest(name: &str, spec: &str) -> String {
    format!("apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  image: {IMAGE}\n{spec}")
}

fn web(env: &str, replicas: u32) -> String {
    let spec = format!(
        "  env: {{{env}}}\n  processes:\n    web: {{port: 8080, replicas: {replicas}, health: {{path: /healthz}}}}\n  rollout: {{healthWindow: 1s}}\n"
    );
    manifest("shop", &spec)
}

/// The verdict on the newest generation.
fn verdict(app: &App) -> Option<&Verdict> {
    app.status.as_ref().filter(|status| Some(status.observed_generation) == app.metadata.generation)?.verdict.as_ref()
}

fn has_failed(app: &App) -> bool {
    verdict(app).is_some_and(|verdict| verdict.phase == VerdictPhase::Failed)
}

/// Whether the newest generation failed, and the tasks of another one alone answer.
fn is_back_at(generation: i64) -> impl Fn(&App) -> bool {
    move |app| {
        let serving = app.status.as_ref().and_then(|status| status.serving_generation);
        has_failed(app)
            && serving == Some(generation)
            && says(app, ConditionType::Serving, ConditionStatus::True, Reason::Serving)
            && says(app, ConditionType::Ready, ConditionStatus::False, Reason::RolloutFailed)
    }
}

fn creates(writes: &[Write]) -> usize {
    writes.iter().filter(|write| write.what.contains("/services/create")).count()
}

async fn revisions(platform: &Platform) -> Result<Vec<RevisionInfo>> {
    let list: List<RevisionInfo> = platform.api("/v1/orgs/default/apps/shop/revisions").await?;
    Ok(list.items)
}

async fn ok(platform: &Platform, args: &[&str]) -> Result<String> {
    let output = platform.skyctl(args).await?;
    ensure!(output.code == 0, "skyctl {args:?}: {output:?}\n{}", platform.log());
    Ok(output.stdout)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_release_goes_back_under_load_after_one_attempt_and_a_retry_is_one_more() -> Result<()> {
    let dockerd = Dockerd::start().await?;
    let tap = Tap::start(dockerd.beside("tap.sock"), &dockerd.beside("docker.sock"))?;
    let platform = Platform::start_on(dockerd, &tap.host()).await?;
    platform.deploy(&web("VERSION: \"1\"", 1)).await?;
    platform.until_done("shop").await?;
    assert_eq!(creates(&tap.writes()), 1);
    let load = Load::start(HOST, 100);
    platform.apply(&web("VERSION: \"2\", CRASH: \"1\"", 1)).await?;
    let app = platform.until("shop", Duration::from_secs(60), "back at 1", is_back_at(1)).await?;
    let failed = verdict(&app).context("a verdict")?.clone();
    assert_eq!(failed.reason, Some(Reason::CrashLoop), "{failed:?}");
    // Nothing was sent to the engine between the attempt and the verdict: going back comes after it was stored.
    platform
        .until("shop", Duration::from_secs(20), "quiet", |app| {
            !says(app, ConditionType::Progressing, ConditionStatus::True, Reason::RollingOut)
        })
        .await?;
    let writes = tap.writes();
    let attempt = writes.iter().rposition(|write| write.what.contains("/services/create")).context("an attempt")?;
    let after = writes.get(attempt + 1..).unwrap_or_default();
    assert!(!after.is_empty() && after.iter().all(|write| write.at >= failed.time), "{after:?} and the verdict at {}", failed.time);
    assert_eq!(creates(&writes), 2, "{writes:?}");
    // Exactly one attempt, until somebody asks for another.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(tap.writes().len(), writes.len(), "nothing more is tried: {:?}", tap.writes());
    ok(&platform, &["retry", "app/shop"]).await?;
    let again = |app: &App| app.metadata.generation == Some(3) && is_back_at(1)(app);
    platform.until("shop", Duration::from_secs(60), "back at 1 again", again).await?;
    assert_eq!(creates(&tap.writes()), 3, "{:?}", tap.writes());
    let sent = load.stop(500).await.with_context(|| platform.log())?;
    println!("two failed attempts: 0 of {sent} requests failed");

    let lines = revisions(&platform).await?;
    let told: Vec<String> = lines.iter().map(|line| format!("{} {:?} {}", line.generation, line.verdict.phase, line.summary)).collect();
    assert_eq!(told, ["3 Failed retry of revision 2", "2 Failed env +CRASH ~VERSION", "1 Ready created"]);
    assert_eq!(lines.iter().map(|line| line.serving).collect::<Vec<_>>(), [false, false, true]);
    let history = ok(&platform, &["history", "app/shop"]).await?;
    assert!(history.contains("1 *") && history.contains("Failed (CrashLoop)"), "{history}");
    Ok(())
}

#[tokio::test]
async fn a_verdict_that_was_stored_rules_after_a_crash_of_the_server_although_the_release_would_serve() -> Result<()> {
    let dockerd = Dockerd::start().await?;
    let tap = Tap::start(dockerd.beside("tap.sock"), &dockerd.beside("docker.sock"))?;
    let mut platform = Platform::start_on(dockerd, &tap.host()).await?;
    platform.deploy(&web("VERSION: \"1\"", 1)).await?;
    // Both releases run, and nothing is decided yet.
    platform.apply(&web("VERSION: \"2\"", 1).replace("healthWindow: 1s", "healthWindow: 60s")).await?;
    let mixed = |app: &App| says(app, ConditionType::Serving, ConditionStatus::True, Reason::MixedRevisions);
    let app = platform.until("shop", Duration::from_secs(60), "served by both", mixed).await?;
    let message = condition(&app, ConditionType::Serving).map(|found| found.message.clone());
    assert_eq!(message.as_deref(), Some("several revisions answer: revision 1 with 1 task, revision 2 with 1 task"));
    platform.kill_server().await?;
    // The server's PostgreSQL outlives a kill: this is what a server that died right after its verdict leaves behind.
    let failed = r#"{"phase": "Failed", "reason": "CrashLoop", "message": "three tasks ended", "time": "2026-01-01T00:00:00Z"}"#;
    let changed = platform.sql(&format!("UPDATE revisions SET verdict = '{failed}' WHERE generation = 2 RETURNING generation")).await;
    platform.start_server().await?;
    let changed = match changed {
        Ok(changed) => changed,
        // It went down with the server: then the row is changed as soon as it is back.
        Err(_) => platform.sql(&format!("UPDATE revisions SET verdict = '{failed}' WHERE generation = 2 RETURNING generation")).await?,
    };
    assert!(changed.contains('2'), "{changed}");
    platform.until("shop", Duration::from_secs(60), "back at 1", is_back_at(1)).await?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while platform.dockerd.service_names().await?.len() != 1 {
        ensure!(Instant::now() < deadline, "the failed release is left over: {:?}", tap.writes());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(creates(&tap.writes()), 2, "{:?}", tap.writes());
    let (status, body) = platform.get(HOST, "/").await?;
    assert!(status == 200 && body.contains("version: 1"), "{status} {body}");
    Ok(())
}

#[tokio::test]
async fn the_deadline_gives_its_verdict_in_time_also_when_the_server_restarts_in_between() -> Result<()> {
    let mut platform = Platform::start().await?;
    let never = |name: &str, seconds: u32| {
        let spec = format!(
            "  env: {{HEALTH: fail}}\n  processes:\n    web: {{port: 8080, health: {{path: /healthz}}}}\n  rollout: {{healthWindow: 1s, progressDeadline: {seconds}s}}\n"
        );
        manifest(name, &spec)
    };
    platform.apply(&format!("{}---\n{}", never("ten", 10), never("twenty", 20))).await?;
    let ten = platform.until("ten", Duration::from_secs(30), "failed", has_failed).await?;
    platform.kill_server().await?;
    platform.start_server().await?;
    let twenty = platform.until("twenty", Duration::from_secs(40), "failed", has_failed).await?;
    for (app, deadline) in [(ten, 10), (twenty, 20)] {
        let status = app.status.as_ref().context("a status")?;
        let (verdict, rollout) = (status.verdict.as_ref().context("a verdict")?, status.rollout.context("a rollout")?);
        assert_eq!((verdict.reason, verdict.cause), (Some(Reason::ProgressDeadlineExceeded), Some(Reason::HealthCheckFailing)));
        // From when it began: what makes progress is over within a moment here.
        let took = (verdict.time - rollout.started_at).to_std()?;
        println!("deadline of {deadline} s: verdict after {took:?}");
        assert!(took.abs_diff(Duration::from_secs(deadline)) <= Duration::from_secs(5), "{took:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_task_that_eats_more_than_its_limit_is_told_as_out_of_memory() -> Result<()> {
    let platform = Platform::start().await?;
    let spec =
        "  env: {MEMORY_MB: \"200\"}\n  processes:\n    web: {port: 8080, resources: {memory: 32Mi}}\n  rollout: {healthWindow: 5s}\n";
    platform.apply(&manifest("shop", spec)).await?;
    let app = platform.until("shop", Duration::from_secs(90), "failed", has_failed).await?;
    let verdict = verdict(&app).context("a verdict")?;
    let message = verdict.message.clone().unwrap_or_default();
    assert_eq!(verdict.reason, Some(Reason::OutOfMemory), "{message}");
    assert!(message.contains("its limit of 32Mi") && message.contains("task web.1"), "{message}");
    assert!(says(&app, ConditionType::Healthy, ConditionStatus::False, Reason::OutOfMemory), "{app:#?}");
    assert!(!says(&app, ConditionType::Serving, ConditionStatus::True, Reason::Serving), "{app:#?}");
    Ok(())
}

#[tokio::test]
async fn going_back_works_from_an_edit_during_a_failing_rollout_and_to_an_app_without_tasks() -> Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&web("VERSION: \"1\"", 0)).await?;
    // Nothing is to run, so nothing runs after the failure.
    platform.apply(&web("VERSION: \"2\", CRASH: \"1\"", 1)).await?;
    let back = |app: &App| has_failed(app) && says(app, ConditionType::Serving, ConditionStatus::False, Reason::ScaledToZero);
    platform.until("shop", Duration::from_secs(60), "back at nothing", back).await?;
    // An edit during a rollout that is about to fail takes its place.
    platform.apply(&web("VERSION: \"3\", CRASH_AFTER: \"1\"", 1)).await?;
    let seen = |app: &App| says(app, ConditionType::Progressing, ConditionStatus::True, Reason::RollingOut);
    platform.until("shop", Duration::from_secs(20), "rolling out", seen).await?;
    platform.deploy(&web("VERSION: \"4\"", 1)).await?;
    platform.until_done("shop").await?;
    assert_eq!(platform.dockerd.service_names().await?.len(), 1, "releases are left over");
    let told: Vec<(i64, VerdictPhase, bool)> =
        revisions(&platform).await?.iter().map(|line| (line.generation, line.verdict.phase, line.superseded)).collect();
    assert_eq!(
        told.iter().map(|(generation, phase, superseded)| (*generation, *phase == VerdictPhase::Ready, *superseded)).collect::<Vec<_>>(),
        [(4, true, false), (3, false, true), (2, false, false), (1, true, false)],
        "{told:?}"
    );
    let (status, body) = platform.get(HOST, "/").await?;
    assert!(status == 200 && body.contains("version: 4"), "{status} {body}");
    Ok(())
}

#[tokio::test]
async fn another_attempt_at_a_first_release_has_new_tasks() -> Result<()> {
    let dockerd = Dockerd::start().await?;
    let tap = Tap::start(dockerd.beside("tap.sock"), &dockerd.beside("docker.sock"))?;
    let platform = Platform::start_on(dockerd, &tap.host()).await?;
    platform.apply(&web("CRASH: \"1\"", 1)).await?;
    platform.until("shop", Duration::from_secs(60), "failed", has_failed).await?;
    let nothing = platform.skyctl(&["rollback", "app/shop"]).await?;
    assert!(nothing.code != 0 && nothing.stderr.contains("no revision before 1 was ever proven"), "{nothing:?}");
    assert_eq!(creates(&tap.writes()), 1);
    ok(&platform, &["retry", "app/shop"]).await?;
    let again = |app: &App| app.metadata.generation == Some(2) && has_failed(app);
    platform.until("shop", Duration::from_secs(60), "failed again", again).await?;
    assert_eq!(creates(&tap.writes()), 2, "{:?}", tap.writes());
    // And what is put right serves.
    platform.deploy(&web("VERSION: \"3\"", 1)).await?;
    assert_eq!(platform.get(HOST, "/").await?.0, 200);
    Ok(())
}

/// Revision 1: an image, a secret, a domain, two web tasks and a worker. Revision 2: all of it otherwise.
fn whole(first: bool) -> String {
    let (tag, secret, domain, replicas) = if first { ("1.0", "first", "one", 2) } else { ("2.0", "the second", "two", 1) };
    let worker = if first { "\n    worker: {args: [worker]}" } else { "" };
    let spec = format!(
        "  env: {{VERSION: \"{tag}\"}}\n  secrets: {{KEY: {secret}}}\n  domains: [{domain}.example.com]\n  processes:\n    web: {{port: 8080, replicas: {replicas}, health: {{path: /healthz}}}}{worker}\n  rollout: {{healthWindow: 1s}}\n"
    );
    manifest("shop", &spec).replace(IMAGE, &format!("skyswarm/moving:{tag}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_brings_back_image_variables_secret_domain_scale_and_processes_at_once() -> Result<()> {
    let platform = Platform::start().await?;
    let app = from_env("SAMPLE_APP_BIN")?;
    platform.dockerd.import_app("skyswarm/moving:1.0", &app).await?;
    platform.dockerd.import_app("skyswarm/moving:2.0", &app).await?;
    platform.deploy(&whole(true)).await?;
    let secret = platform.get(HOST, "/secret/KEY").await?;
    let first = platform.app("shop").await?;
    platform.deploy(&whole(false)).await?;
    assert_ne!(platform.get(HOST, "/secret/KEY").await?, secret);
    // The tag means something else by now; the rollback must not care.
    let content = tokio::fs::read(&app).await?;
    let files = [tar::File::executable("app", content), tar::File::folder("other", 0o755)];
    let moved = platform.dockerd.import("skyswarm/moving:1.0", &files, vec!["ENTRYPOINT [\"/app\"]".to_owned()]).await?;

    let dry = ok(&platform, &["rollback", "app/shop", "--to", "1", "--dry-run"]).await?;
    assert!(dry.contains("would go back to revision 1") && dry.contains("spec.domains") && dry.contains("Steps:"), "{dry}");
    assert_eq!(platform.app("shop").await?.metadata.generation, Some(2));
    let load = Load::start(HOST, 100);
    ok(&platform, &["rollback", "app/shop", "--wait", "--timeout", "90s"]).await?;
    let sent = load.stop(100).await.with_context(|| platform.log())?;
    println!("rollback: 0 of {sent} requests failed");

    let back = platform.app("shop").await?;
    let image = |app: &App| app.status.as_ref().and_then(|status| status.image.clone());
    assert_eq!(image(&back), image(&first));
    assert_ne!(image(&back).as_deref(), Some(moved.as_str()));
    let mut spec = back.spec.clone();
    spec.secrets.clone_from(&first.spec.secrets);
    assert_eq!(spec, first.spec);
    assert_eq!(platform.get(HOST, "/secret/KEY").await?, secret, "the secret has its old value");
    assert!(platform.get(HOST, "/").await?.1.contains("version: 1.0"));
    assert_eq!(platform.get("one.example.com", "/").await?.0, 200);
    assert_eq!(platform.get("two.example.com", "/").await?.0, 404);
    platform.until("shop", Duration::from_secs(20), "ready", is_ready).await?;
    platform.until_done("shop").await?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while platform.dockerd.running_containers().await? != 3 {
        ensure!(Instant::now() < deadline, "it is not two web tasks and a worker that run");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let shown = ok(&platform, &["show", "app/shop", "--revision", "2"]).await?;
    assert!(shown.contains("two.example.com") && !shown.contains("the second"), "{shown}");

    // Whoever took the host meanwhile keeps it, and then nothing is changed at all.
    let thief = manifest("thief", "  domains: [two.example.com]\n  processes:\n    web: {port: 8080, replicas: 0}\n");
    platform.apply(&thief).await?;
    let refused = platform.skyctl(&["rollback", "app/shop", "--to", "2"]).await?;
    assert!(refused.code != 0 && refused.stderr.contains("two.example.com") && refused.stderr.contains("thief"), "{refused:?}");
    let after = platform.app("shop").await?;
    assert_eq!((after.metadata.generation, after.spec), (back.metadata.generation, back.spec));
    Ok(())
}
