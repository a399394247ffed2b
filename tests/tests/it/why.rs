//! `skyctl why` on real parts: every case of `docs/troubleshooting.md` that an app can get into by itself.

use std::time::Duration;

use api_types::ConditionStatus;
use api_types::why::{Case, Why};
use lab::dockerd::Dockerd;
use lab::platform::{IMAGE, Platform};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MISSING: &str = "registry.invalid/shop@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// An app with one process `web`; `more` are further fields of its spec.
fn manifest(name: &str, image: &str, web: &str, more: &str) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  image: {image}\n  processes:\n    web: {{{web}}}\n  rollout: {{healthWindow: 1s, progressDeadline: 20s}}\n{more}"
    )
}

fn good(name: &str, more: &str) -> String {
    manifest(name, IMAGE, "port: 8080", more)
}

/// What holds for every answer about an app that is not ready.
fn is_helpful(why: &Why) {
    assert!(!why.next.is_empty(), "nothing to do next: {why:#?}");
    assert!(why.since.is_some() || why.chain.iter().any(|link| link.since.is_some()), "since when? {why:#?}");
    assert_eq!(why.see, format!("docs/troubleshooting.md#{}", why.case.word()));
    assert_eq!(why.chain.first().map(|link| link.about.as_str()), Some("Ready"), "{why:#?}");
    assert_ne!(why.ready, ConditionStatus::True, "{why:#?}");
}

/// Waits until `skyctl why` names a case, and checks that it is a whole answer.
async fn told(platform: &Platform, name: &str, case: Case, words: &[&str]) -> anyhow::Result<Why> {
    let why = platform.until_why(name, case, Duration::from_secs(40)).await?;
    is_helpful(&why);
    for word in words {
        assert!(why.summary.contains(word), "{word} is not in: {}", why.summary);
    }
    let text = platform.skyctl(&["why", &format!("app/{name}")]).await?;
    assert_eq!(text.code, 1, "{text:?}");
    assert!(text.stdout.contains(&why.see) && text.stderr.is_empty(), "{text:?}");
    println!("{}", text.stdout);
    Ok(why)
}

#[tokio::test]
async fn a_ready_app_is_proven_to_be_so_and_each_bad_release_is_told_apart() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.apply(&manifest("missing", MISSING, "port: 8080", "")).await?;
    platform.apply(&manifest("crash", IMAGE, "port: 8080", "  env: {CRASH: \"1\"}\n")).await?;
    platform.apply(&manifest("sick", IMAGE, "port: 8080, health: {path: /healthz}", "  env: {HEALTH: fail}\n")).await?;
    platform.apply(&manifest("deaf", IMAGE, "port: 8080, args: [worker]", "")).await?;
    platform.apply(&manifest("huge", IMAGE, "port: 8080, resources: {memory: 4096Gi}", "")).await?;
    platform.apply(&manifest("silent", "registry.invalid/shop:1", "port: 8080", "")).await?;

    told(&platform, "missing", Case::ImageMissing, &["No such image"]).await?;
    let why = told(&platform, "crash", Case::Crash, &["web.1 on node", "exit code 1"]).await?;
    assert!(why.node.is_some(), "{why:#?}");
    let lines = why.log.expect("a log").lines;
    assert!(lines.iter().any(|line| line.contains("crashing, as the environment asks")), "{lines:?}");
    let why = told(&platform, "sick", Case::HealthCheck, &["/healthz answered 500"]).await?;
    assert!(why.log.is_some_and(|log| log.lines.iter().any(|line| line.contains("GET /healthz 500"))));
    told(&platform, "deaf", Case::PortClosed, &["connection refused on port 8080"]).await?;
    told(&platform, "huge", Case::NoNodeFits, &["memory is short: web wants 4096 GiB, the largest node has"]).await?;
    told(&platform, "silent", Case::RegistryUnreachable, &["registry.invalid/shop:1", "the registry registry.invalid did not answer"])
        .await?;

    platform.deploy(&good("fine", "")).await?;
    let why = platform.why("fine").await?;
    assert_eq!((why.case, why.ready), (Case::Ready, ConditionStatus::True), "{why:#?}");
    assert!(why.summary.contains("all 1 tasks run and answer; requests for fine-default.apps.localhost reach 1 tasks"), "{}", why.summary);
    let output = platform.skyctl(&["why", "fine"]).await?;
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    // `describe` shows the way.
    assert!(platform.skyctl(&["describe", "app", "crash"]).await?.stdout.contains("`skyctl why app/crash`"));
    assert!(!platform.skyctl(&["describe", "app", "fine"]).await?.stdout.contains("skyctl why"));
    assert_eq!(platform.skyctl(&["why", "none"]).await?.code, 3);
    Ok(())
}

