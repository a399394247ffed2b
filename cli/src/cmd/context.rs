//! `skyctl context`

use std::io::Write;

use api_types::OrgName;
use clap::Subcommand;
use secrecy::ExposeSecret;

use crate::args::Globals;
use crate::context::{Config, Context};
use crate::errors::{CliError, Result};
use crate::output::{self, Table};

const EXAMPLES: &str = "\
Examples:
  skyctl context set prod --url https://sky.example.com --token \"$TOKEN\" --org acme
  skyctl context use prod
  skyctl get apps --context staging

Contexts are kept in ~/.config/skyswarm/config.yaml (or $SKYSWARM_CONFIG) with mode 0600.";

/// Arguments of `context`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show all contexts; never their tokens
    List,
    /// Make a context the current one
    Use {
        /// Its name
        name: String,
    },
    /// Add or change a context, with --url, --token and --org; the first one becomes the current one
    Set {
        /// Its name
        name: String,
    },
    /// Forget a context
    Delete {
        /// Its name
        name: String,
    },
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`].
pub fn run(args: Args, globals: &Globals) -> Result<()> {
    let path = Config::path()?;
    let mut config = Config::load(&path)?;
    match args.what {
        What::List => list(&config),
        What::Use { name } => {
            config.contexts.get(&name).ok_or_else(|| config.unknown(&name))?;
            config.current_context = Some(name.clone());
            config.save(&path)?;
            output::line(&format!("the context is now {name}"))
        }
        What::Set { name } => {
            let given = globals.given()?;
            let context = config.contexts.entry(name.clone()).or_default();
            change(context, given.url, given.token.map(|token| token.expose_secret().to_owned()), given.org)?;
            config.current_context.get_or_insert_with(|| name.clone());
            config.save(&path)?;
            output::line(&format!("context {name} saved in {}", path.display()))
        }
        What::Delete { name } => {
            config.contexts.remove(&name).ok_or_else(|| config.unknown(&name))?;
            config.current_context.take_if(|current| *current == name);
            config.save(&path)?;
            output::line(&format!("context {name} deleted"))
        }
    }
}

fn change(context: &mut Context, url: Option<String>, token: Option<String>, org: Option<OrgName>) -> Result<()> {
    if url.is_none() && token.is_none() && org.is_none() {
        return Err(CliError::Usage("give at least one of --url, --token, --org".to_owned()));
    }
    // A token must not follow the context to another server.
    if url.is_some() && url != context.url && token.is_none() {
        context.token = None;
    }
    context.url = url.or(context.url.take());
    context.token = token.or(context.token.take());
    context.org = org.or(context.org.take());
    Ok(())
}

fn list(config: &Config) -> Result<()> {
    if config.contexts.is_empty() {
        let _ = anstream::stderr().write_all(b"there are no contexts; add one with `skyctl context set NAME --url URL --token TOKEN`\n");
        return Ok(());
    }
    let mut table = Table::new(["CURRENT", "NAME", "URL", "ORG", "TOKEN"]);
    for (name, context) in &config.contexts {
        let current = if config.current_context.as_ref() == Some(name) { "*" } else { " " };
        let token = if context.token.is_some() { "set" } else { "" };
        let org = context.org.as_ref().map(ToString::to_string).unwrap_or_default();
        let cells = [current.to_owned(), name.clone(), context.url.clone().unwrap_or_default(), org, token.to_owned()];
        table.row(cells.map(|text| (text, anstyle::Style::new())));
    }
    output::print(&table.render(0))
}
