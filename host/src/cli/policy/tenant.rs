//! One tenant of a configuration, for commands that ask its policies.
//!
//! Takes the main file and an id, gives a lab, or every mistake that stands in the way, a line each. Never listens, and asks
//! for no secret.

use std::path::Path;

use crate::config::{self, ConfigError};
use crate::lab::Lab;
use crate::model::TenantId;

/// One tenant of a configuration, whose policies are compiled and configured as in a gateway. The other tenants' are not,
/// and secrets are not needed.
pub(super) async fn lab(file: &Path, tenant: &TenantId) -> Result<Lab, String> {
    let mut loaded = config::load_without_secrets(file).map_err(|errors| lines(&errors))?;
    if let Some(broken) = loaded
        .broken
        .iter()
        .find(|broken| broken.tenant.as_ref() == Some(tenant))
    {
        return Err(lines(&broken.errors));
    }
    loaded.config.tenants.retain(|id, _| id == tenant);
    if loaded.config.tenants.values().any(|tenant| !tenant.enabled) {
        eprintln!(
            "warning: tenant {tenant} is disabled: whatever it sends is answered 403; what follows is as if it were not"
        );
    }
    loaded.broken.clear();
    // Nothing listens here.
    loaded.config.remote_write.tls = None;
    loaded.config.sandbox = loaded.config.sandbox.keeping_compiled();
    let lab = Lab::new(loaded, tenant).await;
    lab.map_err(|error| format!("{}: {error}", file.display()))
}

pub(super) fn lines(errors: &[ConfigError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
