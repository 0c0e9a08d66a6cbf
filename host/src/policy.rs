//! Policies.
pub mod bindings;
