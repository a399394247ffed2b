//! `skyctl why`

use api_types::why::{Case, Why};
use api_types::{ConditionStatus, Kind};
use serde_json::Value;

use super::{Session, status, typed};
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::output::{self, TextFormat};
use crate::resource;

const EXAMPLES: &str = "\
Examples:
  skyctl why app/shop
  skyctl why shop -o json | jq -r .case
  skyctl why shop >/dev/null || skyctl rollback shop

It walks from the condition Ready to the cause. Exit codes: 0 the newest generation is ready, 1 it is not, or nobody
can say now; 3 no such app, 6 the server or its database cannot be reached. docs/troubleshooting.md explains the cases.";

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// App
    #[arg(value_name = "app/NAME")]
    pub name: String,
    /// Form of the answer
    #[arg(long, short = 'o', value_enum, default_value_t = TextFormat::Text, value_name = "FORMAT")]
    pub output: TextFormat,
}

/// Runs the verb.
///
/// # Errors
/// [`CliError::NotReady`] when the app is not ready; see [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let name = resource::app(&args.name)?;
    let asked = async {
        let org = session.org().await?;
        match session.client.get::<Value>(&routes::app(&org, &name, "why"), &[]).await {
            Ok(value) => Ok(value),
            Err(error) => Err(session.with_similar(error, Kind::App, &org, &name).await),
        }
    };
    let value = match asked.await {
        Ok(value) => value,
        Err(error) => return Err(status::with_parts(session, error).await),
    };
    let why: Why = typed(&value)?;
    match args.output.render(&value)? {
        Some(text) => output::print(&text)?,
        None => output::print(&output::why::text(&why))?,
    }
    let is_ready = why.ready == ConditionStatus::True && why.case == Case::Ready;
    if is_ready { Ok(()) } else { Err(CliError::NotReady) }
}
