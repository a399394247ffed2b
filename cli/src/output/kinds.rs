//! Columns of each kind.

use anstyle::Style;
use api_types::condition::find;
use api_types::event::{Event, EventType};
use api_types::kinds::app::{AppStatus, VerdictPhase};
use api_types::{App, Certificate, ConditionStatus, ConditionType, Domain, Node, Organization, Reason, Setting};
use chrono::{DateTime, Utc};

use super::{DIM, GREEN, RED, Table, YELLOW, age};

/// An object that can be shown as a row.
pub trait Tabular {
    /// Headings.
    fn headings(wide: bool) -> Vec<&'static str>;
    /// The organisation, for kinds that have one.
    fn org(&self) -> String {
        String::new()
    }
    /// Cells.
    fn cells(&self, now: DateTime<Utc>, wide: bool) -> Vec<(String, Style)>;
}

/// Which columns a table has besides those of its kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Columns {
    /// More columns.
    pub wide: bool,
    /// One for the organisation, in front.
    pub orgs: bool,
    /// A line with headings.
    pub headings: bool,
}

impl Columns {
    /// What a plain `get` shows.
    pub const USUAL: Self = Self { wide: false, orgs: false, headings: true };
}

/// A table of objects.
pub fn table<T: Tabular>(items: &[T], now: DateTime<Utc>, columns: Columns) -> String {
    let first = |text: &'static str| columns.orgs.then_some(text);
    let mut table = match columns.headings {
        true => Table::new(first("ORG").into_iter().chain(T::headings(columns.wide))),
        false => Table::bare(),
    };
    for item in items {
        let org = columns.orgs.then(|| plain(item.org()));
        table.row(org.into_iter().chain(item.cells(now, columns.wide)));
    }
    table.render(0)
}

fn plain(text: impl Into<String>) -> (String, Style) {
    (text.into(), Style::new())
}

/// An app's state in one word, with the reason behind it.
pub fn app_state(app: &App) -> (&'static str, Style, String) {
    if app.metadata.deletion_timestamp.is_some() {
        return ("Deleting", YELLOW, String::new());
    }
    let Some(status) = &app.status else { return ("Pending", YELLOW, "Pending".to_owned()) };
    let ready = find(&status.conditions, ConditionType::Ready);
    let reason = ready.map(|ready| ready.reason.to_string()).unwrap_or_default();
    if status.observed_generation < app.metadata.generation.unwrap_or(0) {
        return ("Pending", YELLOW, "Pending".to_owned());
    }
    if let Some(verdict) = status.verdict.as_ref().filter(|verdict| verdict.phase == VerdictPhase::Failed) {
        return ("Failed", RED, verdict.reason.map_or(reason, |reason| reason.to_string()));
    }
    let progressing = find(&status.conditions, ConditionType::Progressing).is_some_and(|c| c.status == ConditionStatus::True);
    match ready.map(|ready| ready.status) {
        Some(ConditionStatus::True) => ("Ready", GREEN, reason),
        _ if progressing => ("Progressing", YELLOW, reason),
        Some(ConditionStatus::False) => ("NotReady", RED, reason),
        Some(ConditionStatus::Unknown) | None => ("Unknown", YELLOW, reason),
    }
}

/// The revisions that answer now, such as `3`, or `2+3` during a rollout; empty when none is known to.
pub fn serving(status: &AppStatus) -> String {
    let numbers: Vec<String> = status.serving.iter().map(|serving| serving.generation.to_string()).collect();
    numbers.join("+")
}

impl Tabular for App {
    fn org(&self) -> String {
        self.metadata.org.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["NAME", "READY", "UP-TO-DATE", "SERVING", "STATUS", "REASON", "AGE", "URL"];
        if wide {
            headings.extend(["GENERATION", "IMAGE"]);
        }
        headings
    }

    fn cells(&self, now: DateTime<Utc>, wide: bool) -> Vec<(String, Style)> {
        let (word, style, reason) = app_state(self);
        let wanted: u32 = self.spec.processes.values().map(|process| process.replicas).sum();
        let counts = self.status.iter().flat_map(|status| status.processes.values());
        let (ready, updated) = counts.fold((0, 0), |(ready, updated), process| (ready + process.ready, updated + process.updated));
        let url = self.status.as_ref().and_then(|status| status.urls.first()).cloned().unwrap_or_default();
        let mut cells = vec![
            plain(&self.metadata.name),
            plain(format!("{ready}/{wanted}")),
            plain(updated.to_string()),
            plain(self.status.as_ref().map(serving).unwrap_or_default()),
            (word.to_owned(), style),
            plain(reason),
            plain(age(self.metadata.creation_timestamp, now)),
            plain(url),
        ];
        if wide {
            cells.push(plain(self.metadata.generation.unwrap_or(0).to_string()));
            let image = self.status.as_ref().and_then(|status| status.image.clone());
            cells.push(plain(image.unwrap_or_else(|| self.spec.image.to_string())));
        }
        cells
    }
}

impl Tabular for Domain {
    fn org(&self) -> String {
        self.metadata.org.as_ref().map(ToString::to_string).unwrap_or_default()
    }
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["HOST", "APP", "OWNER", "AGE"]
    }
    fn cells(&self, now: DateTime<Utc>, _: bool) -> Vec<(String, Style)> {
        let owner = self.metadata.owner.clone().unwrap_or_default();
        vec![plain(&self.metadata.name), plain(self.spec.app.as_str()), plain(owner), plain(age(self.metadata.creation_timestamp, now))]
    }
}

