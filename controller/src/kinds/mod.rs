//! One folder per kind, the same files in each: `observe` (reads), `plan` (pure), `apply` (one step),
//! `status` (pure).

pub mod app;
pub mod certificate;
pub mod node;
