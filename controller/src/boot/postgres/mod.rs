//! A private PostgreSQL, for `skyswarm up` without `--database-url`.
//!
//! ```text
//! find binaries → directories and user → leftovers stopped → initdb (once) → postmaster, watched
//! ```
//!
//! It listens on a unix socket only, in a directory that nobody but the database's user (and root) may
//! enter, so the socket needs no password. Started as root it runs as the user `postgres`, because
//! PostgreSQL refuses root. Data survive: nothing here ever removes a cluster.
//!
//! Misuse: two servers on one data directory. The caller holds the lock of the data directory
//! ([`super::datadir`]) for as long as the handle lives; without it a live server would be taken for a
//! leftover and stopped.

mod binaries;
mod cluster;
mod leftover;
mod place;
mod supervisor;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use binaries::Binaries;
pub use place::{Account, Place};
pub use supervisor::PrivatePostgres;

/// Database and superuser of the cluster.
const DATABASE: &str = "skyswarm";

/// What can go wrong with the private database.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No server binaries on this machine.
    #[error("no PostgreSQL server found; install one with `apt-get install postgresql`, or give --database-url")]
    NoBinaries,
    /// The cluster is of another major version than every server found.
    #[error(
        "the database in {} was made by PostgreSQL {cluster}, but this machine has {found}; \
         install it with `apt-get install postgresql-{cluster}`, or move the data with pg_upgrade",
        path.display()
    )]
    MajorVersion {
        /// Where the cluster is.
        path: PathBuf,
        /// Its version.
        cluster: u32,
        /// Versions found.
        found: String,
    },
    /// Started as root, and there is no user to change to.
    #[error("PostgreSQL refuses to run as root and there is no user \"postgres\"; `apt-get install postgresql` makes one")]
    NoUser,
    /// The database's user cannot reach the data directory.
    #[error(
        "the user \"postgres\" may not enter {}; choose a --data-dir outside of it, such as /var/lib/skyswarm, \
         or allow it with `chmod o+x {}`",
        path.display(), path.display()
    )]
    NotReachable {
        /// The directory that is closed.
        path: PathBuf,
    },
    /// A directory in which the socket should be belongs to somebody else.
    #[error("{} exists and belongs to another user", path.display())]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A leftover server of this data directory does not stop.
    #[error("an earlier PostgreSQL of {} (process {pid}) does not stop", path.display())]
    Leftover {
        /// The cluster.
        path: PathBuf,
        /// Its postmaster.
        pid: i32,
    },
    /// A program of PostgreSQL failed.
    #[error("{program} failed ({status}): {output}")]
    Program {
        /// Which one.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// The server did not become ready.
    #[error("PostgreSQL did not become ready within {seconds} s: {output}")]
    NotReady {
        /// How long it was waited for.
        seconds: u64,
        /// The end of what it printed.
        output: String,
    },
    /// The operating system refused something.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl PostgresError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Connection address of a cluster by its socket directory.
fn url(socket_dir: &Path) -> String {
    let host: String = url::form_urlencoded::byte_serialize(socket_dir.to_string_lossy().as_bytes()).collect();
    format!("postgres://{DATABASE}@localhost/{DATABASE}?host={host}")
}
