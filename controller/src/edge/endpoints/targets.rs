//! Which tasks may become endpoints, and at which address. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use api_types::kinds::app::HealthSpec;
use uuid::Uuid;

use crate::engines::swarm::{Task, TaskState, labels};

/// A task that is to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Task id.
    pub task_id: String,
    /// Container id; engines never use one twice.
    pub container_id: String,
    /// Owner app.
    pub app_uid: Uuid,
    /// Process type.
    pub process: String,
    /// Release label.
    pub release: String,
    /// Slot of the task.
    pub slot: u64,
    /// Where it is to answer.
    pub address: SocketAddr,
    /// HTTP check; without one the port is connected to.
    pub health: Option<HealthSpec>,
}

/// Targets by task id, and what was left out for doubt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Targets {
    /// By task id.
    pub by_task: BTreeMap<String, Target>,
    /// Addresses that two containers seem to have: neither is a target until that is resolved.
    pub doubtful: BTreeSet<IpAddr>,
    /// Whether a wanted task is about to run: it has a node and has not reported yet.
    pub arriving: bool,
}

/// Tasks that are wanted and running, name a port, have an address here, and are not known to be going.
pub fn targets(tasks: &[Task], gateways: &BTreeMap<String, IpAddr>, is_going: impl Fn(&str) -> bool) -> Targets {
    let doubtful = shared_addresses(gateways);
    let mut by_task = BTreeMap::new();
    for task in tasks.iter().filter(|task| task.is_running() && !task.container_id.is_empty() && !is_going(&task.container_id)) {
        let Some(address) = gateways.get(&task.container_id).filter(|address| !doubtful.contains(address)) else { continue };
        if let Some(target) = target(task, *address) {
            by_task.insert(task.id.clone(), target);
        }
    }
    let arriving = tasks.iter().any(|task| task.is_wanted() && (TaskState::Assigned..=TaskState::Starting).contains(&task.state));
    Targets { by_task, doubtful, arriving }
}

fn shared_addresses(gateways: &BTreeMap<String, IpAddr>) -> BTreeSet<IpAddr> {
    let mut seen = BTreeSet::new();
    gateways.values().filter(|address| !seen.insert(**address)).copied().collect()
}

/// What a task that is wanted and runs is checked as, at an address of its node.
pub fn target_of(task: &Task, address: IpAddr) -> Option<Target> {
    if task.is_running() && !task.container_id.is_empty() { target(task, address) } else { None }
}

fn target(task: &Task, address: IpAddr) -> Option<Target> {
    let label = |key: &str| task.container_labels.get(key);
    let port: u16 = label(labels::PORT)?.parse().ok().filter(|port| *port != 0)?;
    Some(Target {
        task_id: task.id.clone(),
        container_id: task.container_id.clone(),
        app_uid: label(labels::OWNER_UID)?.parse().ok()?,
        process: label(labels::PROCESS)?.clone(),
        release: label(labels::RELEASE)?.clone(),
        slot: task.slot,
        address: SocketAddr::new(address, port),
        health: label(labels::HEALTH).and_then(|json| parse_health(&task.id, json)),
    })
}

/// A label that another version of the controller wrote, and that this one cannot read, makes the check
/// weaker: taking a running app out of service for it would be worse.
fn parse_health(task_id: &str, json: &str) -> Option<HealthSpec> {
    match serde_json::from_str(json) {
        Ok(spec) => Some(spec),
        Err(error) => {
            tracing::warn!(task = task_id, %error, "the health label cannot be read; only the port is checked");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::endpoints::testing::{APP, task};
    use crate::engines::swarm::TaskState;

    fn gateways(pairs: &[(&str, &str)]) -> BTreeMap<String, IpAddr> {
        pairs.iter().map(|(id, address)| ((*id).to_owned(), address.parse().expect("an address"))).collect()
    }
    fn ids(tasks: &[Task], gateways: &BTreeMap<String, IpAddr>, going: &str) -> Vec<String> {
        targets(tasks, gateways, |id| id == going).by_task.into_keys().collect()
    }

    #[test]
    fn only_wanted_running_tasks_with_port_and_address_are_targets() {
        let here = gateways(&[("c1", "172.18.0.2")]);
        let good = task("t1", "c1", 8080);
        assert_eq!(ids(std::slice::from_ref(&good), &here, ""), ["t1"]);
        let one = &targets(std::slice::from_ref(&good), &here, |_| false).by_task["t1"];
        assert_eq!((one.address.to_string().as_str(), one.app_uid, one.health.is_none()), ("172.18.0.2:8080", APP, true));

        assert!(ids(std::slice::from_ref(&good), &here, "c1").is_empty(), "its container is going");
        assert!(ids(std::slice::from_ref(&good), &gateways(&[("c2", "172.18.0.2")]), "").is_empty(), "no address here");
        let mut cases = Vec::new();
        for change in [
            |task: &mut Task| task.desired_state = TaskState::Shutdown,
            |task: &mut Task| task.state = TaskState::Starting,
            |task: &mut Task| task.state = TaskState::Failed,
            |task: &mut Task| task.container_id.clear(),
            |task: &mut Task| drop(task.container_labels.remove(labels::PORT)),
            |task: &mut Task| drop(task.container_labels.insert(labels::PORT.to_owned(), "0".to_owned())),
            |task: &mut Task| drop(task.container_labels.insert(labels::PORT.to_owned(), "80;80".to_owned())),
            |task: &mut Task| drop(task.container_labels.insert(labels::OWNER_UID.to_owned(), "me".to_owned())),
            |task: &mut Task| drop(task.container_labels.remove(labels::RELEASE)),
        ] {
            let mut changed = good.clone();
            change(&mut changed);
            cases.push(changed);
        }
        for (number, case) in cases.iter().enumerate() {
            assert!(ids(std::slice::from_ref(case), &here, "").is_empty(), "case {number}");
        }
    }

    #[test]
    fn an_address_of_two_containers_is_nobodys() {
        let tasks = [task("t1", "c1", 80), task("t2", "c2", 80), task("t3", "c3", 80)];
        let found = targets(&tasks, &gateways(&[("c1", "172.18.0.2"), ("c2", "172.18.0.2"), ("c3", "172.18.0.3")]), |_| false);
        assert_eq!(found.by_task.into_keys().collect::<Vec<_>>(), ["t3"]);
        assert_eq!(found.doubtful.len(), 1);
        // Even when only one of the two is a task of ours.
        let found = targets(&tasks[..1], &gateways(&[("c1", "172.18.0.2"), ("foreign", "172.18.0.2")]), |_| false);
        assert!(found.by_task.is_empty());
    }

    #[test]
    fn an_unreadable_health_label_leaves_the_port_check() {
        let mut task = task("t1", "c1", 80);
        let here = gateways(&[("c1", "172.18.0.2")]);
        task.container_labels.insert(labels::HEALTH.to_owned(), r#"{"path":"/up"}"#.to_owned());
        let health = |task: &Task| targets(std::slice::from_ref(task), &here, |_| false).by_task["t1"].health.clone();
        assert_eq!(health(&task).expect("a spec").path, "/up");
        task.container_labels.insert(labels::HEALTH.to_owned(), r#"{"path":"/up","new":1}"#.to_owned());
        assert_eq!(health(&task), None);
    }
}
