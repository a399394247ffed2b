//! What the answers look like.

use api_types::event::{Event, EventType};
use api_types::{App, Certificate, Condition, ConditionStatus, ConditionType, Domain, Node, Organization, Reason, Setting};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::*;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("in range")
}

fn ago(seconds: i64) -> DateTime<Utc> {
    now() - TimeDelta::seconds(seconds)
}

fn condition(kind: ConditionType, status: ConditionStatus, reason: Reason, message: &str) -> Value {
    serde_json::to_value(Condition {
        kind,
        status,
        reason,
        message: message.to_owned(),
        observed_generation: 3,
        last_transition_time: ago(65),
    })
    .expect("json")
}

fn app(name: &str, status: Value) -> App {
    serde_json::from_value(json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "App",
        "metadata": {"name": name, "org": "acme", "generation": 3, "labels": {"team": "x"}, "creationTimestamp": ago(3 * 86_400)},
        "spec": {
            "image": "acme/shop:1.4", "env": {"LEVEL": "info"}, "secrets": {"KEY": null}, "domains": ["shop.example.com"],
            "processes": {
                "web": {"port": 8080, "replicas": 3, "resources": {"cpu": "500m"}, "health": {"path": "/healthz"}},
                "worker": {"command": ["bin/worker"], "args": ["-v"]}
            }
        },
        "status": status
    }))
    .expect("an app")
}

fn ready() -> App {
    app(
        "shop",
        json!({
            "observedGeneration": 3, "servingGeneration": 3, "serving": [{"generation": 3, "tasks": 2}], "provenGeneration": 3, "image": "acme/shop@sha256:12",
            "urls": ["http://shop-acme.apps.localhost"],
            "processes": {"web": {"desired": 3, "running": 3, "updated": 3, "ready": 3}, "worker": {"desired": 1, "running": 1, "updated": 1, "ready": 1}},
            "conditions": [condition(ConditionType::Ready, ConditionStatus::True, Reason::Serving, "Generation 3 answers.")]
        }),
    )
}

fn rolling() -> App {
    app(
        "blog",
        json!({
            "observedGeneration": 3, "serving": [{"generation": 2, "tasks": 1}, {"generation": 3, "tasks": 1}], "urls": [],
            "processes": {"web": {"desired": 3, "running": 4, "updated": 2, "ready": 1}},
            "conditions": [
                condition(ConditionType::Progressing, ConditionStatus::True, Reason::RollingOut, ""),
                condition(ConditionType::Ready, ConditionStatus::False, Reason::RollingOut, "Not yet."),
                condition(ConditionType::Healthy, ConditionStatus::False, Reason::Starting, "web.2 is starting\u{1b}[2J\nnow"),
                condition(ConditionType::Routed, ConditionStatus::Unknown, Reason::RoutePending, "The proxy has not taken the routes."),
            ]
        }),
    )
}

