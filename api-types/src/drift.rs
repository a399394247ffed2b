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

/// What becomes of a change that somebody made behind the platform's back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DriftPolicy {
    /// It is recorded and put right at once.
    #[default]
    Correct,
    /// It is recorded and left as it is, until the policy or anything else in the spec changes.
    Hold,
}

impl DriftPolicy {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Kind of the object that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriftObject {
    /// A service on the engine.
    Service,
    /// A network on the engine.
    Network,
    /// A secret on the engine.
    Secret,
    /// A container of a task.
    Task,
    /// A route at the edge.
    Route,
}

impl DriftObject {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Service, Self::Network, Self::Secret, Self::Task, Self::Route];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Network => "network",
            Self::Secret => "secret",
            Self::Task => "task",
            Self::Route => "route",
        }
    }
}

/// What was done about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DriftAction {
    /// It is being put right.
    Correcting,
    /// It was put right by the platform.
    Corrected,
    /// It was undone before the platform came to it.
    Undone,
    /// It is left as it is, because of `spec.driftPolicy: hold`.
    Held,
    /// It is left as it is while the app is paused.
    Paused,
    /// It is recorded only: there is nothing for the platform to put right.
    Recorded,
}

impl DriftAction {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Correcting, Self::Corrected, Self::Undone, Self::Held, Self::Paused, Self::Recorded];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Correcting => "Correcting",
            Self::Corrected => "Corrected",
            Self::Undone => "Undone",
            Self::Held => "Held",
            Self::Paused => "Paused",
            Self::Recorded => "Recorded",
        }
    }
}

impl fmt::Display for DriftAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One change that somebody made behind the platform's back: a row of the drift ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftRecord {
    /// Grows with time; for pages.
    pub id: i64,
    /// The app.
    pub app: String,
    /// Kind of the object that was changed.
    pub kind: DriftObject,
    /// Name of the object, as the engine or the edge has it.
    pub object: String,
    /// What of it was changed, such as `replicas`, `env.LOG_LEVEL` or `Mounts`; `exists` when it was taken away.
    pub field: String,
    /// As it should be. Values of variables are not told.
    pub desired: String,
    /// As it was found.
    pub observed: String,
    /// What was done about it.
    pub action: DriftAction,
    /// When it was found.
    pub first_seen: DateTime<Utc>,
    /// When it was last seen, to a few seconds.
    pub last_seen: DateTime<Utc>,
    /// Since when it is so no more; absent while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// Which controller found it.
    pub controller: String,
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
