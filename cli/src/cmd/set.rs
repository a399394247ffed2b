//! `skyctl set` and `skyctl unset`: variables, secrets, the image.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api_types::{App, EnvKey, ImageRef, check};
use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::Session;
use crate::args::WaitArgs;
use crate::change::Target;
use crate::errors::{CliError, Result};
use crate::input;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  skyctl set env shop LOG_LEVEL=debug --wait
  skyctl set secret shop STRIPE_KEY            asks for the value, without echo
  skyctl set image shop registry.example/shop:1.5 --wait

Each is one new revision, rolled out like an apply. What is not named stays as it is.";

const ENV_EXAMPLES: &str = "\
Examples:
  skyctl set env shop LOG_LEVEL=debug WORKERS=4
  skyctl set env app/shop --from-file .env --wait
  skyctl set env shop                          shows the variables

All of them are one new revision, or none.";

const SECRET_EXAMPLES: &str = "\
Examples:
  skyctl set secret shop STRIPE_KEY            asks for the value, without echo
  pass show stripe | skyctl set secret shop STRIPE_KEY
  skyctl set secret shop TLS_KEY=- < key.pem   the standard input, as it is
  skyctl set secret shop --from-file secrets.env

A value on the command line (KEY=VALUE) can be seen by others on the machine and stays in the shell's
history. A secret is mounted as the file /run/secrets/KEY, and can never be read back.";

const IMAGE_EXAMPLES: &str = "\
Examples:
  skyctl set image shop registry.example/shop:1.5 --wait";

const UNSET_EXAMPLES: &str = "\
Examples:
  skyctl unset env shop LOG_LEVEL WORKERS
  skyctl unset secret app/shop STRIPE_KEY --wait

All of them are one new revision, or none. A key that the app does not have is an error.";

/// Arguments of `set`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Set plain variables; without any, show them
    #[command(after_help = ENV_EXAMPLES)]
    Env(Variables),
    /// Set secret variables
    #[command(after_help = SECRET_EXAMPLES)]
    Secret(Variables),
    /// Set the image
    #[command(after_help = IMAGE_EXAMPLES)]
    Image {
        /// App
        #[arg(value_name = "app/NAME")]
        name: String,
        /// Image reference
        #[arg(value_name = "IMAGE")]
        image: ImageRef,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

#[derive(Debug, clap::Args)]
struct Variables {
    /// App
    #[arg(value_name = "app/NAME")]
    name: String,
    /// Variables; a secret's VALUE is better left out, or - for the standard input
    #[arg(value_name = "KEY[=VALUE]")]
    variables: Vec<String>,
    /// Also those of a file with lines KEY=VALUE; - is the standard input
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Arguments of `unset`.
#[derive(Debug, clap::Args)]
#[command(after_help = UNSET_EXAMPLES)]
pub struct UnsetArgs {
    #[command(subcommand)]
    what: UnsetWhat,
}

#[derive(Debug, Subcommand)]
enum UnsetWhat {
    /// Remove plain variables
    #[command(after_help = UNSET_EXAMPLES)]
    Env(Keys),
    /// Remove secret variables
    #[command(after_help = UNSET_EXAMPLES)]
    Secret(Keys),
}

#[derive(Debug, clap::Args)]
struct Keys {
    /// App
    #[arg(value_name = "app/NAME")]
    name: String,
    /// Keys
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<EnvKey>,
    #[command(flatten)]
    wait: WaitArgs,
}

type Values = BTreeMap<EnvKey, String>;

/// Runs `set`.
///
/// # Errors
/// See [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    match args.what {
        What::Image { name, image, wait } => {
            let target = Target::read(session, &name).await?;
            let changed = target.patch(session, "set image", &json!({"spec": {"image": image}})).await?;
            target.report(session, &changed, &format!("image set to {image}"), &wait).await
        }
        What::Env(args) => {
            let mut values = Values::new();
            from_file(&args, &mut values)?;
            for word in &args.variables {
                let (key, value) = word.split_once('=').ok_or_else(|| CliError::Usage(format!("\"{word}\" is not KEY=VALUE")))?;
                add(&mut values, key, value.to_owned())?;
            }
            let target = Target::read(session, &args.name).await?;
            if values.is_empty() {
                return show(&target.app);
            }
            // A variable is plain or secret; setting it plain takes the secret of that name away.
            let both: Vec<&EnvKey> = values.keys().filter(|key| target.app.spec.secrets.contains_key(*key)).collect();
            refuse_both(&both, "secret", "unset secret")?;
            write(session, &target, ("env", "set env"), &values, &args.wait).await
        }
        What::Secret(args) => {
            let mut values = Values::new();
            from_file(&args, &mut values)?;
            let target = Target::read(session, &args.name).await?;
            for word in &args.variables {
                let (key, value) = secret(word, args.variables.len())?;
                add(&mut values, key, value)?;
            }
            if values.is_empty() {
                return Err(CliError::Usage("give the secret's KEY, or --from-file".to_owned()));
            }
            let both: Vec<&EnvKey> = values.keys().filter(|key| target.app.spec.env.contains_key(*key)).collect();
            refuse_both(&both, "plain variable", "unset env")?;
            write(session, &target, ("secrets", "set secret"), &values, &args.wait).await
        }
    }
}

