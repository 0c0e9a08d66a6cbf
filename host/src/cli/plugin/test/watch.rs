//! What a test is about, and whether it has changed.
//!
//! Takes names of files and folders of projects as they are met, gives when one of the files has another content than it had,
//! and whose sources changed. A file that is not there is about to come: whoever replaces one may take the old one away first.
//! Never builds, and never reads a file again that nobody has written to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use super::super::project::{Stamp, sources, stamp_of};

/// How soon files are looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// A file as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    stamp: Stamp,
    sha256: Vec<u8>,
}

impl Seen {
    /// `None` if there is no such file.
    fn of(file: &Path) -> Option<Self> {
        // Before it is read: what is written meanwhile is seen the next time.
        let stamp = stamp_of(file)?;
        let bytes = std::fs::read(file).ok()?;
        let sha256 = digest(&SHA256, &bytes).as_ref().to_vec();
        Some(Self { stamp, sha256 })
    }
}

#[derive(Debug, Default)]
pub struct WatchedFiles {
    files: BTreeMap<PathBuf, Option<Seen>>,
    /// Folders, each with its sources.
    projects: BTreeMap<PathBuf, BTreeMap<PathBuf, Option<Seen>>>,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// Something is to be tested again.
    Files,
    /// Something is to be built again before: the sources of these folders are others.
    Sources(BTreeSet<PathBuf>),
}

impl WatchedFiles {
    /// Watches one more, as it is now.
    pub fn note(&mut self, file: &Path) {
        self.files.entry(file.to_owned()).or_insert_with(|| Seen::of(file));
    }

    /// Watches the sources of one more project, as they are now. Whether they were watched already.
    pub fn note_project(&mut self, folder: &Path) -> bool {
        let known = self.projects.contains_key(folder);
        self.note_new_sources(folder);
        known
    }

    /// The project was built: its component is what it is now, and so are files that the compiler made and left there. What was
    /// written to its sources meanwhile is a change.
    pub fn built(&mut self, folder: &Path) {
        self.note_new_sources(folder);
        let of_project = |file: &Path| file.extension().is_some_and(|end| end == "wasm") && file.starts_with(folder);
        let components = self.files.iter_mut().filter(|(file, _)| of_project(file));
        components.for_each(|(file, seen)| *seen = Seen::of(file));
    }

    fn note_new_sources(&mut self, folder: &Path) {
        let known = self.projects.entry(folder.to_owned()).or_default();
        for file in sources(folder) {
            known.entry(file).or_insert_with_key(|file| Seen::of(file));
        }
    }

    /// Returns once something has changed. From then on it is watched as it is then.
    pub fn wait(&mut self) -> Change {
        let files = self.files.keys().map(|file| file.display().to_string());
        let projects = self.projects.keys();
        let projects = projects.map(|folder| format!("the sources in {}", folder.display()));
        let names: Vec<String> = files.chain(projects).collect();
        eprintln!("waiting for a change of {}", names.join(", "));
        loop {
            if let Some(change) = self.change() {
                return change;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn change(&mut self) -> Option<Change> {
        let mut built_of = BTreeSet::new();
        for (folder, known) in &mut self.projects {
            let now = sources(folder);
            let new = now.iter().any(|file| !known.contains_key(file));
            for file in now {
                known.entry(file).or_default();
            }
            if news(known) || new {
                built_of.insert(folder.clone());
            }
        }
        // All of them, whatever comes of the sources: each change is told once.
        let files = news(&mut self.files);
        match built_of.is_empty() {
            false => Some(Change::Sources(built_of)),
            true => files.then_some(Change::Files),
        }
    }
}

/// Whether one of them has another content now, which is what is known of it from then on. One that is gone has none.
fn news(files: &mut BTreeMap<PathBuf, Option<Seen>>) -> bool {
    let mut found = false;
    for (file, seen) in files {
        let stamp = stamp_of(file);
        if stamp.is_none() || stamp == seen.as_ref().map(|seen| seen.stamp) {
            continue;
        }
        if let Some(now) = Seen::of(file) {
            found |= seen.as_ref().is_none_or(|seen| seen.sha256 != now.sha256);
            *seen = Some(now);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_another_content_has_changed_and_one_that_is_gone_or_the_same_has_not() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("a"), folder.path().join("b"));
        let mut watch = WatchedFiles::default();
        watch.note(&file);
        assert_eq!(watch.change(), None, "it is not there yet");
        std::fs::write(&file, "1").unwrap();
        assert_eq!(watch.change(), Some(Change::Files));
        watch.note(&file);
        assert_eq!(watch.change(), None, "it was told");
        std::fs::write(&file, "12").unwrap();
        assert_eq!(watch.change(), Some(Change::Files));
        std::fs::write(&file, "12").unwrap();
        assert_eq!(watch.change(), None);
        // An older one of the same size.
        std::fs::write(&other, "34").unwrap();
        let old = std::fs::File::options().write(true).open(&other).unwrap();
        old.set_modified(std::time::UNIX_EPOCH).unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert_eq!(watch.change(), Some(Change::Files));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(watch.change(), None);
        std::fs::write(&file, "34").unwrap();
        assert_eq!(watch.change(), None, "it is back");
    }

    #[test]
    fn a_source_that_is_new_or_another_is_a_reason_to_build_and_what_building_leaves_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("a.c", "1");
        let mut watch = WatchedFiles::default();
        assert!(!watch.note_project(folder));
        assert!(watch.note_project(folder));
        watch.note(&folder.join("p.wasm"));
        let built = Some(Change::Sources(BTreeSet::from([folder.to_owned()])));
        assert_eq!(watch.change(), None);
        write("a.c", "2");
        assert_eq!(watch.change(), built);
        write("b.h", "");
        assert_eq!(watch.change(), built);
        assert_eq!(watch.change(), None);
        // The compiler's work, and what its author writes meanwhile.
        write("bundle.js", "");
        write("p.wasm", "component");
        write("b.h", "// Late.");
        watch.built(folder);
        assert_eq!(watch.change(), built);
        assert_eq!(watch.change(), None);
    }
}
