//! `state_dir`: what served last, on disk, so that the last good generation of a tenant outlives the process.
//!
//! Takes the tenants that serve, gives them again after a start. Written after they were taken into use, and only what
//! differs; what is damaged or somebody else's is left out and told. Never fails a reload. Blocks, so it belongs on a
//! blocking thread.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use crate::config::{self, Tenant};
use crate::model::TenantId;
use crate::owned::{OwnedError, OwnedFolder};

const MAGIC: &[u8] = b"gauntlet state 1\n";
/// As much as a file of a configuration may have, and the authentication code.
const MAX_SIZE: u64 = (64 << 20) + 1024;
const TENANT: &str = ".tenant";
const PLUGIN: &str = ".wasm";

/// What lies in the folder.
pub struct Kept {
    folder: OwnedFolder,
    tenants: BTreeMap<TenantId, Arc<Tenant>>,
}

impl Kept {
    /// Reads what the folder has, or makes an empty one.
    ///
    /// # Errors
    /// If it cannot be made or listed, or someone else could have put something into it.
    pub fn open(path: &Path) -> Result<Self, OwnedError> {
        let mut it = Self {
            folder: OwnedFolder::open(path)?,
            tenants: BTreeMap::new(),
        };
        let mut plugins = HashMap::new();
        for name in it.folder.names()?.iter().filter(|name| name.ends_with(TENANT)) {
            match it.read(name, &mut plugins) {
                Ok(Some(tenant)) => drop(it.tenants.insert(tenant.id.clone(), Arc::new(tenant))),
                Ok(None) => tracing::warn!(name, "this file of state_dir is of another version or lacks a plugin"),
                Err(error) => tracing::warn!(%error, "a file of state_dir is not believed"),
            }
        }
        Ok(it)
    }

    pub fn tenants(&self) -> &BTreeMap<TenantId, Arc<Tenant>> {
        &self.tenants
    }

    /// Writes what of `serving` is not there as it is, and forgets who is not among the `known`; `None`: nobody.
    pub(super) fn keep(&mut self, serving: Vec<Arc<Tenant>>, known: Option<&BTreeSet<TenantId>>) {
        for tenant in serving {
            let is_there = |old: &Arc<Tenant>| Arc::ptr_eq(old, &tenant) || *old == tenant;
            let written = match self.tenants.get(&tenant.id).is_some_and(is_there) {
                true => Ok(()),
                false => self.write(&tenant),
            };
            match written {
                // Also what is the same: the next comparison is one of pointers, and what was read is freed.
                Ok(()) => drop(self.tenants.insert(tenant.id.clone(), tenant)),
                Err(error) => {
                    tracing::warn!(tenant = %tenant.id, %error, "state_dir cannot keep what serves this tenant");
                }
            }
        }
        let Some(known) = known else { return };
        self.tenants.retain(|id, _| known.contains(id));
        if let Err(error) = self.remove_unused() {
            tracing::warn!(%error, "state_dir cannot be cleaned");
        }
    }

    fn read(&self, name: &str, plugins: &mut HashMap<[u8; 32], Arc<[u8]>>) -> Result<Option<Tenant>, OwnedError> {
        let Some(json) = self.folder.read(name, MAGIC, name.as_bytes(), MAX_SIZE)? else {
            return Ok(None);
        };
        let tenant = config::from_kept(&json, |sha256| {
            if let Some(bytes) = plugins.get(sha256) {
                return Some(Arc::clone(bytes));
            }
            let bytes: Arc<[u8]> = self.plugin(sha256)?.into();
            plugins.insert(*sha256, Arc::clone(&bytes));
            Some(bytes)
        });
        Ok(tenant.filter(|tenant| tenant_name(&tenant.id) == name))
    }

    fn plugin(&self, sha256: &[u8; 32]) -> Option<Vec<u8>> {
        let name = plugin_name(sha256);
        let read = self.folder.read(&name, MAGIC, name.as_bytes(), MAX_SIZE);
        read.inspect_err(|error| tracing::warn!(%error, "a plugin of state_dir is not believed"))
            .ok()?
    }

    /// The plugins first: a tenant's file that is there has all that it needs.
    fn write(&self, tenant: &Tenant) -> Result<(), OwnedError> {
        let kept = self.tenants.values().flat_map(|tenant| &tenant.policies);
        let there: BTreeSet<[u8; 32]> = kept.map(|policy| policy.plugin.sha256).collect();
        for plugin in tenant.policies.iter().map(|policy| &policy.plugin) {
            if !there.contains(&plugin.sha256) {
                let name = plugin_name(&plugin.sha256);
                self.folder.write(&name, MAGIC, name.as_bytes(), &plugin.bytes)?;
            }
        }
        let name = tenant_name(&tenant.id);
        let Some(json) = config::to_kept(tenant) else {
            return Err(OwnedError::Shape(tenant.file.clone()));
        };
        self.folder.write(&name, MAGIC, name.as_bytes(), &json)
    }

