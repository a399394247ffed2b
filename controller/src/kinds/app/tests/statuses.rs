//! Conditions, as a table of situations.

use api_types::kinds::app::{AppStatus, VerdictPhase};
use api_types::{ConditionStatus, ConditionType, Reason};
use chrono::Duration;

use super::fixtures::{World, paused, start, web};
use crate::edge::Check;
use crate::engines::swarm::TaskState;
use crate::kinds::app::plan::plan;
use crate::kinds::app::status::{Inputs, status};
use crate::kinds::app::verdict::{Look, judge};
use crate::plan::Fact;

pub(super) fn told(world: &World) -> AppStatus {
    told_after(world, &AppStatus::default())
}

fn told_after(world: &World, previous: &AppStatus) -> AppStatus {
    let (desired, model) = (world.desired(), world.model());
    let judgement = judge(&Look { desired: &desired, observed: &world.observed, model: &model, image_error: None }, None, start());
    let plan = plan(&desired, &model);
    status(&Inputs {
        desired: &desired,
        observed: &world.observed,
        model: &model,
        judgement: &judgement,
        plan: &plan,
        drift: &[],
        image_error: None,
        held_up: None,
        previous,
        edge: ("http", 8080),
        https_port: None,
        now: start() + Duration::seconds(1),
    })
}

pub(super) fn condition(status: &AppStatus, kind: ConditionType) -> (ConditionStatus, Reason) {
    let found = api_types::condition::find(&status.conditions, kind).expect("every condition is there");
    assert_eq!(found.observed_generation, status.observed_generation);
    assert!(!found.message.is_empty(), "{kind} has no message");
    (found.status, found.reason)
}

#[track_caller]
fn assert_conditions(world: &World, wanted: &[(ConditionType, ConditionStatus, Reason)]) {
    let status = told(world);
    // All but those of nodes.
    let of_nodes = [ConditionType::AgentReady, ConditionType::Reachable];
    assert_eq!(status.conditions.len(), ConditionType::ALL.len() - of_nodes.len());
    assert!(status.conditions.iter().all(|told| !of_nodes.contains(&told.kind)), "{status:#?}");
    for (kind, expected, reason) in wanted {
        assert_eq!(condition(&status, *kind), (*expected, *reason), "{kind} in {status:#?}");
    }
}

use ConditionStatus::{False, True, Unknown};
use ConditionType::{Accepted, Healthy, ImagePullable, Paused, Progressing, Ready, Routed, Scheduled};

fn serving() -> World {
    World::of(web(2)).resolved().verdict(VerdictPhase::Ready).running()
}

#[test]
fn a_serving_app() {
    assert_conditions(
        &serving(),
        &[
            (Ready, True, Reason::Serving),
            (Progressing, False, Reason::Settled),
            (Accepted, True, Reason::Valid),
            (ImagePullable, True, Reason::Resolved),
            (Scheduled, True, Reason::AllScheduled),
            (Healthy, True, Reason::AllHealthy),
            (Routed, True, Reason::RouteLive),
        ],
    );
    let status = told(&serving());
    assert_eq!(status.urls, ["http://shop-acme.apps.localhost:8080"]);
}

#[test]
fn a_new_app_claims_nothing() {
    let expected = [
        (Ready, False, Reason::RollingOut),
        (Progressing, True, Reason::RollingOut),
        (ImagePullable, Unknown, Reason::Pending),
        (Scheduled, Unknown, Reason::Pending),
        (Healthy, False, Reason::Starting),
        (Routed, False, Reason::RoutePending),
    ];
    assert_conditions(&World::of(web(2)), &expected);
    assert_eq!(told(&World::of(web(2))).serving_generation, None);
}

#[test]
fn a_task_without_a_node() {
    let mut world = serving().verdict(VerdictPhase::Rolling);
    let service = world.service("web");
    world.observed.tasks = Fact::Known(Vec::new());
    world.add_task(&service, 1, TaskState::Pending, "no suitable node (insufficient resources on 1 node)");
    assert_conditions(&world, &[(Scheduled, False, Reason::Unschedulable), (Ready, False, Reason::RollingOut)]);
}

#[test]
fn a_port_that_is_closed_and_a_check_that_fails() {
    let mut world = serving();
    let check = |world: &mut World, check: Check| {
        if let Fact::Known(endpoints) = &mut world.observed.endpoints {
            endpoints[0].ready = false;
            endpoints[0].last_check = check;
        }
    };
    check(&mut world, Check::PortClosed { detail: "connection refused on port 8080".into() });
    assert_conditions(&world, &[(Healthy, False, Reason::PortClosed), (Ready, False, Reason::PortClosed)]);
    check(&mut world, Check::Failed { detail: "GET /healthz answered 500".into() });
    assert_conditions(&world, &[(Healthy, False, Reason::HealthCheckFailing), (Ready, False, Reason::HealthCheckFailing)]);
}

