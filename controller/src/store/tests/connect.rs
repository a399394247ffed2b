//! Connecting, migrating, and what a lost server looks like.

use std::sync::Arc;

use sqlx::PgPool;

use super::*;
use crate::clock::{ManualClock, SystemEntropy};
use crate::store::{LeaseClaim, Store, StoreError};

/// A URL of the test's own database, over the socket where the server is reached by one.
fn url(pool: &PgPool) -> String {
    let options = pool.connect_options();
    let database = options.get_database().expect("a database");
    let host = options.get_socket().map_or_else(|| options.get_host().to_owned(), |path| path.display().to_string());
    format!("postgres://{}@localhost/{database}?host={host}&port={}", options.get_username(), options.get_port())
}

async fn connect(url: &str) -> Result<Store, StoreError> {
    Store::connect(url, Arc::new(ManualClock::at(start())), Arc::new(SystemEntropy)).await
}

#[sqlx::test(migrations = false)]
async fn migrations_run_once_whoever_calls_them_and_how_often(pool: PgPool) {
    let url = url(&pool);
    let calls = (0..4).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { connect(&url).await.expect("connects").migrate().await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("runs").expect("migrates");
    }
    let store = connect(&url).await.expect("connects");
    store.migrate().await.expect("migrates again");
    store.ping().await.expect("answers");
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success").fetch_one(&pool).await.expect("counts");
    assert_eq!(usize::try_from(count).ok(), Some(std::fs::read_dir("../migrations").expect("lists").count()));
    apply(&store, &[organization("acme")]).await.expect("the schema is there");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_schema_of_a_newer_release_is_worked_on_until_it_says_otherwise(pool: PgPool) {
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'new', true, '', 0)")
        .execute(&pool)
        .await
        .expect("inserts");
    let store = store_of(&pool);
    store.migrate().await.expect("what a newer release added is no harm");
    let epoch = lead(&store, "one").await;
    assert!(store.lease_renew("controller", "one", epoch, std::time::Duration::from_secs(3)).await.expect("answers"));

    sqlx::query("UPDATE schema_floor SET oldest = 9999").execute(&pool).await.expect("raises");
    let newest = crate::store::connect::newest_migration(&store);
    let is_outdated = |error: &StoreError| matches!(error, StoreError::Outdated { oldest: 9999, known } if *known == newest);
    let error = store_of(&pool).migrate().await.expect_err("refuses to start");
    assert!(is_outdated(&error), "{error:?}");
    assert!(!store.lease_renew("controller", "one", epoch, std::time::Duration::from_secs(3)).await.expect("answers"), "it stands down");
    let claim = LeaseClaim { name: "controller", holder: "one", ..LeaseClaim::default() };
    let error = store.lease_acquire(&claim).await.expect_err("does not lead again");
    assert!(is_outdated(&error), "{error:?}");
}

/// Release N goes on while release N+1 has migrated already: what it uses must stay.
#[test]
fn a_migration_that_takes_something_away_says_which_release_it_is_for() {
    let files = std::fs::read_dir("../migrations").expect("lists").map(|file| file.expect("a file").path());
    for path in files {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        // The rule is younger than the first ones.
        if name.as_str() < "0026" {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("reads").to_uppercase();
        let takes = ["DROP TABLE", "DROP COLUMN", "RENAME ", " TYPE ", "SET NOT NULL", "DROP DEFAULT", "DROP FUNCTION", "DROP VIEW"];
        let found: Vec<&str> = takes.into_iter().filter(|words| text.contains(words)).collect();
        assert!(found.is_empty() || text.contains("UPDATE SCHEMA_FLOOR"), "{name} has {found:?} and does not raise schema_floor.oldest");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn the_server_has_limits_too(pool: PgPool) {
    let store = connect(&url(&pool)).await.expect("connects");
    let limits: (String, String) = sqlx::query_as("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
        .fetch_one(store.pool())
        .await
        .expect("reads");
    assert_eq!(limits, ("10s".to_owned(), "5s".to_owned()));
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_nonsense_is_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let nobody = connect(&format!("postgres://postgres@localhost/db?host={}&port=1", dir.path().display())).await;
    assert!(matches!(nobody, Err(StoreError::Unavailable(_))), "{nobody:?}");
    let nonsense = connect("not a url").await;
    assert!(matches!(nonsense, Err(StoreError::Query { .. })), "{nonsense:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn killed_connections_are_unavailable_and_the_next_call_works(pool: PgPool) {
    let store = connect(&url(&pool)).await.expect("connects");
    let mut tx = store.begin().await.expect("begins");
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'skyswarm'",
    )
    .execute(&pool)
    .await
    .expect("kills");
    let lost = super::super::organizations::lock(&mut tx, &[org("acme")].into()).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    drop(tx);
    store.ping().await.expect("answers again");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_row_that_cannot_be_read_is_corrupt_and_does_not_hide_keys(pool: PgPool) {
    let store = acme(&pool).await;
    apply(&store, &[app("shop", serde_json::json!({}))]).await.expect("applies");
    sqlx::query("UPDATE apps SET spec = '{}'").execute(&pool).await.expect("breaks it");
    let read = store.app_get(&org("acme"), &name("shop")).await;
    assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
    assert_eq!(store.app_keys_all().await.expect("lists").len(), 1);
}
