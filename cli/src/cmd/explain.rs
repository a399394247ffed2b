//! `skyctl explain`: what the fields of a manifest mean. The schemas are compiled in, so no server is asked.

use std::fmt::Write as _;

use api_types::explain::{self, Field};
use api_types::{API_VERSION, Kind};
use serde_json::Value;

use crate::errors::{CliError, Result};
use crate::output::{self, BOLD, TextFormat, paint};
use crate::resource;

/// Width that descriptions are broken to.
const WIDTH: usize = 90;

const EXAMPLES: &str = "\
Examples:
  skyctl explain app                          the fields of an app
  skyctl explain app.spec.processes
  skyctl explain app.spec.processes.web.port  the name of an element may be written or left out
  skyctl explain app.spec --recursive         all fields below, in short
  skyctl explain                              the kinds

No server is asked. An unknown field is an error with the one that was probably meant (exit code 2).";

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// KIND, or KIND.FIELD.FIELD
    #[arg(value_name = "KIND.FIELD")]
    pub what: Option<String>,
    /// Show all fields below, with their types only
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// Form of the answer
    #[arg(long, short = 'o', value_enum, default_value_t = TextFormat::Text, value_name = "FORMAT")]
    pub output: TextFormat,
}

/// Runs the verb.
///
/// # Errors
/// When there is no such kind or field.
pub fn run(args: &Args) -> Result<()> {
    let Some(what) = &args.what else { return output::print(&kinds()) };
    let mut segments = what.split('.').filter(|segment| !segment.is_empty());
    let kind = resource::kind(segments.next().unwrap_or_default())?;
    let path: Vec<&str> = segments.collect();
    let field = explain::field(kind, &path).map_err(|unknown| {
        let meant = unknown.suggestion.as_ref().map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
        CliError::Usage(format!("{unknown}{meant}"))
    })?;
    match args.output.render(&field)? {
        Some(text) => output::print(&text),
        None => output::print(&text(kind, &field, &path, args.recursive)),
    }
}

fn kinds() -> String {
    let mut out = format!("{}\n", paint(BOLD, "KINDS"));
    for kind in Kind::ALL {
        let described = explain::field(kind, &[]).map(|field| first_sentence(&field.description)).unwrap_or_default();
        let _ = writeln!(out, "  {:<14} {described}", kind.as_str());
    }
    out.push_str("\nskyctl explain KIND shows its fields.\n");
    out
}

/// The whole answer for people, in the form that `kubectl explain` made known.
fn text(kind: Kind, field: &Field, path: &[&str], recursive: bool) -> String {
    let mut out = format!("{}  {kind}\n{}  {API_VERSION}\n", paint(BOLD, "KIND:   "), paint(BOLD, "VERSION:"));
    if !path.is_empty() {
        let _ = writeln!(out, "\n{} {}.{} {}", paint(BOLD, "FIELD:"), kind.as_str().to_ascii_lowercase(), path.join("."), tags(field));
    }
    let _ = write!(out, "\n{}\n{}", paint(BOLD, "DESCRIPTION:"), wrapped(&field.description, 4));
    details(&mut out, field, 4);
    if field.fields.is_empty() {
        return out;
    }
    let _ = writeln!(out, "\n{}", paint(BOLD, "FIELDS:"));
    match recursive {
        true => tree(&mut out, &field.fields, 2),
        false => {
            for child in &field.fields {
                let _ = write!(out, "  {} {}\n{}", paint(BOLD, &child.name), tags(child), wrapped(&child.description, 4));
                details(&mut out, child, 4);
                out.push('\n');
            }
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
    }
    out
}

fn tags(field: &Field) -> String {
    let required = if field.required { " -required-" } else { "" };
    format!("<{}>{required}", field.type_name)
}

fn details(out: &mut String, field: &Field, indent: usize) {
    if let Some(default) = &field.default {
        let _ = writeln!(out, "{:indent$}Default: {}", "", plain(default));
    }
    if let Some(bounds) = &field.bounds {
        let _ = writeln!(out, "{:indent$}Bounds: {bounds}", "");
    }
    if !field.allowed.is_empty() {
        let _ = writeln!(out, "{:indent$}Allowed:", "");
        for allowed in &field.allowed {
            let meaning =
                if allowed.description.is_empty() { String::new() } else { format!(": {}", allowed.description.replace('\n', " ")) };
            out.push_str(&wrapped(&format!("{}{meaning}", allowed.value), indent + 2));
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn tree(out: &mut String, fields: &[Field], indent: usize) {
    for field in fields {
        let _ = writeln!(out, "{:indent$}{} {}", "", field.name, tags(field));
        tree(out, &field.fields, indent + 2);
    }
}

fn first_sentence(text: &str) -> String {
    text.split('\n').next().unwrap_or_default().split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned()
}

/// Text broken at spaces, each line behind an indent; ends with a line end.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{:indent$}{line}", "");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{:indent$}{line}", "");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(what: &str, recursive: bool) -> String {
        let path: Vec<&str> = what.split('.').filter(|segment| !segment.is_empty()).collect();
        let field = explain::field(Kind::App, &path).expect("a field");
        anstream::adapter::strip_str(&text(Kind::App, &field, &path, recursive)).to_string()
    }

    #[test]
    fn a_field_is_told_with_type_meaning_default_and_choices() {
        let wanted = "\
KIND:     App
VERSION:  skyswarm.dev/v1

FIELD: app.spec.rollout.order <RolloutOrder>

DESCRIPTION:
    Whether new tasks start before old ones stop.
    Default: start-first
    Allowed:
      start-first: Start new tasks, wait until they are healthy, then stop old ones. No
      request is lost.
      stop-first: Stop old tasks first: for processes of which two must never run at once.
";
        assert_eq!(explained("spec.rollout.order", false), wanted);
    }

    #[test]
    fn children_are_listed_and_the_whole_tree_on_request() {
        let processes = explained("spec.processes", false);
        assert!(processes.contains("FIELD: app.spec.processes <map[name]ProcessSpec> -required-"), "{processes}");
        assert!(
            processes.contains("  replicas <integer>\n    Wanted number of tasks, 0 to 500.\n    Default: 1\n    Bounds: 0 to 500\n"),
            "{processes}"
        );
        let tree = explained("spec", true);
        assert!(
            tree.contains("  image <ImageRef> -required-\n") && tree.contains("    health <HealthSpec>\n      path <string> -required-\n"),
            "{tree}"
        );
    }

    #[test]
    fn an_unknown_kind_or_field_is_wrong_usage_with_a_suggestion() {
        let failed = |what: &str| {
            let args = Args { what: Some(what.to_owned()), recursive: false, output: TextFormat::Text };
            run(&args).expect_err("unknown")
        };
        for (what, meant) in [("aps.spec", "did you mean \"apps\"?"), ("app.spec.proceses", "did you mean \"processes\"?")] {
            let error = failed(what);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(meant), "{error}");
        }
    }
}
