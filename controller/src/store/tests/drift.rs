//! The drift ledger as it is stored.

use std::collections::BTreeSet;

use api_types::drift::{DriftAction, DriftObject, DriftRecord};
use chrono::TimeDelta;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::*;
use crate::clock::Clock as _;
use crate::store::{DriftFound, DriftLook};

struct Ledger {
    store: Store,
    clock: Arc<ManualClock>,
    uid: Uuid,
    epoch: i64,
}

impl Ledger {
    async fn of(pool: &PgPool) -> Self {
        let clock = Arc::new(ManualClock::at(start()));
        let store = Store::from_pool(pool.clone(), clock.clone(), Arc::new(SystemEntropy));
        apply(&store, &[organization("acme"), app("shop", json!({}))]).await.expect("applies");
        let uid = record(&store, "shop").await.uid;
        let epoch = lead(&store, "one").await;
        Self { store, clock, uid, epoch }
    }

    async fn put(&self, found: &[DriftFound], touched: &[&str]) -> Vec<(String, DriftAction, bool)> {
        let touched: BTreeSet<String> = touched.iter().map(|object| (*object).to_owned()).collect();
        let look = DriftLook { uid: self.uid, found, touched: &touched, controller: "n1" };
        let changes = self.store.drift_put(&look, self.epoch).await.expect("writes");
        changes.into_iter().map(|change| (change.found.field, change.found.action, change.ended)).collect()
    }

    async fn list(&self) -> Vec<DriftRecord> {
        self.store.drift_list(&org("acme"), Some(&name("shop")), (None, None), 1_000).await.expect("lists")
    }
}

fn found(object: &str, field: &str, action: DriftAction) -> DriftFound {
    DriftFound {
        kind: DriftObject::Service,
        object: object.to_owned(),
        field: field.to_owned(),
        desired: "2".to_owned(),
        observed: "5".to_owned(),
        action,
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_change_that_lasts_is_one_row_that_ends_with_what_was_done(pool: PgPool) {
    let ledger = Ledger::of(&pool).await;
    let change = found("web", "replicas", DriftAction::Correcting);
    assert_eq!(ledger.put(std::slice::from_ref(&change), &[]).await, [("replicas".to_owned(), DriftAction::Correcting, false)]);
    ledger.clock.advance(std::time::Duration::from_secs(60));
    let more = DriftFound { observed: "7".to_owned(), ..change.clone() };
    assert_eq!(ledger.put(&[more], &[]).await, []);
    let rows = ledger.list().await;
    assert_eq!((rows.len(), rows[0].observed.as_str(), rows[0].ended_at), (1, "7", None));
    assert_eq!(rows[0].last_seen - rows[0].first_seen, TimeDelta::seconds(60));

    assert_eq!(ledger.put(&[], &["web"]).await, [("replicas".to_owned(), DriftAction::Corrected, true)]);
    assert!(ledger.list().await[0].ended_at.is_some());
    assert_eq!(ledger.put(&[], &[]).await, [], "what is over stays over");
    // The same again is another row, and undone when we did nothing.
    ledger.put(std::slice::from_ref(&change), &[]).await;
    assert_eq!(ledger.put(&[], &["worker"]).await, [("replicas".to_owned(), DriftAction::Undone, true)]);
    // What was held is corrected once it may be, and stays "held" when somebody undid it.
    let held = found("web", "image", DriftAction::Held);
    ledger.put(std::slice::from_ref(&held), &[]).await;
    assert_eq!(ledger.put(&[], &[]).await, [("image".to_owned(), DriftAction::Held, true)]);
    ledger.put(&[held], &[]).await;
    assert_eq!(ledger.put(&[], &["web"]).await, [("image".to_owned(), DriftAction::Corrected, true)]);
    assert_eq!(ledger.list().await.len(), 4);
    assert_eq!(ledger.store.drift_count(Some(&org("acme")), start() + TimeDelta::seconds(60)).await.expect("counts"), 3);
}

#[sqlx::test(migrations = "../migrations")]
async fn rows_are_kept_by_number_and_age_and_go_with_their_app(pool: PgPool) {
    let ledger = Ledger::of(&pool).await;
    let lasting = found("web", "image", DriftAction::Held);
    for n in 0..210 {
        ledger.put(&[lasting.clone(), found("web", &format!("label.{n}"), DriftAction::Correcting)], &[]).await;
    }
    ledger.put(std::slice::from_ref(&lasting), &[]).await;
    assert_eq!(ledger.list().await.len(), 201, "200 that ended, and the one that lasts");
    ledger.clock.advance(std::time::Duration::from_secs(31 * 24 * 3600));
    ledger.put(&[lasting.clone(), found("web", "args", DriftAction::Correcting)], &[]).await;
    assert_eq!(ledger.list().await.len(), 2, "what ended a month ago is gone");
    let since = ledger.clock.now() - TimeDelta::hours(1);
    let recent = ledger.store.drift_list(&org("acme"), None, (Some(since), None), 1_000).await.expect("lists");
    assert_eq!(recent.len(), 2, "what lasts is told whenever it began");
    let older = ledger.store.drift_list(&org("acme"), None, (None, Some(recent[0].id)), 1_000).await.expect("lists");
    assert_eq!(older.len(), 1);
    assert_eq!(ledger.store.drift_list(&org("rival"), None, (None, None), 1_000).await.expect("lists"), []);

    ledger.store.app_delete(&org("acme"), &name("shop"), None, &cx()).await.expect("marked");
    ledger.store.app_remove(ledger.uid, ledger.epoch).await.expect("removed");
    assert_eq!(ledger.put(&[lasting], &[]).await, [], "nothing is written of an app that is gone");
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM drift").fetch_one(&pool).await.expect("counts");
    assert_eq!(left, 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn only_who_leads_writes(pool: PgPool) {
    let ledger = Ledger::of(&pool).await;
    let look =
        DriftLook { uid: ledger.uid, found: &[found("web", "image", DriftAction::Held)], touched: &BTreeSet::new(), controller: "n0" };
    assert!(matches!(ledger.store.drift_put(&look, ledger.epoch - 1).await, Err(crate::store::StoreError::Deposed)));
    assert_eq!(ledger.list().await, []);
}
