//! A loaded plugin: compiled, checked against the contract, ready to be instantiated for any tenant.
//!
//! Takes a compiled component and the linker; gives it linked, with the exports it has. Refuses by name whatever
//! a plugin wants to import beyond the contract. Never runs the plugin.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{AsContextMut, Engine};

use super::contract::types::Scope;
use super::contract::{ContractError, Exports, Functions};
use super::imports::denied;
use super::outline::{Kind, check_import};
use super::state::State;
use crate::memory::Held;
use crate::model::plain;
use crate::owned::InUse;

pub struct Plugin {
    pre: InstancePre<State>,
    exports: Exports,
    /// Its machine code.
    _held: Held,
    /// Its file in the cache.
    _file: Option<InUse>,
}

impl Plugin {
    /// Checks and links `component`, for whose machine code memory is `held`. `wasi`: whether stock toolchains' imports are
    /// in `linker`.
    ///
    /// # Errors
    /// Names the first import or export that breaks the contract.
    pub fn link(component: &Component, linker: &Linker<State>, wasi: bool, held: Held) -> Result<Self, ContractError> {
        let (engine, world) = (component.engine(), component.component_type());
        for (name, import) in world.imports(engine) {
            check_import(name, kind(&import.ty, engine), wasi)?;
        }
        let exports = Exports::find(component)?;
        let link_error = |error: wasmtime::Error| ContractError::Link(plain(&format!("{error:#}"), 1024));
        let mut linker = linker.clone();
        denied::link(&mut linker, component).map_err(link_error)?;
        let pre = linker.instantiate_pre(component).map_err(link_error)?;
        Ok(Self {
            pre,
            exports,
            _held: held,
            _file: None,
        })
    }

    /// Has its file in the cache kept as long as it is loaded, for the next start.
    pub fn kept_in(mut self, file: Option<InUse>) -> Self {
        self._file = file;
        self
    }

    pub fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    /// What it can be asked about at all: series if it exports `relabel`, writes if it exports `admit`.
    pub fn scope(&self) -> Scope {
        self.exports.scope()
    }

    /// Of the contract, that it is of by its exports.
    pub fn world(&self) -> &'static str {
        self.exports.world()
    }

    /// Whether it exports `relabel-packed`.
    pub fn takes_packed(&self) -> bool {
        self.exports.takes_packed()
    }

    /// Whether it exports `admission-inputs`.
    pub fn declares_inputs(&self) -> bool {
        self.exports.declares_inputs()
    }

    /// Whether it exports `judges`.
    pub fn declares_scope(&self) -> bool {
        self.exports.declares_scope()
    }

    /// Starts an instance, which is not configured yet.
    pub(super) fn instantiate(&self, mut store: impl AsContextMut<Data = State>) -> wasmtime::Result<Functions> {
        let instance = self.pre.instantiate(&mut store)?;
        Ok(self.exports.of(&instance, store))
    }
}

fn kind(item: &ComponentItem, engine: &Engine) -> Kind {
    match item {
        ComponentItem::ComponentInstance(instance) => {
            let mut items = instance.exports(engine);
            let is_plain =
                |item: &ComponentItem| matches!(item, ComponentItem::ComponentFunc(_) | ComponentItem::Type(_));
            Kind::Interface {
                is_sound: items.all(|(_, item)| is_plain(&item.ty)),
            }
        }
        ComponentItem::ComponentFunc(_) => Kind::Function,
        ComponentItem::Type(_) => Kind::Type,
        ComponentItem::CoreFunc(_)
        | ComponentItem::Module(_)
        | ComponentItem::Component(_)
        | ComponentItem::Resource(_) => Kind::Other,
    }
}
