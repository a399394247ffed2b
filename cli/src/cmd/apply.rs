//! `skyctl apply`

use std::path::PathBuf;

use api_types::api::{ApplyAction, ApplyRequest, ApplyResponse, ApplyResult};
use api_types::problem::ProblemKind;
use api_types::{FieldError, Kind, check};

use super::{Session, prune};
use crate::args::WaitArgs;
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::manifest::{Loaded, collect, load};
use crate::output::{self, DIM, GREEN, YELLOW, paint};
use crate::watch::{Wanted, until_ready};

const EXAMPLES: &str = "\
Examples:
  skyctl apply -f app.yaml --wait           apply and watch the rollout
  skyctl apply -f manifests/ -f extra.json  a directory's manifests and one more, all or none
  skyctl get app shop -o yaml | skyctl apply -f -
  skyctl apply -f app.yaml --dry-run        check on the server, write nothing
  skyctl apply -f manifests/ --apply-set shop --prune   also delete what the set had before and has no more
  skyctl apply -f app.yaml --adopt --wait   take over the running services that \"adopt\" names; see skyctl adopt

All manifests are checked first; every error of every file is reported at once and nothing is sent. The
server writes all of them in one transaction, or none. Only apps and domains that the same --apply-set applied are
ever pruned; an apply without a set takes an object out of its set.";

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// File or directory with manifests in YAML or JSON; - is the standard input. May be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required = true)]
    pub files: Vec<PathBuf>,
    /// Let the server check everything, but write nothing
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// Mark the objects as members of this set, by a label `apply-set`
    #[arg(long, value_name = "SET")]
    pub apply_set: Option<prune::SetName>,
    /// Delete what the set had before and these files have no more; asks first
    #[arg(long, requires = "apply_set")]
    pub prune: bool,
    /// Delete without asking
    #[arg(long, requires = "prune")]
    pub yes: bool,
    /// Take over the Swarm services that processes name with "adopt"; for administrators of the platform
    #[arg(long)]
    pub adopt: bool,
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let mut loaded = prepare(session, &args.files).await?;
    if let Some(set) = &args.apply_set {
        prune::mark(&mut loaded, set)?;
    }
    let doomed = match &args.apply_set {
        Some(set) if args.prune => prune::find(session, &loaded, set).await?,
        _ => Vec::new(),
    };
    // Before anything is written: a no is to leave everything as it is.
    prune::agree(&doomed, args.yes || args.dry_run)?;
    let response = send(session, loaded, &args).await?;
    for result in &response.results {
        output::line(&shown(result, response.dry_run))?;
    }
    prune::run(session, doomed, args.dry_run).await?;
    if args.wait.wait {
        let wanted = response.results.iter().filter_map(wanted).collect();
        until_ready(&session.client, wanted, args.wait.timeout.get()).await?;
    }
    Ok(())
}

/// Reads and checks the files and fills in the organisation.
///
/// # Errors
/// Every error of every file.
pub async fn prepare(session: &Session, files: &[PathBuf]) -> Result<Loaded> {
    let mut loaded = load(collect(files)?)?;
    if loaded.documents.is_empty() {
        return Err(CliError::Usage("there is no manifest in these files".to_owned()));
    }
    if loaded.documents.iter().any(|document| document.kind.is_namespaced() && document.org().is_none()) {
        loaded.fill_org(&session.org().await?);
    }
    Ok(loaded)
}

async fn send(session: &Session, loaded: Loaded, args: &Args) -> Result<ApplyResponse> {
    let flags = [("dryRun", args.dry_run), ("adopt", args.adopt)];
    let query: Vec<_> = flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| (name, "true".to_owned())).collect();
    let request = ApplyRequest { items: loaded.documents.iter().map(|document| document.value.clone()).collect() };
    match session.client.post(routes::APPLY, &query, &request).await {
        Ok(response) => Ok(response),
        Err(error) => Err(located(error, loaded, None)),
    }
}

/// The server's refusal, at its place in the files.
pub fn located(error: CliError, loaded: Loaded, only: Option<usize>) -> CliError {
    let CliError::Problem(mut problem) = error else { return error };
    match problem.kind {
        ProblemKind::Invalid if !problem.errors.is_empty() => {
            CliError::Manifests(Box::new(loaded.locate(std::mem::take(&mut problem.errors), only)))
        }
        // The detail of a conflict begins with the item's index, which says nothing to a person.
        _ => {
            if let Some((index, detail)) = problem.detail.strip_prefix("items[").and_then(|rest| rest.split_once("]: "))
                && let Some(document) = index.parse().ok().and_then(|index: usize| loaded.documents.get(index))
            {
                let file = loaded.sources.get(document.source).map(|source| source.name.as_str()).unwrap_or_default();
                let place = document.positions.of_error(&FieldError::new(check::ROOT, ""));
                let line = place.map_or_else(String::new, |mark| format!(":{}", mark.line));
                problem.detail = format!("{file}{line}: {}/{}: {detail}", document.kind, document.name);
            }
            CliError::Problem(problem)
        }
    }
}

fn shown(result: &ApplyResult, dry_run: bool) -> String {
    let name = format!("{}/{}", result.kind.as_str().to_lowercase(), result.name);
    let action = match result.action {
        ApplyAction::Created => paint(GREEN, "created"),
        ApplyAction::Configured => paint(YELLOW, "configured"),
        ApplyAction::Unchanged => paint(DIM, "unchanged"),
    };
    let note = if dry_run { " (dry run)" } else { "" };
    format!("{name} {action}{note}")
}

fn wanted(result: &ApplyResult) -> Option<Wanted> {
    let org = result.org.as_deref()?.parse().ok()?;
    (result.kind == Kind::App).then(|| Wanted { org, name: result.name.clone(), generation: result.generation })
}
