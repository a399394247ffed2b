//! What the edge was last made from, in a file, for a start while the database cannot be reached, and for
//! the keeper that goes on without the server.
//!
//! Addresses are not kept: the engine gives them to other containers, so after a start they are always read
//! and checked anew. Passwords' hashes and certificates' keys are kept, because without them apps behind a
//! password would be closed and HTTPS would answer with a certificate that nobody trusts; they are encrypted with
//! the platform's key. Names of tenants' hosts stand in clear: mode 0600.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Route;
use super::inputs::{CertificatePair, Inputs, Passwords};
use crate::clock::SharedEntropy;
use crate::keyring::{Keyring, Place, Sealed};

const FORMAT: u32 = 2;
/// Larger files are not ours; a route has some hundred bytes, a certificate some thousand.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// What the encrypted part is bound to.
const PLACE: Place<'_> = Place { org: "", owner: "edge", key: "known-good", version: FORMAT as i64 };

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KnownGoodError {
    /// Reading or writing failed.
    #[error("the edge's last known state {path} could not be {act}")]
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
    #[error("the edge's last known state {path} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
    /// Another version wrote it.
    #[error("the edge's last known state {path} has format {format}, not {FORMAT}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// Its secrets could not be encrypted or decrypted.
    #[error("the secrets in the edge's last known state {path} cannot be used")]
    Crypto {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: crate::keyring::KeyringError,
    },
}

/// The file, and the key that its secrets are encrypted with.
#[derive(Clone)]
pub struct KnownGood {
    /// The file.
    pub path: PathBuf,
    /// The platform's key.
    pub keyring: Arc<Keyring>,
    /// For nonces.
    pub entropy: SharedEntropy,
}

impl std::fmt::Debug for KnownGood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KnownGood({})", self.path.display())
    }
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    routes: Vec<Route>,
    nonce: String,
    secrets: String,
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Default, Serialize, Deserialize)]
struct Secrets {
    passwords: Vec<(Uuid, i64, String)>,
    certificates: Vec<KeptCertificate>,
}

#[derive(Serialize, Deserialize)]
struct KeptCertificate {
    name: String,
    chain: String,
    key: String,
    fingerprint: String,
}

impl Secrets {
    fn of(inputs: &Inputs) -> Self {
        let certificate = |pair: &CertificatePair| KeptCertificate {
            name: pair.name.clone(),
            chain: pair.chain.clone(),
            key: pair.key.to_string(),
            fingerprint: pair.fingerprint.clone(),
        };
        Self {
            passwords: inputs.passwords.iter().map(|(app, version, hash)| (app, version, hash.to_owned())).collect(),
            certificates: inputs.certificates.iter().map(certificate).collect(),
        }
    }

    fn into_inputs(self, routes: Vec<Route>) -> Inputs {
        let mut passwords = Passwords::default();
        for (app, version, hash) in self.passwords {
            passwords.insert(app, version, hash);
        }
        let pair = |kept: KeptCertificate| CertificatePair {
            name: kept.name,
            chain: kept.chain,
            key: Zeroizing::new(kept.key),
            fingerprint: kept.fingerprint,
        };
        Inputs { routes, passwords, certificates: self.certificates.into_iter().map(pair).collect(), default_certificate: None }
    }
}

