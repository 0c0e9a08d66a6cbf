//! The demo's folder, and what can go wrong while the demo is set up.
//!
//! Takes names and texts, gives paths; takes itself away when it is dropped. Never knows what it holds.

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

/// The demo's folder, gone when the demo is.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn make() -> Result<Self, DevError> {
        let path = std::env::temp_dir().join(format!("gauntlet-dev-{}", std::process::id()));
        let tenants = path.join("tenants");
        std::fs::create_dir_all(&tenants).map_err(|reason| DevError::File {
            what: "make",
            path: tenants,
            reason,
        })?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf, DevError> {
        let path = self.0.join(name);
        match std::fs::write(&path, text) {
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
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("gauntlet: cannot remove {}: {error}", self.0.display());
        }
    }
}
