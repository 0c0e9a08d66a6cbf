//! A loaded plugin: compiled, checked against the contract, ready to be instantiated for any tenant.
//!
//! Takes a compiled component and the linker; gives it linked, with the exports it has. Refuses by name whatever
//! a plugin wants to import beyond the contract. Never runs the plugin.

use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, Instance, InstancePre, Linker, types};
use wasmtime::{AsContextMut, Engine};

use super::contract::types::{Decision, Inputs, LabelParam, Verdict, Write};
use super::imports::wasi;
use super::instance::State;
use super::plain::plain;

/// The contract's own interfaces, any patch version.
const CONTRACT: [&str; 2] = ["gauntlet:policy/log@0.1.", "gauntlet:policy/types@0.1."];

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
    #[error("exports {name} with another type than gauntlet:policy@0.1 has: {reason}")]
    Type { name: &'static str, reason: String },
    #[error("cannot be linked: {0}")]
    Link(String),
}

pub struct Plugin {
    pre: InstancePre<State>,
    pub(super) configure: ComponentExportIndex,
    pub(super) relabel: Option<ComponentExportIndex>,
    pub(super) relabel_packed: Option<ComponentExportIndex>,
    pub(super) admit: Option<ComponentExportIndex>,
    pub(super) admission_inputs: Option<ComponentExportIndex>,
}

impl Plugin {
    /// Checks and links `component`. `wasi`: whether stock toolchains' imports are in `linker`.
    ///
    /// # Errors
    /// Names the first import or export that breaks the contract.
    pub fn link(component: &Component, linker: &Linker<State>, wasi: bool) -> Result<Self, ContractError> {
        let engine = component.engine();
        let world = component.component_type();
        for (name, import) in world.imports(engine) {
            check_import(name, &import.ty, wasi, engine)?;
        }
        let mut exports = Exports::default();
        for (name, export) in world.exports(engine) {
            exports.add(name, export.ty, &world)?;
        }
        if !exports.configure {
            return Err(ContractError::NoConfigure);
        }
        if !exports.relabel && !exports.admit {
            return Err(ContractError::NothingToDo);
        }
        if exports.relabel_packed && !exports.relabel {
            return Err(ContractError::PackedAlone);
        }
        if exports.admission_inputs && !exports.admit {
            return Err(ContractError::InputsOfNothing);
        }
        let pre = linker
            .instantiate_pre(component)
            .map_err(|error| ContractError::Link(plain(&format!("{error:#}"), 1024)))?;
        let index = |wanted: bool, name: &str| component.get_export_index(None, name).filter(|_| wanted);
        Ok(Self {
            pre,
            configure: index(true, "configure").ok_or(ContractError::NoConfigure)?,
            relabel: index(exports.relabel, "relabel"),
            relabel_packed: index(exports.relabel_packed, "relabel-packed"),
            admit: index(exports.admit, "admit"),
            admission_inputs: index(exports.admission_inputs, "admission-inputs"),
        })
    }

    pub fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    pub fn judges_series(&self) -> bool {
        self.relabel.is_some()
    }

    pub fn judges_writes(&self) -> bool {
        self.admit.is_some()
    }

    pub(super) fn instantiate(&self, store: impl AsContextMut<Data = State>) -> wasmtime::Result<Instance> {
        self.pre.instantiate(store)
    }
}

fn check_import(name: &str, item: &ComponentItem, wasi: bool, engine: &Engine) -> Result<(), ContractError> {
    let shown = || plain(name, 128);
    match item {
        ComponentItem::ComponentInstance(instance) => {
            if CONTRACT.iter().any(|prefix| name.starts_with(prefix)) {
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

#[derive(Default)]
struct Exports {
    configure: bool,
    relabel: bool,
    relabel_packed: bool,
    admit: bool,
    admission_inputs: bool,
}

/// Of `relabel-packed`: text, lengths, labels of each series.
pub(super) type PackedParams<'a> = (&'a str, &'a [u32], &'a [u32]);

impl Exports {
    fn add(&mut self, name: &str, item: ComponentItem, world: &types::Component) -> Result<(), ContractError> {
        match (name, item) {
            ("configure", ComponentItem::ComponentFunc(f)) => {
                let checked = f.typecheck::<(&str,), (Result<(), String>,)>(&world.instance_type());
                self.configure = typed("configure", &f, checked)?;
            }
            ("relabel", ComponentItem::ComponentFunc(f)) => {
                let checked =
                    f.typecheck::<(&[&[LabelParam<'_>]],), (Result<Vec<Verdict>, String>,)>(&world.instance_type());
                self.relabel = typed("relabel", &f, checked)?;
            }
            ("relabel-packed", ComponentItem::ComponentFunc(f)) => {
                let checked = f.typecheck::<PackedParams<'_>, (Result<Vec<Verdict>, String>,)>(&world.instance_type());
                self.relabel_packed = typed("relabel-packed", &f, checked)?;
            }
            ("admit", ComponentItem::ComponentFunc(f)) => {
                let checked = f.typecheck::<(&Write<'_>,), (Result<Decision, String>,)>(&world.instance_type());
                self.admit = typed("admit", &f, checked)?;
            }
            ("admission-inputs", ComponentItem::ComponentFunc(f)) => {
                let checked = f.typecheck::<(), (Inputs,)>(&world.instance_type());
                self.admission_inputs = typed("admission-inputs", &f, checked)?;
            }
            (_, ComponentItem::Type(_)) => {}
            (name, _) => return Err(ContractError::Export(plain(name, 128))),
        }
        Ok(())
    }
}

fn typed(name: &'static str, f: &ComponentFunc, checked: wasmtime::Result<()>) -> Result<bool, ContractError> {
    if f.async_() {
        let reason = "async".to_owned();
        return Err(ContractError::Type { name, reason });
    }
    match checked {
        Ok(()) => Ok(true),
        Err(error) => Err(ContractError::Type {
            name,
            reason: plain(&format!("{error:#}"), 256),
        }),
    }
}
