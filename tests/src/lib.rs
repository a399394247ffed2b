//! The lab: real parts for tests, started and stopped by the tests themselves.

pub mod backends;
pub mod bench;
pub mod certs;
pub mod cluster;
pub mod controllers;
pub mod dockerd;
pub mod edge;
pub mod engine;
pub mod faults;
pub mod foreign;
pub mod inspect;
pub mod load;
pub mod platform;
pub mod redact;
pub mod skyctl;
pub mod tap;
pub mod tar;
