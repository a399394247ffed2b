//! The named cases: one test each, with the fault, and what must hold.

use std::collections::BTreeSet;
use std::time::Duration;

use api_types::kinds::app::{Verdict, VerdictPhase};
use api_types::{ConditionStatus, ConditionType, Reason};
use chrono::TimeDelta;
use serde_json::json;
use skyswarm::clock::Clock;
use skyswarm::edge::route_key;
use skyswarm::effects::Fault;
use skyswarm::engines::swarm::{NetworkSpec, SwarmEngine, TaskState, labels};
use skyswarm::kinds::app::names;
use skyswarm::store::AppKey;

use crate::oracles::{Foreign, Summary, at_rest, digest};
use crate::process::RESYNC;
use crate::specs::{app, key};
use crate::world::{World, simulate};

const MINUTE: Duration = Duration::from_secs(60);

/// A world with the app `shop`, ready, in its first generation.
async fn ready() -> World {
    let mut world = World::new(7);
    world.pass(Duration::from_secs(4)).await;
    world.apply(&key("shop"), &app("acme/good:1", json!({})));
    world.rest().await.expect("comes to rest");
    assert_eq!(verdict(&world, &key("shop")).phase, VerdictPhase::Ready);
    world
}

fn verdict(world: &World, key: &AppKey) -> Verdict {
    world.shared.rows.revisions(key).pop().expect("a revision").verdict
}

fn is(phase: VerdictPhase) -> impl Fn(&World) -> bool {
    move |world| verdict(world, &key("shop")).phase == phase
}

/// Status, reason and message of a condition.
fn condition(world: &World, key: &AppKey, kind: ConditionType) -> (ConditionStatus, Reason, String) {
    let record = world.shared.rows.record(key).expect("an app");
    let found = api_types::condition::find(&record.status.conditions, kind).expect("a condition");
    (found.status, found.reason, found.message.clone())
}

/// Requests have to be answered by so many tasks from now on.
fn watch(world: &mut World, least: usize) {
    let record = world.shared.rows.record(&key("shop")).expect("an app");
    world.watch.least = Some((route_key(record.uid, &record.org, &record.name), record.uid.to_string(), least));
}

fn monotonic(world: &World) -> Duration {
    world.shared.clock.monotonic()
}

fn nothing_wrong(world: &World) {
    assert_eq!(world.watch.wrong, None);
    assert_eq!(world.watch.too_few, 0, "steps in which too few tasks answered");
    at_rest(world).expect("at rest");
}

/// Case 2. The first answer of every single write of the engine is lost, for a whole life of an app.
#[test]
fn case_02_a_lost_answer_of_every_write_leaves_one_object_for_each_name() {
    async fn life(lossy: bool) -> Vec<(&'static str, String)> {
        let mut world = World::new(7);
        world.pass(Duration::from_secs(4)).await;
        if lossy {
            let lost = std::sync::Mutex::new(BTreeSet::new());
            world.shared.faults.begin(Box::new(move |_, effect| {
                let first = lost.lock().expect("unpoisoned").insert((effect.kind, effect.key.clone()));
                (first && effect.kind.is_engine()).then_some(Fault::LostReply)
            }));
        }
        world.apply(&key("shop"), &app("acme/good:1", json!({})));
        world.rest().await.expect("comes to rest");
        world.apply(&key("shop"), &app("acme/good:2", json!({"secrets": {"TOKEN": "two"}})));
        world.rest().await.expect("comes to rest");
        world.shared.rows.delete(&key("shop"));
        world.rest().await.expect("comes to rest");
        assert!(world.shared.rows.record(&key("shop")).is_none() && world.shared.swarm.services().is_empty());
        nothing_wrong(&world);
        let counts = digest(&world.history());
        assert!(counts.values().all(|count| *count == 1), "each once: {counts:?}");
        counts.into_keys().collect()
    }
    assert_eq!(simulate(life(true)), simulate(life(false)));
}

