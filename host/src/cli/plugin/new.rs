//! `gauntlet plugin new`: a project to begin with.
//!
//! Takes a name and a language, gives a folder that builds and passes its first test, the SDK and the contract inside: it
//! stands anywhere and needs nothing of this repository. Never writes into a folder that has something in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::outcome::{Sound, Wrong};
use super::wit::{CONTRACT, FILE};

pub const EXAMPLES: &str = "Examples:
  gauntlet plugin new no-go --lang rust && cd no-go
  gauntlet plugin build && gauntlet plugin test";

/// One file of a project.
struct File {
    path: &'static str,
    bytes: &'static [u8],
    /// Whether it is a program.
    runs: bool,
}

include!(concat!(env!("OUT_DIR"), "/projects.rs"));

/// What stands for the project's name in its files, with `-` and with `_`.
const NAME: [&str; 2] = ["my-policy", "my_policy"];
/// The Rust SDK's folder in a project, and what of its code says where the contract is.
const SDK: &str = "gauntlet-policy";
const CONTRACT_OF_SDK: [&str; 2] = ["\"../../wit\"", "\"wit\""];

/// What no crate can be called: the language's words, and the crates that are there without being named.
const RUST_WORDS: &[&str] = &[
    "abstract", "alloc", "as", "async", "await", "become", "box", "break", "const", "continue", "core", "crate", "do",
    "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro",
    "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "std", "struct",
    "super", "test", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while",
    "yield",
];

/// Packages that projects are made of.
const TAKEN: &[&str] = &[
    "assemblyscript",
    "componentize-qjs",
    "esbuild",
    "gauntlet-policy",
    "serde",
    "typescript",
    "wit-bindgen",
];

#[derive(Debug, Args)]
pub struct Options {
    /// The name of the project and of its folder: lower-case letters, digits and `-`, a letter first and no `-` last.
    #[arg(value_name = "NAME")]
    name: String,
    /// The language it is written in.
    #[arg(long = "lang", value_name = "LANGUAGE", default_value = "rust", value_parser = languages())]
    language: String,
    /// The folder to make the project's folder in.
    #[arg(long = "in", value_name = "DIR", default_value = ".")]
    place: PathBuf,
}

fn languages() -> clap::builder::PossibleValuesParser {
    PROJECTS
        .iter()
        .map(|(language, _)| *language)
        .collect::<Vec<_>>()
        .into()
}

/// # Errors
/// If the name can be no project's, or its folder has something in it.
pub fn run(options: &Options) -> Result<Sound, Wrong> {
    check_name(&options.name)?;
    if TAKEN.contains(&options.name.as_str()) {
        return Err(format!(
            "`{}` can be no project's name: a package that projects are made of has it",
            options.name
        ));
    }
    if options.language == "rust" && RUST_WORDS.contains(&options.name.as_str()) {
        return Err(format!(
            "`{}` can be no project's name in Rust, where it is a word of the language",
            options.name
        ));
    }
    if !options.place.is_dir() {
        return Err(format!("there is no folder {} to make it in", options.place.display()));
    }
    let folder = options.place.join(&options.name);
    let has_something = fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
    if has_something || folder.is_file() {
        return Err(format!("{} is there already", folder.display()));
    }
    let files = PROJECTS.iter().find(|(language, _)| *language == options.language);
    let (language, files) = files.ok_or_else(|| format!("there is no project in {}", options.language))?;
    for file in *files {
        write(&folder, file.path, &named(file.bytes, &options.name), file.runs)?;
    }
    if *language == "rust" {
        write_rust_sdk(&folder)?;
    } else {
        write(&folder, &format!("wit/{FILE}"), CONTRACT.as_bytes(), false)?;
    }
    println!(
        "made {}\n\n  cd {}\n  gauntlet plugin build\n  gauntlet plugin test\n\nREADME.md says what is where.",
        folder.display(),
        folder.display()
    );
    Ok(true)
}

fn check_name(name: &str) -> Result<(), Wrong> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
    match begins && name.chars().all(legal) && name.len() <= 63 {
        true => Ok(()),
        false => Err(format!(
            "`{name}` can be no project's name: it has up to 63 of a-z, 0-9 and -, begins with a letter and does not end with -"
        )),
    }
}

/// A file with the project's name in it; what is no text stays as it is. Types keep theirs: a project may be called what a type of
/// the language is.
fn named(bytes: &[u8], name: &str) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return bytes.to_vec();
    };
    let text = text.replace(NAME[0], name).replace(NAME[1], &name.replace('-', "_"));
    text.into_bytes()
}

fn write_rust_sdk(folder: &Path) -> Result<(), Wrong> {
    let sdk = folder.join(SDK);
    for file in RUST_SDK {
        let text = String::from_utf8_lossy(file.bytes).replace(CONTRACT_OF_SDK[0], CONTRACT_OF_SDK[1]);
        write(&sdk, file.path, text.as_bytes(), file.runs)?;
    }
    write(&sdk, &format!("wit/{FILE}"), CONTRACT.as_bytes(), false)
}

fn write(folder: &Path, path: &str, bytes: &[u8], runs: bool) -> Result<(), Wrong> {
    let file = folder.join(path);
    let write = || {
        fs::create_dir_all(file.parent().unwrap_or(folder))?;
        fs::write(&file, bytes)?;
        match runs {
            true => fs::set_permissions(&file, fs::Permissions::from_mode(0o755)),
            false => Ok(()),
        }
    };
    write().map_err(|error| format!("cannot write {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_a_crate_and_of_a_plugin() {
        for name in ["a", "no-go", "a1"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "-a", "a-", "1a", "A", "a_b", "../a", "a/b", &"a".repeat(64)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn no_project_leads_out_of_its_folder() {
        for file in RUST_SDK.iter().chain(PROJECTS.iter().flat_map(|(_, files)| *files)) {
            assert!(
                !file.path.starts_with('/') && !file.path.contains(".."),
                "{}",
                file.path
            );
        }
        let sdk = RUST_SDK
            .iter()
            .map(|file| String::from_utf8_lossy(file.bytes).replace(CONTRACT_OF_SDK[0], ""));
        for text in sdk {
            assert!(!text.contains("\"../"), "the SDK names a file outside of it");
        }
    }

    #[test]
    fn the_projects_of_rust_depend_on_what_the_sdk_is_tested_with() {
        let ours = include_str!("../../../../guest-plugins/Cargo.toml");
        let (_, files) = PROJECTS.iter().find(|(language, _)| *language == "rust").unwrap();
        let manifest = files.iter().find(|file| file.path == "Cargo.toml").unwrap();
        let theirs = std::str::from_utf8(manifest.bytes).unwrap();
        for dependency in ["serde = ", "serde_json = ", "wit-bindgen = ", "rust-version = "] {
            let line = ours.lines().find(|line| line.starts_with(dependency)).unwrap();
            assert!(theirs.lines().any(|other| other == line), "{line}");
        }
    }
}
