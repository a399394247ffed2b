//! Every field of `spec.edge` on a real Traefik: what clients get, and what the platform's own look says.

use std::sync::Arc;
use std::time::Duration;

use api_types::kinds::edge::EdgeSpec;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderMap;
use lab::edge::{Backend, Lab, route, uid};
use reqwest::header::{AUTHORIZATION, HOST, LOCATION, RETRY_AFTER, SET_COOKIE};
use serde_json::json;
use skyswarm::edge::{Route, policy};
use skyswarm::engines::traefik::ProxyApi;
use skyswarm::plan::Fact;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

/// bcrypt of `hunter2`, cost 5.
const BCRYPT: &str = "$2y$05$M3VAwPgnCdGOoPJpC7VxJOWMrGgA4YBJ.aDTZKSgYiJRJFPS3cECi";

/// A backend that says what it got: the forwarded address, the credentials, and the bytes of the body.
async fn echo() -> Backend {
    let answer = |headers: HeaderMap, body: axum::body::Bytes| async move {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
        format!("for={} auth={} bytes={}", text("x-forwarded-for"), text("authorization"), body.len())
    };
    let app = axum::Router::new().fallback(answer).layer(DefaultBodyLimit::max(64 << 20));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("has an address");
    let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
    Backend { address, hits: Arc::default(), task }
}

fn with_edge(edge: serde_json::Value) -> Route {
    let mut route = route(1, "a", &["a.example"]);
    route.edge = serde_json::from_value::<EdgeSpec>(edge).expect("a valid spec");
    route
}

/// Publishes the route, waits until the proxy runs it whole, and gives the platform's own verdict.
async fn publish(lab: &Lab, route: &Route) -> skyswarm::edge::ProbeResult {
    lab.set_routes(std::slice::from_ref(route));
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        if let Fact::Known(facts) = lab.client.route_facts(&route.key()).await {
            assert_eq!(facts.error, None);
            if facts.policy == policy::marker(&route.edge) && !facts.rule.is_empty() {
                break;
            }
        }
        assert!(Instant::now() < until, "the proxy does not take the route: {:?}", lab.client.route_facts(&route.key()).await);
        sleep(Duration::from_millis(20)).await;
    }
    lab.client.probe_route(route).await.expect("has a host")
}

fn request(lab: &Lab, method: reqwest::Method) -> reqwest::RequestBuilder {
    lab.http.request(method, format!("http://{}/", lab.config.edge_http)).header(HOST, "a.example")
}

async fn get(lab: &Lab) -> reqwest::Response {
    request(lab, reqwest::Method::GET).send().await.expect("answers")
}

#[tokio::test]
async fn every_field_of_the_edge_does_what_it_says_and_the_probe_tells_the_truth() {
    let (lab, a) = (Lab::new().await, echo().await);
    lab.set_endpoints([a.endpoint(1)]);
    let traefik = lab.traefik().await;
    publish(&lab, &with_edge(json!({}))).await;
    // The first route may be taken before its backends are.
    lab.until("a.example", 200).await;
    let probe = publish(&lab, &with_edge(json!({}))).await;
    assert!(probe.ok, "{}", probe.detail);
    // Nobody is believed who he says he is.
    let forged = request(&lab, reqwest::Method::GET).header("X-Forwarded-For", "203.0.113.7").send().await.expect("answers");
    assert_eq!(forged.text().await.expect("text"), "for=127.0.0.1 auth=- bytes=0");

    basic_auth(&lab).await;
    allow_list(&lab).await;
    body_limit(&lab).await;
    sticky(&lab, &a).await;
    maintenance(&lab).await;
    redirect(&lab).await;

    // Back to nothing: nothing is left.
    lab.set_endpoints([a.endpoint(1)]);
    publish(&lab, &with_edge(json!({}))).await;
    lab.until("a.example", 200).await;
    let probe = publish(&lab, &with_edge(json!({}))).await;
    assert!(probe.ok, "{}", probe.detail);
    assert_eq!(get(&lab).await.status(), 200);
    lab.stop(traefik).await;
}

async fn basic_auth(lab: &Lab) {
    lab.edit(|inputs| inputs.passwords.insert(uid(1), 3, BCRYPT.to_owned()));
    let probe = publish(lab, &with_edge(json!({"basicAuth": {"users": {"ana": {"passwordVersion": 3}}}}))).await;
    assert!(probe.ok && probe.detail.contains("a password is asked for (401)"), "{}", probe.detail);
    let answer = get(lab).await;
    let challenge = answer.headers().get("www-authenticate").map(|value| value.to_str().expect("text").to_owned());
    assert_eq!((answer.status().as_u16(), challenge.as_deref()), (401, Some("Basic realm=\"a\"")));
    for (password, status) in [("hunter2", 200), ("hunter3", 401), ("", 401)] {
        let answer = request(lab, reqwest::Method::GET).basic_auth("ana", Some(password)).send().await.expect("answers");
        assert_eq!(answer.status().as_u16(), status, "{password}");
        if status == 200 {
            assert_eq!(answer.text().await.expect("text"), "for=127.0.0.1 auth=- bytes=0", "the app does not see the password");
        }
    }
    assert_eq!(request(lab, reqwest::Method::GET).header(AUTHORIZATION, "Bearer x").send().await.expect("answers").status(), 401);

    // Without the hash of one of the passwords nobody is let in, and the platform does not call that serving.
    let broken = with_edge(json!({"basicAuth": {"users": {"ana": {"passwordVersion": 3}, "bob": {"passwordVersion": 4}}}}));
    let probe = publish(lab, &broken).await;
    assert!(!probe.ok && probe.detail.contains("401 was expected"), "{}", probe.detail);
    let answer = request(lab, reqwest::Method::GET).basic_auth("ana", Some("hunter2")).send().await.expect("answers");
    assert_eq!((answer.status().as_u16(), answer.headers()["x-skyswarm-page"].to_str().expect("text")), (503, "closed"));
}

