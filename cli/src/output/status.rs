//! The platform at a glance, for people.

use std::fmt::Write as _;

use anstyle::Style;
use api_types::platform::{PartState, PlatformStatus, ServerProcess};
use chrono::{DateTime, Utc};

use super::{BOLD, GREEN, RED, Table, YELLOW, age, harmless, paint};

/// All of it. Ages are counted by the server's clock.
pub fn text(status: &PlatformStatus) -> String {
    let mut out = match status.healthy {
        true => format!("{} {}\n", paint(BOLD, "Platform:"), paint(GREEN, "healthy")),
        false => format!("{} {}\n", paint(BOLD, "Platform:"), paint(RED, "not healthy")),
    };
    for problem in &status.problems {
        let _ = writeln!(out, "  {} {}", paint(RED, "!"), harmless(problem, false));
    }
    if !status.processes.is_empty() {
        let _ = write!(out, "\n{}\n{}", paint(BOLD, "Processes:"), processes(status));
    }
    let counts = &status.apps;
    let _ = writeln!(
        out,
        "\n{} {} ({} ready, {} not ready, {} unknown)",
        paint(BOLD, "Apps:"),
        counts.total,
        counts.ready,
        counts.not_ready,
        counts.unknown
    );
    if let Some(oldest) = &status.oldest_unreconciled {
        let _ = writeln!(
            out,
            "  {} with a change that waits; the oldest is {}/{}, generation {}, for {}",
            counts.unreconciled,
            oldest.org,
            oldest.name,
            oldest.generation,
            age(Some(oldest.since), status.time)
        );
    }
    if !status.not_ready.is_empty() {
        let mut table = Table::bare();
        for app in &status.not_ready {
            let reason = app.reason.map(|reason| reason.to_string()).unwrap_or_else(|| "Pending".to_owned());
            let plain = Style::new();
            table.row([
                (format!("{}/{}", app.org, app.name), plain),
                (reason, YELLOW),
                (age(app.since, status.time), plain),
                (app.message.clone(), plain),
            ]);
        }
        out.push_str(&table.render(2));
        let _ = writeln!(out, "  `skyctl why app/NAME` says what is wrong with one.");
    }
    let _ = write!(out, "\n{} {} failed", paint(BOLD, "Last hour:"), plural(status.failures_last_hour, "generation"));
    if let Some(drift) = status.drift_last_hour {
        let _ = write!(out, ", {} found that somebody made by hand", plural(drift, "difference"));
    }
    out.push('\n');
    out
}

fn plural(count: i64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn processes(status: &PlatformStatus) -> String {
    let mut table = Table::new(["HOST", "ROLES", "STATE", "UP", "HEARD", "ENGINE", "EDGE", "QUEUE"]);
    for process in &status.processes {
        let plain = Style::new();
        let (word, style) = state(process);
        table.row([
            (process.report.host.clone(), plain),
            (process.report.roles.join(","), plain),
            (word, style),
            (age(Some(process.started_at), status.time), plain),
            (age(Some(process.heartbeat_at), status.time), plain),
            part(process.report.engine.as_ref()),
            part(process.report.edge.as_ref()),
            (queue(process, status.time), plain),
        ]);
    }
    table.render(2)
}

fn state(process: &ServerProcess) -> (String, Style) {
    match (process.stale, process.epoch) {
        (true, _) => ("stale".to_owned(), RED),
        (false, Some(epoch)) => (format!("leads, epoch {epoch}"), GREEN),
        (false, None) if process.has_role("controller") => ("standby".to_owned(), Style::new()),
        (false, None) => ("serves".to_owned(), Style::new()),
    }
}

fn part(part: Option<&PartState>) -> (String, Style) {
    match part {
        None => (String::new(), Style::new()),
        Some(part) if part.ok => ("ok".to_owned(), GREEN),
        Some(_) => ("down".to_owned(), RED),
    }
}

fn queue(process: &ServerProcess, now: DateTime<Utc>) -> String {
    let Some(queue) = process.report.queue.as_ref().filter(|_| process.epoch.is_some()) else { return String::new() };
    let mut text = format!("{} due, {} later, {} running", queue.due, queue.scheduled, queue.running);
    if let Some(seconds) = queue.resync_seconds.and_then(|seconds| i64::try_from(seconds).ok()) {
        let _ = write!(text, "; resync {} ago", super::age::short(now - process.heartbeat_at + chrono::TimeDelta::seconds(seconds)));
    }
    text
}

#[cfg(test)]
mod tests {
    use api_types::Reason;
    use api_types::platform::{AppCounts, AppLine, ProcessReport, QueueState};
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn the_platform_at_a_glance() {
        let now = DateTime::from_timestamp(1_770_000_000, 0).expect("a time");
        let ok = |detail: &str| Some(PartState { ok: true, detail: detail.to_owned() });
        let process = |host: &str, epoch, stale| ServerProcess {
            id: host.to_owned(),
            started_at: now - TimeDelta::hours(4),
            heartbeat_at: now - TimeDelta::seconds(if stale { 300 } else { 2 }),
            stale,
            epoch,
            report: ProcessReport {
                roles: vec!["controller".to_owned(), "edge".to_owned()],
                host: host.to_owned(),
                version: "0.1.0".to_owned(),
                engine: ok("x"),
                edge: Some(PartState { ok: false, detail: "no answer".to_owned() }),
                queue: Some(QueueState { due: 1, scheduled: 3, running: 2, resync_seconds: Some(9), ..QueueState::default() }),
            },
        };
        let status = PlatformStatus {
            healthy: false,
            problems: vec!["the proxy of n1 does not serve as it should: no answer".to_owned()],
            processes: vec![process("n1", Some(7), false), process("n2", None, true)],
            apps: AppCounts { total: 3, ready: 2, not_ready: 1, unknown: 0, unreconciled: 0 },
            not_ready: vec![AppLine {
                org: "acme".to_owned(),
                name: "shop".to_owned(),
                reason: Some(Reason::CrashLoop),
                message: "task web.1 exited with code 1".to_owned(),
                since: Some(now - TimeDelta::minutes(3)),
            }],
            oldest_unreconciled: None,
            failures_last_hour: 1,
            drift_last_hour: Some(2),
            time: now,
        };
        let wanted = "\
Platform: not healthy
  ! the proxy of n1 does not serve as it should: no answer

Processes:
  HOST   ROLES             STATE            UP   HEARD   ENGINE   EDGE   QUEUE
  n1     controller,edge   leads, epoch 7   4h   2s      ok       down   1 due, 3 later, 2 running; resync 11s ago
  n2     controller,edge   stale            4h   5m      ok       down   -

Apps: 3 (2 ready, 1 not ready, 0 unknown)
  acme/shop   CrashLoop   3m   task web.1 exited with code 1
  `skyctl why app/NAME` says what is wrong with one.

Last hour: 1 generation failed, 2 differences found that somebody made by hand
";
        assert_eq!(anstream::adapter::strip_str(&text(&status)).to_string(), wanted);
    }
}
