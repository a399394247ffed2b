//! One integration binary: what it takes to link is paid once. Nextest still runs each test in a process of its own.

mod config;
mod deploy;
mod edge_traefik;
mod engine_contract;
mod failures;
mod layout;
mod ownership;
mod restarts;
mod rollout;
