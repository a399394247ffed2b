//! The token that a new agent joins with: the digest of the authority's certificate, by which the agent knows the server
//! before it says anything, and a secret, by which the server knows that the agent was let in.

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

const PREFIX: &str = "skyjoin";
const HEX: usize = 64;

/// See the module.
#[derive(Clone)]
pub struct JoinToken {
    /// SHA-256 of the authority's certificate, in hex.
    pub authority: String,
    /// What only the server and who was given the token know.
    pub secret: SecretString,
}

impl JoinToken {
    /// One of 32 random bytes.
    pub fn new(authority: String, random: &[u8; 32]) -> Self {
        Self { authority, secret: SecretString::from(hex::encode(random)) }
    }
    /// As it is given to people.
    pub fn text(&self) -> SecretString {
        SecretString::from(format!("{PREFIX}_{}_{}", self.authority, self.secret.expose_secret()))
    }
}

/// What is stored of a token's secret.
pub fn digest(secret: &SecretString) -> Vec<u8> {
    Sha256::digest(secret.expose_secret().as_bytes()).to_vec()
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(…)")
    }
}

/// The text is no join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no join token: one begins with {PREFIX}_ and is made by `skyctl nodes token`")]
pub struct NoJoinToken;

impl FromStr for JoinToken {
    type Err = NoJoinToken;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.trim().split('_');
        let is_hex = |part: &str| part.len() == HEX && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(PREFIX), Some(authority), Some(secret), None) if is_hex(authority) && is_hex(secret) => {
                Ok(Self { authority: authority.to_owned(), secret: SecretString::from(secret) })
            }
            _ => Err(NoJoinToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_is_never_printed_and_a_damaged_one_is_none() {
        let token = JoinToken::new("ab".repeat(32), &[7; 32]);
        let text = token.text();
        let read: JoinToken = text.expose_secret().parse().expect("a token");
        assert_eq!((read.authority.as_str(), digest(&read.secret)), (token.authority.as_str(), digest(&token.secret)));
        assert!(!format!("{token:?}").contains("0707"));
        let text = text.expose_secret();
        for bad in ["", "skyjoin", &text[1..], &text[..text.len() - 1], &format!("{text}_x"), &text.to_uppercase()] {
            assert!(bad.parse::<JoinToken>().is_err(), "{bad}");
        }
    }
}
