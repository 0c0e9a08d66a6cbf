//! A reload as an event.
//!
//! Takes a report, gives what listeners are told of it. Never names a secret.

use serde::Serialize;

use crate::reload::Report;

#[derive(Serialize, PartialEq, Eq)]
pub(super) struct ReloadEvent {
    timestamp_seconds: u64,
    cause: &'static str,
    successful: bool,
    errors: Vec<String>,
    plugin_errors: Vec<String>,
    warnings: Vec<String>,
    broken_tenants: Vec<String>,
}

impl ReloadEvent {
    pub(super) fn of(report: &Report) -> Self {
        let broken = report.broken.iter();
        Self {
            timestamp_seconds: report.at,
            cause: report.cause,
            successful: report.is_success(),
            errors: report.errors.clone(),
            plugin_errors: report.plugins.clone(),
            warnings: report.warnings.clone(),
            broken_tenants: broken
                .map(|broken| match &broken.tenant {
                    Some(tenant) => tenant.to_string(),
                    None => broken.file.display().to_string(),
                })
                .collect(),
        }
    }
}
