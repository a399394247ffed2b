//! Connections: a bounded pool, deadlines on both sides, and the schema.
//!
//! Deadlines are set twice on purpose: the server's `statement_timeout` frees its locks, ours frees
//! the caller when the server or the network is gone without a word.

use std::future::Future;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, Postgres, Transaction};

use super::{Inner, Store, StoreError};
use crate::clock::{SharedClock, SharedEntropy};
use crate::keyring::{Keyring, KeyringError};

/// Most connections of one process. PostgreSQL takes 100 by default, over all processes.
const MAX_CONNECTIONS: u32 = 16;
/// Longest wait for a connection, and for a new one to be made.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Longest any one store call may take; above the server's own limits, which answer with a reason.
const CALL_DEADLINE: Duration = Duration::from_secs(20);
/// Longest wait for another process that migrates.
const MIGRATE_LOCK_DEADLINE: Duration = Duration::from_secs(60);
/// Longest that migrations may run.
const MIGRATE_DEADLINE: Duration = Duration::from_secs(300);
/// Key of the advisory lock for migrations: "skyswarm" in ASCII.
const MIGRATE_LOCK: i64 = 0x736b_7973_7761_726d;

/// Runs a store call under the deadline.
pub(crate) async fn bounded<T, E: From<StoreError>>(what: &'static str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    match tokio::time::timeout(CALL_DEADLINE, work).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::deadline(what).into()),
    }
}

/// The limits that the server keeps for us.
fn with_limits(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("skyswarm").options([
        ("statement_timeout", "10s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "30s"),
    ])
}

impl Store {
    /// Connects, and fails at once when PostgreSQL does not answer.
    ///
    /// A Unix socket is written `postgres://user@localhost/db?host=/directory&port=5432`.
    ///
    /// # Errors
    /// `Query` when the URL cannot be read or access is refused, `Unavailable` when nobody answers.
    pub async fn connect(url: &str, clock: SharedClock, entropy: SharedEntropy) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(StoreError::on("reading the database URL"))?;
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(CONNECT_DEADLINE)
            .idle_timeout(Duration::from_secs(300))
            .connect_lazy_with(with_limits(options));
        let store = Self::from_pool(pool, clock, entropy);
        store.ping().await?;
        Ok(store)
    }

    /// A store over a pool that somebody else made, as `#[sqlx::test]` does.
    pub fn from_pool(pool: PgPool, clock: SharedClock, entropy: SharedEntropy) -> Self {
        Self { inner: Inner { pool, clock, entropy, keyring: std::sync::OnceLock::new(), knows: std::sync::OnceLock::new() }.into() }
    }

    /// Brings the schema up to date. Several processes may call it at once; one works, the others wait. A schema of a
    /// newer release is left as it is: this one may work on it unless it says otherwise.
    ///
    /// # Errors
    /// `Migrate` when a migration fails or was changed after it ran, `Outdated` when the schema is for newer programs only.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let options = (*self.inner.pool.connect_options()).clone();
        let connecting = tokio::time::timeout(CONNECT_DEADLINE, options.connect());
        let mut connection = connecting
            .await
            .map_err(|_| StoreError::deadline("connecting to migrate"))?
            .map_err(StoreError::on("connecting to migrate"))?;
        lock_to_migrate(&mut connection).await?;
        let result = tokio::time::timeout(MIGRATE_DEADLINE, run_migrations(&mut connection)).await;
        // Closing releases the lock as well, so a failure here changes nothing.
        let _ = tokio::time::timeout(CONNECT_DEADLINE, connection.close()).await;
        let known = result.map_err(|_| StoreError::deadline("migrating"))??;
        // A second call finds the same.
        let _ = self.inner.knows.set(known);
        Ok(())
    }

    /// Makes sure that PostgreSQL answers.
    ///
    /// # Errors
    /// `Unavailable` when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        bounded("ping", async { sqlx::query("SELECT 1").execute(self.pool()).await.map(drop).map_err(StoreError::on("ping")) }).await
    }

    /// Loads the key file, or makes it when this database has never seen one.
    ///
    /// # Errors
    /// `KeyMissing` when the file is missing but the database has seen one; `Crypto` when the file is
    /// unreadable, open to others, or holds another key than the one that this database was used with.
    pub async fn open_keyring(&self, path: &Path) -> Result<(), StoreError> {
        let what = "opening the keyring";
        bounded(what, async {
            let mut tx = self.begin().await?;
            // One process at a time decides whether this is the first start.
            sqlx::query("LOCK TABLE key_encryption_keys IN EXCLUSIVE MODE").execute(&mut *tx).await.map_err(StoreError::on(what))?;
            let known: Vec<String> =
                sqlx::query_scalar("SELECT key_id FROM key_encryption_keys").fetch_all(&mut *tx).await.map_err(StoreError::on(what))?;
            let keyring = self.keyring_load(path, known.is_empty()).await?;
            if known.is_empty() {
                sqlx::query("INSERT INTO key_encryption_keys (key_id, created_at) VALUES ($1, $2)")
                    .bind(keyring.key_id())
                    .bind(self.inner.clock.now())
                    .execute(&mut *tx)
                    .await
                    .map_err(StoreError::on(what))?;
            } else if !known.iter().any(|key_id| key_id == keyring.key_id()) {
                return Err(KeyringError::WrongKey { path: path.to_owned() }.into());
            }
            tx.commit().await.map_err(StoreError::on(what))?;
            // A second call with the same file finds the same key, so losing this race is harmless.
            let _ = self.inner.keyring.set(keyring);
            Ok(())
        })
        .await
    }

    async fn keyring_load(&self, path: &Path, may_create: bool) -> Result<Keyring, StoreError> {
        let (file, entropy) = (path.to_owned(), self.inner.entropy.clone());
        let loading = tokio::task::spawn_blocking(move || match Keyring::load(&file)? {
            Some(keyring) => Ok(Some(keyring)),
            None if may_create => Keyring::create(&file, &*entropy).map(Some),
            None => Ok(None),
        });
        let loaded = loading.await.map_err(|_| StoreError::Crypto(KeyringError::Closed))??;
        loaded.ok_or_else(|| StoreError::KeyMissing { path: path.to_owned() })
    }

    pub(crate) fn keyring(&self) -> Result<&Keyring, StoreError> {
        self.inner.keyring.get().ok_or(StoreError::Crypto(KeyringError::Closed))
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.inner.pool.begin().await.map_err(StoreError::on("beginning a transaction"))
    }
}

