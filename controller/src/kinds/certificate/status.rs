//! What is told of a certificate. Pure: written from what clients of its names got.

use std::time::Duration;

use api_types::{Certificate, Condition, ConditionStatus, ConditionType, Reason};
use chrono::{DateTime, TimeDelta, Utc};

use crate::plan::Fact;

/// What clients of each name of a certificate got: the fingerprint of a certificate. `Absent` means that the
/// edge takes no TLS connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look(pub Vec<(String, Fact<String>)>);

/// The conditions of a certificate.
pub fn conditions(certificate: &Certificate, look: &Look, warning: Duration, now: DateTime<Utc>) -> Vec<Condition> {
    let (status, reason, message) = ready(certificate, look, warning, now);
    let observed_generation = certificate.metadata.generation.unwrap_or(0);
    let condition = Condition { kind: ConditionType::Ready, status, reason, message, observed_generation, last_transition_time: now };
    let previous = certificate.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    // A new chain is a new beginning, even when the one before was in the same state.
    let previous: Vec<Condition> = previous.iter().filter(|before| before.observed_generation == observed_generation).cloned().collect();
    vec![condition.since(&previous)]
}

fn ready(certificate: &Certificate, look: &Look, warning: Duration, now: DateTime<Utc>) -> (ConditionStatus, Reason, String) {
    use ConditionStatus::{False, True, Unknown};
    let status = certificate.status.clone().unwrap_or_default();
    let (Some(from), Some(until)) = (status.not_before, status.not_after) else {
        return (False, Reason::CertificateNotServed, "the stored chain cannot be read".to_owned());
    };
    let day = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M UTC");
    if now >= until {
        return (False, Reason::CertificateExpired, format!("it ended on {}, and clients refuse it; apply a new one", day(until)));
    }
    if now < from {
        return (False, Reason::CertificateNotYetValid, format!("it is good only from {} on", day(from)));
    }
    for (name, got) in &look.0 {
        match got {
            Fact::Absent => {
                let message = "the edge takes no HTTPS connections; start the server with --edge-https".to_owned();
                return (False, Reason::CertificateNotServed, message);
            }
            Fact::Unknown => {
                return (Unknown, Reason::EdgeUnreachable, format!("the edge could not be asked for {name}"));
            }
            Fact::Known(fingerprint) if *fingerprint != status.fingerprint => {
                let message = format!(
                    "clients of {name} get another certificate (SHA-256 {}…): the edge has not taken this one yet, or another one names {name} too",
                    fingerprint.get(..16).unwrap_or(fingerprint)
                );
                return (False, Reason::CertificateNotServed, message);
            }
            Fact::Known(_) => {}
        }
    }
    let names = status.dns_names.join(", ");
    let left = until - now;
    if TimeDelta::from_std(warning).is_ok_and(|warning| left <= warning) {
        let message =
            format!("clients of {names} get this certificate, but it ends in {}, on {}; apply a new one", in_words(left), day(until));
        return (True, Reason::CertificateExpiring, message);
    }
    (True, Reason::CertificateServed, format!("clients of {names} get this certificate; it is good until {}", day(until)))
}

/// Whole days, or hours when there are few.
fn in_words(left: TimeDelta) -> String {
    match left.num_days() {
        0 | 1 => format!("{} hours", left.num_hours()),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use api_types::{CertificateSpec, CertificateStatus, ObjectMeta};

    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        format!("{text}T00:00:00Z").parse().expect("a time")
    }

    fn certificate(conditions: Vec<Condition>) -> Certificate {
        let metadata = ObjectMeta { generation: Some(2), ..ObjectMeta::named("own") };
        let mut made = Certificate::new(metadata, CertificateSpec { chain: String::new(), private_key: None });
        made.status = Some(CertificateStatus {
            conditions,
            dns_names: vec!["a.example".to_owned(), "*.b.example".to_owned()],
            fingerprint: "aa".to_owned(),
            not_before: Some(time("2026-01-01")),
            not_after: Some(time("2027-01-01")),
            ..CertificateStatus::default()
        });
        made
    }

    fn said(look: Look, now: &str) -> String {
        let warning = Duration::from_secs(21 * 86_400);
        let all = conditions(&certificate(Vec::new()), &look, warning, time(now));
        all.iter().map(|c| format!("{} {}: {}", c.status, c.reason, c.message)).collect()
    }

    fn got(first: Fact<String>, second: Fact<String>) -> Look {
        Look(vec![("a.example".to_owned(), first), ("*.b.example".to_owned(), second)])
    }

    #[test]
    fn a_certificate_is_ready_only_when_clients_get_it_and_take_it() {
        let known = |text: &str| Fact::Known(text.to_owned());
        let cases = [
            (got(known("aa"), known("aa")), "2026-06-01"),
            (got(known("aa"), known("aa")), "2026-12-12"),
            (got(known("aa"), known("aa")), "2026-12-31"),
            (got(known("aa"), known("aa")), "2027-01-01"),
            (got(known("aa"), known("aa")), "2025-06-01"),
            (got(known("aa"), known("0123456789abcdef0123")), "2026-06-01"),
            (got(known("aa"), Fact::Unknown), "2026-06-01"),
            (got(Fact::Absent, Fact::Absent), "2026-06-01"),
            // Ending is not hidden by an edge that does not answer.
            (got(Fact::Unknown, Fact::Unknown), "2027-06-01"),
        ];
        let text: Vec<String> = cases.into_iter().map(|(look, now)| said(look, now)).collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn a_new_chain_begins_its_own_time() {
        let warning = Duration::from_secs(0);
        let now = time("2026-06-01");
        let first = conditions(&certificate(Vec::new()), &Look::default(), warning, now);
        let later = conditions(&certificate(first.clone()), &Look::default(), warning, time("2026-06-02"));
        assert_eq!(later[0].last_transition_time, now);
        let older = first.into_iter().map(|condition| Condition { observed_generation: 1, ..condition }).collect();
        assert_eq!(
            conditions(&certificate(older), &Look::default(), warning, time("2026-06-02"))[0].last_transition_time,
            time("2026-06-02")
        );
    }
}
