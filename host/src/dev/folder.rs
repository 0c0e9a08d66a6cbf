//! The demo's folder, and what can go wrong while the demo is set up.
//!
//! Takes names and texts, gives paths; takes itself away when it is dropped, unless its user named it. Never knows what it
//! holds, and never writes into a folder of somebody else's.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::server::StartError;

#[derive(Debug, thiserror::Error)]
pub enum DevError {
    #[error(transparent)]
    Start(StartError),
    #[error("{0}; choose another address with --remote-write.listen-address or --admin.listen-address")]
    Listen(StartError),
    #[error("cannot {what} {}: {reason}", .path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("{} has files that `gauntlet dev` has not made; choose an empty or a new folder with --dir", .0.display())]
    Foreign(PathBuf),
    #[error("--settings: {0}")]
    Settings(String),
    #[error("{0}")]
    Watch(String),
    #[error("cannot make certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    #[error("cannot listen for the embedded receiver: {0}")]
    Receiver(std::io::Error),
    #[error("cannot {what}: {reason}")]
    System { what: &'static str, reason: std::io::Error },
    #[error("cannot set up a sender: {0}")]
    Sender(String),
}

impl From<StartError> for DevError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Listen(_) | StartError::Admin { .. } => Self::Listen(error),
            other => Self::Start(other),
        }
    }
}

/// The first line of a main file that the demo has made.
const MARK: &str = "# Made by `gauntlet dev`, and written anew each time it starts.\n";
const MAIN: &str = "gauntlet.yaml";

/// The demo's folder.
pub(super) struct Folder {
    path: PathBuf,
    /// Gone when the demo is.
    is_passing: bool,
}

impl Folder {
    /// `named` by the user, who keeps it, or one of its own.
    pub(super) fn make(named: Option<&Path>) -> Result<Self, DevError> {
        let path = match named {
            Some(path) => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            None => std::env::temp_dir().join(format!("gauntlet-dev-{}", std::process::id())),
        };
        let is_ours = || std::fs::read_to_string(path.join(MAIN)).is_ok_and(|text| text.starts_with(MARK));
        let has_files = std::fs::read_dir(&path).is_ok_and(|mut files| files.next().is_some());
        if named.is_some() && has_files && !is_ours() {
            return Err(DevError::Foreign(path));
        }
        let tenants = path.join("tenants");
        std::fs::create_dir_all(&tenants).map_err(|reason| DevError::File {
            what: "make",
            path: tenants,
            reason,
        })?;
        Ok(Self {
            path,
            is_passing: named.is_none(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_kept(&self) -> bool {
        !self.is_passing
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf, DevError> {
        self.put(name, text, 0o644)
    }

    /// For its owner alone.
    pub(super) fn write_secret(&self, name: &str, text: &str) -> Result<PathBuf, DevError> {
        self.put(name, text, 0o600)
    }

    pub(super) fn write_main(&self, text: &str) -> Result<PathBuf, DevError> {
        self.write(MAIN, &format!("{MARK}{text}"))
    }

    /// If it is not there: it may have been edited.
    pub(super) fn write_once(&self, name: &str, text: &str) -> Result<(), DevError> {
        match self.path.join(name).exists() {
            true => Ok(()),
            false => self.write(name, text).map(|_| ()),
        }
    }

    pub(super) fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path.join(name)).ok()
    }

    pub(super) fn remove(&self, name: &str) {
        // It is gone if it never was.
        let _ = std::fs::remove_file(self.path.join(name));
    }

    fn put(&self, name: &str, text: &str, mode: u32) -> Result<PathBuf, DevError> {
        let path = self.path.join(name);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(mode).open(&path);
        match file.and_then(|mut file| file.write_all(text.as_bytes())) {
            Ok(()) => Ok(path),
            Err(reason) => Err(DevError::File {
                what: "write",
                path,
                reason,
            }),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_passing
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!("gauntlet: cannot remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_name_stays_and_what_was_edited_in_it() {
        let outer = tempfile::tempdir().unwrap();
        let named = outer.path().join("demo");
        let folder = Folder::make(Some(&named)).unwrap();
        folder.write_main("a: 1\n").unwrap();
        folder.write_once("tenants/local.yaml", "first").unwrap();
        drop(folder);
        let folder = Folder::make(Some(&named)).unwrap();
        folder.write_once("tenants/local.yaml", "second").unwrap();
        assert_eq!(folder.read("tenants/local.yaml").as_deref(), Some("first"));
        std::fs::write(named.join(MAIN), "remote_write:\n").unwrap();
        // It would write its certificates over those of somebody else.
        let other = outer.path().join("other");
        std::fs::create_dir(&other).unwrap();
        assert!(Folder::make(Some(&other)).is_ok(), "an empty one");
        std::fs::write(other.join("ca.crt"), "").unwrap();
        std::fs::remove_dir(other.join("tenants")).unwrap();
        for folder in [&named, &other] {
            let refused = Folder::make(Some(folder)).err().unwrap().to_string();
            assert!(
                refused.contains("choose an empty or a new folder with --dir"),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_folder_without_a_name_goes() {
        let folder = Folder::make(None).unwrap();
        let path = folder.path().to_owned();
        folder.write_secret("key", "k").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
