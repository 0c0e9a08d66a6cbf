//! A project in Rust without a `build` of its own.
//!
//! Takes its folder, gives the component that cargo and then this program make of it. Finds a compiler with a library for
//! wasm32: rustup's target, or else Debian's packages. Never installs one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::component;

const TARGET: &str = "wasm32-unknown-unknown";
const MISSING: &str = "nothing here compiles Rust for wasm32-unknown-unknown; either of these helps:
  rustup target add wasm32-unknown-unknown
  apt-get install rustc-web cargo-web rust-web-src lld-19";

/// Debian's compiler builds its own library.
const DEBIAN: [&str; 3] = ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/bin/wasm-ld-19"];

/// # Errors
/// What is missing, or what cargo could not build, which it has told itself.
pub fn build(folder: &Path) -> Result<PathBuf, String> {
    let mut cargo = compiler(folder)?;
    let (name, target) = package(folder, cargo.get_program())?;
    let status = cargo
        .args(["build", "--release", "--target", TARGET])
        .current_dir(folder)
        .status();
    let status = status.map_err(|error| format!("cannot run cargo: {error}"))?;
    if !status.success() {
        return Err(format!("cargo could not build {} ({status})", folder.display()));
    }
    let module = target
        .join(TARGET)
        .join("release")
        .join(format!("{}.wasm", name.replace('-', "_")));
    let bytes = std::fs::read(&module).map_err(|error| {
        format!(
            "cannot read {}: {error}; the crate type of a policy is `cdylib`",
            module.display()
        )
    })?;
    let component = component::of(&bytes).map_err(|fault| format!("{} {fault}", module.display()))?;
    let out = folder.join(format!("{name}.wasm"));
    std::fs::write(&out, component).map_err(|error| format!("cannot write {}: {error}", out.display()))?;
    Ok(out)
}

/// Cargo, set up to compile for the target.
fn compiler(folder: &Path) -> Result<Command, String> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(folder));
    let has_target = |sysroot: &String| {
        Path::new(sysroot.trim())
            .join("lib/rustlib")
            .join(TARGET)
            .join("lib")
            .is_dir()
    };
    if sysroot.as_ref().is_some_and(has_target) {
        return Ok(Command::new("cargo"));
    }
    let sources = output(
        Command::new(DEBIAN[0])
            .args(["--print", "sysroot"])
            .env_remove("RUSTUP_TOOLCHAIN"),
    );
    let sources = sources.map(|sysroot| Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library"));
    if !DEBIAN.iter().all(|file| Path::new(file).is_file()) || !sources.is_some_and(|sources| sources.is_dir()) {
        return Err(MISSING.to_owned());
    }
    let mut cargo = Command::new(DEBIAN[1]);
    cargo
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("RUSTC", DEBIAN[0])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN[2])
        .arg("-Zbuild-std=std,panic_abort");
    Ok(cargo)
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The package of this folder, and where cargo builds.
fn package(folder: &Path, cargo: &OsStr) -> Result<(String, PathBuf), String> {
    let asked = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version=1"])
        .current_dir(folder)
        .output();
    let told = asked.map_err(|error| format!("cannot run {}: {error}; {MISSING}", cargo.display()))?;
    let metadata: Value = serde_json::from_slice(&told.stdout).map_err(|_| {
        let why = String::from_utf8_lossy(&told.stderr);
        format!(
            "cargo does not read {}: {}",
            folder.join("Cargo.toml").display(),
            why.trim()
        )
    })?;
    let manifest = std::fs::canonicalize(folder.join("Cargo.toml")).unwrap_or_default();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let this = packages.iter().find(|package| {
        package["manifest_path"]
            .as_str()
            .is_some_and(|path| Path::new(path) == manifest)
    });
    let name = this.and_then(|package| package["name"].as_str());
    let target = metadata["target_directory"].as_str();
    match (name, target) {
        (Some(name), Some(target)) => Ok((name.to_owned(), PathBuf::from(target))),
        _ => Err(format!("{} has no package", folder.join("Cargo.toml").display())),
    }
}
