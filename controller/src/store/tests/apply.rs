//! Apply, scale and delete of apps.

use std::collections::BTreeMap;

use api_types::api::{ApplyAction, ScaleRequest};
use api_types::kinds::app::VerdictPhase;
use api_types::{Manifest, Setting};
use serde_json::json;
use sqlx::PgPool;

use super::*;
use crate::store::{APP_FINALIZER, AppKey, StoreError};

fn versioned(mut item: Manifest, version: &str) -> Manifest {
    item.metadata_mut().resource_version = Some(version.to_owned());
    item
}

fn labelled(mut item: Manifest, key: &str, value: &str) -> Manifest {
    let value = value.to_owned().try_into().expect("a label value");
    item.metadata_mut().labels.insert(key.parse().expect("a label key"), value);
    item
}

fn scale(process: &str, replicas: u32) -> ScaleRequest {
    ScaleRequest { processes: BTreeMap::from([(process.parse().expect("a process"), replicas)]), resource_version: None }
}

#[sqlx::test(migrations = "../migrations")]
async fn applying_the_same_again_changes_nothing_at_all(pool: PgPool) {
    let store = acme(&pool).await;
    let keys = tempfile::tempdir().expect("a folder");
    store.open_keyring(&keys.path().join("key")).await.expect("opens");
    let items = [
        organization("acme"),
        app("shop", json!({"env": {"A": "1"}, "secrets": {"KEY": "hunter2"}, "domains": ["shop.example.com"]})),
        domain("acme", "www.example.com", "shop"),
    ];
    let first = apply(&store, &items).await.expect("applies");
    assert_eq!(first.iter().map(|r| r.action).collect::<Vec<_>>(), [ApplyAction::Unchanged, ApplyAction::Created, ApplyAction::Created]);
    let before = dump(&pool).await;
    let second = apply(&store, &items).await.expect("applies");
    assert!(second.iter().all(|result| result.action == ApplyAction::Unchanged), "{second:?}");
    assert_eq!(dump(&pool).await, before);
    assert_eq!(second.iter().map(|r| r.resource_version.clone()).collect::<Vec<_>>().len(), 3);
}

