//! The reconcile loop: what runs when, how often, by whom and for how long.
//!
//! The runtime knows no kind, no SQL and no engine. A kind implements [`Reconciler`]; the store
//! implements [`LeaseStore`] and an [`EventSink`]; the rest is wiring. The loop is level-triggered:
//! a hint carries a key and nothing else, any number of hints may be lost, and a periodic resync
//! repairs what was lost.
//!
//! How it can be misused: a reconciler that keeps state between runs, that blocks its thread, or that
//! ignores [`Run::cancel`] in a loop without an `await`, defeats the deadlines here. Leadership saves
//! work but is not the safety argument: writes must be fenced by [`Run::epoch`].

pub mod backoff;
pub mod controller;
mod crew;
pub mod events;
pub mod finalize;
pub mod hints;
pub mod lease;
mod listing;
pub mod metrics;
pub mod pulse;
pub mod queue;
pub mod reconciler;
mod runner;
pub mod settle;
#[cfg(test)]
mod testing;

pub use backoff::Policy;
pub use controller::{Controller, Drained, Options, Tuning, Wiring};
pub use events::{EventSink, EventWriter, Recorder, recorder};
pub use finalize::{Finalize, finalize};
pub use hints::{Hints, hints};
pub use lease::{Elector, ElectorOptions, Leadership, LeaseStore, elector};
pub use metrics::Metrics;
pub use pulse::{Pulse, Pulses};
pub use queue::Priority;
pub use reconciler::{BoxError, Outcome, Reconciler, Run};
pub use settle::Class;
