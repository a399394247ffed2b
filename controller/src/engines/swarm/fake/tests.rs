use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;
use crate::engines::swarm::{ServiceSpec, SwarmEngine, TaskState};

fn swarm() -> FakeSwarm {
    let start = chrono::DateTime::from_timestamp(1_767_225_600, 0).expect("valid");
    FakeSwarm::new(Arc::new(ManualClock::at(start)))
}

fn spec(name: &str, image: &str, replicas: u64) -> ServiceSpec {
    ServiceSpec { name: name.into(), image: image.into(), replicas, ..ServiceSpec::default() }
}

async fn states(swarm: &FakeSwarm, id: &str) -> Vec<TaskState> {
    let tasks = swarm.task_list(&[id.to_owned()]).await.expect("tasks");
    tasks.into_iter().map(|task| task.state).collect()
}

#[tokio::test]
async fn tasks_come_late_and_take_several_ticks_to_run() {
    let swarm = swarm();
    let id = swarm.service_create(&spec("a", "shop:1", 1)).await.expect("created");
    assert_eq!(states(&swarm, &id).await, []);
    swarm.tick();
    assert_eq!(states(&swarm, &id).await, [TaskState::New]);
    swarm.settle(20);
    assert_eq!(states(&swarm, &id).await, [TaskState::Running]);
}

#[tokio::test]
async fn outcomes_are_what_a_test_asked_for() {
    let swarm = swarm();
    swarm.set_outcome("hung", Outcome::Prepares);
    let crash = swarm.service_create(&spec("a", "crash:1", 1)).await.expect("created");
    let missing = swarm.service_create(&spec("b", "missing:1", 1)).await.expect("created");
    let pending = swarm.service_create(&spec("c", "unschedulable:1", 1)).await.expect("created");
    let hung = swarm.service_create(&spec("d", "hung:1", 1)).await.expect("created");
    for _ in 0..9 {
        swarm.tick();
    }
    assert!(states(&swarm, &crash).await.contains(&TaskState::Failed));
    assert!(states(&swarm, &missing).await.contains(&TaskState::Rejected));
    assert_eq!(states(&swarm, &pending).await, [TaskState::Pending]);
    assert_eq!(states(&swarm, &hung).await, [TaskState::Preparing]);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_object_behind() {
    let swarm = swarm();
    let lost = || EngineError::Unreachable { what: "service a".into(), message: "cut".into() };
    swarm.lose_next("service_create", lost());
    assert!(swarm.service_create(&spec("a", "shop:1", 1)).await.is_err());
    assert_eq!(swarm.services().len(), 1);
    swarm.fail_next("service_create", lost());
    assert!(swarm.service_create(&spec("b", "shop:1", 1)).await.is_err());
    assert_eq!(swarm.services().len(), 1);
    assert_eq!(swarm.mutations(), 2);
}

#[tokio::test]
async fn an_address_goes_with_its_task_and_is_reused() {
    let swarm = swarm();
    swarm.network_create(&crate::engines::swarm::NetworkSpec { name: "n".into(), labels: Default::default() }).await.expect("network");
    let on_network = |name: &str| ServiceSpec { network: "n".into(), ..spec(name, "shop:1", 1) };
    let a = swarm.service_create(&on_network("a")).await.expect("created");
    swarm.settle(20);
    let first: Vec<IpAddr> = swarm.gateway_addresses().await.expect("addresses").into_values().collect();
    assert_eq!(first.len(), 1);
    swarm.service_remove(&a).await.expect("removed");
    swarm.settle(20);
    assert!(swarm.gateway_addresses().await.expect("addresses").is_empty());
    assert!(swarm.tasks().is_empty());
    swarm.service_create(&on_network("b")).await.expect("created");
    swarm.settle(20);
    assert_eq!(swarm.gateway_addresses().await.expect("addresses").into_values().collect::<Vec<_>>(), first);
}
