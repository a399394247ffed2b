//! Encryption of secrets at rest: a key-encryption key in a file wraps one data key per organisation.
//!
//! AES-256-GCM with a random nonce for every value. The associated data name the very place that a
//! value belongs to, so a ciphertext that is copied to another row does not decrypt. It is no key
//! management service: whoever has both the file and the database can read everything, so they belong
//! in different backups. It can be misused by handing the same [`Entropy`] state to two processes: a
//! nonce that repeats under one key breaks GCM. Use the system's generator outside tests.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clock::Entropy;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 12;
/// Upper bound of a key file; anything larger is some other file.
const MAX_FILE_BYTES: u64 = 256;

/// How encryption, decryption or the key file fails. Never holds key or value.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The key file cannot be read or written.
    #[error("the key file {} cannot be {action}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `created`.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the key file.
    #[error("the key file {} has mode {mode:04o}, so others may read it; run: chmod 600 {}", path.display(), path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The key file does not hold a key.
    #[error("the key file {} does not hold 64 hexadecimal digits; restore it from its backup", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The key file holds a key, but not the one that this database was used with.
    #[error("the key file {} holds another key than the one that this database was used with; restore the right file", path.display())]
    WrongKey {
        /// The file.
        path: PathBuf,
    },
    /// An encrypted value was changed, moved to another row, or made with another key.
    #[error("an encrypted value does not decrypt: it was changed, moved, or made with another key")]
    Tampered,
    /// No keyring was opened.
    #[error("no keyring is open")]
    Closed,
}

/// An encrypted value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Used once with its key.
    pub nonce: Vec<u8>,
    /// Ciphertext with its tag.
    pub ciphertext: Vec<u8>,
}

/// What a value belongs to; it decrypts in no other place.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Organisation; empty for the platform.
    pub org: &'a str,
    /// Owner, such as an app's uid.
    pub owner: &'a str,
    /// Key of the value.
    pub key: &'a str,
    /// Its version.
    pub version: i64,
}

impl Place<'_> {
    /// `org|owner|key|version`: no part can hold the separator, so no two places make the same text.
    fn associated_data(&self) -> String {
        format!("{}|{}|{}|{}", self.org, self.owner, self.key, self.version)
    }
}

/// A key that encrypts and decrypts; wiped when dropped.
pub struct DataKey(Zeroizing<[u8; KEY_BYTES]>);

impl DataKey {
    /// Encrypts a value for its place.
    ///
    /// # Errors
    /// `Tampered` when the value is too long for the cipher (64 GiB).
    pub fn seal(&self, place: Place<'_>, value: &[u8], entropy: &dyn Entropy) -> Result<Sealed, KeyringError> {
        let mut nonce = [0u8; NONCE_BYTES];
        entropy.fill(&mut nonce);
        let aad = place.associated_data();
        let ciphertext =
            self.cipher()?.encrypt(&nonce.into(), Payload { msg: value, aad: aad.as_bytes() }).map_err(|_| KeyringError::Tampered)?;
        Ok(Sealed { nonce: nonce.to_vec(), ciphertext })
    }

    /// Decrypts a value of a place.
    ///
    /// # Errors
    /// `Tampered` when it was changed, belongs elsewhere or was made with another key.
    pub fn open(&self, place: Place<'_>, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let nonce: [u8; NONCE_BYTES] = sealed.nonce.as_slice().try_into().map_err(|_| KeyringError::Tampered)?;
        let aad = place.associated_data();
        let payload = Payload { msg: &sealed.ciphertext, aad: aad.as_bytes() };
        self.cipher()?.decrypt(&nonce.into(), payload).map(Zeroizing::new).map_err(|_| KeyringError::Tampered)
    }

    fn cipher(&self) -> Result<Aes256Gcm, KeyringError> {
        Aes256Gcm::new_from_slice(&*self.0).map_err(|_| KeyringError::Tampered)
    }

    fn random(entropy: &dyn Entropy) -> Self {
        let mut key = Zeroizing::new([0u8; KEY_BYTES]);
        entropy.fill(&mut *key);
        Self(key)
    }
}

