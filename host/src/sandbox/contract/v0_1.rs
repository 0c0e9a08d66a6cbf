//! `gauntlet:policy@0.1`, generated from `wit/policy.wit`.
//!
//! Takes the `tenant-policy` world, which holds every function and type of the two smaller ones; gives the
//! records that cross the boundary, the trait behind `gauntlet:policy/log`, a plugin's exports with their types
//! checked, and calls into them. Exports are looked up one by one, because a plugin may leave some out. Arguments are
//! borrowed, so that judging a series copies its labels once, into the plugin's memory. Never judges what came back.

use wasmtime::component::types::{Component as World, ComponentFunc, ComponentItem};
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Func, HasSelf, Instance, Lift, Linker, Lower,
};
use wasmtime::{AsContextMut, StoreContextMut};

use super::error::ContractError;
use crate::model::plain;
use crate::sandbox::arguments::Arguments;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "tenant-policy",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub use bindings::gauntlet::policy::{log, types};
use types::{Decision, Inputs, LabelParam, Verdict, Write};

/// As errors name it.
const PACKAGE: &str = "gauntlet:policy@0.1";
/// Its interfaces, of any patch version.
const INTERFACES: [&str; 2] = ["gauntlet:policy/log@0.1.", "gauntlet:policy/types@0.1."];

/// What a plugin says: an error is its own word.
type Said<T> = (Result<T, String>,);
type Configure<'a> = (&'a str,);
type Relabel<'a> = (&'a [&'a [LabelParam<'a>]],);
/// Text, lengths, labels of each series.
type RelabelPacked<'a> = (&'a str, &'a [u32], &'a [u32]);
type Admit<'a> = (&'a Write<'a>,);

/// Whether an import of this name is one of the contract's own interfaces.
pub fn has_interface(name: &str) -> bool {
    INTERFACES.iter().any(|prefix| name.starts_with(prefix))
}

/// Links `gauntlet:policy` itself.
pub fn link<S: log::Host + 'static>(linker: &mut Linker<S>) -> wasmtime::Result<()> {
    log::add_to_linker::<S, HasSelf<S>>(linker, |state| state)
}

/// Where a component's exports are.
pub struct Exports {
    configure: ComponentExportIndex,
    relabel: Option<ComponentExportIndex>,
    relabel_packed: Option<ComponentExportIndex>,
    admit: Option<ComponentExportIndex>,
    admission_inputs: Option<ComponentExportIndex>,
}

impl Exports {
    /// # Errors
    /// Names the first export that breaks the contract, or is missing.
    pub fn find(component: &Component) -> Result<Self, ContractError> {
        let (engine, world) = (component.engine(), component.component_type());
        let mut found = Found::default();
        for (name, export) in world.exports(engine) {
            found.add(name, export.ty, &world)?;
        }
        if !found.configure {
            return Err(ContractError::NoConfigure);
        }
        if !found.relabel && !found.admit {
            return Err(ContractError::NothingToDo);
        }
        if found.relabel_packed && !found.relabel {
            return Err(ContractError::PackedAlone);
        }
        if found.admission_inputs && !found.admit {
            return Err(ContractError::InputsOfNothing);
        }
        let index = |wanted: bool, name: &str| component.get_export_index(None, name).filter(|_| wanted);
        Ok(Self {
            configure: index(true, "configure").ok_or(ContractError::NoConfigure)?,
            relabel: index(found.relabel, "relabel"),
            relabel_packed: index(found.relabel_packed, "relabel-packed"),
            admit: index(found.admit, "admit"),
            admission_inputs: index(found.admission_inputs, "admission-inputs"),
        })
    }

    pub fn judges_series(&self) -> bool {
        self.relabel.is_some()
    }

    pub fn judges_writes(&self) -> bool {
        self.admit.is_some()
    }

    /// Those of one instance.
    pub fn of(&self, instance: &Instance, mut store: impl AsContextMut) -> Functions {
        let mut func = |index: Option<ComponentExportIndex>| instance.get_func(&mut store, index?);
        Functions {
            configure: func(Some(self.configure)),
            relabel: func(self.relabel),
            relabel_packed: func(self.relabel_packed),
            admit: func(self.admit),
            admission_inputs: func(self.admission_inputs),
        }
    }
}

#[derive(Default)]
struct Found {
    configure: bool,
    relabel: bool,
    relabel_packed: bool,
    admit: bool,
    admission_inputs: bool,
}

