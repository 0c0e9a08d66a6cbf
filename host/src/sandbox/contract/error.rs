//! Why a component is no policy plugin, in words for whoever built it.
//!
//! Takes the first thing that breaks the contract, gives its name. Never shows more of a plugin's text than fits a line.

/// What this gateway speaks, as errors name it.
const PACKAGE: &str = "gauntlet:policy@1.0.0";

/// Why a component is no policy plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    #[error("imports {0}, which no policy gets")]
    Import(String),
    #[error("imports {0}; this gateway speaks {PACKAGE}, so build the plugin with that contract")]
    Version(String),
    #[error("imports {0}, which `sandbox.wasi: deny` turns off")]
    Wasi(String),
    #[error("imports {0}, which is not an interface")]
    ImportKind(String),
    #[error("exports {0}, which is a function in {PACKAGE}, as something else")]
    ExportKind(&'static str),
    #[error("does not export configure")]
    NoConfigure,
    #[error("exports neither relabel nor admit")]
    NothingToDo,
    #[error("exports relabel-packed without relabel")]
    PackedAlone,
    #[error("exports admission-inputs, but no admit that could have any")]
    InputsOfNothing,
    #[error("exports {name} with another type than {PACKAGE} has: expected `{expected}`, found `{found}`")]
    Type {
        name: &'static str,
        expected: String,
        found: String,
    },
    /// What was compiled is not what was looked at before.
    #[error("exports {name} with another type than {PACKAGE} has: {reason}")]
    Compiled { name: &'static str, reason: String },
    #[error("cannot be linked to {PACKAGE}: {0}")]
    Link(String),
}
