//! `skyctl version`

use api_types::api::VersionInfo;

use super::Session;
use crate::client::routes;
use crate::errors::Result;
use crate::output;

/// Arguments of `version`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this program's version; asks no server
    #[arg(long)]
    pub client: bool,
}

/// Runs the verb. The server is opened late: this program's version is shown in any case.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(open: impl FnOnce() -> Result<Session>, args: Args) -> Result<()> {
    output::line(&format!("skyctl {} (API {})", env!("CARGO_PKG_VERSION"), api_types::API_VERSION))?;
    if args.client {
        return Ok(());
    }
    let session = open()?;
    let info: VersionInfo = session.client.get(routes::VERSION, &[]).await?;
    output::line(&format!("server {} (API {}) at {}", info.version, info.api_versions.join(", "), session.client.url()))
}
