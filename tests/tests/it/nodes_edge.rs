//! Requests for tasks on other nodes: over mutual TLS, and through what goes wrong with nodes and agents.

use std::time::Duration;

use api_types::{ConditionStatus, ConditionType, Reason};
use lab::cluster::{self, Node};
use lab::load::Load;
use lab::platform::{IMAGE, Platform};

use super::nodes::until_node;

const HOST: &str = "shop-default.apps.localhost";
const GATEWAY: &str = "10.99.0.1:7071";
const ARGUMENTS: [&str; 2] = ["--agent-listen", GATEWAY];

fn manifest(replicas: u32) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  image: {IMAGE}\n  processes:\n    web: {{port: 8080, replicas: {replicas}, health: {{path: /healthz}}}}\n  rollout: {{healthWindow: 1s}}\n"
    )
}

/// A platform of two nodes, the second with an agent.
async fn two_nodes() -> anyhow::Result<(Platform, Node)> {
    let platform = Platform::start_cluster(&ARGUMENTS).await?;
    let mut second = cluster::join(&platform.dockerd, 2).await?;
    cluster::copy_image(&platform.dockerd, &second, IMAGE).await?;
    until_node(&platform, "node2", "known", |node| node.status.as_ref().is_some_and(|status| status.state == "ready")).await?;
    second.start_agent(GATEWAY, &platform.join_token().await?).await?;
    until_condition(&platform, ConditionType::AgentReady, ConditionStatus::True).await?;
    Ok((platform, second))
}

async fn until_condition(platform: &Platform, kind: ConditionType, status: ConditionStatus) -> anyhow::Result<()> {
    let what = format!("{kind}={status}");
    let is = move |node: &api_types::Node| {
        let conditions = node.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        api_types::condition::find(conditions, kind).is_some_and(|found| found.status == status)
    };
    until_node(platform, "node2", &what, is).await.map(drop)
}

/// Which host names answer over some requests.
async fn answering(platform: &Platform, requests: usize) -> anyhow::Result<std::collections::BTreeMap<String, usize>> {
    let mut found = std::collections::BTreeMap::new();
    for _ in 0..requests {
        let (status, body) = platform.get(HOST, "/").await?;
        anyhow::ensure!(status == 200, "{status}: {body}");
        let host = body.lines().find_map(|line| line.strip_prefix("hostname: ")).unwrap_or_default().to_owned();
        *found.entry(host).or_default() += 1;
    }
    Ok(found)
}

/// Containers of the app on a node.
async fn containers(dockerd: &lab::dockerd::Dockerd) -> anyhow::Result<usize> {
    Ok(dockerd.docker()?.list_containers(None::<bollard::query_parameters::ListContainersOptions>).await?.len())
}