    /// Removes the files of tenants that are not kept, and of plugins that no kept one uses.
    fn remove_unused(&self) -> Result<(), OwnedError> {
        let tenants = self.tenants.keys().map(tenant_name);
        let policies = self.tenants.values().flat_map(|tenant| &tenant.policies);
        let plugins = policies.map(|policy| plugin_name(&policy.plugin.sha256));
        let used: BTreeSet<String> = tenants.chain(plugins).collect();
        let ours = |name: &String| name.ends_with(TENANT) || name.ends_with(PLUGIN);
        let names = self.folder.names()?.into_iter().filter(ours);
        names
            .filter(|name| !used.contains(name))
            .try_for_each(|name| self.folder.remove(&name))
    }
}

/// An id may be longer than the name of a file.
fn tenant_name(id: &TenantId) -> String {
    let sha256 = digest(&SHA256, id.as_str().as_bytes());
    HEXLOWER.encode(sha256.as_ref()) + TENANT
}

fn plugin_name(sha256: &[u8; 32]) -> String {
    HEXLOWER.encode(sha256) + PLUGIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CertificateName, Credential, OnFailure, Owner, Password, PluginSource, Policy, WrittenAt};

    fn tenant(id: &str, wasm: &[u8]) -> Arc<Tenant> {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, wasm).as_ref());
        let plugin = PluginSource {
            name: "house".into(),
            bytes: wasm.into(),
            sha256,
            file: Some("/house.wasm".into()),
        };
        let basic = |password| Credential::BasicAuth {
            username: "u".into(),
            password,
        };
        let policy = Policy {
            name: "first".into(),
            plugin: Arc::new(plugin),
            settings: "{\"a\":1}".into(),
            on_failure: OnFailure::Bypass,
            mode: config::Mode::Enforce,
            owner: Owner::Operator,
            written_at: WrittenAt::default(),
        };
        Arc::new(Tenant {
            credentials: vec![
                Credential::ClientCertificate(CertificateName::UriSan("uri".into())),
                Credential::ClientCertificate(CertificateName::DnsSan("dns".into())),
                Credential::ClientCertificate(CertificateName::CommonName("cn".into())),
                Credential::BearerToken([7; 32]),
                basic(Password::Bcrypt("$2y$04$x".into())),
                basic(Password::Sha256([8; 32])),
            ],
            policies: vec![policy],
            ..config::tests::bare(id)
        })
    }

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    fn ids(kept: &Kept) -> Vec<&str> {
        kept.tenants().keys().map(TenantId::as_str).collect()
    }

    #[test]
    fn what_is_kept_is_there_again_to_the_last_field_until_it_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("state");
        let (a, b) = (tenant("a", b"one"), tenant("b", b"two"));
        let mut kept = Kept::open(&folder).unwrap();
        kept.keep(vec![Arc::clone(&a), b], None);
        let mut again = Kept::open(&folder).unwrap();
        assert_eq!(ids(&again), ["a", "b"]);
        assert_eq!(again.tenants()[&a.id], a);
        // The key, a tenant and its plugin.
        again.keep(vec![], Some(&BTreeSet::from([a.id.clone()])));
        assert_eq!(files(&folder), 3);
        assert_eq!(ids(&Kept::open(&folder).unwrap()), ["a"]);
    }

    #[test]
    fn what_is_damaged_or_renamed_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("state");
        let (a, b) = (tenant("a", b"one"), tenant("b", b"two"));
        Kept::open(&folder)
            .unwrap()
            .keep(vec![Arc::clone(&a), Arc::clone(&b)], None);
        let [of_a, of_b] = [&a, &b].map(|tenant| folder.join(tenant_name(&tenant.id)));
        let whole = std::fs::read(&of_a).unwrap();
        for at in [0, MAGIC.len(), whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&of_a, bytes).unwrap();
            assert_eq!(ids(&Kept::open(&folder).unwrap()), ["b"]);
        }
        // One tenant's file in the place of another's, and a plugin's in the place of another's.
        std::fs::write(&of_a, &whole).unwrap();
        std::fs::copy(&of_a, &of_b).unwrap();
        assert_eq!(ids(&Kept::open(&folder).unwrap()), ["a"]);
        let [one, two] = [&a, &b].map(|tenant| folder.join(plugin_name(&tenant.policies[0].plugin.sha256)));
        std::fs::copy(two, one).unwrap();
        assert!(ids(&Kept::open(&folder).unwrap()).is_empty());
    }
}
