//! The layering rules and habits of this repository, checked on its text.
//!
//! Takes every file of the checkout, gives the places that break a rule. Never parses Rust: a rule that needs
//! a parser is too subtle to be kept by people.

// A panic here is a broken rule, told to whoever ran the tests.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Words of the host's source and the only places that may use them: a file, or a folder ending in `/`.
const OWNERS: &[(&str, &[&str])] = &[
    ("wasmtime", &["policy.rs", "policy/"]),
    ("wasmtime_wasi", &["policy.rs", "policy/"]),
    ("rustls", &["tls.rs", "tls/", "forward/client.rs", "dev.rs", "dev/"]),
    // The accepted stream's type, besides: the handshake belongs to the connection's own task.
    (
        "tokio_rustls",
        &[
            "tls.rs",
            "tls/",
            "listener.rs",
            "listener/",
            "forward/client.rs",
            "dev.rs",
            "dev/",
        ],
    ),
    ("prost", &["wire.rs", "wire/"]),
    // What is written and read as text by people: the configuration and the admin API's answers.
    ("Deserialize", &["config/file.rs"]),
    ("Serialize", &["admin.rs", "admin/"]),
    ("anyhow", &["main.rs"]),
];

/// Who may start what runs on by itself; everything else is awaited where it was begun.
const SPAWNERS: &[&str] = &[
    "listener.rs",
    "listener/",
    "server.rs",
    "server/",
    "reload.rs",
    "reload/",
    "forward/health.rs",
    "forward/lookup.rs",
    "policy/",
    "dev.rs",
    "dev/",
];

const MAX_LINES: usize = 500;

/// In the opening comment of a file that is longer, followed by why.
const LONG_BECAUSE: &str = "//! Long because ";

struct Source {
    /// From the repository's root, with `/`.
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file of the checkout, less what tools leave there.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_symlink()
            || matches!(
                name.as_str(),
                ".git" | ".cargo" | "target" | "__pycache__" | "node_modules"
            )
        {
            continue;
        }
        if path.is_dir() {
            files(&path, found)
        } else {
            found.push(path)
        }
    }
}

fn every_file() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root(), &mut found);
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/")
}

fn rust_files() -> Vec<Source> {
    let rust = every_file()
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "rs"));
    let sources = rust.map(|path| Source {
        path: name(&path),
        text: fs::read_to_string(&path).unwrap(),
    });
    sources.collect()
}

/// The host's own code: without its tests, which come last or in a file of their own, and without comments.
fn host_code() -> Vec<Source> {
    let inside =
        |s: &Source| s.path.starts_with("host/src/") && !s.path.ends_with("/tests.rs") && !s.path.contains("/tests/");
    let own = rust_files().into_iter().filter(inside);
    own.map(|s| Source {
        path: s.path["host/src/".len()..].to_owned(),
        text: code(&s.text),
    })
    .collect()
}

