//! Finds the server's programs. Debian keeps them out of `PATH`, one folder per major version.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::PostgresError;

const DEBIAN: &str = "/usr/lib/postgresql";
const LIMIT: Duration = Duration::from_secs(10);

/// The programs of one installed version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// Folder with `postgres`, `initdb` and `createdb`.
    pub folder: PathBuf,
    /// Major version.
    pub major: u32,
}

impl Binaries {
    /// Path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// All versions on this machine, newest first.
    pub async fn find_all() -> Vec<Self> {
        let mut folders = Vec::new();
        if let Some(folder) = output(Path::new("pg_config"), "--bindir").await {
            folders.push(PathBuf::from(folder));
        }
        if let Ok(entries) = std::fs::read_dir(DEBIAN) {
            folders.extend(entries.flatten().map(|entry| entry.path().join("bin")));
        }
        folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
        let mut found: Vec<Self> = Vec::new();
        for folder in folders {
            let complete = ["postgres", "initdb", "createdb"].iter().all(|name| folder.join(name).is_file());
            if complete && !found.iter().any(|known| known.folder == folder) {
                let version = output(&folder.join("postgres"), "--version").await;
                found.extend(version.as_deref().and_then(major_version).map(|major| Self { folder, major }));
            }
        }
        // Stable: among equal versions the one of pg_config stays first.
        found.sort_by_key(|binaries| std::cmp::Reverse(binaries.major));
        found
    }

    /// The version that fits an existing cluster, or else the newest.
    ///
    /// # Errors
    /// When there is none, or none of the cluster's version.
    pub fn choose(mut found: Vec<Self>, cluster: Option<u32>, path: &Path) -> Result<Self, PostgresError> {
        if found.is_empty() {
            return Err(PostgresError::NoBinaries);
        }
        let Some(cluster) = cluster else { return Ok(found.swap_remove(0)) };
        match found.iter().position(|binaries| binaries.major == cluster) {
            Some(at) => Ok(found.swap_remove(at)),
            None => {
                let versions: Vec<String> = found.iter().map(|binaries| binaries.major.to_string()).collect();
                Err(PostgresError::MajorVersion { path: path.to_owned(), cluster, found: versions.join(", ") })
            }
        }
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` → 15; `17beta1` → 17.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version.get(..digits)?.parse().ok()
}

/// First line that a program prints; `None` when it cannot be run.
async fn output(program: &Path, argument: &str) -> Option<String> {
    let run = Command::new(program).arg(argument).stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, run).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(majors: &[u32]) -> Vec<Binaries> {
        majors.iter().map(|major| Binaries { folder: PathBuf::from(format!("/pg/{major}")), major: *major }).collect()
    }

    #[test]
    fn the_major_version_is_read_from_what_the_server_says() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_version("postgres 9"), None);
    }

    #[test]
    fn a_cluster_is_opened_only_by_its_own_version() {
        let path = Path::new("/data");
        assert_eq!(Binaries::choose(versions(&[17, 15]), None, path).expect("newest").major, 17);
        assert_eq!(Binaries::choose(versions(&[17, 15]), Some(15), path).expect("fits").major, 15);
        let error = Binaries::choose(versions(&[17, 15]), Some(16), path).expect_err("no 16").to_string();
        assert!(
            error.contains("made by PostgreSQL 16") && error.contains("17, 15") && error.contains("apt-get install postgresql-16"),
            "{error}"
        );
        assert!(matches!(Binaries::choose(Vec::new(), None, path), Err(PostgresError::NoBinaries)));
    }
}
