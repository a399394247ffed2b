//! A node as users see it. Pure.

use std::collections::BTreeMap;

use api_types::kinds::node::{Availability, Node, NodeSpec, NodeStatus};
use api_types::meta::ObjectMeta;
use api_types::{Condition, ConditionStatus, ConditionType, Reason};
use chrono::{DateTime, Utc};

use crate::engines::swarm::SwarmNode;

/// What is known of a node besides what the engine says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// Whether it is the server's own, which needs no agent.
    pub own: bool,
    /// How long ago its agent was heard, and what is wrong with its edge.
    pub agent: Option<(std::time::Duration, bool, Option<String>)>,
    /// By which other nodes it was tried to be reached, by host name, and what did not answer.
    pub seen_by: BTreeMap<String, Vec<&'static str>>,
}

type Told = (ConditionStatus, Reason, String);

fn agent_ready(said: &Said) -> Told {
    match &said.agent {
        _ if said.own => (ConditionStatus::True, Reason::AgentReports, "the server runs on this node".to_owned()),
        None => {
            let text = "no agent has joined from this node, so no request reaches tasks on it; see `skyctl nodes token`";
            (ConditionStatus::False, Reason::NoAgent, text.to_owned())
        }
        Some((since, true, _)) => {
            let text =
                format!("the agent has said nothing for {} s; requests for tasks on this node go on as it last said", since.as_secs());
            (ConditionStatus::Unknown, Reason::AgentSilent, text)
        }
        Some((_, false, Some(problem))) => {
            (ConditionStatus::False, Reason::Unavailable, format!("the node's edge does not work: {problem}"))
        }
        Some((_, false, None)) => {
            (ConditionStatus::True, Reason::AgentReports, "the agent reports, and the node's edge takes connections".to_owned())
        }
    }
}

/// Nothing where nobody has tried.
fn reachable(seen_by: &BTreeMap<String, Vec<&'static str>>) -> Option<Told> {
    let blocked: Vec<String> = seen_by
        .iter()
        .filter(|(_, missing)| !missing.is_empty())
        .map(|(peer, missing)| format!("{} from {peer}", missing.join(" and ")))
        .collect();
    let all: Vec<&str> = seen_by.keys().map(String::as_str).collect();
    if all.is_empty() {
        return None;
    }
    Some(match blocked.is_empty() {
        true => (ConditionStatus::True, Reason::PeersGetThrough, format!("{} get through to this node", all.join(", "))),
        false => (
            ConditionStatus::False,
            Reason::PeersBlocked,
            format!("no connection to {}; is a firewall between the nodes?", blocked.join(", ")),
        ),
    })
}

/// The row of one node. `previous` gives transition times.
pub fn node(found: &SwarmNode, wanted: Option<Availability>, previous: &[Node], said: Option<&Said>, now: DateTime<Utc>) -> Node {
    let mut node = Node::new(ObjectMeta::named(name(found)), NodeSpec { availability: wanted });
    let before = previous.iter().filter_map(|node| node.status.as_ref()).find(|status| status.id == found.id);
    let (status, reason, message) = match (found.state.as_str(), found.availability.as_str()) {
        ("ready", "active") => (ConditionStatus::True, Reason::Available, "the node takes tasks".to_owned()),
        ("ready", other) => (ConditionStatus::False, Reason::Unavailable, format!("the node is set to {other}; it takes no new tasks")),
        ("unknown", _) => (ConditionStatus::Unknown, Reason::Pending, "the engine does not know the node's state".to_owned()),
        (state, _) => (ConditionStatus::False, Reason::Unavailable, format!("the engine says that the node is {state}: {}", found.message)),
    };
    let condition = Condition { kind: ConditionType::Ready, status, reason, message, observed_generation: 0, last_transition_time: now };
    let make = |kind, (status, reason, message): Told| Condition {
        kind,
        status,
        reason,
        message,
        observed_generation: 0,
        last_transition_time: now,
    };
    let mut conditions = vec![condition];
    if let Some(said) = said {
        conditions.push(make(ConditionType::AgentReady, agent_ready(said)));
        conditions.extend(reachable(&said.seen_by).map(|told| make(ConditionType::Reachable, told)));
    }
    let known = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let conditions = conditions.into_iter().map(|condition| condition.since(known)).collect();
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
        conditions,
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
    fn what_agents_say_is_told_with_what_to_do() {
        let now = DateTime::from_timestamp(1_000, 0).expect("in range");
        let found = SwarmNode {
            id: "n1".into(),
            hostname: "a".into(),
            state: "ready".into(),
            availability: "active".into(),
            ..SwarmNode::default()
        };
        let told = |said: Said, kind: ConditionType| {
            let row = node(&found, None, &[], Some(&said), now);
            let conditions = row.status.expect("a status").conditions;
            api_types::condition::find(&conditions, kind).map(|condition| (condition.status, condition.reason, condition.message.clone()))
        };
        let second = std::time::Duration::from_secs(1);
        let agent = |said: Said| told(said, ConditionType::AgentReady).expect("told");
        assert_eq!(agent(Said::default()).1, Reason::NoAgent);
        assert_eq!(agent(Said { own: true, ..Said::default() }).0, ConditionStatus::True);
        assert_eq!(agent(Said { agent: Some((second, false, None)), ..Said::default() }).0, ConditionStatus::True);
        assert_eq!(agent(Said { agent: Some((20 * second, true, None)), ..Said::default() }).0, ConditionStatus::Unknown);
        assert_eq!(told(Said::default(), ConditionType::Reachable), None, "nobody has tried");
        let seen_by = BTreeMap::from([("b".to_owned(), vec![]), ("c".to_owned(), vec!["7946/tcp (gossip)"])]);
        let (status, _, message) = told(Said { seen_by, ..Said::default() }, ConditionType::Reachable).expect("told");
        assert_eq!((status, message.contains("7946/tcp (gossip) from c")), (ConditionStatus::False, true), "{message}");
    }

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
        let row = node(&found, None, &[], None, now);
        let condition = &row.status.as_ref().expect("status").conditions[0];
        assert_eq!(
            (condition.status, condition.message.as_str()),
            (ConditionStatus::False, "the node is set to drain; it takes no new tasks")
        );
        let later = node(&found, Some(Availability::Drain), &[row], None, now + chrono::Duration::seconds(9));
        assert_eq!(later.status.expect("status").conditions[0].last_transition_time, now);
    }
}
