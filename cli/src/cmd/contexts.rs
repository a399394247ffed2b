//! `skyctl contexts`

use api_types::OrgName;
use clap::Subcommand;
use secrecy::ExposeSecret;

use crate::args::Globals;
use crate::context::{Config, Context};
use crate::errors::{CliError, Result};
use crate::output::{self, Table};

const EXAMPLES: &str = "\
Examples:
  skyctl contexts                              all of them; * marks the current one
  skyctl contexts use prod
  skyctl contexts rename sky.example.com prod
  skyctl contexts set prod --org acme          its organization, from now on
  skyctl get apps --context staging            for one command only

`skyctl login` makes a context and checks its token. Contexts are kept in ~/.config/skyswarm/config.yaml (or
$SKYSWARM_CONFIG), with mode 0600.";

const EXAMPLES_LIST: &str = "\
Examples:
  skyctl contexts list
  skyctl contexts list -o name     one a line, for scripts";

const EXAMPLES_USE: &str = "\
Examples:
  skyctl contexts use prod";

const EXAMPLES_SET: &str = "\
Examples:
  skyctl contexts set prod --org acme
  skyctl contexts set prod --url https://sky.example.com --token \"$TOKEN\"

A token is dropped when the address changes, unless a new one is given.";

const EXAMPLES_RENAME: &str = "\
Examples:
  skyctl contexts rename sky.example.com prod";

const EXAMPLES_DELETE: &str = "\
Examples:
  skyctl contexts delete staging";

/// Arguments of `contexts`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show all contexts; never their tokens
    #[command(after_help = EXAMPLES_LIST)]
    List {
        /// Form of the output
        #[arg(short, long, value_name = "FORM", default_value = "table")]
        output: ListForm,
    },
    /// Make a context the current one
    #[command(after_help = EXAMPLES_USE)]
    Use {
        /// Its name
        #[arg(value_name = "CONTEXT")]
        name: String,
    },
    /// Add or change a context, with --url, --token and --org; the first one becomes the current one
    #[command(after_help = EXAMPLES_SET)]
    Set {
        /// Its name
        #[arg(value_name = "CONTEXT")]
        name: String,
    },
    /// Give a context another name
    #[command(after_help = EXAMPLES_RENAME)]
    Rename {
        /// Its name
        #[arg(value_name = "CONTEXT")]
        name: String,
        /// Its new name
        to: String,
    },
    /// Forget a context, and its token
    #[command(after_help = EXAMPLES_DELETE)]
    Delete {
        /// Its name
        #[arg(value_name = "CONTEXT")]
        name: String,
    },
}

/// Forms of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ListForm {
    /// Columns.
    Table,
    /// Names only.
    Name,
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`].
pub fn run(args: Args, globals: &Globals) -> Result<()> {
    let path = Config::path()?;
    let mut config = Config::load(&path)?;
    match args.what.unwrap_or(What::List { output: ListForm::Table }) {
        What::List { output: ListForm::Table } => list(&config),
        What::List { output: ListForm::Name } => config.contexts.keys().try_for_each(|name| output::line(name)),
        What::Use { name } => {
            config.contexts.get(&name).ok_or_else(|| config.unknown(&name))?;
            config.current_context = Some(name.clone());
            config.save(&path)?;
            output::line(&format!("the context is now {name}"))
        }
        What::Set { name } => {
            check_name(&name)?;
            let given = globals.given()?;
            let context = config.contexts.entry(name.clone()).or_default();
            change(context, given.url, given.token.map(|token| token.expose_secret().to_owned()), given.org)?;
            config.current_context.get_or_insert_with(|| name.clone());
            config.save(&path)?;
            output::line(&format!("context {name} saved in {}", path.display()))
        }
        What::Rename { name, to } => {
            rename(&mut config, &name, &to)?;
            config.save(&path)?;
            output::line(&format!("context {name} is now {to}"))
        }
        What::Delete { name } => {
            config.contexts.remove(&name).ok_or_else(|| config.unknown(&name))?;
            config.current_context.take_if(|current| *current == name);
            config.save(&path)?;
            output::line(&format!("context {name} deleted"))
        }
    }
}

/// A name is one word, so that it can be completed and copied.
///
/// # Errors
/// When it is empty, or has a space or a control character.
pub fn check_name(name: &str) -> Result<()> {
    if !name.is_empty() && name.len() <= 255 && name.chars().all(|c| !c.is_whitespace() && !c.is_control()) {
        return Ok(());
    }
    Err(CliError::Usage("the name of a context is one word of at most 255 bytes".to_owned()))
}

fn rename(config: &mut Config, name: &str, to: &str) -> Result<()> {
    check_name(to)?;
    if !config.contexts.contains_key(name) {
        return Err(config.unknown(name));
    }
    if name != to && config.contexts.contains_key(to) {
        return Err(CliError::Usage(format!("there is a context {to} already; delete it first with: skyctl contexts delete {to}")));
    }
    if let Some(context) = config.contexts.remove(name) {
        config.contexts.insert(to.to_owned(), context);
    }
    if config.current_context.as_deref() == Some(name) {
        config.current_context = Some(to.to_owned());
    }
    Ok(())
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
        output::note("there are no contexts; `skyctl login URL` makes one\n");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_context_stays_the_current_one_and_takes_no_other_ones_place() {
        let context = |url: &str| Context { url: Some(url.to_owned()), ..Context::default() };
        let contexts = [("a".to_owned(), context("http://a")), ("b".to_owned(), context("http://b"))].into();
        let mut config = Config { current_context: Some("a".to_owned()), contexts };
        assert!(
            rename(&mut config, "a", "b").is_err() && rename(&mut config, "x", "y").is_err() && rename(&mut config, "a", "c d").is_err()
        );
        rename(&mut config, "a", "c").expect("free");
        assert_eq!(config.current_context.as_deref(), Some("c"));
        assert_eq!(config.contexts.keys().collect::<Vec<_>>(), ["b", "c"]);
        rename(&mut config, "b", "d").expect("free");
        assert_eq!(config.current_context.as_deref(), Some("c"), "another one's name does not matter");
    }
}
