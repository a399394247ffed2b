//! `skyctl get`

use api_types::event::Event;
use api_types::{App, Certificate, Domain, Kind, Node, OrgName, Organization, Setting};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Session, items, typed};
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::live::{Change, Look, Show, Source, Watch, Word};
use crate::output::kinds::{Columns, Tabular, table};
use crate::output::{self, Format};
use crate::resource;
use crate::sort::SortKey;

const EXAMPLES: &str = "\
Kinds: apps, domains, nodes, orgs, settings, certificates, events; also singular, or as kind/name.

Examples:
  skyctl get apps
  skyctl get app shop -o yaml
  skyctl get app/shop app/blog -o wide
  skyctl get apps -A --sort-by age                       of all organizations, the newest first
  skyctl get apps -l team=core,tier!=batch
  skyctl get apps --field-selector status.ready=False    those that do not serve
  skyctl get nodes -o json
  skyctl get apps -w                                     and every change from now on, until Ctrl-C
  skyctl get app shop --watch-only -o json               only changes, one JSON document a line
  skyctl get apps -o name | xargs -n1 skyctl restart     for scripts";

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
    /// Only objects with these labels: key=value, key!=value, "key in (a,b)", key, !key, joined by commas
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,
    /// Only objects with these fields: field=value or field!=value, joined by commas
    #[arg(long, value_name = "FIELDS")]
    pub field_selector: Option<String>,
    /// Of all organizations that the token may see
    #[arg(short = 'A', long)]
    pub all_orgs: bool,
    /// Order: name, age (newest first), org, status, or a field such as spec.image
    #[arg(long, value_name = "FIELD")]
    pub sort_by: Option<SortKey>,
    /// Rows only
    #[arg(long)]
    pub no_headers: bool,
    /// What there is, then every change, until Ctrl-C. Of apps, domains, nodes and events
    #[arg(short, long)]
    pub watch: bool,
    /// Only changes from now on, not what there is
    #[arg(long)]
    pub watch_only: bool,
    /// With -w: say of each object whether it was ADDED, MODIFIED or DELETED
    #[arg(long)]
    pub output_watch_events: bool,
}

impl Args {
    /// All objects of a kind.
    pub fn of_kind(kind: Kind, output: Format) -> Self {
        let what = vec![kind.plural().to_owned()];
        Self {
            what,
            output,
            selector: None,
            field_selector: None,
            all_orgs: false,
            sort_by: None,
            no_headers: false,
            watch: false,
            watch_only: false,
            output_watch_events: false,
        }
    }

    /// Whether the list goes on.
    fn watches(&self) -> bool {
        self.watch || self.watch_only
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let labels = self.selector.clone().map(|labels| ("labelSelector", labels));
        labels.into_iter().chain(self.field_selector.clone().map(|fields| ("fieldSelector", fields))).collect()
    }
}

/// Runs the verb.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    if args.output_watch_events && !args.watches() {
        return Err(CliError::Usage("--output-watch-events goes with -w or --watch-only".to_owned()));
    }
    let shape = Shape { format: args.output, single: false, orgs: args.all_orgs, headings: !args.no_headers };
    if let [word] = args.what.as_slice()
        && ["events", "event", "ev"].contains(&word.to_ascii_lowercase().as_str())
    {
        if args.all_orgs {
            return Err(CliError::Usage("events are shown of one organization; name it with --org".to_owned()));
        }
        if args.watches() {
            let source = Source { path: routes::events(&session.org().await?), query: args.query() };
            return follow(session, &args, vec![source], (Look::of_events(args.output), shape), None).await;
        }
        let mut list: Vec<Value> =
            items(&session.client.get(&routes::events(&session.org().await?), &args.query()).await?).cloned().collect();
        sorted(&mut list, args.sort_by.as_ref())?;
        return output::print(&text_of::<Event>(&list, shape)?);
    }
    let (kind, names) = resource::selection(&args.what)?;
    if !names.is_empty() && (args.all_orgs || !args.query().is_empty()) {
        return Err(CliError::Usage("a name and -A, -l or --field-selector exclude each other".to_owned()));
    }
    if args.watches() {
        return watch(session, &args, kind, &names).await;
    }
    let mut list = Vec::new();
    let orgs = orgs(session, kind, args.all_orgs).await?;
    for org in &orgs {
        list.extend(fetch(session, kind, org, &names, &args.query()).await?);
    }
    sorted(&mut list, args.sort_by.as_ref())?;
    if list.is_empty() && matches!(args.output, Format::Table | Format::Wide) {
        let which = if args.query().is_empty() { "" } else { " that match" };
        output::note(&format!("there are no {}{which}{}\n", kind.plural(), place(kind, &orgs, args.all_orgs)));
        return Ok(());
    }
    let shape = Shape { single: names.len() == 1, orgs: args.all_orgs && kind.is_namespaced(), ..shape };
    output::print(&rendered(kind, &list, shape)?)
}

