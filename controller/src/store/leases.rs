//! Leases with epochs: who leads, and the fence that keeps an earlier leader from writing.
//!
//! Whether a lease is dead is for those to say who watched its row stand still; the column `expires_at` is written
//! for people, and for releases that went by it. A lease saves work; what makes two controllers safe is the fence: a
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

/// Who asks for which lease.
#[derive(Debug, Clone, Copy, Default)]
pub struct LeaseClaim<'a> {
    /// The lease's name.
    pub name: &'a str,
    /// Who asks.
    pub holder: &'a str,
    /// How long a renewal lasts; for people only.
    pub ttl: Duration,
    /// A part of `holder` that says where it runs, between two hyphens: another holder with it is dead. May be empty.
    pub place: &'a str,
    /// A row that stood still for too long, by its mark.
    pub dead: Option<&'a str>,
}

/// What asking for a lease gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// It is the asker's, with this epoch.
    Ours(i64),
    /// Somebody else has it; the mark says how its row looks.
    Theirs(String),
}

impl LeaseAnswer {
    /// The epoch, when it is the asker's.
    pub fn epoch(&self) -> Option<i64> {
        match self {
            Self::Ours(epoch) => Some(*epoch),
            Self::Theirs(_) => None,
        }
    }
}

impl Store {
    /// Takes a lease that is free, that looks as it did when its holder was last seen alive (`dead`), or whose holder
    /// ran at the claim's place, and gives it a new epoch.
    ///
    /// # Errors
    /// `Outdated` when the schema is for newer programs only; else see [`StoreError`].
    pub async fn lease_acquire(&self, claim: &LeaseClaim<'_>) -> Result<LeaseAnswer, StoreError> {
        let what = "acquiring a lease";
        // clock_timestamp(), not now(): the statement may have waited for the row. Every update gives the row another
        // xmin, and nothing else does, so a renewal shows in the mark whatever the clocks say.
        let sql = "WITH taken AS ( \
                     INSERT INTO leases AS l (name, holder, epoch, expires_at) \
                     SELECT $1, $2, 1, clock_timestamp() + make_interval(secs => $3) FROM schema_floor WHERE oldest <= $6 \
                     ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = l.epoch + 1, \
                       expires_at = clock_timestamp() + make_interval(secs => $3) \
                     WHERE l.holder IN ('', excluded.holder) OR l.epoch || '.' || l.xmin = $4 \
                       OR ($5 <> '' AND l.holder LIKE '%-' || $5 || '-%') \
                     RETURNING l.epoch) \
                   SELECT f.oldest, t.epoch, CASE WHEN t.epoch IS NULL THEN l.epoch || '.' || l.xmin END AS mark \
                   FROM schema_floor f LEFT JOIN taken t ON true LEFT JOIN leases l ON l.name = $1";
        let known = super::connect::newest_migration(self);
        bounded(what, async {
            let answer: (i64, Option<i64>, Option<String>) = sqlx::query_as(sql)
                .bind(claim.name)
                .bind(claim.holder)
                .bind(claim.ttl.as_secs_f64())
                .bind(claim.dead)
                .bind(claim.place)
                .bind(known)
                .fetch_one(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            match answer {
                (oldest, ..) if oldest > known => Err(StoreError::Outdated { oldest, known }),
                (_, Some(epoch), _) => Ok(LeaseAnswer::Ours(epoch)),
                // Without a mark somebody made the row meanwhile, and this statement does not see it yet.
                (_, None, mark) => Ok(LeaseAnswer::Theirs(mark.unwrap_or_default())),
            }
        })
        .await
    }

    /// Prolongs a lease; `false` when it is no longer ours. A lease that was not renewed for long but that nobody
    /// took is ours still: its epoch is the current one. One that the schema is too new for does not keep it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn lease_renew(&self, name: &str, holder: &str, epoch: i64, ttl: Duration) -> Result<bool, StoreError> {
        let what = "renewing a lease";
        bounded(what, async {
            sqlx::query(
                "UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => $4) \
                 WHERE name = $1 AND holder = $2 AND epoch = $3 AND (SELECT oldest FROM schema_floor) <= $5",
            )
            .bind(name)
            .bind(holder)
            .bind(epoch)
            .bind(ttl.as_secs_f64())
            .bind(super::connect::newest_migration(self))
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
