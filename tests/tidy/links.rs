//! Links of the documents lead somewhere, and docs/ is a book that has all of its pages.
//!
//! Takes the relative links of the documents and the headings they name, gives those that lead to no file or to no heading, and
//! the pages that the book's table of contents lacks. Never asks another host: a link with a scheme is left alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{every_file, name, none, root};

/// The documents that are checked besides docs/.
const BESIDE_THE_BOOK: [&str; 5] = [
    "README.md",
    "ARCHITECTURE.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
];

const CONTENTS: &str = "docs/SUMMARY.md";

/// The documents by name.
fn documents() -> BTreeMap<String, String> {
    let named = every_file().into_iter().map(|path| (name(&path), path));
    let ours = named.filter(|(name, _)| {
        BESIDE_THE_BOOK.contains(&name.as_str()) || (name.starts_with("docs/") && name.ends_with(".md"))
    });
    ours.map(|(name, path)| (name, fs::read_to_string(path).unwrap()))
        .collect()
}

/// The lines outside of blocks of code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(n, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        (!fence && !in_code).then_some((n + 1, line))
    })
}

/// Where the links of a line lead, without those that are quoted as code.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("](") {
        let rest = &line[at + 2..];
        let quoted = line[..at].matches('`').count() % 2 == 1;
        if let Some(end) = rest.find(')').filter(|_| !quoted) {
            found.push(&rest[..end]);
        }
    }
    found
}

/// What a heading shows: a link in it by its text.
fn shown(heading: &str) -> String {
    let mut shown = String::new();
    let mut rest = heading;
    while let Some((text, behind)) = rest.split_once("](") {
        shown.push_str(text);
        rest = behind.split_once(')').map_or("", |(_, behind)| behind);
    }
    shown + rest
}

/// GitHub's rule: lower case, no signs but `-` and `_`, `-` for a blank.
fn anchor(heading: &str) -> String {
    let kept = shown(heading).trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The anchors of a document; of headings that are the same the second gets a number.
fn anchors(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut met: BTreeMap<String, usize> = BTreeMap::new();
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() < line.len() && heading.starts_with(' ') {
            let own = anchor(heading);
            let before = met.entry(own.clone()).or_default();
            found.push(if *before == 0 { own } else { format!("{own}-{before}") });
            *before += 1;
        }
    }
    found
}

/// The file that a link leads to, from the root, with `..` taken away.
fn resolved(from: &str, path: &str) -> PathBuf {
    let mut whole = Path::new(from).parent().unwrap().to_owned();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                whole.pop();
            }
            part => whole.push(part),
        }
    }
    whole
}

/// What is wrong with a link, if anything is.
fn fault(from: &str, target: &str, documents: &BTreeMap<String, String>) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, fragment) = target.split_once('#').map_or((target, None), |(p, f)| (p, Some(f)));
    let file = if path.is_empty() {
        from.into()
    } else {
        resolved(from, path)
    };
    if !root().join(&file).exists() {
        return Some("there is no such file");
    }
    let file = file.to_string_lossy();
    if from.starts_with("docs/") && !file.starts_with("docs/") && file.ends_with(".md") {
        return Some("the book has no page outside of docs/");
    }
    let fragment = fragment?;
    let Some(text) = documents.get(&*file) else {
        return Some("only headings of the documents can be named");
    };
    (!anchors(text).iter().any(|a| a == fragment)).then_some("there is no such heading")
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let documents = documents();
    let mut broken = Vec::new();
    for (from, text) in &documents {
        for (line, words) in prose(text) {
            for target in targets(words) {
                if let Some(fault) = fault(from, target, &documents) {
                    broken.push(format!("{from}:{line}: ({target}) {fault}"));
                }
            }
        }
    }
    none(&broken, "links lead to files and headings that are there");
}

#[test]
fn the_book_has_every_page_of_docs() {
    let documents = documents();
    let contents = prose(&documents[CONTENTS]).flat_map(|(_, line)| targets(line));
    let listed: Vec<PathBuf> = contents.map(|target| resolved(CONTENTS, target)).collect();
    let pages = documents
        .keys()
        .filter(|name| name.starts_with("docs/") && *name != CONTENTS);
    let broken: Vec<String> = pages
        .filter_map(|page| match listed.iter().filter(|l| *l == Path::new(page)).count() {
            1 => None,
            times => Some(format!("{page} is there {times} times")),
        })
        .collect();
    none(&broken, "docs/SUMMARY.md names every page of docs/ once");
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let page = "# A page\n\n```\n# no heading\n[x](gone.md)\n```\n## `remote_write`: the *way* in, 2.0\n## A [link](b.md)\n## A link\n";
    assert_eq!(
        anchors(page),
        ["a-page", "remote_write-the-way-in-20", "a-link", "a-link-1"]
    );
    assert_eq!(prose(page).filter(|(_, line)| line.contains("gone")).count(), 0);
    assert_eq!(
        targets("a [b](c.md#d), `[e](f.md)` and ![g](h.svg)"),
        ["c.md#d", "h.svg"]
    );
    let documents = BTreeMap::from([("docs/api.md".to_owned(), page.to_owned())]);
    let fault = |target: &str| fault("docs/api.md", target, &documents);
    for target in [
        "#a-page",
        "api.md#a-link-1",
        "bench.svg",
        "../deploy",
        "https://example.com/#x",
    ] {
        assert_eq!(fault(target), None, "{target}");
    }
    for target in ["#a-pag", "gone.md", "../README.md", "../Makefile#all"] {
        assert!(fault(target).is_some(), "{target}");
    }
}
