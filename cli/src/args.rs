//! The command line's grammar. What a verb takes is with the verb, in `cmd/`.

use api_types::{HumanDuration, OrgName};
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};
use secrecy::SecretString;

use crate::cmd;
use crate::context::Given;
use crate::errors::{CliError, Result};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
First steps:
  skyctl apply -f app.yaml --wait      apply a manifest and watch the rollout
  skyctl get apps                      what runs, and where it answers
  skyctl describe app shop             all that is known of it
  skyctl why app/shop                  what is wrong, since when, and what to do
  skyctl logs shop -f                  what it says
  skyctl scale shop web=3 --wait       more of it

Exit codes: 0 done, 1 failed, 2 wrong usage or manifest, 3 not found, 4 not allowed, 5 conflict,
6 server not available, 124 timeout, 130 interrupted.";

/// The Skyswarm command line.
#[derive(Debug, Parser)]
#[command(name = "skyctl", version, styles = STYLES, after_help = EXAMPLES, disable_help_subcommand = true, max_term_width = 110)]
pub struct Cli {
    /// What every verb takes.
    #[command(flatten)]
    pub globals: Globals,
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every verb. What stands in the environment for them is read here and not by the grammar, which would show it
/// as a flag that is required in the usage of every error.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct Globals {
    /// Address of the server [env: SKYSWARM_URL] [default: the context's, else http://127.0.0.1:7070]
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// Token; better given by the environment, since others on the machine can see arguments [env: SKYSWARM_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN")]
    pub token: Option<SecretString>,
    /// Organization [env: SKYSWARM_ORG] [default: the token's own, else the context's, else "default"]
    #[arg(long, global = true, value_name = "ORG")]
    pub org: Option<String>,
    /// Context from the configuration file [env: SKYSWARM_CONTEXT]
    #[arg(long, global = true, value_name = "CONTEXT")]
    pub context: Option<String>,
    /// No colours; the variable NO_COLOR does the same
    #[arg(long, global = true)]
    pub no_color: bool,
}

impl Globals {
    /// For [`crate::context::resolve`]. An empty variable counts as none.
    ///
    /// # Errors
    /// When the organisation's name is none.
    pub fn given(&self) -> Result<Given> {
        self.given_in(|name| std::env::var(name).ok())
    }

