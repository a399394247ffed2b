//! Pure tests of the App kind: plans as golden files, verdicts and statuses as tables.

mod adoptions;
mod drifts;
pub(crate) mod fixtures;
mod never_ready;
mod plans;
mod properties;
mod servings;
mod statuses;
mod verdicts;
mod witnesses;
