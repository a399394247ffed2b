//! The verdict, as a table of situations.

use api_types::Reason;
use api_types::kinds::app::{RolloutStatus, Verdict, VerdictPhase};
use chrono::Duration;
use serde_json::json;

use super::fixtures::{World, paused, spec, start, web};
use crate::edge::Check;
use crate::engines::swarm::TaskState;
use crate::kinds::app::model::Model;
use crate::kinds::app::verdict::{Judgement, Look, judge};
use crate::plan::Fact;

const NO_IMAGE: &str = "No such image: acme/shop@sha256:0123";

fn judged(world: &World, rollout: Option<RolloutStatus>, after: i64) -> Judgement {
    let (desired, now) = (world.desired(), start() + Duration::seconds(after));
    let model = Model::new(&desired, &world.observed, rollout, now);
    judge(&Look { desired: &desired, observed: &world.observed, model: &model, image_error: None }, rollout, now)
}

fn verdict(world: &World, rollout: Option<RolloutStatus>, after: i64) -> (VerdictPhase, Option<Reason>) {
    let Verdict { phase, reason, .. } = judged(world, rollout, after).verdict;
    (phase, reason)
}

fn rolling() -> World {
    World::of(web(2)).resolved().verdict(VerdictPhase::Rolling).running()
}

/// The world with `count` tasks of the web service in a state, and none running.
fn with_tasks(count: u64, state: TaskState, error: &str) -> World {
    let mut world = rolling();
    world.observed.tasks = Fact::Known(Vec::new());
    world.observed.endpoints = Fact::Known(Vec::new());
    let service = world.service("web");
    for slot in 1..=count {
        world.add_task(&service, slot, state, error);
    }
    world
}

#[test]
fn a_new_generation_is_rolling_once_it_was_looked_at() {
    assert_eq!(verdict(&World::of(web(2)), None, 0), (VerdictPhase::Rolling, None));
}

#[test]
fn ready_comes_after_the_health_window_and_not_before() {
    let world = rolling();
    let first = judged(&world, None, 0);
    assert_eq!(first.verdict.phase, VerdictPhase::Rolling);
    assert_eq!(verdict(&world, Some(first.rollout), 9), (VerdictPhase::Rolling, None));
    assert_eq!(verdict(&world, Some(first.rollout), 10), (VerdictPhase::Ready, None));
}

#[test]
fn with_other_edges_the_health_window_is_at_least_as_long_as_they_may_be_behind() {
    let mut spec = web(2);
    spec.rollout.health_window = "1s".parse().expect("a duration");
    let mut world = World::of(spec).resolved().verdict(VerdictPhase::Rolling).running();
    let first = judged(&world, None, 0);
    assert_eq!(verdict(&world, Some(first.rollout), 1), (VerdictPhase::Ready, None));
    world.observed.other_edges = true;
    assert_eq!(verdict(&world, Some(first.rollout), 2), (VerdictPhase::Rolling, None));
    assert_eq!(verdict(&world, Some(first.rollout), 3), (VerdictPhase::Ready, None));
}

#[test]
fn a_task_that_drops_out_starts_the_health_window_again() {
    let mut world = rolling();
    let healthy = judged(&world, None, 0).rollout;
    if let Fact::Known(endpoints) = &mut world.observed.endpoints {
        endpoints[0].ready = false;
    }
    assert_eq!(judged(&world, Some(healthy), 5).rollout.healthy_since, None);
}

#[test]
fn scaling_a_proven_release_needs_no_health_window() {
    let world = World::of(web(1)).resolved().running().then(web(2)).verdict(VerdictPhase::Rolling).running();
    assert_eq!(verdict(&world, None, 0), (VerdictPhase::Ready, None));
}

#[test]
fn without_an_answer_through_the_edge_nothing_is_ready() {
    let mut world = rolling();
    let rollout = judged(&world, None, 0).rollout;
    if let Fact::Known(facts) = &mut world.observed.edge {
        facts.probe.as_mut().expect("probed").ok = false;
    }
    assert_eq!(verdict(&world, Some(rollout), 60), (VerdictPhase::Rolling, None));
    world.observed.edge = Fact::Unknown;
    assert_eq!(verdict(&world, Some(rollout), 60), (VerdictPhase::Rolling, None));
}

