//! What comes in from people and files: text, hidden answers, a yes or no.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::errors::{CliError, Result};
use crate::output;

/// Largest text that is read: more than any secret or file of variables may be.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Whether a person can be asked.
pub fn is_terminal() -> bool {
    io::stdin().is_terminal()
}

fn read(input: impl Read, name: &str) -> Result<String> {
    let mut bytes = Vec::new();
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| CliError::io(format!("{name} cannot be read"), error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        return Err(CliError::Usage(format!("{name} is larger than {} MiB", MAX_BYTES >> 20)));
    }
    // The cause would quote bytes of what may be a secret.
    String::from_utf8(bytes).map_err(|_| CliError::Usage(format!("{name} is not text in UTF-8")))
}

/// A file, or the standard input for `-`.
///
/// # Errors
/// When it cannot be read.
pub fn text(path: &Path) -> Result<String> {
    if path.as_os_str() == "-" {
        return stdin();
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| CliError::io(format!("{name} cannot be read"), error))?;
    read(file, &name)
}

/// The whole standard input.
///
/// # Errors
/// When it cannot be read.
pub fn stdin() -> Result<String> {
    read(io::stdin().lock(), "the standard input")
}

/// Puts the terminal back as it was, whatever happens in between.
struct Echo(Termios);

impl Echo {
    fn off() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Asks on the terminal, without showing the answer.
///
/// # Errors
/// When there is no answer.
pub fn hidden(question: &str) -> Result<String> {
    output::note(question);
    let echo = Echo::off().map_err(|error| CliError::io("the terminal cannot be read without showing", error))?;
    let answer = line();
    drop(echo);
    output::note("\n");
    answer
}

/// Asks on the terminal; an empty answer is one.
///
/// # Errors
/// When there is no answer.
pub fn asked(question: &str) -> Result<String> {
    output::note(question);
    line()
}

/// Asks for a yes; everything else is a no.
///
/// # Errors
/// When there is no answer.
pub fn agreed(question: &str) -> Result<bool> {
    let answer = asked(&format!("{question} [y/N] "))?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

fn line() -> Result<String> {
    let mut text = String::new();
    io::stdin().lock().read_line(&mut text).map_err(|error| CliError::io("the terminal cannot be read", error))?;
    if text.is_empty() {
        return Err(CliError::Usage("no answer was given".to_owned()));
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
