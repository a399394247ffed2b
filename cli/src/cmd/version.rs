//! `skyctl version`

use api_types::api::VersionInfo;
use serde_json::{Value, json};

use super::Session;
use crate::client::routes;
use crate::errors::Result;
use crate::output::{self, TextFormat};

const EXAMPLES: &str = "\
Examples:
  skyctl version
  skyctl version --client      asks no server
  skyctl version -o json       for programs";

/// Arguments of `version`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only this program's version; asks no server
    #[arg(long)]
    pub client: bool,
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, default_value_t = TextFormat::Text)]
    pub output: TextFormat,
}

/// Runs the verb. The server is opened late: this program's version is shown in any case.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(open: impl FnOnce() -> Result<Session>, args: Args) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    if args.output != TextFormat::Text {
        let mut answer = json!({"client": {"version": version, "apiVersions": [api_types::API_VERSION]}});
        if !args.client {
            let info: Value = open()?.client.get(routes::VERSION, &[]).await?;
            answer["server"] = info;
        }
        return output::print(&args.output.render(&answer)?.unwrap_or_default());
    }
    output::line(&format!("skyctl {version} (API {})", api_types::API_VERSION))?;
    if args.client {
        return Ok(());
    }
    let session = open()?;
    let info: VersionInfo = session.client.get(routes::VERSION, &[]).await?;
    output::line(&format!("server {} (API {}) at {}", info.version, info.api_versions.join(", "), session.client.url()))
}
