//! `skyctl status`

use api_types::api::HealthResponse;
use api_types::platform::PlatformStatus;
use api_types::problem::ProblemKind;
use serde_json::Value;

use super::{Session, typed};
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::output::{self, TextFormat};

const EXAMPLES: &str = "\
Examples:
  skyctl status
  skyctl status -o json | jq .problems
  skyctl status >/dev/null || echo \"the platform needs somebody\"

Exit codes: 0 the platform does its work, 1 something is wrong with it, 6 the server or its database
cannot be reached. An app that is not ready by its own fault is listed, and does not count.";

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Form of the answer
    #[arg(long, short = 'o', value_enum, default_value_t = TextFormat::Text, value_name = "FORMAT")]
    pub output: TextFormat,
}

/// Runs the verb.
///
/// # Errors
/// When the platform is not healthy, or cannot be asked.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let value: Value = match session.client.get(routes::STATUS, &[]).await {
        Ok(value) => value,
        Err(error) => return Err(with_parts(session, error).await),
    };
    let status: PlatformStatus = typed(&value)?;
    match args.output.render(&value)? {
        Some(text) => output::print(&text)?,
        None => output::print(&output::status::text(&status))?,
    }
    match status.problems.as_slice() {
        [] => Ok(()),
        [one] => Err(CliError::Failed(format!("the platform is not healthy: {one}"))),
        [first, rest @ ..] => Err(CliError::Failed(format!("the platform is not healthy: {first}; and {} more", rest.len()))),
    }
}

/// When the server cannot serve, it can still say which of its parts does not answer.
pub async fn with_parts(session: &Session, error: CliError) -> CliError {
    if error.problem_kind() != Some(ProblemKind::Unavailable) {
        return error;
    }
    let Ok(HealthResponse { checks, .. }) = session.client.health().await else { return error };
    let wrong: Vec<String> =
        checks.iter().filter(|(_, said)| said.as_str() != "ok").map(|(part, said)| format!("{part}: {said}")).collect();
    let fine: Vec<&str> = checks.iter().filter(|(_, said)| said.as_str() == "ok").map(|(part, _)| part.as_str()).collect();
    if wrong.is_empty() {
        return error;
    }
    let rest = if fine.is_empty() { String::new() } else { format!(" ({} answer)", fine.join(" and ")) };
    let CliError::Problem(mut problem) = error else { return error };
    problem.detail = format!(
        "the server at {} answers, but a part that it needs does not: {}{rest}. Apps go on as they are; nothing that is changed is carried \
         out until it is back. Its log says more; with an own database, look at <data-dir>/postgres",
        session.client.url(),
        wrong.join("; ")
    );
    CliError::Problem(problem)
}
