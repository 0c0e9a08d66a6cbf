//! What the documents about the code name is there, and the code map has every module.
//!
//! Takes their words in backticks, gives those that are no file, no module, no make target and nowhere in the code. Never
//! looks at what is no name: commands, flags and texts with blanks or other signs.

use std::fs;
use std::path::Path;

use super::{Source, code, every_file, lines_with, modules, name, none, root};

/// What is read besides Rust, by the end of its name.
const ALSO_CODE: [&str; 5] = [".wit", ".toml", ".proto", "Makefile", "scripts/provision"];

/// The words in backticks, without those in blocks of code.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2)).collect()
}

/// Where the documents' names may be: without comments, which may be as old as the documents, and without this test,
/// which has names of its own making.
fn sources() -> Vec<Source> {
    let named = every_file().into_iter().map(|path| (name(&path), path));
    let read = named.filter(|(name, _)| {
        let is_code = name.ends_with(".rs") || ALSO_CODE.iter().any(|end| name.ends_with(end));
        is_code && !name.starts_with("tests/tidy/")
    });
    let sources = read.map(|(path, file)| {
        let text = fs::read_to_string(file).unwrap();
        // Comments of the others begin with another sign; their few words do no harm.
        let text = if path.ends_with(".rs") { code(&text) } else { text };
        Source { path, text }
    });
    sources.collect()
}

fn is_path(written: &str) -> bool {
    let exists = |path: &Path| path.exists() || path.with_extension("rs").exists();
    ["", "host/src"]
        .iter()
        .any(|folder| exists(&root().join(folder).join(written)))
}

/// A folder, a file without its ending, or a word of the code.
fn is_in(source: &Source, word: &str) -> bool {
    let stems = source
        .path
        .split('/')
        .map(|part| part.split('.').next().unwrap_or(part));
    stems.into_iter().any(|stem| stem == word) || !lines_with(&source.text, word).is_empty()
}

fn exists(written: &str, sources: &[Source], makefile: &str) -> bool {
    if let Some(target) = written.strip_prefix("make ") {
        return makefile
            .lines()
            .any(|line| line.strip_prefix(target).is_some_and(|rest| rest.starts_with(':')));
    }
    let sign = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    if written.contains(|c| sign(c) && !matches!(c, ':' | '/' | '.' | '-')) || !written.contains(|c| !sign(c)) {
        return true;
    }
    if written.contains(['/', '.']) {
        return is_path(written) || every_file().iter().any(|path| path.ends_with(written));
    }
    // No word of Rust, but of a text in it or of the contract. `plugin-N` is put together where such a thread starts.
    if written.contains('-') {
        let text = written.trim_end_matches('N');
        return sources.iter().any(|source| source.text.contains(text));
    }
    // The registry puts the one before every metric, and the other behind a counter.
    let bare = written
        .strip_prefix("gauntlet_")
        .map(|rest| rest.trim_end_matches("_total"));
    let words: Vec<&str> = bare.unwrap_or(written).split("::").collect();
    sources
        .iter()
        .any(|source| words.iter().all(|word| is_in(source, word)))
}

#[test]
fn what_the_documents_name_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let sources = sources();
    let mut missing = Vec::new();
    for document in [
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/policies/operators.md",
    ] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let names = quoted(&text).into_iter();
        let gone = names.filter(|written| !exists(written, &sources, &makefile));
        missing.extend(gone.map(|written| format!("{document}: `{written}`")));
    }
    none(&missing, "every name in backticks exists");
}

#[test]
fn the_code_map_has_every_module_in_its_order() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, map) = text.split_once("| module | what it is |").unwrap();
    let (map, _) = map.split_once("\n\n").unwrap();
    let first_cells = map.lines().filter_map(|row| row.split('|').nth(1));
    let mapped: Vec<&str> = first_cells.flat_map(quoted).collect();
    assert_eq!(mapped, modules());
}

#[test]
fn a_name_that_is_nowhere_is_found_missing() {
    let sources = [Source {
        path: "host/src/room/door.rs".to_owned(),
        text: "pub struct Key;\nimpl Key { fn turn() { spawn(\"turner-{n}\") } }".to_owned(),
    }];
    let there = |written: &str| exists(written, &sources, "unit: checkout\n");
    for written in [
        "room",
        "door",
        "Key",
        "Key::turn",
        "door::Key",
        "host/src/lib.rs",
        "lib.rs",
        "make unit",
        "turner-N",
        "a b",
        "->",
    ] {
        assert!(there(written), "{written}");
    }
    for written in [
        "window",
        "Ke",
        "Key::lock",
        "window::Key",
        "room/door",
        "window.rs",
        "window-N",
        "make uni",
    ] {
        assert!(!there(written), "{written}");
    }
    assert_eq!(quoted("a `b` c\n```\n`d`\n```\n`e::f`"), ["b", "e::f"]);
}
