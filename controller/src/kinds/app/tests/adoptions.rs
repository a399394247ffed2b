//! Services that somebody else made: what is done to them, and what is not.

use serde_json::json;

use super::fixtures::{World, lines, process, spec};
use crate::engines::swarm::{ForeignHealth, ForeignPort, ForeignService, Service, ServiceSpec, TaskState, labels};
use crate::kinds::app::adopt;
use crate::plan::Fact;

const IMAGE: &str = "acme/shop:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The service of somebody else, as the engine shows it.
fn foreign() -> Service {
    let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Service {
        id: "svc-theirs".to_owned(),
        version: 3,
        spec: ServiceSpec {
            name: "shop_web".to_owned(),
            labels: text(&[("team", "them"), ("com.docker.stack.namespace", "shop")]),
            image: IMAGE.to_owned(),
            args: vec!["serve".to_owned()],
            env: text(&[("A", "1"), ("PORT", "8080")]),
            network: "shop_default".to_owned(),
            replicas: 2,
            ..ServiceSpec::default()
        },
        created_at: super::fixtures::start(),
    }
}

fn wanted(change: impl Fn(&mut serde_json::Value)) -> api_types::kinds::app::AppSpec {
    let mut value = json!({
        "image": IMAGE, "env": {"A": "1"},
        "processes": {"web": {"port": 8080, "replicas": 2, "args": ["serve"], "adopt": {"service": "shop_web"}}},
    });
    change(&mut value);
    spec(value)
}

/// A new app that may take `service` over.
fn world(service: Service, change: impl Fn(&mut serde_json::Value)) -> World {
    let mut world = World::of(wanted(change)).resolved();
    world.record.adopted.insert("shop_web".to_owned(), "svc-theirs".to_owned());
    world.observed.services = Fact::Known(vec![service]);
    world
}

fn same(_: &mut serde_json::Value) {}

#[test]
fn taking_over_is_one_step_and_the_route() {
    insta::assert_snapshot!(lines(&world(foreign(), same).plan()), @"
    take over service shop_web as web, without a restart of a task
    route shop-acme.apps.localhost to web
    [waiting for web: 0 of 2 tasks are ready]
    ");
}

#[test]
fn nothing_is_taken_over_that_is_not_what_the_process_says_or_not_permitted() {
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change); 5] = [
        ("env", |spec| spec["env"]["A"] = "hunter2".into()),
        ("scale", |spec| spec["processes"]["web"]["replicas"] = 3.into()),
        ("image", |spec| spec["image"] = "acme/shop:1".into()),
        ("args", |spec| spec["processes"]["web"]["args"] = json!([])),
        ("limits", |spec| spec["processes"]["web"]["resources"] = json!({"memory": "64Mi"})),
    ];
    let mut told = String::new();
    for (what, change) in changes {
        told.push_str(&format!("{what}: {}", lines(&world(foreign(), change).plan())));
    }
    assert!(!told.contains("hunter2"), "a value of a variable is told: {told}");
    insta::assert_snapshot!(told);
    // Of another app, or of another platform on the same Swarm.
    let mut taken = foreign();
    taken.spec.labels.insert(labels::OWNER_UID.to_owned(), "0190c0de-0000-7000-8000-000000000001".to_owned());
    assert!(lines(&world(taken, same).plan()).contains("it belongs to app"));
    // Another service that came later under its name: it is not looked at, the process gets one of its own.
    let later = Service { id: "svc-later".to_owned(), ..foreign() };
    assert!(!lines(&world(later, same).plan()).contains("take over"));
    let mut unpermitted = world(foreign(), same);
    unpermitted.record.adopted.clear();
    assert!(!lines(&unpermitted.plan()).contains("take over"));
}

/// The same, taken over, with its tasks.
fn taken(change: impl Fn(&mut serde_json::Value)) -> World {
    let mut world = world(foreign(), change);
    let target = world.desired().target.processes[&process("web")].service.clone();
    let mut service = foreign();
    service.spec.labels.extend(target.labels);
    service.spec.labels.insert(labels::ADOPTED.to_owned(), "true".to_owned());
    world.observed.services = Fact::Known(vec![service.clone()]);
    // The fixture reads what its tasks are from the container's labels.
    let shown = Service { spec: ServiceSpec { container_labels: service.spec.labels.clone(), ..service.spec.clone() }, ..service };
    for slot in 1..=2 {
        world.add_task(&shown, slot, TaskState::Running, "");
    }
    world.route_follows()
}

#[test]
fn once_taken_over_nothing_is_left_to_do() {
    let mut world = taken(same);
    world.newest.verdict.phase = api_types::kinds::app::VerdictPhase::Ready;
    assert_eq!(lines(&world.plan()), "");
}

#[test]
fn the_first_change_is_a_rollout_and_the_service_goes_when_it_is_replaced() {
    let world = taken(same).then(wanted(|spec| spec["env"]["A"] = "2".into()));
    insta::assert_snapshot!(lines(&world.plan()));
}

