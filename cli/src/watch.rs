//! Waits for apps: asks the server again and again, shows what changed, and stops at a verdict.

use std::time::Duration;

use api_types::condition::find;
use api_types::kinds::app::VerdictPhase;
use api_types::problem::ProblemKind;
use api_types::{App, ConditionStatus, ConditionType, Kind, OrgName};
use tokio::time::{Instant, sleep};

use crate::client::{Client, routes};
use crate::errors::{CliError, Result};
use crate::output::{self, progress};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An app, and the generation that must be reached.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Organisation.
    pub org: OrgName,
    /// Name.
    pub name: String,
    /// Generation that was written; a newer one counts too.
    pub generation: i64,
}

/// What one look at an app says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Not decided yet.
    Waiting,
    /// It serves.
    Ready,
    /// It never will.
    Failed(String),
}

/// Decides whether waiting is over. Only what was observed of this generation counts.
pub fn outcome(app: &App, generation: i64) -> Outcome {
    if app.metadata.deletion_timestamp.is_some() {
        return Outcome::Failed("it is being deleted".to_owned());
    }
    let Some(status) = app.status.as_ref() else { return Outcome::Waiting };
    let wanted = generation.max(app.metadata.generation.unwrap_or(0));
    if status.observed_generation < wanted {
        return Outcome::Waiting;
    }
    if let Some(verdict) = status.verdict.as_ref().filter(|verdict| verdict.phase == VerdictPhase::Failed) {
        let reason = verdict.reason.map_or_else(|| "RolloutFailed".to_owned(), |reason| reason.to_string());
        let message = verdict.message.as_deref().unwrap_or("the server gives no message");
        return Outcome::Failed(format!("generation {wanted} failed ({reason}): {message}"));
    }
    let ready = find(&status.conditions, ConditionType::Ready);
    if ready.is_some_and(|ready| ready.status == ConditionStatus::True && ready.observed_generation >= wanted) {
        return Outcome::Ready;
    }
    Outcome::Waiting
}

