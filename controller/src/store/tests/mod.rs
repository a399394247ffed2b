//! Tests on a real PostgreSQL: `DATABASE_URL` names a server on which databases may be made.

mod apply;
mod certificates;
mod connect;
mod controller;
mod domains;
mod drift;
mod heartbeats;
mod history;
mod platform;
mod secrets;
mod tokens;
mod watch;

use std::sync::Arc;

use api_types::api::{ApplyAction, ApplyResult};
use api_types::kinds::app::{App, Verdict, VerdictPhase};
use api_types::{AppName, AppStatus, Domain, DomainSpec, Host, Manifest, ObjectMeta, OrgName, Organization, OrganizationSpec};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::time::Duration;

use super::{AppRecord, CONTROLLER_LEASE, LeaseAnswer, LeaseClaim, Store, WriteContext, WriteError};
use crate::clock::{ManualClock, SystemEntropy};

/// A fixed time: nothing here may depend on when it runs.
pub(super) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
}

pub(super) fn store_of(pool: &PgPool) -> Store {
    Store::from_pool(pool.clone(), Arc::new(ManualClock::at(start())), Arc::new(SystemEntropy))
}

/// A store with the organisation `acme`.
pub(super) async fn acme(pool: &PgPool) -> Store {
    let store = store_of(pool);
    apply(&store, &[organization("acme")]).await.expect("creates the organisation");
    store
}

pub(super) fn cx() -> WriteContext {
    WriteContext {
        author: "tester".to_owned(),
        source: "apply".to_owned(),
        client: "test/1".to_owned(),
        dry_run: false,
        adoptions: Vec::new(),
    }
}

pub(super) fn dry_run() -> WriteContext {
    WriteContext { dry_run: true, ..cx() }
}

pub(super) async fn apply(store: &Store, items: &[Manifest]) -> Result<Vec<ApplyResult>, WriteError> {
    store.apply(items, &cx()).await
}

/// Applies one object and says what happened.
pub(super) async fn action(store: &Store, item: Manifest) -> ApplyAction {
    apply(store, &[item]).await.expect("applies")[0].action
}

pub(super) fn org(name: &str) -> OrgName {
    name.parse().expect("an organisation name")
}
pub(super) fn name(name: &str) -> AppName {
    name.parse().expect("an app name")
}
pub(super) fn host(name: &str) -> Host {
    name.parse().expect("a host")
}

pub(super) fn organization(name: &str) -> Manifest {
    Manifest::Organization(Organization::new(ObjectMeta::named(name), OrganizationSpec::default()))
}

/// An app of `acme` with one process; `more` is laid over the spec.
pub(super) fn app(name: &str, more: Value) -> Manifest {
    app_in("acme", name, more)
}

pub(super) fn app_in(in_org: &str, name: &str, more: Value) -> Manifest {
    let mut spec = json!({"image": "acme/shop:1", "processes": {"web": {"port": 8080}}});
    let (Some(spec_map), Value::Object(more)) = (spec.as_object_mut(), more) else { panic!("an object") };
    spec_map.extend(more);
    let metadata = ObjectMeta { org: Some(org(in_org)), ..ObjectMeta::named(name) };
    Manifest::App(Box::new(App::new(metadata, serde_json::from_value(spec).expect("a valid spec"))))
}

pub(super) fn domain(in_org: &str, host: &str, app: &str) -> Manifest {
    let metadata = ObjectMeta { org: Some(org(in_org)), ..ObjectMeta::named(host) };
    Manifest::Domain(Domain::new(metadata, DomainSpec { app: name(app) }))
}

pub(super) async fn record(store: &Store, app: &str) -> AppRecord {
    store.app_get(&org("acme"), &name(app)).await.expect("reads").expect("is there")
}

/// Asks for the controller's lease once; the epoch, if it was given.
pub(super) async fn take(store: &Store, holder: &str) -> Option<i64> {
    ask(store, holder, None).await.epoch()
}

/// Asks for the controller's lease, knowing a mark of a row that is dead.
pub(super) async fn ask(store: &Store, holder: &str, dead: Option<&str>) -> LeaseAnswer {
    let claim = LeaseClaim { name: CONTROLLER_LEASE, holder, ttl: Duration::from_secs(60), dead, place: "" };
    store.lease_acquire(&claim).await.expect("answers")
}

/// Takes the controller's lease and returns the epoch.
pub(super) async fn lead(store: &Store, holder: &str) -> i64 {
    take(store, holder).await.expect("is free")
}

pub(super) fn status(generation: i64) -> AppStatus {
    AppStatus { observed_generation: generation, ..AppStatus::default() }
}

pub(super) fn verdict(phase: VerdictPhase) -> Verdict {
    Verdict { phase, reason: None, cause: None, message: None, time: start() }
}

/// Detail of a conflict; anything else fails the test.
pub(super) fn conflict<T: std::fmt::Debug>(result: Result<T, WriteError>) -> (usize, String) {
    match result {
        Err(WriteError::Conflict { item, detail } | WriteError::Stale { item, detail }) => (item, detail),
        other => panic!("not a conflict: {other:?}"),
    }
}

/// Item, path and message of every field error; anything else fails the test.
pub(super) fn invalid<T: std::fmt::Debug>(result: Result<T, WriteError>) -> Vec<(usize, String, String)> {
    match result {
        Err(WriteError::Invalid { errors }) => errors.into_iter().map(|(item, error)| (item, error.path, error.message)).collect(),
        other => panic!("not invalid: {other:?}"),
    }
}

/// Everything in the database as text, table by table: to see that nothing changed, and what is not there.
pub(super) async fn dump(pool: &PgPool) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .expect("lists tables");
    let mut dump = String::new();
    for table in tables {
        let sql = format!("SELECT t::text FROM {table} t ORDER BY 1");
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await.expect("reads a table");
        dump.push_str(&format!("== {table}\n{}\n", rows.join("\n")));
    }
    dump
}
