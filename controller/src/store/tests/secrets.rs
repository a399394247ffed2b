//! Secrets: never in clear in the database, versions only when a value changes, and the key file.

use api_types::api::ApplyAction;
use serde_json::json;
use sqlx::PgPool;

use super::*;
use crate::keyring::KeyringError;
use crate::store::{NewToken, StoreError};

const CANARY: &str = "canary-7f3a91";

async fn value(store: &Store, app: &AppRecord, key: &str, version: i64) -> Option<String> {
    let found = store.secret_value(app.uid, &app.org, &key.parse().expect("a key"), version).await.expect("reads");
    found.map(|value| value.expose().to_owned())
}

#[sqlx::test(migrations = "../migrations")]
async fn no_column_ever_holds_a_value_in_clear(pool: PgPool) {
    let store = acme(&pool).await;
    let keys = tempfile::tempdir().expect("a folder");
    let path = keys.path().join("key");
    store.open_keyring(&path).await.expect("opens");
    apply(&store, &[app("shop", json!({"secrets": {"KEY": CANARY}}))]).await.expect("applies");
    let (_, token) = store.token_create(&NewToken::new("ci", None, api_types::api::Role::Admin)).await.expect("makes");
    let internal = store.internal_token().await.expect("makes");
    let dump = dump(&pool).await;
    assert!(dump.contains("== app_secrets\n(") && dump.contains("== data_keys\n(acme"), "the dump sees the tables: {dump}");
    let key_file = std::fs::read_to_string(&path).expect("reads");
    use secrecy::ExposeSecret;
    for clear in [CANARY, token.expose_secret(), internal.expose_secret(), key_file.trim()] {
        assert!(!dump.contains(clear));
        // A bytea shows as hexadecimal text.
        assert!(!dump.contains(&hex::encode(clear)));
    }
    let shop = record(&store, "shop").await;
    assert_eq!(value(&store, &shop, "KEY", 1).await.as_deref(), Some(CANARY));
    assert_eq!(value(&store, &shop, "OTHER", 1).await, None);
    assert_eq!(value(&store, &shop, "KEY", 2).await, None);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_version_is_made_only_when_the_value_changes(pool: PgPool) {
    let store = acme(&pool).await;
    let keys = tempfile::tempdir().expect("a folder");
    store.open_keyring(&keys.path().join("key")).await.expect("opens");
    let with = |secrets: serde_json::Value| app("shop", json!({"secrets": secrets}));
    let versions = async || {
        let shop = record(&store, "shop").await;
        (shop.generation, shop.secret_versions.values().copied().collect::<Vec<_>>())
    };
    assert_eq!(action(&store, with(json!({"A": "1", "B": "2"}))).await, ApplyAction::Created);
    assert_eq!(versions().await, (1, vec![1, 2]), "versions count per app");
    assert_eq!(action(&store, with(json!({"A": null, "B": "2"}))).await, ApplyAction::Unchanged);
    assert_eq!(action(&store, with(json!({"A": null, "B": "3"}))).await, ApplyAction::Configured);
    assert_eq!(versions().await, (2, vec![1, 3]));
    assert_eq!(action(&store, with(json!({"A": "1"}))).await, ApplyAction::Configured);
    assert_eq!(versions().await, (3, vec![1]));
    let errors = invalid(apply(&store, &[with(json!({"A": null, "B": null}))]).await);
    assert_eq!((errors.len(), errors[0].1.as_str()), (1, "spec.secrets.B"));
    assert_eq!(action(&store, with(json!({"A": "1", "B": "4"}))).await, ApplyAction::Configured);
    assert_eq!(versions().await, (4, vec![1, 4]), "a version is never given out twice");
    // Old revisions still have their values: a rollback needs them.
    let shop = record(&store, "shop").await;
    assert_eq!(value(&store, &shop, "B", 2).await.as_deref(), Some("2"));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_ciphertext_moved_to_another_row_does_not_decrypt(pool: PgPool) {
    let store = acme(&pool).await;
    let keys = tempfile::tempdir().expect("a folder");
    store.open_keyring(&keys.path().join("key")).await.expect("opens");
    apply(&store, &[app("shop", json!({"secrets": {"A": "1", "B": "2"}}))]).await.expect("applies");
    let shop = record(&store, "shop").await;
    sqlx::query(
        "UPDATE app_secrets SET (nonce, ciphertext) = (SELECT nonce, ciphertext FROM app_secrets WHERE version = 2) WHERE version = 1",
    )
    .execute(&pool)
    .await
    .expect("moves");
    let moved = store.secret_value(shop.uid, &shop.org, &"A".parse().expect("a key"), 1).await;
    assert!(matches!(moved, Err(StoreError::Crypto(KeyringError::Tampered))), "{moved:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_missing_or_wrong_key_file_is_refused(pool: PgPool) {
    let store = acme(&pool).await;
    let keys = tempfile::tempdir().expect("a folder");
    let (path, other) = (keys.path().join("key"), keys.path().join("other"));
    let without = apply(&store, &[app("shop", json!({"secrets": {"A": "1"}}))]).await;
    assert!(matches!(without, Err(WriteError::Store(StoreError::Crypto(KeyringError::Closed)))), "{without:?}");
    store.open_keyring(&path).await.expect("makes the file");
    apply(&store, &[app("shop", json!({"secrets": {"A": "1"}}))]).await.expect("applies");
    let shop = record(&store, "shop").await;

    let restarted = store_of(&pool);
    restarted.open_keyring(&path).await.expect("loads the file");
    assert_eq!(value(&restarted, &shop, "A", 1).await.as_deref(), Some("1"));

    let lost = store_of(&pool);
    let error = lost.open_keyring(&other).await.expect_err("refuses");
    assert!(matches!(&error, StoreError::KeyMissing { path } if *path == other), "{error:?}");
    assert!(!other.exists(), "no new key is made over old data");

    std::fs::copy(&path, &other).expect("copies");
    std::fs::write(&other, "ab".repeat(32)).expect("writes");
    let error = lost.open_keyring(&other).await.expect_err("refuses");
    assert!(matches!(&error, StoreError::Crypto(KeyringError::WrongKey { .. })), "{error:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn roles_that_start_at_once_share_one_key_and_one_token(pool: PgPool) {
    let keys = tempfile::tempdir().expect("a folder");
    let path = keys.path().join("key");
    let starts = (0..4).map(|_| {
        let (store, path) = (store_of(&pool), path.clone());
        tokio::spawn(async move {
            store.open_keyring(&path).await.expect("opens");
            use secrecy::ExposeSecret;
            store.internal_token().await.expect("reads").expose_secret().to_owned()
        })
    });
    let mut tokens = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        tokens.push(start.await.expect("runs"));
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert!(tokens[0].len() >= 43);
}

#[sqlx::test(migrations = "../migrations")]
async fn passwords_of_the_edge_are_kept_as_hashes_by_version(pool: PgPool) {
    let store = acme(&pool).await;
    let keys = tempfile::tempdir().expect("a folder");
    store.open_keyring(&keys.path().join("key")).await.expect("opens");
    let with = |password: serde_json::Value| {
        app("shop", json!({"secrets": {"KEY": "x"}, "edge": {"basicAuth": {"users": {"ana": {"password": password}}}}}))
    };
    let version = async || {
        let shop = record(&store, "shop").await;
        let auth = shop.spec.edge.basic_auth.expect("is there");
        (shop.generation, auth.users.values().next().expect("one").password_version)
    };
    let errors = invalid(apply(&store, &[with(json!(null))]).await);
    assert_eq!(errors[0].1, "spec.edge.basicAuth.users.ana.password");
    assert_eq!(action(&store, with(json!(CANARY))).await, ApplyAction::Created);
    assert_eq!(version().await, (1, 2), "versions count over all secrets of an app");
    // What is read back can be applied, and the same password is no change.
    for same in [json!(null), json!(CANARY)] {
        assert_eq!(action(&store, with(same)).await, ApplyAction::Unchanged);
    }
    let dump = dump(&pool).await;
    assert!(!dump.contains(CANARY) && !dump.contains("$2y$"), "{dump}");
    let shop = record(&store, "shop").await;
    assert_eq!(store.passwords_preview(Some(&shop), &shop.spec, 9).await.expect("previews"), shop.spec);
    let epoch = lead(&store, "me").await;
    let route = crate::edge::Route {
        app_uid: shop.uid,
        org: shop.org.clone(),
        app: shop.name.clone(),
        hosts: vec!["shop.example.com".parse().expect("a host")],
        process: "web".parse().expect("a name"),
        releases: Vec::new(),
        health: None,
        protocol: api_types::kinds::edge::Protocol::Http,
        edge: shop.spec.edge.clone(),
    };
    store.route_put(&route, epoch).await.expect("writes");
    let inputs = store.edge_inputs().await.expect("reads");
    let hash = inputs.passwords.get(shop.uid, 2).expect("is known").to_owned();
    assert!(bcrypt::verify(CANARY, &hash).expect("is a hash"));
    assert_eq!(action(&store, with(json!("another"))).await, ApplyAction::Configured);
    assert_eq!(version().await, (2, 3));
    // A hash that does not decrypt closes its app and stops nothing else.
    sqlx::query("UPDATE app_secrets SET ciphertext = ciphertext || 'x'::bytea").execute(&pool).await.expect("writes");
    let inputs = store.edge_inputs().await.expect("reads");
    assert_eq!((inputs.routes.len(), inputs.passwords.get(shop.uid, 2)), (1, None));
}
