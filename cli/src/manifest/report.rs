//! Shows errors with their place in the file, and the line itself with a caret under it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use api_types::check;

use super::position::{Mark, Range};
use super::{Finding, Findings, Source};

/// Longest part of a line that is shown.
const MAX_LINE: usize = 160;

const BOLD: Style = Style::new().bold();
const FAINT: Style = AnsiColor::Blue.on_default();
const CARET: Style = AnsiColor::Red.on_default().bold();

/// All findings as text with colours; the writer removes those where they are not wanted.
pub fn render(all: &Findings) -> String {
    let mut out = String::new();
    for finding in &all.findings {
        let Some(source) = all.sources.get(finding.source) else { continue };
        let secrets = all.secrets.iter().filter(|(index, _)| *index == finding.source).flat_map(|(_, ranges)| ranges);
        head(&mut out, finding, source);
        if let Some(mark) = finding.mark {
            let secrets: Vec<Range> = secrets.copied().collect();
            // What could not be parsed has no known secrets.
            let hidden = finding.error.path.is_empty() && inside_secrets(&source.text, mark.line);
            if !hidden {
                excerpt(&mut out, source, mark, &secrets);
            }
        }
    }
    let pages: BTreeSet<&String> = all.findings.iter().filter_map(|finding| finding.error.see.as_ref()).collect();
    for page in pages {
        let _ = writeln!(out, "see {page}");
    }
    let (errors, files) = (all.findings.len(), count_files(all));
    let _ = match files {
        1 => writeln!(out, "{} found; nothing was sent", counted(errors, "error")),
        _ => writeln!(out, "{} found in {files} files; nothing was sent", counted(errors, "error")),
    };
    out
}

fn count_files(all: &Findings) -> usize {
    let mut files: Vec<usize> = all.findings.iter().map(|finding| finding.source).collect();
    files.dedup();
    files.len()
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn head(out: &mut String, finding: &Finding, source: &Source) {
    let error = &finding.error;
    let place = finding.mark.map_or_else(String::new, |mark| format!(":{}:{}", mark.line, mark.column));
    let path = if error.path.is_empty() || error.path == check::ROOT { String::new() } else { format!("{}: ", error.path) };
    // A guess replaces the list of everything that would have been possible.
    let message = match &error.suggestion {
        Some(word) => format!("{}; did you mean \"{word}\"?", error.message.split("; known are").next().unwrap_or(&error.message)),
        None => error.message.clone(),
    };
    let _ = writeln!(out, "{BOLD}{}{place}:{BOLD:#} {path}{message}", source.name);
}

fn excerpt(out: &mut String, source: &Source, mark: Mark, secrets: &[Range]) {
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let Some(line) = text.lines().nth(mark.line.saturating_sub(1)) else { return };
    if line.trim().is_empty() {
        return;
    }
    let number = mark.line.to_string();
    let gutter = " ".repeat(number.len());
    let before = mark.column.saturating_sub(1);
    if before >= MAX_LINE {
        return;
    }
    let (shown, caret) = masked(line, mark, secrets);
    let shown: String = shown.chars().take(MAX_LINE).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(out, "{FAINT}{gutter} |{FAINT:#}");
    let _ = writeln!(out, "{FAINT}{number} |{FAINT:#} {shown}");
    let _ = writeln!(out, "{FAINT}{gutter} |{FAINT:#} {}{CARET}^{CARET:#}", " ".repeat(caret));
}

/// The line without the values of secrets, and where the mark is in it.
fn masked(line: &str, mark: Mark, secrets: &[Range]) -> (String, usize) {
    let here: Vec<&Range> = secrets.iter().filter(|(from, to)| from.line <= mark.line && mark.line <= to.line).collect();
    let (mut out, mut length, mut caret) = (String::new(), 0, None);
    for (column, c) in (1..).zip(line.chars()) {
        let at = Mark { line: mark.line, column };
        if column == mark.column {
            caret = Some(length);
        }
        let shown = match here.iter().find(|(from, to)| *from <= at && at < *to) {
            Some((from, _)) => (*from == at).then_some('…'),
            None => Some(c),
        };
        if let Some(c) = shown {
            out.push(c);
            length += 1;
        }
    }
    (out, caret.unwrap_or(length))
}

/// Whether a line is in a block of secrets, by indentation alone: for files that cannot be parsed.
fn inside_secrets(text: &str, number: usize) -> bool {
    let lines: Vec<&str> = text.lines().take(number).collect();
    let indent = |line: &str| line.chars().take_while(|c| c.is_whitespace()).count();
    let mut limit = lines.last().map_or(0, |line| indent(line));
    for line in lines.iter().rev().skip(1).filter(|line| !line.trim().is_empty()) {
        if indent(line) < limit {
            limit = indent(line);
            if line.trim_start().starts_with("secrets:") {
                return true;
            }
        }
    }
    lines.last().is_some_and(|line| line.contains("secrets:"))
}
