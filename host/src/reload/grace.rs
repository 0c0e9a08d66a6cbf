//! Credentials that were in use and are not configured any more: for some time whoever has one is told to wait, so that what
//! was taken away by mistake costs no data.
//!
//! Takes who could be proved before and who can be now, gives what is told to wait. Never gives a credential that anybody
//! has now, and keeps nothing of one but what the configuration had: digests and names.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::Removed;
use crate::config::{self, Credential};
use crate::model::TenantId;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::CredentialLabels;

/// Of all tenants: a thousand with four each. The oldest go first.
const MOST: usize = 4096;
/// A line for each of so many that go in one reload; the metric and the requests name the others.
const TOLD: usize = 20;

/// All whose time is not over, also those that came back meanwhile: a file that comes and goes is still the same mistake.
#[derive(Debug, Default)]
pub(super) struct Graces(Vec<Grace>);

#[derive(Debug)]
struct Grace {
    tenant: TenantId,
    credential: Credential,
    /// When it was removed last.
    since: Instant,
}

/// Who has which credential now.
pub(super) struct Holders<'a> {
    tenants: &'a BTreeMap<TenantId, Arc<config::Tenant>>,
    /// Those of tenants that wait, whoever these are.
    credentials: HashSet<&'a Credential>,
    /// By what selects a credential: of passwords that is the username.
    owners: HashMap<Vec<u8>, &'a TenantId>,
}

impl<'a> Holders<'a> {
    pub(super) fn new(tenants: &'a BTreeMap<TenantId, Arc<config::Tenant>>, waiting: &'a [Credential]) -> Self {
        let all = || {
            let of = |tenant: &'a Arc<config::Tenant>| tenant.credentials.iter().map(move |it| (it, &tenant.id));
            tenants.values().flat_map(of)
        };
        Self {
            tenants,
            credentials: all().map(|(credential, _)| credential).chain(waiting).collect(),
            owners: all().map(|(credential, id)| (credential.identity(), id)).collect(),
        }
    }

    fn has(&self, credential: &Credential) -> bool {
        self.credentials.contains(credential)
    }

    fn is_anothers(&self, grace: &Grace) -> bool {
        let owner = self.owners.get(&grace.credential.identity());
        owner.is_some_and(|owner| **owner != grace.tenant)
    }

    /// What is refused in any case has no need to wait.
    fn is_disabled(&self, tenant: &TenantId) -> bool {
        self.tenants.get(tenant).is_some_and(|tenant| !tenant.enabled)
    }
}

impl Graces {
    /// What is told to wait from `now` on. `used` are those that proved a tenant lately before this reload, each with how long
    /// ago that was.
    pub(super) fn renew(
        &mut self,
        used: Vec<(TenantId, Credential, Duration)>,
        held: &Holders<'_>,
        grace: Duration,
        now: Instant,
        metrics: &Metrics,
    ) -> Vec<Removed> {
        let goes_on = |it: &Grace| now.saturating_duration_since(it.since) < grace && !held.is_anothers(it);
        let (going_on, over): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0).into_iter().partition(goes_on);
        self.0 = going_on;
        over.iter().for_each(|grace| forget(grace, metrics));
        let removed = used
            .into_iter()
            .filter(|(tenant, credential, _)| !grace.is_zero() && !held.has(credential) && !held.is_disabled(tenant));
        self.add(removed.collect(), held, now);
        let beyond = self.0.len().saturating_sub(MOST);
        self.0.drain(..beyond).for_each(|grace| forget(&grace, metrics));
        let waits = |it: &&Grace| !held.has(&it.credential) && !held.is_disabled(&it.tenant);
        let removed = |it: &Grace| Removed {
            credential: it.credential.clone(),
            tenant: it.tenant.clone(),
            until: it.since + grace,
        };
        self.0.iter().filter(waits).map(removed).collect()
    }

    fn add(&mut self, removed: Vec<(TenantId, Credential, Duration)>, held: &Holders<'_>, now: Instant) {
        let grace = |(tenant, credential, ago)| {
            let grace = Grace {
                tenant,
                credential,
                since: now,
            };
            (grace, ago)
        };
        let new = removed.into_iter().map(grace);
        let new: Vec<(Grace, Duration)> = new.filter(|(grace, _)| !held.is_anothers(grace)).collect();
        for (grace, ago) in new.iter().take(TOLD) {
            let used_seconds_ago = ago.as_secs();
            tracing::warn!(tenant = %grace.tenant, credential = %grace.credential, used_seconds_ago, "a credential that is in use is not configured any more: who has it is told to wait (credential_grace) and refused later");
        }
        if let Some(untold @ 1..) = new.len().checked_sub(TOLD) {
            tracing::warn!(untold, "more credentials that are in use are not configured any more");
        }
        let again: HashSet<_> = new.iter().map(|(new, _)| (&new.tenant, &new.credential)).collect();
        self.0.retain(|old| !again.contains(&(&old.tenant, &old.credential)));
        self.0.extend(new.into_iter().map(|(grace, _)| grace));
    }
}

