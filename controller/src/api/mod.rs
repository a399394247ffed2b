//! The HTTP API: what users, the command line and the dashboard talk to.
//!
//! ```text
//! listener ─▶ serve ─▶ layers (request id, span, metrics, problems, panics, deadline)
//!                        └─▶ routes/<kind> ─▶ auth (TenantCtx | PlatformCtx) ─▶ admission ─▶ Backend (Postgres)
//! ```
//!
//! The API reads and writes the database and nothing else: it never talks to an engine. Plans come from
//! the stored observation through [`Planner`]; logs come through [`LogSource`], which the process that
//! holds the engine hands in.
//!
//! How it can be misused: a handler that takes [`backend::Backend`] from anywhere but its context
//! (`TenantCtx`, `PlatformCtx`, `Caller`) would answer without checking the token. So the backend is
//! reachable only through these, and a test asks every documented route without a token.

mod admission;
mod adoption;
mod auth;
pub mod backend;
mod backend_store;
mod docs;
pub mod error;
mod examples;
mod extract;
pub mod health;
pub mod insight;
mod layers;
mod listing;
mod merge_patch;
mod metrics;
pub mod openapi;
mod rate;
mod routes;
pub mod serve;
mod stall;
pub mod state;
pub mod upkeep;
mod usage;
mod view;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

pub use metrics::ApiMetrics;
pub use serve::serve;
pub use state::{
    Adoptable, ApiState, ControllerWatch, DraftQuery, Limits, LogError, LogQuery, LogSource, PlanInput, Planner, ReadyCheck, ServiceError,
    ServiceSource, UsageSource,
};

/// The whole API as a service. Streams end when `shutdown` is cancelled. Must be called inside a Tokio runtime.
pub fn router(state: ApiState, shutdown: CancellationToken) -> Router {
    let core = Arc::new(state::Core::new(state, shutdown));
    let (router, _) = openapi::build();
    layers::wrap(router, &core).with_state(core)
}
