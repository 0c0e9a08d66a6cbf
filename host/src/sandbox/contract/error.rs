//! Why a component is no policy plugin, in words for whoever built it.
//!
//! Takes the first thing that breaks the contract, gives its name. Never shows more of a plugin's text than fits a line.

/// Why a component is no policy plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    #[error("imports {0}, which no policy gets")]
    Import(String),
    #[error("imports {0}, which `sandbox.wasi: deny` turns off")]
    Wasi(String),
    #[error("imports {0}, which is not an interface")]
    ImportKind(String),
    #[error("exports {0}, which is not part of a policy world")]
    Export(String),
    #[error("does not export configure")]
    NoConfigure,
    #[error("exports neither relabel nor admit")]
    NothingToDo,
    #[error("exports relabel-packed without relabel")]
    PackedAlone,
    #[error("exports admission-inputs, but no admit that could have any")]
    InputsOfNothing,
    #[error("exports {name} with another type than {package} has: {reason}")]
    Type {
        name: &'static str,
        package: &'static str,
        reason: String,
    },
    #[error("cannot be linked: {0}")]
    Link(String),
}
