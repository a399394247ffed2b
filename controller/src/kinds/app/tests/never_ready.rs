//! Rollouts that follow one whose tasks never became ready: what does not serve must not keep the room that the new tasks need.

use api_types::kinds::app::VerdictPhase;
use serde_json::json;

use super::fixtures::{World, process, spec};
use crate::engines::swarm::TaskState;
use crate::kinds::app::model::{Model, ServiceModel};
use crate::kinds::app::plan::{Gate, Next, next};
use crate::plan::Fact;

/// Generation 2, of which one of `wanted` tasks is ready, with services of releases that were never proven.
fn second(wanted: u32, old: &[(&str, u32, u32)]) -> (World, Model) {
    let of =
        |mode: &str| spec(json!({"image": "acme/shop:1", "env": {"MODE": mode}, "processes": {"web": {"port": 8080, "replicas": wanted}}}));
    let mut world = World::of(of("old")).resolved().running().then(of("new")).verdict(VerdictPhase::Rolling);
    world.proven = None;
    let mut service = world.service("web");
    service.spec = world.desired().target.processes[&process("web")].service.clone();
    service.spec.replicas = 1;
    world.observed.services = Fact::Known(vec![service.clone()]);
    world.observed.tasks = Fact::Known(Vec::new());
    world.observed.endpoints = Fact::Known(Vec::new());
    world.add_task(&service, 1, TaskState::Running, "");
    let world = world.route_follows();
    let mut model = world.model();
    for (release, replicas, ready) in old {
        let service = ServiceModel {
            id: format!("id-{release}"),
            name: format!("shop-web-{release}"),
            version: 1,
            replicas: *replicas,
            ready: *ready,
            settled: *ready,
            live: *ready,
            differences: Vec::new(),
            left_over: false,
            adopted: false,
        };
        model.services.insert((process("web"), (*release).to_owned()), service);
    }
    (world, model)
}

/// The scalings up to the first wait, and that wait.
fn scalings((world, mut model): (World, Model)) -> (Vec<String>, Gate) {
    let desired = world.desired();
    let mut steps = Vec::new();
    for _ in 0..20 {
        match next(&desired, &model) {
            Next::Act(step) => {
                model.take(&desired, &step);
                steps.extend(Some(step.to_string()).filter(|text| text.starts_with("scale")));
            }
            Next::Wait(gate) => return (steps, gate),
            Next::Done => break,
        }
    }
    panic!("no wait after {steps:?}");
}

#[test]
fn tasks_that_never_ran_make_room_for_new_ones() {
    let (steps, gate) = scalings(second(3, &[("0000000", 3, 0)]));
    assert_eq!(steps, ["scale the previous release of web from 3 to 1", "scale web from 1 to 3"]);
    assert_eq!(gate, Gate::TasksReady { process: process("web"), ready: 1, wanted: 3 });
}

#[test]
fn of_several_old_releases_the_one_that_does_not_serve_goes_first() {
    for old in [[("0000000", 1, 1), ("zzzzzzz", 1, 0)], [("0000000", 1, 0), ("zzzzzzz", 1, 1)]] {
        let (steps, _) = scalings(second(2, &old));
        assert_eq!(steps, ["scale the previous release of web from 1 to 0", "scale web from 1 to 2"], "{old:?}");
    }
}

#[test]
fn the_last_old_tasks_that_serve_stay_until_the_new_ones_are_complete() {
    let (steps, gate) = scalings(second(2, &[("0000000", 2, 2)]));
    // One may go for the one that is there, and no more.
    assert_eq!(steps.first().map(String::as_str), Some("scale the previous release of web from 2 to 1"), "{steps:?}");
    assert!(matches!(gate, Gate::TasksReady { .. }), "{gate}");
}
