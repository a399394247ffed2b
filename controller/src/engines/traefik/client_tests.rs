//! Reading recorded answers of Traefik 3.7; the calls themselves are tested on the real program.

use super::*;
use crate::edge::document::tests::{endpoint, table};

fn parsed<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("a recorded answer")
}

const ROUTER: &str = r#"{"entryPoints":["web"],"middlewares":["retry@http"],"service":"a","rule":"Host(`a.test.io`)","priority":17,
"observability":{"accessLogs":true},"status":"enabled","using":["web"],"name":"a@http","provider":"http"}"#;
const BROKEN: &str = r#"{"entryPoints":["web"],"service":"a","rule":"Hst(`x`)","error":["unsupported function: Hst"],"status":"disabled",
"using":["web"],"name":"bad@http","provider":"http"}"#;
const SERVICE: &str = r#"{"loadBalancer":{"servers":[{"url":"http://172.18.0.4:80"},{"url":"http://172.18.0.3:80"}],"strategy":"wrr",
"passHostHeader":true},"status":"enabled","usedBy":["a@http"],"name":"a@http","provider":"http","type":"loadbalancer",
"serverStatus":{"http://172.18.0.3:80":"UP","http://172.18.0.4:80":"DOWN"}}"#;
const NO_SERVERS: &str = r#"{"loadBalancer":{"strategy":"wrr","passHostHeader":true},"status":"enabled","usedBy":["a@http"],
"name":"a@http","provider":"http","type":"loadbalancer"}"#;

#[test]
fn facts_tell_servers_their_state_and_their_releases() {
    let table = table([endpoint(1, "r1", "172.18.0.3:80", true), endpoint(1, "r2", "172.18.0.9:80", true)]);
    let got = facts("a", parsed(ROUTER), (Some(parsed(SERVICE)), Vec::new()), &table);
    let addresses = |list: &[&str]| list.iter().map(|text| text.parse().expect("an address")).collect::<Vec<Backend>>();
    assert_eq!(
        got,
        RouteFacts {
            rule: "Host(`a.test.io`)".to_owned(),
            policy: None,
            error: None,
            servers: addresses(&["172.18.0.3:80", "172.18.0.4:80"]),
            down: addresses(&["172.18.0.4:80"]),
            releases: vec!["r1".to_owned()],
            probe: None,
        }
    );
    assert!(facts("a", parsed(ROUTER), (Some(parsed(NO_SERVERS)), Vec::new()), &table).servers.is_empty());
}

#[test]
fn whatever_is_wrong_is_an_error_in_the_facts() {
    let table = table([]);
    assert_eq!(
        facts("a", parsed(BROKEN), (Some(parsed(NO_SERVERS)), Vec::new()), &table).error.as_deref(),
        Some("unsupported function: Hst")
    );
    assert_eq!(facts("a", parsed(ROUTER), (None, Vec::new()), &table).error.as_deref(), Some("the router has no service"));
    let odd = SERVICE.replace("172.18.0.4", "db.internal");
    assert!(facts("a", parsed(ROUTER), (Some(parsed(&odd)), Vec::new()), &table).error.is_some());
}

#[test]
fn an_answer_of_the_proxys_own_is_not_the_apps() {
    for (status, no_router, health, ok) in [
        (200, false, false, true),
        (302, false, true, true),
        (404, false, false, true),
        (404, false, true, false),
        (404, true, false, false),
        (401, false, false, true),
        (500, false, false, true),
        (500, false, true, false),
        (502, false, false, false),
        (503, false, true, false),
        (504, false, false, false),
    ] {
        let got = judge("GET http://a.example/", status, no_router, health);
        assert_eq!(got.ok, ok, "{status} {no_router} {health}");
        assert!(got.detail.starts_with(&format!("GET http://a.example/ answered {status}")), "{}", got.detail);
    }
}

#[test]
fn a_listener_on_all_addresses_is_asked_on_loopback() {
    for (from, to) in [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("10.0.0.1:80", "10.0.0.1:80")] {
        assert_eq!(reachable(from.parse().expect("an address")).to_string(), to);
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_answer_is_unknown_and_never_absent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let silent = listener.local_addr().expect("has an address");
    let (_sender, endpoints) = watch::channel(Arc::new(EndpointTable::default()));
    let client = TraefikClient::new(silent, silent, endpoints.clone()).expect("a client");
    assert!(client.route_facts("acme-a-00000001").await.is_unknown());
    drop(listener);
    assert!(client.route_facts("acme-a-00000001").await.is_unknown());
    assert!(client.overview().await.is_err());
    let probe = client.probe(&"a.example".parse().expect("a host"), None).await;
    assert!(!probe.ok && probe.detail.contains("refused"), "{}", probe.detail);
}

#[test]
fn routers_of_one_route_have_to_agree() {
    let with = |rule: &str, chain: &str| {
        let mut router: RouterInfo = parsed(ROUTER);
        (router.rule, router.middlewares) = (rule.to_owned(), vec![chain.to_owned()]);
        router
    };
    let merged = |other: Option<RouterInfo>, has_policy: bool| {
        let mut router = with("Host(`a.test.io`)", "a-0123456789abcdef@http");
        merge(&mut router, "a", other, has_policy);
        facts("a", router, (Some(parsed(SERVICE)), Vec::new()), &table([]))
    };
    let same = merged(Some(with("Host(`a.test.io`)", "a-tls-0123456789abcdef@http")), true);
    assert_eq!((same.rule.as_str(), same.policy.as_deref()), ("Host(`a.test.io`)", Some("0123456789abcdef")));
    assert_eq!(merged(Some(with("Host(`a.test.io`)", "retry@http")), false).rule, same.rule, "the probe's router has no policy");
    assert_eq!(merged(None, true).rule, "");
    assert_eq!(merged(Some(with("Host(`a.test.io`)", "retry@http")), true).rule, "");
    assert_eq!(merged(Some(with("Host(`b.test.io`)", "a-tls-0123456789abcdef@http")), true).rule, "");
    let mut broken = with("Host(`a.test.io`)", "a-tls-0123456789abcdef@http");
    (broken.status, broken.error) = ("disabled".to_owned(), vec!["no".to_owned()]);
    assert_eq!(merged(Some(broken), true).error.as_deref(), Some("no"));
}
