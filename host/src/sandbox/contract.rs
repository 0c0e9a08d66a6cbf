//! The plugin contract: what a policy may import, what it may export, and how it is called.
//!
//! Takes a compiled component, gives its exports once names and types are those of a version of `wit/`. One file per
//! version of the package, which holds all that is particular to it; the rest of the house speaks in the words of the
//! newest ([`types`]). What is exported beside the contract is no fault: stock toolchains export things of their own, which
//! nobody calls. Never runs a plugin.

mod error;
mod v1;

pub use error::ContractError;
pub use v1::{Exports, FUNCTIONS, Functions, NAMESPACE, has_interface, link, log, types};

/// Which of the contract's functions a plugin exports.
#[derive(Debug, Default)]
pub struct Exported {
    names: Vec<&'static str>,
}

impl Exported {
    pub fn add(&mut self, name: &'static str) {
        self.names.push(name);
    }

    pub fn has(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    /// # Errors
    /// If they are no policy's together.
    pub fn check(&self) -> Result<(), ContractError> {
        let (relabel, admit) = (self.has("relabel"), self.has("admit"));
        if !self.has("configure") {
            return Err(ContractError::NoConfigure);
        }
        if !relabel && !admit {
            return Err(ContractError::NothingToDo);
        }
        if self.has("relabel-packed") && !relabel {
            return Err(ContractError::PackedAlone);
        }
        if self.has("admission-inputs") && !admit {
            return Err(ContractError::InputsOfNothing);
        }
        Ok(())
    }
}
