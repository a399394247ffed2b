//! One object with everything that helps to understand it.

use std::fmt::Write as _;

use anstyle::Style;
use api_types::condition::Condition;
use api_types::event::Event;
use api_types::{App, Certificate, ConditionStatus, ConditionType, Node};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::kinds::{Columns, app_state, certificate_state, table};
use super::{BOLD, DIM, GREEN, RED, Table, YELLOW, age, paint};

/// An app with its conditions, processes and last events.
pub fn app(app: &App, events: &[Event], now: DateTime<Utc>) -> String {
    let mut out = String::new();
    let (word, style, reason) = app_state(app);
    let status = app.status.clone().unwrap_or_default();
    let mut head = Table::bare();
    let mut styled = |name: &str, value: String, style: Style| {
        if !value.is_empty() {
            head.row([(format!("{name}:"), BOLD), (value, style)]);
        }
    };
    let mut field = |name: &str, value: String| styled(name, value, Style::new());
    field("Name", app.metadata.name.clone());
    field("Organization", app.metadata.org.as_ref().map(ToString::to_string).unwrap_or_default());
    field("Labels", app.metadata.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(", "));
    field("Age", age(app.metadata.creation_timestamp, now));
    field("Image", app.spec.image.to_string());
    field("Resolved", status.image.clone().filter(|image| *image != app.spec.image.to_string()).unwrap_or_default());
    field("Generation", generations(app));
    field("URLs", status.urls.join(", "));
    styled("Status", format!("{word} {reason}").trim_end().to_owned(), style);
    styled("Message", status.verdict.as_ref().and_then(|verdict| verdict.message.clone()).unwrap_or_default(), Style::new());
    out.push_str(&head.render(0));
    section(&mut out, "Processes", &processes(app));
    section(&mut out, "Variables", &variables(app));
    section(&mut out, "Domains", &lines(app.spec.domains.iter().map(ToString::to_string)));
    section(&mut out, "Conditions", &conditions(&status.conditions, now));
    let last = events.len().saturating_sub(15);
    section(
        &mut out,
        "Events",
        &if events.is_empty() { String::new() } else { indent(&table(events.get(last..).unwrap_or(events), now, Columns::USUAL)) },
    );
    if word != "Ready" {
        let _ = writeln!(out, "\n`skyctl why app/{}` says what is wrong, and what to do.", app.metadata.name);
    }
    out
}

/// A node with what the engine says of it.
pub fn node(node: &Node, now: DateTime<Utc>) -> String {
    let status = node.status.clone().unwrap_or_default();
    let role = if status.leader { format!("{} (leader)", status.role) } else { status.role };
    let asked = node.spec.availability.filter(|asked| asked.as_str() != status.availability);
    let availability =
        asked.map_or_else(|| status.availability.clone(), |asked| format!("{} ({asked} was asked for)", status.availability));
    let rows = [
        ("Name", node.metadata.name.clone()),
        ("Id", status.id),
        ("Role", role),
        ("State", status.state),
        ("Availability", availability),
        ("Address", status.address.unwrap_or_default()),
        ("Engine", status.engine_version.unwrap_or_default()),
        ("CPU", format!("{}m", status.cpu_millis)),
        ("Memory", format!("{}Mi", status.memory_bytes >> 20)),
        ("Labels", status.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(", ")),
        ("Looked at", age(status.observed_at, now)),
    ];
    let mut head = Table::bare();
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        head.row([(format!("{name}:"), BOLD), (value, Style::new())]);
    }
    let mut out = head.render(0);
    section(&mut out, "Conditions", &conditions(&status.conditions, now));
    out
}

