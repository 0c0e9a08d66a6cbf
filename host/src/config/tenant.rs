//! One tenant, from its file or from the main file's `tenants` list.
//!
//! Takes a map and the operator's settings around it, gives a [`Tenant`] or as much as could be told of a
//! broken one: its id, so that its last good generation can stay, and its credentials, so that its senders
//! are told to wait and not that they are strangers; and whether those are all.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::chain::{self, Plugins};
use super::file::Node;
use super::nearest::nearest;
use super::section::{Field, Section, Source, quote};
use super::units::show_size;
use super::{DropExamples, Limits, OverRate, Owner, Tenant, secret};
use crate::memory::{self, Kind};
use crate::model::{MAX_BUDGET_LENGTH, TenantId};

/// Of one tenant; each is two series of the gateway's own metrics.
const MAX_SHOWN_BUDGETS: usize = 100;

/// What the main file settles for every tenant.
pub(super) struct House {
    /// Every name in `upstreams`, also of those with mistakes.
    pub(super) upstreams: BTreeSet<String>,
    pub(super) plugins: Plugins,
    pub(super) before: Vec<chain::WrittenPolicy>,
    pub(super) after: Vec<chain::WrittenPolicy>,
    pub(super) limits: Limits,
    pub(super) over_rate: OverRate,
    pub(super) drop_examples: DropExamples,
    pub(super) reserved_labels: Vec<String>,
    pub(super) ceiling: Ceiling,
}

/// What all tenants share, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ceiling {
    /// The listener's `max_in_flight_size`.
    pub(super) in_flight: u64,
    /// `memory_limit`, where it is written.
    pub(super) memory: Option<u64>,
}

/// What one map said.
#[derive(Clone)]
pub(super) struct Read {
    pub(super) id: Option<TenantId>,
    /// `None` if anything at all was wrong.
    pub(super) tenant: Option<Arc<Tenant>>,
    pub(super) credentials: Vec<secret::WrittenCredential>,
    /// Whether those are all that it has: nothing hides behind a mistake.
    pub(super) credentials_known: bool,
}

impl Read {
    /// Of what is no tenant's map: nothing is known but perhaps whose it is.
    pub(super) fn nothing_of(id: Option<TenantId>) -> Self {
        Self {
            id,
            tenant: None,
            credentials: vec![],
            credentials_known: false,
        }
    }
}

/// Reads one tenant; mistakes are noted in the section's source.
pub(super) fn read(mut section: Section<'_>, source: &Source<'_>, file: PathBuf, house: &House) -> Read {
    let failures = source.failures();
    let id = section.require("tenant").and_then(|field| tenant_id(&field));
    let disabled = section.boolean("disabled", false);
    let before_credentials = source.failures();
    let written_credentials = section.field("credentials");
    let credentials = written_credentials
        .as_ref()
        .map(secret::credentials)
        .unwrap_or_default();
    let are_read = source.failures() == before_credentials;
    let own = section
        .field("policies")
        .map(|list| own_policies(&list, house))
        .unwrap_or_default();
    let limits = section
        .section("limits")
        .map(|fields| limits(fields, &house.limits, house.ceiling));
    let upstreams = upstreams(&mut section, house);
    let over_rate = section
        .field("over_rate")
        .and_then(|field| over_rate(&field))
        .unwrap_or(house.over_rate);
    let drop_examples = section
        .field("drop_examples")
        .and_then(|field| drop_examples(&field))
        .unwrap_or(house.drop_examples);
    let legacy_names = section.boolean("legacy_names", false);
    let shown_budgets = section.field("shown_budgets");
    let shown_budgets = shown_budgets.as_ref().map(shown_budget_names).unwrap_or_default();
    if credentials.is_empty() && !disabled && source.failures() == failures {
        section.warn(
            "credentials",
            "this tenant has no credentials, so nobody can write as it",
        );
    }
    let before_close = source.failures();
    section.close();
    // Where there is no such key, an unknown one may be it, misspelt.
    let credentials_known = are_read && (written_credentials.is_some() || source.failures() == before_close);
    let sound = source.failures() == failures;
    let tenant = || {
        Some(Arc::new(Tenant {
            id: id.clone()?,
            enabled: !disabled,
            file,
            credentials: credentials.iter().map(|written| written.credential.clone()).collect(),
            policies: chain::chain(house.before.iter().chain(&own).chain(&house.after)),
            limits: limits?,
            upstreams: upstreams?,
            over_rate,
            reserved_labels: house.reserved_labels.clone(),
            legacy_names,
            shown_budgets,
            drop_examples,
        }))
    };
    let tenant = if sound { tenant() } else { None };
    Read {
        id,
        tenant,
        credentials,
        credentials_known,
    }
}

/// The id that a file which cannot be read as a whole seems to be about: a line of its own, in no map.
pub(super) fn probable_id(text: &str) -> Option<TenantId> {
    let value = text.lines().find_map(|line| line.strip_prefix("tenant:"))?;
    let value = value.split(" #").next().unwrap_or_default().trim();
    TenantId::new(value.trim_matches(['"', '\''])).ok()
}

/// The id in a tree, whatever else is in it.
pub(super) fn id_of(node: &Node) -> Option<TenantId> {
    match &node.entry("tenant")?.value {
        super::file::Value::Text(text) | super::file::Value::Number(_, text) => TenantId::new(text).ok(),
        _ => None,
    }
}

