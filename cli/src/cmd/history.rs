//! `skyctl history`

use anstyle::Style;
use api_types::Kind;
use api_types::api::{List, RevisionInfo};
use api_types::kinds::app::VerdictPhase;
use chrono::{DateTime, Utc};

use super::Session;
use crate::client::routes;
use crate::errors::Result;
use crate::output::{BOLD, DIM, GREEN, RED, Table, TextFormat, YELLOW, age};
use crate::{clock, output, resource};

const EXAMPLES: &str = "\
Examples:
  skyctl history app/shop
  skyctl history app/shop --limit 5
  skyctl diff app/shop 11 12          what changed, field by field
  skyctl rollback app/shop --to 11    and how to get it back

A * marks the revision whose tasks answer requests now; during a rollout there may be several. Superseded: a newer one
took its place before it was proven or had failed.";

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// App
    #[arg(value_name = "app/NAME")]
    pub name: String,
    /// Only this many of the last revisions
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, default_value_t = TextFormat::Text)]
    pub output: TextFormat,
}

/// Runs the verb.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let name = resource::app(&args.name)?;
    let org = session.org().await?;
    let query = [("limit", args.limit.to_string())];
    let found: List<RevisionInfo> = match session.client.get(&routes::app(&org, &name, "revisions"), &query).await {
        Ok(found) => found,
        Err(error) => return Err(session.with_similar(error, Kind::App, &org, &name).await),
    };
    match args.output.render(&found)? {
        Some(text) => output::print(&text),
        None => output::print(&table(&found.items, clock::now())),
    }
}

/// Revisions as a table.
pub fn table(items: &[RevisionInfo], now: DateTime<Utc>) -> String {
    let mut table = Table::new(["REVISION", "AGE", "WHO", "FROM", "VERDICT", "CHANGE"]);
    for item in items {
        let (verdict, style) = match item.verdict.phase {
            VerdictPhase::Ready => ("Ready".to_owned(), GREEN),
            VerdictPhase::Failed => (item.verdict.reason.map_or_else(|| "Failed".to_owned(), |reason| format!("Failed ({reason})")), RED),
            _ if item.superseded => ("Superseded".to_owned(), DIM),
            phase => (format!("{phase:?}"), YELLOW),
        };
        let number = if item.serving { (format!("{} *", item.generation), BOLD) } else { (item.generation.to_string(), Style::new()) };
        let from = if item.client.is_empty() { item.source.clone() } else { format!("{}, {}", item.source, item.client) };
        table.row([
            number,
            (age(Some(item.time), now), Style::new()),
            (item.author.clone(), Style::new()),
            (from, DIM),
            (verdict, style),
            (item.summary.clone(), Style::new()),
        ]);
    }
    table.render(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_history_says_what_serves_and_what_failed() {
        let revision = |n: i64, more: serde_json::Value| {
            let mut value = json!({
                "generation": n, "author": "ci", "source": "apply", "client": "skyctl/0.1.0", "time": "2026-01-31T12:00:00Z",
                "summary": "env ~A", "image": "a:1", "verdict": {"phase": "Ready", "time": "2026-01-31T12:00:20Z"},
            });
            if let (Some(value), Some(more)) = (value.as_object_mut(), more.as_object()) {
                value.extend(more.clone());
            }
            serde_json::from_value(value).expect("a revision")
        };
        let items: Vec<RevisionInfo> = vec![
            revision(12, json!({"verdict": {"phase": "Rolling", "time": "2026-01-31T12:00:20Z"}, "source": "rollback", "client": ""})),
            revision(11, json!({"verdict": {"phase": "Failed", "reason": "OutOfMemory", "time": "2026-01-31T12:00:20Z"}})),
            revision(9, json!({"verdict": {"phase": "Rolling", "time": "2026-01-31T12:00:20Z"}, "superseded": true})),
            revision(8, json!({"serving": true, "time": "2026-01-30T12:00:00Z"})),
        ];
        let now = "2026-01-31T12:05:00Z".parse().expect("a time");
        insta::assert_snapshot!(anstream::adapter::strip_str(&table(&items, now)), @"
        REVISION   AGE   WHO   FROM                  VERDICT                CHANGE
        12         5m    ci    rollback              Rolling                env ~A
        11         5m    ci    apply, skyctl/0.1.0   Failed (OutOfMemory)   env ~A
        9          5m    ci    apply, skyctl/0.1.0   Superseded             env ~A
        8 *        24h   ci    apply, skyctl/0.1.0   Ready                  env ~A
        ");
    }
}
