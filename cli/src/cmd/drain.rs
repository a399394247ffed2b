//! `skyctl drain` and `skyctl activate`: whether a machine takes tasks.

use api_types::kinds::node::Availability;
use api_types::{HumanDuration, Kind, Node};
use serde_json::json;
use tokio::time::Instant;

use super::Session;
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::watch::Pauses;
use crate::{output, resource};

const DRAIN_EXAMPLES: &str = "\
Examples:
  skyctl drain n2 --wait
  skyctl drain node/n2
  skyctl activate n2

The edge stops sending requests to tasks on the node first, where an app has others that are ready; then the engine
moves the tasks. It holds until `skyctl activate`, also when somebody else sets the node to active.";

const ACTIVATE_EXAMPLES: &str = "\
Examples:
  skyctl activate n2 --wait

Tasks that run elsewhere stay where they are; new ones may come to the node.";

/// Arguments of `drain`.
#[derive(Debug, clap::Args)]
#[command(after_help = DRAIN_EXAMPLES)]
pub struct DrainArgs {
    #[command(flatten)]
    what: NodeArgs,
}

/// Arguments of `activate`.
#[derive(Debug, clap::Args)]
#[command(after_help = ACTIVATE_EXAMPLES)]
pub struct ActivateArgs {
    #[command(flatten)]
    what: NodeArgs,
}

#[derive(Debug, clap::Args)]
struct NodeArgs {
    /// Node, by its host name or the engine's id
    #[arg(value_name = "node/NAME")]
    name: String,
    /// Wait until the engine has done it
    #[arg(long, short = 'w')]
    wait: bool,
    /// Longest time to wait
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    timeout: HumanDuration,
}

/// Runs `drain`.
///
/// # Errors
/// See [`CliError`].
pub async fn drain(session: &Session, args: DrainArgs) -> Result<()> {
    ask(session, &args.what, "drain", Availability::Drain).await
}

/// Runs `activate`.
///
/// # Errors
/// See [`CliError`].
pub async fn activate(session: &Session, args: ActivateArgs) -> Result<()> {
    ask(session, &args.what, "activate", Availability::Active).await
}

async fn ask(session: &Session, args: &NodeArgs, verb: &str, wanted: Availability) -> Result<()> {
    let name = match args.name.split_once('/') {
        None => args.name.as_str(),
        Some((kind, name)) if !name.is_empty() && resource::kind(kind)? == Kind::Node => name,
        Some(_) => return Err(CliError::Usage(format!("\"{}\" is not a node; write its NAME or node/NAME", args.name))),
    };
    let org = session.org_for(Kind::Node).await?;
    let object = routes::object(Kind::Node, &org, name);
    let node: Node = match session.client.post(&format!("{object}/{verb}"), &[], &json!({})).await {
        Ok(node) => node,
        Err(error) => return Err(session.with_similar(error, Kind::Node, &org, name).await),
    };
    let done = |word: &str| output::line(&format!("node/{} {word}", node.metadata.name));
    if !args.wait {
        return done(if wanted == Availability::Drain { "is being drained" } else { "is being activated" });
    }
    let deadline = Instant::now() + args.timeout.get();
    let mut pauses = Pauses::default();
    loop {
        match session.client.get::<Node>(&object, &[]).await {
            Ok(now) if now.status.as_ref().is_some_and(|status| status.availability == wanted.as_str()) => {
                return done(if wanted == Availability::Drain { "drained" } else { "active" });
            }
            Ok(_) => {}
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error),
        }
        if Instant::now() >= deadline {
            return Err(CliError::Timeout(format!("node/{name} was not set to {wanted} within {}", args.timeout)));
        }
        pauses.next(deadline).await;
    }
}