#[test]
fn a_change_by_hand_is_put_right_and_everything_else_stays() {
    let mut world = taken(same);
    world.newest.verdict.phase = api_types::kinds::app::VerdictPhase::Ready;
    let Fact::Known(services) = &mut world.observed.services else { panic!("known") };
    services[0].spec.env.insert("A".to_owned(), "by hand".to_owned());
    services[0].spec.labels.remove(labels::PORT);
    let found = services[0].spec.clone();
    insta::assert_snapshot!(lines(&world.plan()), @"correct service web: labels, env");
    let desired = world.desired();
    let (spec, web) = (&desired.target.spec, &desired.target.spec.processes[&process("web")]);
    let right = adopt::corrected(spec, web, &desired.target.processes[&process("web")].service, &found);
    let before = taken(same).observed.services.known().expect("known")[0].spec.clone();
    assert_eq!(right, before, "another field was touched, or one was not put right");
}

#[test]
fn what_others_change_on_it_is_drift_and_what_it_lacks_of_ours_is_not() {
    use crate::kinds::app::drift::{Memory, find};
    let mut world = taken(same);
    world.newest.verdict.phase = api_types::kinds::app::VerdictPhase::Ready;
    let mut memory = Memory::default();
    let mut look = |world: &World| find(&world.desired(), &world.observed, &mut memory, |_| false, world.now);
    // It has no network and no service of the app's own name: nobody removed them.
    assert_eq!(look(&world), []);
    let Fact::Known(services) = &mut world.observed.services else { panic!("known") };
    services[0].spec.env.insert("A".to_owned(), "hunter2".to_owned());
    let words: Vec<String> = look(&world).iter().map(crate::kinds::app::drift::Finding::words).collect();
    assert_eq!(words, ["env of service shop_web is changed instead of as it was taken over"]);
}

fn drawn(services: &[ForeignService]) -> String {
    let drafts = adopt::drafts(&adopt::base(services, Some("shop")), services).expect("can be apps");
    let mut out = String::new();
    for draft in &drafts.drafts {
        api_types::check::check(&draft.manifest).expect("a draft is a valid manifest");
        out.push_str(&format!("{:#}\n", draft.manifest));
        out.extend(draft.notes.iter().map(|note| format!("# {}: {}\n", note.path, note.message)));
    }
    out
}

fn full() -> ForeignService {
    let mut service = foreign();
    service.spec.env.insert("API_TOKEN".to_owned(), "x".to_owned());
    service.spec.env.insert("my.key".to_owned(), "x".to_owned());
    service.spec.env.insert("SLOT".to_owned(), "{{.Task.Slot}}".to_owned());
    service.spec.labels.insert("traefik.http.routers.a.rule".to_owned(), "Host(`shop.example.com`)".to_owned());
    (service.spec.nano_cpus, service.spec.memory_bytes, service.spec.stop_grace_nanos) = (500_000_000, 64 << 20, 3_000_000_000);
    ForeignService {
        service,
        mode: "replicated",
        networks: vec!["shop_default".to_owned()],
        ports: vec![
            ForeignPort { target: 8080, published: 80, tcp: true, mesh: true },
            ForeignPort { target: 53, published: 53, tcp: false, mesh: true },
        ],
        health: Some(ForeignHealth {
            test: vec!["CMD".to_owned(), "curl".to_owned(), "http://localhost:8080/up".to_owned()],
            interval_nanos: 7_000_000_000,
            timeout_nanos: 0,
            retries: 5,
        }),
        update: Some((true, 2)),
        extras: vec![("mounts", "volume data at /data".to_owned()), ("constraints", "node.role==worker".to_owned())],
    }
}

#[test]
fn a_draft_says_what_runs_and_what_it_cannot_say() {
    let mut other = full();
    other.service.spec.name = "shop_cache".to_owned();
    other.service.spec.image = "redis:7".to_owned();
    insta::assert_snapshot!(drawn(&[full(), other]));
}

#[test]
fn a_draft_that_nobody_changed_is_what_runs() {
    let services = [full()];
    let drafts = adopt::drafts("shop", &services).expect("can be an app");
    let manifest = api_types::check::check(&drafts.drafts[0].manifest).expect("valid");
    let api_types::Manifest::App(app) = manifest else { panic!("an app") };
    let (name, web) = app.spec.processes.iter().next().expect("a process");
    assert_eq!((name.as_str(), adopt::refusal(None, &app.spec, web, &services[0].service)), ("web", None));
}

#[test]
fn what_cannot_be_an_app_is_told_with_its_place() {
    let global = ForeignService { mode: "global", ..full() };
    let mut ours = full();
    ours.service.spec.labels.insert(labels::MANAGED_BY.to_owned(), labels::MANAGED_BY_VALUE.to_owned());
    let errors = adopt::drafts("shop", &[global, ours]).expect_err("refused");
    let told: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.path, error.message)).collect();
    insta::assert_snapshot!(told.join("\n"), @"
    services.shop_web.mode: it is global; only replicated services can be processes of an app
    services.shop_web: it belongs to app ? of the organization ? already
    ");
}
