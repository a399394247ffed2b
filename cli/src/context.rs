//! Which server, which token, which organisation: from flags, the environment and a file of contexts.
//!
//! The file holds tokens, so it is only ever written with mode 0600, and replaced as a whole.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use api_types::OrgName;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::errors::{CliError, Result};

/// Address of a server started with `skyswarm up` and no options.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7070";

/// The file of contexts.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The context in force when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_context: Option<String>,
    /// Contexts by name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// One server, as one user sees it.
#[derive(Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Context {
    /// Address of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<OrgName>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("url", &self.url).field("org", &self.org).finish_non_exhaustive()
    }
}

impl Config {
    /// Where the file is: `$SKYSWARM_CONFIG`, or `skyswarm/config.yaml` in the user's configuration folder.
    ///
    /// # Errors
    /// When neither it nor `HOME` is set.
    pub fn path() -> Result<PathBuf> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = set("SKYSWARM_CONFIG") {
            return Ok(path);
        }
        let base = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        let base =
            base.ok_or_else(|| CliError::Usage("HOME is not set, so there is no place for contexts; set SKYSWARM_CONFIG".to_owned()))?;
        Ok(base.join("skyswarm").join("config.yaml"))
    }

    /// Reads the file; a missing one is an empty one.
    ///
    /// # Errors
    /// When it cannot be read or is not right.
    pub fn load(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(CliError::io(format!("the contexts in {} cannot be read", path.display()), error)),
        };
        // The cause could quote a line with a token, so only its place is told.
        serde_saphyr::from_str(&text).map_err(|error| {
            let place = error.location().map_or_else(String::new, |at| format!(", line {}", at.line()));
            CliError::Usage(format!("the contexts in {}{place} are not right; correct or remove the file", path.display()))
        })
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let failed = |error: std::io::Error| CliError::io(format!("the contexts cannot be written to {}", path.display()), error);
        let text = serde_saphyr::to_string(self).map_err(|error| CliError::io("the contexts cannot be written", error))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let draft = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(failed)?;
        // An older draft may have had another mode.
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&draft, path).map_err(failed)
    }

    /// The context of a name, or the current one. No name and no current context is an empty context.
    ///
    /// # Errors
    /// When there is no context of that name.
    pub fn select(&self, name: Option<&str>) -> Result<Context> {
        let Some(name) = name.or(self.current_context.as_deref()) else { return Ok(Context::default()) };
        self.contexts.get(name).cloned().ok_or_else(|| self.unknown(name))
    }

    /// The error for a context that there is not.
    pub fn unknown(&self, name: &str) -> CliError {
        let near = api_types::check::closest(name, self.contexts.keys().map(String::as_str));
        let hint = match near {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "`skyctl contexts` shows all".to_owned(),
        };
        CliError::NotFound { what: format!("there is no context \"{name}\""), hint: Some(hint) }
    }
}

/// What a request needs.
#[derive(Clone)]
pub struct Target {
    /// Address of the server.
    pub url: String,
    /// Token, if any.
    pub token: Option<SecretString>,
    /// Organisation named by flag or environment.
    pub explicit_org: Option<OrgName>,
    /// Organisation of the context.
    pub context_org: Option<OrgName>,
}

/// What was given on the command line and in the environment.
#[derive(Debug, Default)]
pub struct Given {
    /// `--url`
    pub url: Option<String>,
    /// `--token`
    pub token: Option<SecretString>,
    /// `--org`
    pub org: Option<OrgName>,
    /// `--context`
    pub context: Option<String>,
}

/// Flags and environment win over the context.
///
/// # Errors
/// When the named context does not exist.
pub fn resolve(given: Given, config: &Config) -> Result<Target> {
    let context = config.select(given.context.as_deref())?;
    // A token belongs to its server: the context's is not sent to an address given by hand.
    let same_server = given.url.is_none() || given.url == context.url;
    let stored = context.token.filter(|_| same_server).map(SecretString::from);
    Ok(Target {
        url: given.url.or(context.url).unwrap_or_else(|| DEFAULT_URL.to_owned()),
        token: given.token.or(stored),
        explicit_org: given.org,
        context_org: context.org,
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn config() -> Config {
        let context = Context { url: Some("http://a".into()), token: Some("sky_1".into()), org: "acme".parse().ok() };
        Config { current_context: Some("a".into()), contexts: BTreeMap::from([("a".into(), context)]) }
    }

    #[test]
    fn flags_win_and_a_token_stays_with_its_server() {
        let target = resolve(Given::default(), &config()).expect("resolves");
        assert_eq!((target.url.as_str(), target.token.as_ref().map(|t| t.expose_secret())), ("http://a", Some("sky_1")));
        let other = resolve(Given { url: Some("http://b".into()), ..Given::default() }, &config()).expect("resolves");
        assert!(other.token.is_none(), "the token of http://a must not go to http://b");
        assert!(resolve(Given { context: Some("b".into()), ..Given::default() }, &config()).is_err());
        assert_eq!(resolve(Given::default(), &Config::default()).expect("resolves").url, DEFAULT_URL);
    }

    #[test]
    fn the_file_is_private_and_reads_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x/config.yaml");
        config().save(&path).expect("writes");
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(Config::load(&path).expect("reads"), config());
        assert!(!format!("{:?}", config()).contains("sky_1"));
        fs::write(&path, "contexts: {a: {token: sky_1, nonsense: 1}}").expect("writes");
        let error = Config::load(&path).expect_err("unknown field").report();
        assert!(!error.contains("sky_1"), "{error}");
    }
}