fn failed() -> App {
    app(
        "bad",
        json!({
            "observedGeneration": 3, "verdict": {"phase": "Failed", "reason": "ImageNotFound", "message": "No such image: acme/shop:1.4", "time": ago(60)},
            "conditions": [condition(ConditionType::Ready, ConditionStatus::False, Reason::RolloutFailed, "No such image")]
        }),
    )
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn tables_of_all_kinds() {
    let mut old = ready();
    old.metadata.name = "old".to_owned();
    old.metadata.generation = Some(4);
    let mut new = ready();
    new.metadata.name = "new".to_owned();
    new.status = None;
    let apps = [ready(), rolling(), failed(), old, new];
    let domain: Domain = serde_json::from_value(json!({"apiVersion": "skyswarm.dev/v1", "kind": "Domain", "metadata": {"name": "a.example", "owner": "App/shop"}, "spec": {"app": "shop"}})).expect("a domain");
    let node: Node = serde_json::from_value(json!({"apiVersion": "skyswarm.dev/v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {}, "status": {"id": "x", "role": "manager", "availability": "active", "state": "ready", "leader": true, "cpuMillis": 2000, "memoryBytes": 4_294_967_296_i64}})).expect("a node");
    let org: Organization = serde_json::from_value(json!({"apiVersion": "skyswarm.dev/v1", "kind": "Organization", "metadata": {"name": "acme", "creationTimestamp": ago(7200)}, "spec": {}, "status": {"apps": 2}})).expect("an org");
    let setting: Setting = serde_json::from_value(json!({"apiVersion": "skyswarm.dev/v1", "kind": "Setting", "metadata": {"name": "edge.default_domain"}, "spec": {"value": "apps.localhost"}, "status": {"description": "Domain below which every app has a host.", "valueType": "host", "default": "apps.localhost", "isDefault": true}})).expect("a setting");
    let wide = kinds::Columns { wide: true, ..kinds::Columns::USUAL };
    let orgs = kinds::Columns { orgs: true, headings: false, ..kinds::Columns::USUAL };
    let text = [
        kinds::table(&apps, now(), kinds::Columns::USUAL),
        kinds::table(&apps[..1], now(), wide),
        kinds::table(&apps[..1], now(), orgs),
        kinds::table(&[domain], now(), kinds::Columns::USUAL),
        kinds::table(&[node], now(), wide),
        kinds::table(&[org], now(), kinds::Columns::USUAL),
        kinds::table(&[setting], now(), wide),
    ];
    insta::assert_snapshot!(plain(&text.join("\n")));
}

fn event() -> Event {
    Event {
        id: 1,
        kind: "App".into(),
        name: "shop".into(),
        event_type: EventType::Warning,
        reason: "CrashLoop".into(),
        message: "web.1 ended with exit code 1".into(),
        generation: 3,
        count: 4,
        first_seen: ago(400),
        last_seen: ago(5),
    }
}

#[test]
fn a_description_says_why() {
    insta::assert_snapshot!(plain(&describe::app(&rolling(), &[event()], now())));
    insta::assert_snapshot!(plain(&describe::app(&failed(), &[], now())));
}

#[test]
fn progress_on_a_terminal_and_elsewhere() {
    let time = std::time::Duration::from_millis(4_230);
    let mut text = String::new();
    for app in [ready(), rolling(), failed()] {
        text.push_str(&progress::frame(&app, time).join("\n"));
        text.push_str(&format!("\n> {}\n\n", progress::summary(&app)));
    }
    text.push_str(&progress::elapsed(std::time::Duration::from_secs(125)));
    insta::assert_snapshot!(plain(&text));
}

#[test]
fn ages_are_short() {
    let ages = [0, 5, 119, 125, 600, 3 * 3600, 5 * 3600 + 60, 47 * 3600, 86_400 * 3, 86_400 * 800];
    let text: Vec<String> = ages.iter().map(|seconds| age(Some(ago(*seconds)), now())).collect();
    assert_eq!(text.join(" "), "0s 5s 119s 2m5s 10m 3h 5h1m 47h 3d 2y");
    assert_eq!((age(None, now()), age(Some(ago(-50)), now())), ("-".to_owned(), "0s".to_owned()));
}

#[test]
fn what_others_wrote_cannot_steer_the_terminal() {
    assert_eq!(harmless("a\u{1b}[31mred\u{1b}[0m\u{1b}]0;title\u{7}\u{1b}[2J\r\tb", true), "a\u{1b}[31mred\u{1b}[0m]0;title[2J\tb");
    assert_eq!(harmless("a\u{1b}[31mred", false), "a[31mred");
    assert_eq!(harmless("\u{1b}", true), "");
    assert_eq!(harmless("\u{1b}[", true), "[");
    assert_eq!(harmless("\u{9b}31mä", true), "31mä");
}

fn certificate(name: &str, status: ConditionStatus, reason: Reason) -> Certificate {
    serde_json::from_value(json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "Certificate",
        "metadata": {"name": name, "generation": 3, "creationTimestamp": ago(3 * 86_400)},
        "spec": {"chain": "PEM"},
        "status": {
            "conditions": [condition(ConditionType::Ready, status, reason, "clients of a.example get this certificate")],
            "dnsNames": ["a.example", "b.example", "c.example", "*.d.example", "e.example"], "subject": "CN=a.example", "issuer": "CN=Example CA",
            "fingerprint": "0123456789abcdef0123456789abcdef", "notBefore": "2026-01-01T00:00:00Z", "notAfter": "2027-02-01T10:00:00Z",
        }
    }))
    .expect("a certificate")
}

#[test]
fn certificates_say_who_gets_them_and_how_long() {
    let all = [
        certificate("example-com", ConditionStatus::True, Reason::CertificateServed),
        certificate("old", ConditionStatus::True, Reason::CertificateExpiring),
        certificate("ended", ConditionStatus::False, Reason::CertificateExpired),
    ];
    insta::assert_snapshot!("certificates", kinds::table(&all, now(), kinds::Columns { wide: true, ..kinds::Columns::USUAL }));
    insta::assert_snapshot!("certificate_described", describe::certificate(&all[0], now()));
}
