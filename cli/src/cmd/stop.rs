//! `skyctl stop` and `skyctl start`

use serde_json::json;

use super::Session;
use crate::args::WaitArgs;
use crate::change::Target;
use crate::errors::Result;

const STOP_EXAMPLES: &str = "\
Examples:
  skyctl stop shop --wait
  skyctl start shop --wait      with the scale that it had

A stopped app keeps its configuration, domains and scale, and has no task; requests are answered with 503.
It is the field spec.suspend: the next apply of a manifest sets what the manifest says.";

const START_EXAMPLES: &str = "\
Examples:
  skyctl start shop --wait      with the scale that it had";

/// Arguments of `stop`.
#[derive(Debug, clap::Args)]
#[command(after_help = STOP_EXAMPLES)]
pub struct StopArgs {
    /// App
    #[arg(value_name = "app/NAME")]
    pub name: String,
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Arguments of `start`.
#[derive(Debug, clap::Args)]
#[command(after_help = START_EXAMPLES)]
pub struct StartArgs {
    /// App
    #[arg(value_name = "app/NAME")]
    pub name: String,
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Runs `stop`.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn stop(session: &Session, args: StopArgs) -> Result<()> {
    suspend(session, &args.name, true, &args.wait).await
}

/// Runs `start`.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn start(session: &Session, args: StartArgs) -> Result<()> {
    suspend(session, &args.name, false, &args.wait).await
}

async fn suspend(session: &Session, name: &str, suspend: bool, wait: &WaitArgs) -> Result<()> {
    let target = Target::read(session, name).await?;
    let (source, done) = if suspend { ("stop", "stopping") } else { ("start", "starting") };
    let changed = target.patch(session, source, &json!({"spec": {"suspend": suspend}})).await?;
    target.report(session, &changed, done, wait).await
}
