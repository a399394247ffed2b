//! `skyctl why` and `skyctl status` when it is the platform that is in the way: routes, hosts, engine, controller, queue,
//! pause and database.

use std::time::Duration;

use api_types::ConditionStatus;
use api_types::platform::PlatformStatus;
use api_types::why::{Case, Why};
use lab::platform::{IMAGE, Output, Platform};

fn app(name: &str, image: &str, more: &str) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  image: {image}\n  processes:\n    web: {{port: 8080}}\n  rollout: {{healthWindow: 1s, progressDeadline: 60s}}\n{more}"
    )
}

async fn told(platform: &Platform, name: &str, case: Case, words: &[&str]) -> anyhow::Result<Why> {
    let why = platform.until_why(name, case, Duration::from_secs(40)).await?;
    assert!(!why.next.is_empty() && why.see.ends_with(&format!("#{}", case.word())), "{why:#?}");
    for word in words {
        assert!(why.summary.contains(word), "{word} is not in: {}", why.summary);
    }
    println!("{}", platform.skyctl(&["why", name]).await?.stdout);
    Ok(why)
}

async fn status(platform: &Platform) -> anyhow::Result<(PlatformStatus, Output)> {
    let output = platform.skyctl(&["status", "-o", "json"]).await?;
    Ok((serde_json::from_str(&output.stdout)?, output))
}

#[tokio::test]
async fn hosts_that_are_taken_unsafe_or_lead_nowhere() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&app("shop", IMAGE, "  domains: [shop.example.com]\n")).await?;
    // Refused by apply: nothing is stored, and the page is named.
    let output = platform.skyctl_with(&["apply", "-f", "-"], &app("blog", IMAGE, "  domains: [shop.example.com]\n")).await?;
    assert_eq!(output.code, 5, "{output:?}");
    assert!(output.stderr.contains("shop.example.com is in use by another app of this organization, shop"), "{output:?}");
    assert!(output.stderr.contains("docs/troubleshooting.md#host-in-use"), "{output:?}");
    for host in ["\"*.example.com\"", "127.0.0.1", "other-default.apps.localhost", "\"a.example.com`)\""] {
        let output = platform.skyctl_with(&["apply", "-f", "-"], &app("blog", IMAGE, &format!("  domains: [{host}]\n"))).await?;
        assert_eq!(output.code, 2, "{host}: {output:?}");
        assert!(output.stderr.contains("docs/troubleshooting.md#unsafe-host"), "{host}: {output:?}");
    }
    assert!(platform.app("blog").await.is_err());
    // A proxy that cannot fetch its document goes on with what it has: the new domain is not routed, and that is told.
    let cut = platform.cut_provider().await?;
    platform.apply(&app("shop", IMAGE, "  domains: [shop.example.com, new.example.com]\n")).await?;
    let why = told(&platform, "shop", Case::DomainNotRouted, &["new.example.com", "older version of the route"]).await;
    platform.mend(&cut).await?;
    assert!(why?.chain.iter().any(|link| link.about == "Routed"));
    platform.until_ready("shop").await?;
    // A proxy that does not answer cannot vouch for a route.
    let proxy = platform.traefik_pid()?;
    let stopped = rustix::process::Pid::from_raw(proxy).expect("a pid");
    rustix::process::kill_process(stopped, rustix::process::Signal::STOP)?;
    platform.apply(&app("shop", IMAGE, "  domains: [www.example.com]\n")).await?;
    let why = platform.until_why("shop", Case::EdgeUnreachable, Duration::from_secs(40)).await;
    rustix::process::kill_process(stopped, rustix::process::Signal::CONT)?;
    let why = why?;
    assert!(why.chain.iter().any(|link| link.about == "Routed"), "{why:#?}");
    platform.until_ready("shop").await?;
    Ok(())
}

