//! What became of a reload, for operators.
//!
//! Takes nothing, gives what the log, the status page and `POST /-/reload` say.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::ConfigError;
use crate::forward::ForwardSetupError;
use crate::model::TenantId;
use crate::tls::TlsError;
use crate::traces::TraceSetupError;

/// Why a configuration, or a part of it, is not in use.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{}", lines(.0))]
    Config(Vec<ConfigError>),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Upstream(#[from] ForwardSetupError),
    #[error(transparent)]
    Traces(#[from] TraceSetupError),
}

/// One mistake a line.
pub(super) fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A tenant whose newest configuration is not in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// None where the file does not even say whose it is.
    pub tenant: Option<TenantId>,
    pub file: PathBuf,
    pub error: String,
    /// The generation that goes on serving; none: the tenant's writes wait (503).
    pub serving: Option<u64>,
    /// What goes on serving is what `state_dir` kept of an earlier process.
    pub is_restored: bool,
    /// Not all of its credentials could be read, or are in those that serve it: one that nobody has may be its own.
    pub credentials_unknown: bool,
}

/// What the last reload did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Seconds since 1970.
    pub at: u64,
    pub cause: &'static str,
    /// Nothing of the new configuration is in use where there are any.
    pub errors: Vec<String>,
    /// Plugins whose file is at fault.
    pub plugins: Vec<String>,
    pub broken: Vec<Broken>,
    pub warnings: Vec<String>,
}

impl Report {
    pub(super) fn new(cause: &'static str) -> Self {
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            at,
            cause,
            ..Self::default()
        }
    }

    /// Tells the log what of the configuration is not in use.
    pub(super) fn log(&self) {
        for error in &self.plugins {
            tracing::error!(error, "plugin not in use");
        }
        for broken in &self.broken {
            let tenant = broken.tenant.as_ref().map_or("", TenantId::as_str);
            let file = broken.file.display();
            let restored = broken.is_restored;
            tracing::error!(tenant, %file, error = broken.error, serving = broken.serving, restored, "tenant configuration not in use");
        }
    }

    /// Files of tenants whose credentials cannot be known. While there are any, nobody is turned away for having one
    /// that nobody has.
    pub fn unknown(&self) -> impl Iterator<Item = &Path> {
        let unknown = self.broken.iter().filter(|broken| broken.credentials_unknown);
        unknown.map(|broken| broken.file.as_path())
    }

    /// Tells the log what came and went since the report `before`.
    pub(super) fn log_unknown(&self, before: &Self) {
        let was = before.unknown().next().is_some();
        let files: Vec<String> = self.unknown().map(|file| file.display().to_string()).collect();
        match (was, files.is_empty()) {
            (false, false) => tracing::warn!(
                files = files.join(", "),
                "not all credentials of a tenant are known, so a credential that nobody has is answered 503 and not 401"
            ),
            (true, true) => tracing::info!("all credentials are known again, so one that nobody has is answered 401"),
            _ => {}
        }
    }

    /// The newest configuration is wholly in use.
    pub fn is_success(&self) -> bool {
        self.errors.is_empty() && self.plugins.is_empty() && self.broken.is_empty()
    }
}