/// Runs `unset`.
///
/// # Errors
/// See [`CliError`].
pub async fn unset(session: &Session, args: UnsetArgs) -> Result<()> {
    let (field, source, keys) = match args.what {
        UnsetWhat::Env(keys) => ("env", "unset env", keys),
        UnsetWhat::Secret(keys) => ("secrets", "unset secret", keys),
    };
    let target = Target::read(session, &keys.name).await?;
    let spec = &target.app.spec;
    let known: Vec<&str> =
        if field == "env" { spec.env.keys().map(EnvKey::as_str).collect() } else { spec.secrets.keys().map(EnvKey::as_str).collect() };
    if let Some(key) = keys.keys.iter().find(|key| !known.contains(&key.as_str())) {
        let hint = match check::closest(key.as_str(), known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if known.is_empty() => "it has none".to_owned(),
            None => format!("it has {}", known.join(", ")),
        };
        let word = if field == "env" { "variable" } else { "secret" };
        return Err(CliError::NotFound { what: format!("app/{} has no {word} {key}", target.app.metadata.name), hint: Some(hint) });
    }
    let gone: Map<String, Value> = keys.keys.iter().map(|key| (key.to_string(), Value::Null)).collect();
    let changed = target.patch(session, source, &json!({"spec": {field: gone}})).await?;
    let names: Vec<&str> = keys.keys.iter().map(EnvKey::as_str).collect();
    target.report(session, &changed, &format!("{} unset", names.join(", ")), &keys.wait).await
}

async fn write(session: &Session, target: &Target, (field, source): (&str, &str), values: &Values, wait: &WaitArgs) -> Result<()> {
    let changed = target.patch(session, source, &json!({"spec": {field: values}})).await?;
    let names: Vec<&str> = values.keys().map(EnvKey::as_str).collect();
    target.report(session, &changed, &format!("{} set", names.join(", ")), wait).await
}

fn show(app: &App) -> Result<()> {
    app.spec.env.iter().try_for_each(|(key, value)| output::line(&format!("{key}={}", output::harmless(value, false))))?;
    app.spec.secrets.keys().try_for_each(|key| output::line(&output::paint(output::DIM, &format!("{key} (secret)"))))
}

fn refuse_both(keys: &[&EnvKey], what: &str, verb: &str) -> Result<()> {
    match keys.first() {
        None => Ok(()),
        Some(key) => Err(CliError::Usage(format!("{key} is a {what} of this app; remove it first with: skyctl {verb} app/NAME {key}"))),
    }
}

fn add(values: &mut Values, key: &str, value: String) -> Result<()> {
    let key: EnvKey = key.parse().map_err(|error: api_types::name::ParseError| CliError::Usage(error.to_string()))?;
    if values.insert(key.clone(), value).is_some() {
        return Err(CliError::Usage(format!("{key} is given twice")));
    }
    Ok(())
}

