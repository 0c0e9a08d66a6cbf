//! A loaded plugin: compiled, checked against the contract, ready to be instantiated for any tenant.
//!
//! Takes a compiled component and the linker; gives it linked, with the exports it has. Refuses by name whatever
//! a plugin wants to import beyond the contract. Never runs the plugin.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{AsContextMut, Engine};

use super::contract::{self, ContractError, Exports, Functions};
use super::imports::wasi;
use super::state::State;
use crate::memory::Held;
use crate::model::plain;

pub struct Plugin {
    pre: InstancePre<State>,
    exports: Exports,
    /// Its machine code.
    _held: Held,
}

impl Plugin {
    /// Checks and links `component`, for whose machine code memory is `held`. `wasi`: whether stock toolchains' imports are
    /// in `linker`.
    ///
    /// # Errors
    /// Names the first import or export that breaks the contract.
    pub fn link(component: &Component, linker: &Linker<State>, wasi: bool, held: Held) -> Result<Self, ContractError> {
        let engine = component.engine();
        for (name, import) in component.component_type().imports(engine) {
            check_import(name, &import.ty, wasi, engine)?;
        }
        let exports = Exports::find(component)?;
        let pre = linker
            .instantiate_pre(component)
            .map_err(|error| ContractError::Link(plain(&format!("{error:#}"), 1024)))?;
        Ok(Self {
            pre,
            exports,
            _held: held,
        })
    }

    pub fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    pub fn judges_series(&self) -> bool {
        self.exports.judges_series()
    }

    pub fn judges_writes(&self) -> bool {
        self.exports.judges_writes()
    }

    /// Starts an instance, which is not configured yet.
    pub(super) fn instantiate(&self, mut store: impl AsContextMut<Data = State>) -> wasmtime::Result<Functions> {
        let instance = self.pre.instantiate(&mut store)?;
        Ok(self.exports.of(&instance, store))
    }
}

fn check_import(name: &str, item: &ComponentItem, wasi: bool, engine: &Engine) -> Result<(), ContractError> {
    let shown = || plain(name, 128);
    match item {
        ComponentItem::ComponentInstance(instance) => {
            if contract::has_interface(name) {
                // The contract has no resources; a type under its name that brings some is a forgery.
                let forged = instance
                    .exports(engine)
                    .any(|(_, e)| !matches!(e.ty, ComponentItem::ComponentFunc(_) | ComponentItem::Type(_)));
                return if forged {
                    Err(ContractError::ImportKind(shown()))
                } else {
                    Ok(())
                };
            }
            match wasi::INTERFACES.iter().any(|prefix| name.starts_with(prefix)) {
                true if wasi => Ok(()),
                true => Err(ContractError::Wasi(shown())),
                false => Err(ContractError::Import(shown())),
            }
        }
        // `use types.{label}` in a world.
        ComponentItem::Type(_) => Ok(()),
        ComponentItem::ComponentFunc(_) => Err(ContractError::Import(shown())),
        ComponentItem::CoreFunc(_)
        | ComponentItem::Module(_)
        | ComponentItem::Component(_)
        | ComponentItem::Resource(_) => Err(ContractError::ImportKind(shown())),
    }
}
