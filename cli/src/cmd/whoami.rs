//! `skyctl whoami`

use api_types::api::WhoAmI;

use super::Session;
use crate::client::routes;
use crate::errors::Result;
use crate::output;

/// Arguments of `whoami`: none.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(session: &Session, _: Args) -> Result<()> {
    let whoami: WhoAmI = session.client.get(routes::WHOAMI, &[]).await?;
    output::line(&sentence(&whoami, &session.client.url()))
}

/// Who the token is, in a sentence.
pub fn sentence(whoami: &WhoAmI, url: &str) -> String {
    let scope = match &whoami.org {
        Some(org) => format!("the organization {org}"),
        None => "the whole platform".to_owned(),
    };
    let end = whoami.expires_at.map_or_else(String::new, |end| format!(", until {}", end.format("%Y-%m-%d %H:%M UTC")));
    format!("{} is {} of {scope} at {url}{end}", whoami.name, super::tokens::word(whoami.role))
}
