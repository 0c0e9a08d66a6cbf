//! A project of an author: where it is, what it is made of, and what tells that a file is another one.
//!
//! Takes the place of a component, gives the sources that it is made of, as far as a project goes. Never builds it, and never
//! looks into what package managers and compilers put there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A program in a project's folder that builds it.
pub const SCRIPT: &str = "build";
const MANIFEST: &str = "Cargo.toml";

/// Folders of a project are looked into this deep, and so many files in all.
const DEPTH: usize = 4;
const FILES: usize = 1000;

/// What differs once a file was written to, or another one has its name, which may be older: inode, size and the time of the
/// last change, to the nanosecond.
pub type Stamp = (u64, u64, i64, i64);

/// `None` if there is no such file.
pub fn stamp_of(file: &Path) -> Option<Stamp> {
    let found = fs::metadata(file).ok()?;
    Some((found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
}

/// The folder that `component` stands in, if something can be built there.
pub fn project_of(component: &Path) -> Option<&Path> {
    let named = component.parent().filter(|folder| *folder != Path::new(""));
    Some(named.unwrap_or(Path::new("."))).filter(|folder| is_project(folder))
}

/// Whether something can be built there.
pub fn is_project(folder: &Path) -> bool {
    has_script(folder) || folder.join(MANIFEST).is_file()
}

pub fn has_script(folder: &Path) -> bool {
    folder.join(SCRIPT).is_file()
}

/// A source that was changed after the component was made. What cannot be read is not asked about.
pub fn newer_source(component: &Path) -> Option<PathBuf> {
    let folder = project_of(component)?;
    let changed = |file: &Path| fs::metadata(file).and_then(|data| data.modified()).ok();
    let made = changed(component)?;
    let mut sources = sources(folder).into_iter();
    sources.find(|source| changed(source).is_some_and(|changed| changed > made))
}

/// The sources of a project, in no order.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut found, mut seen) = (vec![(folder.to_owned(), 0)], Vec::new(), 0);
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < DEPTH && !is_made(&name) {
                folders.push((path, depth + 1));
            } else if kind.is_file() && is_source(&name) {
                found.push(path);
            }
            seen += 1;
            if seen > FILES {
                return found;
            }
        }
    }
    found
}

/// What builds and package managers put into a project.
fn is_made(folder: &str) -> bool {
    matches!(folder, "target" | "node_modules" | "__pycache__" | "wit_world") || folder.starts_with('.')
}

fn is_source(file: &str) -> bool {
    let named = [SCRIPT, MANIFEST, "go.mod", "package.json", "tsconfig.json"];
    let end = Path::new(file).extension().unwrap_or_default().to_string_lossy();
    let ends = [
        "rs", "go", "js", "mjs", "ts", "py", "c", "h", "cpp", "hpp", "zig", "wit",
    ];
    named.contains(&file) || (ends.contains(&end.as_ref()) && !file.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_made_of_its_sources_and_not_of_what_was_made_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str| folder.path().join(name);
        assert_eq!(project_of(&of("p.wasm")), None);
        for made in ["src", "target/debug", "node_modules/x", ".git", "src/__pycache__"] {
            fs::create_dir_all(of(made)).unwrap();
            fs::write(of(made).join("a.rs"), "").unwrap();
        }
        fs::write(of("Cargo.toml"), "").unwrap();
        fs::write(of("README.md"), "").unwrap();
        fs::write(of(".bundle.js"), "").unwrap();
        fs::write(of("p.wasm"), "").unwrap();
        assert_eq!(project_of(&of("p.wasm")), Some(folder.path()));
        let mut found = sources(folder.path());
        found.sort();
        assert_eq!(found, [of("Cargo.toml"), of("src/a.rs")]);
    }
}
