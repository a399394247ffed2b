//! One integration binary: what it takes to link is paid once. Nextest still runs each test in a process of its own.
#![expect(clippy::expect_used, reason = "a test fails by panicking, its helpers too")]
#![expect(clippy::print_stdout, reason = "measured times, shown with a failed test")]

mod adopt;
mod api_docs;
mod behind;
mod bench;
mod cli;
mod cli_ends;
mod cli_watch;
mod config;
mod controllers;
mod deploy;
mod drift;
mod edge_certificates;
mod edge_fields;
mod edge_https;
mod edge_keeper;
mod edge_streams;
mod edge_traefik;
mod engine_contract;
mod examples;
mod failures;
mod faults;
mod history;
mod layout;
mod metrics;
mod nodes;
mod nodes_edge;
mod ownership;
mod restarts;
mod resync;
mod rollout;
mod why;
mod why_platform;