#[test]
fn three_crashes_or_two_rejections_fail_a_new_release() {
    assert_eq!(verdict(&with_tasks(2, TaskState::Failed, "task: non-zero exit (1)"), None, 1), (VerdictPhase::Rolling, None));
    assert_eq!(
        verdict(&with_tasks(3, TaskState::Failed, "task: non-zero exit (1)"), None, 1),
        (VerdictPhase::Failed, Some(Reason::CrashLoop))
    );
    assert_eq!(verdict(&with_tasks(3, TaskState::Complete, ""), None, 1), (VerdictPhase::Failed, Some(Reason::CrashLoop)));
    assert_eq!(verdict(&with_tasks(1, TaskState::Rejected, NO_IMAGE), None, 1), (VerdictPhase::Rolling, None));
    assert_eq!(verdict(&with_tasks(2, TaskState::Rejected, NO_IMAGE), None, 1), (VerdictPhase::Failed, Some(Reason::ImageNotFound)));
    let message = judged(&with_tasks(2, TaskState::Rejected, NO_IMAGE), None, 1).verdict.message;
    assert_eq!(message.as_deref(), Some("task web.2 on node node-1 was rejected: No such image: acme/shop@sha256:0123"));
}

#[test]
fn crashes_of_an_older_release_do_not_count_against_a_generation_that_keeps_it() {
    let mut world = World::of(web(1)).resolved().running().then(web(2)).verdict(VerdictPhase::Rolling);
    let service = world.service("web");
    for slot in 1..=4 {
        world.add_task(&service, slot, TaskState::Failed, "task: non-zero exit (1)");
    }
    assert_eq!(verdict(&world, None, 1).0, VerdictPhase::Rolling);
}

#[test]
fn the_progress_deadline_counts_from_the_last_step_forward() {
    let world = with_tasks(0, TaskState::New, "");
    let begun = judged(&world, None, 0).rollout;
    assert_eq!(verdict(&world, Some(begun), 299), (VerdictPhase::Rolling, None));
    assert_eq!(verdict(&world, Some(begun), 300), (VerdictPhase::Failed, Some(Reason::ProgressDeadlineExceeded)));
    // One task got ready in between: the deadline starts again.
    let mut better = rolling();
    if let Fact::Known(endpoints) = &mut better.observed.endpoints {
        endpoints[1].ready = false;
        endpoints[1].last_check = Check::Failed { detail: "GET /healthz answered 500".into() };
    }
    let later = judged(&better, Some(begun), 200).rollout;
    assert_eq!(verdict(&better, Some(later), 300), (VerdictPhase::Rolling, None));
    let end = judged(&better, Some(later), 500).verdict;
    assert!(end.message.as_deref().is_some_and(|message| message.contains("GET /healthz answered 500")), "{end:?}");
}

#[test]
fn an_engine_that_does_not_answer_fails_nobody() {
    let mut world = with_tasks(0, TaskState::New, "");
    let begun = judged(&world, None, 0).rollout;
    world.observed.tasks = Fact::Unknown;
    let away = judged(&world, Some(begun), 100).rollout;
    let away = judged(&world, Some(away), 10_000);
    assert_eq!(away.verdict.phase, VerdictPhase::Rolling);
    // And the time of its absence does not count, but what was before it does.
    world.observed.tasks = Fact::Known(Vec::new());
    let back = judged(&world, Some(away.rollout), 10_100);
    assert_eq!(back.verdict.phase, VerdictPhase::Rolling);
    assert_eq!(verdict(&world, Some(back.rollout), 10_299), (VerdictPhase::Rolling, None));
    assert_eq!(verdict(&world, Some(back.rollout), 10_300), (VerdictPhase::Failed, Some(Reason::ProgressDeadlineExceeded)));
}

#[test]
fn the_deadline_stands_still_while_tasks_were_not_asked_or_the_proxy_is_away() {
    let mut world = rolling();
    if let Fact::Known(endpoints) = &mut world.observed.endpoints {
        (endpoints[1].ready, endpoints[1].last_check) = (false, Check::Pending);
    }
    let begun = judged(&world, None, 0).rollout;
    assert_eq!(verdict(&world, Some(begun), 10_000), (VerdictPhase::Rolling, None));
    if let Fact::Known(endpoints) = &mut world.observed.endpoints {
        endpoints[1].last_check = Check::PortClosed { detail: "connection refused on port 8080".into() };
    }
    world.observed.edge = Fact::Unknown;
    assert_eq!(verdict(&world, Some(begun), 10_000), (VerdictPhase::Rolling, None));
    world = world.route_follows();
    let asked = judged(&world, Some(begun), 10_000).rollout;
    assert_eq!(verdict(&world, Some(asked), 10_299), (VerdictPhase::Rolling, None));
    assert_eq!(verdict(&world, Some(asked), 10_300), (VerdictPhase::Failed, Some(Reason::ProgressDeadlineExceeded)));
}

