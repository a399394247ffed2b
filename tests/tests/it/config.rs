//! Secrets and domains: a change reaches the tasks and the edge, and nothing leaks.

use std::time::{Duration, Instant};

use lab::load::Load;
use lab::platform::{IMAGE, Platform};

fn with_secret(value: &str) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  image: {IMAGE}\n  secrets: {{STRIPE_KEY: {value}}}\n  processes:\n    web: {{port: 8080}}\n  rollout: {{healthWindow: 1s}}\n"
    )
}

fn with_domains(name: &str, domains: &str) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  image: {IMAGE}\n  env: {{GREETING: from-{name}}}\n  processes:\n    web: {{port: 8080}}\n  domains: [{domains}]\n  rollout: {{healthWindow: 1s}}\n"
    )
}

#[tokio::test]
async fn a_new_secret_value_reaches_the_tasks_and_is_never_read_back() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    let host = "shop-default.apps.localhost";
    let (first, second) = ("\"canary-one-8f2a\"", "\"canary-two-77c1-longer\"");
    platform.deploy(&with_secret(first)).await?;
    let (status, before) = platform.get(host, "/secret/STRIPE_KEY").await?;
    assert_eq!(status, 200, "{before}");
    // Applying the same value is no change; `null` keeps it.
    assert!(platform.apply(&with_secret(first)).await?.stdout.contains("unchanged"));
    assert!(platform.apply(&with_secret("null")).await?.stdout.contains("unchanged"));

    platform.deploy(&with_secret(second)).await?;
    let (_, after) = platform.get(host, "/secret/STRIPE_KEY").await?;
    assert_ne!(before, after, "the tasks still have the old value");
    platform.until_done("shop").await?;
    assert_eq!(platform.dockerd.secret_names().await?.len(), 1, "the old secret is still on the engine");

    let seen = platform.skyctl(&["get", "app", "shop", "-o", "json"]).await?.stdout;
    let events = platform.skyctl(&["events", "-o", "json"]).await?.stdout;
    let services = platform.dockerd.services_json().await?;
    let dump = platform.database_dump().await?;
    let log = std::fs::read_to_string(platform.data_dir.with_extension("log"))?;
    for (what, text) in [("API", seen), ("events", events), ("engine", services), ("database", dump), ("log", log)] {
        assert!(!text.is_empty() && !text.contains("canary-"), "the secret stands in clear in: {what}");
    }
    Ok(())
}

#[tokio::test]
async fn domains_come_move_and_go() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&with_domains("one", "")).await?;
    platform.deploy(&with_domains("two", "")).await?;
    let host = "shop.example.com";
    assert_eq!(platform.get(host, "/").await?.0, 404, "nobody has this host yet");

    let mut times = Vec::new();
    for round in 0..5 {
        let host = format!("h{round}.example.com");
        platform.put_app(&with_domains("one", &host)).await?;
        let begun = Instant::now();
        platform.until_status(&host, 200, Duration::from_secs(30)).await?;
        times.push(begun.elapsed());
    }
    times.sort();
    println!("a new domain answers after {times:?}");

    platform.put_app(&with_domains("one", host)).await?;
    platform.until_status(host, 200, Duration::from_secs(30)).await?;
    // Another app may not take it while the first has it.
    let refused = platform.skyctl_with(&["apply", "-f", "-"], &with_domains("two", host)).await?;
    assert!(refused.code != 0 && refused.stderr.contains("spec.domains[0]"), "{refused:?}");
    // Moved in one transaction.
    platform.apply(&format!("{}---\n{}", with_domains("two", host), with_domains("one", ""))).await?;
    let begun = Instant::now();
    loop {
        let (status, body) = platform.get(host, "/").await?;
        assert!(status == 200 || status == 404, "{status} {body}");
        if body.contains("from-two") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the domain did not move: {body}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("a moved domain answers from its new app after {:?}", begun.elapsed());
    platform.put_app(&with_domains("two", "")).await?;
    let gone = platform.until_status(host, 404, Duration::from_secs(30)).await?;
    println!("a removed domain is gone after {gone:?}");
    Ok(())
}

/// Case 20 of the faults that the platform is proven against; that no value stands anywhere in clear is proven above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_20_a_secret_is_changed_under_load_and_the_old_one_goes_only_after_the_rollout() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    let host = "shop-default.apps.localhost";
    let manifest = |value: &str| with_secret(value).replace("port: 8080", "port: 8080, replicas: 2, health: {path: /healthz}");
    platform.deploy(&manifest("canary-one")).await?;
    let (_, old) = platform.get(host, "/secret/STRIPE_KEY").await?;
    let first = platform.dockerd.secret_names().await?;
    let old_services = platform.dockerd.service_names().await?;
    let load = Load::start(host, 50);
    tokio::time::sleep(Duration::from_secs(1)).await;
    platform.put_app(&manifest("canary-two-longer")).await?;
    // As long as a task of the old release may start, its secret is there.
    let begun = Instant::now();
    loop {
        let services = platform.dockerd.service_names().await?;
        let secrets = platform.dockerd.secret_names().await?;
        if secrets.is_disjoint(&first) {
            assert!(services.is_disjoint(&old_services), "the old secret is gone, and its service is not: {services:?}");
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "the old secret is still there: {secrets:?}\n{}", platform.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    platform.until_ready("shop").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("{} requests, none failed", load.stop(50).await?);
    for _ in 0..20 {
        let (status, now) = platform.get(host, "/secret/STRIPE_KEY").await?;
        assert!(status == 200 && now != old, "a task has the old value: {status} {now}");
    }
    Ok(())
}
