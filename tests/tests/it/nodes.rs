//! Several nodes: what is seen of them, and what may be asked of them.

use std::time::Duration;

use api_types::api::List;
use api_types::kinds::node::Availability;
use api_types::{ConditionStatus, ConditionType, Node};
use lab::cluster;
use lab::platform::Platform;

/// Waits until a node is as wanted.
pub(super) async fn until_node(platform: &Platform, name: &str, what: &str, wanted: impl Fn(&Node) -> bool) -> anyhow::Result<Node> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let node = platform.api::<Node>(&format!("/v1/nodes/{name}")).await;
        match node {
            Ok(node) if wanted(&node) => return Ok(node),
            last if tokio::time::Instant::now() >= deadline => anyhow::bail!("{name} is not {what}: {last:#?}\n{}", platform.log()),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn is(node: &Node, state: &str, availability: &str) -> bool {
    node.status.as_ref().is_some_and(|status| status.state == state && status.availability == availability)
}

/// A second engine joins: it is listed with all that is known of it, it is drained and activated, and what somebody else
/// sets against what was asked for is put right.
#[tokio::test]
async fn a_node_is_seen_drained_and_activated() -> anyhow::Result<()> {
    let platform = Platform::start_cluster(&[]).await?;
    let second = cluster::join(&platform.dockerd, 2).await?;
    let node = until_node(&platform, "node2", "ready", |node| is(node, "ready", "active")).await?;
    let status = node.status.expect("a status");
    assert_eq!((status.id.as_str(), status.role.as_str(), status.address.as_deref()), (second.id.as_str(), "worker", Some("10.99.0.2")));
    assert!(status.cpu_millis > 0 && status.memory_bytes > 0 && status.engine_version.is_some());
    let all: List<Node> = platform.api("/v1/nodes").await?;
    let first = all.items.iter().find(|node| node.metadata.name != "node2").expect("the first node");
    assert_eq!(first.status.as_ref().and_then(|status| status.address.as_deref()), Some(cluster::FIRST));

    let drained = platform.skyctl(&["drain", "node2", "--wait"]).await?;
    assert_eq!((drained.code, drained.stdout.as_str()), (0, "node/node2 drained\n"), "{drained:?}");
    let node = until_node(&platform, "node2", "drained", |node| is(node, "ready", "drain")).await?;
    let ready = api_types::condition::find(&node.status.as_ref().expect("a status").conditions, ConditionType::Ready).cloned();
    assert_eq!(ready.expect("a condition").status, ConditionStatus::False);
    assert_eq!(node.spec.availability, Some(Availability::Drain));

    // Somebody sets it by hand.
    let engine = platform.dockerd.connect()?;
    skyswarm::engines::swarm::SwarmEngine::node_set_availability(&engine, &second.id, Availability::Active).await?;
    until_node(&platform, "node2", "drained again", |node| is(node, "ready", "drain")).await?;

    let active = platform.skyctl(&["activate", "node/node2", "--wait"]).await?;
    assert_eq!((active.code, active.stdout.as_str()), (0, "node/node2 active\n"), "{active:?}");
    let wrong = platform.skyctl(&["drain", "node3"]).await?;
    assert_eq!(wrong.code, 3, "{wrong:?}");
    assert!(wrong.stderr.contains("there is no node") && wrong.stderr.contains("node2"), "{wrong:?}");
    let text = platform.skyctl(&["describe", "node", "node2"]).await?;
    assert!(text.stdout.contains("Address:") && text.stdout.contains("10.99.0.2") && text.stdout.contains("Ready"), "{text:?}");
    Ok(())
}