/// Case 4. A release that exits is told to have failed, with its exit code; the old one serves all the while, and it is tried once.
#[test]
fn case_04_a_failed_release_is_honest_and_tried_once() {
    simulate(async {
        let mut world = ready().await;
        let begun = world.history().len();
        watch(&mut world, 2);
        world.apply(&key("shop"), &app("acme/crash:1", json!({})));
        world.until("the verdict", MINUTE, is(VerdictPhase::Failed)).await.expect("fails");
        let failed = verdict(&world, &key("shop"));
        assert!(failed.message.as_deref().is_some_and(|message| message.contains("code 1")), "{failed:?}");
        world.pass(Duration::from_secs(10)).await;
        let (status, reason, message) = condition(&world, &key("shop"), ConditionType::Ready);
        assert_eq!((status, reason), (ConditionStatus::False, Reason::RolloutFailed), "{message}");
        assert!(message.contains("generation 2 failed") && message.contains("generation 1 is kept"), "{message}");
        world.pass(5 * MINUTE).await;
        let creates = world.history().split_off(begun).into_iter().filter(|landed| landed.call == "service_create");
        let mut names: Vec<String> = creates.map(|landed| landed.name).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert!(count == names.len() && count <= 2, "each process of the failed generation once: {names:?}");
        assert_eq!((world.running("good-1"), world.running("crash")), (3, 0));
        nothing_wrong(&world);
    });
}

/// Case 5. A release that no node takes fails at its deadline; the last good one is restored, and no task is left waiting.
#[test]
fn case_05_an_unschedulable_release_fails_at_its_deadline() {
    simulate(async {
        let mut world = ready().await;
        watch(&mut world, 2);
        let begun = monotonic(&world);
        world.apply(&key("shop"), &app("acme/unschedulable:1", json!({})));
        world.until("the verdict", MINUTE, is(VerdictPhase::Failed)).await.expect("fails");
        let took = monotonic(&world) - begun;
        assert!((15..=25).contains(&took.as_secs()), "the deadline is 20 s, not {took:?}");
        let failed = verdict(&world, &key("shop"));
        assert_eq!(failed.reason, Some(Reason::ProgressDeadlineExceeded), "{failed:?}");
        world.rest().await.expect("comes to rest");
        let waiting = world.shared.swarm.tasks().into_iter().filter(|task| task.state < TaskState::Running).count();
        assert_eq!((world.running("good-1"), waiting), (3, 0));
        nothing_wrong(&world);
    });
}

/// Case 6. A hundred apps at rest: whatever wakes the controller, nothing is written.
#[test]
fn case_06_a_hundred_apps_at_rest_are_not_written_to() {
    simulate(async {
        let mut world = World::with_resync(7, Duration::from_secs(15));
        world.pass(Duration::from_secs(4)).await;
        let keys: Vec<AppKey> = (0..100).map(|number| key(&format!("app-{number}"))).collect();
        for key in &keys {
            world.apply(key, &app("acme/good:1", json!({"processes": {"web": {"port": 8080}}})));
        }
        let all_ready = |world: &World| keys.iter().all(|key| verdict(world, key).phase == VerdictPhase::Ready);
        world.until("all apps", 5 * MINUTE, all_ready).await.expect("all are ready");
        world.pass(Duration::from_secs(20)).await;
        let before = (world.shared.swarm.mutations(), world.shared.swarm.services());
        let begun = monotonic(&world);
        let mut hints = 0;
        while monotonic(&world) - begun < 10 * MINUTE {
            // 40 resyncs, and a thousand hints about nothing.
            for key in keys.iter().cycle().skip(hints).take(6) {
                world.process.as_ref().expect("runs").hint(key.clone());
            }
            hints += 6;
            world.pass_idle(Duration::from_secs(3)).await;
        }
        assert!(hints >= 1_000, "{hints}");
        assert_eq!((world.shared.swarm.mutations(), world.shared.swarm.services()), before);
    });
}

