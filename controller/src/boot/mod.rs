//! Starts the roles of the server: arguments, what must be there first, the private database, wiring.
//!
//! Nothing here decides what happens to an app. Child processes are started here, and in
//! `engines/traefik/process.rs`, because here is where their end is looked after.

pub mod args;
pub mod datadir;
pub mod postgres;
pub mod preflight;
pub mod signals;
