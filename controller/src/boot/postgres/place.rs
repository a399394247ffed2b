//! Where the cluster and its socket are, and as whom the server runs.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::PostgresError;

/// Longest path of a unix socket, without the closing zero byte.
const SOCKET_PATH_MAX: usize = 107;
/// Name of the socket in its directory.
const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// The server also makes a lock file, whose name is longer by this much.
const LOCK_SUFFIX: usize = ".lock".len();

/// A user of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Account {
    /// As whom the server runs: `postgres` when we are root, else ourselves.
    ///
    /// # Errors
    /// When we are root and there is no such user.
    pub fn for_server() -> Result<Self, PostgresError> {
        let own = Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        if own.uid != 0 {
            return Ok(own);
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(PostgresError::io("read /etc/passwd"))?;
        Self::named(&passwd, "postgres").ok_or(PostgresError::NoUser)
    }

    /// Looks a user up in the text of a passwd file.
    fn named(passwd: &str, name: &str) -> Option<Self> {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(Self { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    }

    /// Whether it is not who we are.
    fn is_other(self) -> bool {
        self.uid != rustix::process::geteuid().as_raw()
    }
}

/// Directories of a private database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The cluster.
    pub cluster: PathBuf,
    /// Where the socket is.
    pub socket_dir: PathBuf,
    /// Owner of both.
    pub account: Account,
}

impl Place {
    /// Lays the directories out below a data directory; makes nothing yet.
    pub fn below(data_dir: &Path, account: Account) -> Self {
        let inside = data_dir.join("postgres-socket");
        let socket_dir = if fits(&inside) { inside } else { Self::short(data_dir) };
        Self { cluster: data_dir.join("postgres"), socket_dir, account }
    }

    /// A short path that is the data directory's own, for sockets only.
    fn short(data_dir: &Path) -> PathBuf {
        let digest = hex::encode(Sha256::digest(data_dir.as_os_str().as_encoded_bytes()));
        let root = if rustix::process::geteuid().is_root() { "/run" } else { "/tmp" };
        Path::new(root).join(format!("skyswarm-{}", digest.get(..12).unwrap_or_default()))
    }

    /// Makes the directories (not the cluster itself) and checks that the server's user gets there.
    ///
    /// # Errors
    /// When a directory on the way is closed to that user, or belongs to somebody else.
    pub fn prepare(&self) -> Result<(), PostgresError> {
        for folder in [&self.cluster, &self.socket_dir] {
            self.make(folder)?;
        }
        let closed = |path: &&Path| fs::metadata(path).is_ok_and(|meta| !may_enter(&meta, self.account));
        match self.cluster.ancestors().skip(1).find(closed) {
            Some(path) if self.account.is_other() => Err(PostgresError::NotReachable { path: path.to_owned() }),
            _ => Ok(()),
        }
    }

    /// Where a cluster is made before it is moved to its place.
    pub(super) fn half_cluster(&self) -> PathBuf {
        self.cluster.with_extension("unfinished")
    }

    /// Makes a directory for the server's user only.
    pub(super) fn make(&self, folder: &Path) -> Result<(), PostgresError> {
        match DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) if self.account.is_other() => chown(folder, Some(self.account.uid), Some(self.account.gid))
                .map_err(PostgresError::io(format!("give {} to the database's user", folder.display())))?,
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(PostgresError::io(format!("make {}", folder.display()))(error));
            }
            _ => {}
        }
        // Not through a symbolic link: below /tmp anybody could have put one there.
        let meta = fs::symlink_metadata(folder).map_err(PostgresError::io(format!("read {}", folder.display())))?;
        if !meta.is_dir() || meta.uid() != self.account.uid || meta.permissions().mode() & 0o077 != 0 {
            return Err(PostgresError::ForeignDirectory { path: folder.to_owned() });
        }
        Ok(())
    }

    /// A command that runs as the server's user, with a clean environment and in a process group of its
    /// own, so that Ctrl-C reaches us and not the database.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
        command.current_dir("/").process_group(0).stdin(std::process::Stdio::null());
        if self.account.is_other() {
            command.uid(self.account.uid).gid(self.account.gid);
        }
        command
    }
}

fn fits(socket_dir: &Path) -> bool {
    socket_dir.as_os_str().len() + 1 + SOCKET_NAME.len() + LOCK_SUFFIX <= SOCKET_PATH_MAX
}

fn may_enter(meta: &fs::Metadata, account: Account) -> bool {
    let bit = match (meta.uid() == account.uid, meta.gid() == account.gid) {
        (true, _) => 0o100,
        (false, true) => 0o010,
        (false, false) => 0o001,
    };
    meta.permissions().mode() & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgresql:x:7:8::/:\npostgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(Account::named(passwd, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(Account::named(passwd, "post"), None);
    }

    #[test]
    fn a_socket_path_that_is_too_long_moves_to_a_short_one() {
        let account = Account { uid: 1, gid: 1 };
        let near = Place::below(Path::new("/var/lib/skyswarm"), account);
        assert_eq!(near.socket_dir, Path::new("/var/lib/skyswarm/postgres-socket"));
        let deep = PathBuf::from(format!("/{}", "d".repeat(90)));
        let far = Place::below(&deep, account);
        assert!(fits(&far.socket_dir) && !far.socket_dir.starts_with(&deep), "{far:?}");
        assert_ne!(far.socket_dir, Place::below(&deep.join("x"), account).socket_dir);
    }
}
