//! A node as users see it. Pure.

use api_types::kinds::node::{Availability, Node, NodeSpec, NodeStatus};
use api_types::meta::ObjectMeta;
use api_types::{Condition, ConditionStatus, ConditionType, Reason};
use chrono::{DateTime, Utc};

use crate::engines::swarm::SwarmNode;

/// The row of one node. `previous` gives transition times.
pub fn node(found: &SwarmNode, wanted: Option<Availability>, previous: &[Node], now: DateTime<Utc>) -> Node {
    let mut node = Node::new(ObjectMeta::named(name(found)), NodeSpec { availability: wanted });
    let before = previous.iter().filter_map(|node| node.status.as_ref()).find(|status| status.id == found.id);
    let (status, reason, message) = match (found.state.as_str(), found.availability.as_str()) {
        ("ready", "active") => (ConditionStatus::True, Reason::Available, "the node takes tasks".to_owned()),
        ("ready", other) => (ConditionStatus::False, Reason::Unavailable, format!("the node is set to {other}; it takes no new tasks")),
        ("unknown", _) => (ConditionStatus::Unknown, Reason::Pending, "the engine does not know the node's state".to_owned()),
        (state, _) => (ConditionStatus::False, Reason::Unavailable, format!("the engine says that the node is {state}: {}", found.message)),
    };
    let condition = Condition { kind: ConditionType::Ready, status, reason, message, observed_generation: 0, last_transition_time: now };
    node.status = Some(NodeStatus {
        id: found.id.clone(),
        role: found.role.clone(),
        availability: found.availability.clone(),
        state: found.state.clone(),
        leader: found.leader,
        address: Some(found.address.clone()).filter(|address| !address.is_empty()),
        engine_version: Some(found.engine_version.clone()).filter(|version| !version.is_empty()),
        cpu_millis: found.nano_cpus / 1_000_000,
        memory_bytes: found.memory_bytes,
        labels: found.labels.clone(),
        conditions: vec![condition.since(before.map(|status| status.conditions.as_slice()).unwrap_or_default())],
        observed_at: Some(now),
    });
    node
}

/// Host names are not unique in a Swarm, ids are; a node without a host name is shown by its id.
fn name(found: &SwarmNode) -> String {
    if found.hostname.is_empty() { found.id.clone() } else { found.hostname.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drained_node_is_not_ready_and_says_why() {
        let now = DateTime::from_timestamp(1_000, 0).expect("in range");
        let found = SwarmNode {
            id: "n1".into(),
            hostname: "a".into(),
            state: "ready".into(),
            availability: "drain".into(),
            ..SwarmNode::default()
        };
        let row = node(&found, None, &[], now);
        let condition = &row.status.as_ref().expect("status").conditions[0];
        assert_eq!(
            (condition.status, condition.message.as_str()),
            (ConditionStatus::False, "the node is set to drain; it takes no new tasks")
        );
        let later = node(&found, Some(Availability::Drain), &[row], now + chrono::Duration::seconds(9));
        assert_eq!(later.status.expect("status").conditions[0].last_transition_time, now);
    }
}
