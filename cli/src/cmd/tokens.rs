//! `skyctl tokens`: made, listed, revoked.

use anstyle::Style;
use api_types::api::{List, Role, WhoAmI};
use api_types::duration::Lifetime;
use api_types::token::{TokenCreated, TokenInfo, TokenRequest};
use api_types::{OrgName, check};
use chrono::{DateTime, Utc};
use clap::Subcommand;

use super::Session;
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::output::{DIM, RED, Table, TextFormat, age};
use crate::{clock, output};

const EXAMPLES: &str = "\
Examples:
  skyctl tokens list
  skyctl tokens create ci --role member --expires 90d --org acme
  skyctl tokens revoke ci

With --org (or a token that is limited to an organization) it is about the tokens of that organization, else about
all tokens of the platform. Making and revoking needs the role admin.";

const LIST_EXAMPLES: &str = "\
Examples:
  skyctl tokens list
  skyctl tokens list --org acme
  skyctl tokens list -o json";

const CREATE_EXAMPLES: &str = "\
Examples:
  skyctl tokens create ci --expires 90d --org acme
  skyctl tokens create root --role admin                 for the whole platform
  skyctl tokens create ci --org acme > ci-token          only the token goes to the standard output
  skyctl tokens create ci -o json

The text of a token is shown this once; the server keeps only its hash.";

const REVOKE_EXAMPLES: &str = "\
Examples:
  skyctl tokens revoke ci
  skyctl tokens revoke 0197c1de-0000-7000-8000-000000000001

The next request with the token is refused.";

/// Arguments of `tokens`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show tokens, without their texts
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Form of the output
        #[arg(short, long, value_enum, default_value_t = TextFormat::Text)]
        output: TextFormat,
    },
    /// Make a token
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// Who or what will use it
        name: String,
        /// What it may do
        #[arg(long, value_enum, default_value_t = RoleWord::Member)]
        role: RoleWord,
        /// How long it is good for, such as 90d [default: until it is revoked]
        #[arg(long, value_name = "DURATION")]
        expires: Option<Lifetime>,
        /// Form of the output
        #[arg(short, long, value_enum, default_value_t = TextFormat::Text)]
        output: TextFormat,
    },
    /// End tokens, at once
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke {
        /// Id, or a name that only one token has
        #[arg(value_name = "ID|NAME", required = true)]
        tokens: Vec<String>,
    },
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RoleWord {
    /// Reads
    Viewer,
    /// Reads and changes apps and domains
    Member,
    /// Also organizations, tokens and, for the whole platform, settings
    Admin,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Viewer => Self::Viewer,
            RoleWord::Member => Self::Member,
            RoleWord::Admin => Self::Admin,
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let org = scope(session).await?;
    match args.what {
        What::List { output } => {
            let list = all(session, org.as_ref()).await?;
            match output.render(&List::from(list.clone()))? {
                Some(text) => output::print(&text),
                None if list.is_empty() => {
                    output::note("there are no tokens\n");
                    Ok(())
                }
                None => output::print(&table(&list, clock::now())),
            }
        }
        What::Create { name, role, expires, output } => {
            let request = TokenRequest { name, role: role.into(), org: org.clone(), expires_in: expires };
            let made: TokenCreated = session.client.post(&routes::tokens(org.as_ref()), &[], &request).await?;
            match output.render(&made)? {
                Some(text) => output::print(&text),
                None => created(&made),
            }
        }
        What::Revoke { tokens } => {
            let list = all(session, org.as_ref()).await?;
            // All are looked up before the first is ended.
            let found = tokens.iter().map(|word| find(&list, word)).collect::<Result<Vec<_>>>()?;
            for token in found {
                session.client.delete(&format!("{}/{}", routes::tokens(org.as_ref()), token.id)).await?;
                output::line(&format!("token {} ({}) revoked", token.name, token.id))?;
            }
            Ok(())
        }
    }
}

/// The organisation that was named or that the own token is limited to; a context's is not meant, since what
/// it would hide are the tokens of the platform.
async fn scope(session: &Session) -> Result<Option<OrgName>> {
    if let Some(org) = &session.target.explicit_org {
        return Ok(Some(org.clone()));
    }
    let whoami: WhoAmI = session.client.get(routes::WHOAMI, &[]).await?;
    Ok(whoami.org.and_then(|org| org.parse().ok()))
}

async fn all(session: &Session, org: Option<&OrgName>) -> Result<Vec<TokenInfo>> {
    session.client.list(&routes::tokens(org), &[]).await
}