/// The key-encryption key.
pub struct Keyring {
    key_id: String,
    key: DataKey,
}

impl Keyring {
    /// Reads the key file; `None` when there is none.
    ///
    /// # Errors
    /// `File`, `Permissions` or `Malformed`.
    pub fn load(path: &Path) -> Result<Option<Self>, KeyringError> {
        let failed = |source| KeyringError::File { path: path.to_owned(), action: "read", source };
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyringError::Permissions { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        let malformed = || KeyringError::Malformed { path: path.to_owned() };
        match file.take(MAX_FILE_BYTES).read_to_string(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(malformed()),
            Err(error) => return Err(failed(error)),
        }
        let mut key = Zeroizing::new([0u8; KEY_BYTES]);
        hex::decode_to_slice(text.trim(), &mut *key).map_err(|_| malformed())?;
        Ok(Some(Self::from_key(DataKey(key))))
    }

    /// Makes a key and its file. When another process was faster, its key is loaded.
    ///
    /// # Errors
    /// `File` when the folder cannot be written to.
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Self, KeyringError> {
        let failed = |source| KeyringError::File { path: path.to_owned(), action: "created", source };
        let key = DataKey::random(entropy);
        let mut suffix = [0u8; 8];
        entropy.fill(&mut suffix);
        let draft = path.with_extension(format!("draft-{}", hex::encode(suffix)));
        let written = write_private(&draft, &Zeroizing::new(hex::encode(*key.0))).and_then(|()| {
            // A hard link fails when the name exists, and shows the whole content at once: no crash
            // and no race can leave half a key, or replace one.
            match fs::hard_link(&draft, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                other => other.map(|()| true),
            }
        });
        let removed = fs::remove_file(&draft);
        if written.map_err(failed)? {
            removed.map_err(failed)?;
            return Ok(Self::from_key(key));
        }
        Self::load(path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
    }

    fn from_key(key: DataKey) -> Self {
        // A hash of a random key says nothing about it, but tells two keys apart.
        let digest = Sha256::new().chain_update(b"skyswarm key-encryption key|").chain_update(*key.0).finalize();
        Self { key_id: hex::encode(&digest[..8]), key }
    }

    /// Fingerprint of the key; stored beside what it encrypts.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Encrypts with the key-encryption key itself: for the platform's own few secrets.
    ///
    /// # Errors
    /// See [`DataKey::seal`].
    pub fn seal(&self, place: Place<'_>, value: &[u8], entropy: &dyn Entropy) -> Result<Sealed, KeyringError> {
        self.key.seal(place, value, entropy)
    }

    /// Decrypts what [`Keyring::seal`] made.
    ///
    /// # Errors
    /// See [`DataKey::open`].
    pub fn open(&self, place: Place<'_>, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        self.key.open(place, sealed)
    }

    /// Makes a data key for an organisation, and its wrapped form for the database.
    ///
    /// # Errors
    /// See [`DataKey::seal`].
    pub fn data_key_make(&self, org: &str, version: i32, entropy: &dyn Entropy) -> Result<(DataKey, Sealed), KeyringError> {
        let data_key = DataKey::random(entropy);
        let wrapped = self.key.seal(data_key_place(org, version), &*data_key.0, entropy)?;
        Ok((data_key, wrapped))
    }

    /// Unwraps an organisation's data key.
    ///
    /// # Errors
    /// `Tampered` when it is another organisation's, was changed, or was wrapped with another key.
    pub fn data_key_open(&self, org: &str, version: i32, wrapped: &Sealed) -> Result<DataKey, KeyringError> {
        let plain = self.key.open(data_key_place(org, version), wrapped)?;
        let mut key = Zeroizing::new([0u8; KEY_BYTES]);
        if plain.len() != KEY_BYTES {
            return Err(KeyringError::Tampered);
        }
        key.copy_from_slice(&plain);
        Ok(DataKey(key))
    }
}

fn data_key_place(org: &str, version: i32) -> Place<'_> {
    Place { org, owner: "", key: "data-key", version: i64::from(version) }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // The umask can only take bits away, but a strange one could take ours.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededEntropy;

    const PLACE: Place<'_> = Place { org: "acme", owner: "uid", key: "TOKEN", version: 3 };

    fn keyring(seed: u64) -> (Keyring, SeededEntropy, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a folder");
        let entropy = SeededEntropy::new(seed);
        let keyring = Keyring::create(&dir.path().join("key"), &entropy).expect("creates");
        (keyring, entropy, dir)
    }

    #[test]
    fn a_value_comes_back_in_its_own_place_only() {
        let (keyring, entropy, _dir) = keyring(1);
        let (data_key, wrapped) = keyring.data_key_make("acme", 1, &entropy).expect("makes");
        let sealed = data_key.seal(PLACE, b"hunter2", &entropy).expect("seals");
        let again = keyring.data_key_open("acme", 1, &wrapped).expect("unwraps");
        assert_eq!(again.open(PLACE, &sealed).expect("opens").as_slice(), b"hunter2");
        for other in [
            Place { org: "evil", ..PLACE },
            Place { owner: "other", ..PLACE },
            Place { key: "OTHER", ..PLACE },
            Place { version: 4, ..PLACE },
        ] {
            assert!(matches!(again.open(other, &sealed), Err(KeyringError::Tampered)), "{other:?}");
        }
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let (keyring, entropy, _dir) = keyring(2);
        let sealed = keyring.seal(PLACE, b"hunter2", &entropy).expect("seals");
        for at in 0..sealed.ciphertext.len() {
            let mut changed = sealed.clone();
            changed.ciphertext[at] ^= 1;
            assert!(keyring.open(PLACE, &changed).is_err(), "byte {at}");
        }
        let mut changed = sealed.clone();
        changed.nonce[0] ^= 1;
        assert!(keyring.open(PLACE, &changed).is_err());
        assert!(keyring.open(PLACE, &Sealed { nonce: vec![1], ..sealed }).is_err(), "a short nonce is an error, not a panic");
    }

    #[test]
    fn a_data_key_of_another_organisation_or_key_does_not_unwrap() {
        let (first, entropy, _dir) = keyring(3);
        let (second, ..) = keyring(4);
        let (_, wrapped) = first.data_key_make("acme", 1, &entropy).expect("makes");
        assert!(first.data_key_open("evil", 1, &wrapped).is_err());
        assert!(first.data_key_open("acme", 2, &wrapped).is_err());
        assert!(second.data_key_open("acme", 1, &wrapped).is_err());
        assert_ne!(first.key_id(), second.key_id());
    }

    #[test]
    fn nonces_do_not_repeat() {
        let (keyring, entropy, _dir) = keyring(5);
        let seal = || keyring.seal(PLACE, b"same", &entropy).expect("seals");
        assert_ne!(seal().nonce, seal().nonce);
    }

    #[test]
    fn the_key_file_is_private_and_never_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key");
        assert!(Keyring::load(&path).expect("no file is no error").is_none());
        let first = Keyring::create(&path, &SeededEntropy::new(6)).expect("creates");
        let mode = fs::metadata(&path).expect("is there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let second = Keyring::create(&path, &SeededEntropy::new(7)).expect("loads the winner's");
        assert_eq!(first.key_id(), second.key_id());
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1, "no draft is left behind");
    }

    #[test]
    fn a_readable_or_broken_key_file_is_refused_with_what_to_do() {
        let (_keyring, _entropy, dir) = keyring(8);
        let path = dir.path().join("key");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("chmod");
        let message = Keyring::load(&path).err().expect("refuses").to_string();
        assert!(message.contains("chmod 600"), "{message}");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("chmod");
        for broken in [b"zz".as_slice(), b"", b"\xff\xfe", &[b'a'; 300]] {
            fs::write(&path, broken).expect("writes");
            assert!(matches!(Keyring::load(&path), Err(KeyringError::Malformed { .. })), "{broken:?}");
        }
    }
}
