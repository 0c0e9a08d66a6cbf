//! `gauntlet plugin build`: a component out of a project or of a core module.
//!
//! Takes a folder, in which it runs the project's own `build`, or cargo where there is none; takes a core module, which it
//! makes a component of by itself, with the contract and an adapter for WASI inside this program. Says what is missing, and
//! how it is to be had. Never fetches anything by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::outcome::{Sound, Wrong};

mod component;
mod rust;

pub const EXAMPLES: &str = "Examples:
  gauntlet plugin build
  gauntlet plugin build no-go
  gauntlet plugin build core.wasm --out policy.wasm

A core module made with bindings of the contract says itself what it is; of any other its exports say it: configure,
relabel, relabel-packed, admit, admission-inputs, judges, as the component model's canonical ABI names them.
The exit code is 0 if there is a component, else 1.";

/// A program in a project's folder that builds it.
const SCRIPT: &str = "build";

#[derive(Debug, Args)]
pub struct Options {
    /// The project's folder, or a core module.
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// Where the component of a core module goes; by default beside it, as `NAME.component.wasm`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// # Errors
/// If there is nothing to build.
pub fn run(options: &Options) -> Result<Sound, Wrong> {
    if options.path.is_file() {
        let out = options
            .out
            .clone()
            .unwrap_or_else(|| options.path.with_extension("component.wasm"));
        return told(of_module(&options.path, &out)?);
    }
    if let Some(out) = &options.out {
        return Err(format!(
            "--out {} is for core modules; a project's `build` says where its component goes",
            out.display()
        ));
    }
    if !options.path.is_dir() {
        return Err(format!("there is no folder and no file `{}`", options.path.display()));
    }
    match (
        options.path.join(SCRIPT).is_file(),
        options.path.join("Cargo.toml").is_file(),
    ) {
        (true, _) => told(run_script(&options.path)),
        (false, true) => told(rust::build(&options.path)),
        (false, false) => Err(format!(
            "{} has neither a `build` nor a Cargo.toml: it is no project; `gauntlet plugin new` makes one",
            options.path.display()
        )),
    }
}

fn told(built: Result<Option<PathBuf>, String>) -> Result<Sound, Wrong> {
    match built {
        Ok(component) => {
            component.iter().for_each(|file| println!("{}", file.display()));
            Ok(true)
        }
        Err(fault) => {
            eprintln!("{fault}");
            Ok(false)
        }
    }
}

/// The component's file, or what is wrong with the module.
fn of_module(module: &Path, out: &Path) -> Result<Result<Option<PathBuf>, String>, Wrong> {
    let bytes = fs::read(module).map_err(|error| format!("cannot read {}: {error}", module.display()))?;
    let component = match component::of(&bytes) {
        Ok(component) => component,
        Err(fault) => return Ok(Err(format!("{} {fault}", module.display()))),
    };
    fs::write(out, component).map_err(|error| format!("cannot write {}: {error}", out.display()))?;
    Ok(Ok(Some(out.to_owned())))
}

/// The project's own, which says itself what is missing and where the component is. It finds this very program as
/// `gauntlet`, and as `$COMPONENTIZE`.
fn run_script(folder: &Path) -> Result<Option<PathBuf>, String> {
    let script = fs::canonicalize(folder.join(SCRIPT)).map_err(|error| error.to_string())?;
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut command = Command::new(&script);
    command.current_dir(folder);
    if let Some(beside) = program.parent() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(beside.to_owned()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(all).unwrap_or(path.clone()));
    }
    if !program.to_string_lossy().contains(char::is_whitespace) {
        command.env("COMPONENTIZE", format!("{} plugin build", program.display()));
    }
    let status = command
        .status()
        .map_err(|error| format!("cannot run {}: {error}", script.display()))?;
    match status.success() {
        true => Ok(None),
        false => Err(format!("{} failed ({status})", script.display())),
    }
}
