//! What two tenants claim: a name or a credential belongs to who had it before, or else to the first, or to none.
//!
//! Takes all tenants as read and the incumbents, breaks those that claim what is another's. Never leaves a credential
//! with two, and never lets a newcomer take over what serves: not by its file's name, not while the incumbent's file
//! cannot be read. Pure.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use super::incumbents::Incumbents;
use super::resolve::WHOLE_FILE;
use super::{ConfigError, Tenant, file, section, tenant};
use crate::model::TenantId;

/// A tenant as read, sound or not, until the whole set was looked at.
pub(super) struct ReadTenant {
    /// As messages name it.
    pub(super) file: PathBuf,
    pub(super) absolute: PathBuf,
    pub(super) inline: bool,
    pub(super) tenant: tenant::Read,
    pub(super) errors: Vec<ConfigError>,
}

impl ReadTenant {
    pub(super) fn of_file(file: PathBuf, absolute: PathBuf, tenant: tenant::Read) -> Self {
        Self {
            file,
            absolute,
            inline: false,
            tenant,
            errors: vec![],
        }
    }

    pub(super) fn name(&self) -> String {
        self.tenant
            .id
            .as_ref()
            .map_or_else(|| "?".to_owned(), TenantId::to_string)
    }

    fn break_at(&mut self, place: file::Place, key: &str, message: String) {
        self.tenant.tenant = None;
        self.errors.push(section::mistake(&self.file, place, key, message));
    }
}

/// Breaks who claims another's. `missing` are the files of incumbents that are no more.
pub(super) fn settle(read: &mut [ReadTenant], incumbents: &Incumbents, missing: &BTreeSet<PathBuf>) {
    name_the_nameless(read, incumbents);
    same_id_twice(read, incumbents);
    same_credential_twice(read, incumbents, missing);
}

/// A file that does not even say whose it is is still whose it was.
fn name_the_nameless(read: &mut [ReadTenant], incumbents: &Incumbents) {
    let by_file = incumbents.by_file();
    let nameless = read.iter_mut().filter(|one| one.tenant.id.is_none() && !one.inline);
    for one in nameless {
        one.tenant.id = by_file.get(one.absolute.as_path()).map(|id| (*id).clone());
    }
}

/// The file that served a tenant before has it, or else the first: neither a copy left beside the original nor a
/// newcomer that sorts first takes it over. A file that was renamed is no newcomer, since the old name is gone.
fn same_id_twice(read: &mut [ReadTenant], incumbents: &Incumbents) {
    let mut holders: BTreeMap<TenantId, usize> = BTreeMap::new();
    for (index, one) in read.iter().enumerate() {
        let Some(id) = one.tenant.id.clone() else { continue };
        let served = incumbents.tenant(&id);
        // Of files that none served a sound one comes before a broken one.
        let is_better = |first: usize| match served {
            Some(served) => served.file == one.absolute,
            None => read[first].tenant.tenant.is_none() && one.tenant.tenant.is_some(),
        };
        match holders.entry(id) {
            Entry::Vacant(free) => drop(free.insert(index)),
            Entry::Occupied(mut first) if is_better(*first.get()) && !read[*first.get()].inline => {
                *first.get_mut() = index
            }
            Entry::Occupied(_) => {}
        }
    }
    for index in 0..read.len() {
        let one = &read[index];
        let Some(id) = one.tenant.id.as_ref().filter(|_| !one.inline) else {
            continue;
        };
        let holder = holders.get(id).copied().filter(|holder| *holder != index);
        if let Some(holder) = holder.map(|holder| &read[holder]) {
            let message = format!(
                "tenant `{id}` is written in {} already, which is the one that counts",
                holder.file.display()
            );
            read[index].break_at(WHOLE_FILE, "tenant", message);
        }
    }
}

/// A credential that two tenants claim is the incumbent's. If neither is, it proves neither and both are broken: to
/// serve the first would let a new file take over another tenant's writes by repeating the name in its certificate,
/// which is no secret.
fn same_credential_twice(read: &mut [ReadTenant], incumbents: &Incumbents, missing: &BTreeSet<PathBuf>) {
    let holders = incumbents.holders();
    let mut claims: BTreeMap<Vec<u8>, Vec<(usize, usize)>> = BTreeMap::new();
    for (index, tenant) in read.iter().enumerate() {
        for (nth, written) in tenant.tenant.credentials.iter().enumerate() {
            claims
                .entry(written.credential.identity())
                .or_default()
                .push((index, nth));
        }
    }
    let goes_on_blind = goes_on_blind(read, missing);
    let mut faults = Vec::new();
    for (identity, claim) in &claims {
        let incumbent = holders.get(identity).filter(|it| {
            let claims_it = |&(index, _): &(usize, usize)| read[index].tenant.id.as_ref() == Some(&it.id);
            claim.iter().any(claims_it) || goes_on_blind(it)
        });
        for &(index, nth) in claim {
            let message = match incumbent {
                Some(incumbent) => taken_by(&read[index], incumbent, read),
                None => shared_with_another(index, claim, read),
            };
            let mine = &read[index].tenant.credentials[nth];
            faults.extend(message.map(|message| (index, mine.place, mine.path.clone(), message)));
        }
    }
    for (index, place, path, message) in faults {
        read[index].break_at(place, &path, message);
    }
}

/// Whether an incumbent goes on as it was because nothing tells what its credentials are now.
fn goes_on_blind<'a>(read: &[ReadTenant], missing: &'a BTreeSet<PathBuf>) -> impl Fn(&Tenant) -> bool + 'a {
    let mut told: HashMap<TenantId, (bool, bool)> = HashMap::new();
    for one in read {
        if let Some(id) = &one.tenant.id {
            let (is_sound, are_known) = told.entry(id.clone()).or_insert((false, true));
            *is_sound |= one.tenant.tenant.is_some();
            *are_known &= one.tenant.credentials_known;
        }
    }
    move |incumbent| match told.get(&incumbent.id) {
        // A leftover copy that cannot be read says nothing against the file that counts.
        Some((is_sound, are_known)) => !is_sound && !are_known,
        None => missing.contains(&incumbent.file),
    }
}

/// `None` if it is the incumbent's own.
fn taken_by(me: &ReadTenant, incumbent: &Arc<Tenant>, read: &[ReadTenant]) -> Option<String> {
    let is_it = |one: &&ReadTenant| one.tenant.id.as_ref() == Some(&incumbent.id);
    if is_it(&me) {
        return None;
    }
    // By the name that messages use, if there is one.
    let shown = read.iter().find(|one| one.absolute == incumbent.file);
    let file = shown.map_or(&incumbent.file, |one| &one.file);
    Some(format!(
        "the same credential belongs to tenant `{}` ({}), which is served with it; this tenant is not served until one \
         gives it up",
        incumbent.id,
        file.display()
    ))
}

/// `None` if nobody else claims it but a copy of the same tenant's file, which is told so by its id.
fn shared_with_another(index: usize, claim: &[(usize, usize)], read: &[ReadTenant]) -> Option<String> {
    let me = &read[index];
    let same_tenant = |other: &ReadTenant| other.tenant.id.is_some() && other.tenant.id == me.tenant.id;
    let others = claim.iter().map(|&(other, _)| other).filter(|other| *other != index);
    let other = others.map(|other| &read[other]).find(|other| !same_tenant(other))?;
    Some(format!(
        "the same credential belongs to tenant `{}` ({}); neither is served until one gives it up",
        other.name(),
        other.file.display()
    ))
}
