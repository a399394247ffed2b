//! Leases with epochs: who leads, and the fence that keeps an earlier leader from writing.
//!
//! All times are the database's. A lease saves work; what makes two controllers safe is the fence: a
//! write locks the lease's row for sharing and finds its own epoch in it, in the same statement, so a
//! new leader can only take over before or after the write, never in between.

use std::time::Duration;

use super::connect::bounded;
use super::{Store, StoreError};

/// Opens a statement whose later parts may only write `FROM fence`. `$1` is the epoch.
macro_rules! fence {
    () => {
        "WITH fence AS MATERIALIZED (SELECT 1 FROM leases WHERE name = 'controller' AND epoch = $1 FOR SHARE), "
    };
}
pub(super) use fence;

/// What a fenced statement answers.
#[derive(sqlx::FromRow)]
pub(super) struct Fenced {
    fenced: bool,
    found: bool,
}

impl Fenced {
    /// Tells "another one leads" from "it is gone".
    pub(super) fn check(self, what: &'static str) -> Result<(), StoreError> {
        match self {
            Self { fenced: false, .. } => Err(StoreError::Deposed),
            Self { found: false, .. } => Err(StoreError::Missing { what }),
            Self { fenced: true, found: true } => Ok(()),
        }
    }
}

impl Store {
    /// Takes a lease that is free, expired or already ours, and returns its epoch; `None` when
    /// another holder has it. The epoch is a new one unless it was ours without a break.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn lease_acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<i64>, StoreError> {
        let what = "acquiring a lease";
        // clock_timestamp(), not now(): the statement may have waited for the row.
        let sql = "INSERT INTO leases AS l (name, holder, epoch, expires_at) \
                   VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3)) \
                   ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, \
                     epoch = CASE WHEN l.holder = excluded.holder AND l.expires_at > clock_timestamp() THEN l.epoch ELSE l.epoch + 1 END, \
                     expires_at = clock_timestamp() + make_interval(secs => $3) \
                   WHERE l.holder = excluded.holder OR l.expires_at <= clock_timestamp() \
                   RETURNING epoch";
        bounded(what, async {
            sqlx::query_scalar(sql)
                .bind(name)
                .bind(holder)
                .bind(ttl.as_secs_f64())
                .fetch_optional(self.pool())
                .await
                .map_err(StoreError::on(what))
        })
        .await
    }

    /// Prolongs a lease; `false` when it is no longer ours. A lease that expired but that nobody took
    /// is ours still: its epoch is the current one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn lease_renew(&self, name: &str, holder: &str, epoch: i64, ttl: Duration) -> Result<bool, StoreError> {
        let what = "renewing a lease";
        bounded(what, async {
            sqlx::query(
                "UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => $4) \
                 WHERE name = $1 AND holder = $2 AND epoch = $3",
            )
            .bind(name)
            .bind(holder)
            .bind(epoch)
            .bind(ttl.as_secs_f64())
            .execute(self.pool())
            .await
            .map(|done| done.rows_affected() == 1)
            .map_err(StoreError::on(what))
        })
        .await
    }

    /// Gives a lease back, so that another one need not wait until it expires. The epoch stays, and
    /// with it the fence: writes that are still under way are not refused until another one leads.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn lease_release(&self, name: &str, holder: &str, epoch: i64) -> Result<(), StoreError> {
        let what = "releasing a lease";
        bounded(what, async {
            sqlx::query("UPDATE leases SET holder = '', expires_at = clock_timestamp() WHERE name = $1 AND holder = $2 AND epoch = $3")
                .bind(name)
                .bind(holder)
                .bind(epoch)
                .execute(self.pool())
                .await
                .map(drop)
                .map_err(StoreError::on(what))
        })
        .await
    }
}
