//! The lab: real parts started for tests, and the contracts that fakes and real parts both keep.

pub mod dockerd;
pub mod engine;
pub mod tar;
