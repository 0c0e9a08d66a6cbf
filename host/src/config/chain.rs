//! Plugins by name, and policies in the order they run.
//!
//! Takes the `plugins` map and `policies` lists, gives each tenant's chain: the operator's `before`, its
//! own, the operator's `after`. Every policy of a chain has its own name, because metrics, logs and drop
//! counts are told apart by it. Never lets a tenant's policy be bypassed on failure: it may be a redaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::builtin;
use super::file::{Place, Value};
use super::inputs::sha256;
use super::nearest::nearest;
use super::section::{Field, quote};
use super::{ConfigError, Mode, OnFailure, Owner, PluginSource, Policy, Tenant, WrittenAt};

/// Longest name of a plugin, policy or upstream. They are label values in metrics.
const MAX_NAME_LENGTH: usize = 63;

/// The plugins that policies may name.
pub(super) type Plugins = BTreeMap<String, Declared>;

/// A plugin as far as it could be read.
pub(super) enum Declared {
    Read(Arc<PluginSource>),
    /// Its file is at fault. That is the matter of whoever names it, and of nobody else.
    Unreadable(ConfigError),
    /// The declaration is at fault, and was reported.
    Mistaken,
}

/// The built-in plugins and those of the `plugins` map.
pub(super) fn plugins(field: Option<&Field<'_>>) -> Plugins {
    let mut plugins = Plugins::new();
    for (name, bytes) in builtin::PLUGINS {
        plugins.insert(
            (*name).to_owned(),
            Declared::Read(source((*name).to_owned(), Arc::from(*bytes), None)),
        );
    }
    for (key, field) in field.map(Field::named).unwrap_or_default() {
        let name = &key.text;
        if builtin::PLUGINS.iter().any(|(built_in, _)| built_in == name) {
            field.source.fail(
                key.place,
                &field.path,
                "this plugin is built in; give yours another name",
            );
            continue;
        }
        if let Err(fault) = check_name(name) {
            field.source.fail(key.place, &field.path, fault);
            continue;
        }
        let file = field.section().and_then(|mut section| {
            let file = section.require("file").and_then(|file| Some((file.try_file()?, file)));
            section.close();
            file
        });
        let plugin = match file {
            Some((Ok((path, bytes)), _)) => Declared::Read(source(name.clone(), bytes, Some(path))),
            Some((Err(fault), file)) => Declared::Unreadable(file.source.mistake(file.place(), &file.path, fault)),
            None => Declared::Mistaken,
        };
        plugins.insert(name.clone(), plugin);
    }
    plugins
}

fn source(name: String, bytes: Arc<[u8]>, file: Option<std::path::PathBuf>) -> Arc<PluginSource> {
    let sha256 = sha256(&bytes);
    Arc::new(PluginSource {
        name,
        bytes,
        sha256,
        file,
    })
}

/// A plugin as a policy would have it.
pub fn plugin_source(name: &str, bytes: &[u8], file: Option<std::path::PathBuf>) -> Arc<PluginSource> {
    source(name.to_owned(), Arc::from(bytes), file)
}

/// Letters, digits, `-`, `_` and `.`: what is readable in a metric, a log and a URL.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let sound = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > MAX_NAME_LENGTH || !name.chars().all(sound) {
        return Err(format!(
            "a name has 1 to {MAX_NAME_LENGTH} of the characters [A-Za-z0-9._-]"
        ));
    }
    Ok(())
}

/// A policy as it was written, before its place in a chain gave it a name.
#[derive(Clone)]
pub(super) struct WrittenPolicy {
    pub(super) plugin: Arc<PluginSource>,
    name: Option<(String, Place, String)>,
    settings: String,
    on_failure: OnFailure,
    mode: Mode,
    owner: Owner,
    written_at: WrittenAt,
}

