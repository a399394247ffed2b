//! `apply --prune`: deletes what an apply set had before and has no more.
//!
//! An object belongs to a set by a label that `apply --apply-set NAME` puts on it; nothing else is ever a
//! candidate. An apply without a set takes the label off, and with it the object out of reach.

use api_types::{Kind, OrgName};
use serde_json::{Map, Value};

use super::delete::Object;
use super::{Session, delete};
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::input;
use crate::manifest::Loaded;
use crate::output::{self, RED, paint};

/// The name of an apply set: one word, as a label's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetName(String);

impl SetName {
    fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for SetName {
    type Err = &'static str;
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !text.is_empty() && text.len() <= 63 && text.chars().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err("the name of a set has 1 to 63 letters, digits, '-', '_' or '.'")
    }
}

/// The label.
const LABEL: &str = "apply-set";

/// Kinds that are pruned, in the order of deletion. Deleting a tenant or a setting is nobody's side effect.
const KINDS: [Kind; 2] = [Kind::Domain, Kind::App];

/// Puts all objects of the files into a set.
///
/// # Errors
/// When a manifest has the label with another value.
pub fn mark(loaded: &mut Loaded, set: &SetName) -> Result<()> {
    for document in loaded.documents.iter_mut().filter(|document| KINDS.contains(&document.kind)) {
        let Some(metadata) = document.value.get_mut("metadata").and_then(Value::as_object_mut) else { continue };
        let labels = metadata.entry("labels").or_insert_with(|| Value::Object(Map::new()));
        // `labels: ` without anything is null.
        if labels.is_null() {
            *labels = Value::Object(Map::new());
        }
        let Some(labels) = labels.as_object_mut() else { continue };
        let before = labels.insert(LABEL.to_owned(), Value::from(set.as_str()));
        if before.as_ref().is_some_and(|before| before != set.as_str()) {
            let label = label(document.kind, &document.name);
            return Err(CliError::Usage(format!("{label} has a label {LABEL} of its own, which says another set; remove it")));
        }
    }
    Ok(())
}

fn label(kind: Kind, name: &str) -> String {
    format!("{}/{name}", kind.as_str().to_lowercase())
}

/// What the set has on the server and not in the files.
///
/// # Errors
/// When an object of the files belongs to another set: two sets would delete each other's objects in turn.
pub async fn find(session: &Session, loaded: &Loaded, set: &SetName) -> Result<Vec<Object>> {
    let mut orgs: Vec<OrgName> = loaded.documents.iter().filter_map(|document| document.org()?.parse().ok()).collect();
    orgs.push(session.org().await?);
    orgs.sort();
    orgs.dedup();
    let mut doomed = Vec::new();
    for kind in KINDS {
        for org in &orgs {
            let query = [("labelSelector", LABEL.to_owned())];
            let members: Vec<Value> = session.client.list(&routes::list(kind, org), &query).await?;
            for member in &members {
                doomed.extend(decide(loaded, (kind, org), member, set)?);
            }
        }
    }
    Ok(doomed)
}

/// Whether a member of some set is to go.
fn decide(loaded: &Loaded, (kind, org): (Kind, &OrgName), member: &Value, set: &SetName) -> Result<Option<Object>> {
    let text = |pointer: &str| member.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (name, its) = (text("/metadata/name"), text("/metadata/labels/apply-set"));
    let given =
        loaded.documents.iter().any(|document| document.kind == kind && document.name == name && document.org() == Some(org.as_str()));
    let label = label(kind, name);
    match (given, its == set.as_str()) {
        (true, false) => Err(CliError::Usage(format!(
            "{label} belongs to the apply set \"{its}\"; apply it with that one, or take it out with an apply without --apply-set first"
        ))),
        (false, true) if member.pointer("/metadata/deletionTimestamp").is_none_or(Value::is_null) => {
            Ok(Some((kind, org.clone(), name.to_owned())))
        }
        _ => Ok(None),
    }
}

/// Shows what is to be deleted, and asks.
///
/// # Errors
/// When the answer is no, or nobody can be asked.
pub fn agree(doomed: &[Object], yes: bool) -> Result<()> {
    if doomed.is_empty() || yes {
        return Ok(());
    }
    output::note("No longer in these files, and to be deleted:\n");
    for (kind, org, name) in doomed {
        output::note(&format!("  {} in the organization {org}\n", paint(RED, &label(*kind, name))));
    }
    if !input::is_terminal() {
        return Err(CliError::Usage("there is no terminal to ask whether to delete them; add --yes. Nothing was applied".to_owned()));
    }
    match input::agreed("Apply, and delete them?")? {
        true => Ok(()),
        false => Err(CliError::Failed("nothing was applied".to_owned())),
    }
}

/// Deletes, after everything else was applied.
///
/// # Errors
/// At the first that is refused.
pub async fn run(session: &Session, doomed: Vec<Object>, dry_run: bool) -> Result<()> {
    if !dry_run {
        return delete::all(session, doomed, true).await.map(drop);
    }
    doomed.iter().try_for_each(|(kind, _, name)| output::line(&format!("{} {} (dry run)", label(*kind, name), paint(RED, "deleted"))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::{Source, load};

    fn loaded() -> Loaded {
        let text =
            "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {name: shop, org: acme}\nspec: {image: a, processes: {web: {port: 80}}}\n";
        load(vec![Source { name: "a.yaml".to_owned(), text: text.to_owned() }]).expect("valid")
    }

    fn member(name: &str, set: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {"apply-set": set}}})
    }

    #[test]
    fn only_what_the_set_had_and_has_no_more_is_deleted() {
        let (loaded, org, set) = (loaded(), "acme".parse().expect("a name"), "prod".parse().expect("a value"));
        let decided = |name: &str, its: &str| decide(&loaded, (Kind::App, &org), &member(name, its), &set);
        assert_eq!(decided("old", "prod").expect("decided"), Some((Kind::App, org.clone(), "old".to_owned())));
        assert_eq!(decided("shop", "prod").expect("decided"), None, "it is in the files");
        assert_eq!(decided("blog", "other").expect("decided"), None, "it is another set's");
        assert!(decided("shop", "other").is_err(), "two sets cannot have one object");
        let other: OrgName = "other".parse().expect("a name");
        assert!(
            decide(&loaded, (Kind::App, &other), &member("shop", "prod"), &set).expect("decided").is_some(),
            "another one of that name"
        );
        let mut going = member("old", "prod");
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(decide(&loaded, (Kind::App, &org), &going, &set).expect("decided"), None);
    }

    #[test]
    fn the_label_is_put_on_and_never_fought_over() {
        let mut all = loaded();
        mark(&mut all, &"prod".parse().expect("a value")).expect("no other");
        assert_eq!(all.documents[0].value.pointer("/metadata/labels/apply-set"), Some(&json!("prod")));
        assert!(mark(&mut all, &"stage".parse().expect("a value")).is_err());
    }

    #[test]
    fn nobody_is_surprised() {
        let doomed = [(Kind::App, "acme".parse().expect("a name"), "old".to_owned())];
        assert!(agree(&doomed, true).is_ok() && agree(&[], false).is_ok());
        // A test has no terminal.
        assert_eq!(agree(&doomed, false).expect_err("nobody to ask").exit_code(), 2);
    }
}
