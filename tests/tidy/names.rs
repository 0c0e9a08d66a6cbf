//! One word, one thing: no two public types of one name, but for those listed with a reason.
//!
//! Takes the host's code, gives the names that stand for two things. Public is what any other file can see.

use std::collections::BTreeMap;

use super::{Source, host_code, none};

/// Names that more than one type has, and why. What is here and is one type's alone is a fault as well.
const SHARED: &[(&str, &str)] = &[
    (
        "Context",
        "where a chain's policies are in force, as the contract calls it, and what an answer to a sender depends on",
    ),
    (
        "Full",
        "of the process's memory, and of the queue of plugin calls, which nobody else sees",
    ),
    (
        "Kind",
        "of use of memory, and of the demo's metrics, which nobody else sees",
    ),
    (
        "Options",
        "what one command of the command line takes, always named with its module",
    ),
    (
        "Place",
        "of a file's text, and among requests in flight: neither leaves its room",
    ),
    (
        "Proof",
        "of a tenant by its credential, and of a body's series: each within its own steps of a write",
    ),
    (
        "Source",
        "a file of the configuration, and where certificates come from: neither leaves its room",
    ),
    ("Upstream", "as configured, and as it is written to"),
    ("Value", "of YAML, and of a protobuf field: neither leaves its room"),
];

const KINDS: [&str; 5] = ["struct", "enum", "trait", "type", "union"];

/// The public types of a file.
fn types(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix("pub")?;
        let rest = match rest.strip_prefix('(') {
            Some(scope) => scope.split_once(')')?.1,
            None => rest,
        };
        let (kind, rest) = rest.strip_prefix(' ')?.split_once(' ')?;
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        KINDS.contains(&kind).then(|| &rest[..end.unwrap_or(rest.len())])
    })
}

/// By name, the files that have a type of that name.
fn homes(sources: &[Source]) -> BTreeMap<&str, Vec<&str>> {
    let mut homes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Source { path, text } in sources {
        for name in types(text) {
            homes.entry(name).or_default().push(path);
        }
    }
    homes
}

#[test]
fn no_two_public_types_have_one_name() {
    let code = host_code();
    let homes = homes(&code);
    let mut broken = Vec::new();
    for (name, files) in homes.iter().filter(|(_, files)| files.len() > 1) {
        if !SHARED.iter().any(|(shared, _)| shared == name) {
            broken.push(format!("`{name}` is in {}", files.join(", ")));
        }
    }
    for (name, _) in SHARED {
        if homes.get(name).is_none_or(|files| files.len() < 2) {
            broken.push(format!("`{name}` is shared no more: take it off the list"));
        }
    }
    none(&broken, "no two public types of one name");
}

#[test]
fn a_type_is_found_whatever_its_kind_and_visibility() {
    let text = "pub struct A<T>(T);\nstruct B;\npub(super) enum C {\n    pub(crate) type D = A;\npub fn e() {}\npub unsafe trait F {}\npub union G {\n";
    assert_eq!(types(text).collect::<Vec<_>>(), ["A", "C", "D", "G"]);
}