/// A pause that grows to a second.
pub struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    /// Sleeps, but not beyond `deadline`.
    pub async fn next(&mut self, deadline: Instant) {
        sleep(self.0.min(deadline.saturating_duration_since(Instant::now()))).await;
        self.0 = (self.0 * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// Reads an app.
///
/// # Errors
/// See [`Client::get`].
pub async fn app(client: &Client, org: &OrgName, name: &str) -> Result<App> {
    client.get(&routes::object(Kind::App, org, name), &[]).await
}

struct Watched {
    wanted: Wanted,
    app: Option<App>,
    shown: String,
    outcome: Outcome,
}

/// Waits until every app serves what was written, or has failed to.
///
/// # Errors
/// [`CliError::Failed`] with every failure, [`CliError::Timeout`] when time is up.
pub async fn until_ready(client: &Client, wanted: Vec<Wanted>, timeout: Duration) -> Result<()> {
    let start = Instant::now();
    let deadline = start + timeout;
    let mut screen = Screen::new(start);
    let mut pauses = Pauses::default();
    let mut all: Vec<Watched> =
        wanted.into_iter().map(|wanted| Watched { wanted, app: None, shown: String::new(), outcome: Outcome::Waiting }).collect();
    loop {
        let mut trouble = None;
        for watched in all.iter_mut().filter(|watched| watched.outcome == Outcome::Waiting) {
            match app(client, &watched.wanted.org, &watched.wanted.name).await {
                Ok(found) => {
                    watched.outcome = outcome(&found, watched.wanted.generation);
                    watched.app = Some(found);
                }
                Err(error) if error.problem_kind() == Some(ProblemKind::NotFound) => {
                    watched.outcome = Outcome::Failed("it was deleted".to_owned())
                }
                // A server that restarts says nothing about the app.
                Err(error) if error.is_transient() => trouble = Some(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        screen.show(&mut all, trouble.as_deref())?;
        if all.iter().all(|watched| watched.outcome != Outcome::Waiting) {
            return verdict(&all);
        }
        if Instant::now() >= deadline {
            return Err(timed_out(&all, timeout, trouble));
        }
        pauses.next(deadline).await;
    }
}

fn verdict(all: &[Watched]) -> Result<()> {
    let failed: Vec<String> = all
        .iter()
        .filter_map(|watched| match &watched.outcome {
            Outcome::Failed(why) => Some(format!("app/{}: {why}", watched.wanted.name)),
            Outcome::Ready | Outcome::Waiting => None,
        })
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(CliError::Failed(failed.join("\n"))) }
}

fn timed_out(all: &[Watched], timeout: Duration, trouble: Option<String>) -> CliError {
    let left = all.iter().filter(|watched| watched.outcome == Outcome::Waiting);
    let mut text = format!("not ready within {}", progress::elapsed(timeout));
    for watched in left {
        let state = watched.app.as_ref().map_or_else(|| format!("app/{}: not read yet", watched.wanted.name), progress::summary);
        text.push_str(&format!("\n  {state}"));
    }
    if let Some(trouble) = trouble {
        text.push_str(&format!("\n  {trouble}"));
    }
    CliError::Timeout(text)
}

/// Redraws on a terminal; elsewhere prints a line when something changed.
struct Screen {
    start: Instant,
    live: bool,
    drawn: usize,
    trouble: String,
}

impl Screen {
    fn new(start: Instant) -> Self {
        Self { start, live: output::is_terminal(), drawn: 0, trouble: String::new() }
    }

    fn show(&mut self, all: &mut [Watched], trouble: Option<&str>) -> Result<()> {
        if self.live { self.redraw(all, trouble) } else { self.append(all, trouble) }
    }

    fn redraw(&mut self, all: &[Watched], trouble: Option<&str>) -> Result<()> {
        let mut lines: Vec<String> = Vec::new();
        for watched in all {
            match &watched.app {
                Some(app) => lines.extend(progress::frame(app, self.start.elapsed())),
                None => lines.push(format!("app/{}", watched.wanted.name)),
            }
        }
        lines.extend(trouble.map(|trouble| output::paint(output::YELLOW, trouble)));
        let up = if self.drawn > 0 { format!("\u{1b}[{}A", self.drawn) } else { String::new() };
        self.drawn = lines.len();
        // Wrapping is off while drawing: a wrapped line would be two, and the next redraw one too high.
        let body: String = lines.into_iter().map(|line| format!("\r\u{1b}[2K{}\n", colours(&line))).collect();
        raw(&format!("\u{1b}[?7l{up}{body}\u{1b}[J\u{1b}[?7h"))
    }

    fn append(&mut self, all: &mut [Watched], trouble: Option<&str>) -> Result<()> {
        let time = progress::elapsed(self.start.elapsed());
        for watched in all {
            let Some(app) = &watched.app else { continue };
            let summary = progress::summary(app);
            if summary != watched.shown {
                output::line(&format!("[{time:>6}] {summary}"))?;
                watched.shown = summary;
            }
        }
        let trouble = trouble.unwrap_or_default();
        if trouble != self.trouble {
            self.trouble = trouble.to_owned();
            if !trouble.is_empty() {
                output::line(&format!("[{time:>6}] {trouble}; trying again"))?;
            }
        }
        Ok(())
    }
}

/// Colours are a matter of taste even on a terminal.
fn colours(text: &str) -> String {
    match anstream::AutoStream::choice(&std::io::stdout()) {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(text).to_string(),
        _ => text.to_owned(),
    }
}

/// Cursor movements must reach the terminal even without colours, so they go around the filter.
fn raw(text: &str) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn app(generation: i64, status: Value) -> App {
        serde_json::from_value(json!({
            "apiVersion": "skyswarm.dev/v1", "kind": "App", "metadata": {"name": "shop", "generation": generation},
            "spec": {"image": "a", "processes": {"w": {}}}, "status": status
        }))
        .expect("an app")
    }

    fn status(observed: i64, ready: &str, of: i64, phase: &str) -> Value {
        json!({
            "observedGeneration": observed,
            "verdict": {"phase": phase, "reason": "ImageNotFound", "message": "No such image", "time": "2026-01-01T00:00:00Z"},
            "conditions": [{"type": "Ready", "status": ready, "reason": "Serving", "message": "", "observedGeneration": of, "lastTransitionTime": "2026-01-01T00:00:00Z"}]
        })
    }

    #[test]
    fn only_what_was_observed_of_this_generation_counts() {
        let waiting = [
            app(2, Value::Null),
            app(2, status(1, "True", 1, "Ready")),
            app(2, status(1, "False", 1, "Failed")),
            app(2, status(2, "True", 1, "Rolling")),
            app(2, status(2, "Unknown", 2, "Rolling")),
            app(3, status(2, "True", 2, "Ready")),
        ];
        for app in waiting {
            assert_eq!(outcome(&app, 2), Outcome::Waiting, "{:?}", app.status);
        }
        assert_eq!(outcome(&app(2, status(2, "True", 2, "Ready")), 2), Outcome::Ready);
        assert_eq!(outcome(&app(3, status(3, "True", 3, "Ready")), 2), Outcome::Ready, "a newer generation serves");
        let Outcome::Failed(why) = outcome(&app(2, status(2, "True", 2, "Failed")), 2) else {
            panic!("a failed generation that is served by the old one")
        };
        assert_eq!(why, "generation 2 failed (ImageNotFound): No such image");
        assert_eq!(outcome(&app(1, status(1, "True", 1, "Ready")), 2), Outcome::Waiting, "a read from before the write");
    }
}
