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
    let scope = match &whoami.org {
        Some(org) => format!("the organization {org}"),
        None => "the whole platform".to_owned(),
    };
    let role = serde_json::to_value(whoami.role).ok().and_then(|role| role.as_str().map(str::to_owned)).unwrap_or_default();
    output::line(&format!("{} is {role} of {scope} at {}", whoami.name, session.client.url()))
}