impl Tabular for Certificate {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["NAME", "NAMES", "READY", "REASON", "ENDS", "AGE"];
        if wide {
            headings.extend(["ISSUER", "FINGERPRINT"]);
        }
        headings
    }
    fn cells(&self, now: DateTime<Utc>, wide: bool) -> Vec<(String, Style)> {
        let status = self.status.clone().unwrap_or_default();
        let (word, reason, style) = certificate_state(self);
        let mut names = status.dns_names.iter().take(3).cloned().collect::<Vec<_>>().join(",");
        if status.dns_names.len() > 3 {
            names.push_str(&format!(",+{}", status.dns_names.len() - 3));
        }
        let ends = status.not_after.map(|until| until.format("%Y-%m-%d").to_string()).unwrap_or_default();
        let mut cells = vec![
            plain(&self.metadata.name),
            plain(names),
            (word, style),
            (reason, style),
            plain(ends),
            plain(age(self.metadata.creation_timestamp, now)),
        ];
        if wide {
            cells.extend([plain(status.issuer), plain(status.fingerprint.get(..16).unwrap_or_default())]);
        }
        cells
    }
}

/// Whether clients get a certificate, why, and how that is shown.
pub fn certificate_state(certificate: &Certificate) -> (String, String, Style) {
    let status = certificate.status.as_ref();
    let ready = status.and_then(|status| find(&status.conditions, ConditionType::Ready));
    let Some(ready) = ready.filter(|ready| Some(ready.observed_generation) == certificate.metadata.generation) else {
        return ("Unknown".to_owned(), "Pending".to_owned(), YELLOW);
    };
    let style = match ready.status {
        ConditionStatus::True if ready.reason == Reason::CertificateExpiring => YELLOW,
        ConditionStatus::True => GREEN,
        ConditionStatus::False => RED,
        ConditionStatus::Unknown => YELLOW,
    };
    (ready.status.to_string(), ready.reason.to_string(), style)
}

impl Tabular for Node {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["NAME", "ROLE", "STATE", "AVAILABILITY", "CPU", "MEMORY"];
        if wide {
            headings.extend(["ADDRESS", "ENGINE", "ID"]);
        }
        headings
    }
    fn cells(&self, _: DateTime<Utc>, wide: bool) -> Vec<(String, Style)> {
        let status = self.status.clone().unwrap_or_default();
        let role = if status.leader { format!("{} (leader)", status.role) } else { status.role };
        let state = if status.state == "ready" { GREEN } else { RED };
        let available = if status.availability == "active" { Style::new() } else { YELLOW };
        let mut cells = vec![
            plain(&self.metadata.name),
            plain(role),
            (status.state, state),
            (status.availability, available),
            plain(cores(status.cpu_millis)),
            plain(gibibytes(status.memory_bytes)),
        ];
        if wide {
            cells.extend([plain(status.address.unwrap_or_default()), plain(status.engine_version.unwrap_or_default()), plain(status.id)]);
        }
        cells
    }
}

fn cores(millis: i64) -> String {
    if millis % 1000 == 0 { (millis / 1000).to_string() } else { format!("{millis}m") }
}

fn gibibytes(bytes: i64) -> String {
    format!("{}Mi", bytes >> 20)
}

impl Tabular for Organization {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["NAME", "DISPLAY NAME", "APPS", "AGE"]
    }
    fn cells(&self, now: DateTime<Utc>, _: bool) -> Vec<(String, Style)> {
        let apps = self.status.as_ref().map(|status| status.apps.to_string()).unwrap_or_default();
        let display = self.spec.display_name.clone().unwrap_or_default();
        vec![plain(&self.metadata.name), plain(display), plain(apps), plain(age(self.metadata.creation_timestamp, now))]
    }
}

impl Tabular for Setting {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["KEY", "VALUE", "SET"];
        if wide {
            headings.extend(["TYPE", "DEFAULT", "DESCRIPTION"]);
        }
        headings
    }
    fn cells(&self, _: DateTime<Utc>, wide: bool) -> Vec<(String, Style)> {
        let is_default = self.status.as_ref().is_none_or(|status| status.is_default);
        let set = if is_default { ("default".to_owned(), DIM) } else { ("yes".to_owned(), Style::new()) };
        let mut cells = vec![plain(&self.metadata.name), plain(value(&self.spec.value)), set];
        if let Some(status) = self.status.as_ref().filter(|_| wide) {
            cells.extend([plain(&status.value_type), plain(value(&status.default)), plain(&status.description)]);
        }
        cells
    }
}

/// A setting's value, without the quotes of JSON.
pub fn value(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Tabular for Event {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["LAST SEEN", "TYPE", "REASON", "OBJECT", "COUNT"];
        if wide {
            headings.extend(["FIRST SEEN", "GENERATION"]);
        }
        headings.push("MESSAGE");
        headings
    }
    fn cells(&self, now: DateTime<Utc>, wide: bool) -> Vec<(String, Style)> {
        let (kind, style) = match self.event_type {
            EventType::Normal => ("Normal", Style::new()),
            EventType::Warning => ("Warning", YELLOW),
        };
        let mut cells = vec![
            plain(age(Some(self.last_seen), now)),
            (kind.to_owned(), style),
            plain(&self.reason),
            plain(format!("{}/{}", self.kind.to_lowercase(), self.name)),
            plain(self.count.to_string()),
        ];
        if wide {
            cells.extend([plain(age(Some(self.first_seen), now)), plain(self.generation.to_string())]);
        }
        cells.push(plain(&self.message));
        cells
    }
}
