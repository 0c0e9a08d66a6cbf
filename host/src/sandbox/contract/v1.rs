//! `gauntlet:policy@1`, generated from `wit/policy.wit`.
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

use super::{ContractError, Exported};
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
use types::{Context, Decision, Inputs, LabelParam, Scope, Verdict, Write};

/// Where its interfaces are, of whatever version.
pub const NAMESPACE: &str = "gauntlet:policy/";
/// Those of any version that only adds to it.
const INTERFACES: [&str; 2] = ["gauntlet:policy/log@1.", "gauntlet:policy/types@1."];

macro_rules! label {
    () => {
        "record {name: string, value: string}"
    };
}
macro_rules! verdicts {
    () => {
        concat!(
            "result<list<variant {keep, drop(string), edit(record {labels: option<list<",
            label!(),
            ">>, stream: option<string>, budget: option<record {name: string, max-active-series: u64}>})}>, string>"
        )
    };
}

/// The functions that are called if they are there, with their types.
pub const FUNCTIONS: [(&str, &str); 6] = [
    (
        "configure",
        "func(string, record {tenant: string, upstreams: list<string>}) -> result<_, string>",
    ),
    ("relabel", concat!("func(list<list<", label!(), ">>) -> ", verdicts!())),
    (
        "relabel-packed",
        concat!("func(string, list<u32>, list<u32>) -> ", verdicts!()),
    ),
    (
        "admit",
        concat!(
            "func(record {tenant: string, subject: string, protocol: string, compressed-bytes: u64, decoded-bytes: u64, ",
            "active-series: u64, new-series: u64, streams: list<record {name: string, totals: record {series: u64, ",
            "samples: u64, histograms: u64, exemplars: u64}}>}) -> result<variant {admit(record {charges: list<record ",
            "{bucket: string, tokens: u64, per-second: f64, burst: u64}>, routes: list<record {stream: string, ",
            "upstream: string}>}), reject(string)}, string>"
        ),
    ),
    (
        "admission-inputs",
        "func() -> flags {compressed-bytes, decoded-bytes, active-series, new-series, totals}",
    ),
    ("judges", "func() -> flags {series, writes}"),
];

/// What a plugin says: an error is its own word.
type Said<T> = (Result<T, String>,);
/// Settings and where they are in force.
type Configure<'a> = (&'a str, &'a Context<'a>);
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
    judges: Option<ComponentExportIndex>,
}

impl Exports {
    /// # Errors
    /// Names the first export that breaks the contract, or is missing.
    pub fn find(component: &Component) -> Result<Self, ContractError> {
        let (engine, world) = (component.engine(), component.component_type());
        let mut exported = Exported::default();
        for (name, export) in world.exports(engine) {
            let Some((name, _)) = FUNCTIONS.iter().find(|(known, _)| *known == name) else {
                continue;
            };
            let ComponentItem::ComponentFunc(function) = export.ty else {
                return Err(ContractError::ExportKind(name));
            };
            check_type(name, &function, &world)?;
            exported.add(name);
        }
        exported.check()?;
        let index = |name: &str| component.get_export_index(None, name).filter(|_| exported.has(name));
        Ok(Self {
            configure: index("configure").ok_or(ContractError::NoConfigure)?,
            relabel: index("relabel"),
            relabel_packed: index("relabel-packed"),
            admit: index("admit"),
            admission_inputs: index("admission-inputs"),
            judges: index("judges"),
        })
    }

    /// What it can be asked about at all.
    pub fn scope(&self) -> Scope {
        let of = |is_there: bool, scope| if is_there { scope } else { Scope::empty() };
        of(self.relabel.is_some(), Scope::SERIES) | of(self.admit.is_some(), Scope::WRITES)
    }

    /// The world of `wit/` that these are the exports of.
    pub fn world(&self) -> &'static str {
        let scope = self.scope();
        match (
            scope.contains(types::Scope::SERIES),
            scope.contains(types::Scope::WRITES),
        ) {
            (true, false) => "gauntlet:policy/relabel-policy@1",
            (false, true) => "gauntlet:policy/admission-policy@1",
            _ => "gauntlet:policy/tenant-policy@1",
        }
    }

    pub fn takes_packed(&self) -> bool {
        self.relabel_packed.is_some()
    }

    pub fn declares_inputs(&self) -> bool {
        self.admission_inputs.is_some()
    }

    pub fn declares_scope(&self) -> bool {
        self.judges.is_some()
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
            judges: func(self.judges),
        }
    }
}

/// By the types that calls are made with: what was compiled is believed no more than what was read.
fn check_type(name: &'static str, function: &ComponentFunc, world: &World) -> Result<(), ContractError> {
    let world = world.instance_type();
    let checked = match name {
        "configure" => function.typecheck::<Configure<'_>, Said<()>>(&world),
        "relabel" => function.typecheck::<Relabel<'_>, Said<Vec<Verdict>>>(&world),
        "relabel-packed" => function.typecheck::<RelabelPacked<'_>, Said<Vec<Verdict>>>(&world),
        "admit" => function.typecheck::<Admit<'_>, Said<Decision>>(&world),
        "judges" => function.typecheck::<(), (Scope,)>(&world),
        _ => function.typecheck::<(), (Inputs,)>(&world),
    };
    let compiled = |reason| ContractError::Compiled { name, reason };
    match checked {
        Ok(()) if function.async_() => Err(compiled("it is async".to_owned())),
        Ok(()) => Ok(()),
        Err(error) => Err(compiled(plain(&format!("{error:#}"), 256))),
    }
}

/// What can be called of one instance.
pub struct Functions {
    configure: Option<Func>,
    relabel: Option<Func>,
    relabel_packed: Option<Func>,
    admit: Option<Func>,
    admission_inputs: Option<Func>,
    judges: Option<Func>,
}

impl Functions {
    pub fn configure(
        &self,
        store: impl AsContextMut,
        settings: &str,
        context: &Context<'_>,
    ) -> wasmtime::Result<Result<(), String>> {
        let (said,) = call::<Configure<'_>, Said<()>>(self.configure, store, (settings, context))?;
        Ok(said)
    }

    /// In one piece where the plugin can take it so, else label by label.
    pub fn relabel(
        &self,
        store: impl AsContextMut,
        asked: &Arguments,
    ) -> wasmtime::Result<Result<Vec<Verdict>, String>> {
        if self.relabel_packed.is_none() {
            return self.relabel_plain(store, asked);
        }
        let packed = (&*asked.text, &*asked.lengths, &*asked.labels);
        let (said,) = call::<RelabelPacked<'_>, Said<Vec<Verdict>>>(self.relabel_packed, store, packed)?;
        Ok(said)
    }

    /// Label by label, also where the plugin could take them in one piece.
    pub fn relabel_plain(
        &self,
        store: impl AsContextMut,
        asked: &Arguments,
    ) -> wasmtime::Result<Result<Vec<Verdict>, String>> {
        let series = one_by_one(asked);
        let series: Vec<&[LabelParam<'_>]> = series.iter().map(Vec::as_slice).collect();
        let (said,) = call::<Relabel<'_>, Said<Vec<Verdict>>>(self.relabel, store, (&series,))?;
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

    /// Everything if the plugin does not say.
    pub fn judges(&self, store: impl AsContextMut) -> wasmtime::Result<Scope> {
        if self.judges.is_none() {
            return Ok(Scope::all());
        }
        let (scope,) = call::<(), (Scope,)>(self.judges, store, ())?;
        Ok(scope)
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