/// Polls instead of blocking: a blocked `pg_advisory_lock` would hold a snapshot, which some
/// migrations (`CREATE INDEX CONCURRENTLY`) wait for.
async fn lock_to_migrate(connection: &mut PgConnection) -> Result<(), StoreError> {
    let what = "waiting for the migration lock";
    let polling = async {
        loop {
            let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
                .bind(MIGRATE_LOCK)
                .fetch_one(&mut *connection)
                .await
                .map_err(StoreError::on(what))?;
            if locked {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(MIGRATE_LOCK_DEADLINE, polling).await.map_err(|_| StoreError::deadline(what))?
}

/// Gives the newest migration that this program knows.
async fn run_migrations(connection: &mut PgConnection) -> Result<i64, StoreError> {
    let what = "migrating";
    sqlx::query("SET statement_timeout = '5min'").execute(&mut *connection).await.map_err(StoreError::on(what))?;
    let mut migrator = migrator().await?;
    // We hold a lock already, one that is polled with a deadline.
    migrator.set_locking(false);
    migrator.set_ignore_missing(true);
    // Not `run`: its future is not `Send` for a borrowed connection.
    match migrator.run_direct(None, connection, false).await {
        Ok(()) => {}
        Err(MigrateError::Execute(source)) => return Err(StoreError::on(what)(source)),
        Err(other) => return Err(StoreError::Migrate(other)),
    }
    let known = newest(&migrator);
    let oldest: i64 = sqlx::query_scalar("SELECT oldest FROM schema_floor")
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::on("reading which releases the schema is for"))?;
    if oldest > known { Err(StoreError::Outdated { oldest, known }) } else { Ok(known) }
}

/// The newest migration that this program knows.
static NEWEST: std::sync::LazyLock<i64> = std::sync::LazyLock::new(|| newest(&embedded()));

/// The newest migration that this process knows: its own, or those that it was given.
pub(super) fn newest_migration(store: &Store) -> i64 {
    store.inner.knows.get().copied().unwrap_or(*NEWEST)
}

fn newest(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Tests on real parts run this program as its own successor, with more migrations, from a folder that they name.
#[cfg(debug_assertions)]
async fn migrator() -> Result<Migrator, StoreError> {
    match std::env::var_os("SKYSWARM_MIGRATIONS") {
        Some(folder) => Migrator::new(Path::new(&folder)).await.map_err(StoreError::Migrate),
        None => Ok(embedded()),
    }
}

#[cfg(not(debug_assertions))]
#[expect(clippy::unused_async, reason = "as with debug assertions")]
async fn migrator() -> Result<Migrator, StoreError> {
    Ok(embedded())
}

fn embedded() -> Migrator {
    sqlx::migrate!("../migrations")
}