impl KnownGood {
    /// Writes: a new file, then a rename, so that a crash leaves the old or the new one. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write(&self, inputs: &Inputs) -> Result<(), KnownGoodError> {
        let path = &self.path;
        let io = |source| KnownGoodError::Io { act: "written", path: path.clone(), source };
        let damaged = |source| KnownGoodError::Damaged { path: path.clone(), source };
        let secrets = Zeroizing::new(serde_json::to_vec(&Secrets::of(inputs)).map_err(damaged)?);
        let sealed = self.keyring.seal(PLACE, &secrets, &*self.entropy);
        let sealed = sealed.map_err(|source| KnownGoodError::Crypto { path: path.clone(), source })?;
        let (nonce, secrets) = (hex::encode(&sealed.nonce), hex::encode(&sealed.ciphertext));
        let file = File { format: FORMAT, routes: inputs.routes.clone(), nonce, secrets };
        let bytes = serde_json::to_vec(&file).map_err(damaged)?;
        let fresh = path.with_extension("new");
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh).map_err(io)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)?;
        std::fs::rename(&fresh, path).map_err(io)
    }

    /// Reads what was written; `None` when there is no file. Blocks.
    ///
    /// # Errors
    /// When the file is there but cannot be used.
    pub fn read(&self) -> Result<Option<Inputs>, KnownGoodError> {
        let Some(bytes) = bytes_of(&self.path)? else { return Ok(None) };
        let damaged = |source| KnownGoodError::Damaged { path: self.path.clone(), source };
        let head: Head = serde_json::from_slice(&bytes).map_err(damaged)?;
        if head.format != FORMAT {
            return Err(KnownGoodError::Format { path: self.path.clone(), format: head.format });
        }
        let file: File = serde_json::from_slice(&bytes).map_err(damaged)?;
        let part = |text: &str| hex::decode(text).unwrap_or_default();
        let sealed = Sealed { nonce: part(&file.nonce), ciphertext: part(&file.secrets) };
        let secrets = self.keyring.open(PLACE, &sealed).map_err(|source| KnownGoodError::Crypto { path: self.path.clone(), source })?;
        let secrets: Secrets = serde_json::from_slice(&secrets).map_err(damaged)?;
        Ok(Some(secrets.into_inputs(file.routes)))
    }
}

fn bytes_of(path: &Path) -> Result<Option<Vec<u8>>, KnownGoodError> {
    let io = |source| KnownGoodError::Io { act: "read", path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_BYTES => Err(io(std::io::Error::other("it is too large"))),
        Ok(_) => std::fs::read(path).map(Some).map_err(io),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(error)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::clock::SystemEntropy;
    use crate::edge::document::tests::route;
    use std::os::unix::fs::PermissionsExt;

    /// A file in a folder, with a new key.
    pub(crate) fn known_good(folder: &Path) -> KnownGood {
        let entropy: SharedEntropy = Arc::new(SystemEntropy);
        let keyring = Keyring::create(&folder.join("key"), &*entropy).expect("a key");
        KnownGood { path: folder.join("routes.json"), keyring: Arc::new(keyring), entropy }
    }

    fn inputs() -> Inputs {
        let mut inputs = Inputs::of(&[route(1, "shop", &["shop.example.com"], &["r1"])]);
        inputs.passwords.insert(Uuid::from_u128(1), 2, "$2y$06$canary-hash".to_owned());
        let key = Zeroizing::new("canary-key".to_owned());
        inputs.certificates.push(CertificatePair { name: "own".to_owned(), chain: "PEM".to_owned(), key, fingerprint: "aa".to_owned() });
        inputs
    }

    #[test]
    fn everything_comes_back_as_written_and_no_secret_stands_in_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = known_good(folder.path());
        assert!(file.read().expect("no file is fine").is_none());
        file.write(&inputs()).expect("writes");
        assert_eq!(file.read().expect("reads"), Some(inputs()));
        let mode = std::fs::metadata(&file.path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&file.path).expect("text");
        assert!(text.contains("shop.example.com") && !text.contains("canary") && !text.contains(&hex::encode("canary")), "{text}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 2, "the key and the file, nothing else");
    }

    #[test]
    fn a_damaged_or_foreign_file_is_an_error_and_not_an_empty_list() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = known_good(folder.path());
        std::fs::write(&file.path, b"{\"format\":2,\"rou").expect("writes");
        assert!(matches!(file.read(), Err(KnownGoodError::Damaged { .. })));
        std::fs::write(&file.path, b"{\"format\":1,\"routes\":[]}").expect("writes");
        assert!(matches!(file.read(), Err(KnownGoodError::Format { format: 1, .. })));
        // A host that does not parse must not get in through the file either.
        file.write(&inputs()).expect("writes");
        let text = std::fs::read_to_string(&file.path).expect("text");
        std::fs::write(&file.path, text.replace("shop.example.com", "a`) || Host(`b.example")).expect("writes");
        assert!(matches!(file.read(), Err(KnownGoodError::Damaged { .. })));
        // Another platform's file.
        std::fs::write(&file.path, text).expect("writes");
        let other = tempfile::tempdir().expect("a folder");
        let foreign = KnownGood { path: file.path.clone(), ..known_good(other.path()) };
        assert!(matches!(foreign.read(), Err(KnownGoodError::Crypto { .. })));
    }
}