#[sqlx::test(migrations = "../migrations")]
async fn every_spec_change_is_a_revision_and_a_label_is_none(pool: PgPool) {
    let store = acme(&pool).await;
    assert_eq!(action(&store, app("shop", json!({}))).await, ApplyAction::Created);
    let first = record(&store, "shop").await;
    assert_eq!((first.generation, first.finalizers.as_slice()), (1, [APP_FINALIZER.to_owned()].as_slice()));

    assert_eq!(action(&store, labelled(app("shop", json!({})), "team", "a")).await, ApplyAction::Configured);
    let labelled_record = record(&store, "shop").await;
    assert_eq!(labelled_record.generation, 1);
    assert!(labelled_record.resource_version > first.resource_version);
    assert_eq!(labelled_record.desired_version, first.desired_version, "labels are no work for a controller");

    assert_eq!(action(&store, labelled(app("shop", json!({"image": "acme/shop:2"})), "team", "a")).await, ApplyAction::Configured);
    assert_eq!(record(&store, "shop").await.generation, 2);
    let revisions = store.revision_list(first.uid, 10).await.expect("lists");
    assert_eq!(revisions.iter().map(|revision| revision.generation).collect::<Vec<_>>(), [2, 1]);
    let newest = &revisions[0];
    assert_eq!((newest.author.as_str(), newest.source.as_str(), newest.created_at), ("tester", "apply", start()));
    assert_eq!((newest.verdict.phase, &newest.resolved_image), (VerdictPhase::Pending, &None));
    assert_eq!(newest.spec.image.to_string(), "acme/shop:2");
    assert_eq!(revisions[1].spec, first.spec, "the revision before holds what was before");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_revision_cannot_be_rewritten(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[app("shop", json!({}))]).await.expect("applies");
    let rewritten = sqlx::query("UPDATE revisions SET author = 'nobody'").execute(&pool).await;
    assert!(rewritten.expect_err("is refused").to_string().contains("immutable"));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_stale_version_writes_nothing(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[app("shop", json!({}))]).await.expect("applies");
    let read = record(&store, "shop").await.resource_version.to_string();
    apply(&store, &[versioned(app("shop", json!({"env": {"A": "1"}})), &read)]).await.expect("the version is current");
    let before = dump(&pool).await;
    let stale = apply(&store, &[app("blog", json!({})), versioned(app("shop", json!({"env": {"A": "2"}})), &read)]).await;
    let (item, detail) = conflict(stale);
    assert_eq!(item, 1);
    assert!(detail.contains("App shop") && detail.contains(&read), "{detail}");
    conflict(apply(&store, &[versioned(app("new", json!({})), &read)]).await);
    let bad = invalid(apply(&store, &[versioned(app("shop", json!({})), "latest")]).await);
    assert_eq!(bad[0].1, "metadata.resourceVersion");
    let stale_scale = ScaleRequest { resource_version: Some(read.clone()), ..scale("web", 3) };
    conflict(store.app_scale(&org("acme"), &name("shop"), &stale_scale, &cx()).await);
    conflict(store.app_delete(&org("acme"), &name("shop"), read.parse().ok(), &cx()).await);
    assert_eq!(dump(&pool).await, before);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_list_is_written_as_a_whole_or_not_at_all_and_tells_every_error(pool: PgPool) {
    let store = acme(&pool).await;
    let before = dump(&pool).await;
    let errors = invalid(
        apply(
            &store,
            &[
                app("one", json!({"processes": {"web": {"replicas": 101}, "job": {"replicas": 500}}})),
                app("two", json!({"secrets": {"KEY": null}, "domains": ["x.apps.localhost", "apps.localhost"]})),
                app("three", json!({})),
            ],
        )
        .await,
    );
    let paths: Vec<(usize, &str)> = errors.iter().map(|(item, path, _)| (*item, path.as_str())).collect();
    assert_eq!(
        paths,
        [
            (0, "spec.processes.job.replicas"),
            (0, "spec.processes.web.replicas"),
            (1, "spec.domains[0]"),
            (1, "spec.domains[1]"),
            (1, "spec.secrets.KEY"),
        ]
    );
    assert_eq!(dump(&pool).await, before);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_cannot_be_parsed_or_stored_is_told_with_its_path(pool: PgPool) {
    let store = acme(&pool).await;
    let mut homeless = app("shop", json!({}));
    homeless.metadata_mut().org = None;
    let mut misnamed = app("shop", json!({}));
    misnamed.metadata_mut().name = "Shop!".to_owned();
    let nul = app("nul", json!({"env": {"A": "a\u{0}b"}}));
    let nul_path = app("nul-path", json!({"processes": {"web": {"port": 80, "health": {"path": "/\u{0}"}}}}));
    let same_host = app("same-host", json!({"domains": ["a.example.com", "a.example.com"]}));
    let items = [homeless, misnamed, nul, app("twice", json!({})), app("twice", json!({})), nul_path, same_host];
    let errors = invalid(apply(&store, &items).await);
    let paths: Vec<(usize, &str)> = errors.iter().map(|(item, path, _)| (*item, path.as_str())).collect();
    let expected = [
        (0, "metadata.org"),
        (1, "metadata.name"),
        (2, "spec.env.A"),
        (4, "metadata.name"),
        (5, "spec.processes.web.health.path"),
        (6, "spec.domains[1]"),
    ];
    assert_eq!(paths, expected);
    match apply(&store, &[app("ok", json!({})), app_in("nowhere", "shop", json!({}))]).await {
        Err(WriteError::NotFound { item: 1, detail }) => assert!(detail.contains("\"nowhere\"") && detail.contains("create"), "{detail}"),
        other => panic!("{other:?}"),
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn an_organisation_and_its_app_may_come_in_one_list_in_any_order(pool: PgPool) {
    let store = store_of(&pool);
    let results = apply(&store, &[domain("new", "a.example.com", "shop"), app_in("new", "shop", json!({})), organization("new")]).await;
    let kinds: Vec<String> = results.expect("applies").iter().map(|result| result.kind.to_string()).collect();
    assert_eq!(kinds, ["Domain", "App", "Organization"], "results are in the order of the request");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_dry_run_says_the_same_and_writes_nothing(pool: PgPool) {
    let store = acme(&pool).await;
    let keys = tempfile::tempdir().expect("a folder");
    store.open_keyring(&keys.path().join("key")).await.expect("opens");
    let item = app("shop", json!({"secrets": {"KEY": "v"}, "domains": ["a.example.com"]}));
    let before = dump(&pool).await;
    let results = store.apply(std::slice::from_ref(&item), &dry_run()).await.expect("applies");
    assert_eq!((results[0].action, results[0].generation), (ApplyAction::Created, 1));
    assert_eq!(dump(&pool).await, before);
    // The data key of the dry run is gone with it; the real one must work.
    apply(&store, &[item]).await.expect("applies");
    let shop = record(&store, "shop").await;
    let value = store.secret_value(shop.uid, &shop.org, &"KEY".parse().expect("a key"), 1).await.expect("reads");
    assert_eq!(value.expect("is there").expose(), "v");
    let before = dump(&pool).await;
    let scaled = store.app_scale(&shop.org, &shop.name, &scale("web", 4), &dry_run()).await.expect("scales").expect("is there");
    assert_eq!(scaled.generation, 2);
    store.app_delete(&shop.org, &shop.name, None, &dry_run()).await.expect("deletes");
    assert_eq!(dump(&pool).await, before);
}

#[sqlx::test(migrations = "../migrations")]
async fn two_names_that_make_one_subdomain_do_not_go_together(pool: PgPool) {
    let store = store_of(&pool);
    apply(&store, &[organization("c"), organization("b-c"), app_in("c", "a-b", json!({}))]).await.expect("applies");
    let (item, detail) = conflict(apply(&store, &[app_in("b-c", "a", json!({}))]).await);
    assert_eq!(item, 0);
    assert!(detail.contains("subdomain a-b-c is taken"), "{detail}");
}

#[sqlx::test(migrations = "../migrations")]
async fn scaling_is_a_revision_of_its_own(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[app("shop", json!({"processes": {"web": {"port": 80}, "job": {}}}))]).await.expect("applies");
    let (acme, shop) = (org("acme"), name("shop"));
    let by = WriteContext { source: "scale".to_owned(), ..cx() };
    let scaled = store.app_scale(&acme, &shop, &scale("job", 3), &by).await.expect("scales").expect("is there");
    assert_eq!(scaled.generation, 2);
    let revision = store.revision_get(scaled.uid, 2).await.expect("reads").expect("is there");
    assert_eq!(revision.source, "scale");
    assert_eq!(revision.spec.processes.values().map(|process| process.replicas).collect::<Vec<_>>(), [3, 1]);
    let same = store.app_scale(&acme, &shop, &scale("job", 3), &by).await.expect("scales").expect("is there");
    assert_eq!(same, scaled, "the scale that it has changes nothing");
    let errors = invalid(store.app_scale(&acme, &shop, &scale("jobs", 1), &by).await);
    assert!(errors[0].1 == "processes.jobs" && errors[0].2.contains("job, web"), "{errors:?}");
    assert_eq!(invalid(store.app_scale(&acme, &shop, &scale("job", 101), &by).await)[0].1, "processes.job");
    assert!(store.app_scale(&acme, &name("none"), &scale("job", 1), &by).await.expect("answers").is_none());
}

#[sqlx::test(migrations = "../migrations")]
async fn the_replica_limit_is_the_settings(pool: PgPool) {
    let store = acme(&pool).await;
    let setting: Setting = serde_json::from_value(json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "Setting", "metadata": {"name": "limits.max_replicas"}, "spec": {"value": 2}
    }))
    .expect("a setting");
    // In the same list, before the app: the new limit counts already.
    let errors = invalid(apply(&store, &[app("shop", json!({"processes": {"web": {"replicas": 3}}})), Manifest::Setting(setting)]).await);
    assert!(errors[0].2.contains("at most 2"), "{errors:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_delete_is_marked_then_finished_by_the_controller(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[app("shop", json!({"domains": ["a.example.com"]}))]).await.expect("applies");
    let shop = record(&store, "shop").await;
    let epoch = lead(&store, "one").await;
    store.app_status_put(shop.uid, &status(1), shop.desired_version, epoch).await.expect("writes");
    assert!(store.app_keys_dirty().await.expect("lists").is_empty());

    store.app_remove(shop.uid, epoch).await.expect("answers");
    assert!(store.app_get(&shop.org, &shop.name).await.expect("reads").is_some(), "nobody asked for its deletion");

    let marked = store.app_delete(&shop.org, &shop.name, None, &cx()).await.expect("deletes").expect("is there");
    assert_eq!((marked.deletion_timestamp, marked.generation), (Some(start()), 1));
    let again = store.app_delete(&shop.org, &shop.name, None, &cx()).await.expect("deletes").expect("is there");
    assert_eq!(again, marked);
    let key = AppKey { org: shop.org.clone(), name: shop.name.clone() };
    assert_eq!(store.app_keys_dirty().await.expect("lists"), [key]);
    conflict(apply(&store, &[app("shop", json!({}))]).await);
    conflict(apply(&store, &[domain("acme", "b.example.com", "shop")]).await);
    conflict(store.app_scale(&shop.org, &shop.name, &scale("web", 2), &cx()).await);
    conflict(apply(&store, &[app("blog", json!({"domains": ["a.example.com"]}))]).await);
    conflict(store.org_delete(&shop.org, None, &cx()).await);

    assert!(matches!(store.app_remove(shop.uid, epoch - 1).await, Err(StoreError::Deposed)));
    store.app_remove(shop.uid, epoch).await.expect("removes");
    store.app_remove(shop.uid, epoch).await.expect("removing again is done already");
    assert!(store.app_get(&shop.org, &shop.name).await.expect("reads").is_none());
    assert!(store.revision_list(shop.uid, 10).await.expect("lists").is_empty());
    assert!(store.domain_list(None).await.expect("lists").is_empty());
    assert!(store.app_delete(&shop.org, &shop.name, None, &cx()).await.expect("answers").is_none());

    // A new app of the same name is another app.
    apply(&store, &[app("shop", json!({"domains": ["a.example.com"]}))]).await.expect("applies");
    assert_ne!(record(&store, "shop").await.uid, shop.uid);
}

#[sqlx::test(migrations = "../migrations")]
async fn writers_of_one_app_at_once_lose_nothing(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[app("shop", json!({}))]).await.expect("applies");
    let writers = (0..8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { apply(&store, &[app("shop", json!({"env": {"N": n.to_string()}}))]).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("runs").expect("applies");
    }
    let shop = record(&store, "shop").await;
    let revisions = store.revision_list(shop.uid, 100).await.expect("lists");
    assert_eq!(shop.generation, 9);
    assert_eq!(revisions.len(), 9);
    assert_eq!(revisions[0].spec, shop.spec);
}
