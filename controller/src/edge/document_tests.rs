//! Golden documents, and properties that must hold for every input.

use std::collections::{BTreeMap, BTreeSet};

use api_types::kinds::edge::{EdgeSpec, Protocol};
use chrono::{DateTime, Utc};
use proptest::prelude::*;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{DocumentOptions, render};
use crate::edge::inputs::{CertificatePair, Inputs};
use crate::edge::nodes::NodeFiles;
use crate::edge::{Check, Endpoint, EndpointTable, Hop, Route};

/// Uid of an app; its last eight hex digits are the number.
pub(crate) fn uid(number: u32) -> Uuid {
    Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 | u128::from(number))
}

/// A route of organisation `acme`, process `web`.
pub(crate) fn route(app: u32, name: &str, hosts: &[&str], releases: &[&str]) -> Route {
    Route {
        app_uid: uid(app),
        org: "acme".parse().expect("a name"),
        app: name.parse().expect("a name"),
        hosts: hosts.iter().map(|host| host.parse().expect("a host")).collect(),
        process: "web".parse().expect("a name"),
        releases: releases.iter().map(|release| (*release).to_owned()).collect(),
        health: None,
        protocol: Protocol::Http,
        edge: EdgeSpec::default(),
    }
}

/// An endpoint; task and container are named after the address.
pub(crate) fn endpoint(app: u32, release: &str, address: &str, ready: bool) -> Endpoint {
    Endpoint {
        task_id: format!("t-{address}"),
        container_id: format!("c-{address}"),
        app_uid: uid(app),
        process: "web".to_owned(),
        release: release.to_owned(),
        slot: 1,
        address: address.parse().expect("an address"),
        hop: None,
        leaving: false,
        ready,
        since: DateTime::<Utc>::UNIX_EPOCH,
        last_check: if ready { Check::Passed } else { Check::Pending },
    }
}

/// A table that was read.
pub(crate) fn table(endpoints: impl IntoIterator<Item = Endpoint>) -> EndpointTable {
    EndpointTable {
        endpoints: endpoints.into_iter().map(|endpoint| (endpoint.task_id.clone(), endpoint)).collect(),
        observed_at: Some(DateTime::<Utc>::UNIX_EPOCH),
    }
}

fn json(routes: &[Route], table: &EndpointTable) -> serde_json::Value {
    let rendered = render(&Inputs::of(routes), table, &DocumentOptions::default()).expect("renders");
    serde_json::from_slice(&rendered.to_json(1).expect("serialises")).expect("is JSON")
}

#[test]
fn golden_document() {
    let mut shop = route(0xa1, "shop", &["shop-acme.apps.example", "www.shop.example"], &["r1", "r2"]);
    shop.health = serde_json::from_value(serde_json::json!({"path": "/healthz", "interval": "5s", "timeout": "2s"})).ok();
    let blog = route(0xb2, "blog", &["blog-acme.apps.example"], &["r9"]);
    let table = table([
        endpoint(0xa1, "r1", "172.18.0.9:8080", true),
        endpoint(0xa1, "r2", "172.18.0.4:8080", true),
        endpoint(0xa1, "r2", "172.18.0.5:8080", false),
        endpoint(0xa1, "r0", "172.18.0.6:8080", true),
        endpoint(0xb2, "r8", "172.18.0.7:3000", true),
    ]);
    insta::assert_json_snapshot!(json(&[shop, blog], &table));
}

#[test]
fn a_document_without_routes_is_valid_and_not_empty() {
    insta::assert_json_snapshot!(json(&[], &EndpointTable::default()));
}

#[test]
fn the_hash_is_of_the_content_and_not_of_the_revision() {
    let routes = [route(1, "a", &["a.example"], &["r1"])];
    let one = render(&Inputs::of(&routes), &table([]), &DocumentOptions::default()).expect("renders");
    let two =
        render(&Inputs::of(&routes), &table([endpoint(1, "r1", "172.18.0.2:80", true)]), &DocumentOptions::default()).expect("renders");
    assert_ne!(one.hash, two.hash);
    assert_eq!(one.stamp(7), format!("skyswarm-rev-7-{}", one.hash));
    assert_ne!(one.to_json(1).expect("serialises"), one.to_json(2).expect("serialises"));
    let unready = table([endpoint(1, "r1", "172.18.0.2:80", false)]);
    assert_eq!(
        render(&Inputs::of(&routes), &unready, &DocumentOptions::default()).expect("renders").hash,
        one.hash,
        "an unready task changes nothing"
    );
}

