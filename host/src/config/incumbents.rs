//! What serves while a new configuration is read: absence and newcomers are judged by it.
//!
//! Takes the tenants in use and where they were found; says whose a file, a name or a credential is. Never says that
//! something is gone because it is not there now. Looks at disk for missing files alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Tenant;
use crate::model::TenantId;

/// Where a load found tenants by `tenant_files`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The patterns that match a file.
    pub patterns: BTreeSet<PathBuf>,
    /// The files there are. Absolute.
    pub files: BTreeSet<PathBuf>,
    /// Files of the incumbents that are no more. Who was served by one goes on until its absence is believed.
    pub missing: BTreeSet<PathBuf>,
}

/// The tenants in use.
#[derive(Debug, Clone, Default)]
pub struct Incumbents {
    tenants: BTreeMap<TenantId, Arc<Tenant>>,
    patterns: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
}

impl Incumbents {
    /// `patterns` matched something; `files` are the tenant files that are missed if they are gone.
    pub fn new(
        tenants: BTreeMap<TenantId, Arc<Tenant>>,
        patterns: BTreeSet<PathBuf>,
        files: BTreeSet<PathBuf>,
    ) -> Self {
        Self {
            tenants,
            patterns,
            files,
        }
    }

    pub(super) fn tenant(&self, id: &TenantId) -> Option<&Arc<Tenant>> {
        self.tenants.get(id)
    }

    pub(super) fn matched(&self, pattern: &Path) -> bool {
        self.patterns.contains(pattern)
    }

    /// The tenants by the file that each was read from, which is one file per tenant but for the main file's.
    pub(super) fn by_file(&self) -> HashMap<&Path, &TenantId> {
        let files = self.tenants.values().map(|tenant| (tenant.file.as_path(), &tenant.id));
        files.collect()
    }

    /// Who holds which credential, by its identity.
    pub(super) fn holders(&self) -> HashMap<Vec<u8>, &Arc<Tenant>> {
        let held = |tenant| move |credential: &super::Credential| (credential.identity(), tenant);
        let all = self.tenants.values();
        all.flat_map(|tenant| tenant.credentials.iter().map(held(tenant)))
            .collect()
    }

    /// The tenant files that are neither in `found` nor on disk any more. One that is there and is no longer named was
    /// taken out by the main file, on purpose.
    pub(super) fn missing_from(&self, found: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
        let gone = self
            .files
            .iter()
            .filter(|file| !found.contains(*file) && !file.is_file());
        gone.cloned().collect()
    }
}
