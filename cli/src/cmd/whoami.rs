//! `skyctl whoami`

use api_types::api::WhoAmI;

use super::Session;
use crate::client::routes;
use crate::errors::Result;
use crate::output::{self, TextFormat};

const EXAMPLES: &str = "\
Examples:
  skyctl whoami
  skyctl whoami --context production
  skyctl whoami -o json      for programs";

/// Arguments of `whoami`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, default_value_t = TextFormat::Text)]
    pub output: TextFormat,
}

/// Runs the verb.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let whoami: WhoAmI = session.client.get(routes::WHOAMI, &[]).await?;
    if let Some(text) = args.output.render(&whoami)? {
        return output::print(&text);
    }
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
