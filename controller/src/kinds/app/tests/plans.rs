//! Golden plans. What stands in the snapshots is what `skyctl plan` shows and what the executor does.

use api_types::kinds::app::{RolloutStatus, VerdictPhase};
use insta::assert_snapshot;
use serde_json::json;

use super::fixtures::{World, lines, paused, process, spec, web};
use crate::engines::swarm::labels;
use crate::kinds::app::model::EdgeModel;
use crate::kinds::app::plan::{Gate, Step};
use crate::plan::Fact;

#[test]
fn a_first_deploy() {
    assert_snapshot!(lines(&World::of(web(2)).plan()), @r"
    resolve image acme/shop:1
    create the app's network
    create service web: 2 of 2 replicas of acme/shop:1
    route shop-acme.apps.localhost to web
    [waiting for web: 0 of 2 tasks are ready]
    ");
}

#[test]
fn a_first_deploy_with_secrets_and_a_worker() {
    let spec = spec(json!({"image": "acme/shop:1", "secrets": {"KEY": "x"}, "processes": {
        "web": {"port": 8080}, "worker": {"command": ["bin/worker"], "replicas": 3}}}));
    assert_snapshot!(lines(&World::of(spec).plan()), @r"
    resolve image acme/shop:1
    create the app's network
    create secret KEY (version 1)
    create service web: 1 of 1 replicas of acme/shop:1
    create service worker: 3 of 3 replicas of acme/shop:1
    route shop-acme.apps.localhost to web
    [waiting for web: 0 of 1 tasks are ready]
    ");
}

#[test]
fn a_converged_app_needs_nothing() {
    let world = World::of(web(2)).resolved().verdict(VerdictPhase::Ready).running();
    assert!(world.plan().is_empty(), "{}", lines(&world.plan()));
}

#[test]
fn a_restart_is_a_rollout_of_that_process_alone_with_the_same_image() {
    let spec = spec(json!({"image": "acme/shop:1", "processes": {"web": {"port": 8080, "replicas": 2}, "worker": {}}}));
    assert_snapshot!(lines(&World::of(spec).resolved().running().then_restarted("web").plan()), @r"
    create service web: 1 of 2 replicas of acme/shop:1
    [waiting for web: 0 of 2 tasks are ready]
    route shop-acme.apps.localhost to web (previous release too)
    scale the previous release of web from 2 to 1
    scale web from 1 to 2
    [waiting for web: 1 of 2 tasks are ready]
    route shop-acme.apps.localhost to web
    scale the previous release of web from 1 to 0
    [waiting for the proof that the tasks serve]
    remove service web
    ");
}

#[test]
fn stopping_scales_every_process_to_zero_and_starting_gives_each_its_scale_again() {
    let spec = |suspend: bool| {
        spec(json!({"image": "acme/shop:1", "suspend": suspend, "processes": {"web": {"port": 8080, "replicas": 2}, "worker": {}}}))
    };
    let running = World::of(spec(false)).resolved().running();
    assert_snapshot!(lines(&running.then(spec(true)).plan()), @r"
    scale web from 2 to 0
    scale worker from 1 to 0
    [waiting for the proof that the tasks serve]
    ");
    let stopped = World::of(spec(true)).resolved().running();
    let started = lines(&stopped.then(spec(false)).plan());
    assert!(started.contains("scale web from 0 to 2") && started.contains("scale worker from 0 to 1"), "{started}");
}

#[test]
fn a_new_image_replaces_tasks_one_by_one_and_the_edge_goes_first() {
    let next = spec(json!({"image": "acme/shop:2", "processes": {"web": {"port": 8080, "replicas": 2}}}));
    assert_snapshot!(lines(&World::of(web(2)).resolved().running().then(next).plan()), @r"
    resolve image acme/shop:2
    create service web: 1 of 2 replicas of acme/shop:2
    [waiting for web: 0 of 2 tasks are ready]
    route shop-acme.apps.localhost to web (previous release too)
    scale the previous release of web from 2 to 1
    scale web from 1 to 2
    [waiting for web: 1 of 2 tasks are ready]
    route shop-acme.apps.localhost to web
    scale the previous release of web from 1 to 0
    [waiting for the proof that the tasks serve]
    remove service web
    ");
}

#[test]
fn a_new_image_stops_first_when_asked_to() {
    let next =
        spec(json!({"image": "acme/shop:2", "processes": {"web": {"port": 8080, "replicas": 2}}, "rollout": {"order": "stop-first"}}));
    assert_snapshot!(lines(&World::of(web(2)).resolved().running().then(next).plan()), @r"
    resolve image acme/shop:2
    scale the previous release of web from 2 to 0
    [waiting for 2 old tasks to stop]
    create service web: 2 of 2 replicas of acme/shop:2
    route shop-acme.apps.localhost to web
    [waiting for web: 0 of 2 tasks are ready]
    remove service web
    ");
}

#[test]
fn scaling_restarts_nothing() {
    assert_snapshot!(lines(&World::of(web(2)).resolved().running().then(web(5)).plan()), @r"
    scale web from 2 to 5
    [waiting for web: 2 of 5 tasks are ready]
    ");
    assert_snapshot!(lines(&World::of(web(2)).resolved().running().then(web(0)).plan()), @r"
    scale web from 2 to 0
    [waiting for the proof that the tasks serve]
    ");
}

#[test]
fn a_process_type_that_is_gone_from_the_spec_is_removed_last() {
    let two = spec(json!({"image": "acme/shop:1", "processes": {"web": {"port": 8080}, "worker": {}}}));
    assert_snapshot!(lines(&World::of(two).resolved().running().then(web(1)).plan()), @r"
    [waiting for the proof that the tasks serve]
    remove service worker
    ");
}

#[test]
fn deleting_takes_the_app_off_the_edge_first_and_the_row_last() {
    let app = spec(json!({"image": "acme/shop:1", "secrets": {"KEY": "x"}, "processes": {"web": {"port": 8080}}}));
    let world = World::of(app).resolved().verdict(VerdictPhase::Ready).running().deleting();
    assert_snapshot!(lines(&world.plan()), @r"
    take the app off the edge
    [waiting for the edge to forget the app]
    remove service web
    [waiting for 1 old tasks to stop]
    remove secret shop-c0ffee01-s1
    remove the app's network
    remove the app's records
    ");
}

#[test]
fn a_failed_generation_is_not_applied_again_and_the_proven_one_comes_back() {
    let next = spec(json!({"image": "acme/shop:2", "processes": {"web": {"port": 8080, "replicas": 2}}}));
    let mut world = World::of(web(2)).resolved().running();
    let old = world.observed.clone();
    world = world.then(next).verdict(VerdictPhase::Failed);
    world.observed = old;
    // Nothing of the failed generation exists (any more): there is nothing left to do.
    assert!(world.plan().is_empty(), "{}", lines(&world.plan()));
}

#[test]
fn a_failed_generation_goes_even_when_the_proven_one_has_no_tasks() {
    let next = spec(json!({"image": "acme/shop:1", "env": {"BAD": "1"}, "processes": {"web": {"port": 8080, "replicas": 1}}}));
    let mut world = World::of(web(0)).resolved().running();
    let old = world.service("web");
    world = world.then(next).running().verdict(VerdictPhase::Failed);
    if let Fact::Known(services) = &mut world.observed.services {
        services.push(old);
    }
    assert_snapshot!(lines(&world.plan()), @r"
    route shop-acme.apps.localhost to web
    scale the previous release of web from 1 to 0
    remove service web
    ");
}

#[test]
fn another_attempt_makes_new_tasks_of_what_the_failed_one_left() {
    let mut world = World::of(web(1)).resolved().running();
    let failed = world.observed.clone();
    let same = world.newest.spec.clone();
    world = world.then(same).verdict(VerdictPhase::Rolling);
    (world.proven, world.observed) = (None, failed);
    (world.newest.source, world.newest.based_on) = ("retry".to_owned(), Some(1));
    assert_snapshot!(lines(&world.plan()), @r"
    remove service web
    create service web: 1 of 1 replicas of acme/shop:1
    [waiting for web: 0 of 1 tasks are ready]
    ");
}

#[test]
fn a_failed_first_generation_is_left_as_it_is() {
    let world = World::of(web(1)).verdict(VerdictPhase::Failed);
    assert_eq!((world.plan().steps.len(), world.plan().waiting), (0, Some(Gate::Failed)));
}

#[test]
fn what_is_unknown_leads_to_no_step_at_all() {
    let base = || World::of(web(2)).resolved().verdict(VerdictPhase::Ready).running();
    let mut worlds = [base(), base(), base(), base(), base()];
    worlds[0].observed.services = Fact::Unknown;
    worlds[1].observed.tasks = Fact::Unknown;
    worlds[2].observed.networks = Fact::Unknown;
    worlds[3].observed.secrets = Fact::Unknown;
    worlds[4].observed.route = Fact::Unknown;
    for world in worlds {
        assert_eq!(world.plan().steps.len(), 0);
        let deleting = world.deleting();
        assert_eq!(deleting.plan().steps.len(), 0, "a deletion on a guess");
    }
}

#[test]
fn a_foreign_object_with_our_name_is_never_touched() {
    let mut world = World::of(web(1)).resolved().running();
    if let Fact::Known(services) = &mut world.observed.services {
        services[0].spec.labels.insert(labels::OWNER_UID.into(), "somebody else".into());
    }
    let plan = world.plan();
    assert_eq!(plan.steps.len(), 0);
    assert!(matches!(plan.waiting, Some(Gate::NameTaken { ref what }) if what.starts_with("service shop-")), "{plan:?}");
}

#[test]
fn what_was_changed_by_hand_is_put_right_in_one_step() {
    let mut world = World::of(web(2)).resolved().verdict(VerdictPhase::Ready).running();
    if let Fact::Known(services) = &mut world.observed.services {
        services[0].spec.image = "evil:latest".into();
        services[0].spec.replicas = 9;
    }
    let plan = world.plan();
    let first = plan.next().expect("a step");
    assert!(matches!(first, Step::UpdateService { fields, .. } if *fields == ["image"]), "{first}");
    let scaled = plan
        .steps
        .iter()
        .any(|planned| matches!(&planned.step, Step::ScaleService { process: name, from: 9, to: 2, .. } if *name == process("web")));
    assert!(scaled, "{}", lines(&plan));
}

/// A release of one task beside the next one, whose task is ready as well.
fn side_by_side() -> World {
    let next = spec(json!({"image": "acme/shop:2", "env": {"NEW": "1"}, "processes": {"web": {"port": 8080, "replicas": 1}}}));
    let mut world = World::of(web(1)).resolved().running();
    let old = world.observed.clone();
    world = world.then(next).resolved().running();
    let (Fact::Known(new), Fact::Known(services)) = (old.services, &mut world.observed.services) else { panic!("known") };
    services.extend(new);
    world
}

#[test]
fn nothing_old_is_stopped_while_the_proxy_cannot_be_asked() {
    let mut world = side_by_side();
    let now = world.now;
    world.rollout = Some(RolloutStatus {
        generation: 2,
        started_at: now,
        last_progress_at: now,
        progress: 0,
        healthy_since: Some(now),
        unknown_since: None,
    });
    world.observed.edge = Fact::Unknown;
    let plan = world.plan();
    assert_eq!(plan.next(), None, "{}", lines(&plan));
    assert_eq!(plan.gate(), Some(&Gate::EdgeServes { process: process("web") }));
}

#[test]
fn a_release_that_answered_for_a_moment_does_not_get_all_requests_yet() {
    assert_snapshot!(lines(&side_by_side().plan()), @r"
    route shop-acme.apps.localhost to web (previous release too)
    [waiting until the tasks stayed healthy for rollout.healthWindow]
    route shop-acme.apps.localhost to web
    scale the previous release of web from 1 to 0
    [waiting for the proof that the tasks serve]
    remove service web
    ");
}

#[test]
fn when_another_process_type_takes_the_requests_it_is_ready_before_it_gets_them() {
    let next = spec(json!({"image": "acme/shop:1", "processes": {"api": {"port": 9000}, "web": {}}}));
    assert_snapshot!(lines(&World::of(web(1)).resolved().running().then(next).plan()), @r"
    create service api: 1 of 1 replicas of acme/shop:1
    create service web: 1 of 1 replicas of acme/shop:1
    [waiting for api: 0 of 1 tasks are ready]
    route shop-acme.apps.localhost to api
    scale the previous release of web from 1 to 0
    [waiting for the proof that the tasks serve]
    remove service web
    ");
}

#[test]
fn moving_a_domain_publishes_a_route_and_nothing_else() {
    let mut world = World::of(web(1)).resolved().verdict(VerdictPhase::Ready).running();
    world.hosts.push("shop.example.com".parse().expect("valid"));
    world.hosts.sort();
    assert_snapshot!(lines(&world.plan()), @r"
    route shop-acme.apps.localhost, shop.example.com to web
    ");
}

#[test]
fn what_the_edge_does_changes_by_one_route_and_no_task() {
    let mut spec = web(1);
    let edge = serde_json::json!({
        "basicAuth": {"users": {"ana": {"passwordVersion": 1}}}, "allowFrom": ["192.0.2.0/24", "::1"],
        "https": {"redirect": true, "hsts": {"maxAgeDays": 30}}, "maxRequestBody": "50Mi", "sticky": {}, "maintenance": {},
    });
    spec.edge = serde_json::from_value(edge).expect("valid");
    let world = World::of(web(1)).resolved().verdict(VerdictPhase::Ready).running().then(spec.clone());
    assert_snapshot!(lines(&world.plan()), @r"
    route shop-acme.apps.localhost to web with a maintenance page, redirect to HTTPS, HSTS for 30 days, basic authentication (1 user), an allow list (2 ranges), bodies of at most 50Mi, sticky sessions
    [waiting for the proof that the tasks serve]
    ");
    // A proxy that has the route, but still does what it did before, has not taken it.
    let mut world = world.route_follows();
    assert!(world.plan().steps.is_empty());
    let Fact::Known(facts) = &mut world.observed.edge else { panic!("it is known") };
    facts.policy = None;
    assert!(matches!(world.model().edge, EdgeModel::Serves { hosts_current: false, .. }));
    // A new password is a new version.
    let mut newer = spec;
    newer.edge = serde_json::from_value(serde_json::json!({"basicAuth": {"users": {"ana": {"passwordVersion": 2}}}})).expect("valid");
    assert_ne!(crate::edge::policy::marker(&newer.edge), crate::edge::policy::marker(&world.newest.spec.edge));
}

#[test]
fn another_protocol_is_another_release_and_the_usual_one_is_not() {
    let release = |protocol: serde_json::Value| {
        let mut value = serde_json::to_value(web(1)).expect("serialises");
        value["processes"]["web"]["protocol"] = protocol;
        let spec = serde_json::from_value(value).expect("valid");
        World::of(spec).resolved().desired().target.processes.values().next().expect("one").release.clone()
    };
    let usual = World::of(web(1)).resolved().desired().target.processes.values().next().expect("one").release.clone();
    assert_eq!(release(serde_json::json!("http")), usual);
}

#[test]
fn a_pause_holds_back_every_act_and_the_plan_shows_what_waits_for_its_end() {
    let mut world = World::of(web(2));
    paused(&mut world, 0, 7200);
    let plan = world.plan();
    assert_eq!(plan.next(), None);
    assert_snapshot!(lines(&plan), @r"
    [waiting for the end of the pause (paused by ada until 2026-09-21T16:13:20Z: we look)]
    resolve image acme/shop:1
    create the app's network
    create service web: 2 of 2 replicas of acme/shop:1
    route shop-acme.apps.localhost to web
    [waiting for web: 0 of 2 tasks are ready]
    ");
    let mut deleting = World::of(web(1)).resolved().verdict(VerdictPhase::Ready).running().deleting();
    paused(&mut deleting, 0, 7200);
    assert_eq!(deleting.plan().next(), None);
    // The world is looked at a minute after its start.
    paused(&mut deleting, 0, 60);
    assert_eq!(deleting.plan().next(), Some(&Step::WithdrawRoute));
}

#[test]
fn a_database_that_was_set_back_removes_nothing_until_the_app_is_changed() {
    let mut world =
        World::of(web(2)).resolved().then(spec(json!({"image": "acme/shop:2", "processes": {"web": {"port": 8080}}}))).resolved();
    world = world.verdict(VerdictPhase::Ready).running();
    let route = world.observed.route.clone();
    // The rows are those of generation 1, and the engine has the second one only.
    let set_back = |world: &mut World| {
        world.record.generation = 1;
        world.newest = world.proven.take().expect("was proven");
    };
    set_back(&mut world);
    world.observed.route = Fact::Absent;
    let plan = world.plan();
    let only_route = matches!(plan.steps.as_slice(), [planned] if matches!(planned.step, Step::PublishRoute { .. }));
    assert!(only_route, "{}", lines(&plan));
    world.observed.route = route;
    assert!(world.plan().steps.is_empty(), "{}", lines(&world.plan()));
    assert!(matches!(world.plan().gate(), Some(Gate::StoreBehind { known: 1, found: 2 })), "{:?}", world.plan().gate());
    // A deletion was asked for afterwards, and is done.
    assert!(!world.deleting().plan().is_empty());
}
