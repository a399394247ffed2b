//! The edge without the server: it goes on, with fresh addresses, passwords and certificates; and it is handed
//! over to the next server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lab::certs::Authority;
use lab::platform::{EDGE_HTTPS, IMAGE, Platform};
use reqwest::header::HOST as HOST_HEADER;
use serde_json::json;

const HOST: &str = "shop-default.apps.localhost";
const CLOSED: &str = "closed-default.apps.localhost";

fn app(name: &str, edge: &str) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  image: {IMAGE}\n  processes:\n    web: {{port: 8080, replicas: 1, health: {{path: /healthz}}}}\n  rollout: {{healthWindow: 1s}}\n  edge: {edge}\n"
    )
}

/// Asks again and again until stopped; counts what was not answered with 200.
async fn load(client: reqwest::Client, stop: Arc<AtomicBool>, failed: Arc<AtomicUsize>) -> usize {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        sent += 1;
        let answer = client.get("http://127.0.0.1:8080/").header(HOST_HEADER, HOST).send().await;
        if !answer.as_ref().is_ok_and(|answer| answer.status() == 200) {
            println!("failed request: {answer:?}");
            failed.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sent
}

async fn with_password(platform: &Platform, password: &str) -> anyhow::Result<u16> {
    let request = platform.http.get("http://127.0.0.1:8080/").header(HOST_HEADER, CLOSED).basic_auth("ana", Some(password));
    Ok(request.send().await?.status().as_u16())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_edge_goes_on_when_the_server_is_killed_even_when_proxy_and_tasks_die_too() -> anyhow::Result<()> {
    let mut platform = Platform::start_with_https().await?;
    let authority = Authority::new();
    let signed = authority.sign(&["*.apps.localhost"], 2040);
    let certificate = json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "Certificate", "metadata": {"name": "apps"},
        "spec": {"chain": signed.chain, "privateKey": signed.key},
    });
    platform.apply(&certificate.to_string()).await?;
    let apps = [app("shop", "{}"), app("closed", "{basicAuth: {users: {ana: {password: correct horse}}}}")];
    platform.deploy(&apps.join("---\n")).await?;
    let edge = EDGE_HTTPS.parse::<SocketAddr>()?;
    let (client, url) = (authority.client(&[HOST], edge), format!("https://{HOST}:{}/", edge.port()));
    anyhow::ensure!(client.get(&url).send().await?.status() == 200);

    // The server dies. Nothing is lost, also not after its pipes are closed for long.
    let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let task = tokio::spawn(load(platform.http.clone(), stop.clone(), failed.clone()));
    let proxies = platform.traefiks();
    platform.kill_server().await?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    stop.store(true, Ordering::Relaxed);
    let sent = task.await?;
    println!("{} of {sent} requests failed in 6 s without a server", failed.load(Ordering::Relaxed));
    assert!(sent > 100 && failed.load(Ordering::Relaxed) == 0, "{}", platform.log());
    assert_eq!(platform.traefiks(), proxies, "it is the same proxy all the time");

    // A task dies: the engine starts another one, on whatever address, and the edge finds it.
    assert_eq!(platform.dockerd.kill_containers("shop-").await?, 1);
    println!("the next task serves {:?} after the first died", platform.until_status(HOST, 200, Duration::from_secs(30)).await?);
    // The proxy dies: it comes back with routes, passwords and certificate.
    platform.kill_traefik().await?;
    println!("the proxy serves again after {:?}", platform.until_status(HOST, 200, Duration::from_secs(15)).await?);
    assert_ne!(platform.traefiks(), proxies);
    assert_eq!(platform.get(CLOSED, "/").await?.0, 401);
    assert_eq!((with_password(&platform, "correct horse").await?, with_password(&platform, "wrong").await?), (200, 401));
    assert_eq!(client.get(&url).send().await?.status(), 200, "the certificate is the administrator's");

    // The next server takes the edge over.
    let (keepers, begun) = (platform.keepers(), Instant::now());
    let longest = tokio::spawn(longest_gap(platform.http.clone()));
    platform.start_server().await?;
    println!("the next server is ready after {:?}", begun.elapsed());
    platform.until_ready("shop").await?;
    println!("longest time without an answer while the edge was handed over: {:?}", longest.await?);
    assert_eq!((platform.keepers().len(), platform.traefiks().len()), (1, 1));
    assert_ne!(platform.keepers(), keepers);
    platform.stop_server().await?;
    assert!(platform.keepers().is_empty() && platform.traefiks().is_empty(), "a server that ends in order leaves nothing");
    Ok(())
}

/// The longest time without an answer within eight seconds.
async fn longest_gap(client: reqwest::Client) -> Duration {
    let (begun, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    while begun.elapsed() < Duration::from_secs(8) {
        let answer = client.get("http://127.0.0.1:8080/").header(HOST_HEADER, HOST).send().await;
        if answer.is_ok_and(|answer| answer.status() == 200) {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    longest.max(last.elapsed())
}

#[tokio::test]
async fn a_killed_keeper_is_started_again_and_the_proxy_with_it() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&app("shop", "{}")).await?;
    let proxies = platform.traefiks();
    platform.kill_keeper().await?;
    let begun = Instant::now();
    while platform.traefiks() == proxies || platform.traefiks().len() != 1 {
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(15), "the proxy of the dead keeper is still there\n{}", platform.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    platform.until_status(HOST, 200, Duration::from_secs(10)).await?;
    println!("served again by a new proxy after {:?}", begun.elapsed());
    platform.until_ready("shop").await?;
    assert_eq!(platform.keepers().len(), 1);
    Ok(())
}

/// Case 15 of the faults that the platform is proven against, on real parts: the proxy goes on, and even begins anew, without the database
/// and without the server. That the provider never answers with an empty document, and that revisions only grow, is proven in `edge/`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_15_the_edge_serves_without_the_database_and_from_its_last_known_state() -> anyhow::Result<()> {
    let platform = Platform::start_apart().await?;
    let mut controller = platform.controller(1, &platform.dockerd.host())?;
    controller.start(&[]).await?;
    platform.deploy(&app("shop", "{}")).await?;
    platform.until_done("shop").await?;
    let database = platform.database.as_ref().ok_or_else(|| anyhow::anyhow!("no database"))?;
    let load = lab::load::Load::start(HOST, 40);
    database.allow(false).await?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    println!("{} requests without a database, none failed", load.stop(100).await?);
    anyhow::ensure!(!controller.health().await?.ok, "it cannot be ready without a database");
    controller.kill_traefik()?;
    println!("the proxy, begun anew, serves after {:?}", platform.until_status(HOST, 200, Duration::from_secs(30)).await?);
    // Neither server nor database: what is left is the file.
    controller.kill().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    controller.kill_traefik()?;
    println!("from the file it serves after {:?}", platform.until_status(HOST, 200, Duration::from_secs(30)).await?);
    database.allow(true).await?;
    controller.start(&[]).await?;
    platform.deploy(&app("shop", "{maintenance: {enabled: true}}")).await?;
    platform.until_status(HOST, 503, Duration::from_secs(30)).await?;
    Ok(())
}
