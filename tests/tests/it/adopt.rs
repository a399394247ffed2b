//! Services that run already become apps: no task is restarted, nothing but labels is written, and the first change
//! replaces them like any release.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use api_types::api::PlanResponse;
use api_types::why::Case;
use lab::platform::{IMAGE, Output, Platform};

const HOST: &str = "shop-default.apps.localhost";
const WEB: &str = "foreign-web";
const CACHE: &str = "foreign-cache";
const NETWORK: &str = "foreign-net";

/// A platform beside two services on one network, and the tasks of the first.
async fn planted() -> anyhow::Result<(Platform, BTreeMap<String, String>)> {
    let platform = Platform::start().await?;
    platform.dockerd.plant_network(NETWORK).await?;
    let tasks = platform.dockerd.plant_service(WEB, NETWORK, 2).await?;
    platform.dockerd.plant_service(CACHE, NETWORK, 1).await?;
    Ok((platform, tasks))
}

/// The manifest that `skyctl adopt` writes, with a short health window.
async fn drawn(platform: &Platform, words: &[&str]) -> anyhow::Result<String> {
    let output = platform.skyctl(&[&["adopt"], words].concat()).await?;
    assert_eq!(output.code, 0, "{output:?}\n{}", platform.log());
    println!("{}", output.stdout);
    Ok(output.stdout.replace("\nspec:\n", "\nspec:\n  rollout: {healthWindow: 1s}\n"))
}

async fn taken(platform: &Platform, manifest: &str) -> anyhow::Result<Output> {
    let output = platform.skyctl_with(&["apply", "-f", "-", "--adopt", "--wait", "--timeout", "90s"], manifest).await?;
    assert_eq!(output.code, 0, "{output:?}\n{}", platform.log());
    Ok(output)
}

