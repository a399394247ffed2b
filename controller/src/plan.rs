//! Plans and observed facts: the vocabulary that every kind shares.
//!
//! A plan is a value. It is computed by a pure function from desired state and observed facts, and the
//! same value feeds the dry run, the event log, the golden tests and the executor. "Needs work" means
//! that the plan is not empty; there is no second comparison anywhere.

use std::fmt;

/// What is known of something outside. A failed or stale read is `Unknown`, and `Unknown` never
/// deletes, never creates and never counts as healthy.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Fact<T> {
    /// Not observed, or the observation cannot be trusted.
    #[default]
    Unknown,
    /// Observed not to exist.
    Absent,
    /// Observed.
    Known(T),
}

impl<T> Fact<T> {
    /// The value, if known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown | Self::Absent => None,
        }
    }
    /// Whether it is certain that the thing does not exist.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

/// One planned act. Its `Display` is one stable line; its `word` is from a closed list.
pub trait Step: fmt::Display {
    /// The step's word, as in events and in the API, such as `CreateService`.
    fn word(&self) -> &'static str;
}

/// A step, and what must be observed before it may be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned<S, G> {
    /// What has to be seen first; `None` means that the step may be taken at once.
    pub gate: Option<G>,
    /// The act.
    pub step: S,
}

/// Steps in order. Only the first may be executed; after it the world is observed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<S, G> {
    /// The steps.
    pub steps: Vec<Planned<S, G>>,
    /// What is waited for after the last step, or instead of any.
    pub waiting: Option<G>,
}

impl<S, G> Plan<S, G> {
    /// Nothing to do and nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.waiting.is_none()
    }
    /// The step that may be taken now.
    pub fn next(&self) -> Option<&S> {
        self.steps.first().filter(|planned| planned.gate.is_none()).map(|planned| &planned.step)
    }
    /// What is waited for now.
    pub fn gate(&self) -> Option<&G> {
        match self.steps.first() {
            Some(first) => first.gate.as_ref(),
            None => self.waiting.as_ref(),
        }
    }
}
