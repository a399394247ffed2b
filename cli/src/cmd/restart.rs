//! `skyctl restart`

use std::collections::BTreeSet;

use api_types::api::RestartRequest;
use api_types::{App, ProcessName};

use super::Session;
use crate::args::WaitArgs;
use crate::change::Target;
use crate::client::routes;
use crate::errors::Result;

const EXAMPLES: &str = "\
Examples:
  skyctl restart shop --wait
  skyctl restart app/shop --process worker

Tasks are replaced by new ones of the same image and spec, as in a rollout: started, checked, and only then
in the place of the old. It is a new revision, and no request is lost.";

/// Arguments of `restart`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// App
    #[arg(value_name = "app/NAME")]
    pub name: String,
    /// Only this process type; may be repeated
    #[arg(short, long = "process", value_name = "PROCESS")]
    pub processes: Vec<ProcessName>,
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Runs the verb.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let target = Target::read(session, &args.name).await?;
    let processes: BTreeSet<ProcessName> = args.processes.into_iter().collect();
    let names: Vec<&str> = processes.iter().map(ProcessName::as_str).collect();
    let what = if names.is_empty() { "restarting".to_owned() } else { format!("restarting {}", names.join(", ")) };
    let path = routes::app(&target.org, &target.app.metadata.name, "restart");
    let changed: App = session.client.post(&path, &[], &RestartRequest { processes }).await?;
    target.report(session, &changed, &what, &args.wait).await
}