/// Asks again and again until told to stop; how many requests failed.
async fn ask(stop: Arc<AtomicBool>, sent: Arc<AtomicU64>) -> anyhow::Result<u64> {
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(Duration::from_secs(5)).build()?;
    let mut failed = 0;
    while !stop.load(Ordering::Relaxed) && sent.load(Ordering::Relaxed) < 100_000 {
        let answer = client.get("http://127.0.0.1:8080/").header(reqwest::header::HOST, HOST).send().await;
        sent.fetch_add(1, Ordering::Relaxed);
        if !answer.as_ref().is_ok_and(|answer| answer.status() == 200) {
            println!("failed request: {answer:?}");
            failed += 1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(failed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_taken_over_as_it_runs_and_replaced_by_the_first_change() -> anyhow::Result<()> {
    let (mut platform, tasks) = planted().await?;
    let spec = platform.dockerd.spec_without_labels(WEB).await?;
    let health = platform.dockerd.health_check(WEB).await?;
    assert!(health.contains("NONE"), "{health}");
    let manifest = drawn(&platform, &["service/foreign-web", "--app", "shop"]).await?;
    for said in [
        "foreign-web.constraints: node.role==manager",
        "foreign-web.user: 1000",
        "a port of the nodes with a task leads to 8080",
        "it is on foreign-net",
    ] {
        assert!(manifest.contains(said), "\"{said}\" is not in\n{manifest}");
    }
    // Not without being asked for, and nothing is written then.
    let refused = platform.skyctl_with(&["apply", "-f", "-"], &manifest).await?;
    assert!(refused.code != 0 && refused.stderr.contains("--adopt"), "{refused:?}");
    assert!(platform.app("shop").await.is_err());

    let plan = platform.skyctl_with(&["plan", "-f", "-", "--adopt", "-o", "json"], &manifest).await?;
    let plan: Vec<PlanResponse> = serde_json::from_str(&plan.stdout)?;
    let actions: Vec<&str> = plan[0].steps.iter().map(|step| step.action.as_str()).collect();
    assert_eq!(actions, ["ResolveImage", "AdoptService", "PublishRoute"], "{plan:#?}");

    taken(&platform, &manifest).await?;
    platform.until_done("shop").await?;
    assert_eq!(platform.dockerd.running_tasks(WEB).await?, tasks, "a task was restarted");
    assert_eq!(platform.dockerd.spec_without_labels(WEB).await?, spec, "more than labels was written");
    assert_eq!(platform.dockerd.health_check(WEB).await?, health, "the service's own health check was changed");
    assert_eq!(platform.dockerd.service_names().await?.len(), 0, "a service was made");
    let (status, body) = platform.get(HOST, "/").await?;
    assert!(status == 200 && body.contains("from before"), "{status} {body}");
    let left = platform.skyctl(&["plan", "shop"]).await?;
    assert!(left.stdout.contains("nothing to do"), "{left:?}");
    let logs = platform.skyctl(&["logs", "shop"]).await?;
    assert!(logs.code == 0 && logs.stdout.contains("web.1"), "{logs:?}");

    // The manifest, which says nothing new, and a restart of the server change nothing either.
    let again = platform.apply(&manifest).await?;
    assert!(again.stdout.contains("unchanged"), "{again:?}");
    platform.kill_server().await?;
    platform.start_server().await?;
    platform.until_done("shop").await?;
    assert_eq!(platform.dockerd.running_tasks(WEB).await?, tasks, "a task was restarted");

    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = tokio::spawn(ask(stop.clone(), sent.clone()));
    platform.deploy(&manifest.replace("VERSION: '7'", "VERSION: '8'").replace("VERSION: \"7\"", "VERSION: \"8\"")).await?;
    platform.until_done("shop").await?;
    stop.store(true, Ordering::Relaxed);
    let failed = load.await??;
    println!("{failed} of {} requests failed while the service was replaced", sent.load(Ordering::Relaxed));
    assert_eq!(failed, 0, "{}", platform.log());
    assert!(platform.get(HOST, "/").await?.1.contains('8'));
    assert!(platform.dockerd.running_tasks(WEB).await.is_err(), "the service that was replaced is still there");
    assert_eq!(platform.dockerd.service_names().await?.len(), 1);

    // Back over the taking over: the old content, in a service of the platform's own.
    let back = platform.skyctl(&["rollback", "shop", "--to", "1", "--wait"]).await?;
    assert_eq!(back.code, 0, "{back:?}\n{}", platform.log());
    platform.until_done("shop").await?;
    assert!(platform.get(HOST, "/").await?.1.contains('7'));
    let output = platform.skyctl(&["delete", "app", "shop", "--wait", "--timeout", "60s"]).await?;
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(platform.dockerd.running_tasks(CACHE).await?.len(), 1, "the other service was touched");
    Ok(())
}

#[tokio::test]
async fn what_is_not_what_the_manifest_says_or_somebody_elses_is_not_taken_over() -> anyhow::Result<()> {
    let (platform, tasks) = planted().await?;
    let manifest = drawn(&platform, &["service/foreign-web", "--app", "shop"]).await?;
    let version = platform.dockerd.foreign_objects().await?;
    let refused = async |manifest: &str, said: &str| {
        let output = platform.skyctl_with(&["apply", "-f", "-", "--adopt"], manifest).await?;
        assert!(output.code != 0 && output.stderr.contains(said), "\"{said}\": {output:?}");
        anyhow::Ok(())
    };
    refused(&manifest.replace("from before", "changed"), "env.GREETING has another value there").await?;
    refused(&manifest.replace("replicas: 2", "replicas: 1"), "replicas is 2 there and 1 here").await?;
    refused(&manifest.replace("service: foreign-web", "service: foreign-none"), "there is no service").await?;
    let tenant = platform.tenant_token("default").await?;
    for words in [&["--token", &tenant, "apply", "-f", "-", "--adopt"][..], &["--token", &tenant, "adopt", "service/foreign-web"]] {
        let output = platform.skyctl_with(words, &manifest).await?;
        assert!(output.code != 0 && output.stderr.contains("platform token"), "{output:?}");
    }
    assert_eq!(platform.dockerd.foreign_objects().await?, version, "a service was changed");

    // Taken over by one app, it is not to be had for another; changed by hand, it is put right; deleted with its app.
    taken(&platform, &manifest).await?;
    refused(&manifest.replace("name: shop", "name: thief"), "it belongs to app shop").await?;
    let output = platform.skyctl(&["adopt", "service/foreign-web"]).await?;
    assert!(output.code != 0 && output.stderr.contains("belongs to app shop"), "{output:?}");
    assert_eq!(platform.dockerd.running_tasks(WEB).await?, tasks, "a task was restarted");
    platform
        .dockerd
        .edit_service(WEB, |spec| {
            let container = spec.task_template.as_mut().and_then(|template| template.container_spec.as_mut()).expect("a container");
            container.env = Some(vec!["GREETING=by hand".to_owned(), "VERSION=7".to_owned(), "PORT=8080".to_owned()]);
        })
        .await?;
    for _ in 0..300 {
        let spec = platform.dockerd.spec_without_labels(WEB).await?;
        if spec.contains("GREETING=from before") && spec.contains("node.role==manager") && spec.contains("\"PublishMode\":\"host\"") {
            let output = platform.skyctl(&["delete", "app", "shop", "--wait", "--timeout", "60s"]).await?;
            assert_eq!(output.code, 0, "{output:?}\n{}", platform.log());
            assert!(platform.dockerd.running_tasks(WEB).await.is_err(), "the service of a deleted app is still there");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the change by hand was not put right: {}\n{}", platform.dockerd.spec_without_labels(WEB).await?, platform.log())
}

#[tokio::test]
async fn a_service_that_was_changed_after_its_take_over_was_allowed_is_left_alone_and_why_says_so() -> anyhow::Result<()> {
    let (platform, _) = planted().await?;
    let manifest = drawn(&platform, &["service/foreign-web", "--app", "shop"]).await?;
    // A pause holds the take-over until the service is another one.
    platform.deploy(&format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: shop}}\nspec: {{image: {IMAGE}, processes: {{web: {{replicas: 0}}}}}}\n"
    )).await?;
    assert_eq!(platform.skyctl(&["pause", "app/shop", "--for", "10m", "--because", "a test"]).await?.code, 0);
    let output = platform.skyctl_with(&["apply", "-f", "-", "--adopt"], &manifest).await?;
    assert_eq!(output.code, 0, "{output:?}");
    let scale = |replicas| {
        platform.dockerd.edit_service(WEB, move |spec| {
            spec.mode.as_mut().and_then(|mode| mode.replicated.as_mut()).expect("replicas").replicas = Some(replicas);
        })
    };
    scale(3).await?;
    let changed = platform.dockerd.spec_text(WEB).await?;
    assert_eq!(platform.skyctl(&["resume", "app/shop"]).await?.code, 0);
    let why = platform.until_why("shop", Case::AdoptionRefused, Duration::from_secs(30)).await?;
    assert!(why.summary.contains("replicas is 3 there and 2 here") && !why.next.is_empty(), "{why:?}");
    assert_eq!(platform.dockerd.spec_text(WEB).await?, changed, "the service was changed");
    let tasks = platform.dockerd.until_tasks(WEB, 3).await?;
    // As it was described, it is taken over after all.
    scale(2).await?;
    platform.until_ready("shop").await?;
    let left = platform.dockerd.until_tasks(WEB, 2).await?;
    assert!(left.keys().all(|task| tasks.contains_key(task)), "a task was restarted: {tasks:?}, {left:?}");
    Ok(())
}

#[tokio::test]
async fn a_stack_becomes_an_app_even_if_the_server_is_killed_meanwhile() -> anyhow::Result<()> {
    let mut platform = Platform::start().await?;
    let file = platform.data_dir.with_extension("compose.yml");
    let example = tokio::fs::read_to_string(Platform::examples().join("compose/compose.yml")).await?;
    // The engine's own command line wants a version, and knows no name; the routing mesh needs IPVS, which not every kernel has.
    let text = format!("version: \"3.8\"\n{}", example.replace("name: guestbook\n", "").replace("${TAG:-1.0}", "1.0"))
        .replace("ports: [\"80:8080\"]", "ports: [{target: 8080, mode: host}]")
        // A task counts as running only after its health check, and the image has no curl.
        .replace("    healthcheck:\n      test: [\"CMD\", \"curl\", \"-f\", \"http://localhost:8080/healthz\"]\n      interval: 2s\n", "")
        .replace("      replicas: 2\n", "      replicas: 2\n      endpoint_mode: dnsrr\n")
        .replace("    command: worker\n", "    command: worker\n    deploy: {endpoint_mode: dnsrr}\n");
    tokio::fs::write(&file, text).await?;
    platform.dockerd.stack_deploy(Path::new(&file), "guestbook").await?;
    let web = platform.dockerd.until_tasks("guestbook_web", 2).await?;
    let worker = platform.dockerd.until_tasks("guestbook_worker", 1).await?;
    let manifest = drawn(&platform, &["--stack", "guestbook"]).await?;
    assert_eq!(manifest.matches("kind: App").count(), 1, "{manifest}");
    let output = platform.skyctl_with(&["apply", "-f", "-", "--adopt"], &manifest).await?;
    assert_eq!(output.code, 0, "{output:?}");
    platform.kill_server().await?;
    platform.start_server().await?;
    platform.until_ready("guestbook").await?;
    platform.until_done("guestbook").await?;
    assert_eq!(platform.dockerd.running_tasks("guestbook_web").await?, web, "a task was restarted");
    assert_eq!(platform.dockerd.running_tasks("guestbook_worker").await?, worker, "a task was restarted");
    let (status, _) = platform.get("guestbook.example.com", "/").await?;
    assert_eq!(status, 200);
    // Deployed once more as a stack, which takes our labels away: taken over again, without a restart.
    platform.dockerd.stack_deploy(Path::new(&file), "guestbook").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    platform.until_ready("guestbook").await?;
    platform.until_done("guestbook").await?;
    assert_eq!(platform.dockerd.running_tasks("guestbook_web").await?, web, "a task was restarted");
    assert!(platform.dockerd.services_json().await?.matches("skyswarm.dev/adopted").count() == 2);
    Ok(())
}

#[tokio::test]
async fn an_imported_compose_file_runs() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    let file = Platform::examples().join("compose/compose.yml");
    let imported = platform.skyctl(&["import", &file.display().to_string()]).await?;
    assert_eq!(imported.code, 0, "{imported:?}");
    platform.deploy(&imported.stdout).await?;
    let (status, body) = platform.get("guestbook.example.com", "/").await?;
    assert!(status == 200 && body.contains('7'), "{status} {body}");
    Ok(())
}
