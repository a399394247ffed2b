//! `skyctl get`

use api_types::event::Event;
use api_types::{App, Certificate, Domain, Kind, Node, OrgName, Organization, Setting};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Session, items, typed};
use crate::client::routes;
use crate::errors::Result;
use crate::output::kinds::{Tabular, table};
use crate::output::{self, Format};
use crate::resource;

const EXAMPLES: &str = "\
Kinds: apps, domains, nodes, orgs, settings, certificates, events; also singular, or as kind/name.

Examples:
  skyctl get apps
  skyctl get app shop -o yaml
  skyctl get app/shop app/blog -o wide
  skyctl get nodes -o json";

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Kind, or KIND/NAME
    #[arg(value_name = "KIND", required = true)]
    pub what: Vec<String>,
    /// Form of the answer
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub output: Format,
}

/// Runs the verb.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    if let [word] = args.what.as_slice()
        && ["events", "event", "ev"].contains(&word.to_ascii_lowercase().as_str())
    {
        let org = session.org().await?;
        let list: Value = session.client.get(&routes::events(&org), &[]).await?;
        let list: Vec<Value> = items(&list).cloned().collect();
        return output::print(&text_of::<Event>(&list, args.output, false)?);
    }
    let (kind, names) = resource::selection(&args.what)?;
    let org = session.org_for(kind).await?;
    let list = fetch(session, kind, &org, &names).await?;
    if list.is_empty() && matches!(args.output, Format::Table | Format::Wide) {
        let place = if kind.is_namespaced() { format!(" in the organization {org}") } else { String::new() };
        output::note(&format!("there are no {}{place}\n", kind.plural()));
        return Ok(());
    }
    output::print(&rendered(kind, &list, args.output, names.len() == 1)?)
}

async fn fetch(session: &Session, kind: Kind, org: &OrgName, names: &[String]) -> Result<Vec<Value>> {
    if names.is_empty() {
        let list: Value = session.client.get(&routes::list(kind, org), &[]).await?;
        return Ok(items(&list).cloned().collect());
    }
    let mut list = Vec::new();
    for name in names {
        list.push(session.object(kind, org, name).await?);
    }
    Ok(list)
}

/// Objects of a kind in a form; `single` shows one object as itself, not as a list.
///
/// # Errors
/// When the server is of another version.
pub fn rendered(kind: Kind, list: &[Value], format: Format, single: bool) -> Result<String> {
    match kind {
        Kind::App => text_of::<App>(list, format, single),
        Kind::Domain => text_of::<Domain>(list, format, single),
        Kind::Node => text_of::<Node>(list, format, single),
        Kind::Organization => text_of::<Organization>(list, format, single),
        Kind::Setting => text_of::<Setting>(list, format, single),
        Kind::Certificate => text_of::<Certificate>(list, format, single),
    }
}

fn text_of<T: Tabular + DeserializeOwned>(list: &[Value], format: Format, single: bool) -> Result<String> {
    match format {
        Format::Table | Format::Wide => {
            let typed = list.iter().map(typed::<T>).collect::<Result<Vec<T>>>()?;
            Ok(table(&typed, crate::clock::now(), format == Format::Wide))
        }
        Format::Json => match list {
            [one] if single => output::json(one),
            _ => output::json(&json!({"items": list})),
        },
        Format::Yaml => {
            let documents = list.iter().map(output::yaml).collect::<Result<Vec<_>>>()?;
            Ok(documents.join("---\n"))
        }
        Format::Name => Ok(list.iter().map(name_of).collect()),
    }
}

fn name_of(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or_default().to_lowercase();
    // Events have their object's name where objects have metadata.
    let name = text("/metadata/name").or_else(|| text("/name")).unwrap_or_default();
    format!("{kind}/{name}\n")
}
