//! App: an image run as processes behind the edge.
//!
//! `observe` reads, `plan` decides, `apply` does one step, `status` tells. `desired`, `render`, `model`,
//! `simulate`, `causes` and `verdict` are the pure parts between them; `reconcile` ties them together and
//! is the only place that knows the order.

#[cfg(any())]
pub mod apply;
pub mod causes;
pub mod desired;
pub mod model;
pub mod names;
#[cfg(any())]
pub mod observe;
pub mod plan;
pub mod preview;
#[cfg(any())]
pub mod reconcile;
pub mod render;
pub mod simulate;
pub mod status;
pub mod verdict;

#[cfg(any())]
pub use reconcile::AppReconciler;

#[cfg(test)]
mod tests;
