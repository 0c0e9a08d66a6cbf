//! `GET /api/v1/reloads`: what became of the last reloads.
//!
//! Takes what the process remembers of them, gives a row for each, the newest first. Never reads a file.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::gateway::Gateway;
use super::views::{BrokenView, broken_views, success};
use crate::reload::Reloaded;

#[derive(Serialize)]
pub(super) struct ReloadedView<'a> {
    timestamp_seconds: u64,
    cause: &'static str,
    successful: bool,
    seconds: f64,
    errors: &'a [String],
    plugin_errors: &'a [String],
    warnings: &'a [String],
    broken_tenants: Vec<BrokenView>,
    broken_tenants_count: usize,
    changed_tenants: Vec<&'a str>,
    changed_tenants_count: usize,
    generation: u64,
}

pub(super) async fn reloads(State(gateway): State<Gateway>) -> Response {
    let all = gateway.generations.history();
    success(
        all.iter()
            .map(|reloaded| ReloadedView::of(reloaded))
            .collect::<Vec<_>>(),
    )
}

impl<'a> ReloadedView<'a> {
    pub(super) fn of(reloaded: &'a Reloaded) -> Self {
        let report = &reloaded.report;
        Self {
            timestamp_seconds: report.at,
            cause: report.cause,
            successful: report.is_success(),
            seconds: reloaded.took.as_secs_f64(),
            errors: &report.errors,
            plugin_errors: &report.plugins,
            warnings: &report.warnings,
            broken_tenants: broken_views(report),
            broken_tenants_count: reloaded.broken,
            changed_tenants: reloaded.changed.iter().map(|id| id.as_str()).collect(),
            changed_tenants_count: reloaded.all_changed,
            generation: reloaded.generation,
        }
    }
}
