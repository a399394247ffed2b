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

/// Steps in order. The first may be executed, and after it the world is observed again; only steps that add something
/// may follow each other without a look in between ([`Plan::at_once`]).
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
    /// The steps that may be taken now without a look in between: the next one, and, if that one only adds something,
    /// those after it that only add something too. Taken one by one they would be the same, since a plan is what comes of
    /// taking its steps one by one.
    pub fn at_once(&self, adds: impl Fn(&S) -> bool) -> impl Iterator<Item = &S> {
        let free = self.steps.iter().take_while(|planned| planned.gate.is_none()).map(|planned| &planned.step);
        let chained = self.next().is_some_and(&adds);
        free.enumerate().take_while(move |(place, step)| *place == 0 || (chained && adds(step))).map(|(_, step)| step)
    }
    /// What is waited for now.
    pub fn gate(&self) -> Option<&G> {
        match self.steps.first() {
            Some(first) => first.gate.as_ref(),
            None => self.waiting.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_once(steps: &[(&'static str, bool)]) -> Vec<&'static str> {
        let planned = steps.iter().map(|(step, gated)| Planned { gate: gated.then_some(()), step: *step }).collect();
        let plan: Plan<&str, ()> = Plan { steps: planned, waiting: None };
        plan.at_once(|step| step.starts_with("add")).copied().collect()
    }

    #[test]
    fn only_steps_that_add_follow_each_other_without_a_look() {
        assert_eq!(at_once(&[("add a", false), ("add b", false), ("remove", false), ("add c", false)]), ["add a", "add b"]);
        assert_eq!(at_once(&[("remove", false), ("add a", false)]), ["remove"], "what removes is looked at after");
        assert_eq!(at_once(&[("add a", false), ("add b", true), ("add c", false)]), ["add a"], "what has to be seen first");
        assert!(at_once(&[("add a", true)]).is_empty() && at_once(&[]).is_empty());
    }
}