#[test]
fn the_older_app_keeps_a_host_that_two_routes_name() {
    let (old, new) = (route(1, "old", &["a.example"], &["r"]), route(2, "new", &["a.example", "b.example"], &["r"]));
    for routes in [[old.clone(), new.clone()], [new, old]] {
        let rendered = render(&Inputs::of(&routes), &table([]), &DocumentOptions::default()).expect("renders");
        let document = json(&routes, &table([]));
        assert_eq!(document["http"]["routers"]["acme-old-00000001"]["rule"], "Host(`a.example`)");
        assert_eq!(document["http"]["routers"]["acme-new-00000002"]["rule"], "Host(`b.example`)");
        assert_eq!(rendered.conflicts, ["acme-new-00000002 and acme-old-00000001 both name a.example; acme-old-00000001 keeps it"]);
    }
}

#[test]
fn a_health_path_that_names_another_machine_is_not_given_to_the_proxy() {
    let both = table([endpoint(1, "r", "172.18.0.2:80", true), endpoint(1, "r", "172.18.0.3:80", true)]);
    for (path, given) in [("/up?full=1", true), ("//169.254.169.254/latest", false), ("http://x/", false), ("/a b", false), ("", false)] {
        let mut route = route(1, "a", &["a.example"], &["r"]);
        route.health = serde_json::from_value(serde_json::json!({ "path": path })).ok();
        let document = json(&[route], &both);
        assert_eq!(document["http"]["services"]["acme-a-00000001"]["loadBalancer"].get("healthCheck").is_some(), given, "{path}");
    }
}

#[test]
fn the_proxys_check_is_never_stricter_than_the_apps_threshold() {
    let mut route = route(1, "a", &["a.example"], &["r"]);
    let spec = serde_json::json!({"path": "/", "interval": "200ms", "timeout": "100ms", "failureThreshold": 3});
    route.health = serde_json::from_value(spec).ok();
    let two = table([endpoint(1, "r", "172.18.0.2:80", true), endpoint(1, "r", "172.18.0.3:80", true)]);
    let check = json(&[route.clone()], &two)["http"]["services"]["acme-a-00000001"]["loadBalancer"]["healthCheck"].clone();
    assert_eq!((check["interval"].as_str(), check["timeout"].as_str()), (Some("1000ms"), Some("500ms")));
    let one = table([endpoint(1, "r", "172.18.0.2:80", true)]);
    assert!(json(&[route], &one)["http"]["services"]["acme-a-00000001"]["loadBalancer"].get("healthCheck").is_none());
}

/// Reads a rule back: host literals joined by `||`, nothing else.
fn hosts_of(rule: &str) -> Option<BTreeSet<String>> {
    let mut hosts = BTreeSet::new();
    for term in rule.split(" || ") {
        let host = term.strip_prefix("Host(`")?.strip_suffix("`)")?;
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte)) {
            return None;
        }
        hosts.insert(host.to_owned());
    }
    Some(hosts)
}

fn any_route() -> impl Strategy<Value = Route> {
    let host = "[a-c]\\.(example|test)".prop_map(|host| host);
    let release = prop::sample::select(vec!["r1", "r2", "r3"]);
    (1u32..5, prop::collection::vec(host, 0..4), prop::collection::vec(release, 0..3)).prop_map(|(app, hosts, releases)| {
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        route(app, "app", &hosts, &releases)
    })
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let release = prop::sample::select(vec!["r1", "r2", "r3"]);
    (1u32..5, release, 2u8..12, prop::bool::ANY, prop::bool::weighted(0.8), 0u32..40).prop_map(|(app, release, last, ready, web, task)| {
        let mut endpoint = endpoint(app, release, &format!("172.18.0.{last}:80"), ready);
        (endpoint.task_id, endpoint.container_id) = (format!("t{task}"), format!("c{task}"));
        if !web {
            endpoint.process = "worker".to_owned();
        }
        endpoint
    })
}

