//! Which task shows a failure, and what keeps tasks from getting a node.

use api_types::kinds::app::VerdictPhase;
use api_types::{ConditionStatus, ConditionType, Reason};
use chrono::Duration;

use super::fixtures::{World, web};
use super::statuses::{condition, told};
use crate::edge::Check;
use crate::engines::swarm::TaskState;
use crate::kinds::app::witness;
use crate::plan::Fact;

fn rolling() -> World {
    World::of(web(1)).resolved().verdict(VerdictPhase::Rolling).running()
}

#[test]
fn the_newest_end_shows_more_than_an_older_one_or_a_check_that_fails() {
    let mut world = rolling();
    assert_eq!(witness::find(&world.observed, Some(1)), None, "nothing is wrong");
    let Fact::Known(endpoints) = &mut world.observed.endpoints else { panic!("not known") };
    for endpoint in endpoints {
        endpoint.ready = false;
        endpoint.last_check = Check::Failed { detail: "GET http://172.18.0.1:8080/healthz answered 500".to_owned() };
    }
    let found = witness::find(&world.observed, Some(1)).expect("a witness");
    assert_eq!(found.witness.message, "it runs, but GET http://172.18.0.1:8080/healthz answered 500");

    let service = world.service("web");
    world.add_task(&service, 1, TaskState::Failed, "task: non-zero exit (1)");
    world.add_task(&service, 2, TaskState::Failed, "task: non-zero exit (1)");
    let found = witness::find(&world.observed, Some(1)).expect("a witness");
    assert_eq!((found.witness.replica(), found.witness.task.as_str(), found.service), ("web.2".to_owned(), "task3", service.spec.name));
    assert_eq!((found.witness.node.as_deref(), found.witness.exit_code), (Some("node-1"), Some(1)));
    assert_eq!(found.witness.message, "it ended with exit code 1: task: non-zero exit (1)");
    assert_eq!(witness::find(&world.observed, Some(2)), None, "a task of another generation shows nothing");
}

#[test]
fn a_network_without_a_subnet_keeps_tasks_from_a_node_and_a_moment_later_that_is_told() {
    let mut world = rolling();
    let (Fact::Known(networks), Fact::Known(tasks)) = (&mut world.observed.networks, &mut world.observed.tasks) else {
        panic!("not known")
    };
    networks.iter_mut().for_each(|network| network.allocated = false);
    for task in tasks {
        task.state = TaskState::New;
        task.node_id.clear();
    }
    // The status is of one second after the start: the Swarm may still be at it.
    assert_eq!(condition(&told(&world), ConditionType::Scheduled), (ConditionStatus::Unknown, Reason::Pending));
    let Fact::Known(services) = &mut world.observed.services else { panic!("not known") };
    services.iter_mut().for_each(|service| service.created_at -= Duration::seconds(5));
    assert_eq!(condition(&told(&world), ConditionType::Scheduled), (ConditionStatus::False, Reason::AddressPoolExhausted));
}