/// Reads a list of policies. `taken` are the names that others in the chain were given.
pub(super) fn policies(
    list: &Field<'_>,
    owner: Owner,
    plugins: &Plugins,
    taken: &[&WrittenPolicy],
) -> Vec<WrittenPolicy> {
    let mut out: Vec<WrittenPolicy> = Vec::new();
    for item in list.items() {
        let Some(policy) = policy(&item, owner, plugins) else {
            continue;
        };
        if let Some((name, place, path)) = &policy.name {
            let same = |other: &WrittenPolicy| other.name.as_ref().is_some_and(|(other, ..)| other == name);
            if out.iter().any(same) || taken.iter().any(|other| same(other)) {
                item.source
                    .fail(*place, path, format!("another policy of this chain is named `{name}`"));
            }
        }
        out.push(policy);
    }
    out
}

fn policy(item: &Field<'_>, owner: Owner, plugins: &Plugins) -> Option<WrittenPolicy> {
    let mut section = item.section()?;
    let plugin = section
        .require("plugin")
        .and_then(|field| known_plugin(&field, plugins));
    let name = section.field("name").and_then(|field| {
        let name = field.text()?;
        if let Err(fault) = check_name(name) {
            field.fail(fault);
        }
        Some((name.to_owned(), field.place(), field.path))
    });
    let settings = match section.field("settings") {
        Some(field) => settings(&field),
        None => Some("{}".to_owned()),
    };
    let mut on_failure = OnFailure::RefuseSeries;
    if let Some(field) = section.field("on_failure") {
        let choice = field.choice(&[
            ("refuse_series", OnFailure::RefuseSeries),
            ("retry", OnFailure::Retry),
            ("bypass", OnFailure::Bypass),
        ]);
        if choice == Some(OnFailure::Bypass) && owner == Owner::Tenant {
            field.fail("only the operator's policies (`policies.before` and `policies.after`) may be bypassed");
        }
        on_failure = choice.unwrap_or(on_failure);
    }
    let mode = section.field("mode").and_then(|field| mode(&field));
    section.close();
    Some(WrittenPolicy {
        plugin: plugin?,
        name,
        settings: settings?,
        on_failure,
        mode: mode.unwrap_or(Mode::Enforce),
        owner,
        written_at: WrittenAt::of(item),
    })
}

/// A word, or `{enforce: 10%}`.
fn mode(field: &Field<'_>) -> Option<Mode> {
    if !matches!(field.node.value, Value::Map(_)) {
        return field.choice(&[("enforce", Mode::Enforce), ("shadow", Mode::Shadow)]);
    }
    let mut section = field.section()?;
    let part = section.require("enforce");
    section.close();
    let part = part?;
    let percent = part.text()?.strip_suffix('%').and_then(|percent| percent.parse().ok());
    match percent {
        Some(percent @ 1..=99) => Some(Mode::EnforcePart(percent)),
        Some(100) => Some(Mode::Enforce),
        _ => {
            part.fail("expected a whole percentage of the series, `1%` to `100%`; a policy that is enforced on none has `mode: shadow`");
            None
        }
    }
}

fn known_plugin(field: &Field<'_>, plugins: &Plugins) -> Option<Arc<PluginSource>> {
    let name = field.text()?;
    match plugins.get(name) {
        Some(Declared::Read(plugin)) => return Some(Arc::clone(plugin)),
        Some(Declared::Unreadable(fault)) => {
            field.fail(format!(
                "the file of plugin `{}` cannot be used: {}",
                quote(name),
                fault.message
            ));
            return None;
        }
        Some(Declared::Mistaken) => return None,
        None => {}
    }
    let known: Vec<&str> = plugins.keys().map(String::as_str).collect();
    let message = format!("there is no plugin `{}`; known are {}", quote(name), known.join(", "));
    field.fail_near(message, nearest(name, known.iter().copied()));
    None
}

