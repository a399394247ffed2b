//! Hosts: one app each over all organisations, and moves between apps.

use api_types::api::ApplyAction;
use serde_json::json;
use sqlx::PgPool;

use super::*;

async fn hosts(store: &Store, app: &str) -> Vec<String> {
    let uid = record(store, app).await.uid;
    store.domains_of_app(uid).await.expect("reads").iter().map(ToString::to_string).collect()
}

/// Makes all apps clean, as a controller would.
async fn observe_all(store: &Store, epoch: i64) {
    for record in store.app_list(None).await.expect("lists") {
        store.app_status_put(record.uid, &status(record.generation), record.desired_version, epoch).await.expect("writes");
    }
    assert!(store.app_keys_dirty().await.expect("lists").is_empty());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_host_belongs_to_one_app_over_all_organisations(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[organization("evil"), app("shop", json!({"domains": ["a.example.com"]}))]).await.expect("applies");
    let taken = apply(&store, &[app_in("evil", "thief", json!({"domains": ["b.example.com", "a.example.com"]}))]).await;
    let (_, detail) = conflict(taken);
    assert_eq!(detail, "spec.domains[1]: a.example.com is in use by another app; see docs/troubleshooting.md#host-in-use");
    apply(&store, &[app_in("evil", "thief", json!({}))]).await.expect("applies");
    let (_, detail) = conflict(apply(&store, &[domain("evil", "a.example.com", "thief")]).await);
    assert_eq!(detail, "metadata.name: a.example.com is in use by another app; see docs/troubleshooting.md#host-in-use");
    assert!(!store.domain_delete(&org("evil"), &host("a.example.com"), None, &cx()).await.expect("answers"), "not theirs, so not there");
    assert_eq!(hosts(&store, "shop").await, ["a.example.com"]);

    let (_, detail) = conflict(apply(&store, &[app("blog", json!({"domains": ["a.example.com"]}))]).await);
    assert!(detail.contains("in use by another app of this organization, shop; see docs/"), "{detail}");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_host_moves_between_apps_in_one_list_in_either_order(pool: PgPool) {
    let store = acme(&pool).await;
    let with = |app_name: &str, hosts: serde_json::Value| app(app_name, json!({"domains": hosts}));
    apply(&store, &[with("one", json!(["a.example.com"])), with("two", json!(["b.example.com"]))]).await.expect("applies");
    for (one, two) in [("b.example.com", "a.example.com"), ("a.example.com", "b.example.com")] {
        let swap = [with("one", json!([one])), with("two", json!([two]))];
        apply(&store, &swap).await.expect("swaps");
        assert_eq!((hosts(&store, "one").await, hosts(&store, "two").await), (vec![one.to_owned()], vec![two.to_owned()]));
    }
    let both = conflict(apply(&store, &[with("one", json!(["c.example.com"])), with("two", json!(["c.example.com"]))]).await);
    assert_eq!(both.0, 1);
    // From an app's manifest to an object of its own, and refused the other way round.
    apply(&store, &[domain("acme", "a.example.com", "two"), with("one", json!([]))]).await.expect("moves");
    assert_eq!(hosts(&store, "two").await, ["a.example.com", "b.example.com"]);
    let (_, detail) = conflict(apply(&store, &[with("two", json!(["a.example.com", "b.example.com"]))]).await);
    assert!(detail.contains("spec.domains[0]") && detail.contains("Domain object of its own"), "{detail}");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_domain_of_its_own_makes_apps_dirty_without_a_generation(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[app("one", json!({})), app("two", json!({}))]).await.expect("applies");
    let epoch = lead(&store, "c").await;
    let dirty = async || store.app_keys_dirty().await.expect("lists").iter().map(ToString::to_string).collect::<Vec<_>>();
    observe_all(&store, epoch).await;

    assert_eq!(action(&store, domain("acme", "a.example.com", "one")).await, ApplyAction::Created);
    assert_eq!(dirty().await, ["acme/one"]);
    assert_eq!(record(&store, "one").await.generation, 1);
    observe_all(&store, epoch).await;
    assert_eq!(action(&store, domain("acme", "a.example.com", "one")).await, ApplyAction::Unchanged);
    assert_eq!(dirty().await, Vec::<String>::new());
    assert_eq!(action(&store, domain("acme", "a.example.com", "two")).await, ApplyAction::Configured);
    assert_eq!(dirty().await, ["acme/one", "acme/two"]);
    observe_all(&store, epoch).await;
    assert!(store.domain_delete(&org("acme"), &host("a.example.com"), None, &cx()).await.expect("deletes"));
    assert_eq!(dirty().await, ["acme/two"]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_domain_that_changes_between_read_and_status_leaves_the_app_dirty(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[app("one", json!({}))]).await.expect("applies");
    let epoch = lead(&store, "c").await;
    let read = record(&store, "one").await;
    apply(&store, &[domain("acme", "a.example.com", "one")]).await.expect("applies");
    store.app_status_put(read.uid, &status(1), read.desired_version, epoch).await.expect("writes");
    assert_eq!(store.app_keys_dirty().await.expect("lists").len(), 1);
    let read = record(&store, "one").await;
    store.app_status_put(read.uid, &status(1), read.desired_version, epoch).await.expect("writes");
    assert!(store.app_keys_dirty().await.expect("lists").is_empty(), "an equal status still says what was seen");
}

#[sqlx::test(migrations = "../migrations")]
async fn domains_are_objects_with_an_owner(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[app("shop", json!({"domains": ["a.example.com"]})), domain("acme", "b.example.com", "shop")]).await.expect("applies");
    let listed = store.domain_list(Some(&org("acme"))).await.expect("lists");
    let owners: Vec<(&str, Option<&str>)> = listed.iter().map(|d| (d.metadata.name.as_str(), d.metadata.owner.as_deref())).collect();
    assert_eq!(owners, [("a.example.com", Some("App/shop")), ("b.example.com", None)]);
    assert_eq!(store.domain_get(&host("b.example.com")).await.expect("reads").as_ref(), Some(&listed[1]));
    assert!(store.domain_get(&host("c.example.com")).await.expect("reads").is_none());
    let (_, detail) = conflict(store.domain_delete(&org("acme"), &host("a.example.com"), None, &cx()).await);
    assert!(detail.contains("spec.domains"), "{detail}");
    let (_, detail) = conflict(apply(&store, &[domain("acme", "a.example.com", "shop")]).await);
    assert!(detail.contains("manifest of App shop"), "{detail}");
    let errors = invalid(apply(&store, &[domain("acme", "c.example.com", "none")]).await);
    assert_eq!(errors[0].1, "spec.app");
    let errors = invalid(apply(&store, &[domain("acme", "x.y.apps.localhost", "shop")]).await);
    assert_eq!(errors[0].1, "metadata.name");
}

#[sqlx::test(migrations = "../migrations")]
async fn organisations_that_swap_hosts_at_once_do_not_deadlock_for_users(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[organization("other")]).await.expect("applies");
    let claim = |in_org: &'static str, hosts: serde_json::Value| {
        let store = store.clone();
        tokio::spawn(async move { apply(&store, &[app_in(in_org, "shop", json!({"domains": hosts}))]).await })
    };
    for _ in 0..5 {
        let one = claim("acme", json!(["a.example.com", "b.example.com"]));
        let two = claim("other", json!(["b.example.com", "a.example.com"]));
        let (one, two) = (one.await.expect("runs"), two.await.expect("runs"));
        assert!(one.is_ok() != two.is_ok(), "exactly one has both: {one:?} {two:?}");
        for (in_org, result) in [("acme", one), ("other", two)] {
            if result.is_ok() {
                apply(&store, &[app_in(in_org, "shop", json!({}))]).await.expect("releases");
            } else {
                conflict(result);
            }
        }
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_deadlock_between_organisations_is_tried_again_and_ends_as_a_conflict(pool: PgPool) {
    let store = acme(&pool).await;
    let with = |in_org: &str, hosts: serde_json::Value| app_in(in_org, "shop", json!({"domains": hosts}));
    let items = [organization("other"), with("acme", json!(["a.example.com"])), with("other", json!(["b.example.com"]))];
    apply(&store, &items).await.expect("applies");
    // Both are held after they gave up their own host and before they ask for the other one's.
    let mut gate = pool.begin().await.expect("begins");
    sqlx::query("LOCK TABLE revisions IN EXCLUSIVE MODE").execute(&mut *gate).await.expect("locks");
    let swap = |in_org: &'static str, host: &'static str| {
        let store = store.clone();
        tokio::spawn(async move { apply(&store, &[app_in(in_org, "shop", json!({"domains": [host]}))]).await })
    };
    let (one, two) = (swap("acme", "b.example.com"), swap("other", "a.example.com"));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    gate.rollback().await.expect("opens");
    for result in [one.await.expect("runs"), two.await.expect("runs")] {
        conflict(result);
    }
}
