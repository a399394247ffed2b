//! `skyctl import`: a Compose file as manifests. Talks to no server.

use std::fs;
use std::path::{Path, PathBuf};

use api_types::api::{Draft, Note};

use crate::compose::{self, Options};
use crate::errors::{CliError, Result};
use crate::manifest::collect;
use crate::output::{self, TextFormat};

const EXAMPLES: &str = "\
Examples:
  skyctl import compose.yaml                     manifests on the standard output, with what is lost as comments
  skyctl import compose.yaml > app.yaml          read the comments, then: skyctl plan -f app.yaml
  skyctl import compose.yaml --service web --service worker --app shop
  skyctl import compose.yaml -o json             for programs: manifests and notes

Services of one image become the processes of one app. Variables (${NAME}) come from the environment and from
.env beside the file. Nothing is sent to a server.";

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Compose file; - is the standard input
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// Service to import; all when left out. May be repeated
    #[arg(long = "service", value_name = "NAME")]
    pub services: Vec<String>,
    /// Name of the app, or first part of the names of several [default: the file's "name", else its folder]
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, default_value_t = TextFormat::Text)]
    pub output: TextFormat,
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`].
pub fn run(args: &Args) -> Result<()> {
    if args.file.is_dir() {
        return Err(CliError::Usage(format!("{} is a directory; name the Compose file in it", args.file.display())));
    }
    let mut sources = collect(std::slice::from_ref(&args.file))?;
    let Some(source) = sources.pop() else { return Ok(()) };
    let folder = args.file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let dot_env = fs::read_to_string(folder.join(".env")).unwrap_or_default();
    let dot_env = compose::env_file(&dot_env).map_err(|why| CliError::Usage(format!("{}: {why}", folder.join(".env").display())))?;
    let variable = |name: &str| {
        let in_file = || dot_env.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.clone());
        std::env::var(name).ok().or_else(in_file)
    };
    let file = |name: &str| fs::read_to_string(folder.join(name)).map_err(|error| error.to_string());
    let fallback = fs::canonicalize(&folder).ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let fallback = fallback.unwrap_or_else(|| "app".to_owned());
    let options = Options { name: args.app.as_deref(), fallback: &fallback, only: &args.services, variable: &variable, file: &file };
    let imported = compose::import(source, &options)?;
    show(&imported.drafts, &imported.notes, &args.file.display().to_string(), args.output)
}

/// Writes manifests, with notes as comments before each.
///
/// # Errors
/// When nobody reads any more.
pub fn show(drafts: &[Draft], notes: &[Note], from: &str, format: TextFormat) -> Result<()> {
    if let Some(text) = format.render(&serde_json::json!({"drafts": drafts, "notes": notes}))? {
        return output::print(&text);
    }
    output::print(&text(drafts, notes, from)?)?;
    let count = notes.len() + drafts.iter().map(|draft| draft.notes.len()).sum::<usize>();
    if count > 0 {
        output::note(&format!("{count} {} in the comments\n", if count == 1 { "point to look at is" } else { "points to look at are" }));
    }
    Ok(())
}

/// Manifests with comments.
///
/// # Errors
/// Does not happen for values.
pub fn text(drafts: &[Draft], notes: &[Note], from: &str) -> Result<String> {
    let mut out = String::new();
    for note in notes {
        comment(&mut out, note);
    }
    for (number, draft) in drafts.iter().enumerate() {
        if number > 0 || !out.is_empty() {
            out.push_str("---\n");
        }
        out.push_str(&format!("# From {}: {}\n", output::harmless(from, false), draft.services.join(", ")));
        for note in &draft.notes {
            comment(&mut out, note);
        }
        out.push_str(&output::yaml(&draft.manifest)?);
    }
    Ok(out)
}

fn comment(out: &mut String, note: &Note) {
    out.push_str(&format!("# {}: {}\n", output::harmless(&note.path, false), output::harmless(&note.message, false)));
}