/// Another one of the tenant may have the same name, whose requests are then counted from zero.
fn forget(grace: &Grace, metrics: &Metrics) {
    let (tenant, credential) = (grace.tenant.to_string(), grace.credential.to_string());
    metrics
        .removed_credential_requests
        .remove(&CredentialLabels { tenant, credential });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Password;

    const HOUR: Duration = Duration::from_secs(3600);

    fn id(id: &str) -> TenantId {
        TenantId::new(id).unwrap()
    }

    fn token(byte: u8) -> Credential {
        Credential::BearerToken([byte; 32])
    }

    fn password(username: &str, byte: u8) -> Credential {
        Credential::BasicAuth {
            username: username.into(),
            password: Password::Sha256([byte; 32]),
        }
    }

    fn used(tenant: &str, credential: Credential) -> Vec<(TenantId, Credential, Duration)> {
        vec![(id(tenant), credential, Duration::from_secs(5))]
    }

    fn tenants(all: &[(&str, &[Credential])]) -> BTreeMap<TenantId, Arc<config::Tenant>> {
        let one = |(name, credentials): &(&str, &[Credential])| {
            let tenant = config::Tenant {
                credentials: credentials.to_vec(),
                ..config::tests::bare(name)
            };
            (id(name), Arc::new(tenant))
        };
        all.iter().map(one).collect()
    }

    struct Reloads {
        graces: Graces,
        metrics: Metrics,
        now: Instant,
    }

    impl Reloads {
        fn new() -> Self {
            Self {
                graces: Graces::default(),
                metrics: Metrics::new(),
                now: Instant::now(),
            }
        }

        /// Whose credentials wait after a reload that leaves `all`, some seconds after the last one.
        fn next(
            &mut self,
            seconds: u64,
            used: Vec<(TenantId, Credential, Duration)>,
            all: &BTreeMap<TenantId, Arc<config::Tenant>>,
            grace: Duration,
        ) -> Vec<(String, Credential)> {
            self.now += Duration::from_secs(seconds);
            let held = Holders::new(all, &[]);
            let removed = self.graces.renew(used, &held, grace, self.now, &self.metrics);
            assert!(removed.iter().all(|removed| removed.until > self.now));
            let shown = |it: Removed| (it.tenant.to_string(), it.credential);
            removed.into_iter().map(shown).collect()
        }
    }

    #[test]
    fn what_was_used_lately_waits_until_its_time_is_over() {
        let mut reloads = Reloads::new();
        let (nobody, waits) = (tenants(&[]), vec![("a".to_owned(), token(1))]);
        assert_eq!(reloads.next(0, vec![], &nobody, HOUR), []);
        assert_eq!(reloads.next(0, used("a", token(1)), &nobody, HOUR), waits);
        assert_eq!(reloads.next(3599, vec![], &nobody, HOUR), waits);
        assert_eq!(reloads.next(1, vec![], &nobody, HOUR), []);
        assert!(reloads.graces.0.is_empty());
    }

    #[test]
    fn a_chain_of_reloads_removed_and_added_and_removed_again_and_moved() {
        let mut reloads = Reloads::new();
        let (nobody, waits) = (tenants(&[]), vec![("a".to_owned(), token(1))]);
        let mine = tenants(&[("a", &[token(1)])]);
        assert_eq!(reloads.next(0, used("a", token(1)), &nobody, HOUR), waits);
        // Back, and gone again before anybody used it.
        assert_eq!(reloads.next(1, vec![], &mine, HOUR), []);
        assert_eq!(reloads.next(1, vec![], &nobody, HOUR), waits);
        // Another's: at once, and for good.
        let moved = tenants(&[("b", &[token(1)])]);
        assert_eq!(reloads.next(1, vec![], &moved, HOUR), []);
        assert_eq!(reloads.next(1, vec![], &nobody, HOUR), []);
        assert_eq!(
            reloads.next(1, used("b", token(1)), &nobody, HOUR),
            [("b".to_owned(), token(1))]
        );
    }

    #[test]
    fn an_old_password_waits_unless_the_user_is_another_tenants() {
        let mut reloads = Reloads::new();
        let changed = tenants(&[("a", &[password("u", 2)])]);
        let waits = vec![("a".to_owned(), password("u", 1))];
        assert_eq!(reloads.next(0, used("a", password("u", 1)), &changed, HOUR), waits);
        let moved = tenants(&[("b", &[password("u", 2)])]);
        assert_eq!(reloads.next(0, vec![], &moved, HOUR), []);
    }

    #[test]
    fn nothing_waits_for_a_tenant_that_is_disabled_or_without_a_grace() {
        let mut reloads = Reloads::new();
        let mut all = tenants(&[("a", &[])]);
        Arc::make_mut(all.get_mut(&id("a")).unwrap()).enabled = false;
        assert_eq!(reloads.next(0, used("a", token(1)), &all, HOUR), []);
        let nobody = tenants(&[]);
        assert_eq!(reloads.next(0, used("a", token(1)), &nobody, Duration::ZERO), []);
        // Switched off while some wait: at once.
        assert_eq!(reloads.next(0, used("a", token(1)), &nobody, HOUR).len(), 1);
        assert_eq!(reloads.next(0, vec![], &nobody, Duration::ZERO), []);
    }

    #[test]
    fn there_are_so_many_and_the_oldest_go() {
        let mut reloads = Reloads::new();
        let one = |n: usize| (id("a"), password(&n.to_string(), 1), Duration::ZERO);
        let many = (0..=MOST).map(one).collect();
        let waiting = reloads.next(0, many, &tenants(&[]), HOUR);
        assert_eq!(waiting.len(), MOST);
        assert_eq!(waiting[0].1, password("1", 1));
    }
}