fn created(made: &TokenCreated) -> Result<()> {
    let scope = made.info.org.as_ref().map_or_else(|| "the whole platform".to_owned(), |org| format!("the organization {org}"));
    let end =
        made.info.expires_at.map_or_else(|| "until it is revoked".to_owned(), |end| format!("until {}", end.format("%Y-%m-%d %H:%M UTC")));
    output::note(&format!(
        "token {} ({}): {} of {scope}, good {end}. It is shown this once:\n",
        made.info.name,
        made.info.id,
        word(made.info.role)
    ));
    output::line(&made.token)
}

/// A role's word.
pub fn word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Member => "member",
        Role::Admin => "admin",
    }
}

fn find<'a>(list: &'a [TokenInfo], text: &str) -> Result<&'a TokenInfo> {
    if let Some(token) = list.iter().find(|token| token.id.to_string() == text.to_ascii_lowercase()) {
        return Ok(token);
    }
    let named: Vec<&TokenInfo> = list.iter().filter(|token| token.name == text).collect();
    match named.as_slice() {
        [one] => Ok(one),
        [] => {
            let near = check::closest(text, list.iter().map(|token| token.name.as_str()));
            let hint = near.map_or_else(|| "`skyctl tokens list` shows all".to_owned(), |near| format!("did you mean \"{near}\"?"));
            Err(CliError::NotFound { what: format!("there is no token \"{text}\""), hint: Some(hint) })
        }
        several => {
            let ids: Vec<String> = several.iter().map(|token| token.id.to_string()).collect();
            Err(CliError::Usage(format!("{} tokens are named \"{text}\"; say which by its id: {}", several.len(), ids.join(", "))))
        }
    }
}

/// Tokens as a table.
fn table(list: &[TokenInfo], now: DateTime<Utc>) -> String {
    let mut table = Table::new(["NAME", "ROLE", "ORG", "AGE", "EXPIRES", "LAST USED", "MADE BY", "ID"]);
    for token in list {
        let plain = |text: String| (text, Style::new());
        let expires = match token.expires_at {
            None => ("never".to_owned(), DIM),
            Some(_) if token.expired => ("expired".to_owned(), RED),
            // The same words as for an age, into the other direction.
            Some(end) => plain(format!("in {}", age(Some(now), end))),
        };
        let used = token.last_used_at.map_or_else(|| "never".to_owned(), |then| format!("{} ago", age(Some(then), now)));
        table.row([
            plain(token.name.clone()),
            plain(word(token.role).to_owned()),
            plain(token.org.clone().unwrap_or_else(|| "(platform)".to_owned())),
            plain(age(Some(token.created_at), now)),
            expires,
            plain(used),
            plain(token.created_by.clone().unwrap_or_else(|| "(server)".to_owned())),
            plain(token.id.to_string()),
        ]);
    }
    table.render(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens() -> Vec<TokenInfo> {
        serde_json::from_value(json!([
            {"id": "0197c1de-0000-7000-8000-000000000001", "name": "ci", "org": "acme", "role": "member",
             "createdAt": "2026-11-01T00:00:00Z", "createdBy": "root", "expiresAt": "2026-12-01T00:00:00Z", "expired": false},
            {"id": "0197c1de-0000-7000-8000-000000000002", "name": "ci", "org": "acme", "role": "viewer",
             "createdAt": "2026-10-01T00:00:00Z", "createdBy": "root", "expiresAt": "2026-11-01T00:00:00Z", "expired": true},
            {"id": "0197c1de-0000-7000-8000-000000000003", "name": "root", "role": "admin", "createdAt": "2026-10-01T00:00:00Z",
             "expired": false, "lastUsedAt": "2026-11-02T00:00:00Z"}
        ]))
        .expect("tokens")
    }

    #[test]
    fn a_token_is_named_by_its_id_or_by_a_name_of_its_own() {
        let list = tokens();
        assert_eq!(find(&list, "root").expect("one").id, list[2].id);
        assert_eq!(find(&list, "0197C1DE-0000-7000-8000-000000000002").expect("by id").role, Role::Viewer);
        let error = find(&list, "ci").expect_err("two").to_string();
        assert!(error.contains("0000000001") && error.contains("0000000002"), "{error}");
        assert!(find(&list, "rot").expect_err("none").report().contains("did you mean \"root\"?"));
    }

    #[test]
    fn tokens_show_what_they_may_and_how_long() {
        let now = "2026-11-02T00:05:00Z".parse().expect("a time");
        insta::assert_snapshot!(anstream::adapter::strip_str(&table(&tokens(), now)).to_string());
    }
}
