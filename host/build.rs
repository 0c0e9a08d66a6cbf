//! Compiles the protobuf schema and what plugins find behind WASI, and takes up the projects that `gauntlet plugin new` writes.
//!
//! Pure Rust: no protoc has to be installed. A project is a folder of `guest-plugins/templates` or `guest-plugins/examples`
//! that has cases, and the Rust SDK; what its own tools leave in it is not taken.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A folder with this file is a project.
const CASES: &str = "gauntlet-test.yaml";
/// What tools leave behind.
const LEFT_BEHIND: [&str; 9] = [
    "target",
    "node_modules",
    "__pycache__",
    ".venv",
    "dist",
    "zig-out",
    ".zig-cache",
    ".git",
    "Cargo.lock",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let schema = protox::compile(["remote_write_v1.proto"], ["proto"])?;
    prost_build::Config::new().compile_fds(schema)?;
    wasi()?;
    projects()
}

fn wasi() -> Result<(), Box<dyn Error>> {
    let text = "src/cli/plugin/build/wasi.wat";
    println!("cargo::rerun-if-changed={text}");
    fs::write(
        PathBuf::from(std::env::var("OUT_DIR")?).join("wasi.wasm"),
        wat::parse_file(text)?,
    )?;
    Ok(())
}

/// Writes `projects.rs`: every project's files, and those of the Rust SDK.
fn projects() -> Result<(), Box<dyn Error>> {
    let guests = fs::canonicalize("../guest-plugins")?;
    let mut text = String::from("const PROJECTS: &[(&str, &[File])] = &[\n");
    for folder in ["templates", "examples"] {
        let folder = guests.join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        for project in entries(&folder)? {
            if project.join(CASES).is_file() {
                text += &format!("({:?}, {}),\n", name(&project), files(&project)?);
            }
        }
    }
    let sdk = guests.join("sdk");
    println!("cargo::rerun-if-changed={}", sdk.display());
    text += &format!("];\nconst RUST_SDK: &[File] = {};\n", files(&sdk)?);
    fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("projects.rs"), text)?;
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// In order; none where there is no such folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut entries = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    entries.sort();
    Ok(entries)
}

/// All files of a project, as an array in Rust.
fn files(project: &Path) -> Result<String, Box<dyn Error>> {
    let (mut text, mut todo) = (String::from("&["), vec![project.to_owned()]);
    while let Some(folder) = todo.pop() {
        for path in entries(&folder)? {
            if LEFT_BEHIND.contains(&&*name(&path)) || path.extension().is_some_and(|end| end == "wasm") {
                continue;
            }
            if path.is_dir() {
                todo.push(path);
                continue;
            }
            let runs = fs::metadata(&path)?.permissions().mode() & 0o100 != 0;
            let short = path.strip_prefix(project)?;
            text += &format!("File {{ path: {short:?}, bytes: include_bytes!({path:?}), runs: {runs} }},");
        }
    }
    Ok(text + "]")
}
