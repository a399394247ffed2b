//! The kind Certificate on a whole platform: applied by `skyctl`, served by the edge, told truly.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use api_types::{Certificate, Condition, Reason};
use chrono::{Datelike, TimeDelta};
use lab::certs::{Authority, Signed};
use lab::platform::{EDGE_HTTPS, IMAGE, Platform};
use serde_json::json;
use skyswarm::clock::SystemClock;

const HOST: &str = "shop-default.apps.localhost";

fn manifest(signed: &Signed) -> String {
    json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "Certificate", "metadata": {"name": "apps"},
        "spec": {"chain": signed.chain, "privateKey": signed.key},
    })
    .to_string()
}

/// Waits until the certificate's newest generation has a reason.
async fn until(platform: &Platform, reason: Reason) -> anyhow::Result<(Certificate, Condition)> {
    let begun = Instant::now();
    loop {
        let found: Certificate = platform.api("/v1/certificates/apps").await?;
        let conditions = found.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| Some(condition.observed_generation) == found.metadata.generation);
        match ready {
            Some(ready) if ready.reason == reason => return Ok((found, ready)),
            last => anyhow::ensure!(begun.elapsed() < Duration::from_secs(20), "not {reason}: {last:?}\n{}", platform.log()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_applied_served_renewed_and_deleted() -> anyhow::Result<()> {
    let platform = Platform::start_with_https().await?;
    let (authority, edge) = (Authority::new(), EDGE_HTTPS.parse::<SocketAddr>()?);
    platform
        .deploy(&format!(
            "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  image: {IMAGE}\n  processes: {{web: {{port: 8080, health: {{path: /healthz}}}}}}\n  rollout: {{healthWindow: 1s}}\n  edge: {{https: {{redirect: true}}}}\n"
        ))
        .await?;
    assert_eq!(platform.get(HOST, "/").await?.0, 301);
    let client = authority.client(&[HOST], edge);
    let url = format!("https://{HOST}:{}/", edge.port());
    assert!(client.get(&url).send().await.is_err(), "nobody trusts the edge's own certificate");

    // A certificate of another key is refused, with its field, and nothing is stored.
    let (first, other) = (authority.sign(&["*.apps.localhost"], 2040), authority.sign(&["*.apps.localhost"], 2040));
    let wrong = Signed { chain: first.chain.clone(), key: other.key.clone() };
    let refused = platform.skyctl_with(&["apply", "-f", "-"], &manifest(&wrong)).await?;
    assert!(refused.code != 0 && refused.stderr.contains("spec.privateKey"), "{refused:?}");
    assert!(!format!("{refused:?}").contains(other.key.lines().nth(1).expect("a line")), "the key is repeated");

    let begun = Instant::now();
    platform.apply(&manifest(&first)).await?;
    let (stored, ready) = until(&platform, Reason::CertificateServed).await?;
    println!("served and told after {:?}", begun.elapsed());
    assert!(ready.message.contains("*.apps.localhost"), "{}", ready.message);
    assert_eq!(client.get(&url).send().await?.status(), 200);

    // One that ends soon says so, and counts down; it replaces the first without a restart.
    let soon = (SystemClock::shared().now() + TimeDelta::days(10)).date_naive();
    let day = (soon.year(), u8::try_from(soon.month())?, u8::try_from(soon.day())?);
    let second = authority.sign_to_day(&["*.apps.localhost"], day);
    platform.apply(&manifest(&second)).await?;
    let (renewed, ready) = until(&platform, Reason::CertificateExpiring).await?;
    assert!(ready.message.contains("it ends in"), "{}", ready.message);
    assert_ne!(renewed.status.expect("a status").fingerprint, stored.status.expect("a status").fingerprint);
    assert_eq!(client.get(&url).send().await?.status(), 200);
    let metrics = platform.http.get("http://127.0.0.1:7070/metrics").send().await?.text().await?;
    let left = metrics.lines().find_map(|line| line.strip_prefix("skyswarm_certificate_expiry_seconds{certificate=\"apps\"} "));
    let left: i64 = left.expect("the metric").parse()?;
    assert!((8 * 86_400..10 * 86_400).contains(&left), "{left}");

    let listed = platform.skyctl(&["get", "certificates"]).await?;
    assert!(listed.stdout.contains("CertificateExpiring") && listed.stdout.contains("*.apps.localhost"), "{listed:?}");
    let described = platform.skyctl(&["describe", "certificate/apps"]).await?;
    assert!(described.stdout.contains("apply a new one"), "{described:?}");
    // What is shown can be applied again, without its key.
    let yaml = platform.skyctl(&["get", "certificate", "apps", "-o", "yaml"]).await?;
    assert!(!yaml.stdout.contains("PRIVATE KEY"), "{yaml:?}");
    let again = platform.apply(&yaml.stdout).await?;
    assert!(again.stdout.contains("unchanged"), "{again:?}");
    for (what, text) in [("the database", platform.database_dump().await?), ("the log", platform.log())] {
        for key in [&first.key, &second.key] {
            assert!(!text.contains(key.lines().nth(1).expect("a line")), "{what} holds the key in clear");
        }
    }

    let deleted = platform.skyctl(&["delete", "certificate/apps"]).await?;
    assert_eq!(deleted.code, 0, "{deleted:?}");
    let begun = Instant::now();
    while client.get(&url).send().await.is_ok() {
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(10), "the deleted certificate is still served");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