async fn allow_list(lab: &Lab) {
    let probe = publish(lab, &with_edge(json!({"allowFrom": ["192.0.2.0/24", "2001:db8::/32"]}))).await;
    assert!(probe.ok && probe.detail.contains("not in spec.edge.allowFrom"), "{}", probe.detail);
    assert_eq!(get(lab).await.status(), 403);
    let forged = request(lab, reqwest::Method::GET).header("X-Forwarded-For", "192.0.2.1").send().await.expect("answers");
    assert_eq!(forged.status(), 403, "the list looks at the connection");
    assert!(publish(lab, &with_edge(json!({"allowFrom": ["127.0.0.0/8", "192.0.2.0/24"]}))).await.ok);
    assert_eq!(get(lab).await.status(), 200);
}

async fn body_limit(lab: &Lab) {
    assert!(publish(lab, &with_edge(json!({"maxRequestBody": "1Mi"}))).await.ok);
    for (bytes, status) in [(1 << 20, 200), ((1 << 20) + 1, 413), (8 << 20, 413)] {
        let sent = request(lab, reqwest::Method::POST).body(vec![b'x'; bytes]).send().await;
        // The proxy may answer and close before all is sent.
        let got = sent.as_ref().map_or(413, |answer| answer.status().as_u16());
        assert_eq!(got, status, "{bytes} bytes: {sent:?}");
    }
    // A body without a length is counted as it comes.
    let chunks = futures::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1 << 16])));
    let answer = request(lab, reqwest::Method::POST).body(reqwest::Body::wrap_stream(chunks)).send().await.expect("answers");
    assert_eq!(answer.status(), 413);
}

async fn sticky(lab: &Lab, a: &Backend) {
    let b = Backend::start("b").await;
    let mut second = b.endpoint(1);
    let b = Backend::rebind(b, "b", "127.0.0.2").await;
    second.address = b.address;
    lab.set_endpoints([a.endpoint(1), second]);
    assert!(publish(lab, &with_edge(json!({"sticky": {"cookie": "my_task"}}))).await.ok);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let answer = get(lab).await;
        let cookie = answer.headers()[SET_COOKIE].to_str().expect("text").to_owned();
        assert!(cookie.starts_with("my_task=") && cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
        assert!(!cookie.contains("127.0.0") && !cookie.contains("Secure"), "{cookie}");
        let value = cookie.split(';').next().expect("a pair").to_owned();
        let first = answer.text().await.expect("text");
        for _ in 0..3 {
            let again = request(lab, reqwest::Method::GET).header("Cookie", &value).send().await.expect("answers");
            assert_eq!(again.text().await.expect("text"), first, "the cookie leads to the same task");
        }
        seen.insert(value);
    }
    assert_eq!(seen.len(), 2, "both tasks get clients");
    lab.set_endpoints([a.endpoint(1)]);
}

async fn maintenance(lab: &Lab) {
    let page =
        json!({"maintenance": {"message": "Back at <nine>", "retryAfter": "10m"}, "basicAuth": {"users": {"ana": {"passwordVersion": 3}}}});
    let probe = publish(lab, &with_edge(page)).await;
    assert!(probe.ok && probe.detail.contains("the maintenance page is served"), "{}", probe.detail);
    let answer = get(lab).await;
    assert_eq!((answer.status().as_u16(), answer.headers()[RETRY_AFTER].to_str().expect("text")), (503, "600"));
    assert!(answer.text().await.expect("text").contains("Back at &lt;nine&gt;"));
    // No path of a client leads to another page or to another part of ours.
    for path in ["/maintenance/acme-b-00000002", "/closed", "/edge/v1/traefik"] {
        let url = format!("http://{}{path}", lab.config.edge_http);
        let answer = lab.http.get(url).header(HOST, "a.example").send().await.expect("answers");
        assert!(answer.text().await.expect("text").contains("Back at &lt;nine&gt;"), "{path}");
    }
    // An app that does not answer is not called serving because its page is.
    lab.set_endpoints([]);
    let key = with_edge(json!({})).key();
    while !matches!(lab.client.route_facts(&key).await, Fact::Known(facts) if facts.servers.is_empty()) {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(!lab.client.probe_route(&with_edge(json!({"maintenance": {}}))).await.expect("has a host").ok);
    let own = publish(lab, &with_edge(json!({"maintenance": {"html": "<h1>mine</h1>"}}))).await;
    assert!(!own.ok);
    assert_eq!(get(lab).await.text().await.expect("text"), "<h1>mine</h1>");
}

async fn redirect(lab: &Lab) {
    let https = lab.config.edge_https.expect("is on").port();
    let probe = publish(lab, &with_edge(json!({"https": {"redirect": true, "hsts": {"maxAgeDays": 2}}}))).await;
    assert!(!probe.ok, "no task answers: {}", probe.detail);
    let answer = get(lab).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()[LOCATION].to_str().expect("text")),
        (301, format!("https://a.example:{https}/").as_str())
    );
    assert!(answer.headers().get("strict-transport-security").is_none(), "browsers ignore it on plain HTTP");
    let post = request(lab, reqwest::Method::POST).send().await.expect("answers");
    assert_eq!(post.status(), 308, "a method is kept");
}
