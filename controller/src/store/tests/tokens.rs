//! Tokens: found by hash, ended by time or revocation, last use.

use std::sync::Arc;
use std::time::Duration;

use api_types::api::Role;
use secrecy::ExposeSecret;
use sqlx::PgPool;

use super::{acme, apply, org, organization, start};
use crate::clock::{ManualClock, SystemEntropy};
use crate::store::{NewToken, Store, StoreError, TokenLookup};

#[sqlx::test(migrations = "../migrations")]
async fn tokens_are_found_by_their_hash(pool: PgPool) {
    let store = acme(&pool).await;
    let acme = org("acme");
    let (_, token) = store.token_create(&NewToken::new("ci", Some(&acme), Role::Member)).await.expect("makes");
    let (_, root) = store.token_create(&NewToken::new("root", None, Role::Admin)).await.expect("makes");
    let found = store.token_find(token.expose_secret()).await.expect("reads").valid().expect("is one");
    assert_eq!((found.name.as_str(), found.org.as_deref(), found.role), ("ci", Some("acme"), Role::Member));
    let found = store.token_find(root.expose_secret()).await.expect("reads").valid().expect("is one");
    assert_eq!((found.org, found.role), (None, Role::Admin));
    for other in ["", "sky_", "nonsense", &root.expose_secret()[1..]] {
        assert_eq!(store.token_find(other).await.expect("answers"), TokenLookup::Unknown);
    }
    let missing = store.token_create(&NewToken::new("x", Some(&org("none")), Role::Viewer)).await;
    assert!(matches!(missing, Err(StoreError::Missing { .. })));
    sqlx::query("DELETE FROM tokens").execute(&pool).await.expect("deletes");
    let gone = store.token_find(root.expose_secret()).await.expect("answers");
    assert_eq!(gone, TokenLookup::Unknown, "a well-formed token that is not stored");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_token_ends_at_its_time_or_when_it_is_revoked(pool: PgPool) {
    let clock = Arc::new(ManualClock::at(start()));
    let store = Store::from_pool(pool.clone(), clock.clone(), Arc::new(SystemEntropy));
    apply(&store, &[organization("acme"), organization("rival")]).await.expect("applies");
    let (acme, rival) = (org("acme"), org("rival"));
    let short = NewToken {
        expires_in: Some("2m".parse().expect("a lifetime")),
        created_by: Some("root"),
        ..NewToken::new("short", Some(&acme), Role::Viewer)
    };
    let (short, short_text) = store.token_create(&short).await.expect("makes");
    let (long, long_text) = store.token_create(&NewToken::new("long", Some(&acme), Role::Viewer)).await.expect("makes");
    assert_eq!((short.created_by.as_deref(), short.expires_at), (Some("root"), Some(start() + chrono::TimeDelta::minutes(2))));

    clock.advance(Duration::from_secs(119));
    assert!(store.token_find(short_text.expose_secret()).await.expect("reads").valid().is_some());
    assert!(store.token_ended(&[short.id, long.id]).await.expect("reads").is_empty());
    clock.advance(Duration::from_secs(1));
    let expired = store.token_find(short_text.expose_secret()).await.expect("reads");
    assert_eq!(expired, TokenLookup::Expired(start() + chrono::TimeDelta::minutes(2)));
    let listed = store.token_list(Some(&acme)).await.expect("lists");
    assert_eq!(listed.iter().map(|token| (token.name.as_str(), token.expired)).collect::<Vec<_>>(), [("long", false), ("short", true)]);

    assert!(!store.token_revoke(Some(&rival), long.id).await.expect("answers"), "another organisation's");
    assert!(store.token_revoke(Some(&acme), long.id).await.expect("answers"));
    assert!(!store.token_revoke(Some(&acme), long.id).await.expect("answers"), "it is gone already");
    assert!(matches!(store.token_find(long_text.expose_secret()).await.expect("reads"), TokenLookup::Revoked(_)));
    let ended = store.token_ended(&[short.id, long.id, uuid::Uuid::nil()]).await.expect("reads");
    assert_eq!(ended.len(), 3, "expired, revoked, never there");
    assert_eq!(store.token_list(None).await.expect("lists").len(), 1);

    clock.advance(Duration::from_secs(91 * 86_400));
    assert!(!store.token_revoke(None, uuid::Uuid::nil()).await.expect("answers"));
    assert_eq!(store.token_find(long_text.expose_secret()).await.expect("reads"), TokenLookup::Unknown, "forgotten after 90 days");
}

#[sqlx::test(migrations = "../migrations")]
async fn the_last_use_is_written_at_most_once_a_minute(pool: PgPool) {
    let clock = Arc::new(ManualClock::at(start()));
    let store = Store::from_pool(pool.clone(), clock.clone(), Arc::new(SystemEntropy));
    let (token, _) = store.token_create(&NewToken::new("root", None, Role::Admin)).await.expect("makes");
    let used = async || store.token_list(None).await.expect("lists")[0].last_used_at;
    assert_eq!(used().await, None);
    store.token_used(&[token.id]).await.expect("writes");
    assert_eq!(used().await, Some(start()));
    clock.advance(Duration::from_secs(59));
    store.token_used(&[token.id]).await.expect("writes");
    assert_eq!(used().await, Some(start()), "a minute is not over");
    clock.advance(Duration::from_secs(1));
    store.token_used(&[token.id]).await.expect("writes");
    assert_eq!(used().await, Some(start() + chrono::TimeDelta::minutes(1)));
}