/// Case 7. No hint comes through: every edit is still taken up by the next resync.
#[test]
fn case_07_without_hints_every_edit_is_taken_up_by_the_next_resync() {
    simulate(async {
        let mut world = ready().await;
        world.deaf = true;
        for (image, replicas) in [("acme/good:2", 2), ("acme/good:2", 3), ("acme/good:3", 1), ("acme/good:1", 2)] {
            let (before, begun) = (world.shared.swarm.landed(), monotonic(&world));
            world.apply(&key("shop"), &app(image, json!({"processes": {"web": {"port": 8080, "replicas": replicas}}})));
            let acted = |world: &World| world.shared.swarm.landed() > before;
            world.until("the first write", RESYNC + Duration::from_secs(5), acted).await.expect("a resync finds it");
            world.until("the verdict", MINUTE, is(VerdictPhase::Ready)).await.expect("is reached");
            println!("{image} x {replicas}: Ready after {:?}", monotonic(&world) - begun);
        }
        world.rest().await.expect("comes to rest");
        nothing_wrong(&world);
    });
}

/// Case 9. Lists lag up to twenty writes behind: nothing is made twice, nothing alive is removed, and old lists are seen as such.
#[test]
fn case_09_old_lists_are_not_believed() {
    async fn life(lag: usize) -> (Vec<((&'static str, String), usize)>, u64) {
        let mut world = World::new(7);
        world.pass(Duration::from_secs(4)).await;
        world.shared.swarm.set_lag(lag, TimeDelta::seconds(4));
        world.apply(&key("shop"), &app("acme/good:1", json!({})));
        world.rest().await.expect("comes to rest");
        watch(&mut world, 2);
        world.apply(&key("shop"), &app("acme/good:2", json!({})));
        world.rest().await.expect("comes to rest");
        nothing_wrong(&world);
        world.watch.least = None;
        world.shared.rows.delete(&key("shop"));
        world.rest().await.expect("comes to rest");
        assert!(world.shared.rows.record(&key("shop")).is_none() && world.shared.swarm.services().is_empty(), "lag {lag}");
        nothing_wrong(&world);
        (digest(&world.history()).into_iter().collect(), world.stale_skips())
    }
    let (reference, skips) = simulate(life(0));
    assert_eq!(skips, 0, "without a lag every list is believed");
    for lag in 1..=20 {
        let (counts, skips) = simulate(life(lag));
        assert_eq!(counts, reference, "lag {lag}");
        assert!(skips > 0, "lag {lag}");
    }
}

/// Case 16. Somebody writes to our services all the time: we neither storm nor repeat an old body, and converge after it.
#[test]
fn case_16_a_storm_of_versions_is_waited_out() {
    simulate(async {
        let mut world = ready().await;
        let before = world.shared.swarm.updates_asked().len();
        world.shared.swarm.set_storm(true);
        let rollout = json!({"healthWindow": "2s", "progressDeadline": "2m"});
        world.apply(&key("shop"), &app("acme/good:1", json!({"processes": {"web": {"port": 8080, "replicas": 3}}, "rollout": rollout})));
        world.pass(Duration::from_secs(30)).await;
        let asked = world.shared.swarm.updates_asked().split_off(before);
        assert!(!asked.is_empty() && asked.len() <= 30, "at most one write a second, not {}", asked.len());
        let distinct: BTreeSet<_> = asked.iter().collect();
        assert_eq!(distinct.len(), asked.len(), "each after a new look: {asked:?}");
        world.shared.swarm.set_storm(false);
        world.until("the verdict", 2 * MINUTE, is(VerdictPhase::Ready)).await.expect("converges");
        world.rest().await.expect("comes to rest");
        assert_eq!(world.running("good-1"), 3);
        nothing_wrong(&world);
    });
}

/// Case 18. Calls for some apps hang, fail or answer with halves: the others are as quick as without that.
#[test]
fn case_18_a_bad_engine_for_some_apps_does_not_slow_the_others() {
    async fn slowest(bad: bool) -> Duration {
        let mut world = World::new(7);
        world.pass(Duration::from_secs(4)).await;
        if bad {
            let counter = std::sync::atomic::AtomicUsize::new(0);
            let modes = [Fault::Slow, Fault::HalfAnswer, Fault::Error, Fault::LostReply];
            world.shared.faults.begin(Box::new(move |_, effect| {
                let next = || modes[counter.fetch_add(1, std::sync::atomic::Ordering::AcqRel) % modes.len()];
                (effect.kind.is_engine() && effect.key.starts_with("bad-")).then(next)
            }));
        }
        let good: Vec<AppKey> = (0..12).map(|number| key(&format!("good-{number}"))).collect();
        let all = (0..3).map(|number| key(&format!("bad-{number}"))).chain(good.clone());
        for key in all {
            world.apply(&key, &app("acme/good:1", json!({"processes": {"web": {"port": 8080}}})));
        }
        let begun = monotonic(&world);
        let done = |world: &World| good.iter().all(|key| verdict(world, key).phase == VerdictPhase::Ready);
        world.until("the good apps", 2 * MINUTE, done).await.expect("are ready");
        monotonic(&world) - begun
    }
    let (reference, with) = (simulate(slowest(false)), simulate(slowest(true)));
    assert!(with <= reference * 2, "{with:?} instead of {reference:?}");
}

/// Case 19. A network stays in use for ten minutes: the app says so and stays, then nothing is left; a new one of its name is new.
#[test]
fn case_19_a_delete_waits_for_its_network_and_a_new_app_inherits_nothing() {
    simulate(async {
        let mut world = ready().await;
        let old = world.shared.rows.record(&key("shop")).expect("an app");
        let network = names::network(&old.name, old.uid);
        world.shared.swarm.hold_network(&network, true);
        world.shared.rows.delete(&key("shop"));
        world.pass(10 * MINUTE).await;
        let (status, reason, message) = condition(&world, &key("shop"), ConditionType::Ready);
        assert_eq!((status, reason), (ConditionStatus::False, Reason::Deleting));
        assert!(message.contains("in use"), "{message}");
        assert!(world.shared.swarm.services().is_empty() && world.shared.swarm.secrets().is_empty());
        assert!(!world.shared.rows.apply(&key("shop"), &app("acme/good:2", json!({}))), "there is no room for a new one yet");
        world.shared.swarm.hold_network(&network, false);
        world.rest().await.expect("comes to rest");
        assert!(world.shared.rows.record(&key("shop")).is_none() && world.shared.swarm.networks().is_empty());
        let secrets = |world: &World| -> BTreeSet<String> { world.shared.swarm.secrets().into_iter().map(|secret| secret.name).collect() };
        world.apply(&key("shop"), &app("acme/good:2", json!({"secrets": {"TOKEN": "new"}})));
        world.rest().await.expect("comes to rest");
        let new = world.shared.rows.record(&key("shop")).expect("an app");
        assert_ne!(new.uid, old.uid);
        let prefix = names::prefix(&new.name, new.uid);
        assert!(secrets(&world).iter().all(|name| name.starts_with(&prefix)), "{:?}", secrets(&world));
        nothing_wrong(&world);
    });
}

/// Case 22. Objects of others stay as they are, also those that stand where ours belong; that is told.
#[test]
fn case_22_foreign_objects_are_left_alone_and_named() {
    simulate(async {
        let mut world = World::new(7);
        Foreign::plant(&world).await;
        world.pass(Duration::from_secs(4)).await;
        world.apply(&key("shop"), &app("acme/good:1", json!({})));
        let record = world.shared.rows.record(&key("shop")).expect("an app");
        let swarm = world.shared.swarm.clone();
        let (network, secret) = (names::network(&record.name, record.uid), names::secret(&record.name, record.uid, 1));
        for number in 0..10 {
            let spec = NetworkSpec { name: format!("{network}-{number}"), labels: Default::default() };
            swarm.network_create(&spec).await.expect("plants a network");
        }
        let taken = swarm.network_create(&NetworkSpec { name: network.clone(), labels: Default::default() }).await.expect("plants it");
        let value = secrecy::SecretString::from("theirs".to_owned());
        let taken_secret = swarm.secret_create(&secret, &Default::default(), &value).await.expect("plants it");
        let foreign = Foreign::seen(&world);
        world.pass(MINUTE).await;
        foreign.unchanged(&world).expect("untouched");
        let (status, reason, message) = condition(&world, &key("shop"), ConditionType::Accepted);
        assert_eq!((status, reason), (ConditionStatus::False, Reason::NameTaken), "{message}");
        assert!(message.contains(&network), "{message}");
        swarm.network_remove(&taken).await.expect("they take it away");
        swarm.secret_remove(&taken_secret).await.expect("they take it away");
        let foreign = Foreign::seen(&world);
        // The generation failed at its deadline, so somebody has to ask for another attempt.
        assert_eq!(verdict(&world, &key("shop")).phase, VerdictPhase::Failed);
        assert!(world.shared.rows.retry(&key("shop")));
        world.until("the verdict", MINUTE, is(VerdictPhase::Ready)).await.expect("converges");
        world.shared.rows.delete(&key("shop"));
        world.rest().await.expect("comes to rest");
        foreign.unchanged(&world).expect("untouched by the delete too");
        let ours = |found: &std::collections::BTreeMap<String, String>| found.get(labels::OWNER_UID) == Some(&record.uid.to_string());
        assert!(!swarm.services().iter().any(|service| ours(&service.spec.labels)));
    });
}

/// Case 23. The rows are empty, or almost, all at once: what is there is not taken away because of that.
#[test]
fn case_23_rows_that_are_gone_remove_nothing() {
    simulate(async {
        let mut world = World::new(7);
        world.pass(Duration::from_secs(4)).await;
        let keys: Vec<AppKey> = (0..10).map(|number| key(&format!("app-{number}"))).collect();
        for key in &keys {
            world.apply(key, &app("acme/good:1", json!({"processes": {"web": {"port": 8080}}})));
        }
        world.rest().await.expect("comes to rest");
        let before = (world.shared.swarm.mutations(), world.running("good-1"));
        for left in [1, 0] {
            for key in keys.iter().skip(left) {
                world.shared.rows.forget(key);
            }
            world.kill();
            world.pass(3 * MINUTE).await;
            assert_eq!((world.shared.swarm.mutations(), world.running("good-1")), before, "{left} of ten rows left");
        }
    });
}

/// Case 30. The wall clock is stepped by an hour in the middle of a rollout: no deadline and no window ends early or late.
#[test]
fn case_30_a_step_of_the_clock_moves_no_deadline() {
    for hours in [-1, 1] {
        simulate(async {
            // A rollout that hangs fails by time that really passed.
            let mut world = ready().await;
            watch(&mut world, 2);
            let begun = monotonic(&world);
            world.apply(&key("shop"), &app("acme/hang:1", json!({})));
            world.pass(Duration::from_secs(8)).await;
            world.shared.clock.step_wall(TimeDelta::hours(hours));
            world.until("the verdict", MINUTE, is(VerdictPhase::Failed)).await.expect("fails");
            let took = monotonic(&world) - begun;
            assert!((15..=25).contains(&took.as_secs()), "{hours} h: the deadline is 20 s, not {took:?}");

            // One that works is as quick as without a step, and does not skip its health window.
            world.rest().await.expect("comes to rest");
            let begun = monotonic(&world);
            world.apply(&key("shop"), &app("acme/good:2", json!({"rollout": {"healthWindow": "10s", "progressDeadline": "30s"}})));
            world.pass(Duration::from_secs(9)).await;
            world.shared.clock.step_wall(TimeDelta::hours(hours));
            world.until("the verdict", MINUTE, is(VerdictPhase::Ready)).await.expect("is reached");
            let took = monotonic(&world) - begun;
            assert!((12..=30).contains(&took.as_secs()), "{hours} h: Ready after {took:?}");
            world.rest().await.expect("comes to rest");
            nothing_wrong(&world);
        });
    }
}

/// Two ways to one end: `Summary` tells different ends apart, or no oracle above means anything.
#[test]
fn summaries_differ_when_ends_do() {
    simulate(async {
        let mut world = ready().await;
        let before = Summary::of(&world);
        world.apply(&key("shop"), &app("acme/good:2", json!({})));
        world.rest().await.expect("comes to rest");
        let image = Summary::of(&world);
        world.apply(&key("shop"), &app("acme/good:2", json!({"domains": ["shop.example"]})));
        world.rest().await.expect("comes to rest");
        let domain = Summary::of(&world);
        assert!(before != image && image != domain && before != domain);
    });
}