    /// Whether the environment names a server or a token, which win over those of a context.
    pub fn environment_decides() -> bool {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|text| !text.is_empty());
        is_set("SKYSWARM_URL") || is_set("SKYSWARM_TOKEN")
    }

    fn given_in(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Given> {
        let set = |flag: &Option<String>, name: &str| flag.clone().or_else(|| variable(name)).filter(|text| !text.is_empty());
        let token = self.token.clone().or_else(|| variable("SKYSWARM_TOKEN").map(SecretString::from));
        let token = token.filter(|token| !secrecy::ExposeSecret::expose_secret(token).is_empty());
        let org = set(&self.org, "SKYSWARM_ORG").map(|org| org.parse::<OrgName>()).transpose();
        let org = org.map_err(|error| CliError::Usage(error.to_string()))?;
        Ok(Given { url: set(&self.url, "SKYSWARM_URL"), token, org, context: set(&self.context, "SKYSWARM_CONTEXT") })
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Apply manifests: create what is new, change what differs
    Apply(cmd::apply::Args),
    /// Show what an apply would do, without doing it
    Plan(cmd::plan::Args),
    /// Show what differs between two revisions, or between files and the server
    Diff(cmd::diff::Args),
    /// Show an app's revisions: who changed what, when, and what became of it
    History(cmd::history::Args),
    /// Show an app's manifest as it is, or as it was
    Show(cmd::show::Args),
    /// Go back to an older revision: image, variables, secrets, domains and scale
    Rollback(cmd::rollback::Args),
    /// Try a failed revision again
    Retry(cmd::rollback::RetryArgs),
    /// List objects, or show one
    Get(cmd::get::Args),
    /// Explain one object: state, conditions, events
    Describe(cmd::describe::Args),
    /// Change a manifest in an editor
    Edit(cmd::edit::Args),
    /// Change the number of replicas
    Scale(cmd::scale::Args),
    /// Explain the fields of a manifest
    Explain(cmd::explain::Args),
    /// Say why an app is not ready, and what to do
    Why(cmd::why::Args),
    /// Show the platform at a glance
    Status(cmd::status::Args),
    /// Set variables, secrets or the image
    Set(cmd::set::Args),
    /// Remove variables or secrets
    Unset(cmd::set::UnsetArgs),
    /// Replace all tasks by new ones, one after the other
    Restart(cmd::restart::Args),
    /// Stop an app; it keeps its configuration and scale
    Stop(cmd::stop::StopArgs),
    /// Start a stopped app
    Start(cmd::stop::StartArgs),
    /// Show what was changed behind the platform's back
    Drift(cmd::drift::Args),
    /// Write nothing for an app for a while
    Pause(cmd::pause::Args),
    /// End the pause of an app
    Resume(cmd::pause::ResumeArgs),
    /// Read the logs of all replicas
    Logs(cmd::logs::Args),
    /// Show the processor time and memory that tasks use
    Top(cmd::top::Args),
    /// Open an app in the browser
    Open(cmd::open::Args),
    /// List what happened
    Events(cmd::events::Args),
    /// Wait until a condition holds or an object is gone
    Wait(cmd::wait::Args),
    /// Delete objects
    Delete(cmd::delete::Args),
    /// Create an object without a manifest
    Create(cmd::create::Args),
    /// Write manifests from a Compose file
    Import(cmd::import::Args),
    /// Write manifests from Swarm services that run already, to take them over
    Adopt(cmd::adopt::Args),
    /// Read and change settings of the platform
    Settings(cmd::settings::Args),
    /// Keep a server's address and a token, after checking both
    Login(cmd::login::Args),
    /// Forget the token of a context
    Logout(cmd::login::LogoutArgs),
    /// Choose among servers: list, use, set, rename, delete
    #[command(visible_alias = "context")]
    Contexts(cmd::contexts::Args),
    /// Make, list and revoke tokens
    #[command(visible_alias = "token")]
    Tokens(cmd::tokens::Args),
    /// Take a node out of use: no requests, then no tasks
    Drain(cmd::drain::DrainArgs),
    /// Let a node take tasks again
    Activate(cmd::drain::ActivateArgs),
    /// Make, list and delete organizations
    #[command(visible_alias = "org")]
    Orgs(cmd::orgs::Args),
    /// Show whose token is used and what it may do
    Whoami(cmd::whoami::Args),
    /// Show the versions of this program and of the server
    Version(cmd::version::Args),
    /// Write a completion script for a shell
    Completion(cmd::completion::Args),
    /// Write manual pages
    Man(cmd::man::Args),
    /// Write the reference of the command line
    #[command(hide = true)]
    Reference(cmd::reference::Args),
    /// Write the JSON Schemas of all kinds
    #[command(hide = true)]
    Schemas(cmd::schemas::Args),
}

impl Command {
    /// Whether the verb may have the server do something.
    pub fn changes(&self) -> bool {
        match self {
            Self::Apply(_) | Self::Rollback(_) | Self::Retry(_) | Self::Edit(_) | Self::Scale(_) | Self::Set(_) | Self::Unset(_) => true,
            Self::Restart(_) | Self::Stop(_) | Self::Start(_) | Self::Pause(_) | Self::Resume(_) | Self::Delete(_) => true,
            Self::Create(_) | Self::Settings(_) | Self::Tokens(_) | Self::Orgs(_) | Self::Drain(_) | Self::Activate(_) => true,
            Self::Plan(_) | Self::Diff(_) | Self::History(_) | Self::Show(_) | Self::Get(_) | Self::Describe(_) => false,
            Self::Explain(_) | Self::Why(_) | Self::Status(_) | Self::Drift(_) | Self::Logs(_) | Self::Top(_) | Self::Open(_) => false,
            Self::Events(_) | Self::Wait(_) | Self::Import(_) | Self::Adopt(_) | Self::Login(_) | Self::Logout(_) => false,
            Self::Contexts(_) | Self::Whoami(_) | Self::Version(_) | Self::Completion(_) | Self::Man(_) => false,
            Self::Reference(_) | Self::Schemas(_) => false,
        }
    }
}

/// Flags of verbs that wait.
#[derive(Debug, Clone, Args)]
pub struct WaitArgs {
    /// Wait until the app serves, or has failed to
    #[arg(long, short = 'w')]
    pub wait: bool,
    /// Longest time to wait
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub timeout: HumanDuration,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn an_empty_variable_is_none_and_a_token_is_never_shown() {
        let cli = Cli::parse_from(["skyctl", "--org", "", "--url", "", "--token", "sky_secret", "whoami"]);
        let environment = |name: &str| Some(format!("http://{name}"));
        let given = cli.globals.given_in(environment).expect("nothing wrong");
        assert!(given.org.is_none() && given.url.is_none() && given.token.is_some(), "an empty flag wins over the environment");
        let bare = Cli::parse_from(["skyctl", "whoami"]).globals;
        let given = bare.given_in(|name| (name == "SKYSWARM_URL").then(|| "http://a".to_owned())).expect("nothing wrong");
        assert!(given.url.as_deref() == Some("http://a") && given.token.is_none() && given.org.is_none());
        assert!(bare.given_in(|_| Some(String::new())).expect("nothing wrong").url.is_none());
        assert!(!format!("{:?} {given:?}", cli.globals).contains("sky_secret"));
        assert!(Cli::parse_from(["skyctl", "--org", "A B", "whoami"]).globals.given().is_err());
    }

    #[test]
    fn the_grammar_holds_together_and_every_verb_has_examples() {
        let command = Cli::command();
        command.clone().debug_assert();
        let mut verbs = Vec::new();
        collect("skyctl", &command, &mut verbs);
        assert!(verbs.len() > 50, "{}", verbs.len());
        let mut wrong = Vec::new();
        for (name, help) in verbs {
            let examples: Vec<&str> = help.lines().map(str::trim_start).filter(|line| line.starts_with(&format!("{name} "))).collect();
            if !help.contains("Examples:") || examples.is_empty() && !help.lines().any(|line| line.trim() == name) {
                wrong.push(format!("{name} has no examples"));
            }
            for example in examples {
                // What is said of it comes after two spaces; what the shell does with it after its signs.
                let line = [" | ", " ||", " >", " <", "; ", "  "].iter().fold(example, |line, end| line.split(end).next().unwrap_or(line));
                let words = shlex::split(line).unwrap_or_default();
                if let Err(error) = Cli::command().try_get_matches_from(words) {
                    wrong.push(format!("{example}: {error}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    fn collect(path: &str, command: &clap::Command, verbs: &mut Vec<(String, String)>) {
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = format!("{path} {}", verb.get_name());
            collect(&name, verb, verbs);
            verbs.push((name, verb.get_after_help().map(ToString::to_string).unwrap_or_default()));
        }
    }
}
