//! `skyctl orgs`: the organizations of a platform. The same objects as `get orgs`, for those who look for a verb.

use api_types::{Kind, OrgName};
use clap::Subcommand;

use super::{Session, create, delete, get};
use crate::errors::Result;
use crate::output::Format;

const EXAMPLES: &str = "\
Examples:
  skyctl orgs list
  skyctl orgs create acme --display-name \"Acme Ltd.\"
  skyctl orgs delete acme

Apps and domains belong to an organization; so may tokens. `skyctl contexts set NAME --org acme` works in one from
now on, --org for one command.";

const LIST_EXAMPLES: &str = "\
Examples:
  skyctl orgs list
  skyctl orgs list -o name";

const CREATE_EXAMPLES: &str = "\
Examples:
  skyctl orgs create acme --display-name \"Acme Ltd.\"";

const DELETE_EXAMPLES: &str = "\
Examples:
  skyctl orgs delete acme

An organization that has apps is not deleted.";

/// Arguments of `orgs`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show organizations
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Form of the answer
        #[arg(short, long, value_name = "FORM", default_value = "table")]
        output: Format,
    },
    /// Make an organization, or change its name for people
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// Its name
        name: OrgName,
        /// Its name for people
        #[arg(long, value_name = "TEXT")]
        display_name: Option<String>,
    },
    /// Delete organizations that have no apps
    #[command(after_help = DELETE_EXAMPLES)]
    Delete {
        /// Their names
        #[arg(value_name = "ORG", required = true)]
        names: Vec<OrgName>,
        /// What does not exist is no error
        #[arg(long)]
        ignore_not_found: bool,
    },
}

/// Runs the verb.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    match args.what {
        What::List { output } => get::run(session, get::Args::of_kind(Kind::Organization, output)).await,
        What::Create { name, display_name } => create::organization(session, name, display_name).await,
        What::Delete { names, ignore_not_found } => {
            let objects = names.into_iter().map(|name| (Kind::Organization, name.clone(), name.to_string())).collect();
            delete::all(session, objects, ignore_not_found).await.map(drop)
        }
    }
}
