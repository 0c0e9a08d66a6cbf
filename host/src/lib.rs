//! Gauntlet: every write runs the gauntlet before it reaches Thanos.
//!
//! The map. Modules stand in the order data meets them; a module imports only those declared above it
//! (`tests/tidy.rs` checks).

// The ground: words, bytes, configuration, what the process says about itself.
pub mod model;
pub mod wire;
pub mod config;
pub mod telemetry;

// The way in. A blank line keeps each where data meets it: the formatter sorts only neighbours.
pub mod tls;

pub mod listener;

pub mod auth;
pub mod body;
