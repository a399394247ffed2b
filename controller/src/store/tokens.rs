//! API tokens: random, shown once, stored as a hash.

use api_types::OrgName;
use api_types::api::{Role, WhoAmI};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::connect::bounded;
use super::observations::printable;
use super::{Store, StoreError};

/// What every token begins with, so that scanners for leaked secrets can find one.
const PREFIX: &str = "sky_";
/// Characters of the random part: 32 bytes.
const RANDOM_CHARS: usize = 43;
/// Characters of the checksum: 4 bytes.
const CHECKSUM_CHARS: usize = 6;

impl Store {
    /// Makes a token. It is shown this once; the database gets its SHA-256 only.
    ///
    /// # Errors
    /// `Missing` when there is no such organisation.
    pub async fn token_create(&self, name: &str, org: Option<&OrgName>, role: Role) -> Result<SecretString, StoreError> {
        let what = "creating a token";
        bounded(what, async {
            let mut random = Zeroizing::new([0u8; 32]);
            self.inner.entropy.fill(&mut *random);
            let token = token_text(&random);
            let now = self.inner.clock.now();
            let inserted = sqlx::query(
                "INSERT INTO tokens (id, name, org, role, hash, created_at) SELECT $1, $2, $3, $4, $5, $6 \
                 WHERE $3::text IS NULL OR EXISTS (SELECT FROM organizations WHERE name = $3)",
            )
            .bind(self.inner.entropy.uuid(now))
            .bind(printable(name))
            .bind(org.map(OrgName::as_str))
            .bind(role_word(role))
            .bind(hash(&token))
            .bind(now)
            .execute(self.pool())
            .await
            .map_err(StoreError::on(what))?;
            if inserted.rows_affected() == 0 {
                return Err(StoreError::Missing { what: "the organization" });
            }
            Ok(SecretString::from(token.as_str().to_owned()))
        })
        .await
    }

    /// Whose token this is. A text that cannot be a token is refused without asking the database.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn token_find(&self, presented: &str) -> Result<Option<WhoAmI>, StoreError> {
        if !is_well_formed(presented) {
            return Ok(None);
        }
        let what = "looking up a token";
        bounded(what, async {
            let found: Option<(String, Option<String>, String)> = sqlx::query_as("SELECT name, org, role FROM tokens WHERE hash = $1")
                .bind(hash(presented))
                .fetch_optional(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            Ok(found.map(|(name, org, role)| WhoAmI { name, org, role: role_of(&role) }))
        })
        .await
    }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Member => "member",
        Role::Admin => "admin",
    }
}

/// A word that this release does not know gives the least.
fn role_of(word: &str) -> Role {
    match word {
        "admin" => Role::Admin,
        "member" => Role::Member,
        _ => Role::Viewer,
    }
}

fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// `sky_`, 43 random characters, 6 characters of checksum over all before.
fn token_text(random: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(format!("{PREFIX}{}", base64url(random)));
    let checksum = checksum(&text);
    text.push_str(&checksum);
    text
}

fn checksum(text: &str) -> String {
    base64url(&Sha256::digest(text.as_bytes())[..4])
}

fn is_well_formed(text: &str) -> bool {
    let body = PREFIX.len() + RANDOM_CHARS;
    text.len() == body + CHECKSUM_CHARS
        && text.starts_with(PREFIX)
        && text.is_char_boundary(body)
        && text.split_at(body).1 == checksum(text.split_at(body).0)
}

/// RFC 4648 base64url without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let index = (group >> (18 - 6 * place)) & 0x3f;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_agrees_with_the_rfc() {
        for (plain, encoded) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")] {
            assert_eq!(base64url(plain.as_bytes()), encoded);
        }
        assert_eq!(base64url(&[0xff, 0xef, 0xbe]), "_---");
    }

    #[test]
    fn a_token_with_a_typing_error_is_not_one() {
        let token = token_text(&[7; 32]);
        assert_eq!(token.len(), PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS);
        assert!(is_well_formed(&token));
        for at in 0..token.len() {
            let mut changed = token.as_bytes().to_vec();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            assert!(!is_well_formed(&String::from_utf8(changed).expect("ASCII")), "character {at}");
        }
        for other in ["", "sky_", &"ä".repeat(30), &token[1..]] {
            assert!(!is_well_formed(other), "{other}");
        }
    }
}
