//! The files that a test is about, and whether they have changed.
//!
//! Takes names as they are met, gives when one of them is another file than it was or has another content. A file that is not
//! there is about to come: whoever replaces one may take the old one away first. Never reads what is in a file.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How soon files are looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// What differs once a file was written to, or another one has its name, which may be older: inode, size and the time of the
/// last change, to the nanosecond.
type Stamp = (u64, u64, i64, i64);

#[derive(Debug, Default)]
pub struct WatchedFiles(BTreeMap<PathBuf, Option<Stamp>>);

impl WatchedFiles {
    /// From now on, the files it has and those that are noted.
    pub fn begin(&mut self) {
        self.0.iter_mut().for_each(|(file, stamp)| *stamp = stamp_of(file));
    }

    /// Watches one more, as it is now.
    pub fn note(&mut self, file: &Path) {
        self.0.entry(file.to_owned()).or_insert_with(|| stamp_of(file));
    }

    /// Returns once one of them has changed.
    pub fn wait(&self) {
        let names = self.0.keys().map(|file| file.display().to_string());
        eprintln!("waiting for a change of {}", names.collect::<Vec<_>>().join(", "));
        while !self.has_changed() {
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn has_changed(&self) -> bool {
        let mut files = self.0.iter();
        files.any(|(file, then)| stamp_of(file).is_some_and(|now| Some(now) != *then))
    }
}

fn stamp_of(file: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(file).ok()?;
    Some((found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_replaced_or_back_has_changed_and_one_that_is_gone_has_not() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("a"), folder.path().join("b"));
        let mut watch = WatchedFiles::default();
        watch.note(&file);
        assert!(!watch.has_changed(), "it is not there yet");
        std::fs::write(&file, "1").unwrap();
        assert!(watch.has_changed());
        watch.begin();
        watch.note(&file);
        assert!(!watch.has_changed());
        std::fs::write(&file, "12").unwrap();
        assert!(watch.has_changed());
        watch.begin();
        // An older one of the same size.
        std::fs::write(&other, "34").unwrap();
        let old = std::fs::File::options().write(true).open(&other).unwrap();
        old.set_modified(std::time::UNIX_EPOCH).unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert!(watch.has_changed());
        watch.begin();
        std::fs::remove_file(&file).unwrap();
        assert!(!watch.has_changed());
        std::fs::write(&file, "34").unwrap();
        assert!(watch.has_changed());
    }
}
