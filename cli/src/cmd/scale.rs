//! `skyctl scale`

use std::collections::BTreeMap;

use api_types::api::ScaleRequest;
use api_types::{Kind, ProcessName};

use super::Session;
use crate::args::WaitArgs;
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::watch::{self, Wanted};
use crate::{output, resource};

const EXAMPLES: &str = "\
Examples:
  skyctl scale shop web=3
  skyctl scale app/shop web=3 worker=0 --wait

Processes that are not named keep their scale. The next apply of a manifest sets what the manifest says.";

/// Arguments of `scale`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// App
    #[arg(value_name = "app/NAME")]
    pub name: String,
    /// Process and its number of replicas
    #[arg(value_name = "PROCESS=N", required = true, value_parser = change)]
    pub changes: Vec<(ProcessName, u32)>,
    /// Only when the app has this resourceVersion
    #[arg(long, value_name = "VERSION")]
    pub resource_version: Option<String>,
    #[command(flatten)]
    pub wait: WaitArgs,
}

fn change(text: &str) -> std::result::Result<(ProcessName, u32), String> {
    let (process, replicas) = text.split_once('=').ok_or_else(|| "it is written PROCESS=N, such as web=3".to_owned())?;
    let process = process.parse().map_err(|error: api_types::name::ParseError| error.to_string())?;
    let replicas = replicas.parse().map_err(|_| format!("\"{replicas}\" is not a number of replicas"))?;
    Ok((process, replicas))
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let name = resource::app(&args.name)?;
    let mut processes = BTreeMap::new();
    for (process, replicas) in args.changes {
        if processes.insert(process.clone(), replicas).is_some() {
            return Err(CliError::Usage(format!("the process {process} is named twice")));
        }
    }
    let org = session.org().await?;
    let request = ScaleRequest { processes, resource_version: args.resource_version };
    let scaled: ScaleRequest = match session.client.put(&routes::app(&org, &name, "scale"), &request).await {
        Ok(scaled) => scaled,
        Err(error) => return Err(session.with_similar(error, Kind::App, &org, &name).await),
    };
    let counts: Vec<String> = scaled.processes.iter().map(|(process, replicas)| format!("{process}={replicas}")).collect();
    output::line(&format!("app/{name} scaled: {}", counts.join(" ")))?;
    if args.wait.wait {
        let generation = watch::app(&session.client, &org, &name).await?.metadata.generation.unwrap_or(0);
        watch::until_ready(&session.client, vec![Wanted { org, name, generation }], args.wait.timeout.get()).await?;
    }
    Ok(())
}
