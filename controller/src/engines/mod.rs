//! The outside world, one narrow trait per engine. Only here are HTTP clients and the engine's models used.

pub mod server;
pub mod swarm;
pub mod traefik;
