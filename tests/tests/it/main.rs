//! Tests on the real parts, in one binary: it links once, and nextest still runs each test in its own process.

mod edge_traefik;
