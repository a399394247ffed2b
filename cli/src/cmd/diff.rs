//! `skyctl diff`: revisions with each other, and files with what is stored.

use std::path::PathBuf;

use api_types::api::{ApplyAction, ApplyRequest, ApplyResponse, PlanResponse, RevisionDiff};
use api_types::diff::{self, Change};
use api_types::{Kind, OrgName};
use serde_json::{Map, Value};

use super::Session;
use super::apply::{located, prepare};
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::manifest::Document;
use crate::output::{self, BOLD, GREEN, RED, TextFormat, YELLOW, harmless, paint};
use crate::{resource, watch};

const EXAMPLES: &str = "\
Examples:
  skyctl diff app/shop 11 12     what changed from revision 11 to revision 12
  skyctl diff app/shop r11       what changed from revision 11 to now
  skyctl diff -f app.yaml        what applying this file would change

Exit codes: 0 no differences, 1 differences, 2 or more when they could not be found out. Secret values are never
shown: a secret differs when its version does.";

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// App
    #[arg(value_name = "app/NAME", required_unless_present = "files", conflicts_with = "files")]
    pub name: Option<String>,
    /// Revisions, such as 11 or r11: from, and to [default: the current one]
    #[arg(value_name = "REVISION", num_args = 0..=2, value_parser = revision)]
    pub revisions: Vec<i64>,
    /// File or directory with manifests; - is the standard input. May be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, default_value_t = TextFormat::Text)]
    pub output: TextFormat,
}

/// Reads the number of a revision: `11` or `r11`.
///
/// # Errors
/// When it is none.
pub fn revision(text: &str) -> std::result::Result<i64, String> {
    let digits = text.strip_prefix(['r', 'R']).unwrap_or(text);
    let number = digits.parse::<i64>().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("\"{text}\" is not the number of a revision, such as 11 or r11; `skyctl history app/NAME` shows them"))
}

/// Runs the verb.
///
/// # Errors
/// [`CliError::Differs`] when there are differences; see [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    match differs(session, args).await {
        Ok(true) => Err(CliError::Differs),
        Ok(false) => Ok(()),
        // Only differences may end with exit code 1.
        Err(error @ CliError::Closed) => Err(error),
        Err(error) => Err(CliError::Uncompared(Box::new(error))),
    }
}

async fn differs(session: &Session, args: Args) -> Result<bool> {
    let Some(word) = &args.name else { return of_files(session, &args).await };
    let name = resource::app(word)?;
    let org = session.org().await?;
    let found = match of_revisions(session, &org, &name, &args.revisions).await {
        Ok(found) => found,
        Err(error) => return Err(session.with_similar(error, Kind::App, &org, &name).await),
    };
    match args.output.render(&found)? {
        Some(text) => output::print(&text)?,
        None if found.changes.is_empty() => output::line(&format!("app/{name}: revisions {} and {} are the same", found.from, found.to))?,
        None => {
            output::line(&format!("app/{name}: revision {} → revision {}", found.from, found.to))?;
            output::print(&shown(&found.changes))?;
        }
    }
    Ok(!found.changes.is_empty())
}

async fn of_revisions(session: &Session, org: &OrgName, name: &str, revisions: &[i64]) -> Result<RevisionDiff> {
    let current = async || Ok::<_, CliError>(watch::app(&session.client, org, name).await?.metadata.generation.unwrap_or(0));
    let (from, to) = match revisions {
        [from, to, ..] => (*from, *to),
        [from] => (*from, current().await?),
        [] => return Err(CliError::Usage(format!("which revision? `skyctl history app/{name}` shows them; or -f FILE"))),
    };
    session.client.get(&routes::app(org, name, &format!("revisions/{from}/diff/{to}")), &[]).await
}

/// What applying a file would change in one object.
#[derive(Debug, serde::Serialize)]
struct FileDiff {
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<String>,
    name: String,
    action: ApplyAction,
    changes: Vec<Change>,
}

