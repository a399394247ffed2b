//! The Skyswarm server: a reconciler for apps on Docker Swarm, with its API and its edge.
#![recursion_limit = "256"]

pub mod api;
pub mod boot;
pub mod certificate;
pub mod clock;
pub mod edge;
pub mod effects;
pub mod engines;
pub mod explain;
pub mod keyring;
pub mod kinds;
pub mod plan;
pub mod runtime;
pub mod settings;
pub mod store;
pub mod telemetry;
