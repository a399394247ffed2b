//! What is somebody else's change and what is our own hand, as a table of situations.

use std::collections::BTreeMap;

use api_types::drift::{DriftAction, DriftObject, DriftPolicy};
use api_types::kinds::app::VerdictPhase;
use chrono::Duration;
use serde_json::json;

use super::fixtures::{World, spec, start, web};
use crate::engines::swarm::{ServiceSpec, TaskState, labels};
use crate::kinds::app::drift::{self, Finding, Memory, find, held};
use crate::kinds::app::plan::{Gate, Step, plan};
use crate::kinds::app::render;
use crate::plan::Fact;

/// A serving app whose services carry our marks.
fn serving() -> World {
    let wanted = json!({"image": "acme/shop:1", "env": {"LEVEL": "info"}, "secrets": {"KEY": "x"}, "processes": {
        "web": {"port": 8080, "replicas": 2, "resources": {"cpu": "500m", "memory": "64Mi"}}, "worker": {}}});
    marked(World::of(spec(wanted)).resolved().verdict(VerdictPhase::Ready).running())
}

fn marked(mut world: World) -> World {
    if let Fact::Known(services) = &mut world.observed.services {
        for service in services {
            service.spec.labels.insert(labels::SCALE.to_owned(), service.spec.replicas.to_string());
            render::stamp(&mut service.spec);
        }
    }
    world
}

fn edit(world: &mut World, process: &str, change: impl FnOnce(&mut ServiceSpec)) {
    let id = world.service(process).id;
    let Fact::Known(services) = &mut world.observed.services else { return };
    change(&mut services.iter_mut().find(|service| service.id == id).expect("there").spec);
}

fn look(world: &World, memory: &mut Memory) -> Vec<Finding> {
    find(&world.desired(), &world.observed, memory, |container| container == "c1", start())
}

fn fresh(world: &World) -> Vec<(String, String, String)> {
    let found = look(world, &mut Memory::default());
    found.into_iter().map(|finding| (finding.field, finding.desired, finding.observed)).collect()
}

fn rows(rows: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    rows.iter().map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned())).collect()
}

#[test]
fn what_we_wrote_ourselves_is_no_drift_at_any_stage() {
    assert_eq!(fresh(&serving()), []);
    // A rollout beside the old release, a scale of our own, a failed generation, a new app.
    assert_eq!(fresh(&serving().then(web(3))), []);
    assert_eq!(fresh(&serving().then(web(3)).verdict(VerdictPhase::Failed)), []);
    assert_eq!(fresh(&World::of(web(2))), []);
    // What we would write otherwise today, but wrote so ourselves, is an upgrade.
    let mut older = serving();
    edit(&mut older, "web", |spec| {
        spec.pids_limit = 1;
        render::stamp(spec);
    });
    assert_eq!(fresh(&older), []);
    // Going away is what is wanted.
    let mut deleting = serving().deleting();
    deleting.observed.services = Fact::Known(Vec::new());
    assert_eq!(fresh(&deleting), []);
    // And what could not be read says nothing.
    let mut unknown = serving();
    unknown.observed.services = Fact::Unknown;
    unknown.observed.networks = Fact::Unknown;
    unknown.observed.secrets = Fact::Unknown;
    assert_eq!(fresh(&unknown), []);
}

#[test]
fn every_field_that_somebody_changed_is_named_and_no_value_of_a_variable_is_told() {
    let mut world = serving();
    edit(&mut world, "web", |spec| {
        spec.replicas = 5;
        spec.image = "evil:1".to_owned();
        spec.args = vec!["serve".to_owned()];
        spec.env.insert("LEVEL".to_owned(), "hunter2".to_owned());
        spec.env.insert("PASSWORD".to_owned(), "hunter2".to_owned());
        spec.labels.insert("team".to_owned(), "hunter2".to_owned());
        spec.labels.remove(labels::PROCESS);
        spec.container_labels.remove(labels::PORT);
        spec.memory_bytes = 1;
        spec.network = "host".to_owned();
        spec.extras = [("Mounts", "bind at /x"), ("Resources", "changed")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    });
    let found = fresh(&world);
    let image = world.newest.resolved_image.clone().expect("resolved");
    assert_eq!(
        found,
        rows(&[
            ("Mounts", "as we set it", "bind at /x"),
            ("args", "none", "serve"),
            ("container label.skyswarm.dev/port", "8080", "absent"),
            ("env.LEVEL", "as in the spec", "another value"),
            ("env.PASSWORD", "absent", "set"),
            ("image", &image, "evil:1"),
            ("label.skyswarm.dev/process", "web", "absent"),
            ("label.team", "absent", "set"),
            ("memory limit", "67108864", "1"),
            ("network", "shop-c0ffee01", "host"),
            ("replicas", "2", "5"),
        ])
    );
    assert!(!format!("{found:?}").contains("hunter2"));
    // And one step puts all of it right, though a label that says what the service is was taken off.
    let next = world.plan();
    assert!(matches!(next.next(), Some(Step::UpdateService { process, .. }) if process.as_str() == "web"), "{next:?}");
}

#[test]
fn an_older_release_that_was_changed_is_recorded_and_left() {
    let mut world = serving().then(spec(json!({"image": "acme/shop:2", "processes": {"web": {"port": 8080}}})));
    edit(&mut world, "web", |spec| spec.image = "evil:1".to_owned());
    let found = look(&world, &mut Memory::default());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].field.as_str(), found[0].mendable), ("spec", false));
    assert_eq!(found[0].action(DriftPolicy::Correct, false), DriftAction::Recorded);
}