/// JSON for the plugin. Nothing written under `settings:` is the same as no settings.
fn settings(field: &Field<'_>) -> Option<String> {
    match field.node.to_json().as_deref() {
        Ok("null") => Some("{}".to_owned()),
        Ok(json) => Some(json.to_owned()),
        Err(place) => {
            let message = "a number is not finite or has more than 64 bits; quote it if it is meant as text";
            field.source.fail(*place, &field.path, message);
            None
        }
    }
}

/// A policy that is asked about and that nobody has configured.
pub struct Proposed {
    /// Without one it has that of its plugin.
    pub name: Option<String>,
    pub plugin: Arc<PluginSource>,
    /// JSON.
    pub settings: String,
}

/// The tenant with `own` in place of its own policies, between the operator's; and where they are in its chain and how many.
/// None of its budgets is shown.
///
/// # Errors
/// The place of a policy whose name cannot be, and why.
pub fn with_own_policies(tenant: &Tenant, own: Vec<Proposed>) -> Result<(Tenant, usize, usize), (usize, String)> {
    let is_own = |policy: &Policy| policy.owner == Owner::Tenant;
    let is_after = |policy: &Policy| is_own(policy) || policy.written_at.key.starts_with("policies.after");
    let first = tenant
        .policies
        .iter()
        .position(is_after)
        .unwrap_or(tenant.policies.len());
    let mut taken: BTreeSet<String> = tenant
        .policies
        .iter()
        .filter(|policy| !is_own(policy))
        .map(|p| p.name.clone())
        .collect();
    for (place, name) in own
        .iter()
        .enumerate()
        .filter_map(|(place, one)| Some((place, one.name.as_ref()?)))
    {
        check_name(name).map_err(|fault| (place, fault))?;
        if !taken.insert(name.clone()) {
            return Err((place, format!("another policy of this chain is named `{name}`")));
        }
    }
    let count = own.len();
    let named = own.into_iter().map(|Proposed { name, plugin, settings }| Policy {
        name: name.unwrap_or_else(|| free_name(&plugin.name, &mut taken)),
        plugin,
        settings,
        on_failure: OnFailure::RefuseSeries,
        mode: Mode::Enforce,
        owner: Owner::Tenant,
        written_at: WrittenAt::default(),
    });
    let named: Vec<Policy> = named.collect();
    let mut policies: Vec<Policy> = tenant.policies[..first].to_vec();
    policies.extend(named);
    policies.extend(
        tenant.policies[first..]
            .iter()
            .filter(|policy| !is_own(policy))
            .cloned(),
    );
    let tenant = Tenant {
        policies,
        shown_budgets: Vec::new(),
        ..tenant.clone()
    };
    Ok((tenant, first, count))
}

/// The plugin's, numbered from 2 if others have it; taken from then on.
fn free_name(plugin: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number: usize| format!("{plugin}-{number}"));
    let mut names = std::iter::once(plugin.to_owned()).chain(numbered);
    let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// Joins the parts of a chain and names every policy: as given, else as its plugin, repeats numbered from 2.
pub(super) fn chain<'a>(parts: impl IntoIterator<Item = &'a WrittenPolicy>) -> Vec<Policy> {
    let parts: Vec<&WrittenPolicy> = parts.into_iter().collect();
    let mut taken: BTreeSet<String> = parts
        .iter()
        .filter_map(|part| part.name.clone())
        .map(|(name, ..)| name)
        .collect();
    let named = |part: &WrittenPolicy| match &part.name {
        Some((name, ..)) => name.clone(),
        None => free_name(&part.plugin.name, &mut taken),
    };
    let names: Vec<String> = parts.iter().copied().map(named).collect();
    let policy = |(part, name): (&WrittenPolicy, String)| Policy {
        name,
        plugin: Arc::clone(&part.plugin),
        settings: part.settings.clone(),
        on_failure: part.on_failure,
        mode: part.mode,
        owner: part.owner,
        written_at: part.written_at.clone(),
    };
    parts.into_iter().zip(names).map(policy).collect()
}
