//! Organisations, settings, tokens and events.

use std::sync::Arc;
use std::time::Duration;

use api_types::api::{ApplyAction, Role};
use api_types::event::EventType;
use api_types::{OrganizationStatus, SettingKey};
use serde_json::json;
use sqlx::PgPool;

use super::*;
use crate::clock::SystemEntropy;
use crate::store::{NewEvent, NewToken};

fn key(text: &str) -> SettingKey {
    text.parse().expect("a key")
}

fn event(name: &str, message: &str) -> NewEvent {
    NewEvent {
        org: Some(org("acme")),
        kind: "App",
        name: name.to_owned(),
        uid: None,
        event_type: EventType::Normal,
        reason: "CreateService".to_owned(),
        message: message.to_owned(),
        generation: 1,
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn organisations_change_and_go_when_they_are_empty(pool: PgPool) {
    let store = acme(&pool).await;
    let mut named = organization("acme");
    let Manifest::Organization(object) = &mut named else { panic!("an organisation") };
    object.spec.display_name = Some("Acme Inc".to_owned());
    assert_eq!(action(&store, named.clone()).await, ApplyAction::Configured);
    assert_eq!(action(&store, named.clone()).await, ApplyAction::Unchanged);
    apply(&store, &[app("shop", json!({}))]).await.expect("applies");
    let read = store.org_get(&org("acme")).await.expect("reads").expect("is there");
    assert_eq!((read.metadata.generation, read.status), (Some(2), Some(OrganizationStatus { apps: 1 })));
    assert_eq!(store.org_list().await.expect("lists").len(), 1);

    let (_, detail) = conflict(store.org_delete(&org("acme"), None, &cx()).await);
    assert!(detail.contains("1 app"), "{detail}");
    assert!(!store.org_delete(&org("none"), None, &cx()).await.expect("answers"));
    apply(&store, &[organization("empty")]).await.expect("applies");
    store.token_create(&NewToken::new("ci", Some(&org("empty")), Role::Member)).await.expect("makes");
    assert!(store.org_delete(&org("empty"), None, &dry_run()).await.expect("answers"));
    assert!(store.org_delete(&org("empty"), None, &cx()).await.expect("deletes"));
    assert!(store.org_get(&org("empty")).await.expect("reads").is_none());

    let Manifest::Organization(object) = &mut named else { panic!("an organisation") };
    object.spec.display_name = Some("x".repeat(101));
    assert_eq!(invalid(apply(&store, &[named]).await)[0].1, "spec.displayName");
}

#[sqlx::test(migrations = "../migrations")]
async fn settings_are_typed_and_have_defaults(pool: PgPool) {
    let store = acme(&pool).await;
    let listed = store.setting_list().await.expect("lists");
    assert!(listed.iter().all(|setting| setting.status.as_ref().is_some_and(|status| status.is_default)));
    let concurrency = key("controller.concurrency");
    store.setting_put(&concurrency, &json!(3), &dry_run()).await.expect("checks");
    assert_eq!(store.settings_snapshot().await.expect("reads").concurrency(), 8);
    store.setting_put(&concurrency, &json!(3), &cx()).await.expect("sets");
    assert_eq!(store.settings_snapshot().await.expect("reads").concurrency(), 3);
    let read = store.setting_get(&concurrency).await.expect("reads").expect("is there");
    assert_eq!((read.spec.value, read.status.map(|status| status.is_default)), (json!(3), Some(false)));
    store.setting_reset(&concurrency, None, &cx()).await.expect("resets");
    assert_eq!(store.settings_snapshot().await.expect("reads").concurrency(), 8);

    let errors = invalid(store.setting_put(&concurrency, &json!("many"), &cx()).await);
    assert!(errors[0].1 == "spec.value" && errors[0].2.contains("1 to 256"), "{errors:?}");
    assert_eq!(invalid(store.setting_put(&key("controller.concurency"), &json!(1), &cx()).await)[0].1, "metadata.name");
    assert_eq!(invalid(store.setting_reset(&key("a.b"), None, &cx()).await)[0].1, "metadata.name");
    assert!(store.setting_get(&key("a.b")).await.expect("reads").is_none());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_default_domain_cannot_cover_hosts_that_are_in_use(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[app("shop", json!({"domains": ["shop.example.com"]}))]).await.expect("applies");
    let domain = key("edge.default_domain");
    for covering in ["example.com", "shop.example.com"] {
        let errors = invalid(store.setting_put(&domain, &json!(covering), &cx()).await);
        assert!(errors[0].2.contains("1 custom domain"), "{errors:?}");
    }
    for beside in ["hop.example.com", "a.shop.example.com"] {
        store.setting_put(&domain, &json!(beside), &cx()).await.expect("sets");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn the_same_event_counts_up_and_the_oldest_go(pool: PgPool) {
    let clock = Arc::new(ManualClock::at(start()));
    let store = Store::from_pool(pool.clone(), clock.clone(), Arc::new(SystemEntropy));
    apply(&store, &[organization("acme")]).await.expect("applies");
    store.setting_put(&key("events.retention_per_object"), &json!(10), &cx()).await.expect("sets");
    for _ in 0..3 {
        store.event_record(&event("shop", "created\0")).await.expect("records");
        clock.advance(Duration::from_secs(1));
    }
    let events = store.event_list(Some(&org("acme")), Some(("App", "shop")), 10).await.expect("lists");
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].count, (events[0].last_seen - events[0].first_seen).num_seconds()), (3, 2));

    for n in 0..15 {
        store.event_record(&event("shop", &format!("step {n}"))).await.expect("records");
        clock.advance(Duration::from_secs(1));
    }
    store.event_record(&event("blog", "other")).await.expect("records");
    let messages: Vec<String> = store
        .event_list(Some(&org("acme")), Some(("App", "shop")), 100)
        .await
        .expect("lists")
        .into_iter()
        .map(|event| event.message)
        .collect();
    assert_eq!(messages, (5..15).map(|n| format!("step {n}")).collect::<Vec<_>>(), "the newest ten, newest last");
    let newest = store.event_list(None, None, 2).await.expect("lists");
    assert_eq!(newest.iter().map(|event| event.message.as_str()).collect::<Vec<_>>(), ["step 14", "other"]);

    let orphan = NewEvent { org: Some(org("gone")), ..event("shop", "late") };
    store.event_record(&orphan).await.expect("is dropped");
    assert!(store.event_list(Some(&org("gone")), None, 10).await.expect("lists").is_empty());
    let node = NewEvent { org: None, kind: "Node", ..event("host-1", &"long ".repeat(10_000)) };
    store.event_record(&node).await.expect("records");
    assert_eq!(store.event_list(None, Some(("Node", "host-1")), 10).await.expect("lists")[0].message.len(), 2_000);
}
