//! Gauntlet: every write runs the gauntlet before it reaches Thanos.
//!
//! The map. Modules stand in the order data meets them; a module imports only those declared above it
//! (`tests/tidy.rs` checks).

// The ground: words, bytes, configuration, what the process says about itself.
pub mod model;
pub mod wire;
pub mod config;
pub mod telemetry;

// The way in: socket, TLS, what the head claims, who it is, the body. Where one needs the other it stands below it.
pub mod tls;
pub mod listener;
pub mod auth;
pub mod head;
pub mod body;

// What is decided about it: per series, per write, and where it goes.
pub mod policy;
pub mod limits;
pub mod route;

// The way out.
pub mod forward;
pub mod respond;

// What holds it together.
pub mod pipeline;
pub mod reload;
pub mod admin;
pub mod server;
pub mod dev;
pub mod cli;
