//! Which revision really answers, as a table of situations.

use api_types::kinds::app::{ServingRevision, VerdictPhase};
use api_types::{ConditionStatus, ConditionType, Reason};
use serde_json::json;

use super::fixtures::{World, spec, web};
use super::statuses::{condition, told};
use crate::edge::ProbeResult;
use crate::engines::swarm::{Service, TaskState};
use crate::plan::Fact;

use ConditionStatus::{False, True, Unknown};

fn proven(replicas: u32) -> World {
    World::of(web(replicas)).resolved().verdict(VerdictPhase::Ready).running()
}

fn changed() -> api_types::AppSpec {
    spec(json!({"image": "acme/shop:1", "env": {"NEW": "1"}, "processes": {"web": {"port": 8080, "replicas": 2}}}))
}

/// The new generation has a service with `tasks` ready tasks beside the old one, and the proxy sends requests to all.
fn beside(mut world: World, tasks: u64) -> World {
    let target = world.desired().target.processes.values().next().expect("one process").service.clone();
    let service = Service { id: "new".into(), version: 1, spec: target, created_at: world.now };
    if let Fact::Known(services) = &mut world.observed.services {
        services.push(service.clone());
    }
    for slot in 1..=tasks {
        world.add_task(&service, slot, TaskState::Running, "");
    }
    world.route_follows()
}

#[track_caller]
fn assert_serving(world: &World, status: ConditionStatus, reason: Reason, revisions: &[(i64, u32)]) -> String {
    let told = told(world);
    assert_eq!(condition(&told, ConditionType::Serving), (status, reason), "{told:#?}");
    let listed: Vec<(i64, u32)> = told.serving.iter().map(|ServingRevision { generation, tasks }| (*generation, *tasks)).collect();
    assert_eq!(listed, revisions);
    let alone = if let [(generation, _)] = revisions { Some(*generation) } else { None };
    assert_eq!(told.serving_generation, alone);
    api_types::condition::find(&told.conditions, ConditionType::Serving).expect("is there").message.clone()
}

#[test]
fn one_revision_that_answers_is_named() {
    let message = assert_serving(&proven(2), True, Reason::Serving, &[(1, 2)]);
    assert_eq!(message, "revision 1 answers, with 2 tasks");
}

#[test]
fn a_rollout_shows_the_mix_and_a_failed_one_what_is_left() {
    let rolling = beside(proven(2).then(changed()), 1).verdict(VerdictPhase::Rolling);
    let message = assert_serving(&rolling, True, Reason::MixedRevisions, &[(1, 2), (2, 1)]);
    assert_eq!(message, "several revisions answer: revision 1 with 2 tasks, revision 2 with 1 task");
    // The new tasks of a failed generation that have not gone yet are still named by who made them.
    let failed = beside(proven(2).then(changed()), 1).verdict(VerdictPhase::Failed);
    assert_serving(&failed, True, Reason::MixedRevisions, &[(1, 2), (2, 1)]);
    let reverted = proven(2).then(changed()).verdict(VerdictPhase::Failed);
    assert_serving(&reverted, True, Reason::Serving, &[(1, 2)]);
}

#[test]
fn the_same_tasks_count_for_a_new_scale_only_when_it_is_in_force() {
    assert_serving(&proven(1).then(web(2)).verdict(VerdictPhase::Rolling), True, Reason::Serving, &[(1, 1)]);
    let scaled = proven(1).then(web(2)).verdict(VerdictPhase::Rolling).running();
    assert_serving(&scaled, True, Reason::Serving, &[(2, 2)]);
}

#[test]
fn who_answers_is_unknown_when_it_cannot_be_observed() {
    let mut world = proven(2);
    world.observed.edge = Fact::Unknown;
    assert_serving(&world, Unknown, Reason::EdgeUnreachable, &[]);
    let mut world = proven(2);
    world.observed.tasks = Fact::Unknown;
    assert_serving(&world, Unknown, Reason::EngineUnreachable, &[]);
    let mut world = proven(2);
    world.observed.endpoints = Fact::Unknown;
    assert_serving(&world, Unknown, Reason::EngineUnreachable, &[]);
    // The proxy has addresses of tasks that are gone.
    let mut world = proven(2);
    world.observed.endpoints = Fact::Known(Vec::new());
    assert_serving(&world, Unknown, Reason::RoutePending, &[]);
}

#[test]
fn what_does_not_answer_does_not_serve() {
    let mut world = proven(2);
    if let Fact::Known(facts) = &mut world.observed.edge {
        facts.down = vec![facts.servers[0].clone()];
    }
    assert_serving(&world, True, Reason::Serving, &[(1, 1)]);
    if let Fact::Known(facts) = &mut world.observed.edge {
        facts.probe = Some(ProbeResult { ok: false, detail: "GET / answered 502".into() });
    }
    let message = assert_serving(&world, False, Reason::ProbeFailed, &[]);
    assert!(message.contains("502"), "{message}");
    assert_serving(&World::of(web(2)), False, Reason::RoutePending, &[]);
    assert_serving(&proven(0), False, Reason::ScaledToZero, &[]);
}

#[test]
fn an_app_without_routes_serves_by_its_running_tasks() {
    let worker = || spec(json!({"image": "acme/shop:1", "processes": {"mail": {}, "sms": {"replicas": 2}}}));
    assert_serving(&World::of(worker()).resolved(), False, Reason::Starting, &[]);
    let running = World::of(worker()).resolved().verdict(VerdictPhase::Ready).running();
    let message = assert_serving(&running, True, Reason::Running, &[(1, 3)]);
    assert_eq!(message, "revision 1 runs, with 3 tasks");
}