/// Objects of a kind as they are, then as they change.
async fn watch(session: &Session, args: &Args, kind: Kind, names: &[String]) -> Result<()> {
    let Some(look) = Look::of_kind(kind, args.output) else {
        return Err(CliError::Usage(format!("{} cannot be watched; apps, domains, nodes and events can", kind.plural())));
    };
    let mut query = args.query();
    let orgs = orgs(session, kind, args.all_orgs).await?;
    match names {
        [] => {}
        [name] => {
            // A name that does not exist is a slip rather than something to wait for.
            for org in &orgs {
                session.object(kind, org, name).await?;
            }
            query.push(("fieldSelector", format!("metadata.name={name}")));
        }
        _ => return Err(CliError::Usage("-w takes one name, or none; -l selects several objects".to_owned())),
    }
    let sources = orgs.iter().map(|org| Source { path: routes::list(kind, org), query: query.clone() }).collect();
    let which = if args.query().is_empty() { "" } else { " that match" };
    let nothing = format!("there are no {}{which}{} yet\n", kind.plural(), place(kind, &orgs, args.all_orgs));
    let shape = Shape { format: args.output, single: false, orgs: args.all_orgs && kind.is_namespaced(), headings: !args.no_headers };
    follow(session, args, sources, (look, shape), Some(nothing)).await
}

async fn follow(session: &Session, args: &Args, sources: Vec<Source>, (look, shape): (Look, Shape), nothing: Option<String>) -> Result<()> {
    let key = args.sort_by.as_ref();
    let order = |all: &mut Vec<Change>| -> Result<()> {
        let mut list: Vec<Value> = std::mem::take(all).into_iter().map(|change| change.object).collect();
        sorted(&mut list, key)?;
        all.extend(list.into_iter().map(|object| Change { word: Word::Added, object }));
        Ok(())
    };
    let watch = Watch {
        sources,
        look,
        show: Show::new(look, shape, args.output_watch_events, !args.query().is_empty()),
        only_changes: args.watch_only,
        order: &order,
        nothing: nothing.filter(|_| matches!(args.output, Format::Table | Format::Wide)),
    };
    watch.run(&session.client).await
}

fn place(kind: Kind, orgs: &[OrgName], all: bool) -> String {
    match orgs {
        [org] if kind.is_namespaced() && !all => format!(" in the organization {org}"),
        _ => String::new(),
    }
}

/// The organisations to look into; kinds that belong to none need one as well, whichever.
async fn orgs(session: &Session, kind: Kind, all: bool) -> Result<Vec<OrgName>> {
    if !kind.is_namespaced() || !all {
        return Ok(vec![session.org_for(kind).await?]);
    }
    let list: Vec<Organization> = session.client.list(&routes::list(Kind::Organization, &session.org_for(Kind::Node).await?), &[]).await?;
    Ok(list.iter().filter_map(|org| org.metadata.name.parse().ok()).collect())
}

async fn fetch(session: &Session, kind: Kind, org: &OrgName, names: &[String], query: &[(&str, String)]) -> Result<Vec<Value>> {
    if names.is_empty() {
        return match session.client.list(&routes::list(kind, org), query).await {
            Err(error) if kind.is_namespaced() => Err(session.with_similar(error, Kind::Organization, org, org.as_str()).await),
            answer => answer,
        };
    }
    let mut list = Vec::new();
    for name in names {
        list.push(session.object(kind, org, name).await?);
    }
    Ok(list)
}

fn sorted(list: &mut [Value], key: Option<&SortKey>) -> Result<()> {
    key.map_or(Ok(()), |key| key.sort(list))
}

/// How objects are shown.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The form.
    pub format: Format,
    /// One object shows as itself, not as a list.
    pub single: bool,
    /// A column with the organisation.
    pub orgs: bool,
    /// A line with headings.
    pub headings: bool,
}

impl Shape {
    /// A form, and what is usual with it.
    pub fn new(format: Format, single: bool) -> Self {
        Self { format, single, orgs: false, headings: true }
    }
}

/// Objects of a kind in a form.
///
/// # Errors
/// When the server is of another version.
pub fn rendered(kind: Kind, list: &[Value], shape: Shape) -> Result<String> {
    match kind {
        Kind::App => text_of::<App>(list, shape),
        Kind::Domain => text_of::<Domain>(list, shape),
        Kind::Node => text_of::<Node>(list, shape),
        Kind::Organization => text_of::<Organization>(list, shape),
        Kind::Setting => text_of::<Setting>(list, shape),
        Kind::Certificate => text_of::<Certificate>(list, shape),
    }
}

fn text_of<T: Tabular + DeserializeOwned>(list: &[Value], shape: Shape) -> Result<String> {
    match shape.format {
        Format::Table | Format::Wide => {
            let items = list.iter().map(typed::<T>).collect::<Result<Vec<T>>>()?;
            let columns = Columns { wide: shape.format == Format::Wide, orgs: shape.orgs, headings: shape.headings };
            Ok(table(&items, crate::clock::now(), columns))
        }
        Format::Json => match list {
            [one] if shape.single => output::json(one),
            _ => output::json(&json!({"items": list})),
        },
        Format::Yaml => {
            let documents = list.iter().map(output::yaml).collect::<Result<Vec<_>>>()?;
            Ok(documents.join("---\n"))
        }
        Format::Name => Ok(list.iter().map(name_of).collect()),
    }
}

/// `kind/name` and a line end.
pub fn name_of(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or_default().to_lowercase();
    // Events have their object's name where objects have metadata.
    let name = text("/metadata/name").or_else(|| text("/name")).unwrap_or_default();
    format!("{kind}/{name}\n")
}
