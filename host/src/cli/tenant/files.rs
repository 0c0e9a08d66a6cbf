//! NewFiles that are made, all of them or none.
//!
//! Takes paths and texts. Never writes over what is there, and takes away again what it made unless it is told to keep it; a
//! secret can be read by its owner alone from its first byte on.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    Everybody,
    OwnerAlone,
}

#[derive(Default)]
pub(super) struct NewFiles {
    made: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl NewFiles {
    /// A folder for secrets, if it is not there.
    pub(super) fn folder(&mut self, path: &Path) -> Result<(), String> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => self.folders.push(path.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(format!("cannot make the folder {}: {error}", path.display())),
        }
        Ok(())
    }

    pub(super) fn write(&mut self, path: &Path, text: &str, readers: Readers) -> Result<(), String> {
        let mode = match readers {
            Readers::Everybody => 0o644,
            Readers::OwnerAlone => 0o600,
        };
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        let mut file = file.map_err(|error| refused(path, &error))?;
        self.made.push(path.to_owned());
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|error| refused(path, &error))
    }

    /// As [`NewFiles::write`], for a file that a gateway may be looking for: it is there with all of its text, or not at all.
    pub(super) fn publish(&mut self, path: &Path, text: &str) -> Result<(), String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
        self.write(&draft, text, Readers::Everybody)?;
        fs::hard_link(&draft, path).map_err(|error| refused(path, &error))?;
        self.made.push(path.to_owned());
        fs::remove_file(&draft).map_err(|error| refused(&draft, &error))?;
        self.made.retain(|made| *made != draft);
        Ok(())
    }

    /// What was made stays.
    pub(super) fn keep(mut self) {
        self.made.clear();
        self.folders.clear();
    }
}

impl Drop for NewFiles {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            if let Err(error) = fs::remove_file(path) {
                eprintln!("gauntlet: cannot remove {}: {error}", path.display());
            }
        }
        for path in self.folders.iter().rev() {
            // Somebody else may have put something there.
            let _ = fs::remove_dir(path);
        }
    }
}

fn refused(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AlreadyExists => format!("{} is there already, and nothing is written over it", path.display()),
        io::ErrorKind::NotFound => format!("cannot write {}: its folder is not there", path.display()),
        _ => format!("cannot write {}: {error}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn all_is_made_or_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("there"), "old").unwrap();
        let mut files = NewFiles::default();
        files.folder(&at("new")).unwrap();
        files.write(&at("new/key"), "secret", Readers::OwnerAlone).unwrap();
        files.publish(&at("tenant.yaml"), "tenant: a").unwrap();
        assert_eq!([mode(&at("new")), mode(&at("new/key"))], [0o700, 0o600]);
        let error = files.publish(&at("there"), "new").unwrap_err();
        assert!(error.contains("there already"), "{error}");
        let error = files.write(&at("nowhere/x"), "", Readers::Everybody).unwrap_err();
        assert!(error.contains("its folder is not there"), "{error}");
        drop(files);
        let left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|one| one.unwrap().file_name())
            .collect();
        assert_eq!(left, ["there"]);
        assert_eq!(fs::read_to_string(at("there")).unwrap(), "old");
    }

    #[test]
    fn what_is_kept_stays_and_no_draft_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenant.yaml");
        let mut files = NewFiles::default();
        files.folder(folder.path()).unwrap();
        files.publish(&path, "tenant: a").unwrap();
        files.keep();
        assert_eq!(fs::read_to_string(&path).unwrap(), "tenant: a");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
