//! engines/traefik.
