//! No circle among the files of a room: what one file needs of another, that one does not need of it.
//!
//! Takes the host's code, gives the circles. A room is a module of `lib.rs`. A file needs another where it names
//! something that is defined there, however it came by the name: re-exports are followed to the definition, so that a
//! room's root that only declares its files and hands their names on needs none of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, host_code, none};

/// A name as a `use` brings it into a file.
struct Import {
    /// The segments of where it comes from.
    path: Vec<String>,
    name: String,
    is_public: bool,
}

impl Import {
    /// What `name::rest` means where this is imported.
    fn with<'a, S: AsRef<str>>(&'a self, rest: &'a [S]) -> Vec<&'a str> {
        let path = self.path.iter().map(String::as_str);
        path.chain(rest.iter().map(AsRef::as_ref)).collect()
    }
}

struct File {
    path: String,
    /// The module it is, from `lib.rs` down.
    module: Vec<String>,
    imports: Vec<Import>,
    /// What is left without the `use`s and the declarations of modules.
    body: String,
}

impl File {
    fn new(source: &Source) -> Self {
        let (imports, body) = imports(&source.text);
        let declares = |line: &&str| line.ends_with(';') && line.split(' ').rev().nth(1) == Some("mod");
        let body = body.lines().filter(|line| !declares(line)).collect::<Vec<_>>();
        let module = source.path.trim_end_matches(".rs").split('/').map(str::to_owned);
        Self {
            path: source.path.clone(),
            module: module.collect(),
            imports,
            body: body.join("\n"),
        }
    }

