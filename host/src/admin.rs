//! The operators' listener: metrics, health, reload, what is configured and why, and a page that shows it.
//!
//! Takes HTTP on the admin address, gives text and JSON in Prometheus' envelope. Never on the public address, never a
//! secret, never a change but `/-/reload`, and nothing to pages of other sites (`guard`).

mod configured;
mod console;
mod events;
mod explaining;
mod flowing;
mod gateway;
mod guard;
mod lately;
mod paste;
mod policies;
mod question;
mod refused;
mod reloads;
mod routes;
mod series;
mod streams;
mod tapping;
mod tenant;
mod views;

pub use gateway::{Gateway, QUESTIONS_AT_ONCE};
pub use routes::Operators;
pub use streams::Events;