#[test]
fn what_was_there_and_was_not_removed_by_us_was_removed_by_somebody() {
    let mut world = serving();
    let mut memory = Memory::default();
    assert_eq!(look(&world, &mut memory), []);
    let (services, networks, secrets) = (world.observed.services.clone(), world.observed.networks.clone(), world.observed.secrets.clone());
    world.observed.services = Fact::Known(Vec::new());
    world.observed.networks = Fact::Known(Vec::new());
    world.observed.secrets = Fact::Known(Vec::new());
    world.observed.route = Fact::Absent;
    let kinds = |found: &[Finding]| -> BTreeMap<DriftObject, usize> {
        found.iter().filter(|finding| finding.field == "exists" && finding.mendable).fold(BTreeMap::new(), |mut kinds, finding| {
            *kinds.entry(finding.kind).or_default() += 1;
            kinds
        })
    };
    let all = BTreeMap::from([(DriftObject::Service, 2), (DriftObject::Network, 1), (DriftObject::Secret, 1), (DriftObject::Route, 1)]);
    assert_eq!(kinds(&look(&world, &mut memory)), all);
    assert_eq!(kinds(&look(&world, &mut memory)), all, "as long as it lasts");
    // A controller that has just begun knows what a proven generation has; a route it has to have seen.
    let proven = BTreeMap::from([(DriftObject::Service, 2), (DriftObject::Network, 1), (DriftObject::Secret, 1)]);
    assert_eq!(kinds(&look(&world, &mut Memory::default())), proven);
    // What we remove ourselves is none, whether or not the answer came.
    let mut ours = Memory::default();
    (world.observed.services, world.observed.networks, world.observed.secrets) = (services, networks, secrets);
    look(&world, &mut ours);
    let desired = world.desired();
    for target in desired.target.processes.iter().map(|(process, target)| (process.clone(), target.release.clone())) {
        ours.before(&Step::RemoveService { process: target.0, release: target.1 }, &desired);
    }
    world.observed.services = Fact::Known(Vec::new());
    assert_eq!(look(&world, &mut ours), []);
}

#[test]
fn a_task_is_killed_only_when_somebody_sent_a_signal_and_until_another_one_runs() {
    let mut world = serving();
    let service = world.service("web");
    if let Fact::Known(tasks) = &mut world.observed.tasks {
        let task = tasks.iter_mut().find(|task| task.container_id == "c1").expect("the first task");
        (task.state, task.desired_state, task.exit_code) = (TaskState::Failed, TaskState::Shutdown, Some(137));
    }
    let found = look(&world, &mut Memory::default());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].object.as_str(), found[0].mendable), ("web.1", false));
    assert_eq!(found[0].observed, "ended by a signal from outside (exit code 137)");
    let silent = find(&world.desired(), &world.observed, &mut Memory::default(), |_| false, start());
    assert_eq!(silent, [], "a crash is the app's own");
    world.add_task(&service, 1, TaskState::Running, "");
    assert_eq!(look(&world, &mut Memory::default()), []);
}

#[test]
fn a_route_that_the_proxy_lost_is_found_after_a_moment_and_one_it_never_had_is_not() {
    let mut world = serving();
    let mut memory = Memory::default();
    let at = |world: &World, memory: &mut Memory, millis: i64| {
        find(&world.desired(), &world.observed, memory, |_| false, start() + Duration::milliseconds(millis)).len()
    };
    let known = world.observed.edge.clone();
    world.observed.edge = Fact::Absent;
    assert_eq!(at(&world, &mut memory, 0), 0, "it never had it");
    assert_eq!(at(&world, &mut memory, 5_000), 0);
    world.observed.edge = known;
    assert_eq!(at(&world, &mut memory, 6_000), 0);
    world.observed.edge = Fact::Absent;
    assert_eq!((at(&world, &mut memory, 7_000), at(&world, &mut memory, 7_900), at(&world, &mut memory, 8_000)), (0, 0, 1));
    world.observed.edge = Fact::Unknown;
    assert_eq!(at(&world, &mut memory, 9_000), 1, "what is not known has not ended");
}

#[test]
fn hold_leaves_what_was_changed_but_neither_a_rollout_nor_a_restoration() {
    let hold = |replicas: u32| {
        spec(json!({"image": "acme/shop:1", "driftPolicy": "hold", "processes": {"web": {"port": 8080, "replicas": replicas}}}))
    };
    let mut world = marked(World::of(hold(2)).resolved().verdict(VerdictPhase::Ready).running());
    edit(&mut world, "web", |spec| spec.replicas = 5);
    let decide = |world: &World| {
        let (desired, mut model) = (world.desired(), world.model());
        model.held = held(&desired, &look(world, &mut Memory::default()));
        plan(&desired, &model)
    };
    let plan = decide(&world);
    assert_eq!(plan.next(), None);
    assert!(matches!(plan.gate(), Some(Gate::Held { what }) if what.contains("replicas") && what.contains("5 instead of 2")), "{plan:?}");
    assert!(decide(&world.then(hold(3))).next().is_some(), "a new generation is what the user asked for");

    let mut failed =
        marked(World::of(hold(2)).resolved().verdict(VerdictPhase::Ready).running()).then(hold(3)).verdict(VerdictPhase::Failed);
    edit(&mut failed, "web", |spec| spec.replicas = 5);
    assert!(decide(&failed).next().is_some(), "what served comes back whatever the policy");
}

#[test]
fn a_long_list_is_told_in_short() {
    let finding = |n: u32| Finding {
        kind: DriftObject::Service,
        object: "s".to_owned(),
        field: format!("label.{n}"),
        desired: "absent".to_owned(),
        observed: "set".to_owned(),
        mendable: true,
    };
    let all: Vec<Finding> = (1..=5).map(finding).collect();
    assert!(drift::list(&all).ends_with("label.3 of service s is set instead of absent; and 2 more"), "{}", drift::list(&all));
}
