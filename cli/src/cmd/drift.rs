//! `skyctl drift`

use anstyle::Style;
use api_types::Kind;
use api_types::api::List;
use api_types::drift::{DriftAction, DriftRecord};
use chrono::{DateTime, Utc};

use super::Session;
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::output::{self, GREEN, RED, Table, TextFormat, YELLOW};
use crate::{clock, moment, resource};

const EXAMPLES: &str = "\
Examples:
  skyctl drift                          of the whole organization
  skyctl drift app/shop                 of one app
  skyctl drift --since 1h               what lasts, and what was seen within the last hour
  skyctl drift -o json                  for programs

Drift is what somebody changed of an app on the engine or the edge without asking the platform. By default it
is put right at once; spec.driftPolicy: hold leaves it, and so does a pause. See also: skyctl pause --help";

/// Arguments of `drift`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// App; without it, every app of the organization
    #[arg(value_name = "app/NAME")]
    pub name: Option<String>,
    /// From when on: how long ago, such as 1h, or a time
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only this many of the latest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
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
    let mut query = vec![("limit", args.limit.to_string())];
    if let Some(text) = &args.since {
        let since = moment::parse(text, clock::now()).map_err(CliError::Usage)?;
        query.push(("since", since.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)));
    }
    let org = session.org().await?;
    let list: List<DriftRecord> = match &args.name {
        None => session.client.get(&format!("/v1/orgs/{org}/drift"), &query).await?,
        Some(word) => {
            let name = resource::app(word)?;
            match session.client.get(&routes::app(&org, &name, "drift"), &query).await {
                Ok(list) => list,
                Err(error) => return Err(session.with_similar(error, Kind::App, &org, &name).await),
            }
        }
    };
    if let Some(text) = args.output.render(&list)? {
        return output::print(&text);
    }
    if list.items.is_empty() {
        output::note("no drift: everything is as the platform left it\n");
        return Ok(());
    }
    output::print(&table(&list.items, clock::now()))
}

fn table(items: &[DriftRecord], now: DateTime<Utc>) -> String {
    let mut table = Table::new(["FOUND", "APP", "OBJECT", "FIELD", "WANTED", "OBSERVED", "ACTION", "LASTED"]);
    for item in items {
        let style = match item.action {
            DriftAction::Corrected | DriftAction::Undone => GREEN,
            DriftAction::Correcting | DriftAction::Recorded => YELLOW,
            DriftAction::Held | DriftAction::Paused => RED,
        };
        let lasted = match item.ended_at {
            Some(ended) => output::age(Some(item.first_seen), ended),
            None => "still".to_owned(),
        };
        let plain = |text: &str| (text.to_owned(), Style::new());
        table.row([
            plain(&output::age(Some(item.first_seen), now)),
            plain(&item.app),
            plain(&format!("{}/{}", item.kind.word(), item.object)),
            plain(&item.field),
            plain(&item.desired),
            plain(&item.observed),
            (item.action.to_string(), style),
            plain(&lasted),
        ]);
    }
    table.render(0)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn record(field: &str, observed: &str, action: &str, ended: Option<i64>) -> DriftRecord {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("in range");
        serde_json::from_value(serde_json::json!({
            "id": 1, "app": "shop", "kind": "service", "object": "shop-c0ffee01-web-0123456", "field": field, "desired": "2", "observed": observed,
            "action": action, "firstSeen": now - TimeDelta::seconds(90), "lastSeen": now, "controller": "n1",
            "endedAt": ended.map(|ago| now - TimeDelta::seconds(ago)),
        }))
        .expect("a record")
    }

    #[test]
    fn each_change_is_a_row_with_what_became_of_it() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("in range");
        let text = table(&[record("replicas", "5", "Corrected", Some(88)), record("Mounts", "bind at /x\u{1b}[2J", "Held", None)], now);
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string(), @r"
        FOUND   APP    OBJECT                              FIELD      WANTED   OBSERVED        ACTION      LASTED
        90s     shop   service/shop-c0ffee01-web-0123456   replicas   2        5               Corrected   2s
        90s     shop   service/shop-c0ffee01-web-0123456   Mounts     2        bind at /x[2J   Held        still
        ");
    }
}
