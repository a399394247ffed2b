//! `skyctl man`: manual pages, made from the same grammar as `--help`.

use std::fs;
use std::path::PathBuf;

use clap::{Command, CommandFactory};

use crate::args::Cli;
use crate::errors::{CliError, Result};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  skyctl man --out ~/.local/share/man/man1     one page for each verb; then: man skyctl-apply
  skyctl man | man -l -                        the first page";

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Directory for the pages of all verbs [default: the first page, to the standard output]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// When a page cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let mut command = Cli::command();
    command.build();
    let Some(out) = &args.out else {
        let page = page(&command).map_err(|error| CliError::io("the page cannot be written", error))?;
        return output::print(&String::from_utf8_lossy(&page));
    };
    let failed = |error| CliError::io(format!("the pages cannot be written to {}", out.display()), error);
    fs::create_dir_all(out).map_err(failed)?;
    let mut pages = Vec::new();
    collect(&command, &mut pages).map_err(failed)?;
    for (name, text) in &pages {
        fs::write(out.join(name), text).map_err(failed)?;
    }
    output::line(&format!("{} pages written to {}", pages.len(), out.display()))
}

fn page(command: &Command) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).manual("Skyswarm").render(&mut text)?;
    Ok(text)
}

/// The pages of a command and of all below it, with their file names.
fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    pages.push((format!("{name}.1"), page(command)?));
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).try_for_each(|sub| collect(sub, pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_with_its_examples() {
        let mut command = Cli::command();
        command.build();
        let mut pages = Vec::new();
        collect(&command, &mut pages).expect("into memory");
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = format!("skyctl-{}.1", verb.get_name());
            let (_, text) = pages.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no page {name}"));
            let text = String::from_utf8_lossy(text);
            assert!(text.contains(".SH SYNOPSIS") && (verb.get_after_help().is_none() || text.contains(".SH EXTRA")), "{name}");
        }
        assert!(pages.iter().any(|(name, _)| name == "skyctl-set-env.1"), "verbs below verbs as well");
    }
}
