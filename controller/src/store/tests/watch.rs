//! Hints: seen once per change, never for status, and a resync after every gap.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::clock::SystemEntropy;
use crate::store::watch::Patience;
use crate::store::{StoreHint, Topic};

async fn next(hints: &mut Receiver<StoreHint>) -> StoreHint {
    tokio::time::timeout(Duration::from_secs(10), hints.recv()).await.expect("a hint in time").expect("the watch lives")
}

async fn silence(hints: &mut Receiver<StoreHint>) {
    let heard = tokio::time::timeout(Duration::from_millis(300), hints.recv()).await;
    assert!(heard.is_err(), "{heard:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn desired_state_notifies_and_status_does_not(pool: PgPool) {
    let store = acme(&pool).await;
    let mut hints = store.watch();
    assert_eq!(next(&mut hints).await, StoreHint::Resync);

    apply(&store, &[app("shop", json!({"domains": ["a.example.com"]}))]).await.expect("applies");
    let mut heard = vec![next(&mut hints).await, next(&mut hints).await];
    heard.sort_by_key(|hint| format!("{hint:?}"));
    assert_eq!(heard, [StoreHint::Changed(Topic::Apps), StoreHint::Changed(Topic::Domains)]);
    silence(&mut hints).await;
    apply(&store, &[app("shop", json!({"domains": ["a.example.com"]}))]).await.expect("applies");
    store.apply(&[app("shop", json!({"env": {"A": "1"}, "domains": []}))], &dry_run()).await.expect("checks");
    silence(&mut hints).await;

    let shop = record(&store, "shop").await;
    let epoch = lead(&store, "one").await;
    store.app_status_put(shop.uid, &status(1), shop.desired_version, epoch).await.expect("writes");
    store.observation_put(shop.uid, &json!({}), epoch).await.expect("writes");
    store.revision_verdict_put(shop.uid, 1, &verdict(api_types::kinds::app::VerdictPhase::Ready), epoch).await.expect("writes");
    store.node_replace_all(&[], epoch).await.expect("writes");
    silence(&mut hints).await;
    store.node_ask("n1", api_types::kinds::node::Availability::Drain, &cx()).await.expect("asks");
    assert_eq!(next(&mut hints).await, StoreHint::Changed(Topic::Nodes));

    store.setting_put(&"controller.concurrency".parse().expect("a key"), &json!(2), &cx()).await.expect("sets");
    assert_eq!(next(&mut hints).await, StoreHint::Changed(Topic::Settings));
    apply(&store, &[organization("other")]).await.expect("applies");
    assert_eq!(next(&mut hints).await, StoreHint::Changed(Topic::Organizations));
    let route = crate::edge::Route {
        app_uid: shop.uid,
        org: shop.org.clone(),
        app: shop.name.clone(),
        hosts: vec![host("a.example.com")],
        process: "web".parse().expect("a process"),
        releases: Vec::new(),
        health: None,
        protocol: api_types::kinds::edge::Protocol::Http,
        edge: api_types::kinds::edge::EdgeSpec::default(),
    };
    store.route_put(&route, epoch).await.expect("writes");
    assert_eq!(next(&mut hints).await, StoreHint::Changed(Topic::Routes));
    store.route_put(&route, epoch).await.expect("writes");
    silence(&mut hints).await;
    store.app_delete(&shop.org, &shop.name, None, &cx()).await.expect("deletes");
    assert_eq!(next(&mut hints).await, StoreHint::Changed(Topic::Apps));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_killed_connection_is_a_resync_and_then_hints_go_on(pool: PgPool) {
    let store = acme(&pool).await;
    let mut hints = store.watch();
    assert_eq!(next(&mut hints).await, StoreHint::Resync);
    for round in 0..2 {
        let killed: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'",
        )
        .fetch_one(&pool)
        .await
        .expect("kills");
        assert_eq!(killed, 1, "there is one listener");
        assert_eq!(next(&mut hints).await, StoreHint::Resync);
        apply(&store, &[app("shop", json!({"env": {"N": round.to_string()}}))]).await.expect("applies");
        assert_eq!(next(&mut hints).await, StoreHint::Changed(Topic::Apps));
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_slow_receiver_gets_merged_hints_and_misses_none(pool: PgPool) {
    let store = acme(&pool).await;
    let mut hints = store.watch();
    assert_eq!(next(&mut hints).await, StoreHint::Resync);
    for n in 0..40 {
        apply(&store, &[app("shop", json!({"env": {"N": n.to_string()}}))]).await.expect("applies");
    }
    apply(&store, &[organization("last")]).await.expect("applies");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut heard = Vec::new();
    while let Ok(Some(hint)) = tokio::time::timeout(Duration::from_millis(500), hints.recv()).await {
        heard.push(hint);
    }
    assert!(heard.len() <= 12, "{}", heard.len());
    assert!(heard.contains(&StoreHint::Changed(Topic::Organizations)), "{heard:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn the_task_ends_with_its_receiver(pool: PgPool) {
    let store = acme(&pool).await;
    let mut hints = store.watch();
    assert_eq!(next(&mut hints).await, StoreHint::Resync);
    drop(hints);
    for _ in 0..50 {
        let listeners: i64 =
            sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%LISTEN%' AND pid <> pg_backend_pid()")
                .fetch_one(&pool)
                .await
                .expect("counts");
        if listeners == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the listener's connection stays");
}

/// Forwards connections to the server until it is frozen; then it keeps them open and says nothing, as
/// a network does that lost a host.
struct Proxy {
    dir: tempfile::TempDir,
    frozen: Arc<tokio::sync::watch::Sender<bool>>,
}

impl Proxy {
    fn start(pool: &PgPool) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let listener = tokio::net::UnixListener::bind(dir.path().join(".s.PGSQL.5432")).expect("binds");
        let frozen = Arc::new(tokio::sync::watch::Sender::new(false));
        let (options, freezer) = (pool.connect_options(), frozen.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (options, mut frozen) = (options.clone(), freezer.subscribe());
                tokio::spawn(async move {
                    let path = options.get_socket().expect("these tests reach the server by a socket");
                    let port = options.get_port();
                    let mut server = tokio::net::UnixStream::connect(path.join(format!(".s.PGSQL.{port}"))).await.expect("connects");
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                        _ = frozen.wait_for(|frozen| *frozen) => {}
                    }
                    // Still open, but dead.
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { dir, frozen }
    }

    async fn store(&self, pool: &PgPool) -> Store {
        let database = pool.connect_options().get_database().expect("a database").to_owned();
        let url = format!("postgres://postgres@localhost/{database}?host={}&port=5432", self.dir.path().display());
        Store::connect(&url, Arc::new(ManualClock::at(start())), Arc::new(SystemEntropy)).await.expect("connects")
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_connection_that_went_silent_is_a_gap(pool: PgPool) {
    let direct = acme(&pool).await;
    let proxy = Proxy::start(&pool);
    let patience = Patience { idle: Duration::from_millis(100), answer: Duration::from_millis(300) };
    let mut hints = proxy.store(&pool).await.watch_with(patience);
    assert_eq!(next(&mut hints).await, StoreHint::Resync);
    // Quiet for much longer than the limit, but the server answers when it is asked.
    silence(&mut hints).await;
    proxy.frozen.send_replace(true);
    apply(&direct, &[app("shop", json!({}))]).await.expect("applies, unheard");
    tokio::time::sleep(Duration::from_millis(50)).await;
    proxy.frozen.send_replace(false);
    assert_eq!(next(&mut hints).await, StoreHint::Resync);
    apply(&direct, &[app("blog", json!({}))]).await.expect("applies");
    assert_eq!(next(&mut hints).await, StoreHint::Changed(Topic::Apps));
}
