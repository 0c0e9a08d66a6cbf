//! `gauntlet plugin build`: a component out of a project or of a core module.
//!
//! Takes a folder, in which it runs the project's own `build`, or cargo where there is none; takes a core module, which it
//! makes a component of by itself, with the contract and an adapter for WASI inside this program. Says what is missing, and
//! how it is to be had. Never fetches anything by itself.

use std::fs;
use std::io::{Read as _, stderr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::outcome::{Sound, Wrong};
use super::project::{SCRIPT, Stamp, has_script, is_project, stamp_of};

mod component;
mod rust;

pub const EXAMPLES: &str = "Examples:
  gauntlet plugin build
  gauntlet plugin build no-go
  gauntlet plugin build core.wasm --out policy.wasm

A core module made with bindings of the contract says itself what it is; of any other its exports say it: configure,
relabel, relabel-packed, admit, admission-inputs, judges, as the component model's canonical ABI names them.
The exit code is 0 if there is a component, else 1.";

#[derive(Debug, Args)]
pub struct Options {
    /// The project's folder, or a core module.
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// Where the component of a core module goes; by default beside it, as `NAME.component.wasm`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Says nothing where all is well.
    #[arg(long)]
    quiet: bool,
}

/// # Errors
/// If there is nothing to build.
pub fn run(options: &Options) -> Result<Sound, Wrong> {
    if options.path.is_file() {
        let out = options
            .out
            .clone()
            .unwrap_or_else(|| options.path.with_extension("component.wasm"));
        return told(of_module(&options.path, &out)?, options.quiet);
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
    let built = project(&options.path).ok_or_else(|| {
        format!(
            "{} has neither a `build` nor a Cargo.toml: it is no project; `gauntlet plugin new` makes one",
            options.path.display()
        )
    })?;
    told(built, options.quiet)
}

/// What came of it; the component if there is one. `None` if the folder is no project.
pub fn project(folder: &Path) -> Option<Result<Option<PathBuf>, String>> {
    match (is_project(folder), has_script(folder)) {
        (true, true) => Some(run_script(folder)),
        (true, false) => Some(rust::build(folder).map(Some)),
        (false, _) => None,
    }
}

fn told(built: Result<Option<PathBuf>, String>, quiet: bool) -> Result<Sound, Wrong> {
    match built {
        Ok(component) => {
            if !quiet {
                println!("{}", made(component.as_deref()));
            }
            Ok(true)
        }
        Err(fault) => {
            eprintln!("{fault}");
            Ok(false)
        }
    }
}

/// The same in every language.
pub fn made(component: Option<&Path>) -> String {
    let Some(file) = component else {
        return "the project's `build` ended well and left no component in its folder".to_owned();
    };
    let bytes = fs::metadata(file).map_or(0, |data| data.len());
    let file = file.strip_prefix(".").unwrap_or(file);
    format!("made {}, a component of {bytes} bytes", file.display())
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
    let before = components(folder);
    let script = fs::canonicalize(folder.join(SCRIPT)).map_err(|error| error.to_string())?;
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut command = Command::new(&script);
    // What a project says meanwhile is no answer.
    command.current_dir(folder).stdout(
        stderr()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| error.to_string())?,
    );
    if let Some(beside) = program.parent() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(beside.to_owned()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(all).unwrap_or(path.clone()));
    }
    if !program.to_string_lossy().contains(char::is_whitespace) {
        command.env("COMPONENTIZE", format!("{} plugin build --quiet", program.display()));
    }
    let status = command
        .status()
        .map_err(|error| format!("cannot run {}: {error}", script.display()))?;
    match status.success() {
        true => Ok(components(folder)
            .into_iter()
            .find(|made| !before.contains(made))
            .map(|(file, _)| file)),
        false => Err(format!("{} failed ({status})", script.display())),
    }
}

/// Those of a folder, each with what tells that it was written anew.
fn components(folder: &Path) -> Vec<(PathBuf, Stamp)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let wasm = files.filter(|file| file.extension().is_some_and(|end| end == "wasm"));
    let stamped = wasm
        .filter(|file| is_component(file))
        .filter_map(|file| stamp_of(&file).map(|stamp| (file, stamp)));
    stamped.collect()
}

fn is_component(file: &Path) -> bool {
    let mut head = [0; 8];
    let read = fs::File::open(file).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head.starts_with(b"\0asm") && head[6] == 1
}
