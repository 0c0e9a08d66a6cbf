//! A project of an author is whole, so some files lie in several examples: they are the same in all.
//!
//! Takes the folders of guest-plugins/examples, gives those whose copy differs. Never says which of them is right.

use std::fs;

use super::{none, root};

/// Below guest-plugins/examples, each the copy of the first.
const SDKS: [[&str; 2]; 7] = [
    ["c/gauntlet.h", "cpp/gauntlet.h"],
    ["javascript/gauntlet/package.json", "typescript/gauntlet/package.json"],
    ["javascript/gauntlet/index.js", "typescript/gauntlet/index.js"],
    ["javascript/gauntlet/index.d.ts", "typescript/gauntlet/index.d.ts"],
    ["javascript/gauntlet/log.js", "typescript/gauntlet/log.js"],
    [
        "javascript/gauntlet/log.gauntlet.js",
        "typescript/gauntlet/log.gauntlet.js",
    ],
    ["c/.gitignore", "cpp/.gitignore"],
];
const LANGUAGES: [&str; 9] = [
    "assemblyscript",
    "c",
    "cpp",
    "go",
    "javascript",
    "python",
    "rust/house-rules",
    "typescript",
    "zig",
];
const GENERATED_FROM_THE_CONTRACT: [&str; 3] = ["javascript", "python", "typescript"];

fn text(path: &str) -> String {
    let file = root().join("guest-plugins/examples").join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Without the line that says which component is tested.
fn cases(language: &str) -> String {
    let text = text(&format!("{language}/gauntlet-test.yaml"));
    let (before, after) = text.split_once("  plugin: ").unwrap();
    let (_, after) = after.split_once('\n').unwrap();
    format!("{before}{after}")
}

#[test]
fn every_language_has_the_same_cases() {
    let others = LANGUAGES.iter().filter(|language| cases(language) != cases("c"));
    none(
        &others.map(ToString::to_string).collect::<Vec<_>>(),
        "the cases are those of the others",
    );
}

#[test]
fn what_examples_share_is_the_same_in_all() {
    let contract = fs::read_to_string(root().join("wit/policy.wit")).unwrap();
    let contracts = GENERATED_FROM_THE_CONTRACT
        .iter()
        .map(|language| format!("{language}/wit/policy.wit"));
    let mut differ: Vec<String> = contracts.filter(|path| text(path) != contract).collect();
    let sdks = SDKS.iter().filter(|[one, other]| text(one) != text(other));
    differ.extend(sdks.map(|[_, other]| (*other).to_owned()));
    none(&differ, "the copies are the same");
}
