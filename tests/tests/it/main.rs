//! One binary for all tests on real parts, so that they link once.

mod engine_contract;
