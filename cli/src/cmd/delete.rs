//! `skyctl delete`

use std::path::PathBuf;

use api_types::problem::ProblemKind;
use api_types::{HumanDuration, Kind, OrgName};

use super::Session;
use super::wait::until_gone;
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::{output, resource};

const EXAMPLES: &str = "\
Examples:
  skyctl delete app shop --wait
  skyctl delete app/shop app/blog
  skyctl delete -f manifests/

An app is deleted in order: first its routes, then its processes, secrets and network.";

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// KIND NAME, or KIND/NAME
    #[arg(value_name = "KIND NAME", required_unless_present = "files", conflicts_with = "files")]
    pub what: Vec<String>,
    /// Delete the objects of these manifests
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
    /// What does not exist is no error
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Wait until the objects are gone
    #[arg(long, short = 'w')]
    pub wait: bool,
    /// Longest time to wait
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub timeout: HumanDuration,
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let objects = if args.files.is_empty() { named(session, &args.what).await? } else { from_files(session, &args.files).await? };
    let marked = all(session, objects, args.ignore_not_found).await?;
    if args.wait {
        for (kind, org, name) in marked {
            until_gone(&session.client, kind, &org, &name, args.timeout.get()).await?;
        }
    }
    Ok(())
}

/// Asks for the deletion of objects, one after the other; returns those that there were.
///
/// # Errors
/// At the first that is refused.
pub async fn all(session: &Session, objects: Vec<Object>, ignore_not_found: bool) -> Result<Vec<Object>> {
    let mut marked = Vec::new();
    for (kind, org, name) in objects {
        let label = format!("{}/{name}", kind.as_str().to_lowercase());
        match session.client.delete(&routes::object(kind, &org, &name)).await {
            Ok(()) => {
                let done = if kind == Kind::App { "is being deleted" } else { "deleted" };
                output::line(&format!("{label} {done}"))?;
                marked.push((kind, org, name));
            }
            Err(error) if ignore_not_found && error.problem_kind() == Some(ProblemKind::NotFound) => {
                output::line(&format!("{label} does not exist"))?;
            }
            Err(error) => return Err(session.with_similar(error, kind, &org, &name).await),
        }
    }
    Ok(marked)
}

/// An object by its kind, organisation and name.
pub type Object = (Kind, OrgName, String);

fn deletable(kind: Kind) -> Result<()> {
    match kind {
        Kind::Node => Err(CliError::Usage("nodes are observed, not deleted here; drain the node in the Swarm".to_owned())),
        Kind::Setting => {
            Err(CliError::Usage("settings are not deleted; go back to the default with `skyctl settings reset KEY`".to_owned()))
        }
        Kind::App | Kind::Domain | Kind::Organization | Kind::Certificate => Ok(()),
    }
}

async fn named(session: &Session, words: &[String]) -> Result<Vec<Object>> {
    let (kind, names) = resource::selection(words)?;
    deletable(kind)?;
    if names.is_empty() {
        return Err(CliError::Usage(format!("which one? Deleting all {} at once is not possible", kind.plural())));
    }
    let org = session.org_for(kind).await?;
    Ok(names.into_iter().map(|name| (kind, org.clone(), name)).collect())
}

/// In the reverse order: what came last may need what came first.
async fn from_files(session: &Session, files: &[PathBuf]) -> Result<Vec<Object>> {
    let loaded = super::apply::prepare(session, files).await?;
    let mut objects = Vec::new();
    for document in loaded.documents.iter().rev().filter(|document| document.kind != Kind::Setting) {
        let org = match document.org().and_then(|org| org.parse().ok()) {
            Some(org) => org,
            None => session.org_for(document.kind).await?,
        };
        objects.push((document.kind, org, document.name.clone()));
    }
    Ok(objects)
}
