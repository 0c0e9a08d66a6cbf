//! Gauntlet: every write runs the gauntlet before it reaches Thanos.
//!
//! The map. Modules stand in the order data meets them; a module imports only those declared above it
//! (`tests/tidy` checks).

// The ground: words, bytes, configuration, what the process says about itself.
pub mod model;
pub mod owned;
pub mod wire;
pub mod telemetry;
pub mod memory;
pub mod turn;
pub mod config;
pub mod refusals;
pub mod net;
pub mod traces;

// The way in: socket, TLS, what the head claims, who it is, the body. Where one needs the other it stands below it.
pub mod tls;
pub mod listener;
pub mod head;
pub mod auth;
pub mod body;

// Strangers' code: the sandbox it runs in, and a tenant's chain of policies.
pub mod sandbox;
pub mod chain;

// What is decided about it: per series, per write, where it goes, and in whose name.
pub mod judge;
pub mod limits;
pub mod route;
pub mod tenant;

// The way out.
pub mod forward;
pub mod respond;

// What holds it together.
pub mod pipeline;
pub mod explain;
pub mod reload;
pub mod flow;
pub mod lab;
pub mod admin;
pub mod server;
pub mod terminal;
#[cfg(feature = "dev")]
pub mod dev;
pub mod cli;
