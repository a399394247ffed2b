//! `skyctl show`: the manifest as it is, was at a revision, or was at a time.

use api_types::api::{List, RevisionDetail, RevisionInfo};
use api_types::{Kind, OrgName};
use chrono::{DateTime, SecondsFormat, Utc};

use super::Session;
use super::diff::revision;
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::{clock, moment, output, resource, watch};

const EXAMPLES: &str = "\
Examples:
  skyctl show app/shop                            the manifest that is wanted now
  skyctl show app/shop --revision 9               as it was in revision 9
  skyctl show app/shop --at 2026-11-02T10:00      as it was wanted at a time
  skyctl show app/shop --at 2h                    as it was two hours ago
  skyctl show app/shop --revision 9 -o json

A time is UTC when it has no offset: 2026-11-02T10:00, \"2026-11-02 10:00:30\", 2026-11-02 (its beginning),
2026-11-02T10:00+01:00. Secrets show as null, which in an apply means the value that is stored then; to get old
values back, use `skyctl rollback`.";

/// Form of the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// App
    #[arg(value_name = "app/NAME")]
    pub name: String,
    /// The manifest of this revision, such as 9 or r9
    #[arg(long, value_name = "REVISION", value_parser = revision)]
    pub revision: Option<i64>,
    /// The manifest that was wanted at this time, or so long ago
    #[arg(long, value_name = "TIME", conflicts_with = "revision", value_parser = at)]
    pub at: Option<DateTime<Utc>>,
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Form::Yaml)]
    pub output: Form,
}

fn at(text: &str) -> std::result::Result<DateTime<Utc>, String> {
    moment::parse(text, clock::now())
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let name = resource::app(&args.name)?;
    let org = session.org().await?;
    let found = match read(session, &org, &name, &args).await {
        Ok(found) => found,
        Err(error) => return Err(session.with_similar(error, Kind::App, &org, &name).await),
    };
    let value = serde_json::to_value(&found.manifest).map_err(|error| CliError::io("the manifest cannot be written", error))?;
    output::print(&if args.output == Form::Json { output::json(&value)? } else { output::yaml(&value)? })
}

async fn read(session: &Session, org: &OrgName, name: &str, args: &Args) -> Result<RevisionDetail> {
    let number = match (args.revision, args.at) {
        (Some(number), _) => number,
        (None, Some(at)) => {
            let query = [("at", at.to_rfc3339_opts(SecondsFormat::Secs, true)), ("limit", "1".to_owned())];
            let list: List<RevisionInfo> = session.client.get(&routes::app(org, name, "revisions"), &query).await?;
            let there = list.items.first().map(|revision| revision.generation);
            there.ok_or_else(|| CliError::NotFound {
                what: format!("app/{name} was not there at {}, or its revision of that time is no longer kept", at.to_rfc3339()),
                hint: Some(format!("`skyctl history app/{name}` shows what there is")),
            })?
        }
        (None, None) => watch::app(&session.client, org, name).await?.metadata.generation.unwrap_or(0),
    };
    session.client.get(&routes::app(org, name, &format!("revisions/{number}")), &[]).await
}