#[test]
fn a_failed_generation_keeps_its_cause_after_its_tasks_are_gone() {
    let mut world = serving().verdict(VerdictPhase::Failed);
    world.newest.verdict.reason = Some(Reason::ImageNotFound);
    world.newest.verdict.message = Some("task web.1 on node node-1 was rejected: No such image".into());
    world.observed.tasks = Fact::Known(Vec::new());
    world.observed.endpoints = Fact::Known(Vec::new());
    assert_conditions(&world, &[(Ready, False, Reason::RolloutFailed), (ImagePullable, False, Reason::ImageNotFound)]);
}

#[test]
fn an_engine_or_proxy_that_does_not_answer_is_unknown_and_never_ready() {
    let mut world = serving();
    world.observed.tasks = Fact::Unknown;
    assert_conditions(&world, &[(Ready, Unknown, Reason::EngineUnreachable), (Healthy, Unknown, Reason::EngineUnreachable)]);
    let mut world = serving();
    world.observed.edge = Fact::Unknown;
    assert_conditions(&world, &[(Ready, Unknown, Reason::EdgeUnreachable), (Routed, Unknown, Reason::EdgeUnreachable)]);
    let mut world = serving();
    world.observed.endpoints = Fact::Unknown;
    assert_conditions(&world, &[(Healthy, Unknown, Reason::EngineUnreachable)]);
    assert_ne!(condition(&told(&world), Ready).0, True);
}

#[test]
fn an_app_scaled_to_zero_is_as_wanted_and_says_so() {
    let world = World::of(web(0)).resolved().verdict(VerdictPhase::Ready).running();
    assert_conditions(
        &world,
        &[(Ready, True, Reason::ScaledToZero), (Routed, False, Reason::NoBackends), (Healthy, True, Reason::ScaledToZero)],
    );
}

#[test]
fn an_app_being_deleted_is_not_ready() {
    assert_conditions(&serving().deleting(), &[(Ready, False, Reason::Deleting), (Progressing, True, Reason::Deleting)]);
}

#[test]
fn a_route_that_the_proxy_has_lost_or_serves_with_errors_says_so() {
    let live = told(&serving());
    let message = |world: &World| {
        let status = told_after(world, &live);
        let routed = api_types::condition::find(&status.conditions, Routed).expect("is there").clone();
        (routed.status, routed.reason, routed.message)
    };
    let mut world = serving();
    world.observed.edge = Fact::Absent;
    let (status, reason, text) = message(&world);
    assert_eq!((status, reason), (False, Reason::RoutePending));
    assert!(text.contains("no longer has the route"), "{text}");
    assert!(told(&world).conditions.iter().any(|c| c.message.contains("not taken the route yet")), "without a before it was never there");

    let facts = |change: &dyn Fn(&mut crate::edge::RouteFacts)| {
        let mut world = serving();
        if let Fact::Known(facts) = &mut world.observed.edge {
            change(facts);
        }
        message(&world)
    };
    let (status, reason, text) = facts(&|facts| facts.error = Some("middleware \"x@http\" does not exist".to_owned()));
    assert_eq!((status, reason), (False, Reason::RouteRejected));
    assert!(text.contains("does not exist"), "{text}");
    // The proxy's own check fails for one of two, and for both.
    let (status, reason, text) = facts(&|facts| facts.down = facts.servers[..1].to_vec());
    assert_eq!((status, reason), (True, Reason::RouteLive));
    assert!(text.contains("the proxy's own health check fails for 1 of 2"), "{text}");
    let (status, reason, text) = facts(&|facts| {
        facts.down.clone_from(&facts.servers);
        facts.probe = Some(crate::edge::ProbeResult { ok: false, detail: "GET / answered 503".to_owned() });
    });
    assert_eq!((status, reason), (False, Reason::NoBackends));
    assert!(text.contains("fails for 2 of 2"), "{text}");
}

#[test]
fn a_pause_says_who_why_and_until_when_and_what_waits() {
    let mut world = serving();
    assert_conditions(&world, &[(Paused, False, Reason::NotPaused)]);
    paused(&mut world, 0, 7200);
    assert_conditions(&world, &[(Paused, True, Reason::Paused), (Ready, True, Reason::Serving), (Progressing, False, Reason::Settled)]);
    let mut world = world.then(web(3));
    assert_conditions(&world, &[(Progressing, False, Reason::Paused), (Ready, False, Reason::RollingOut)]);
    let message = |world: &World, kind| api_types::condition::find(&told(world).conditions, kind).map(|found| found.message.clone());
    assert_eq!(message(&world, Paused).as_deref(), Some("paused by ada until 2026-09-21T16:13:20Z: we look"));
    assert_eq!(
        message(&world, Progressing).as_deref(),
        Some("paused by ada until 2026-09-21T16:13:20Z: we look; the next step will be: scale web from 2 to 3")
    );
    world = world.deleting();
    assert!(message(&world, Ready).is_some_and(|text| text.contains("which waits: it is paused by ada")));
}