fn tenant_id(field: &Field<'_>) -> Option<TenantId> {
    match TenantId::new(field.text()?) {
        Ok(id) => Some(id),
        Err(fault) => {
            field.fail(fault.to_string());
            None
        }
    }
}

fn own_policies(list: &Field<'_>, house: &House) -> Vec<chain::WrittenPolicy> {
    let taken: Vec<&chain::WrittenPolicy> = house.before.iter().chain(&house.after).collect();
    chain::policies(list, Owner::Tenant, &house.plugins, &taken)
}

/// The tenant's upstreams; left out where there is only one to choose.
fn upstreams(section: &mut Section<'_>, house: &House) -> Option<Vec<String>> {
    let written = section.field("upstreams");
    if written.as_ref().is_none_or(Field::is_empty) {
        if house.upstreams.len() == 1 {
            return Some(house.upstreams.iter().cloned().collect());
        }
        let known: Vec<&str> = house.upstreams.iter().map(String::as_str).collect();
        let message = format!("`upstreams` must name one or more of: {}", known.join(", "));
        match written {
            Some(field) => field.fail(message),
            None => section.fail(message),
        }
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    for item in written.as_ref().map(Field::items).unwrap_or_default() {
        let Some(name) = item.text() else { continue };
        if !house.upstreams.contains(name) {
            let known = house.upstreams.iter().map(String::as_str);
            item.fail_near(format!("there is no upstream `{}`", quote(name)), nearest(name, known));
        } else if names.iter().any(|other| other == name) {
            item.fail(format!("`{name}` is listed twice"));
        }
        names.push(name.to_owned());
    }
    Some(names)
}

/// Names of budgets that become labels of metrics.
fn shown_budget_names(list: &Field<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for item in list.items() {
        let Some(name) = item.text() else { continue };
        if name.len() > MAX_BUDGET_LENGTH {
            item.fail(format!(
                "a budget's name has at most {MAX_BUDGET_LENGTH} bytes, this one has {}",
                name.len()
            ));
        } else if names.iter().any(|other| other == name) {
            item.fail(format!("`{}` is listed twice", quote(name)));
        }
        names.push(name.to_owned());
    }
    if names.len() > MAX_SHOWN_BUDGETS {
        list.fail(format!(
            "{} budgets are listed, and metrics show at most {MAX_SHOWN_BUDGETS} of one tenant",
            names.len()
        ));
    }
    names
}

/// How a tenant over its rate is answered (docs/protocol.md, "Answers").
pub(super) fn over_rate(field: &Field<'_>) -> Option<OverRate> {
    field.choice(&[
        ("retry", OverRate::Retry),
        ("too_many_requests", OverRate::TooManyRequests),
    ])
}

/// What operators are shown of series that were dropped.
pub(super) fn drop_examples(field: &Field<'_>) -> Option<DropExamples> {
    let all = [DropExamples::Off, DropExamples::Names, DropExamples::Values];
    field.choice(&all.map(|choice| (choice.word(), choice)))
}

/// Limits in `section`, the rest from `base`.
pub(super) fn limits(mut section: Section<'_>, base: &Limits, ceiling: Ceiling) -> Limits {
    let limits = Limits {
        max_body_size: section.size("max_body_size", base.max_body_size),
        max_decoded_size: section.size("max_decoded_size", base.max_decoded_size),
        max_in_flight_size: section.size("max_in_flight_size", base.max_in_flight_size),
        max_concurrent_requests: section.length("max_concurrent_requests", base.max_concurrent_requests),
        max_active_series: section.count("max_active_series", base.max_active_series),
        max_series_per_request: section.count("max_series_per_request", base.max_series_per_request),
        max_labels_per_series: section.length("max_labels_per_series", base.max_labels_per_series),
        max_label_name_length: section.length("max_label_name_length", base.max_label_name_length),
        max_label_value_length: section.length("max_label_value_length", base.max_label_value_length),
    };
    // The snappy block format has a 32-bit length.
    if limits.max_decoded_size > u64::from(u32::MAX) {
        section.fail("`max_decoded_size` is above 4 GiB, which no snappy block can declare");
    }
    // A write that can never get its permits would be answered 503 for ever and block its sender.
    let largest = limits.largest_write();
    if limits.max_in_flight_size < largest {
        section.fail(format!(
            "`max_in_flight_size` ({}) is below `max_body_size` + `max_decoded_size` ({}): \
             a write of that size could never be accepted",
            show_size(limits.max_in_flight_size),
            show_size(largest)
        ));
    }
    if ceiling.in_flight < largest {
        section.fail(format!(
            "remote_write's `max_in_flight_size` ({}) is below `max_body_size` + `max_decoded_size` ({}): \
             a write of that size could never be accepted",
            show_size(ceiling.in_flight),
            show_size(largest)
        ));
    }
    let least = memory::limit_that_guarantees(Kind::Bodies, largest);
    if let Some(memory_limit) = ceiling.memory.filter(|limit| *limit < least) {
        section.fail(format!(
            "`memory_limit` ({}) must be at least {}, or `max_body_size` + `max_decoded_size` ({}) smaller: \
             three tenths of it are certain to be there for bodies, which must hold one of that size",
            show_size(memory_limit),
            show_size(least.next_multiple_of(1 << 20)),
            show_size(largest)
        ));
    }
    section.close();
    limits
}
