//! Says in plain words what is wrong, from facts that others stored. Pure: no clock, no database, no engine.
//!
//! It knows the types of the API and the plain inputs that are declared here, and nothing of how they come
//! about, so that every sentence is tested as a value. It never guesses: what is not known is said to be not
//! known, and what is fine is said to be fine.

pub mod platform;
pub mod why;

use chrono::TimeDelta;

/// A length of time for a sentence: `5 s`, `3 min`, `4 h`, `2 d`.
pub fn span(delta: TimeDelta) -> String {
    let seconds = delta.num_seconds().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}
