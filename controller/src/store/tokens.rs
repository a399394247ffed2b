//! API tokens: random, shown once, stored as a hash; they end by time or by being revoked.

use api_types::api::Role;
use api_types::token::TokenInfo;
use api_types::{Lifetime, OrgName};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use uuid::Uuid;
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
/// How long a revoked token's holder is told that it was revoked.
const REVOKED_KEPT: chrono::TimeDelta = chrono::TimeDelta::days(90);
/// How exactly the last use is known. Each write of it costs a row version.
pub const USE_RESOLUTION: chrono::TimeDelta = chrono::TimeDelta::minutes(1);

/// The columns of [`TokenRow`].
macro_rules! token_columns {
    () => {
        "id, name, org, role, created_at, created_by, expires_at, last_used_at, revoked_at"
    };
}

/// A token that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewToken<'a> {
    /// Who or what will use it.
    pub name: &'a str,
    /// Organisation that it is limited to.
    pub org: Option<&'a OrgName>,
    /// What it may do.
    pub role: Role,
    /// How long it is good for; for ever when `None`.
    pub expires_in: Option<Lifetime>,
    /// Name of the token that makes it.
    pub created_by: Option<&'a str>,
}

impl<'a> NewToken<'a> {
    /// A token without end, made on the server.
    pub fn new(name: &'a str, org: Option<&'a OrgName>, role: Role) -> Self {
        Self { name, org, role, expires_in: None, created_by: None }
    }
}

/// What is known of a text that somebody presents as a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenLookup {
    /// It is one.
    Valid(TokenInfo),
    /// It was one until then.
    Expired(DateTime<Utc>),
    /// It was taken back then.
    Revoked(DateTime<Utc>),
    /// Nobody was ever given it, or so long ago that nothing is known of it.
    Unknown,
}

impl TokenLookup {
    /// The token, when it is good.
    pub fn valid(self) -> Option<TokenInfo> {
        match self {
            Self::Valid(token) => Some(token),
            _ => None,
        }
    }
}

#[derive(sqlx::FromRow)]
struct TokenRow {
    id: Uuid,
    name: String,
    org: Option<String>,
    role: String,
    created_at: DateTime<Utc>,
    created_by: Option<String>,
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl TokenRow {
    fn info(self, now: DateTime<Utc>) -> TokenInfo {
        TokenInfo {
            id: self.id,
            name: self.name,
            org: self.org,
            role: role_of(&self.role),
            created_at: self.created_at,
            created_by: self.created_by,
            expires_at: self.expires_at,
            last_used_at: self.last_used_at,
            expired: self.expires_at.is_some_and(|end| end <= now),
        }
    }
}

impl Store {
    /// Makes a token. Its text is shown this once; the database gets its SHA-256 only.
    ///
    /// # Errors
    /// `Missing` when there is no such organisation.
    pub async fn token_create(&self, new: &NewToken<'_>) -> Result<(TokenInfo, SecretString), StoreError> {
        let what = "creating a token";
        bounded(what, async {
            let mut random = Zeroizing::new([0u8; 32]);
            self.inner.entropy.fill(&mut *random);
            let token = token_text(&random);
            let now = self.inner.clock.now();
            let inserted: Option<TokenRow> = sqlx::query_as(concat!(
                "INSERT INTO tokens (id, name, org, role, hash, created_at, created_by, expires_at) SELECT $1, $2, $3, $4, $5, $6, $7, $8 \
                 WHERE $3::text IS NULL OR EXISTS (SELECT FROM organizations WHERE name = $3) RETURNING ",
                token_columns!()
            ))
            .bind(self.inner.entropy.uuid(now))
            .bind(printable(new.name))
            .bind(new.org.map(OrgName::as_str))
            .bind(role_word(new.role))
            .bind(hash(&token))
            .bind(now)
            .bind(new.created_by.map(printable))
            .bind(new.expires_in.map(|lifetime| now + lifetime.chrono()))
            .fetch_optional(self.pool())
            .await
            .map_err(StoreError::on(what))?;
            let row = inserted.ok_or(StoreError::Missing { what: "the organization" })?;
            Ok((row.info(now), SecretString::from(token.as_str().to_owned())))
        })
        .await
    }

