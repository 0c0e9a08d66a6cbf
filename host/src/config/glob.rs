//! `tenant_files` patterns: which files are there now.
//!
//! Takes an absolute pattern with `*` and `?` inside path components, gives regular files sorted by name, and links to what cannot be found.
//! Hidden names need their dot written out, so that Kubernetes' `..data` folders and editors' swap files
//! stay out. Never answers "no files" for a folder it could not read: that would read as "no tenants".
//!
//! Not the `glob` crate, which is no part of any other dependency and answers "no files" for a folder that is missing,
//! and for which `[` in the name of a folder is a pattern.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Whether `pattern` is more than the name of one file.
pub(super) fn is_pattern(pattern: &Path) -> bool {
    pattern
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .any(|b| matches!(b, b'*' | b'?'))
}

/// The files that match, sorted. A plain name matches itself, whether it exists or not.
///
/// # Errors
/// A folder that the pattern goes through cannot be read.
pub(super) fn expand(pattern: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    if !is_pattern(pattern) {
        return Ok(vec![pattern.to_owned()]);
    }
    let mut found = vec![Entry::default()];
    for component in pattern.components() {
        let wild = match component {
            Component::Normal(name) => name.to_str().filter(|name| name.contains(['*', '?'])),
            _ => None,
        };
        let Some(wild) = wild else {
            found.iter_mut().for_each(|entry| entry.push(component));
            continue;
        };
        let mut next = Vec::new();
        for folder in &found {
            children(&folder.path, wild, &mut next).map_err(|error| (folder.path.clone(), error))?;
        }
        found = next;
    }
    found.retain(|entry| entry.is_regular || is_or_was_a_file(&entry.path));
    let mut found: Vec<PathBuf> = found.into_iter().map(|entry| entry.path).collect();
    // Not part by part, which takes ten thousand paths ten times as long.
    found.sort_unstable_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    Ok(found)
}

#[derive(Default)]
struct Entry {
    path: PathBuf,
    /// By its folder's word, which spares asking for each. A link may be one too.
    is_regular: bool,
}

impl Entry {
    fn push(&mut self, component: Component<'_>) {
        self.path.push(component);
        self.is_regular = false;
    }
}

fn children(folder: &Path, wild: &str, out: &mut Vec<Entry>) -> io::Result<()> {
    // A component between two wildcards may be a file, which has no children and is no fault.
    if folder.is_file() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let hidden = name.starts_with('.') && !wild.starts_with('.');
        if !hidden && matches(wild.as_bytes(), name.as_bytes()) {
            out.push(Entry {
                path: folder.join(name),
                is_regular: entry.file_type().is_ok_and(|kind| kind.is_file()),
            });
        }
    }
    Ok(())
}

/// A link that leads nowhere is a file that cannot be read, not one that is not there.
fn is_or_was_a_file(path: &Path) -> bool {
    fs::metadata(path).map_or_else(|_| fs::symlink_metadata(path).is_ok(), |it| it.is_file())
}

/// Whether [`expand`] would find `file` by `pattern`, if it were there.
pub(super) fn covers(pattern: &Path, file: &Path) -> bool {
    let (mut pattern, mut file) = (pattern.components(), file.components());
    loop {
        match (pattern.next(), file.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) => {
                let (pattern, name) = (pattern.as_os_str(), name.as_os_str());
                if !matches(pattern.as_encoded_bytes(), name.as_encoded_bytes()) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// `*` is any run of bytes, `?` one byte. Linear in practice: on a mismatch only the last star gives way.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, n));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == b'?' || pattern[p] == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            p = at + 1;
            n = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yaml.bak", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("?.yaml", "ab.yaml", false),
            ("*", "", true),
            ("", "a", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_pattern_covers_what_it_would_find() {
        let covers = |pattern: &str, file: &str| covers(Path::new(pattern), Path::new(file));
        assert!(covers("/a/*.yaml", "/a/b.yaml") && covers("/*/?.yaml", "/a/b.yaml"));
        assert!(!covers("/a/*.yaml", "/a/b/c.yaml") && !covers("/a/*/c.yaml", "/a/b.yaml"));
    }

    #[test]
    fn files_come_sorted_and_hidden_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yaml", ".a.yaml.swp", "..data.yaml", "c.txt"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        fs::create_dir(dir.path().join("d.yaml")).unwrap();
        let found = expand(&dir.path().join("*.yaml")).unwrap();
        assert_eq!(found, [dir.path().join("a.yaml"), dir.path().join("b.yaml")]);
        assert!(expand(&dir.path().join("none/*.yaml")).is_err());
    }
}
