//! Finds the files that `-f` names and reads them, within limits.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest file; the server takes no larger body.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Most files of one directory.
const MAX_FILES: usize = 1000;

/// A file and its text.
#[derive(Debug, Clone)]
pub struct Source {
    /// As shown to people; `-` is the standard input.
    pub name: String,
    /// The text.
    pub text: String,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// It cannot be opened or read.
    #[error("{name} cannot be read")]
    Read {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is larger than allowed.
    #[error("{0} is larger than {limit} MiB", limit = MAX_BYTES / 1024 / 1024)]
    TooLarge(String),
    /// It is not text.
    #[error("{0} is not UTF-8 text")]
    NotText(String),
    /// A directory without manifests, or with too many.
    #[error("{name} {what}")]
    Directory {
        /// The directory.
        name: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Reads all files. A directory stands for its `.yaml`, `.yml` and `.json` files, not for those below.
///
/// # Errors
/// The first file that cannot be read.
pub fn collect(paths: &[PathBuf]) -> Result<Vec<Source>, CollectError> {
    let mut sources = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            sources.push(read(io::stdin().lock(), "-".to_owned())?);
        } else if path.is_dir() {
            for file in files_of(path)? {
                sources.push(open(&file)?);
            }
        } else {
            sources.push(open(path)?);
        }
    }
    Ok(sources)
}

fn files_of(directory: &Path) -> Result<Vec<PathBuf>, CollectError> {
    let name = directory.display().to_string();
    let failed = |source| CollectError::Read { name: name.clone(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let wanted = path.extension().and_then(|e| e.to_str()).is_some_and(|e| matches!(e, "yaml" | "yml" | "json"));
        if wanted && path.is_file() {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(CollectError::Directory { name, what: format!("has more than {MAX_FILES} manifests") });
        }
    }
    if files.is_empty() {
        return Err(CollectError::Directory { name, what: "has no .yaml, .yml or .json file".to_owned() });
    }
    files.sort();
    Ok(files)
}

fn open(path: &Path) -> Result<Source, CollectError> {
    let name = path.display().to_string();
    match File::open(path) {
        Ok(file) => read(file, name),
        Err(source) => Err(CollectError::Read { name, source }),
    }
}

fn read(input: impl Read, name: String) -> Result<Source, CollectError> {
    let mut bytes = Vec::new();
    if let Err(source) = input.take(MAX_BYTES + 1).read_to_end(&mut bytes) {
        return Err(CollectError::Read { name, source });
    }
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        return Err(CollectError::TooLarge(name));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        Err(_) => Err(CollectError::NotText(name)),
    }
}