proptest! {
    #[test]
    fn whatever_goes_in_no_app_gets_anothers_hosts_or_tasks(
        routes in prop::collection::vec(any_route(), 0..6),
        endpoints in prop::collection::vec(any_endpoint(), 0..12),
    ) {
        let table = table(endpoints);
        let rendered = render(&Inputs::of(&routes), &table, &DocumentOptions::default()).expect("renders");
        let document = json(&routes, &table);
        let empty = serde_json::Map::new();
        let routers = document["http"]["routers"].as_object().unwrap_or(&empty);
        let mut taken = BTreeSet::new();
        for (key, router) in routers {
            let hosts = hosts_of(router["rule"].as_str().expect("a rule")).expect("a rule of hosts only");
            let own: BTreeSet<String> =
                routes.iter().filter(|route| route.key() == *key).flat_map(|route| route.hosts.iter().map(ToString::to_string)).collect();
            prop_assert!(hosts.is_subset(&own));
            for host in hosts {
                prop_assert!(taken.insert(host), "a host is in two rules");
            }
            prop_assert_eq!(router["service"].as_str(), Some(key.as_str()));
            prop_assert!(document["http"]["services"].get(key).is_some(), "a router without its service answers 404");
        }
        let wanted: BTreeSet<String> = routes.iter().flat_map(|route| route.hosts.iter().map(ToString::to_string)).collect();
        prop_assert!(routes.iter().map(Route::key).collect::<BTreeSet<_>>().len() < routes.len() || wanted == taken, "a host was lost");

        let mut holders: BTreeMap<std::net::SocketAddr, BTreeSet<&str>> = BTreeMap::new();
        for endpoint in table.endpoints.values() {
            holders.entry(endpoint.address).or_default().insert(&endpoint.container_id);
        }
        for (key, servers) in &rendered.servers_by_key {
            let route = routes.iter().find(|route| route.key() == *key).expect("a route");
            prop_assert!(servers.is_sorted());
            for server in servers {
                prop_assert_eq!(holders[&server.address].len(), 1, "an address in doubt is served");
                let endpoint = table.endpoints.values().find(|endpoint| endpoint.backend() == *server).expect("an endpoint");
                prop_assert!(endpoint.ready && endpoint.app_uid == route.app_uid && endpoint.process == "web");
            }
        }
    }
}