#[tokio::test]
async fn the_last_lines_of_a_crash_outlive_its_tasks_and_hold_no_secret() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&good("shop", "  secrets: {KEY: \"environment asks\"}\n")).await?;
    platform.apply(&good("shop", "  env: {CRASH: \"1\"}\n  secrets: {KEY: null}\n")).await?;
    let why = told(&platform, "shop", Case::Crash, &["exit code 1"]).await?;
    assert_eq!(why.generation, 2);
    let restored = |app: &api_types::App| app.status.as_ref().is_some_and(|status| status.serving_generation == Some(1));
    platform.until("shop", Duration::from_secs(30), "restored", restored).await?;
    platform.until_done_or_failed("shop").await?;
    let why = told(&platform, "shop", Case::Crash, &["Generation 1 answers meanwhile"]).await?;
    assert_eq!(why.serving_generation, Some(1));
    let log = why.log.expect("a log");
    assert!(log.lines.iter().any(|line| line.contains("crashing, as the ***")), "{log:?}");
    let commands: Vec<String> = why.next.iter().filter_map(|advice| advice.command.clone()).collect();
    assert!(commands.contains(&"skyctl rollback app/shop --to 1".to_owned()), "{commands:?}");
    assert!(!platform.database_dump().await?.contains("as the environment asks"), "the secret came into the database in clear");
    Ok(())
}

#[tokio::test]
async fn a_foreign_object_in_the_way_is_named() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    // Its image cannot be resolved, so it has a uid, but nothing on the engine yet.
    platform.apply(&manifest("late", "registry.invalid/late:1", "port: 8080", "")).await?;
    let uid = platform.app("late").await?.metadata.uid.expect("a uid");
    let taken = skyswarm::kinds::app::names::network(&"late".parse()?, uid);
    platform.dockerd.take_network_name(&taken).await?;
    platform.apply(&good("late", "")).await?;
    let why = told(&platform, "late", Case::NameTaken, &[&format!("network {taken}")]).await?;
    assert!(why.chain.iter().any(|link| link.about == "Accepted"), "{why:#?}");
    Ok(())
}

/// A stand-in for a registry that wants credentials: the engine really asks it, and it answers 401 to everything.
async fn refusing_registry() -> anyhow::Result<u16> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":null}]}"#;
            let head = "HTTP/1.1 401 Unauthorized\r\nDocker-Distribution-Api-Version: registry/2.0\r\nWWW-Authenticate: Basic realm=\"stand-in\"\r\nContent-Type: application/json\r\nConnection: close\r\n";
            let mut request = [0u8; 4096];
            // Whoever hangs up has its answer already.
            if stream.read(&mut request).await.is_ok() {
                let _ = stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
            }
        }
    });
    Ok(port)
}

#[tokio::test]
async fn a_registry_that_wants_credentials_is_told_from_a_missing_image() -> anyhow::Result<()> {
    let port = refusing_registry().await?;
    let platform = Platform::start().await?;
    platform.apply(&manifest("private", &format!("127.0.0.1:{port}/shop:1"), "port: 8080", "")).await?;
    let why = told(&platform, "private", Case::RegistryRefuses, &[&format!("127.0.0.1:{port}/shop:1")]).await?;
    assert!(why.next.iter().any(|advice| advice.text.contains("docker login")), "{why:#?}");
    Ok(())
}

#[tokio::test]
async fn a_swarm_without_a_free_subnet_is_told() -> anyhow::Result<()> {
    // Room for two networks: the Swarm's own, and that of one app.
    let dockerd = Dockerd::start_with_pool("10.201.0.0/23").await?;
    let host = dockerd.host();
    let platform = Platform::start_on(dockerd, &host).await?;
    platform.deploy(&good("one", "")).await?;
    platform.apply(&good("two", "")).await?;
    let why = told(&platform, "two", Case::AddressPoolExhausted, &["no free subnet", "network two-"]).await?;
    assert!(why.chain.iter().any(|link| link.about == "Scheduled"), "{why:#?}");
    assert_eq!(platform.why("one").await?.case, Case::Ready);
    // What it says to do helps.
    assert_eq!(platform.skyctl(&["delete", "app", "one", "--wait", "--timeout", "60s"]).await?.code, 0);
    platform.skyctl(&["retry", "two"]).await?;
    platform.until_ready("two").await?;
    Ok(())
}

#[tokio::test]
async fn a_rollout_under_way_and_a_deletion_are_told_as_what_they_are() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.apply(&good("slow", "").replace("healthWindow: 1s", "healthWindow: 15s")).await?;
    let why = told(&platform, "slow", Case::RollingOut, &["a rollout of slow is under way"]).await?;
    assert!(why.next.iter().any(|advice| advice.command.as_deref() == Some("skyctl wait app/slow --for Ready")), "{why:#?}");
    let windowed = |why: &Why| why.summary.contains("rollout.healthWindow");
    for _ in 0..200 {
        if windowed(&platform.why("slow").await?) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(windowed(&platform.why("slow").await?), "the health window is not told");
    // While the proxy cannot be seen to have forgotten the app, its tasks stay.
    let provider = platform.cut_provider().await?;
    assert_eq!(platform.skyctl(&["delete", "app", "slow"]).await?.code, 0);
    let why = told(&platform, "slow", Case::Deleting, &["slow is being deleted"]).await?;
    assert!(why.next.iter().any(|advice| advice.command.as_deref() == Some("skyctl wait app/slow --for delete")), "{why:#?}");
    platform.mend(&provider).await?;
    let output = platform.skyctl(&["wait", "app/slow", "--for", "delete", "--timeout", "60s"]).await?;
    assert_eq!(output.code, 0, "{output:?}");
    Ok(())
}
