//! The nodes' agents, as the server sees them: who may be one, what each says, and what each is told.
//!
//! ```text
//! agent ──join (token)──▶ certificate of the platform's authority
//! agent ──report───────▶ tasks of its node that answer, and its edge ─┐
//! engine ─tasks, nodes─────────────────────────────────────────────────┴▶ endpoints on other nodes ─▶ edge document
//! agent ◀─assignment──── the engine's tasks of that node, and of no other
//! ```
//!
//! An agent is believed about its own node only, and only about tasks that the engine itself says are there: it cannot
//! bring requests for somebody else's app to its node. See `docs/adr/0013-agents-and-their-identity.md`.

pub mod authority;
pub mod gateway;
pub mod hub;
pub mod token;
pub mod wire;

use std::time::Duration;

/// How often an agent reports when nothing changes.
pub const REPORT_EVERY: Duration = Duration::from_secs(2);
/// An agent that has said nothing for so long is silent.
pub const SILENT_AFTER: Duration = Duration::from_secs(8);
/// Name that the server's certificate is good for.
pub const SERVER_NAME: &str = "server.skyswarm.internal";