    /// A re-export alone is an address, not a need.
    fn needs(&self, import: &Import) -> bool {
        !import.is_public || chains(&self.body).iter().any(|chain| chain[0] == import.name)
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The `use`s of a file, and its text without them.
fn imports(text: &str) -> (Vec<Import>, String) {
    let (mut imports, mut body) = (Vec::new(), String::new());
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let line = rest[..at].rsplit('\n').next().unwrap().trim();
        let begins = line.is_empty() || line == "pub" || (line.starts_with("pub(") && line.ends_with(')'));
        body.push_str(&rest[..at]);
        rest = &rest[at + "use ".len()..];
        if let Some(end) = rest.find(';').filter(|_| begins) {
            expand(&rest[..end], &[], !line.is_empty(), &mut imports);
            rest = &rest[end..];
        }
    }
    body.push_str(rest);
    (imports, body)
}

/// One tree of a `use`, as many names as it has.
fn expand(tree: &str, before: &[String], is_public: bool, imports: &mut Vec<Import>) {
    for branch in branches(tree) {
        let (own, inner) = match branch.split_once('{') {
            Some((own, inner)) => (own, inner.trim_end().strip_suffix('}')),
            None => (branch, None),
        };
        let (own, alias) = own.split_once(" as ").unwrap_or((own, ""));
        let own = own.split("::").map(str::trim).filter(|segment| !segment.is_empty());
        let mut path: Vec<String> = before.iter().cloned().chain(own.map(str::to_owned)).collect();
        if let Some(inner) = inner {
            expand(inner, &path, is_public, imports);
            continue;
        }
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let name = match alias.trim() {
            "" => path.last().cloned().unwrap_or_default(),
            alias => alias.to_owned(),
        };
        imports.push(Import { path, name, is_public });
    }
}

/// What stands between the commas that are in no braces.
fn branches(tree: &str) -> Vec<&str> {
    let (mut found, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(tree[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(tree[from..].trim());
    found.retain(|branch| !branch.is_empty());
    found
}

/// Every `a`, `a::b`, `a::b::c` of a text that is no part of a longer one.
fn chains(text: &str) -> Vec<Vec<&str>> {
    let mut found: Vec<Vec<&str>> = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let between = &rest[..start];
        rest = &rest[start..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        match found.last_mut().filter(|_| between == "::") {
            Some(chain) => chain.push(&rest[..end]),
            None => found.push(vec![&rest[..end]]),
        }
        rest = &rest[end..];
    }
    found
}

struct House(Vec<File>);

impl House {
    fn file(&self, module: &[String]) -> Option<usize> {
        self.0.iter().position(|file| file.module == module)
    }

    /// The file where what `path` means in `from` is defined; `None` outside of the house, and for a module, since
    /// what is needed of one is named when it is used.
    fn defines<S: AsRef<str>>(&self, from: usize, path: &[S], depth: usize) -> Option<usize> {
        // Two modules may re-export all of each other.
        if depth > 8 {
            return None;
        }
        let file = &self.0[from];
        let first = path.first()?.as_ref();
        let mut module = match first {
            "crate" => Vec::new(),
            "self" => file.module.clone(),
            "super" => file.module[..file.module.len() - 1].to_vec(),
            name => {
                let child: Vec<String> = file.module.iter().cloned().chain([name.to_owned()]).collect();
                if self.file(&child).is_none() {
                    let import = file.imports.iter().find(|import| import.name == name)?;
                    // A name that comes from itself is a crate's.
                    if import.path.first().is_some_and(|first| first == name) {
                        return None;
                    }
                    return self.defines(from, &import.with(&path[1..]), depth + 1);
                }
                child
            }
        };
        let mut rest = &path[1..];
        while let Some(segment) = rest.first().map(AsRef::as_ref) {
            match segment {
                "super" => drop(module.pop()),
                name => {
                    module.push(name.to_owned());
                    if self.file(&module).is_none() {
                        module.pop();
                        break;
                    }
                }
            }
            rest = &rest[1..];
        }
        let found = self.file(&module)?;
        let name = rest.first()?.as_ref();
        let import = self.0[found].imports.iter().find(|import| import.name == name);
        let handed_on = import.and_then(|import| self.defines(found, &import.with(&rest[1..]), depth + 1));
        handed_on.or(Some(found))
    }

    /// The files of the same room that `from` needs.
    fn needs(&self, from: usize) -> BTreeSet<usize> {
        let file = &self.0[from];
        let imported = file.imports.iter().filter(|import| file.needs(import));
        let imported = imported.filter_map(|import| self.defines(from, &import.path, 0));
        let chains = chains(&file.body);
        let named = chains.iter().filter(|chain| chain.len() > 1);
        let named = named.filter_map(|chain| self.defines(from, chain, 0));
        let same_room = |other: &usize| *other != from && self.0[*other].module[0] == file.module[0];
        imported.chain(named).filter(same_room).collect()
    }
}

/// The largest sets of files each of which needs each other, at least through others, and what they need.
fn circles(sources: &[Source]) -> BTreeMap<Vec<String>, Vec<String>> {
    let house = House(sources.iter().map(File::new).collect());
    let needs: Vec<_> = (0..house.0.len()).map(|file| house.needs(file)).collect();
    let reached: Vec<BTreeSet<usize>> = needs
        .iter()
        .map(|direct| {
            let (mut seen, mut todo) = (BTreeSet::new(), direct.iter().copied().collect::<Vec<_>>());
            while let Some(file) = todo.pop() {
                if seen.insert(file) {
                    todo.extend(&needs[file]);
                }
            }
            seen
        })
        .collect();
    let mut found = BTreeMap::new();
    for file in (0..house.0.len()).filter(|file| reached[*file].contains(file)) {
        let circle: Vec<usize> = (0..house.0.len())
            .filter(|other| reached[file].contains(other) && reached[*other].contains(&file))
            .collect();
        let path = |file: &usize| house.0[*file].path.clone();
        let steps = circle.iter().flat_map(|from| {
            let inside = needs[*from].iter().filter(|to| circle.contains(to));
            inside.map(|to| format!("{} needs {}", path(from), path(to)))
        });
        found.insert(circle.iter().map(path).collect(), steps.collect());
    }
    found
}

#[test]
fn the_files_of_a_room_are_in_no_circle() {
    let found = circles(&host_code());
    let broken: Vec<String> = found
        .iter()
        .map(|(circle, steps)| format!("{circle:?}, because\n    {}", steps.join("\n    ")))
        .collect();
    none(&broken, "no circle among the files of a room");
}

#[test]
fn what_is_handed_on_is_needed_where_it_is_defined() {
    let source = |path: &str, text: &str| Source {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let mut room = vec![
        source(
            "room.rs",
            "mod a;\nmod b;\nmod c;\npub use a::A;\npub(crate) use b::{self, B};\npub struct Own;\n",
        ),
        source(
            "room/a.rs",
            "use super::{Own, b::{B as Other, C}};\npub struct A(Own);\n",
        ),
        source("room/b.rs", "pub struct B;\nfn f() {\n    crate::room::c::f()\n}\n"),
        source("room/c.rs", "use crate::room;\nuse std::a::A;\npub fn f() {}\n"),
        source("other.rs", "use crate::room::A;\n"),
    ];
    // The root hands on and defines; nobody needs what needs it.
    assert_eq!(circles(&room).len(), 0, "{:?}", circles(&room));
    room[3].text = "use super::A;\npub fn f() {}\n".to_owned();
    let names = |files: &[&str]| files.iter().map(|file| (*file).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        circles(&room).into_keys().collect::<Vec<_>>(),
        [names(&["room/a.rs", "room/b.rs", "room/c.rs"])]
    );
    room[0].text.push_str("fn g() {\n    A::new()\n}\n");
    assert_eq!(
        circles(&room).into_keys().collect::<Vec<_>>(),
        [names(&["room.rs", "room/a.rs", "room/b.rs", "room/c.rs"])]
    );
}
