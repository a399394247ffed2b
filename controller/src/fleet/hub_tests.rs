//! What is believed of an agent, and what it is told.

use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;
use crate::edge::document::tests::{endpoint, uid};
use crate::engines::swarm::{TaskState, labels};

fn node(id: &str, state: &str, address: &str) -> SwarmNode {
    SwarmNode { id: id.into(), state: state.into(), address: address.into(), ..SwarmNode::default() }
}

/// A running task of app 1 on a node, and what its agent says of it.
fn task(id: &str, node: &str) -> (Task, Endpoint) {
    let endpoint = Endpoint { task_id: id.into(), container_id: format!("c{id}"), ..endpoint(1, "r1", "172.18.0.3:80", true) };
    let pairs = [
        (labels::OWNER_UID, uid(1).to_string()),
        (labels::PROCESS, "web".to_owned()),
        (labels::RELEASE, "r1".to_owned()),
        (labels::PORT, "80".to_owned()),
    ];
    let task = Task {
        id: id.into(),
        service_id: "s".into(),
        slot: 1,
        node_id: node.into(),
        state: TaskState::Running,
        desired_state: TaskState::Running,
        message: String::new(),
        error: String::new(),
        container_id: format!("c{id}"),
        exit_code: None,
        container_labels: pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        created_at: DateTime::UNIX_EPOCH,
        state_since: DateTime::UNIX_EPOCH,
    };
    (task, endpoint)
}

fn report(endpoints: Vec<Endpoint>) -> Report {
    Report { edge_port: 7443, endpoints, ..Report::default() }
}

fn fleet() -> Fleet {
    Fleet::new("a".into(), BTreeSet::from(["b".to_owned()]), Arc::new(ManualClock::at(DateTime::UNIX_EPOCH)))
}

#[test]
fn an_agent_is_believed_about_tasks_of_its_own_node_that_the_engine_confirms() {
    let fleet = fleet();
    let ((one, said), (other, foreign)) = (task("t1", "b"), task("t2", "c"));
    let nodes = vec![node("a", "ready", "10.0.0.1"), node("b", "ready", "10.0.0.2"), node("c", "ready", "10.0.0.3")];
    fleet.observe(nodes.clone(), vec![one.clone(), other.clone()]);
    assert!(!fleet.is_complete(), "an agent that was let in has not been heard yet");
    fleet.report("b", report(vec![said.clone()]));
    assert!(fleet.is_complete());
    let found = fleet.remote();
    let hop = found[0].hop.clone().expect("a hop");
    assert_eq!((found.len(), hop.node.as_str(), hop.edge), (1, "b", "10.0.0.2:7443".parse().expect("an address")));

    // A task of another node, of another app, of another release, in another container, at another port: none of it.
    let lies: [fn(&mut Endpoint); 4] = [
        |said| said.app_uid = uid(2),
        |said| said.release = "r2".into(),
        |said| said.container_id = "cx".into(),
        |said| said.address.set_port(81),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut told = said.clone();
        lie(&mut told);
        fleet.report("b", report(vec![told]));
        assert!(fleet.remote().is_empty(), "lie {number}");
    }
    fleet.report("b", report(vec![foreign]));
    assert!(fleet.remote().is_empty(), "a task of another node");

    // What the engine says ends it at once, whatever the agent says.
    fleet.report("b", report(vec![said]));
    fleet.observe(nodes.clone(), vec![Task { desired_state: TaskState::Shutdown, ..one.clone() }]);
    assert!(fleet.remote().is_empty(), "a task that is to end");
    fleet.observe(vec![node("a", "ready", "10.0.0.1"), node("b", "down", "10.0.0.2")], vec![one]);
    assert!(fleet.remote().is_empty(), "a node that is down");
    assert!(fleet.is_complete(), "nobody waits for the agent of a node that is down");
}

#[test]
fn an_agent_is_told_of_its_own_tasks_and_only_when_they_change() {
    let fleet = fleet();
    let ((mine, said), (other, _)) = (task("t1", "b"), task("t2", "c"));
    let nodes = vec![node("a", "ready", "10.0.0.1"), node("b", "ready", "10.0.0.2"), node("c", "ready", "10.0.0.3")];
    assert!(fleet.assignment("b").is_none(), "the engine was not read yet");
    fleet.observe(nodes.clone(), vec![mine.clone(), other.clone()]);
    let told = fleet.assignment("b").expect("a known node");
    assert_eq!(told.tasks, std::slice::from_ref(&mine));
    assert_eq!(told.peers.iter().map(|peer| peer.node.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert!(fleet.assignment("x").is_none(), "a node that the Swarm does not have");
    fleet.observe(nodes.clone(), vec![mine.clone(), Task { state: TaskState::Failed, ..other }]);
    fleet.report("b", report(vec![said]));
    assert_eq!(fleet.assignment("b").expect("known").serial, told.serial, "nothing that concerns it");
    fleet.observe(nodes, Vec::new());
    assert!(fleet.assignment("b").expect("known").serial > told.serial);
}