impl Found {
    fn add(&mut self, name: &str, item: ComponentItem, world: &World) -> Result<(), ContractError> {
        match (name, item) {
            ("configure", ComponentItem::ComponentFunc(f)) => {
                self.configure = typed::<Configure<'_>, Said<()>>("configure", &f, world)?;
            }
            ("relabel", ComponentItem::ComponentFunc(f)) => {
                self.relabel = typed::<Relabel<'_>, Said<Vec<Verdict>>>("relabel", &f, world)?;
            }
            ("relabel-packed", ComponentItem::ComponentFunc(f)) => {
                self.relabel_packed = typed::<RelabelPacked<'_>, Said<Vec<Verdict>>>("relabel-packed", &f, world)?;
            }
            ("admit", ComponentItem::ComponentFunc(f)) => {
                self.admit = typed::<Admit<'_>, Said<Decision>>("admit", &f, world)?;
            }
            ("admission-inputs", ComponentItem::ComponentFunc(f)) => {
                self.admission_inputs = typed::<(), (Inputs,)>("admission-inputs", &f, world)?;
            }
            (_, ComponentItem::Type(_)) => {}
            (name, _) => return Err(ContractError::Export(plain(name, 128))),
        }
        Ok(())
    }
}

fn typed<P, R>(name: &'static str, f: &ComponentFunc, world: &World) -> Result<bool, ContractError>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let other = |reason| ContractError::Type {
        name,
        package: PACKAGE,
        reason,
    };
    if f.async_() {
        return Err(other("async".to_owned()));
    }
    match f.typecheck::<P, R>(&world.instance_type()) {
        Ok(()) => Ok(true),
        Err(error) => Err(other(plain(&format!("{error:#}"), 256))),
    }
}

/// What can be called of one instance.
pub struct Functions {
    configure: Option<Func>,
    relabel: Option<Func>,
    relabel_packed: Option<Func>,
    admit: Option<Func>,
    admission_inputs: Option<Func>,
}

impl Functions {
    pub fn configure(&self, store: impl AsContextMut, settings: &str) -> wasmtime::Result<Result<(), String>> {
        let (said,) = call::<Configure<'_>, Said<()>>(self.configure, store, (settings,))?;
        Ok(said)
    }

    /// In one piece where the plugin can take it so, else label by label.
    pub fn relabel(
        &self,
        store: impl AsContextMut,
        asked: &Arguments,
    ) -> wasmtime::Result<Result<Vec<Verdict>, String>> {
        let (said,) = match self.relabel_packed {
            Some(_) => {
                let packed = (&*asked.text, &*asked.lengths, &*asked.labels);
                call::<RelabelPacked<'_>, Said<Vec<Verdict>>>(self.relabel_packed, store, packed)?
            }
            None => {
                let series = one_by_one(asked);
                let series: Vec<&[LabelParam<'_>]> = series.iter().map(Vec::as_slice).collect();
                call::<Relabel<'_>, Said<Vec<Verdict>>>(self.relabel, store, (&series,))?
            }
        };
        Ok(said)
    }

    pub fn admit(&self, store: impl AsContextMut, write: &Write<'_>) -> wasmtime::Result<Result<Decision, String>> {
        let (said,) = call::<Admit<'_>, Said<Decision>>(self.admit, store, (write,))?;
        Ok(said)
    }

    /// Everything if the plugin does not say.
    pub fn admission_inputs(&self, store: impl AsContextMut) -> wasmtime::Result<Inputs> {
        if self.admission_inputs.is_none() {
            return Ok(Inputs::all());
        }
        let (inputs,) = call::<(), (Inputs,)>(self.admission_inputs, store, ())?;
        Ok(inputs)
    }
}

fn call<P, R>(function: Option<Func>, mut store: impl AsContextMut, params: P) -> wasmtime::Result<R>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let function = function.ok_or_else(|| wasmtime::Error::msg("the plugin does not export it"))?;
    let mut store: StoreContextMut<'_, _> = store.as_context_mut();
    function.typed::<P, R>(&store)?.call(&mut store, params)
}

fn one_by_one(asked: &Arguments) -> Vec<Vec<LabelParam<'_>>> {
    let (mut rest, mut lengths) = (asked.text.as_str(), asked.lengths.iter());
    let mut next = || {
        let (part, after) = rest.split_at_checked(*lengths.next()? as usize)?;
        rest = after;
        Some(part)
    };
    let mut label = || {
        let (name, value) = (next()?, next()?);
        Some(LabelParam { name, value })
    };
    let series = asked.labels.iter();
    series
        .map(|count| (0..*count).map_while(|_| label()).collect())
        .collect()
}
