//! What was changed behind the platform's back, and pauses: the platform's hands held still for a while.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::HumanDuration;
use crate::problem::FieldError;

/// Longest pause: a forgotten one must end by itself.
pub const MAX_PAUSE: HumanDuration = HumanDuration::from_secs(30 * 24 * 3600);
/// Longest reason of a pause, in characters.
pub const MAX_BECAUSE: usize = 500;

/// Asks that nothing is written for an app for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PauseRequest {
    /// How long, from `1s` to `30d`.
    #[serde(rename = "for")]
    pub duration: HumanDuration,
    /// Why, for those who find the app paused.
    #[schemars(length(min = 1, max = 500))]
    pub because: String,
}

impl PauseRequest {
    /// What is wrong with it.
    pub fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.duration.get().is_zero() || self.duration > MAX_PAUSE {
            errors.push(FieldError::new("for", format!("a pause lasts from 1s to 30d; {} does not", self.duration)));
        }
        let because = self.because.trim();
        if because.is_empty() || because.chars().count() > MAX_BECAUSE || because.chars().any(char::is_control) {
            errors.push(FieldError::new("because", format!("say why in 1 to {MAX_BECAUSE} characters on one line")));
        }
        errors
    }
}

/// Whether an app is paused, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PauseState {
    /// Whether nothing is written for the app now.
    pub paused: bool,
    /// Name of the token that paused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

impl fmt::Display for PauseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(until), true) = (self.until, self.paused) else { return f.write_str("not paused") };
        let until = until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        write!(f, "paused by {} until {until}: {}", self.by.as_deref().unwrap_or("?"), self.because.as_deref().unwrap_or("?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_needs_an_end_and_a_reason() {
        let pause = |duration: u64, because: &str| {
            let request = PauseRequest { duration: HumanDuration::from_secs(duration), because: because.to_owned() };
            request.check().into_iter().map(|error| error.path).collect::<Vec<_>>()
        };
        assert_eq!(pause(7200, "we look at the database"), Vec::<String>::new());
        assert_eq!(pause(0, " "), ["for", "because"]);
        assert_eq!(pause(31 * 24 * 3600, "a\nb"), ["for", "because"]);
        assert_eq!(pause(30 * 24 * 3600, &"é".repeat(MAX_BECAUSE)), Vec::<String>::new());
        assert_eq!(pause(1, &"é".repeat(MAX_BECAUSE + 1)), ["because"]);
    }
}
