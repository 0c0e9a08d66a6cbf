//! Strangers' code: compiled, bounded, run and thrown away.
//!
//! Takes plugins as bytes and calls into them; gives what they returned, exactly as they returned it, or what they did
//! instead. An [`Engine`] compiles out of process, checks against the contract in `wit/`, links to nothing but a log
//! and an empty world, and runs instances on threads of their own, under deadlines and limits, fairly between tenants.
//! Never judges what a plugin said: that is `chain`'s.
//!
//! From the outside in: [`engine`] (what all plugins share), `target`, `quota`, [`compile`] and `artefact` (how they are compiled
//! and loaded), `kept` (where they are kept for a user), `contract`, `outline`, `surface` and `plugin` (what a plugin is), `instance` and `state` (one that runs), `arguments` (its arguments),
//! `warm` (those that wait), `threads` and `queue` (who runs next, and where), `deadline` (for how long), `meter` (what it
//! took), `imports` (what a plugin may call).

pub mod compile;
pub mod engine;

mod artefact;
mod arguments;
mod contract;
mod deadline;
mod imports;
mod instance;
mod kept;
mod meter;
mod outline;
mod plugin;
mod queue;
mod quota;
mod state;
mod surface;
mod target;
mod threads;
mod warm;

pub(crate) use arguments::Arguments;
#[cfg(test)]
pub(crate) use artefact::Cache;
pub use compile::{CompileError, Compiler};
pub use contract::ContractError;
pub(crate) use contract::types;
pub(crate) use deadline::thread_time;
pub use engine::{Engine, EngineError, LoadError};
pub(crate) use imports::log::{Line, Share};
pub use instance::Fault;
pub(crate) use instance::{Instance, Start};
pub use kept::folder as kept_in;
pub(crate) use meter::Meter;
pub use meter::Usage;
pub use outline::check as check_outline;
pub(crate) use plugin::Plugin;
pub use queue::Rank;
pub use surface::Surface;
pub use threads::{Effort, Once, Undone, Work};
pub(crate) use threads::{Job, Step};
pub(crate) use warm::PolicyId;