#[test]
fn five_thousand_routes_are_rendered_in_a_moment() {
    let routes: Vec<Route> =
        (0..5000u32).map(|app| route(app, &format!("app{app}"), &[&format!("app{app}-acme.apps.example")], &["r1"])).collect();
    let address = |number: u32| format!("10.{}.{}.{}:8080", number >> 16, (number >> 8) & 255, number & 255);
    let table = table((0..10_000u32).map(|number| endpoint(number / 2, "r1", &address(number), true)));
    let start = std::time::Instant::now();
    let rendered = render(&Inputs::of(&routes), &table, &DocumentOptions::default()).expect("renders");
    let json = rendered.to_json(1).expect("serialises");
    eprintln!("{} bytes in {:?}", json.len(), start.elapsed());
    assert_eq!(rendered.servers_by_key.values().map(Vec::len).sum::<usize>(), 10_000);
    // A debug build on a busy machine; squares of five thousand would take far longer.
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn golden_document_with_https_and_everything_an_app_can_ask_of_the_edge() {
    let edge = serde_json::json!({
        "https": {"redirect": true, "hsts": {"maxAgeDays": 365, "includeSubdomains": true}},
        "basicAuth": {"users": {"ana": {"passwordVersion": 7}}},
        "allowFrom": ["192.0.2.0/24", "2001:db8::/32"], "maxRequestBody": "50Mi", "sticky": {},
    });
    let mut shop = route(0xa1, "shop", &["shop.example"], &["r1"]);
    shop.edge = serde_json::from_value(edge).expect("valid");
    let mut page = route(0xb2, "page", &["page.example"], &["r1"]);
    page.edge = serde_json::from_value(serde_json::json!({"maintenance": {"message": "later"}})).expect("valid");
    let mut grpc = route(0xc3, "grpc", &["grpc.example"], &["r1"]);
    grpc.protocol = Protocol::H2c;
    let mut closed = route(0xd4, "closed", &["closed.example"], &["r1"]);
    closed.edge = serde_json::from_value(serde_json::json!({"basicAuth": {"users": {"bob": {"passwordVersion": 1}}}})).expect("valid");
    let table = table([endpoint(0xa1, "r1", "172.18.0.9:8080", true), endpoint(0xc3, "r1", "172.18.0.4:50051", true)]);
    let mut inputs = Inputs::of(&[shop, page, grpc, closed]);
    inputs.passwords.insert(uid(0xa1), 7, "$2y$06$hash".to_owned());
    let pair = |name: &str| CertificatePair {
        name: name.to_owned(),
        chain: format!("{name} chain"),
        key: Zeroizing::new(format!("{name} key")),
        fingerprint: String::new(),
    };
    (inputs.certificates, inputs.default_certificate) = (vec![pair("shop")], Some(pair("default")));
    let options = DocumentOptions {
        https: Some(("websecure".to_owned(), 8443)),
        probe: Some("probe".to_owned()),
        responder: Some("127.0.0.1:7099".parse().expect("an address")),
        ..DocumentOptions::default()
    };
    let rendered = render(&inputs, &table, &options).expect("renders");
    let shown = format!("{rendered:?} {inputs:?}");
    assert!(!shown.contains("$2y$06") && !shown.contains("default key"), "{shown}");
    assert_eq!(rendered.pages.keys().collect::<Vec<_>>(), ["acme-page-000000b2"]);
    let json: serde_json::Value = serde_json::from_slice(&rendered.to_json(1).expect("serialises")).expect("is JSON");
    insta::assert_json_snapshot!(json);
    assert!(
        render(&inputs, &table, &DocumentOptions::default())
            .expect("renders")
            .to_json(1)
            .is_ok_and(|json| !json.windows(3).any(|w| w == b"tls"))
    );
}

/// An endpoint on another node.
fn elsewhere(app: u32, release: &str, address: &str, task: &str) -> Endpoint {
    let edge = "10.0.0.2:7443".parse().expect("an address");
    Endpoint { task_id: task.to_owned(), hop: Some(Hop { node: "nodeb".to_owned(), edge }), ..endpoint(app, release, address, true) }
}

#[test]
fn a_task_on_another_node_is_reached_by_its_own_name_and_is_offered_to_nobody_else() {
    let node = NodeFiles {
        node: "nodea".to_owned(),
        certificate: "/edge/node.crt".into(),
        key: "/edge/node.key".into(),
        authority: "/edge/nodes.crt".into(),
    };
    let options = DocumentOptions { node: Some(node), ..DocumentOptions::default() };
    // Both nodes have the same addresses; that is no doubt.
    let here = Endpoint { task_id: "here1".to_owned(), ..endpoint(1, "r1", "172.18.0.3:80", true) };
    let rendered = |endpoints: Vec<Endpoint>| {
        let inputs = Inputs::of(&[route(1, "shop", &["a.test"], &["r1"])]);
        let rendered = render(&inputs, &table(endpoints), &options).expect("renders");
        let document: serde_json::Value = serde_json::from_slice(&rendered.to_json(1).expect("serialises")).expect("JSON");
        (rendered, document)
    };
    let (both, document) = rendered(vec![here.clone(), elsewhere(1, "r1", "172.18.0.3:80", "there1")]);
    assert!(both.conflicts.is_empty(), "{:?}", both.conflicts);
    let key = route(1, "shop", &["a.test"], &["r1"]).key();
    let (near, far) = (format!("{key}-t-here1"), format!("{key}-t-there1"));
    assert_eq!(
        document["http"]["services"][&key]["weighted"]["services"],
        serde_json::json!([{"name": near, "weight": 1}, {"name": far, "weight": 1}])
    );
    let part = |name: &str| document["http"]["services"][name]["loadBalancer"].clone();
    assert_eq!(part(&near)["servers"][0]["url"], "http://172.18.0.3:80");
    assert_eq!(
        (part(&far)["servers"][0]["url"].clone(), part(&far)["serversTransport"].clone()),
        ("https://10.0.0.2:7443".into(), far.as_str().into())
    );
    let transport = &document["http"]["serversTransports"][&far];
    assert_eq!(transport["serverName"], "there1.nodeb.nodes.skyswarm.internal");
    assert_eq!((transport["disableHTTP2"].clone(), transport["rootCAs"][0].clone()), (true.into(), "/edge/nodes.crt".into()));
    // What other nodes may connect to is what is here, and everything else ends at a closed door.
    let entries: Vec<&String> = document["tcp"]["routers"].as_object().expect("routers").keys().collect();
    assert_eq!(entries, ["nobody", "task-here1"], "nothing goes in circles");
    assert_eq!(document["tcp"]["services"]["task-here1"]["loadBalancer"]["servers"][0]["address"], "172.18.0.3:80");
    assert_eq!(document["tls"]["options"]["skyswarm-nodes"]["clientAuth"]["clientAuthType"], "RequireAndVerifyClientCert");
    // A node that is to be emptied gets requests only while there is no other.
    let leaving = Endpoint { leaving: true, ..elsewhere(1, "r1", "172.18.0.3:80", "there1") };
    assert_eq!(rendered(vec![here, leaving.clone()]).0.servers_by_key[&key].len(), 1);
    assert_eq!(rendered(vec![leaving]).0.servers_by_key[&key].len(), 1);
}
