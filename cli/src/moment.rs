//! Points in time as people type them.

use api_types::HumanDuration;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};

/// Reads a time: with an offset, or without one as UTC; a date, meaning its beginning; or a duration, meaning so long
/// before `now`.
///
/// # Errors
/// When it is none of these.
pub fn parse(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let text = text.trim();
    if let Ok(duration) = text.parse::<HumanDuration>() {
        return Ok(now - duration.chrono());
    }
    let with_t = text.replacen(' ', "T", 1);
    // RFC 3339 asks for seconds; people leave them out.
    for form in ["%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M%:z"] {
        // Offsets are written +01:00, +0100 or Z.
        if let Ok(time) = DateTime::parse_from_str(&with_t.replace(['Z', 'z'], "+00:00"), form) {
            return Ok(time.to_utc());
        }
    }
    for form in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(&with_t, form) {
            return Ok(time.and_utc());
        }
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|date| date.and_time(NaiveTime::MIN).and_utc());
    date.map_err(|_| {
        format!("\"{text}\" is no time; write 2026-11-02T10:00 (UTC), 2026-11-02T10:00+01:00, 2026-11-02, or how long ago, such as 2h")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: DateTime<Utc> = "2026-11-24T12:00:00Z".parse().expect("a time");
        for (text, expected) in [
            ("2026-11-02T10:00", "2026-11-02T10:00:00Z"),
            ("2026-11-02 10:00:30", "2026-11-02T10:00:30Z"),
            ("2026-11-02T10:00Z", "2026-11-02T10:00:00Z"),
            ("2026-11-02T10:00:30.5Z", "2026-11-02T10:00:30.5Z"),
            ("2026-11-02T10:00+01:00", "2026-11-02T09:00:00Z"),
            ("2026-11-02T10:00:00-0230", "2026-11-02T12:30:00Z"),
            ("2026-11-02", "2026-11-02T00:00:00Z"),
            ("2h", "2026-11-24T10:00:00Z"),
        ] {
            assert_eq!(parse(text, now), Ok(expected.parse().expect("a time")), "{text}");
        }
        for wrong in ["", "yesterday", "2026-13-01", "10:00", "2026-11-02T25:00"] {
            assert!(parse(wrong, now).is_err(), "{wrong}");
        }
    }
}
