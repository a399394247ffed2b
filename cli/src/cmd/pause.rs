//! `skyctl pause` and `skyctl resume`

use api_types::drift::{PauseRequest, PauseState};
use api_types::{HumanDuration, Kind};

use super::Session;
use crate::client::routes;
use crate::errors::Result;
use crate::output::{self, DIM, GREEN, TextFormat, paint};
use crate::resource;

const EXAMPLES: &str = "\
Examples:
  skyctl pause app/shop --for 2h --because \"we look at the database\"
  skyctl pause app/shop --for 30m --because \"longer than thought\"     instead of the pause that it has
  skyctl resume app/shop                                             before its end
  skyctl drift app/shop                                              what was changed meanwhile

While an app is paused nothing is written for it, on the engine or the edge: what runs goes on running, and
everything is observed and recorded. Changes of the app, and a deletion, are stored and wait for the end.";

const RESUME_EXAMPLES: &str = "\
Examples:
  skyctl resume app/shop
  skyctl pause app/shop --for 2h --because \"…\"     the other way round";

/// Arguments of `pause`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// App
    #[arg(value_name = "app/NAME")]
    pub name: String,
    /// How long, at most 30d
    #[arg(long = "for", value_name = "DURATION")]
    pub duration: HumanDuration,
    /// Why, for those who find the app paused
    #[arg(long, value_name = "TEXT")]
    pub because: String,
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, default_value_t = TextFormat::Text)]
    pub output: TextFormat,
}

/// Arguments of `resume`.
#[derive(Debug, clap::Args)]
#[command(after_help = RESUME_EXAMPLES)]
pub struct ResumeArgs {
    /// App
    #[arg(value_name = "app/NAME")]
    pub name: String,
}

/// Runs `pause`.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let (org, name) = (session.org().await?, resource::app(&args.name)?);
    let request = PauseRequest { duration: args.duration, because: args.because };
    let paused: PauseState = match session.client.put(&routes::app(&org, &name, "pause"), &request).await {
        Ok(paused) => paused,
        Err(error) => return Err(session.with_similar(error, Kind::App, &org, &name).await),
    };
    if let Some(text) = args.output.render(&paused)? {
        return output::print(&text);
    }
    output::line(&paused_line(&name, &paused))
}

/// Runs `resume`.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn resume(session: &Session, args: ResumeArgs) -> Result<()> {
    let (org, name) = (session.org().await?, resource::app(&args.name)?);
    let path = routes::app(&org, &name, "pause");
    let before: PauseState = match session.client.get(&path, &[]).await {
        Ok(before) => before,
        Err(error) => return Err(session.with_similar(error, Kind::App, &org, &name).await),
    };
    session.client.delete(&path).await?;
    let done = if before.paused { paint(GREEN, "resumed") } else { paint(DIM, "was not paused") };
    output::line(&format!("app/{name} {done}"))
}

fn paused_line(name: &str, paused: &PauseState) -> String {
    let until = paused.until.map(|until| until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)).unwrap_or_default();
    let because = output::harmless(paused.because.as_deref().unwrap_or_default(), false);
    format!("app/{name} {} until {until} ({because})", paint(GREEN, "paused"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_told_with_its_end() {
        let paused = PauseState {
            paused: true,
            by: Some("ada".to_owned()),
            because: Some("we look\u{1b}".to_owned()),
            since: None,
            until: chrono::DateTime::from_timestamp(1_800_000_000, 0),
        };
        let line = paused_line("shop", &paused);
        assert_eq!(anstream::adapter::strip_str(&line).to_string(), "app/shop paused until 2027-01-15T08:00:00Z (we look)");
    }
}
