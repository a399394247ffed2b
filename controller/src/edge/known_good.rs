//! The routes that were last read from the database, in a file, for a start while it cannot be reached.
//!
//! Only routes are kept. Addresses are not: the engine gives them to other containers, so after a start
//! they are always read and checked anew. The file holds no secret, but names tenants' hosts: mode 0600.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Route;

const FORMAT: u32 = 1;
/// Larger files are not ours; a route has some hundred bytes.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KnownGoodError {
    /// Reading or writing failed.
    #[error("the file of last known routes {path} could not be {act}")]
    Io {
        /// `read` or `written`.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The content is not what was written.
    #[error("the file of last known routes {path} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
    /// Another version wrote it.
    #[error("the file of last known routes {path} has format {format}, not {FORMAT}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    routes: Vec<Route>,
}

/// Writes the routes: a new file, then a rename, so that a crash leaves the old or the new one. Blocks.
///
/// # Errors
/// When the folder cannot be written to.
pub fn write(path: &Path, routes: &[Route]) -> Result<(), KnownGoodError> {
    let io = |source| KnownGoodError::Io { act: "written", path: path.to_owned(), source };
    let bytes = serde_json::to_vec(&File { format: FORMAT, routes: routes.to_vec() })
        .map_err(|source| KnownGoodError::Damaged { path: path.to_owned(), source })?;
    let fresh = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh).map_err(io)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&fresh, path).map_err(io)
}

/// Reads the routes; `None` when there is no file. Blocks.
///
/// # Errors
/// When the file is there but cannot be used.
pub fn read(path: &Path) -> Result<Option<Vec<Route>>, KnownGoodError> {
    let io = |source| KnownGoodError::Io { act: "read", path: path.to_owned(), source };
    let bytes = match std::fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_BYTES => return Err(io(std::io::Error::other("it is too large"))),
        Ok(_) => std::fs::read(path).map_err(io)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let file: File = serde_json::from_slice(&bytes).map_err(|source| KnownGoodError::Damaged { path: path.to_owned(), source })?;
    if file.format != FORMAT {
        return Err(KnownGoodError::Format { path: path.to_owned(), format: file.format });
    }
    Ok(Some(file.routes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::document::tests::route;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn routes_come_back_as_written_and_only_the_owner_can_read_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("routes.json");
        assert!(read(&path).expect("no file is fine").is_none());
        let routes = vec![route(1, "shop", &["shop.example.com"], &["r1"])];
        write(&path, &routes).expect("writes");
        assert_eq!(read(&path).expect("reads"), Some(routes));
        let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 1, "nothing else is left");
    }

    #[test]
    fn a_damaged_or_foreign_file_is_an_error_and_not_an_empty_list() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("routes.json");
        std::fs::write(&path, b"{\"format\":1,\"rou").expect("writes");
        assert!(matches!(read(&path), Err(KnownGoodError::Damaged { .. })));
        std::fs::write(&path, b"{\"format\":2,\"routes\":[]}").expect("writes");
        assert!(matches!(read(&path), Err(KnownGoodError::Format { format: 2, .. })));
        // A host that does not parse must not get in through the file either.
        let text = serde_json::to_string(&File { format: 1, routes: vec![route(1, "a", &["a.example"], &[])] }).expect("serialises");
        std::fs::write(&path, text.replace("a.example", "a`) || Host(`b.example")).expect("writes");
        assert!(matches!(read(&path), Err(KnownGoodError::Damaged { .. })));
    }
}
