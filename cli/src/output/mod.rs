//! What goes to the terminal: tables, documents, colours only where a person looks.

mod age;
pub mod describe;
pub mod kinds;
pub mod progress;
pub mod status;
mod table;
pub mod why;

#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde_json::Value;
use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;

pub use age::age;
pub use table::Table;

use crate::errors::{CliError, Result};

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns.
    Table,
    /// More columns.
    Wide,
    /// The objects as the server sent them.
    Json,
    /// The same as YAML; can be applied again.
    Yaml,
    /// `kind/name` only.
    Name,
}

/// Forms of an answer that is no list of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TextFormat {
    /// Lines for people.
    Text,
    /// What the server sent.
    Json,
    /// The same as YAML.
    Yaml,
}

impl TextFormat {
    /// The value for programs, or `None` when people are to read it.
    ///
    /// # Errors
    /// Does not happen for values that came from the server.
    pub fn render(self, value: &impl serde::Serialize) -> Result<Option<String>> {
        if self == Self::Text {
            return Ok(None);
        }
        let value = serde_json::to_value(value).map_err(|error| CliError::io("the answer cannot be written", error))?;
        Ok(Some(if self == Self::Json { json(&value)? } else { yaml(&value)? }))
    }
}

/// Good.
pub const GREEN: Style = AnsiColor::Green.on_default();
/// Needs a person.
pub const RED: Style = AnsiColor::Red.on_default();
/// Under way.
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
/// Headings.
pub const BOLD: Style = Style::new().bold();
/// Less important.
pub const DIM: Style = Style::new().dimmed();

/// Text in a style.
pub fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Writes to the standard output; colours are removed when it is no terminal.
///
/// # Errors
/// [`CliError::Closed`] when nobody reads any more.
pub fn print(text: &str) -> Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a line.
///
/// # Errors
/// See [`print()`].
pub fn line(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}

/// Writes to the standard error. Nothing can be done when that fails.
pub fn note(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// Ends when nobody can read the standard output any more. A pipe says so by itself; a file never does.
pub async fn closed() {
    // Only asked whether it is broken: making it non-blocking would do so to everybody who shares it.
    let out = std::io::stdout().as_fd().try_clone_to_owned().and_then(Sender::from_owned_fd_unchecked);
    if let Ok(out) = out
        && out.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Whether a person watches the output.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Pretty JSON with a line end.
///
/// # Errors
/// Does not happen for values.
pub fn json(value: &Value) -> Result<String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError::io("the answer cannot be written as JSON", error))?;
    Ok(format!("{text}\n"))
}

/// YAML with a line end, quoted where a reader could take text for something else.
///
/// # Errors
/// Does not happen for values.
pub fn yaml(value: &Value) -> Result<String> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let mut text = serde_saphyr::to_string_with_options(value, options)
        .map_err(|error| CliError::io("the answer cannot be written as YAML", error))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Text from elsewhere, safe to show: one line, no control characters except tabs, and colours if
/// `colours`.
pub fn harmless(text: &str, colours: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let next = rest.get(c.len_utf8()..).unwrap_or_default();
        if c == '\u{1b}' {
            // Only "select graphic rendition" is let through: no cursor, no title, no clipboard.
            let body = next.strip_prefix('[').unwrap_or_default();
            let length = body.bytes().take_while(|b| b.is_ascii_digit() || *b == b';').count();
            if colours && body.as_bytes().get(length) == Some(&b'm') {
                out.push_str("\u{1b}[");
                out.push_str(body.get(..=length).unwrap_or_default());
                rest = body.get(length + 1..).unwrap_or_default();
                continue;
            }
        } else if c == '\n' {
            out.push(' ');
        } else if !c.is_control() || c == '\t' {
            out.push(c);
        }
        rest = next;
    }
    out
}
