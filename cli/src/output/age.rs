//! Lengths of time, short.

use chrono::{DateTime, TimeDelta, Utc};

/// How long ago: `5s`, `3m`, `4h12m`, `2d`. The future counts as now, since clocks differ.
pub fn age(then: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    then.map_or_else(|| "-".to_owned(), |then| short(now - then))
}

/// A length of time in one or two units.
pub fn short(delta: TimeDelta) -> String {
    let seconds = delta.num_seconds().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 && seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        () if hours < 3 => format!("{minutes}m"),
        () if hours < 8 && minutes % 60 != 0 => format!("{hours}h{}m", minutes % 60),
        () if hours < 48 => format!("{hours}h"),
        () if days < 730 => format!("{days}d"),
        () => format!("{}y", days / 365),
    }
}
