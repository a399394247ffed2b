//! What is kept of the past, and going back to it.

use api_types::Reason;
use api_types::api::RollbackRequest;
use serde_json::json;
use sqlx::PgPool;

use super::*;

async fn judge(store: &Store, generation: i64, phase: VerdictPhase, epoch: i64) {
    let uid = record(store, "shop").await.uid;
    store.revision_image_put(uid, generation, "acme/shop@sha256:1", epoch).await.expect("written");
    store.revision_verdict_put(uid, generation, &verdict(phase), epoch).await.expect("written");
}

async fn generations(store: &Store) -> Vec<i64> {
    let uid = record(store, "shop").await.uid;
    store.revision_list(uid, 1_000).await.expect("lists").iter().map(|revision| revision.generation).collect()
}

async fn secret_versions(pool: &PgPool) -> Vec<i64> {
    sqlx::query_scalar("SELECT version FROM app_secrets ORDER BY 1").fetch_all(pool).await.expect("reads")
}

#[sqlx::test(migrations = "../migrations")]
async fn old_revisions_go_with_their_secrets_but_never_what_serves_or_was_proven_last(pool: PgPool) {
    let store = acme(&pool).await;
    let keys = tempfile::tempdir().expect("a folder");
    store.open_keyring(&keys.path().join("key")).await.expect("opens");
    let keep = Manifest::Setting(api_types::Setting::new(
        ObjectMeta::named("revisions.retention_count"),
        api_types::SettingSpec { value: json!(5) },
    ));
    apply(&store, &[keep]).await.expect("applies");
    let epoch = lead(&store, "one").await;
    let version = async |n: i64| {
        apply(&store, &[app("shop", json!({"env": {"N": n.to_string()}, "secrets": {"KEY": format!("value {n}")}}))])
            .await
            .expect("applies");
    };
    for n in 1..=3 {
        version(n).await;
        judge(&store, n, VerdictPhase::Ready, epoch).await;
    }
    // What is told to serve is 2, what was proven last is 3; everything after that fails.
    let uid = record(&store, "shop").await.uid;
    let told = AppStatus { serving_generation: Some(2), ..status(3) };
    store.app_status_put(uid, &told, 1, epoch).await.expect("written");
    for n in 4..=12 {
        version(n).await;
        judge(&store, n, VerdictPhase::Failed, epoch).await;
    }
    assert_eq!(generations(&store).await, [12, 11, 10, 9, 8, 3, 2]);
    assert_eq!(secret_versions(&pool).await, [2, 3, 8, 9, 10, 11, 12]);
    // The kept ones can be gone back to, secret and all.
    let request = RollbackRequest { to: Some(2), ..RollbackRequest::default() };
    let done = store.app_rollback(&org("acme"), &name("shop"), &request, &cx()).await.expect("goes back").expect("is there");
    assert_eq!(done.after.secret_versions.values().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(generations(&store).await, [13, 12, 11, 10, 9, 3, 2]);
}

#[sqlx::test(migrations = "../migrations")]
async fn revisions_go_by_age_too_but_never_the_newest_few_or_what_was_proven_last(pool: PgPool) {
    let store = acme(&pool).await;
    let keep = Manifest::Setting(api_types::Setting::new(
        ObjectMeta::named("revisions.retention_days"),
        api_types::SettingSpec { value: json!(30) },
    ));
    apply(&store, &[keep]).await.expect("applies");
    let epoch = lead(&store, "one").await;
    for n in 1..=10 {
        apply(&store, &[app("shop", json!({"env": {"N": n.to_string()}}))]).await.expect("applies");
        judge(&store, n, if n <= 2 { VerdictPhase::Ready } else { VerdictPhase::Failed }, epoch).await;
    }
    assert_eq!(generations(&store).await.len(), 10);
    // Revisions are immutable for everybody but this test, which cannot wait.
    sqlx::raw_sql("ALTER TABLE revisions DISABLE TRIGGER USER; UPDATE revisions SET created_at = created_at - interval '31 days' WHERE generation < 9; ALTER TABLE revisions ENABLE TRIGGER USER")
        .execute(&pool)
        .await
        .expect("ages them");
    apply(&store, &[app("shop", json!({"env": {"N": "11"}}))]).await.expect("applies");
    assert_eq!(generations(&store).await, [11, 10, 9, 8, 7, 2]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_revision_whose_secret_is_gone_is_refused_and_nothing_is_written(pool: PgPool) {
    let store = acme(&pool).await;
    let keys = tempfile::tempdir().expect("a folder");
    store.open_keyring(&keys.path().join("key")).await.expect("opens");
    let epoch = lead(&store, "one").await;
    apply(&store, &[app("shop", json!({"secrets": {"KEY": "one"}}))]).await.expect("applies");
    judge(&store, 1, VerdictPhase::Ready, epoch).await;
    apply(&store, &[app("shop", json!({"secrets": {"KEY": "two"}}))]).await.expect("applies");
    sqlx::query("DELETE FROM app_secrets WHERE version = 1").execute(&pool).await.expect("deletes");
    let before = dump(&pool).await;
    let refused = store.app_rollback(&org("acme"), &name("shop"), &RollbackRequest::default(), &cx()).await;
    let (_, detail) = conflict(refused);
    assert!(detail.contains("KEY (version 1)") && detail.contains("revision 1"), "{detail}");
    assert_eq!(dump(&pool).await, before);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_dry_run_of_going_back_writes_nothing(pool: PgPool) {
    let store = acme(&pool).await;
    let epoch = lead(&store, "one").await;
    apply(&store, &[app("shop", json!({"domains": ["a.example.com"]}))]).await.expect("applies");
    judge(&store, 1, VerdictPhase::Ready, epoch).await;
    apply(&store, &[app("shop", json!({"domains": ["b.example.com"]}))]).await.expect("applies");
    let before = dump(&pool).await;
    let would = store.app_rollback(&org("acme"), &name("shop"), &RollbackRequest::default(), &dry_run()).await.expect("may");
    assert_eq!(would.expect("is there").after.generation, 3);
    // Only the sequence of versions moved, which is in no table.
    assert_eq!(dump(&pool).await, before);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_retry_looks_an_image_up_again_that_could_not_be_found(pool: PgPool) {
    let store = acme(&pool).await;
    let epoch = lead(&store, "one").await;
    apply(&store, &[app("shop", json!({}))]).await.expect("applies");
    let uid = record(&store, "shop").await.uid;
    store.revision_image_put(uid, 1, "acme/shop@sha256:1", epoch).await.expect("written");
    let retried = async |reason: Reason, generation: i64| {
        let failed = Verdict { reason: Some(reason), ..verdict(VerdictPhase::Failed) };
        store.revision_verdict_put(uid, generation, &failed, epoch).await.expect("written");
        store.app_retry(&org("acme"), &name("shop"), None, &cx()).await.expect("retries").expect("is there");
        store.revision_get(uid, generation + 1).await.expect("reads").expect("is there").resolved_image
    };
    assert_eq!(retried(Reason::CrashLoop, 1).await.as_deref(), Some("acme/shop@sha256:1"));
    assert_eq!(retried(Reason::ImageNotFound, 2).await, None);
}