/// Waits until both nodes have a task of the app.
async fn spread(platform: &Platform, second: &Node) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let (here, there) = (containers(&platform.dockerd).await?, containers(&second.dockerd).await?);
        if here > 0 && there > 0 {
            return Ok(());
        }
        anyhow::ensure!(tokio::time::Instant::now() < until, "tasks did not spread: {here} here, {there} there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A request that enters at the first node is answered by tasks of both; who shows no certificate is not let in at the
/// second; its figures are told; emptying it under load loses no request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_reach_tasks_of_both_nodes_and_a_drain_under_load_loses_none() -> anyhow::Result<()> {
    let (platform, second) = two_nodes().await?;
    platform.deploy(&manifest(4)).await?;
    spread(&platform, &second).await?;
    let found = answering(&platform, 40).await?;
    assert_eq!(found.len(), 4, "all four tasks answer: {found:?}");

    // Nobody without a certificate of the platform's authority gets anything from the port between nodes.
    let edge = format!("{}:7443", second.namespace.address);
    let plain = platform.http.get(format!("http://{edge}/")).header("host", HOST).send().await?;
    assert_eq!(plain.status(), 404, "plain HTTP leads to no app");
    let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build()?;
    let error = client.get(format!("https://{edge}/")).header("host", HOST).send().await.expect_err("no certificate, no answer");
    println!("without a certificate: {error:?}");

    // What tasks of the other node use is told as well.
    let until = tokio::time::Instant::now() + Duration::from_secs(40);
    loop {
        let usage: api_types::usage::Usage = platform.api("/v1/orgs/default/usage").await?;
        let of_second: Vec<_> = usage.tasks.iter().filter(|task| task.node == "node2").collect();
        if !of_second.is_empty() && of_second.iter().all(|task| task.memory_bytes.is_some_and(|bytes| bytes > 0)) {
            break;
        }
        anyhow::ensure!(tokio::time::Instant::now() < until, "no figures of node2: {usage:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    let load = Load::start(HOST, 50);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let drained = platform.skyctl(&["drain", "node2", "--wait"]).await?;
    assert_eq!(drained.code, 0, "{drained:?}");
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    while containers(&second.dockerd).await? > 0 {
        anyhow::ensure!(tokio::time::Instant::now() < until, "node2 still has tasks");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    platform.until_done("shop").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sent = load.stop(50).await.map_err(|error| error.context(format!("{}\n{}", platform.log(), second.agent_log())))?;
    println!("{sent} requests through the drain, none failed");
    Ok(())
}

/// The node's power is cut: from when the engine says so, no request goes there; until then each is tried elsewhere. When
/// the node is back, its tasks answer again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_leaves_the_routes_and_comes_back() -> anyhow::Result<()> {
    let (platform, second) = two_nodes().await?;
    platform.deploy(&manifest(2)).await?;
    spread(&platform, &second).await?;
    assert_eq!(answering(&platform, 20).await?.len(), 2);
    // Connections that are kept for a next request end; what is sent over one that is cut is lost.
    tokio::time::sleep(Duration::from_secs(2)).await;
    second.namespace.cut(true).await?;
    // Before the engine knows, a request that is tried there goes elsewhere.
    for _ in 0..5 {
        let (status, body) = platform.get(HOST, "/").await?;
        assert_eq!(status, 200, "{body}");
    }
    until_node(&platform, "node2", "down", |node| node.status.as_ref().is_some_and(|status| status.state == "down")).await?;
    // The document without the node's tasks follows within moments.
    let gone = tokio::time::Instant::now() + Duration::from_secs(30);
    while document_names_node(&platform).await? {
        anyhow::ensure!(tokio::time::Instant::now() < gone, "the proxy still sends requests to the node that is down");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (host, _) in answering(&platform, 20).await? {
        println!("{host} answers without node2");
    }
    second.namespace.cut(false).await?;
    until_node(&platform, "node2", "back", |node| node.status.as_ref().is_some_and(|status| status.state == "ready")).await?;
    until_condition(&platform, ConditionType::AgentReady, ConditionStatus::True).await?;
    platform.until_done("shop").await?;
    answering(&platform, 10).await?;
    Ok(())
}

/// Whether the server keeps any task of another node for its edge.
async fn document_names_node(platform: &Platform) -> anyhow::Result<bool> {
    let text = tokio::fs::read_to_string(platform.data_dir.join("edge/others.json")).await?;
    Ok(text.contains("\"node\""))
}

/// The agent is killed: its node's edge goes on, and requests for tasks there with it. A new agent takes over without a new
/// token. Then the server is killed, and starts again with the agent's tasks still there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_and_server_may_be_killed_while_requests_go_on() -> anyhow::Result<()> {
    let (mut platform, mut second) = two_nodes().await?;
    platform.deploy(&manifest(2)).await?;
    spread(&platform, &second).await?;
    second.kill_agent().await?;
    assert_eq!(answering(&platform, 20).await?.len(), 2, "tasks beside a killed agent still answer");
    until_condition(&platform, ConditionType::AgentReady, ConditionStatus::Unknown).await?;
    assert_eq!(answering(&platform, 20).await?.len(), 2);
    second.start_agent(GATEWAY, "").await?;
    until_condition(&platform, ConditionType::AgentReady, ConditionStatus::True).await?;
    assert_eq!(answering(&platform, 20).await?.len(), 2);

    platform.kill_server().await?;
    answering(&platform, 10).await?;
    platform.start_server().await?;
    let until = tokio::time::Instant::now() + Duration::from_secs(40);
    while answering(&platform, 20).await.map_or(0, |found| found.len()) < 2 {
        anyhow::ensure!(tokio::time::Instant::now() < until, "node2's task does not answer after the server's restart\n{}", platform.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let app = platform.until_ready("shop").await?;
    assert_eq!(lab::platform::condition(&app, ConditionType::Ready).map(|found| found.reason), Some(Reason::Serving));
    Ok(())
}
