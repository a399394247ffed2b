//! What was asked of nodes and what they are, to steps. Pure.

use std::collections::BTreeMap;
use std::fmt;

use api_types::kinds::node::Availability;

use crate::engines::swarm::SwarmNode;

/// A node's availability is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStep {
    /// The engine's id.
    pub id: String,
    /// Host name, for people.
    pub name: String,
    /// What it is set to.
    pub availability: Availability,
}

impl fmt::Display for NodeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set node {} ({}) to {}", self.name, self.id, self.availability)
    }
}

/// The steps to what was asked for: first those that let nodes take tasks, so that tasks that move have where to go.
pub fn plan(nodes: &[SwarmNode], wishes: &BTreeMap<String, Availability>) -> Vec<NodeStep> {
    let step = |node: &SwarmNode| {
        let wanted = *wishes.get(&node.id)?;
        (node.availability != wanted.as_str()).then(|| NodeStep { id: node.id.clone(), name: node.hostname.clone(), availability: wanted })
    };
    let mut steps: Vec<NodeStep> = nodes.iter().filter_map(step).collect();
    steps.sort_by_key(|step| (step.availability == Availability::Drain, step.id.clone()));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, availability: &str) -> SwarmNode {
        SwarmNode { id: id.into(), hostname: format!("host-{id}"), availability: availability.into(), ..SwarmNode::default() }
    }

    #[test]
    fn only_what_was_asked_for_is_changed_and_room_is_made_first() {
        let nodes = [node("a", "active"), node("b", "drain"), node("c", "pause"), node("d", "active")];
        let wishes = [("a", Availability::Drain), ("b", Availability::Active), ("d", Availability::Active), ("gone", Availability::Drain)];
        let wishes = wishes.into_iter().map(|(id, wish)| (id.to_owned(), wish)).collect();
        let steps: Vec<String> = plan(&nodes, &wishes).iter().map(ToString::to_string).collect();
        assert_eq!(steps, ["set node host-b (b) to active", "set node host-a (a) to drain"]);
        assert!(plan(&nodes, &BTreeMap::new()).is_empty());
    }
}
