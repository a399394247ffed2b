//! One integration binary: what it takes to link is paid once.

mod engine_contract;
mod layout;
