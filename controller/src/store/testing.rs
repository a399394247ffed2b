//! A store on a database of its own, for tests of the parts above it, which may not name SQL.
//!
//! `DATABASE_URL` names a server on which databases may be made. Each test has one database, named after the
//! test and made anew every time, so that a failed test can be looked into and nothing piles up.

use std::str::FromStr;

use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;

use super::Store;
use crate::clock::{SharedClock, SharedEntropy};

/// A migrated store with an open keyring, and the folder of its key, which must outlive it.
pub(crate) async fn store(clock: SharedClock, entropy: SharedEntropy) -> (Store, TempDir) {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL names a PostgreSQL server for tests; `./dev test` starts one");
    let options = PgConnectOptions::from_str(&url).expect("a database URL");
    // The test's thread is named after the test, and process and thread together run one test at a time.
    let test = std::thread::current().name().expect("a test's thread has its name").to_owned();
    let name = format!("skyswarm_test_{}", &hex::encode(Sha256::digest(&test))[..16]);
    let mut admin = options.connect().await.expect("PostgreSQL answers");
    for sql in [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")] {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await.expect("databases may be made");
    }
    admin.close().await.expect("closes");
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(4).connect_lazy_with(options.database(&name));
    let store = Store::from_pool(pool, clock, entropy);
    store.migrate().await.expect("migrates");
    let folder = TempDir::new().expect("a folder");
    store.open_keyring(&folder.path().join("key")).await.expect("a keyring");
    (store, folder)
}

/// A write that is made and not committed.
pub(crate) struct Late(sqlx::Transaction<'static, sqlx::Postgres>);

impl Late {
    /// Commits it.
    pub(crate) async fn commit(self) {
        self.0.commit().await.expect("commits");
    }
}

/// Changes an app's labels in a transaction that goes on.
pub(crate) async fn late_label(store: &Store, app: &str) -> Late {
    let mut transaction = store.begin().await.expect("begins");
    let sql =
        "UPDATE apps SET labels = '{\"late\": \"yes\"}', resource_version = nextval('resource_version') WHERE org = 'acme' AND name = $1";
    let changed = sqlx::query(sql).bind(app).execute(&mut *transaction).await.expect("writes").rows_affected();
    assert_eq!(changed, 1);
    Late(transaction)
}