/// A certificate with what is in it and what clients get.
pub fn certificate(certificate: &Certificate, now: DateTime<Utc>) -> String {
    let status = certificate.status.clone().unwrap_or_default();
    let (word, reason, style) = certificate_state(certificate);
    let time = |time: Option<DateTime<Utc>>| time.map(|time| time.format("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default();
    let rows = [
        ("Name", certificate.metadata.name.clone(), Style::new()),
        ("Labels", certificate.metadata.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(", "), Style::new()),
        ("Age", age(certificate.metadata.creation_timestamp, now), Style::new()),
        ("Names", status.dns_names.join(", "), Style::new()),
        ("Subject", status.subject, Style::new()),
        ("Issuer", status.issuer, Style::new()),
        ("Good from", time(status.not_before), Style::new()),
        ("Good until", time(status.not_after), Style::new()),
        ("SHA-256", status.fingerprint, Style::new()),
        ("Generation", certificate.metadata.generation.unwrap_or(0).to_string(), Style::new()),
        ("Status", format!("{word} {reason}"), style),
    ];
    let mut head = Table::bare();
    for (name, value, style) in rows.into_iter().filter(|(_, value, _)| !value.is_empty()) {
        head.row([(format!("{name}:"), BOLD), (value, style)]);
    }
    let mut out = head.render(0);
    section(&mut out, "Conditions", &conditions(&status.conditions, now));
    out
}

fn generations(app: &App) -> String {
    let mut text = app.metadata.generation.unwrap_or(0).to_string();
    if let Some(status) = &app.status {
        let _ = write!(text, " (observed {}", status.observed_generation);
        let serving = super::kinds::serving(status);
        if !serving.is_empty() {
            let _ = write!(text, ", serving {serving}");
        }
        if let Some(proven) = status.proven_generation {
            let _ = write!(text, ", last proven {proven}");
        }
        text.push(')');
    }
    text
}

fn section(out: &mut String, title: &str, body: &str) {
    if !body.is_empty() {
        let _ = write!(out, "\n{}\n{body}", paint(BOLD, title));
    }
}

fn indent(text: &str) -> String {
    lines(text.lines().map(str::to_owned))
}

fn lines(items: impl Iterator<Item = String>) -> String {
    items.map(|item| format!("  {item}\n")).collect()
}

fn processes(app: &App) -> String {
    let mut table = Table::new(["NAME", "READY", "UP-TO-DATE", "RUNNING", "PORT", "CPU", "MEMORY", "HEALTH", "COMMAND"]);
    for (name, process) in &app.spec.processes {
        let counts = app.status.as_ref().and_then(|status| status.processes.get(name)).cloned().unwrap_or_default();
        let style = if counts.ready >= process.replicas { GREEN } else { YELLOW };
        let text = |text: String| (text, Style::new());
        let command: Vec<&str> = process.command.iter().chain(&process.args).map(String::as_str).collect();
        table.row([
            text(name.to_string()),
            (format!("{}/{}", counts.ready, process.replicas), style),
            text(counts.updated.to_string()),
            text(counts.running.to_string()),
            text(process.port.map(|port| port.to_string()).unwrap_or_default()),
            text(process.resources.cpu.map(|cpu| cpu.to_string()).unwrap_or_default()),
            text(process.resources.memory.map(|memory| memory.to_string()).unwrap_or_default()),
            text(process.health.as_ref().map(|health| format!("GET {}", health.path)).unwrap_or_default()),
            text(command.join(" ")),
        ]);
    }
    table.render(2)
}

fn variables(app: &App) -> String {
    let mut table = Table::bare();
    for (key, value) in &app.spec.env {
        table.row([(key.to_string(), Style::new()), (value.clone(), Style::new())]);
    }
    for key in app.spec.secrets.keys() {
        table.row([(key.to_string(), Style::new()), ("(secret)".to_owned(), DIM)]);
    }
    table.render(2)
}

fn conditions(all: &[Condition], now: DateTime<Utc>) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"]);
    for condition in ConditionType::ALL.iter().filter_map(|kind| api_types::condition::find(all, *kind)) {
        let style = match (condition.status, condition.kind) {
            (_, ConditionType::Progressing) => Style::new(),
            (ConditionStatus::True, _) => GREEN,
            (ConditionStatus::False, _) => RED,
            (ConditionStatus::Unknown, _) => YELLOW,
        };
        let text = |text: String| (text, Style::new());
        table.row([
            text(condition.kind.to_string()),
            (condition.status.to_string(), style),
            text(condition.reason.to_string()),
            text(age(Some(condition.last_transition_time), now)),
            text(condition.message.clone()),
        ]);
    }
    table.render(2)
}

/// An object of a kind that needs no more than its fields.
///
/// # Errors
/// Does not happen for values.
pub fn other(object: &Value) -> crate::errors::Result<String> {
    super::yaml(object)
}
