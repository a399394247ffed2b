//! One file per verb.

pub mod adopt;
pub mod apply;
pub mod completion;
pub mod contexts;
pub mod create;
pub mod delete;
pub mod describe;
pub mod diff;
pub mod drain;
pub mod drift;
pub mod edit;
pub mod events;
pub mod explain;
pub mod get;
pub mod history;
pub mod import;
pub mod login;
pub mod logs;
pub mod man;
pub mod open;
pub mod orgs;
pub mod pause;
pub mod plan;
pub mod prune;
pub mod reference;
pub mod restart;
pub mod rollback;
pub mod scale;
pub mod schemas;
pub mod set;
pub mod settings;
pub mod show;
pub mod status;
pub mod stop;
pub mod tokens;
pub mod top;
pub mod version;
pub mod wait;
pub mod whoami;
pub mod why;

use api_types::problem::ProblemKind;
use api_types::{Kind, OrgName, check};
use serde_json::Value;

use crate::args::{Cli, Command, Globals};
use crate::client::{Client, routes};
use crate::context::{Config, Target};
use crate::errors::{CliError, Result};

/// What verbs that talk to the server have: the server, and where to find the rest.
pub struct Session {
    /// The server.
    pub client: Client,
    /// Flags, environment and context.
    pub target: Target,
}

impl Session {
    /// What flags, environment and context say.
    ///
    /// # Errors
    /// When they do not fit together, or the file of contexts cannot be read.
    pub fn open(globals: &Globals) -> Result<Self> {
        let given = globals.given()?;
        // Somebody who names everything needs no file, and no home.
        let config = match Config::path() {
            Ok(path) => Config::load(&path)?,
            Err(_) if given.context.is_none() => Config::default(),
            Err(error) => return Err(error),
        };
        let target = crate::context::resolve(given, &config)?;
        Ok(Self { client: Client::new(&target)?, target })
    }

    /// The organisation to work in.
    ///
    /// # Errors
    /// See [`Client::org`].
    pub async fn org(&self) -> Result<OrgName> {
        self.client.org(&self.target).await
    }

    /// The organisation for objects of a kind; the kinds that have none need no question to the server.
    ///
    /// # Errors
    /// See [`Client::org`].
    pub async fn org_for(&self, kind: Kind) -> Result<OrgName> {
        if kind.is_namespaced() { self.org().await } else { "default".parse().map_err(|_| CliError::Failed("no organization".to_owned())) }
    }

    /// One object as the server sends it; a name that does not exist is an error with similar names.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn object(&self, kind: Kind, org: &OrgName, name: &str) -> Result<Value> {
        match self.client.get(&routes::object(kind, org, name), &[]).await {
            Ok(value) => Ok(value),
            Err(error) => Err(self.with_similar(error, kind, org, name).await),
        }
    }

    /// Adds similar names to "not found".
    pub async fn with_similar(&self, error: CliError, kind: Kind, org: &OrgName, name: &str) -> CliError {
        // A malformed name is refused before it is looked for, but to a person it is just not there.
        let missing = match error.problem_kind() {
            Some(ProblemKind::NotFound) => true,
            Some(ProblemKind::BadRequest) => check::check_name(kind, name).is_err(),
            _ => false,
        };
        if !missing {
            return error;
        }
        let list = match self.client.get::<Value>(&routes::list(kind, org), &[]).await {
            Ok(list) => list,
            // Where there is no organization there is no list of its objects.
            Err(other) if kind.is_namespaced() && other.problem_kind() == Some(ProblemKind::NotFound) => {
                return Box::pin(self.with_similar(other, Kind::Organization, org, org.as_str())).await;
            }
            Err(_) => return error,
        };
        let names: Vec<&str> = items(&list).filter_map(|item| item.pointer("/metadata/name")?.as_str()).collect();
        let place = if kind.is_namespaced() { format!(" in the organization {org}") } else { String::new() };
        let word = kind.as_str().to_lowercase();
        let hint = match check::closest(name, names.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if names.is_empty() => format!("there are no {}{place}", kind.plural()),
            None => format!("`skyctl get {}` shows all", kind.plural()),
        };
        CliError::NotFound { what: format!("there is no {word} \"{name}\"{place}"), hint: Some(hint) }
    }
}

/// The objects of a list.
pub fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.get("items").and_then(Value::as_array).into_iter().flatten()
}

/// Reads one object for a table.
///
/// # Errors
/// When the server is of another version.
pub fn typed<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
    serde_json::from_value(value.clone())
        .map_err(|error| CliError::io("the server's answer is of another version than this program", error))
}

/// Runs a verb.
///
/// # Errors
/// Whatever went wrong.
pub async fn run(cli: Cli) -> Result<()> {
    let session = || Session::open(&cli.globals);
    match cli.command {
        Command::Apply(args) => apply::run(&session()?, args).await,
        Command::Plan(args) => plan::run(&session()?, args).await,
        Command::Diff(args) => diff::run(&session()?, args).await,
        Command::History(args) => history::run(&session()?, args).await,
        Command::Show(args) => show::run(&session()?, args).await,
        Command::Rollback(args) => rollback::run(&session()?, args).await,
        Command::Retry(args) => rollback::retry(&session()?, args).await,
        Command::Get(args) => get::run(&session()?, args).await,
        Command::Describe(args) => describe::run(&session()?, args).await,
        Command::Scale(args) => scale::run(&session()?, args).await,
        Command::Set(args) => set::run(&session()?, args).await,
        Command::Unset(args) => set::unset(&session()?, args).await,
        Command::Restart(args) => restart::run(&session()?, args).await,
        Command::Stop(args) => stop::stop(&session()?, args).await,
        Command::Start(args) => stop::start(&session()?, args).await,
        Command::Pause(args) => pause::run(&session()?, args).await,
        Command::Drain(args) => drain::drain(&session()?, args).await,
        Command::Activate(args) => drain::activate(&session()?, args).await,
        Command::Drift(args) => drift::run(&session()?, args).await,
        Command::Resume(args) => pause::resume(&session()?, args).await,
        Command::Logs(args) => logs::run(&session()?, args).await,
        Command::Events(args) => events::run(&session()?, args).await,
        Command::Wait(args) => wait::run(&session()?, args).await,
        Command::Delete(args) => delete::run(&session()?, args).await,
        Command::Create(args) => create::run(&session()?, args).await,
        Command::Settings(args) => settings::run(&session()?, args).await,
        Command::Whoami(args) => whoami::run(&session()?, args).await,
        Command::Version(args) => version::run(session, args).await,
        Command::Status(args) => status::run(&session()?, args).await,
        Command::Why(args) => why::run(&session()?, args).await,
        Command::Explain(args) => explain::run(&args),
        Command::Adopt(args) => adopt::run(&session()?, args).await,
        Command::Contexts(args) => contexts::run(args, &cli.globals),
        Command::Login(args) => login::run(args, &cli.globals).await,
        Command::Logout(args) => login::logout(args, &cli.globals),
        Command::Tokens(args) => tokens::run(&session()?, args).await,
        Command::Edit(args) => edit::run(&session()?, args).await,
        Command::Open(args) => open::run(&session()?, args).await,
        Command::Top(args) => top::run(&session()?, args).await,
        Command::Orgs(args) => orgs::run(&session()?, args).await,
        Command::Import(args) => import::run(&args),
        Command::Completion(args) => completion::run(args),
        Command::Man(args) => man::run(&args),
        Command::Reference(_) => reference::run(),
        Command::Schemas(args) => schemas::run(&args),
    }
}