    /// Whose token this is, or why it is none. A text that cannot be a token is refused without asking the
    /// database.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn token_find(&self, presented: &str) -> Result<TokenLookup, StoreError> {
        if !is_well_formed(presented) {
            return Ok(TokenLookup::Unknown);
        }
        let what = "looking up a token";
        bounded(what, async {
            let found: Option<TokenRow> = sqlx::query_as(concat!("SELECT ", token_columns!(), " FROM tokens WHERE hash = $1"))
                .bind(hash(presented))
                .fetch_optional(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            let now = self.inner.clock.now();
            Ok(match found {
                None => TokenLookup::Unknown,
                Some(TokenRow { revoked_at: Some(at), .. }) => TokenLookup::Revoked(at),
                Some(TokenRow { expires_at: Some(at), .. }) if at <= now => TokenLookup::Expired(at),
                Some(row) => TokenLookup::Valid(row.info(now)),
            })
        })
        .await
    }

    /// Tokens by name, also expired ones, but not revoked ones; of one organisation, where one is given.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn token_list(&self, org: Option<&OrgName>) -> Result<Vec<TokenInfo>, StoreError> {
        let what = "listing tokens";
        bounded(what, async {
            let sql = concat!(
                "SELECT ",
                token_columns!(),
                " FROM tokens WHERE revoked_at IS NULL AND ($1::text IS NULL OR org = $1) ORDER BY name, id"
            );
            let rows: Vec<TokenRow> =
                sqlx::query_as(sql).bind(org.map(OrgName::as_str)).fetch_all(self.pool()).await.map_err(StoreError::on(what))?;
            let now = self.inner.clock.now();
            Ok(rows.into_iter().map(|row| row.info(now)).collect())
        })
        .await
    }

    /// Takes a token back, from now on; `false` when there is none of this id, of the organisation where one
    /// is given. Revoked ones are forgotten after a while.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn token_revoke(&self, org: Option<&OrgName>, id: Uuid) -> Result<bool, StoreError> {
        let what = "revoking a token";
        bounded(what, async {
            let now = self.inner.clock.now();
            sqlx::query("DELETE FROM tokens WHERE revoked_at < $1")
                .bind(now - REVOKED_KEPT)
                .execute(self.pool())
                .await
                .map_err(StoreError::on(what))?;
            let revoked =
                sqlx::query("UPDATE tokens SET revoked_at = $3 WHERE id = $1 AND revoked_at IS NULL AND ($2::text IS NULL OR org = $2)")
                    .bind(id)
                    .bind(org.map(OrgName::as_str))
                    .bind(now)
                    .execute(self.pool())
                    .await
                    .map_err(StoreError::on(what))?;
            Ok(revoked.rows_affected() > 0)
        })
        .await
    }

    /// Notes that tokens are in use, at most once a minute each.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn token_used(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        let what = "noting the use of tokens";
        bounded(what, async {
            let now = self.inner.clock.now();
            sqlx::query("UPDATE tokens SET last_used_at = $2 WHERE id = ANY ($1) AND (last_used_at IS NULL OR last_used_at <= $3)")
                .bind(ids)
                .bind(now)
                .bind(now - USE_RESOLUTION)
                .execute(self.pool())
                .await
                .map(drop)
                .map_err(StoreError::on(what))
        })
        .await
    }

    /// Which of some tokens are no longer good.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn token_ended(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
        let what = "looking for revoked tokens";
        bounded(what, async {
            sqlx::query_scalar(
                "SELECT asked FROM unnest($1::uuid[]) AS asked WHERE NOT EXISTS \
                 (SELECT FROM tokens WHERE id = asked AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2))",
            )
            .bind(ids)
            .bind(self.inner.clock.now())
            .fetch_all(self.pool())
            .await
            .map_err(StoreError::on(what))
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
