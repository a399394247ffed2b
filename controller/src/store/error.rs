//! How store calls fail. The cause is in `source()`, never in the text.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use api_types::FieldError;
use api_types::why::Case;

use crate::effects::{Effect, Injected};
use crate::keyring::KeyringError;

/// A store call that failed for a reason that is not the caller's input.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// PostgreSQL does not answer, or not in time. Whether a write landed is unknown. Try again.
    #[error("PostgreSQL does not answer")]
    Unavailable(#[source] sqlx::Error),
    /// Another controller leads; nothing was written. Stop writing.
    #[error("this controller no longer leads, so its write was refused")]
    Deposed,
    /// What was to be written to is gone.
    #[error("{what} does not exist any more")]
    Missing {
        /// What it is.
        what: &'static str,
    },
    /// There are encrypted data, but not the key file.
    #[error("the key file {} is missing, but the database holds secrets encrypted with it; restore the file from its backup", path.display())]
    KeyMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A key or an encrypted value cannot be used.
    #[error("secrets cannot be encrypted or decrypted")]
    Crypto(#[source] KeyringError),
    /// A row does not read back as what it should be.
    #[error("{what} found a row that cannot be read")]
    Corrupt {
        /// What was being done.
        what: &'static str,
        /// Why it cannot be read.
        #[source]
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("the database schema could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The schema is one that this program may not work on.
    #[error("the database is for releases that know migration {oldest}, and this one knows them up to {known}; run the newer release")]
    Outdated {
        /// The oldest migration that a program must know.
        oldest: i64,
        /// The newest that this one knows.
        known: i64,
    },
    /// Any other answer of PostgreSQL.
    #[error("{what} failed")]
    Query {
        /// What was being done.
        what: &'static str,
        /// PostgreSQL's words.
        #[source]
        source: sqlx::Error,
    },
}

/// SQLSTATE classes and codes that say "not now" instead of "not like this".
fn is_unavailable(code: &str) -> bool {
    // 08: connection; 57P: shutdown, crash, cannot connect now; 57014: statement timeout; 55P03: lock
    // timeout; 53300: too many connections.
    code.starts_with("08") || code.starts_with("57P") || matches!(code, "57014" | "55P03" | "53300")
}

impl StoreError {
    /// For `map_err`: sorts an error of sqlx, with what was being done.
    pub(crate) fn on(what: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |source| Self::sort(what, source)
    }

    fn sort(what: &'static str, source: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &source {
            E::Io(_) | E::Tls(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed => Self::Unavailable(source),
            E::Database(db) if db.code().as_deref().is_some_and(is_unavailable) => Self::Unavailable(source),
            E::ColumnDecode { .. } | E::Decode(_) => Self::Corrupt { what, source },
            _ => Self::Query { what, source },
        }
    }

    /// No answer before the deadline.
    pub(crate) fn deadline(what: &'static str) -> Self {
        Self::Unavailable(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, format!("{what}: no answer in time"))))
    }

    /// Whether the same transaction may succeed when it is run again at once: it was the victim of a
    /// deadlock or of a serialisation failure, and nothing of it was written.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self.sqlstate().as_deref(), Some("40001" | "40P01"))
    }

    fn sqlstate(&self) -> Option<String> {
        let source = self.source()?.downcast_ref::<sqlx::Error>()?;
        source.as_database_error()?.code().map(|code| code.into_owned())
    }
}

impl Injected for StoreError {
    fn lost(_: &Effect) -> Self {
        Self::deadline("an injected fault")
    }
    fn refused(_: &Effect) -> Self {
        Self::Unavailable(sqlx::Error::PoolTimedOut)
    }
    fn half(_: &Effect) -> Self {
        Self::Unavailable(sqlx::Error::Io(io::ErrorKind::UnexpectedEof.into()))
    }
}

impl From<KeyringError> for StoreError {
    fn from(source: KeyringError) -> Self {
        Self::Crypto(source)
    }
}

/// A user's write that was not done. `item` counts the objects of the request from 0.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object is being deleted, or a unique name is in use.
    #[error("{detail}")]
    Conflict {
        /// Which object of the request.
        item: usize,
        /// What clashes, and what to do.
        detail: String,
    },
    /// A conditional write whose condition does not hold: the object is not the one that was read.
    #[error("{detail}")]
    Stale {
        /// Which object of the request.
        item: usize,
        /// What is there instead, and what to do.
        detail: String,
    },
    /// Objects that are not valid; every reason of all of them, with the object each is about.
    #[error("{} fields are not valid", errors.len())]
    Invalid {
        /// Number of the object in the request, and what is wrong with it.
        errors: Vec<(usize, FieldError)>,
    },
    /// Something that the object needs does not exist.
    #[error("{detail}")]
    NotFound {
        /// Which object of the request.
        item: usize,
        /// What is missing, and how to make it.
        detail: String,
    },
    /// Not the request's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WriteError {
    pub(crate) fn conflict(item: usize, detail: impl Into<String>) -> Self {
        Self::Conflict { item, detail: detail.into() }
    }
    /// A host that another app has; the text names the page that says what to do.
    pub(crate) fn host_in_use(item: usize, detail: String) -> Self {
        Self::conflict(item, format!("{detail}; see {}", Case::HostInUse.page()))
    }
    pub(crate) fn stale(item: usize, detail: impl Into<String>) -> Self {
        Self::Stale { item, detail: detail.into() }
    }
    pub(crate) fn invalid(item: usize, error: FieldError) -> Self {
        Self::Invalid { errors: vec![(item, error)] }
    }
}
