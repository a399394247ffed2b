//! HTTPS on a real Traefik: which certificate clients get, its renewal, and what `spec.edge.https` adds.

use std::time::Duration;

use futures::StreamExt;
use lab::backends;
use lab::certs::{Authority, Signed};
use lab::edge::{Backend, Lab, route, uid};
use serde_json::json;
use skyswarm::certificate::read_chain;
use skyswarm::edge::Endpoint;
use skyswarm::edge::inputs::CertificatePair;
use skyswarm::engines::traefik::ProxyApi;
use skyswarm::plan::Fact;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

fn pair(name: &str, signed: &Signed) -> CertificatePair {
    let chain = read_chain(&signed.chain).expect("is a chain");
    CertificatePair { name: name.to_owned(), chain: chain.pem, key: Zeroizing::new(signed.key.clone()), fingerprint: chain.fingerprint }
}

/// Waits until clients of a host get a certificate, and says how long that took.
async fn until_served(lab: &Lab, host: &str, pair: &CertificatePair) -> Duration {
    let begun = Instant::now();
    loop {
        let got = lab.client.served_certificate(host).await;
        if got == Fact::Known(pair.fingerprint.clone()) {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "clients of {host} get {got:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn serves(client: &reqwest::Client, lab: &Lab, host: &str, path: &str) -> Result<reqwest::Response, reqwest::Error> {
    let port = lab.config.edge_https.expect("is on").port();
    client.get(format!("https://{host}:{port}{path}")).send().await
}

#[tokio::test]
async fn clients_get_the_certificate_of_the_name_they_ask_for_and_a_self_signed_one_else() {
    let (lab, a, authority) = (Lab::new().await, Backend::start("a").await, Authority::new());
    lab.set_endpoints([a.endpoint(1)]);
    let traefik = lab.traefik().await;
    lab.set_routes(&[route(1, "a", &["a.example", "shop.apps.example", "nobody.example"])]);
    let edge = lab.config.edge_https.expect("is on");
    let client = authority.client(&["a.example", "shop.apps.example", "nobody.example"], edge);
    lab.until("a.example", 200).await;
    assert!(serves(&client, &lab, "a.example", "/").await.is_err(), "the proxy's own certificate is nobody's");

    let (own, wild) = (pair("own", &authority.sign(&["a.example"], 2040)), pair("wild", &authority.sign(&["*.apps.example"], 2040)));
    lab.edit(|inputs| inputs.certificates = vec![own.clone(), wild.clone()]);
    println!("a certificate is served after {:?}", until_served(&lab, "a.example", &own).await);
    until_served(&lab, "shop.apps.example", &wild).await;
    for host in ["a.example", "shop.apps.example"] {
        let answer = serves(&client, &lab, host, "/").await.expect("the chain is trusted");
        assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2), "{host}");
    }
    // Made anew with each configuration, so it is known by being neither of ours.
    let ours = |got: &Fact<String>| [&own, &wild].iter().any(|pair| *got == Fact::Known(pair.fingerprint.clone()));
    let got = lab.client.served_certificate("nobody.example").await;
    assert!(got.known().is_some() && !ours(&got), "no name fits: {got:?}");
    let refused = serves(&client, &lab, "nobody.example", "/").await;
    assert!(refused.is_err(), "{refused:?}");
    // Whoever takes any certificate reaches the app there.
    let careless =
        reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).resolve("nobody.example", edge).build().expect("one");
    assert_eq!(serves(&careless, &lab, "nobody.example", "/").await.expect("answers").status(), 200);

    // Taken away, clients get the proxy's own again.
    lab.edit(|inputs| inputs.certificates.clear());
    let begun = Instant::now();
    while ours(&lab.client.served_certificate("a.example").await) {
        assert!(begun.elapsed() < Duration::from_secs(10), "the certificate is still served");
        sleep(Duration::from_millis(10)).await;
    }
    lab.stop(traefik).await;
    assert!(lab.client.served_certificate("a.example").await.is_unknown());
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_cut() {
    let (lab, server, authority) = (Lab::new().await, backends::http("127.0.0.1").await, Authority::new());
    let endpoint = Endpoint { address: server.address, ..Backend::start("x").await.endpoint(1) };
    lab.set_endpoints([endpoint]);
    let traefik = lab.traefik().await;
    lab.set_routes(&[route(1, "a", &["a.example"])]);
    let (first, second) = (pair("own", &authority.sign(&["a.example"], 2040)), pair("own", &authority.sign(&["a.example"], 2041)));
    lab.edit(|inputs| inputs.certificates = vec![first.clone()]);
    until_served(&lab, "a.example", &first).await;
    let client = authority.client(&["a.example"], lab.config.edge_https.expect("is on"));

    let streaming = serves(&client, &lab, "a.example", "/stream?ms=4000").await.expect("answers");
    let reader = tokio::spawn(async move {
        let mut text = String::new();
        let mut body = streaming.bytes_stream();
        while let Some(chunk) = body.next().await {
            text.push_str(&String::from_utf8_lossy(&chunk.expect("is not cut")));
        }
        text
    });
    lab.edit(|inputs| inputs.certificates = vec![second.clone()]);
    let begun = Instant::now();
    let mut failed = 0;
    while lab.client.served_certificate("a.example").await != Fact::Known(second.fingerprint.clone()) {
        failed += usize::from(serves(&client, &lab, "a.example", "/").await.is_err());
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    println!("renewed after {:?}", begun.elapsed());
    for _ in 0..10 {
        failed += usize::from(serves(&client, &lab, "a.example", "/").await.is_err());
    }
    assert_eq!(failed, 0);
    assert_eq!(reader.await.expect("ends").lines().count(), 40, "the stream of before goes on to its end");
    lab.stop(traefik).await;
}

#[tokio::test]
async fn over_https_an_app_gets_its_hsts_header_and_its_password_asked() {
    let (lab, a, authority) = (Lab::new().await, Backend::start("a").await, Authority::new());
    lab.set_endpoints([a.endpoint(1)]);
    let traefik = lab.traefik().await;
    let own = pair("own", &authority.sign(&["a.example"], 2040));
    lab.edit(|inputs| {
        inputs.certificates = vec![own.clone()];
        // bcrypt of `hunter2`, cost 5.
        inputs.passwords.insert(uid(1), 1, "$2y$05$M3VAwPgnCdGOoPJpC7VxJOWMrGgA4YBJ.aDTZKSgYiJRJFPS3cECi".to_owned());
    });
    let mut app = route(1, "a", &["a.example"]);
    let edge = json!({"https": {"redirect": true, "hsts": {"maxAgeDays": 30}}, "basicAuth": {"users": {"ana": {"passwordVersion": 1}}}, "sticky": {}});
    app.edge = serde_json::from_value(edge).expect("valid");
    lab.set_routes(std::slice::from_ref(&app));
    lab.until("a.example", 301).await;
    until_served(&lab, "a.example", &own).await;
    let client = authority.client(&["a.example"], lab.config.edge_https.expect("is on"));
    let port = lab.config.edge_https.expect("is on").port();
    let closed = serves(&client, &lab, "a.example", "/").await.expect("answers");
    assert_eq!(closed.status(), 401);
    assert_eq!(closed.headers()["strict-transport-security"], "max-age=2592000", "also where a password is asked for");
    let open = client.get(format!("https://a.example:{port}/")).basic_auth("ana", Some("hunter2")).send().await.expect("answers");
    assert_eq!(open.status(), 200);
    let cookie = open.headers()["set-cookie"].to_str().expect("text");
    assert!(cookie.contains("Secure"), "{cookie}");
    let probe = lab.client.probe_route(&app).await.expect("has a host");
    assert!(probe.ok && probe.detail.contains("plain HTTP is redirected (301)"), "{}", probe.detail);
    lab.stop(traefik).await;
}
