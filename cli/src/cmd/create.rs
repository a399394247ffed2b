//! `skyctl create`

use api_types::api::{ApplyAction, ApplyRequest, ApplyResponse};
use api_types::{ObjectMeta, OrgName, Organization, OrganizationSpec};
use clap::Subcommand;

use super::Session;
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  skyctl create org acme --display-name \"Acme Ltd.\"";

const ORG_EXAMPLES: &str = "\
Examples:
  skyctl create org acme
  skyctl create org acme --display-name \"Acme Ltd.\"";

/// Arguments of `create`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// An organization
    #[command(visible_alias = "organization", after_help = ORG_EXAMPLES)]
    Org {
        /// Its name
        name: OrgName,
        /// Its name for people
        #[arg(long, value_name = "TEXT")]
        display_name: Option<String>,
    },
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let What::Org { name, display_name } = args.what;
    organization(session, name, display_name).await
}

/// Makes an organization, or changes its name for people.
///
/// # Errors
/// What the server refuses.
pub async fn organization(session: &Session, name: OrgName, display_name: Option<String>) -> Result<()> {
    let org = Organization::new(ObjectMeta::named(name.as_str()), OrganizationSpec { display_name });
    let value = serde_json::to_value(&org).map_err(|error| CliError::io("the organization cannot be written as JSON", error))?;
    let response: ApplyResponse = session.client.post(routes::APPLY, &[], &ApplyRequest { items: vec![value] }).await?;
    let word = match response.results.first().map(|result| result.action) {
        Some(ApplyAction::Created) => "created",
        Some(ApplyAction::Configured) => "configured",
        Some(ApplyAction::Unchanged) | None => "unchanged",
    };
    output::line(&format!("organization/{name} {word}"))
}
