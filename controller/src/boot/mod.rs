//! Starts the roles of the server: arguments, what must be there first, the private database, wiring.
//!
//! Nothing here decides what happens to an app. Child processes are started here, and in
//! `engines/traefik/`, because here is where their end is looked after.

pub mod agent;
pub mod args;
mod control;
mod core;
pub mod datadir;
mod edge;
mod fleet;
mod heartbeat;
mod hints;
pub mod keeper;
mod logs;
mod nodeview;
mod others;
mod planner;
pub mod postgres;
pub mod preflight;
pub mod reference;
pub mod roles;
mod services;
pub mod signals;
mod sources;
mod usage;
mod vitals;
