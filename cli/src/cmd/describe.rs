//! `skyctl describe`

use api_types::api::List;
use api_types::event::Event;
use api_types::{App, Kind};

use super::{Session, typed};
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::{clock, output, resource};

const EXAMPLES: &str = "\
Examples:
  skyctl describe app shop
  skyctl describe node/n1
  skyctl describe certificate/example-com";

/// Arguments of `describe`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// KIND NAME, or KIND/NAME
    #[arg(value_name = "KIND NAME", required = true)]
    pub what: Vec<String>,
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let (kind, names) = resource::selection(&args.what)?;
    if names.is_empty() {
        return Err(CliError::Usage(format!("which one? `skyctl get {}` shows all", kind.plural())));
    }
    let org = session.org_for(kind).await?;
    for (n, name) in names.iter().enumerate() {
        let object = session.object(kind, &org, name).await?;
        let text = match kind {
            Kind::App => {
                let app: App = typed(&object)?;
                // Events are a comfort: without them the rest is still worth showing.
                let events = session.client.get::<List<Event>>(&routes::app(&org, name, "events"), &[]).await;
                output::describe::app(&app, &events.map(|list| list.items).unwrap_or_default(), clock::now())
            }
            Kind::Certificate => output::describe::certificate(&typed(&object)?, clock::now()),
            Kind::Node => output::describe::node(&typed(&object)?, clock::now()),
            _ => output::describe::other(&object)?,
        };
        output::print(&if n > 0 { format!("\n{text}") } else { text })?;
    }
    Ok(())
}
