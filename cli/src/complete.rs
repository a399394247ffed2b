//! Completion. The shell asks this program for every word, so that names come from the server.
//!
//! What a word may be is told by the value name in the grammar (`app/NAME`, `KIND`, `ORG`, …), so that a new verb
//! needs nothing of its own. A server that is slow, away or refuses gives no names, and never an error: nobody
//! wants one in the middle of a line.

use std::env;
use std::ffi::OsStr;
use std::future::Future;
use std::time::Duration;

use api_types::api::{List, RevisionInfo};
use api_types::token::TokenInfo;
use api_types::{Kind, OrgName};
use clap::{Command, CommandFactory};
use clap_complete::env::CompleteEnv;
use clap_complete::{ArgValueCompleter, CompletionCandidate};
use secrecy::SecretString;
use serde_json::Value;

use crate::args::{Cli, Globals};
use crate::client::routes;
use crate::cmd::Session;
use crate::context::Config;
use crate::errors::Result;
use crate::resource;

/// Variable by which a shell's script asks, with the shell's name.
pub const VARIABLE: &str = "_SKYCTL_COMPLETE";
/// Variable in which bash and zsh tell which word is completed.
const INDEX: &str = "_CLAP_COMPLETE_INDEX";
/// Longest time that a key press may take.
const DEADLINE: Duration = Duration::from_millis(1500);

/// Answers a shell that asks for words, and ends the program then.
pub fn answer_shell() {
    if env::var_os(VARIABLE).is_some() {
        CompleteEnv::with_factory(grammar).var(VARIABLE).bin("skyctl").complete();
    }
}

/// The grammar with completers for everything that has a name.
pub fn grammar() -> Command {
    with_completers(Cli::command())
}

fn with_completers(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let name = arg.get_value_names().and_then(|names| names.first()).map(|name| name.to_string()).unwrap_or_default();
        match completer(&name) {
            Some(completer) => arg.add(ArgValueCompleter::new(completer)),
            None => arg,
        }
    });
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_completers))
}

type Completer = fn(&OsStr) -> Vec<CompletionCandidate>;

fn completer(value_name: &str) -> Option<Completer> {
    let completer: Completer = match value_name {
        "app/NAME" => |current| words(current, &app_words(current)),
        "KIND" | "KIND NAME" => |current| words(current, &object_words(current, &before())),
        "ORG" => |current| words(current, &names(Kind::Organization)),
        "SETTING" => |current| words(current, &names(Kind::Setting)),
        "CONTEXT" => |current| words(current, &contexts()),
        "REVISION" => |current| words(current, &revisions(&before())),
        "ID|NAME" => |current| words(current, &tokens()),
        _ => return None,
    };
    Some(completer)
}

fn words(current: &OsStr, all: &[String]) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    all.iter().filter(|word| word.starts_with(&*current)).map(CompletionCandidate::new).collect()
}

/// The line's words up to the one that is completed.
fn before() -> Vec<String> {
    let all: Vec<String> = env::args_os().skip_while(|word| word != "--").skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let index = env::var(INDEX).ok().and_then(|index| index.parse().ok()).unwrap_or(all.len().saturating_sub(1));
    all.into_iter().take(index).collect()
}

fn app_words(current: &OsStr) -> Vec<String> {
    let prefix = current.to_str().and_then(|current| current.split_once('/')).map_or("", |(prefix, _)| prefix);
    prefixed(prefix, names(Kind::App))
}

fn prefixed(prefix: &str, names: Vec<String>) -> Vec<String> {
    if prefix.is_empty() { names } else { names.into_iter().map(|name| format!("{prefix}/{name}")).collect() }
}

/// `KIND`, then names; or `KIND/NAME`.
fn object_words(current: &OsStr, before: &[String]) -> Vec<String> {
    let current = current.to_string_lossy();
    if let Some((word, _)) = current.split_once('/') {
        return resource::kind(word).map(|kind| prefixed(word, names(kind))).unwrap_or_default();
    }
    let kind = before.iter().skip(2).filter(|word| !word.starts_with('-')).find_map(|word| resource::kind(word).ok());
    match kind {
        Some(kind) => names(kind),
        None => Kind::ALL.iter().map(|kind| kind.plural().to_owned()).chain(["events".to_owned()]).collect(),
    }
}