async fn of_files(session: &Session, args: &Args) -> Result<bool> {
    let loaded = prepare(session, &args.files).await?;
    // The server checks all of them together first: a file that cannot be applied has no differences to show.
    let request = ApplyRequest { items: loaded.documents.iter().map(|document| document.value.clone()).collect() };
    let checked: ApplyResponse = match session.client.post(routes::APPLY, &[("dryRun", "true".to_owned())], &request).await {
        Ok(checked) => checked,
        Err(error) => return Err(located(error, loaded, None)),
    };
    let mut all = Vec::new();
    for (document, result) in loaded.documents.iter().zip(checked.results) {
        let changes = match result.action {
            ApplyAction::Unchanged => Vec::new(),
            action => changes(session, document, action).await?,
        };
        all.push(FileDiff { kind: document.kind, org: result.org, name: document.name.clone(), action: result.action, changes });
    }
    let differ = all.iter().any(|diff| diff.action != ApplyAction::Unchanged);
    match args.output.render(&all)? {
        Some(text) => output::print(&text)?,
        None => all.iter().filter(|diff| diff.action != ApplyAction::Unchanged).try_for_each(show)?,
    }
    if !differ && args.output == TextFormat::Text {
        output::line("nothing would change")?;
    }
    Ok(differ)
}

fn show(diff: &FileDiff) -> Result<()> {
    let (word, style) = match diff.action {
        ApplyAction::Created => ("would be created", GREEN),
        _ => ("would change", YELLOW),
    };
    let label = format!("{}/{}", diff.kind.as_str().to_lowercase(), diff.name);
    output::line(&format!("{} {}", paint(BOLD, &label), paint(style, word)))?;
    output::print(&shown(&diff.changes))
}

async fn changes(session: &Session, document: &Document, action: ApplyAction) -> Result<Vec<Change>> {
    let org = match document.org().map(str::parse::<OrgName>) {
        Some(Ok(org)) => org,
        _ => session.org_for(document.kind).await?,
    };
    let stored = match action {
        ApplyAction::Created => None,
        _ => Some(session.object(document.kind, &org, &document.name).await?),
    };
    let mut changes = labels(stored.as_ref(), &document.value);
    if document.kind == Kind::App {
        // Only the server knows whether a secret is another one.
        let path = routes::app(&org, &document.name, "plan");
        let plan: PlanResponse = session.client.post(&path, &[], &document.value).await?;
        changes.extend(plan.changes);
    } else {
        let spec = |object: &Value| object.get("spec").cloned().map(without_key);
        changes.extend(diff::values("spec", stored.as_ref().and_then(spec).as_ref(), spec(&document.value).as_ref()));
        let key = document.value.pointer("/spec/privateKey").is_some_and(|key| !key.is_null());
        if document.kind == Kind::Certificate && key && changes.is_empty() {
            // Something differs, and nothing that may be shown.
            let shown = |text: &str| Some(Value::from(text));
            changes.push(Change { path: "spec.privateKey".to_owned(), before: shown("the stored key"), after: shown("another key") });
        }
    }
    Ok(changes)
}

/// A spec without the key of a certificate, which is never shown.
fn without_key(mut spec: Value) -> Value {
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("privateKey");
    }
    spec
}

/// An object without labels has an empty map of them.
fn labels(stored: Option<&Value>, wanted: &Value) -> Vec<Change> {
    let labels = |object: &Value| object.pointer("/metadata/labels").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    diff::values("metadata.labels", stored.map(labels).as_ref(), Some(&labels(wanted)))
}

/// Changes for people: one line each, the sign first, as in a patch.
pub fn shown(changes: &[Change]) -> String {
    let line = |change: &Change| {
        let style = match (&change.before, &change.after) {
            (Some(_), Some(_)) => YELLOW,
            (None, _) => GREEN,
            (Some(_), None) => RED,
        };
        format!("  {}\n", paint(style, &harmless(&change.to_string(), false)))
    };
    changes.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_written_with_or_without_their_letter() {
        assert_eq!((revision("11"), revision("r12")), (Ok(11), Ok(12)));
        for wrong in ["", "r", "0", "-1", "latest", "1.5"] {
            assert!(revision(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_key_of_a_certificate_is_not_compared_in_the_open() {
        let spec = serde_json::json!({"chain": "PEM", "privateKey": "canary"});
        assert_eq!(without_key(spec), serde_json::json!({"chain": "PEM"}));
    }

    #[test]
    fn only_differences_end_with_exit_code_1() {
        assert_eq!(CliError::Differs.exit_code(), 1);
        assert_eq!(CliError::Uncompared(Box::new(CliError::Failed(String::new()))).exit_code(), 2);
        assert_eq!(CliError::Uncompared(Box::new(CliError::Timeout(String::new()))).exit_code(), 124);
    }
}
