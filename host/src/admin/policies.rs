//! `GET /api/v1/policies`: every policy of every tenant, or of one, and of each no more than is asked for.
//!
//! Takes what serves, gives rows. All fields of 500 tenants' policies are a megabyte: who asks again and again names those that it
//! needs. Never knows a field by its name.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde_json::{Map, Value};

use super::gateway::Gateway;
use super::question::{NoAnswer, asked, bad, serving, tenant_id};
use super::views::{PolicyView, failed, success};
use crate::pipeline::Pipeline;
use crate::tenant::Snapshot;

pub(super) async fn policies(State(gateway): State<Gateway>, uri: Uri) -> Response {
    let snapshots = match of_tenants(&gateway.generations.current(), asked(&uri, "tenant")) {
        Ok(snapshots) => snapshots,
        Err((status, error)) => return failed(status, &error),
    };
    let rows: Vec<PolicyView<'_>> = snapshots.iter().flat_map(PolicyView::all).collect();
    let Some(fields) = asked(&uri, "fields") else {
        return success(rows);
    };
    let fields: BTreeSet<&str> = fields.split(',').collect();
    match rows
        .iter()
        .map(|row| with_alone(row, &fields))
        .collect::<Result<Vec<_>, _>>()
    {
        Ok(rows) => success(rows),
        Err((status, error)) => failed(status, &error),
    }
}

/// By name.
fn of_tenants(current: &Pipeline, tenant: Option<&str>) -> Result<Vec<Snapshot>, NoAnswer> {
    if let Some(tenant) = tenant {
        let one = serving(&current.tenants, &tenant_id(tenant)?)?;
        return Ok(vec![Snapshot::of(one)]);
    }
    let mut all: Vec<Snapshot> = current.tenants.serving().map(|one| Snapshot::of(one)).collect();
    all.sort_by(|a, b| a.config.id.cmp(&b.config.id));
    Ok(all)
}

fn with_alone(row: &PolicyView<'_>, fields: &BTreeSet<&str>) -> Result<Map<String, Value>, NoAnswer> {
    let Ok(Value::Object(mut row)) = serde_json::to_value(row) else {
        return Err(bad("a policy is no JSON object"));
    };
    if let Some(unknown) = fields.iter().find(|field| !row.contains_key(**field)) {
        let known: Vec<&str> = row.keys().map(String::as_str).collect();
        return Err(bad(format!(
            "a policy has no field {unknown:?}, but {}",
            known.join(", ")
        )));
    }
    row.retain(|field, _| fields.contains(field.as_str()));
    Ok(row)
}