fn from_file(args: &Variables, values: &mut Values) -> Result<()> {
    let Some(path) = &args.from_file else { return Ok(()) };
    let text = input::text(path)?;
    for (number, line) in (1..).zip(text.lines()) {
        let place = || format!("{}:{number}", path.display());
        match dotenv(line) {
            Ok(None) => {}
            // What cannot be read is not shown: it may be a secret.
            Err(why) => return Err(CliError::Usage(format!("{}: {why}", place()))),
            Ok(Some((key, value))) => {
                add(values, key, value).map_err(|error| CliError::Usage(format!("{}: {error}", place())))?;
            }
        }
    }
    Ok(())
}

/// One line of a `.env` file: comments, `export`, and values in quotes. No expansion: what stands there is meant.
fn dotenv(line: &str) -> std::result::Result<Option<(&str, String)>, &'static str> {
    let line = line.trim();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (key, value) = line.split_once('=').ok_or("a line is KEY=VALUE")?;
    let (key, value) = (key.trim_end(), value.trim());
    let value = match value.chars().next() {
        Some('\'') => quoted(value, '\'')?.to_owned(),
        Some('"') => unescaped(quoted(value, '"')?),
        // A comment needs a space before it, so that a # in a value stays.
        _ => value.split(" #").next().unwrap_or_default().trim_end().to_owned(),
    };
    Ok(Some((key, value)))
}

fn quoted(value: &str, quote: char) -> std::result::Result<&str, &'static str> {
    let body = value.get(1..).unwrap_or_default();
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        if c == quote && !escaped {
            let rest = body.get(at + 1..).unwrap_or_default().trim();
            let text = body.get(..at).unwrap_or_default();
            return if rest.is_empty() || rest.starts_with('#') { Ok(text) } else { Err("text stands after the closing quote") };
        }
        escaped = c == '\\' && !escaped && quote == '"';
    }
    Err("the closing quote is missing; a value is on one line")
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            (c, false) => out.push(c),
        }
    }
    out
}

/// A secret's key and value: on the line, from the standard input, or asked for.
fn secret(word: &str, count: usize) -> Result<(&str, String)> {
    match word.split_once('=') {
        Some((key, "-")) if count > 1 => Err(CliError::Usage(format!("{key}=- reads the standard input, so it is to be the only one"))),
        Some((key, "-")) => Ok((key, input::stdin()?)),
        Some((key, value)) => {
            output::note(&format!(
                "warning: the value of {key} was on the command line, where others can see it; leave it out to be asked\n"
            ));
            Ok((key, value.to_owned()))
        }
        None if input::is_terminal() => Ok((word, input::hidden(&format!("Value of {word}: "))?)),
        None if count > 1 => Err(CliError::Usage("the standard input holds one value; give one KEY, or --from-file".to_owned())),
        // A line end is the pipe's, not the value's; KEY=- takes everything.
        None => {
            let text = input::stdin()?;
            Ok((word, text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text)).to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_env_files_are_read_as_they_are_meant() {
        let some = |key: &'static str, value: &str| Ok(Some((key, value.to_owned())));
        for (line, wanted) in [
            ("", Ok(None)),
            ("  # a comment", Ok(None)),
            ("A=1", some("A", "1")),
            ("export A = x y  # why", some("A", "x y")),
            ("A=x#y", some("A", "x#y")),
            ("A=", some("A", "")),
            ("A=\"x # y\\n\\\"z\\\"\" # why", some("A", "x # y\n\"z\"")),
            ("A='x \\n $B'", some("A", "x \\n $B")),
            ("A=b=c", some("A", "b=c")),
            ("A", Err("a line is KEY=VALUE")),
            ("A=\"x", Err("the closing quote is missing; a value is on one line")),
            ("A='x' y", Err("text stands after the closing quote")),
        ] {
            assert_eq!(dotenv(line), wanted, "{line}");
        }
    }
}
