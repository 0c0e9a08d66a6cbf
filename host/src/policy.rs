//! Policies: strangers' code that judges tenants' data.
//!
//! Takes a tenant's policies and its data, gives verdicts. A [`Chain`] is built from plugins that an [`Engine`]
//! compiled out of process, checked against the contract in `wit/` and linked to nothing but a log; it runs them
//! on threads of their own, under deadlines and limits, fairly between tenants. Policies are pure: they keep no
//! state that matters and get no clock, network or file, so an instance can be thrown away at any moment.
//!
//! From the outside in: [`chain`] (a tenant's policies), `relabel` and `admit` (what is asked of it), `decisions` (what
//! of that is remembered), `member` (one policy), `quarantine` (when it is left alone), `call` and `queue` (who runs next, and where), `instance` (one
//! running plugin), `warm` (those that wait), `plugin` (the contract), `engine`, `compile`, `artefact`.

pub mod chain;
pub mod compile;
pub mod check;
pub mod engine;
pub mod judge;
pub mod memo;

mod admit;
mod artefact;
mod bindings;
mod call;
mod decisions;
mod deadline;
mod instance;
mod log;
mod member;
mod plugin;
mod quarantine;
mod queue;
mod relabel;
mod warm;
mod wasi;
mod words;

#[cfg(test)]
mod tests;

pub use admit::{Charge, Decision, Route, Write};
pub use chain::{BuildError, BuildFault, CallError, Chain};
pub use compile::{CompileError, Compiler};
pub use engine::{Engine, EngineError, LoadError};
pub use instance::Fault;
pub use member::{Failure, PolicyInfo, PolicyStatus};
pub use plugin::ContractError;
pub use relabel::{Batch, Outcome, Relabelled};
