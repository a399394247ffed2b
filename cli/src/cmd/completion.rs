//! `skyctl completion`

use clap::ValueEnum;
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use crate::complete;
use crate::errors::{CliError, Result};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  source <(skyctl completion bash)              now; in ~/.bashrc from now on
  source <(skyctl completion zsh)               after compinit
  skyctl completion fish | source

The script asks this program for every word, so that names of apps, revisions, organizations, tokens and settings
come from the server. A server that does not answer within 1.5 seconds gives none.";

/// Arguments of `completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Shell
    pub shell: Supported,
}

/// Shells that scripts are written for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Supported {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// Runs the verb.
///
/// # Errors
/// When the output cannot be written.
pub fn run(args: Args) -> Result<()> {
    let shell: &dyn EnvCompleter = match args.shell {
        Supported::Bash => &Bash,
        Supported::Zsh => &Zsh,
        Supported::Fish => &Fish,
    };
    let mut script = Vec::new();
    let written = shell.write_registration(complete::VARIABLE, "skyctl", "skyctl", "skyctl", &mut script);
    written.map_err(|error| CliError::io("the script cannot be written", error))?;
    output::print(&String::from_utf8_lossy(&script))
}
