//! Heartbeats and the counts of the platform at a glance.

use api_types::Reason;
use api_types::platform::{PartState, ProcessReport, QueueState};
use api_types::{Condition, ConditionStatus, ConditionType};
use serde_json::json;
use sqlx::PgPool;

use super::*;

fn report(host: &str) -> ProcessReport {
    ProcessReport {
        roles: vec!["controller".to_owned()],
        host: host.to_owned(),
        version: "0.1.0".to_owned(),
        engine: None,
        edge: None,
        queue: Some(QueueState { due: 3, ..QueueState::default() }),
    }
}

async fn age(pool: &PgPool, id: &str, seconds: i32) {
    let sql = "UPDATE heartbeats SET heartbeat_at = heartbeat_at - make_interval(secs => $2) WHERE id = $1";
    sqlx::query(sql).bind(id).bind(f64::from(seconds)).execute(pool).await.expect("ages");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_process_has_one_row_that_becomes_stale_and_goes_after_a_while(pool: PgPool) {
    let store = acme(&pool).await;
    for _ in 0..2 {
        store.heartbeat_put("one", start(), &report("n1")).await.expect("writes");
    }
    store.heartbeat_put("two", start(), &report("n2")).await.expect("writes");
    let epoch = lead(&store, "two").await;
    let listed = store.heartbeat_list().await.expect("lists");
    let seen: Vec<_> = listed.iter().map(|process| (process.id.as_str(), process.stale, process.epoch)).collect();
    assert_eq!(seen, [("two", false, Some(epoch)), ("one", false, None)], "the leader first, by the lease and not by its own word");
    assert_eq!(listed[0].report, report("n2"));

    age(&pool, "one", 20).await;
    let listed = store.heartbeat_list().await.expect("lists");
    assert!(listed.iter().any(|process| process.id == "one" && process.stale), "{listed:?}");
    age(&pool, "one", 3600).await;
    store.heartbeat_put("two", start(), &report("n2")).await.expect("writes");
    assert_eq!(store.heartbeat_list().await.expect("lists").len(), 1, "a process that is long gone is forgotten");
    store.heartbeat_remove("two").await.expect("removes");
    assert!(store.heartbeat_list().await.expect("lists").is_empty());
}

#[sqlx::test(migrations = "../migrations")]
async fn an_edge_elsewhere_is_known_until_its_process_ends_in_order(pool: PgPool) {
    let store = acme(&pool).await;
    let with_edge = ProcessReport { edge: Some(PartState { ok: false, detail: "down".to_owned() }), ..report("n1") };
    let without = ProcessReport { edge: None, ..report("n1") };
    store.heartbeat_put("n1-7-aaaa-1", start(), &without).await.expect("writes");
    assert!(!store.other_edges("bbbb").await.expect("asks"), "it has none");
    store.heartbeat_put("n1-8-bbbb-2", start(), &with_edge).await.expect("writes");
    assert!(!store.other_edges("bbbb").await.expect("asks"), "it was our own, before we were started again");
    assert!(store.other_edges("aaaa").await.expect("asks"));
    age(&pool, "n1-8-bbbb-2", 600).await;
    assert!(store.other_edges("aaaa").await.expect("asks"), "its keeper may serve on");
    store.heartbeat_remove("n1-8-bbbb-2").await.expect("removes");
    assert!(!store.other_edges("aaaa").await.expect("asks"));
}

#[sqlx::test(migrations = "../migrations")]
async fn heartbeats_do_not_notify(pool: PgPool) {
    let store = acme(&pool).await;
    let mut listener = sqlx::postgres::PgListener::connect_with(&pool).await.expect("connects");
    listener.listen("skyswarm").await.expect("listens");
    store.heartbeat_put("one", start(), &report("n1")).await.expect("writes");
    let heard = tokio::time::timeout(Duration::from_millis(300), listener.recv()).await;
    assert!(heard.is_err(), "{heard:?}");
}

fn ready(status: ConditionStatus) -> AppStatus {
    let condition = Condition {
        kind: ConditionType::Ready,
        status,
        reason: Reason::CrashLoop,
        message: "task web.1 exited with code 1".to_owned(),
        observed_generation: 1,
        last_transition_time: start(),
    };
    AppStatus { observed_generation: 1, conditions: vec![condition], ..AppStatus::default() }
}

#[sqlx::test(migrations = "../migrations")]
async fn apps_are_counted_by_readiness_and_the_oldest_change_that_waits_is_named(pool: PgPool) {
    let store = acme(&pool).await;
    let epoch = lead(&store, "one").await;
    apply(
        &store,
        &[app("good", json!({})), app("bad", json!({})), app("new", json!({})), organization("other"), app_in("other", "x", json!({}))],
    )
    .await
    .expect("applies");
    for (app, status) in [("good", ConditionStatus::True), ("bad", ConditionStatus::False)] {
        let record = record(&store, app).await;
        store.app_status_put(record.uid, &ready(status), record.desired_version, epoch).await.expect("writes");
    }
    let acme = org("acme");
    let counts = store.glance_counts(Some(&acme)).await.expect("counts");
    assert_eq!((counts.total, counts.ready, counts.not_ready, counts.unknown, counts.unreconciled), (3, 1, 1, 1, 1));
    assert_eq!(store.glance_counts(None).await.expect("counts").total, 4);
    let lines = store.glance_not_ready(Some(&acme), 10).await.expect("lists");
    let seen: Vec<_> = lines.iter().map(|line| (line.name.as_str(), line.reason, line.since)).collect();
    assert_eq!(seen, [("new", None, None), ("bad", Some(Reason::CrashLoop), Some(start()))]);
    let oldest = store.glance_unreconciled(Some(&acme)).await.expect("reads").expect("one waits");
    assert_eq!((oldest.name.as_str(), oldest.generation, oldest.observed_generation, oldest.since), ("new", 1, 0, start()));

    let bad = record(&store, "bad").await;
    store.revision_verdict_put(bad.uid, 1, &verdict(VerdictPhase::Failed), epoch).await.expect("writes");
    assert_eq!(store.glance_failures(Some(&acme), start() - chrono::TimeDelta::hours(1)).await.expect("counts"), 1);
    assert_eq!(store.glance_failures(None, start() + chrono::TimeDelta::seconds(1)).await.expect("counts"), 0);
}