fn contexts() -> Vec<String> {
    let config = Config::path().and_then(|path| Config::load(&path));
    config.map(|config| config.contexts.into_keys().collect()).unwrap_or_default()
}

fn names(kind: Kind) -> Vec<String> {
    ask(async |session| {
        let org = session.org_for(kind).await?;
        let list: Vec<Value> = session.client.list(&routes::list(kind, &org), &[]).await?;
        Ok(list.iter().filter_map(|object| object.pointer("/metadata/name")?.as_str().map(str::to_owned)).collect())
    })
}

fn tokens() -> Vec<String> {
    ask(async |session| {
        let list: Vec<TokenInfo> = session.client.list(&routes::tokens(session.target.explicit_org.as_ref()), &[]).await?;
        Ok(list.into_iter().map(|token| token.name).collect())
    })
}

/// Revisions of the app that is named before.
fn revisions(before: &[String]) -> Vec<String> {
    let named = before.iter().skip(2).find(|word| !word.starts_with('-') && resource::app(word).is_ok());
    let Some(name) = named.and_then(|word| resource::app(word).ok()) else { return Vec::new() };
    ask(async |session| {
        let org = session.org().await?;
        let list: List<RevisionInfo> = session.client.get(&routes::app(&org, &name, "revisions"), &[]).await?;
        Ok(list.items.iter().map(|revision| revision.generation.to_string()).collect())
    })
}

/// Asks the server that the line means; no answer in time is none.
fn ask<F: Future<Output = Result<Vec<String>>>>(question: impl FnOnce(Session) -> F) -> Vec<String> {
    let Ok(session) = Session::open(&globals(&before())) else { return Vec::new() };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let answer = runtime.block_on(async { tokio::time::timeout(DEADLINE, question(session)).await });
    answer.ok().and_then(Result::ok).unwrap_or_default()
}

/// The flags of a line that cannot be parsed yet, else the environment, as the grammar has it.
fn globals(line: &[String]) -> Globals {
    let flag = |name: &str, variable: &str| {
        let assigned = format!("{name}=");
        let next = line.iter().position(|word| word == name).and_then(|at| line.get(at + 1)).cloned();
        let joined = || line.iter().find_map(|word| word.strip_prefix(&assigned).map(str::to_owned));
        next.or_else(joined).or_else(|| env::var(variable).ok())
    };
    Globals {
        url: flag("--url", "SKYSWARM_URL"),
        token: flag("--token", "SKYSWARM_TOKEN").map(SecretString::from),
        org: flag("--org", "SKYSWARM_ORG").filter(|org| org.parse::<OrgName>().is_ok()),
        context: flag("--context", "SKYSWARM_CONTEXT"),
        no_color: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Value names of a grammar, with the verb that they are of.
    fn value_names(command: &Command, found: &mut Vec<(String, String)>) {
        let names = command.get_arguments().flat_map(|arg| arg.get_value_names().unwrap_or_default());
        found.extend(names.map(|name| (command.get_name().to_owned(), name.to_string())));
        command.get_subcommands().for_each(|sub| value_names(sub, found));
    }

    #[test]
    fn every_completer_has_a_place_in_the_grammar() {
        let mut found = Vec::new();
        value_names(&grammar(), &mut found);
        for name in ["app/NAME", "KIND", "KIND NAME", "ORG", "SETTING", "CONTEXT", "REVISION", "ID|NAME"] {
            assert!(completer(name).is_some() && found.iter().any(|(_, known)| known == name), "{name}");
        }
    }

    #[test]
    fn a_half_typed_line_still_tells_the_server() {
        let line: Vec<String> = ["skyctl", "--url", "http://a", "--org=acme", "get", "app"].iter().map(|word| (*word).to_owned()).collect();
        let globals = globals(&line);
        assert_eq!((globals.url.as_deref(), globals.org.as_deref()), (Some("http://a"), Some("acme")));
    }

    #[test]
    fn kinds_come_before_names() {
        let line = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let kinds = object_words(OsStr::new(""), &line("skyctl get"));
        assert!(kinds.contains(&"apps".to_owned()) && kinds.contains(&"events".to_owned()), "{kinds:?}");
        assert_eq!(object_words(OsStr::new("nonsense/"), &line("skyctl get")), Vec::<String>::new());
    }
}
