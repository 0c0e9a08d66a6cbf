//! Turns a core wasm module that a guest build left behind into a component.
//!
//! Takes the module's path and the component's; gives the component, validated against the world that
//! the module names in its custom section. Never adds an adapter: a guest built here imports no WASI.

use std::path::PathBuf;

use anyhow::{Context, Result};
use wit_component::ComponentEncoder;

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(module), Some(component), None) = (args.next(), args.next(), args.next()) else {
        anyhow::bail!("usage: componentize MODULE.wasm COMPONENT.wasm");
    };
    let bytes = std::fs::read(&module).with_context(|| format!("reading {}", module.display()))?;
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| encoder.encode())
        .with_context(|| format!("{} does not make a component", module.display()))?;
    std::fs::write(&component, encoded).with_context(|| format!("writing {}", component.display()))
}
