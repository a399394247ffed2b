//! `skyctl edit`: the manifest in an editor, checked and sent, or back into the editor with what is wrong.

use std::fs;
use std::io::IsTerminal;
use std::io::Write as _;
use std::path::Path;

use api_types::api::{ApplyAction, ApplyRequest, ApplyResponse};
use api_types::problem::ProblemKind;
use api_types::{Kind, OrgName};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::Session;
use super::apply::located;
use crate::args::WaitArgs;
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::manifest::{Loaded, Source, load};
use crate::watch::{Wanted, until_ready};
use crate::{interrupt, output, program, resource};

const EXAMPLES: &str = "\
Examples:
  skyctl edit app/shop
  skyctl edit app shop --wait
  EDITOR=\"code --wait\" skyctl edit domain/www.example.com

The editor is $VISUAL, else $EDITOR, else vi. A manifest that is not right opens again, with the error on top.
Closing without a change, or with an empty file, cancels. Somebody else's change meanwhile is never overwritten.";

/// Lines that this program wrote on top begin so; they are taken off again.
const OURS: &str = "#| ";

/// Arguments of `edit`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// KIND NAME, or KIND/NAME
    #[arg(value_name = "KIND NAME", required = true)]
    pub what: Vec<String>,
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`]; what was written in the editor is kept in a file then.
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let (kind, names) = resource::selection(&args.what)?;
    let [name] = names.as_slice() else { return Err(CliError::Usage("edit one object: KIND NAME".to_owned())) };
    match kind {
        Kind::Node => return Err(CliError::Usage("nodes are observed; there is nothing to edit".to_owned())),
        Kind::Setting => return Err(CliError::Usage(format!("a setting is changed with: skyctl settings set {name} VALUE"))),
        Kind::Certificate => {
            return Err(CliError::Usage(
                "a certificate's key cannot be read back, so it is replaced as a whole: skyctl apply -f".to_owned(),
            ));
        }
        Kind::App | Kind::Domain | Kind::Organization => {}
    }
    let org = session.org_for(kind).await?;
    let object = session.object(kind, &org, name).await?;
    let version = object.pointer("/metadata/resourceVersion").cloned();
    let editing = Editing { kind, org, name: name.clone(), version };
    let body = output::yaml(&editable(object))?;
    let file = tempfile::Builder::new().prefix("skyctl-").suffix(".yaml").tempfile();
    let file = file.map_err(|error| CliError::io("a file for the editor cannot be made", error))?;
    match editing.rounds(session, &file, &body).await {
        Ok(None) => output::line("nothing changed"),
        Ok(Some(response)) => editing.report(session, &response, &args.wait).await,
        Err(error) => {
            // Nothing that a person wrote is thrown away.
            if let Ok((_, path)) = file.keep() {
                output::note(&format!("what you wrote is kept in {}\n", path.display()));
            }
            Err(error)
        }
    }
}

/// An object without what only the server writes.
fn editable(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| ["name", "org", "labels"].contains(&field.as_str()));
    }
    object
}

/// What is edited.
struct Editing {
    kind: Kind,
    org: OrgName,
    name: String,
    version: Option<Value>,
}

impl Editing {
    /// Opens the editor until the server takes the text. `None` when nothing is to be changed.
    async fn rounds(&self, session: &Session, file: &NamedTempFile, body: &str) -> Result<Option<ApplyResponse>> {
        let label = format!("{}/{}", self.kind.as_str().to_lowercase(), self.name);
        let mut head = format!("{label}: save and close to apply; an empty file cancels.");
        if self.kind == Kind::App {
            head.push_str("\nA secret of null keeps its value.");
        }
        let mut text = body.to_owned();
        loop {
            write(file.path(), &format!("{}{text}", commented(&head)))?;
            open_editor(file.path()).await?;
            let saved = fs::read_to_string(file.path())
                .map_err(|error| CliError::io(format!("{} cannot be read", file.path().display()), error))?;
            let saved = without_ours(&saved);
            if saved.trim().is_empty() || saved == body {
                return Ok(None);
            }
            let error = match self.send(session, &saved).await {
                Ok(response) => return Ok(Some(response)),
                Err(error) => error,
            };
            // The same text again would fail again: the person, or the script, has given up.
            if !is_correctable(&error) || saved == text {
                return Err(error);
            }
            head = error.report();
            text = saved;
        }
    }

    async fn send(&self, session: &Session, text: &str) -> Result<ApplyResponse> {
        let mut loaded = load(vec![Source { name: "the text".to_owned(), text: text.to_owned() }])?;
        self.check(&loaded)?;
        loaded.fill_org(&self.org);
        let Some(document) = loaded.documents.first_mut() else { return Err(CliError::Usage("there is no manifest in it".to_owned())) };
        if let (Some(metadata), Some(version)) = (document.value.get_mut("metadata").and_then(Value::as_object_mut), &self.version) {
            metadata.insert("resourceVersion".to_owned(), version.clone());
        }
        let request = ApplyRequest { items: vec![document.value.clone()] };
        match session.client.post(routes::APPLY, &[], &request).await {
            Ok(response) => Ok(response),
            Err(error) => Err(located(error, loaded, None)),
        }
    }

    /// Another name would be another object, and the first would stay as it is.
    fn check(&self, loaded: &Loaded) -> Result<()> {
        let [document] = loaded.documents.as_slice() else {
            return Err(CliError::Usage("the text must be one manifest".to_owned()));
        };
        let same_org = document.org().is_none_or(|org| org == self.org.as_str());
        if document.kind == self.kind && document.name == self.name && same_org {
            return Ok(());
        }
        Err(CliError::Usage("kind, metadata.name and metadata.org must stay as they are; `skyctl apply` makes new objects".to_owned()))
    }

    async fn report(&self, session: &Session, response: &ApplyResponse, wait: &WaitArgs) -> Result<()> {
        let Some(result) = response.results.first() else { return Ok(()) };
        let word = if result.action == ApplyAction::Unchanged { "unchanged" } else { "edited" };
        output::line(&format!("{}/{} {word}", self.kind.as_str().to_lowercase(), self.name))?;
        if wait.wait && self.kind == Kind::App {
            let wanted = Wanted { org: self.org.clone(), name: self.name.clone(), generation: result.generation };
            until_ready(&session.client, vec![wanted], wait.timeout.get()).await?;
        }
        Ok(())
    }
}

/// Whether another text may be taken.
fn is_correctable(error: &CliError) -> bool {
    match error {
        CliError::Manifests(_) | CliError::Usage(_) => true,
        CliError::Problem(problem) => matches!(problem.kind, ProblemKind::Invalid | ProblemKind::BadRequest),
        _ => false,
    }
}

fn commented(text: &str) -> String {
    text.lines().map(|line| format!("{OURS}{line}\n")).collect()
}

fn without_ours(text: &str) -> String {
    let ours = OURS.trim_end();
    text.lines().filter(|line| !line.starts_with(ours)).map(|line| format!("{line}\n")).collect()
}

fn write(path: &Path, text: &str) -> Result<()> {
    let file = fs::File::options().write(true).truncate(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| CliError::io(format!("{} cannot be written", path.display()), error))
}

/// Runs the editor, by its words and without a shell.
async fn open_editor(path: &Path) -> Result<()> {
    let chosen = program::variable("VISUAL").or_else(|| program::variable("EDITOR"));
    if chosen.is_none() && !(std::io::stdin().is_terminal() && output::is_terminal()) {
        return Err(CliError::Usage("there is no terminal for an editor; set EDITOR, or change a file and `skyctl apply` it".to_owned()));
    }
    let line = chosen.unwrap_or_else(|| "vi".to_owned());
    let words = shlex::split(&line).filter(|words| !words.is_empty());
    let words = words.ok_or_else(|| CliError::Usage(format!("the editor \"{line}\" cannot be read as a command; set EDITOR")))?;
    let Some((editor, arguments)) = words.split_first() else { return Ok(()) };
    // Ctrl-C is the editor's while it is open.
    let _held = interrupt::hold();
    let status = program::in_foreground(editor, arguments, path.as_os_str()).await;
    let status = status.map_err(|error| CliError::io(format!("the editor {editor} cannot be started; set EDITOR"), error))?;
    if status.success() { Ok(()) } else { Err(CliError::Failed(format!("the editor {editor} ended with {status}; nothing was changed"))) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_a_person_may_change_is_shown() {
        let object = json!({"kind": "App", "metadata": {"name": "shop", "org": "acme", "uid": "x", "resourceVersion": "7", "labels": {"a": "b"}},
            "spec": {"image": "a"}, "status": {"observedGeneration": 1}});
        assert_eq!(
            editable(object),
            json!({"kind": "App", "metadata": {"name": "shop", "org": "acme", "labels": {"a": "b"}}, "spec": {"image": "a"}})
        );
    }

    #[test]
    fn our_comments_come_off_and_others_stay() {
        let text = format!("{}# mine\nkind: App\n", commented("error: no\n\nhint: yes"));
        assert_eq!(text.lines().next(), Some("#| error: no"));
        assert_eq!(without_ours(&text), "# mine\nkind: App\n");
    }

    #[test]
    fn an_object_does_not_become_another_one() {
        let editing = Editing { kind: Kind::App, org: "acme".parse().expect("a name"), name: "shop".to_owned(), version: None };
        let check = |name: &str, org: &str| {
            let text = format!(
                "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: {name}, org: {org}}}\nspec: {{image: a, processes: {{w: {{}}}}}}\n"
            );
            editing.check(&load(vec![Source { name: "t".to_owned(), text }]).expect("valid"))
        };
        assert!(check("shop", "acme").is_ok());
        assert!(check("shop2", "acme").is_err() && check("shop", "other").is_err());
    }
}