fn code(text: &str) -> String {
    let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..tests].lines();
    // A line comment starts at the line's start or after a blank; `http://` does neither.
    let lines = lines.map(|line| match (line.trim_start().starts_with("//"), line.find(" // ")) {
        (true, _) => "",
        (false, Some(at)) => &line[..at],
        (false, None) => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The line numbers where `word` stands by itself.
fn lines_with(text: &str, word: &str) -> Vec<usize> {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let stands = |line: &str| {
        line.match_indices(word)
            .any(|(at, _)| !inside(line[..at].chars().next_back()) && !inside(line[at + word.len()..].chars().next()))
    };
    let lines = text.lines().enumerate();
    lines.filter(|(_, line)| stands(line)).map(|(n, _)| n + 1).collect()
}

fn owned_by(path: &str, owners: &[&str]) -> bool {
    owners
        .iter()
        .any(|o| path == *o || (o.ends_with('/') && path.starts_with(o)))
}

fn none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// The modules of `lib.rs` in the order they are declared.
fn modules() -> Vec<String> {
    let map = fs::read_to_string(root().join("host/src/lib.rs")).unwrap();
    let declared = map.lines().filter_map(|l| {
        l.trim()
            .trim_start_matches("pub ")
            .strip_prefix("mod ")?
            .strip_suffix(';')
    });
    declared.map(str::to_owned).collect()
}

/// The modules that follow a `crate::`, one by one or in braces.
fn imported(text: &str) -> Vec<(usize, String)> {
    let word = |s: &str| {
        s.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let line = text[..at].lines().count().max(1);
        let rest = &text[at + "crate::".len()..];
        let Some(braced) = rest.strip_prefix('{') else {
            found.push((line, word(rest)));
            continue;
        };
        let mut depth = 0;
        let mut fresh = true;
        for (i, c) in braced.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                c if c.is_whitespace() => {}
                _ if fresh && depth == 0 => {
                    found.push((line, word(&braced[i..])));
                    fresh = false;
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn a_module_imports_only_modules_declared_above_it() {
    let modules = modules();
    let place = |name: &str| modules.iter().position(|m| m == name);
    let mut broken = Vec::new();
    for Source { path, text } in host_code() {
        let module = path.split(['/', '.']).next().unwrap();
        let Some(own) = place(module) else {
            if !matches!(path.as_str(), "lib.rs" | "main.rs") {
                broken.push(format!("{path} is not declared in lib.rs"));
            }
            continue;
        };
        for (line, name) in imported(&text) {
            if place(&name).is_some_and(|other| other > own) {
                broken.push(format!("{path}:{line} imports `{name}`, which is below `{module}`"));
            }
        }
    }
    none(&broken, "a module imports only modules declared above it in lib.rs");
}

#[test]
fn each_foreign_word_stays_where_it_belongs() {
    let mut broken = Vec::new();
    for Source { path, text } in host_code() {
        for (word, owners) in OWNERS {
            if !owned_by(&path, owners) {
                broken.extend(
                    lines_with(&text, word)
                        .iter()
                        .map(|line| format!("{path}:{line} says `{word}`")),
                );
            }
        }
    }
    none(
        &broken,
        "wasmtime, rustls, prost, serde's derives and anyhow have one home each",
    );
}

#[test]
fn only_the_named_modules_spawn() {
    let mut broken = Vec::new();
    for Source { path, text } in host_code() {
        if owned_by(&path, SPAWNERS) {
            continue;
        }
        let calls = lines_with(&text, "spawn").into_iter();
        broken.extend(calls.map(|line| format!("{path}:{line} spawns")));
    }
    none(&broken, "what runs on by itself is started in few places");
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = rust_files().into_iter().filter(|s| !s.text.starts_with("//!"));
    none(
        &silent.map(|s| s.path).collect::<Vec<_>>(),
        "every Rust file opens with `//!`",
    );
}

#[test]
fn no_file_is_long_without_a_reason() {
    let long = |s: &Source| s.text.lines().count() > MAX_LINES && !s.text.contains(LONG_BECAUSE);
    let broken: Vec<_> = rust_files().into_iter().filter(long).map(|s| s.path).collect();
    none(
        &broken,
        "a file over 500 lines says `Long because ...` in its opening comment",
    );
}

#[test]
fn there_are_no_stubs_and_no_tests_that_never_run() {
    // Put together here, so that this file does not find itself.
    let words = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("#[ig", "nore"),
    ];
    let mut broken = Vec::new();
    for Source { path, text } in rust_files() {
        for (n, line) in text.lines().enumerate() {
            if words.iter().any(|w| line.contains(w)) {
                broken.push(format!("{path}:{} {}", n + 1, line.trim()));
            }
        }
    }
    none(
        &broken,
        "a stub is not a feature, and a test that never runs proves nothing",
    );
}

#[test]
fn no_file_names_the_machine_it_was_made_on() {
    let words = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/")];
    let mut broken = Vec::new();
    for path in every_file() {
        let bytes = fs::read(&path).unwrap();
        let held = |word: &&str| bytes.windows(word.len()).any(|w| w == word.as_bytes());
        if let Some(word) = words.iter().find(|w| held(w)) {
            broken.push(format!("{} has {word}", name(&path)));
        }
    }
    none(
        &broken,
        "no file, compiled ones included, names a folder of somebody's machine",
    );
}

/// The backticked names with `::` in a text.
fn named_tests(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|q| q.contains("::")).map(str::to_owned).collect()
}

#[test]
fn every_invariant_is_tried_by_tests_that_exist() {
    let table = fs::read_to_string(root().join("docs/invariants.md")).unwrap();
    let sources = rust_files();
    let mut broken = Vec::new();
    for invariant in ["I1", "I2", "I3", "I4", "I5", "I6"] {
        let row = table.lines().find(|l| l.starts_with(&format!("| {invariant} ")));
        let tests = row.map(named_tests).unwrap_or_default();
        if tests.is_empty() {
            broken.push(format!("{invariant} is tried by nothing"));
        }
        for test in tests {
            let (place, function) = test.rsplit_once("::").unwrap();
            let file = place.replace("e2e::", "tests/e2e/").replace("::", "/") + ".rs";
            let found = sources.iter().find(|s| s.path == file);
            if !found.is_some_and(|s| s.text.contains(&format!("fn {function}("))) {
                broken.push(format!("{invariant} names `{test}`, which is not in {file}"));
            }
        }
    }
    none(&broken, "docs/invariants.md");
}
