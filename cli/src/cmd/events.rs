//! `skyctl events`

use api_types::Kind;
use api_types::api::List;
use api_types::event::Event;

use super::Session;
use crate::client::routes;
use crate::errors::Result;
use crate::output::TextFormat;
use crate::{clock, output, resource};

const EXAMPLES: &str = "\
Examples:
  skyctl events              of the whole organization
  skyctl events app/shop     of one app
  skyctl events -o json      for programs";

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// App; without it, everything in the organization
    #[arg(value_name = "app/NAME")]
    pub name: Option<String>,
    /// Only this many of the last events
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, default_value_t = TextFormat::Text)]
    pub output: TextFormat,
}

/// Runs the verb.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let org = session.org().await?;
    let query = [("limit", args.limit.to_string())];
    let events: List<Event> = match &args.name {
        None => session.client.get(&routes::events(&org), &query).await?,
        Some(word) => {
            let name = resource::app(word)?;
            match session.client.get(&routes::app(&org, &name, "events"), &query).await {
                Ok(events) => events,
                Err(error) => return Err(session.with_similar(error, Kind::App, &org, &name).await),
            }
        }
    };
    if let Some(text) = args.output.render(&events)? {
        return output::print(&text);
    }
    if events.items.is_empty() {
        output::note("nothing happened yet\n");
        return Ok(());
    }
    output::print(&output::kinds::table(&events.items, clock::now(), output::kinds::Columns::USUAL))
}
