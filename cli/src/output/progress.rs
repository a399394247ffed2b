//! Where a rollout stands: a frame for a terminal, a line for everything else.

use std::time::Duration;

use api_types::condition::{Condition, find};
use api_types::{App, ConditionStatus, ConditionType};

use super::kinds::app_state;
use super::{BOLD, DIM, GREEN, RED, YELLOW, harmless, paint};

/// Elapsed time as `12.3s` or `2m05s`.
pub fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 100 { format!("{:.1}s", time.as_secs_f64()) } else { format!("{}m{:02}s", seconds / 60, seconds % 60) }
}

/// What stands in the way, first things first.
fn concerns(app: &App) -> impl Iterator<Item = &Condition> {
    const CAUSES: [ConditionType; 5] =
        [ConditionType::Accepted, ConditionType::ImagePullable, ConditionType::Scheduled, ConditionType::Healthy, ConditionType::Routed];
    let conditions = app.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    CAUSES.into_iter().filter_map(|kind| find(conditions, kind)).filter(|condition| condition.status != ConditionStatus::True)
}

/// One line that changes only when something happened.
pub fn summary(app: &App) -> String {
    let (word, _, reason) = app_state(app);
    let mut parts = vec![format!("{word}{}", if reason.is_empty() || reason == word { String::new() } else { format!(" ({reason})") })];
    for (name, process) in app.status.iter().flat_map(|status| &status.processes) {
        parts.push(format!("{name} {}/{} updated, {}/{} ready", process.updated, process.desired, process.ready, process.desired));
    }
    if let Some(concern) = concerns(app).next() {
        parts.push(format!("{} {}: {}", concern.kind, concern.status, harmless(&concern.message, false)));
    }
    format!("app/{}: {}", app.metadata.name, parts.join("; "))
}

/// The lines of one app on a terminal.
pub fn frame(app: &App, time: Duration) -> Vec<String> {
    let (word, style, reason) = app_state(app);
    let generation = app.metadata.generation.unwrap_or(0);
    let state = if reason.is_empty() || reason == word { word.to_owned() } else { format!("{word} ({reason})") };
    let head = format!("app/{}", app.metadata.name);
    let time = elapsed(time);
    let mut lines = vec![format!("{}  generation {generation}  {}  {}", paint(BOLD, &head), paint(style, &state), paint(DIM, &time))];
    let processes = app.status.iter().flat_map(|status| &status.processes);
    let widest = processes.clone().map(|(name, _)| name.as_str().len()).max().unwrap_or(0);
    for (name, process) in processes {
        let style = if process.ready >= process.desired && process.updated >= process.desired { GREEN } else { YELLOW };
        let bar = bar(process.ready.min(process.updated), process.updated, process.desired);
        let counts = format!("{}/{} updated  {}/{} ready", process.updated, process.desired, process.ready, process.desired);
        lines.push(format!("  {:widest$}  {}  {counts}", name.as_str(), paint(style, &bar)));
    }
    for condition in concerns(app) {
        let style = if condition.status == ConditionStatus::False { RED } else { YELLOW };
        let text = format!("{} {}", condition.reason, harmless(&condition.message, false));
        lines.push(format!("  {} {text}", paint(style, &condition.kind.to_string().to_lowercase())));
    }
    lines
}

/// Ready, started, missing; at most 20 marks wide.
fn bar(ready: u32, updated: u32, desired: u32) -> String {
    let width = desired.min(20);
    let scaled = |n: u32| {
        let marks = (u64::from(n.min(desired)) * u64::from(width)).checked_div(u64::from(desired)).unwrap_or(0);
        usize::try_from(marks).unwrap_or(0)
    };
    let (full, half) = (scaled(ready), scaled(updated.max(ready)));
    let empty = scaled(desired).saturating_sub(half);
    format!("{}{}{}", "●".repeat(full), "◐".repeat(half.saturating_sub(full)), "○".repeat(empty))
}