#[tokio::test]
async fn an_engine_that_is_gone_is_told_by_why_and_status() -> anyhow::Result<()> {
    let mut platform = Platform::start().await?;
    platform.deploy(&app("shop", IMAGE, "")).await?;
    // The first report was made while the proxy was starting; the next is soon.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let before = loop {
        let (found, output) = status(&platform).await?;
        let resynced =
            found.processes.iter().any(|process| process.report.queue.as_ref().is_some_and(|queue| queue.resync_seconds.is_some()));
        if found.healthy && output.code == 0 && resynced {
            break found;
        }
        assert!(std::time::Instant::now() < deadline, "{output:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let leader = before.processes.iter().find(|process| process.epoch.is_some()).expect("a leader");
    assert_eq!(leader.report.roles, ["api", "controller", "edge"]);
    platform.dockerd.kill9().await?;
    let why = told(&platform, "shop", Case::EngineUnreachable, &["shop"]).await?;
    assert_ne!(why.ready, ConditionStatus::True);
    let (down, output) = status(&platform).await?;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(down.problems.iter().any(|problem| problem.contains("cannot be used")), "{down:#?}");
    platform.dockerd.restart().await?;
    platform.until_why("shop", Case::Ready, Duration::from_secs(90)).await?;
    Ok(())
}

#[tokio::test]
async fn a_change_waits_for_a_leader_and_in_the_queue_and_for_the_end_of_a_pause() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&app("shop", IMAGE, "")).await?;
    let output = platform.skyctl(&["pause", "app/shop", "--for", "1h", "--because", "a look at the data"]).await?;
    if output.code == 0 {
        platform.apply(&app("shop", IMAGE, "  env: {A: \"1\"}\n")).await?;
        told(&platform, "shop", Case::Paused, &["a look at the data"]).await?;
        assert_eq!(platform.skyctl(&["resume", "app/shop"]).await?.code, 0);
        platform.until_ready("shop").await?;
    }
    // One run at a time, and one that waits for a registry which takes the connection and says nothing.
    platform.skyctl(&["settings", "set", "controller.concurrency", "1"]).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    for name in ["slow", "slower", "slowest"] {
        platform.apply(&app(name, &format!("127.0.0.1:{port}/{name}:1"), "")).await?;
    }
    platform.apply(&app("late", IMAGE, "")).await?;
    let why = told(&platform, "late", Case::Queued, &["waits for a controller"]).await?;
    assert!(why.chain.iter().any(|link| link.about == "queue"), "{why:#?}");
    held.abort();
    platform.skyctl(&["settings", "set", "controller.concurrency", "8"]).await?;
    platform.until_why("late", Case::Ready, Duration::from_secs(60)).await?;
    // Somebody else has the lease, and does nothing with it.
    platform.sql("UPDATE leases SET holder = 'nobody', epoch = epoch + 1, expires_at = clock_timestamp() + interval '1 hour'").await?;
    platform.apply(&app("shop", IMAGE, "  env: {A: \"2\"}\n")).await?;
    let why = told(&platform, "shop", Case::NoController, &["no controller"]).await?;
    assert_eq!(why.ready, ConditionStatus::Unknown);
    let (status, output) = status(&platform).await?;
    assert!(output.code == 1 && status.problems.iter().any(|problem| problem.contains("no controller leads")), "{status:#?}");
    platform.sql("UPDATE leases SET expires_at = clock_timestamp()").await?;
    platform.until_why("shop", Case::Ready, Duration::from_secs(60)).await?;
    Ok(())
}

#[tokio::test]
async fn a_database_that_is_gone_is_named_and_the_exit_code_is_6() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&app("shop", IMAGE, "")).await?;
    // It cannot come back while its folder has another name.
    let (folder, aside) = (platform.data_dir.join("postgres"), platform.data_dir.join("postgres-aside"));
    platform.kill_postgres().await?;
    std::fs::rename(&folder, &aside)?;
    for verb in [&["why", "shop", "--org", "default"][..], &["status"]] {
        let output = platform.skyctl(verb).await?;
        assert_eq!(output.code, 6, "{verb:?}: {output:?}");
        assert!(output.stderr.contains("database"), "{verb:?}: {output:?}");
    }
    // The edge does not need it.
    assert_eq!(platform.get("shop-default.apps.localhost", "/").await?.0, 200);
    Ok(())
}
