//! `skyctl plan`

use std::path::PathBuf;

use api_types::api::{ApplyAction, PlanResponse};
use api_types::{Kind, OrgName};

use super::Session;
use super::apply::{located, prepare};
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::manifest::Loaded;
use crate::output::{self, BOLD, DIM, TextFormat, age, paint};

const EXAMPLES: &str = "\
Examples:
  skyctl plan -f app.yaml     the steps that applying this would lead to
  skyctl plan -f . --adopt    as if it were applied with --adopt
  skyctl plan shop            the steps that are left for an app as it is
  skyctl plan -f . -o json    for programs: a list with one plan for each app

A plan is computed from what the controller last observed; nothing is written.";

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// App as it is stored
    #[arg(value_name = "app/NAME", required_unless_present = "files", conflicts_with = "files")]
    pub name: Option<String>,
    /// File or directory with manifests; - is the standard input. May be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
    /// As if it were applied with --adopt
    #[arg(long, conflicts_with = "name")]
    pub adopt: bool,
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, default_value_t = TextFormat::Text)]
    pub output: TextFormat,
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    if let Some(word) = args.name {
        let name = crate::resource::app(&word)?;
        let org = session.org().await?;
        return match session.client.post::<PlanResponse>(&routes::app(&org, &name, "plan"), &[], &()).await {
            Ok(plan) => show_all(&[plan], args.output),
            Err(error) => Err(session.with_similar(error, Kind::App, &org, &name).await),
        };
    }
    let loaded = prepare(session, &args.files).await?;
    let mut plans = Vec::new();
    for index in 0..loaded.documents.len() {
        match plan(session, &loaded, index, args.adopt).await {
            Ok(plan) => plans.extend(plan),
            Err(error) => return Err(located(error, loaded, Some(index))),
        }
    }
    show_all(&plans, args.output)?;
    if args.output != TextFormat::Text {
        return Ok(());
    }
    for document in loaded.documents.iter().filter(|document| document.kind != Kind::App) {
        let name = format!("{}/{}", document.kind.as_str().to_lowercase(), document.name);
        output::line(&format!("{}  no steps: only apps are planned; see apply --dry-run", paint(BOLD, &name)))?;
    }
    Ok(())
}

async fn plan(session: &Session, loaded: &Loaded, index: usize, adopt: bool) -> Result<Option<PlanResponse>> {
    let Some(document) = loaded.documents.get(index).filter(|document| document.kind == Kind::App) else { return Ok(None) };
    let org: OrgName =
        document.org().unwrap_or_default().parse().map_err(|error: api_types::name::ParseError| CliError::Usage(error.to_string()))?;
    let query: Vec<_> = adopt.then(|| ("adopt", "true".to_owned())).into_iter().collect();
    session.client.post(&routes::app(&org, &document.name, "plan"), &query, &document.value).await.map(Some)
}

fn show_all(plans: &[PlanResponse], format: TextFormat) -> Result<()> {
    match format.render(&plans)? {
        Some(text) => output::print(&text),
        None => plans.iter().try_for_each(show),
    }
}

fn show(plan: &PlanResponse) -> Result<()> {
    let action = match plan.action {
        ApplyAction::Created => "would be created",
        ApplyAction::Configured => "would change",
        ApplyAction::Unchanged => "would stay as it is",
    };
    let observed = match plan.observed_at {
        Some(at) => format!(" (observed {} ago)", age(Some(at), crate::clock::now())),
        None => " (not observed yet)".to_owned(),
    };
    let mut text = format!("{} {action}{}\n", paint(BOLD, &format!("app/{}", plan.name)), paint(DIM, &observed));
    text.push_str(&super::diff::shown(&plan.changes));
    if plan.steps.is_empty() {
        text.push_str("  nothing to do\n");
    }
    let widest = plan.steps.iter().map(|step| step.action.chars().count()).max().unwrap_or(0);
    for (number, step) in (1..).zip(&plan.steps) {
        let (action, description) = (output::harmless(&step.action, false), output::harmless(&step.description, false));
        text.push_str(&format!("  {number:>2}. {action:widest$}  {description}\n"));
    }
    output::print(&text)
}
