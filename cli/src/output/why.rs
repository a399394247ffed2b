//! Why an app is as it is, for people.

use std::fmt::Write as _;

use anstyle::Style;
use api_types::ConditionStatus;
use api_types::why::{Case, Link, LogExcerpt, Why};
use chrono::{DateTime, Utc};

use super::{BOLD, DIM, GREEN, RED, Table, YELLOW, age, harmless, paint};

/// All of it. Ages are counted by the server's clock.
pub fn text(why: &Why) -> String {
    let mut out = String::new();
    let style = match (why.case, why.ready) {
        (Case::Ready, _) => GREEN,
        (Case::RollingOut | Case::Queued, _) | (_, ConditionStatus::Unknown) => YELLOW,
        _ => RED,
    };
    let (name, case) = (format!("{}/{}", why.org, why.name), why.case.to_string());
    let _ = writeln!(out, "{}, generation {}: {}", paint(BOLD, &name), why.generation, paint(style, &case));
    let _ = writeln!(out, "{}", sentence(&harmless(&why.summary, false), why.name.as_str()));
    if let Some(since) = why.since {
        let node = why.node.as_ref().map(|node| format!(", on node {}", harmless(node, false))).unwrap_or_default();
        let _ = writeln!(out, "For {}{node}.", age(Some(since), why.time));
    }
    let _ = write!(out, "\n{}\n{}", paint(BOLD, "From Ready to the cause:"), chain(&why.chain, why.time));
    if let Some(log) = &why.log {
        out.push_str(&lines(log));
    }
    if !why.next.is_empty() {
        let _ = writeln!(out, "\n{}", paint(BOLD, "What to do:"));
    }
    for advice in &why.next {
        let _ = writeln!(out, "  - {}", harmless(&advice.text, false));
        if let Some(command) = &advice.command {
            let _ = writeln!(out, "      {command}");
        }
    }
    if why.case != Case::Ready {
        let _ = writeln!(out, "\n{}", paint(DIM, &format!("See {}", why.see)));
    }
    out
}

/// With a capital and an end; a name stays as it is written.
fn sentence(text: &str, name: &str) -> String {
    if text.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')) {
        return format!("{}.", text.trim_end_matches('.'));
    }
    let mut chars = text.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", chars.as_str().trim_end_matches('.'))
}

fn chain(links: &[Link], now: DateTime<Utc>) -> String {
    let mut table = Table::bare();
    for link in links {
        let plain = Style::new();
        let (word, style) = match link.status {
            Some(ConditionStatus::True) => ("True", GREEN),
            Some(ConditionStatus::False) => ("False", RED),
            Some(ConditionStatus::Unknown) => ("Unknown", YELLOW),
            None => ("", plain),
        };
        table.row([
            (link.about.clone(), plain),
            (word.to_owned(), style),
            (link.reason.map(|reason| reason.to_string()).unwrap_or_default(), plain),
            (age(link.since, now), plain),
            (link.message.clone(), plain),
        ]);
    }
    table.render(2)
}

fn lines(log: &LogExcerpt) -> String {
    let mut out = format!("\n{}\n", paint(BOLD, &format!("Last lines of {}:", harmless(&log.replica, false))));
    for line in &log.lines {
        let _ = writeln!(out, "  | {}", harmless(line, false));
    }
    if let Some(missing) = log.missing.as_ref().filter(|_| log.lines.is_empty()) {
        let _ = writeln!(out, "  {}", paint(DIM, &format!("none: {}", harmless(missing, false))));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_for_people() {
        let why: Why = serde_json::from_value(json!({
            "org": "acme", "name": "shop", "generation": 4, "ready": "False", "case": "crash",
            "summary": "task web.1 on node n1 ends instead of running: it ended with exit code 1. Generation 3 answers meanwhile",
            "since": "2026-01-31T11:57:00Z", "node": "n1", "servingGeneration": 3,
            "chain": [
                {"about": "Ready", "status": "False", "reason": "RolloutFailed", "since": "2026-01-31T11:57:00Z", "message": "generation 4 failed"},
                {"about": "task web.1", "message": "it ended with exit code 1", "since": "2026-01-31T11:57:00Z", "node": "n1"},
            ],
            "log": {"replica": "web.1", "lines": ["cannot connect\u{1b}[2J to db:5432"]},
            "next": [{"text": "go back to it", "command": "skyctl rollback app/shop --to 3"}, {"text": "or wait"}],
            "see": "docs/troubleshooting.md#crash",
            "time": "2026-01-31T12:00:00Z",
        }))
        .expect("an answer");
        insta::assert_snapshot!(anstream::adapter::strip_str(&text(&why)), @"
        acme/shop, generation 4: crash
        Task web.1 on node n1 ends instead of running: it ended with exit code 1. Generation 3 answers meanwhile.
        For 3m, on node n1.

        From Ready to the cause:
          Ready        False   RolloutFailed   3m   generation 4 failed
          task web.1   -       -               3m   it ended with exit code 1

        Last lines of web.1:
          | cannot connect[2J to db:5432

        What to do:
          - go back to it
              skyctl rollback app/shop --to 3
          - or wait

        See docs/troubleshooting.md#crash
        ");
    }
}
