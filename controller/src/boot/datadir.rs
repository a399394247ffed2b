//! The data folder: made on first start, and one server's at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

const LOCK_FILE: &str = "lock";
const TOKEN_FILE: &str = "admin-token";

/// What can go wrong with the data folder.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another server has it.
    #[error("another skyswarm (process {holder}) uses {}; stop it, or give this one another --data-dir", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Process id of the holder, as far as it is known.
        holder: String,
    },
    /// It cannot be used.
    #[error("cannot {what} {}; run as root, or choose another --data-dir", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// A data folder that is ours until this value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // The lock lasts as long as the open file, so a killed server leaves none behind.
    lock: File,
}

impl DataDir {
    /// Makes the folder when it is missing and takes it.
    ///
    /// # Errors
    /// When it cannot be written, or another server has it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        // Others may pass through to the database's folder, and may not list.
        DirBuilder::new().recursive(true).mode(0o711).create(path).map_err(failed("make", path))?;
        let path = path.canonicalize().map_err(failed("find", path))?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("write", &lock_path))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            let holder = holder.trim();
            return Err(DataDirError::InUse { path, holder: if holder.is_empty() { "unknown" } else { holder }.to_owned() });
        }
        let write_pid = |lock: &mut File| {
            lock.set_len(0)?;
            lock.seek(SeekFrom::Start(0))?;
            writeln!(lock, "{}", std::process::id())
        };
        write_pid(&mut lock).map_err(failed("write", &lock_path))?;
        Ok(Self { path, lock })
    }

    /// What tells this folder on this machine, since its last start, from any other. The lock on it shows that whoever
    /// had it before is dead. Empty when it cannot be told.
    pub fn place(&self) -> String {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let (Ok(boot), Ok(lock)) = (boot, self.lock.metadata()) else { return String::new() };
        let text = format!("{} {} {}", boot.trim(), lock.dev(), lock.ino());
        hex::encode(Sha256::digest(text.as_bytes()))[..16].to_owned()
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the administrator's token is.
    pub fn token_file(&self) -> PathBuf {
        self.path.join(TOKEN_FILE)
    }

    /// Writes the administrator's token, readable by the owner only; whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_token(&self, token: &SecretString) -> Result<(), DataDirError> {
        let half = self.path.join("admin-token.new");
        let write = || {
            let _ = fs::remove_file(&half);
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&half)?;
            writeln!(file, "{}", token.expose_secret())?;
            file.sync_all()?;
            fs::rename(&half, self.token_file())
        };
        write().map_err(failed("write", &self.token_file()))
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_server_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = DataDir::open(&folder.path().join("a/b")).expect("made");
        let error = DataDir::open(first.path()).expect_err("taken").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        let (path, place) = (first.path().to_owned(), first.place());
        drop(first);
        assert_eq!(DataDir::open(&path).expect("free again").place(), place, "the same place after a restart");
        let other = DataDir::open(&folder.path().join("b")).expect("made");
        assert!(other.place() != place && place.len() == 16, "{place}");
    }

    #[test]
    fn the_token_is_for_the_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(folder.path()).expect("made");
        data.write_token(&SecretString::from("one")).expect("written");
        data.write_token(&SecretString::from("two")).expect("replaced");
        assert_eq!(fs::read_to_string(data.token_file()).expect("there"), "two\n");
        assert_eq!(fs::metadata(data.token_file()).expect("there").permissions().mode() & 0o777, 0o600);
    }
}