#[test]
fn health_that_comes_and_goes_does_not_put_the_deadline_off_for_ever() {
    let good = rolling();
    let mut bad = rolling();
    if let Fact::Known(endpoints) = &mut bad.observed.endpoints {
        endpoints[0].ready = false;
        endpoints[0].last_check = Check::Failed { detail: "GET /healthz answered 500".into() };
    }
    let mut rollout = judged(&good, None, 0).rollout;
    for second in (5..300).step_by(10) {
        rollout = judged(&bad, Some(rollout), second).rollout;
        rollout = judged(&good, Some(rollout), second + 5).rollout;
    }
    // Healthy at the deadline: the window may still pass. Not healthy: it has failed.
    assert_eq!(verdict(&good, Some(rollout), 303).0, VerdictPhase::Rolling);
    assert_eq!(verdict(&bad, Some(rollout), 303), (VerdictPhase::Failed, Some(Reason::ProgressDeadlineExceeded)));
}

#[test]
fn a_task_that_ran_out_of_memory_is_told_with_its_limit() {
    let killed = |limit: Option<&str>, known: bool| {
        let mut spec = web(2);
        let process = spec.processes.values_mut().next().expect("one process");
        process.resources.memory = limit.map(|limit| limit.parse().expect("a quantity"));
        let mut world = World::of(spec).resolved().verdict(VerdictPhase::Rolling).running();
        world.observed.tasks = Fact::Known(Vec::new());
        world.observed.endpoints = Fact::Known(Vec::new());
        let service = world.service("web");
        for slot in 1..=3 {
            world.add_task(&service, slot, TaskState::Failed, "task: non-zero exit (137)");
        }
        if let Fact::Known(tasks) = &mut world.observed.tasks {
            tasks.iter_mut().for_each(|task| task.exit_code = Some(137));
            world.observed.out_of_memory = tasks.iter().filter(|_| known).map(|task| task.id.clone()).collect();
        }
        let Verdict { phase, reason, message, .. } = judged(&world, None, 1).verdict;
        assert_eq!(phase, VerdictPhase::Failed);
        (reason, message.unwrap_or_default())
    };
    let (reason, message) = killed(Some("64Mi"), true);
    assert_eq!(reason, Some(Reason::OutOfMemory));
    insta::assert_snapshot!(message, @"task web.3 on node node-1 was killed: it used more memory than its limit of 64Mi (processes.web.resources.memory; exit code 137)");
    let (reason, message) = killed(None, true);
    assert!(reason == Some(Reason::OutOfMemory) && message.contains("it has no limit"), "{message}");
    // Another node's engine cannot be asked: no more is said than is known.
    let (reason, message) = killed(Some("64Mi"), false);
    assert!(reason == Some(Reason::CrashLoop) && message.contains("most often"), "{message}");
}

#[test]
fn an_unproven_release_that_a_newer_generation_keeps_still_fails_by_its_crashes_but_not_by_older_ones() {
    let change = |replicas: u32| {
        spec(json!({"image": "acme/shop:1", "env": {"A": "1"}, "processes": {"web": {"port": 8080, "replicas": replicas}}}))
    };
    // Generation 2 is being rolled out when generation 3 changes its scale only.
    let mut world = World::of(web(1)).resolved().running().then(change(1)).running();
    let proven = world.proven.clone();
    world = world.then(change(2)).verdict(VerdictPhase::Rolling);
    world.proven = proven;
    let service = world.service("web");
    for slot in 1..=3 {
        world.add_task(&service, slot, TaskState::Failed, "task: non-zero exit (1)");
    }
    assert_eq!(verdict(&world, None, 1), (VerdictPhase::Failed, Some(Reason::CrashLoop)));
    world.newest.created_at = start() + Duration::seconds(10);
    assert_eq!(verdict(&world, None, 11).0, VerdictPhase::Rolling);
}

#[test]
fn a_verdict_is_final() {
    let ready = World::of(web(2)).resolved().verdict(VerdictPhase::Ready);
    assert_eq!(verdict(&ready, None, 100_000).0, VerdictPhase::Ready);
    let failed = with_tasks(0, TaskState::New, "").verdict(VerdictPhase::Failed);
    assert_eq!(verdict(&failed, None, 100_000).0, VerdictPhase::Failed);
}

#[test]
fn a_pause_fails_nobody_and_its_time_does_not_count() {
    let mut world = with_tasks(0, TaskState::New, "");
    let begun = judged(&world, None, 0).rollout;
    paused(&mut world, 100, 1000);
    assert_eq!(verdict(&world, Some(begun), 999), (VerdictPhase::Rolling, None));
    assert_eq!(verdict(&world, Some(begun), 1299), (VerdictPhase::Rolling, None));
    assert_eq!(verdict(&world, Some(begun), 1300), (VerdictPhase::Failed, Some(Reason::ProgressDeadlineExceeded)));
    let mut crashing = with_tasks(3, TaskState::Failed, "task: non-zero exit (1)");
    paused(&mut crashing, 0, 1000);
    assert_eq!(verdict(&crashing, None, 1), (VerdictPhase::Rolling, None));
}
