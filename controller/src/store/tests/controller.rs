//! What controllers write: fenced by the epoch, never notified, and written only when it differs.

use std::time::Duration;

use api_types::kinds::app::VerdictPhase;
use api_types::{Node, NodeSpec, NodeStatus};
use serde_json::json;
use sqlx::PgPool;

use super::*;
use crate::edge::Route;
use crate::store::{LeaseAnswer, LeaseClaim, StoreError};

fn route(app: &AppRecord, hosts: &[&str]) -> Route {
    Route {
        app_uid: app.uid,
        org: app.org.clone(),
        app: app.name.clone(),
        hosts: hosts.iter().map(|text| host(text)).collect(),
        process: "web".parse().expect("a process"),
        releases: vec!["abc1234".to_owned()],
        health: None,
        protocol: api_types::kinds::edge::Protocol::Http,
        edge: api_types::kinds::edge::EdgeSpec::default(),
    }
}

fn node(id: &str, state: &str) -> Node {
    let status = NodeStatus { id: id.to_owned(), state: state.to_owned(), ..NodeStatus::default() };
    Node { status: Some(status), ..Node::new(ObjectMeta::named(format!("host-{id}")), NodeSpec::default()) }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_deposed_leader_changes_nothing(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[app("shop", json!({}))]).await.expect("applies");
    let shop = record(&store, "shop").await;
    let old = lead(&store, "one").await;
    store.lease_release(CONTROLLER_LEASE, "one", old).await.expect("releases");
    let new = lead(&store, "two").await;
    assert!(new > old);
    store.app_delete(&shop.org, &shop.name, None, &cx()).await.expect("deletes");

    let before = dump(&pool).await;
    let refused = [
        store.app_status_put(shop.uid, &status(1), 99, old).await,
        store.app_remove(shop.uid, old).await,
        store.revision_image_put(shop.uid, 1, "sha256:1", old).await,
        store.revision_verdict_put(shop.uid, 1, &verdict(VerdictPhase::Ready), old).await,
        store.observation_put(shop.uid, &json!({"a": 1}), old).await,
        store.route_put(&route(&shop, &["a.example.com"]), old).await,
        store.route_remove(shop.uid, old).await,
        store.node_replace_all(&[node("n1", "ready")], old).await,
    ];
    for (at, result) in refused.iter().enumerate() {
        assert!(matches!(result, Err(StoreError::Deposed)), "write {at}: {result:?}");
    }
    assert_eq!(dump(&pool).await, before);
    // Nobody leads is no epoch either.
    sqlx::query("DELETE FROM leases").execute(&pool).await.expect("deletes");
    assert!(matches!(store.route_remove(shop.uid, new).await, Err(StoreError::Deposed)));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_takeover_waits_for_a_fenced_write_under_way(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[app("shop", json!({}))]).await.expect("applies");
    let shop = record(&store, "shop").await;
    let epoch = lead(&store, "one").await;
    let LeaseAnswer::Theirs(mark) = ask(&store, "two", None).await else { panic!("it is taken") };
    // The row of the app is held, so the status write has passed its fence and waits.
    let mut holder = pool.begin().await.expect("begins");
    sqlx::query("SELECT 1 FROM apps FOR UPDATE").execute(&mut *holder).await.expect("locks");
    let writing = tokio::spawn({
        let (store, uid) = (store.clone(), shop.uid);
        async move { store.app_status_put(uid, &status(1), 1, epoch).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let taking = tokio::spawn({
        let store = store.clone();
        async move { ask(&store, "two", Some(&mark)).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!taking.is_finished(), "the new leader may not lead while an old write can still land");
    holder.rollback().await.expect("ends");
    writing.await.expect("runs").expect("the write was there first");
    assert_eq!(taking.await.expect("runs"), LeaseAnswer::Ours(epoch + 1));
    assert!(matches!(store.app_status_put(shop.uid, &status(2), 1, epoch).await, Err(StoreError::Deposed)));
}

#[sqlx::test(migrations = "../migrations")]
async fn leases_change_hands_with_a_new_epoch(pool: PgPool) {
    let store = store_of(&pool);
    let renew = async |holder: &str, epoch| store.lease_renew("controller", holder, epoch, Duration::from_secs(60)).await.expect("answers");
    let mark = async || match ask(&store, "nobody", Some("")).await {
        LeaseAnswer::Theirs(mark) => mark,
        ours => panic!("{ours:?}"),
    };
    assert_eq!(take(&store, "one").await, Some(1));
    assert_eq!(take(&store, "one").await, Some(2), "who asks did not lead, so there was a gap");
    assert_eq!(take(&store, "two").await, None);
    assert!(!renew("two", 2).await && !renew("one", 1).await && renew("one", 2).await);
    let old = mark().await;
    assert!(renew("one", 2).await);
    assert_eq!(ask(&store, "two", Some(&old)).await.epoch(), None, "it was renewed since it looked so");
    assert_eq!(ask(&store, "two", Some(&mark().await)).await, LeaseAnswer::Ours(3), "nothing moved");
    assert!(!renew("one", 2).await);
    store.lease_release("controller", "one", 2).await.expect("answers");
    assert_eq!(take(&store, "three").await, None, "only the holder can release");
    store.lease_release("controller", "two", 3).await.expect("answers");
    assert_eq!(take(&store, "three").await, Some(4));
    let other = LeaseClaim { name: "other", holder: "x", ..LeaseClaim::default() };
    assert_eq!(store.lease_acquire(&other).await.expect("answers"), LeaseAnswer::Ours(1), "leases are apart");
}

#[sqlx::test(migrations = "../migrations")]
async fn clocks_say_nothing_about_a_lease(pool: PgPool) {
    let store = store_of(&pool);
    let epoch = lead(&store, "one").await;
    // As after a jump of the database's clock by an hour, forward and back.
    for hours in ["-1 hour", "1 hour"] {
        sqlx::query("UPDATE leases SET expires_at = expires_at + $1::interval").bind(hours).execute(&pool).await.expect("writes");
        let LeaseAnswer::Theirs(mark) = ask(&store, "two", None).await else { panic!("a living lease was taken") };
        let again = ask(&store, "two", Some("1.1")).await;
        assert_eq!(again, LeaseAnswer::Theirs(mark), "looking at it and asking for it is no sign of life");
    }
    assert!(store.lease_renew(CONTROLLER_LEASE, "one", epoch, Duration::from_secs(3)).await.expect("answers"));
    sqlx::query("UPDATE leases SET expires_at = expires_at + interval '1 day'").execute(&pool).await.expect("writes");
    let LeaseAnswer::Theirs(mark) = ask(&store, "two", None).await else { panic!("taken") };
    assert_eq!(ask(&store, "two", Some(&mark)).await, LeaseAnswer::Ours(epoch + 1), "a dead lease does not live a day longer");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_holder_at_the_same_place_is_dead(pool: PgPool) {
    let store = store_of(&pool);
    assert_eq!(lead(&store, "host-12-00ff00ff00ff00ff-1").await, 1);
    let at = |holder, place| LeaseClaim { name: CONTROLLER_LEASE, holder, place, ..LeaseClaim::default() };
    let elsewhere = store.lease_acquire(&at("host-13-00ff00ff00ff00fe-2", "00ff00ff00ff00fe")).await.expect("answers");
    assert_eq!(elsewhere.epoch(), None);
    let here = store.lease_acquire(&at("host-13-00ff00ff00ff00ff-3", "00ff00ff00ff00ff")).await.expect("answers");
    assert_eq!(here.epoch(), Some(2));
}

#[sqlx::test(migrations = "../migrations")]
async fn many_that_want_to_lead_give_one_leader(pool: PgPool) {
    let store = store_of(&pool);
    let wanting = (0..6).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { take(&store, &format!("c{n}")).await })
    });
    let mut leaders = 0;
    for attempt in wanting.collect::<Vec<_>>() {
        leaders += usize::from(attempt.await.expect("runs").is_some());
    }
    assert_eq!(leaders, 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_status_is_written_when_it_differs(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[app("shop", json!({}))]).await.expect("applies");
    let epoch = lead(&store, "one").await;
    let shop = record(&store, "shop").await;
    let written = AppStatus { urls: vec!["http://shop\0".to_owned()], ..status(1) };
    store.app_status_put(shop.uid, &written, shop.desired_version, epoch).await.expect("writes even what engines send");
    let after = record(&store, "shop").await;
    assert_eq!((after.status.observed_generation, after.generation), (1, 1));
    assert!(after.resource_version > shop.resource_version);
    store.app_status_put(shop.uid, &written, shop.desired_version, epoch).await.expect("writes");
    assert_eq!(record(&store, "shop").await.resource_version, after.resource_version);
    let gone = store.app_status_put(uuid::Uuid::nil(), &written, 1, epoch).await;
    assert!(matches!(gone, Err(StoreError::Missing { .. })), "{gone:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn the_last_proven_revision_is_found(pool: PgPool) {
    let store = acme(&pool).await;
    for n in 1..=4 {
        apply(&store, &[app("shop", json!({"env": {"N": n.to_string()}}))]).await.expect("applies");
    }
    let uid = record(&store, "shop").await.uid;
    let epoch = lead(&store, "one").await;
    for (generation, phase) in [(1, VerdictPhase::Ready), (2, VerdictPhase::Ready), (3, VerdictPhase::Failed)] {
        store.revision_verdict_put(uid, generation, &verdict(phase), epoch).await.expect("writes");
    }
    let proven = async |before| store.revision_latest_proven(uid, before).await.expect("reads").map(|revision| revision.generation);
    assert_eq!((proven(4).await, proven(2).await, proven(1).await), (Some(2), Some(1), None));
    store.revision_image_put(uid, 4, "sha256:abc", epoch).await.expect("writes");
    let newest = store.revision_get(uid, 4).await.expect("reads").expect("is there");
    assert_eq!(newest.resolved_image.as_deref(), Some("sha256:abc"));
    assert!(matches!(store.revision_image_put(uid, 5, "x", epoch).await, Err(StoreError::Missing { .. })));
    assert!(matches!(store.revision_verdict_put(uid, 5, &verdict(VerdictPhase::Ready), epoch).await, Err(StoreError::Missing { .. })));
    assert!(store.revision_get(uid, 5).await.expect("reads").is_none());
}

#[sqlx::test(migrations = "../migrations")]
async fn routes_and_observations_come_back_and_go_with_the_app(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[app("shop", json!({}))]).await.expect("applies");
    let shop = record(&store, "shop").await;
    let epoch = lead(&store, "one").await;
    let wanted = route(&shop, &["a.example.com", "shop-acme.apps.localhost"]);
    store.route_put(&wanted, epoch).await.expect("writes");
    store.route_put(&wanted, epoch).await.expect("writes");
    assert_eq!(store.route_get(shop.uid).await.expect("reads").as_ref(), Some(&wanted));
    assert_eq!(store.route_list().await.expect("lists"), std::slice::from_ref(&wanted));
    store.observation_put(shop.uid, &json!({"log": "a\u{0}b"}), epoch).await.expect("writes");
    let (observed, at) = store.observation_get(shop.uid).await.expect("reads").expect("is there");
    assert_eq!((observed, at), (json!({"log": "a\u{fffd}b"}), start()));
    store.route_remove(shop.uid, epoch).await.expect("removes");
    assert!(store.route_get(shop.uid).await.expect("reads").is_none());
    store.route_put(&wanted, epoch).await.expect("writes");
    store.app_delete(&shop.org, &shop.name, None, &cx()).await.expect("deletes");
    store.app_remove(shop.uid, epoch).await.expect("removes");
    assert!(store.route_list().await.expect("lists").is_empty());
    assert!(store.observation_get(shop.uid).await.expect("reads").is_none());
    assert!(matches!(store.route_put(&wanted, epoch).await, Err(StoreError::Missing { .. })), "no route without its app");
}

#[sqlx::test(migrations = "../migrations")]
async fn nodes_are_those_of_the_last_read(pool: PgPool) {
    let store = store_of(&pool);
    let epoch = lead(&store, "one").await;
    store.node_replace_all(&[node("b", "ready"), node("a", "ready")], epoch).await.expect("writes");
    store.node_replace_all(&[node("a", "down"), node("c", "ready")], epoch).await.expect("writes");
    let states: Vec<(String, String)> = store
        .node_list()
        .await
        .expect("lists")
        .into_iter()
        .filter_map(|node| node.status.map(|status| (node.metadata.name, status.state)))
        .collect();
    assert_eq!(states, [("host-a".to_owned(), "down".to_owned()), ("host-c".to_owned(), "ready".to_owned())]);
}
