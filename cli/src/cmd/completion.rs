//! `skyctl completion`

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

use crate::args::Cli;
use crate::errors::Result;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  source <(skyctl completion bash)
  skyctl completion zsh > \"${fpath[1]}/_skyctl\"
  skyctl completion fish > ~/.config/fish/completions/skyctl.fish";

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
    let shell = match args.shell {
        Supported::Bash => Shell::Bash,
        Supported::Zsh => Shell::Zsh,
        Supported::Fish => Shell::Fish,
    };
    // Into memory first: the generator panics when its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "skyctl", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
