//! `skyctl reference`: the page `docs/cli.md`, made from the grammar. Hidden: it is for whoever builds Skyswarm.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use crate::args::Cli;
use crate::errors::Result;
use crate::output;

const HEAD: &str = "\
# skyctl

The command line of Skyswarm. This page is made from the program's own help by `./dev generate`.

It speaks HTTP to a server and nothing else. Which one, with which token and in which organization comes from flags,
then from the environment (`SKYSWARM_URL`, `SKYSWARM_TOKEN`, `SKYSWARM_ORG`, `SKYSWARM_CONTEXT`), then from the
context that `skyctl login` made (`~/.config/skyswarm/config.yaml`, or `$SKYSWARM_CONFIG`).

| exit code | |
| --- | --- |
| 0 | done |
| 1 | failed; for `diff`: there are differences; for `status`: the platform does not do its work; for `why`: the app is not ready |
| 2 | the command line or a manifest is not right |
| 3 | there is no such object |
| 4 | not allowed: no token, a wrong one, or one that may not |
| 5 | conflict: somebody else changed the object, or it is in use |
| 6 | the server cannot be reached, or is not well |
| 124 | time is up (`--timeout`) |
| 130 | interrupted (Ctrl-C); what was sent to the server goes on there |

Answers go to the standard output, everything else to the standard error. Colours are for terminals only, and for
none when `NO_COLOR` is set. A reader that goes away (`skyctl get apps | head -1`) ends the program without an error.
Names complete in bash, zsh and fish: see `skyctl completion --help`. `skyctl man --out DIR` writes manual pages.
";

/// Arguments of `reference`: none.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
///
/// # Errors
/// When the output cannot be written.
pub fn run() -> Result<()> {
    output::print(&page())
}

/// The page.
fn page() -> String {
    let mut command = plain(Cli::command());
    command.build();
    let mut text = HEAD.to_owned();
    text.push_str("\n## Verbs\n\n");
    for verb in shown(&command) {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "- [{0}](#skyctl-{0}): {about}", verb.get_name());
    }
    section(&mut text, "Flags of every verb", &command);
    for verb in shown(&command) {
        verbs(&mut text, &format!("skyctl {}", verb.get_name()), verb);
    }
    text
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set())
}

fn verbs(text: &mut String, name: &str, command: &Command) {
    section(text, name, command);
    for verb in shown(command) {
        verbs(text, &format!("{name} {}", verb.get_name()), verb);
    }
}

fn section(text: &mut String, title: &str, command: &Command) {
    // Flags of every verb are told once.
    let mut command = command.clone().mut_args(|arg| {
        let is_root = title.starts_with("Flags");
        if arg.is_global_set() && !is_root { arg.hide(true) } else { arg }
    });
    let help = command.render_long_help().to_string();
    // Lines without spaces at their ends, whatever the help's columns need.
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(text, "\n## {title}\n\n```text\n{}\n```\n", help.join("\n").trim_end());
}

/// As wide as a page, and without what the environment of this run says.
fn plain(command: Command) -> Command {
    let command = command.term_width(100).mut_args(|arg| arg.hide_env_values(true));
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_verb_and_nothing_of_this_run() {
        let page = page();
        for verb in shown(&Cli::command()) {
            assert!(page.contains(&format!("\n## skyctl {}\n", verb.get_name())), "{}", verb.get_name());
        }
        assert!(page.contains("\n## skyctl set env\n") && !page.contains("skyctl reference"));
        assert!(page.contains("[env: SKYSWARM_URL]"), "the variable, not its value");
    }
}
