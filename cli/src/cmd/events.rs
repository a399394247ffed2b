//! `skyctl events`

use api_types::api::List;
use api_types::event::Event;
use api_types::{Kind, OrgName};

use super::Session;
use super::get::Shape;
use crate::client::routes;
use crate::errors::Result;
use crate::live::{Look, Show, Source, Watch};
use crate::output::{Format, TextFormat};
use crate::{clock, output, resource};

const EXAMPLES: &str = "\
Examples:
  skyctl events              of the whole organization
  skyctl events app/shop     of one app
  skyctl events -w           and every new one from now on, until Ctrl-C
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
    /// Go on with new events until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
}

/// Runs the verb.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let org = session.org().await?;
    let query = [("limit", args.limit.to_string())];
    if args.watch {
        return watch(session, &args, &org, query.to_vec()).await;
    }
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

/// The last events, then every new one.
async fn watch(session: &Session, args: &Args, org: &OrgName, query: Vec<(&'static str, String)>) -> Result<()> {
    let path = match &args.name {
        None => routes::events(org),
        Some(word) => {
            let name = resource::app(word)?;
            session.object(Kind::App, org, &name).await?;
            routes::app(org, &name, "events")
        }
    };
    let format = match args.output {
        TextFormat::Text => Format::Table,
        TextFormat::Json => Format::Json,
        TextFormat::Yaml => Format::Yaml,
    };
    let look = Look::of_events(format);
    let watch = Watch {
        sources: vec![Source { path, query }],
        look,
        show: Show::new(look, Shape::new(format, false), false, false),
        only_changes: false,
        order: &|_| Ok(()),
        nothing: Some("nothing happened yet\n".to_owned()).filter(|_| format == Format::Table),
    };
    watch.run(&session.client).await
}
