//! App: an image run as processes behind the edge.
//!
//! `observe` reads, `plan` decides, `apply` does one step, `status` tells. `desired`, `render`, `model`,
//! `simulate`, `causes`, `drift`, `verdict` and `witness` are the pure parts between them; `evidence` keeps what a
//! failure left behind, `ledger` what others changed; `reconcile` ties them together and is the only place that
//! knows the order.

pub mod adopt;
pub mod apply;
pub mod causes;
pub mod desired;
pub mod drift;
pub mod evidence;
pub mod index;
pub mod ledger;
pub mod metrics;
pub mod model;
pub mod names;
pub mod observe;
pub mod plan;
pub mod preview;
pub mod quiet;
pub mod reconcile;
pub mod records;
pub mod render;
pub mod serving;
pub mod simulate;
pub mod snapshot;
pub mod status;
pub mod verdict;
pub mod wall;
pub mod witness;

pub use index::AppIndex;
pub use reconcile::AppReconciler;

#[cfg(test)]
mod tests;
