//! The plugin contract: what a policy may import, what it may export, and how it is called.
//!
//! Takes a compiled component, gives its exports once names and types are those of a version of `wit/`. One file per
//! version of the package, which holds all that is particular to it; the rest of the house speaks in the words of the
//! newest ([`types`]). Never runs a plugin.

mod error;
mod v0_1;

pub use error::ContractError;
pub use v0_1::{Exports, Functions, has_interface, link, log, types};
