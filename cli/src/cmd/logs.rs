//! `skyctl logs`

use std::collections::HashSet;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use api_types::api::LogLine;
use api_types::{HumanDuration, Kind};
use chrono::{DateTime, SecondsFormat, Utc};
use tokio::time::sleep;

use super::Session;
use crate::client::routes;
use crate::errors::Result;
use crate::{output, resource};

const EXAMPLES: &str = "\
Examples:
  skyctl logs shop                        all replicas
  skyctl logs shop -f --process web       go on with new lines of one process type
  skyctl logs shop --since 10m --tail 100
  skyctl logs shop --no-prefix | grep ERROR";

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// App
    #[arg(value_name = "app/NAME")]
    pub name: String,
    /// Go on with new lines
    #[arg(short, long)]
    pub follow: bool,
    /// Only this process type
    #[arg(short, long, value_name = "PROCESS")]
    pub process: Option<String>,
    /// Only lines since then: 10m, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<String>,
    /// Only this many of the last lines of each replica
    #[arg(long, value_name = "N")]
    pub tail: Option<u32>,
    /// Lines as they are, without the replica's name
    #[arg(long)]
    pub no_prefix: bool,
    /// Put the time before each line
    #[arg(short, long)]
    pub timestamps: bool,
}

fn since(text: &str) -> std::result::Result<String, String> {
    let duration = text.parse::<HumanDuration>().is_ok();
    if duration || DateTime::parse_from_rfc3339(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err("it is a duration such as 10m, or a time such as 2026-01-31T12:00:00Z".to_owned())
    }
}

/// Runs the verb.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let name = resource::app(&args.name)?;
    let org = session.org().await?;
    let path = routes::app(&org, &name, "logs");
    let mut printer = Printer::new(&args);
    let mut pause = Duration::from_millis(500);
    loop {
        match read(session, &path, &args, &mut printer).await {
            Ok(lines) if args.follow => {
                if lines > 0 {
                    pause = Duration::from_millis(500);
                }
            }
            Ok(_) => return Ok(()),
            Err(error) if args.follow && printer.started && error.is_transient() => {
                output::note(&format!("skyctl: {error}; trying again in {:.1}s\n", pause.as_secs_f64()));
            }
            Err(error) => return Err(session.with_similar(error, Kind::App, &org, &name).await),
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// Reads one stream to its end and says how many lines were new.
async fn read(session: &Session, path: &str, args: &Args, printer: &mut Printer) -> Result<u64> {
    let mut query = Vec::new();
    if args.follow {
        query.push(("follow", "true".to_owned()));
    }
    query.extend(args.process.iter().map(|process| ("process", process.clone())));
    match printer.last {
        Some(last) => query.push(("since", last.to_rfc3339_opts(SecondsFormat::Nanos, true))),
        None => {
            query.extend(args.since.iter().map(|since| ("since", since.clone())));
            query.extend(args.tail.iter().map(|tail| ("tail", tail.to_string())));
        }
    }
    let mut lines = session.client.log_lines(path, &query).await?;
    printer.resumed = printer.started;
    printer.started = true;
    let mut count = 0;
    while let Some(line) = lines.next().await? {
        count += u64::from(printer.take(&line)?);
    }
    Ok(count)
}

/// Prints lines once, also when a new connection repeats some.
struct Printer {
    started: bool,
    prefix: bool,
    timestamps: bool,
    colours: bool,
    width: usize,
    last: Option<DateTime<Utc>>,
    /// What was printed with the last time: a new connection begins at that time.
    at_last: HashSet<(String, String)>,
    /// Whether lines of an earlier connection may come again.
    resumed: bool,
}

impl Printer {
    fn new(args: &Args) -> Self {
        Self {
            started: false,
            prefix: !args.no_prefix,
            timestamps: args.timestamps,
            colours: output::is_terminal(),
            width: 0,
            last: None,
            at_last: HashSet::new(),
            resumed: false,
        }
    }

    fn take(&mut self, line: &LogLine) -> Result<bool> {
        if !self.is_new(line) {
            return Ok(false);
        }
        output::line(&self.shown(line))?;
        Ok(true)
    }

    /// A new connection begins at the time of the newest line of the one before, so it may repeat lines
    /// of that time; and, when the engine is coarser than that, earlier ones.
    fn is_new(&mut self, line: &LogLine) -> bool {
        let key = (line.replica.clone(), line.line.clone());
        match self.last {
            Some(last) if line.time == last => {
                let repeated = !self.at_last.insert(key);
                !(self.resumed && repeated)
            }
            Some(last) if line.time < last => !self.resumed,
            _ => {
                self.last = Some(line.time);
                self.at_last = HashSet::from([key]);
                self.resumed = false;
                true
            }
        }
    }

    fn shown(&mut self, line: &LogLine) -> String {
        let mut out = String::new();
        if self.prefix {
            let replica = output::harmless(&line.replica, false);
            self.width = self.width.max(replica.chars().count());
            out.push_str(&output::paint(colour(&line.replica), &format!("{replica:width$} |", width = self.width)));
            out.push(' ');
        }
        if self.timestamps {
            out.push_str(&output::paint(output::DIM, &line.time.to_rfc3339_opts(SecondsFormat::Millis, true)));
            out.push(' ');
        }
        out.push_str(&output::harmless(&line.line, self.colours));
        out
    }
}

/// The same replica has the same colour in every run.
fn colour(replica: &str) -> Style {
    const COLOURS: [AnsiColor; 6] =
        [AnsiColor::Cyan, AnsiColor::Yellow, AnsiColor::Green, AnsiColor::Magenta, AnsiColor::Blue, AnsiColor::BrightRed];
    let hash = replica.bytes().fold(2_166_136_261_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    let index = usize::try_from(hash).unwrap_or(0) % COLOURS.len();
    COLOURS.get(index).map_or_else(Style::new, |colour| colour.on_default())
}

#[cfg(test)]
mod tests;
