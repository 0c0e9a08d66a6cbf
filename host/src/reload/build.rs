//! One generation of everything, from what was loaded and what serves already.
//!
//! Takes a configuration and the pipeline before, gives the next pipeline and what became of each tenant. In steps, each
//! of which says what the one before it left: what is unchanged goes on; what has changed is built; what is broken goes
//! on as it was, if it ever was. Never swaps anything in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;

use super::back::Predecessors;
use super::blocking::blocking;
use super::grace::{Graces, Holders};
use super::report::{Broken, ReloadError, Report, lines};
use crate::auth::{Authenticator, Waiting};
use crate::chain::{BuildError, Chain, Context};
use crate::config::{self, BrokenTenant, Config, Credential, Loaded};
use crate::model::TenantId;
use crate::model::breaker::{Breaker, Rests};
use crate::pipeline::{Pipeline, Shared};
use crate::tenant::{Account, Accounts, Generation, Tenants};
use crate::traces::Collector;

/// Chains built at once: compiling is one at a time anyway, configuring a few plugins is not.
const BUILDS_AT_ONCE: usize = 4;
/// Between tries of what could not be tried. Compiling may take all of its time in each.
const TRIES: Rests = Rests {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(600),
};
/// Mistakes in settings whose place is looked up in one build: an operator's policy may fail for a thousand tenants.
const EXACT_PLACES: usize = 16;

const MISSING: &str = "this tenant file is gone; what it configured goes on, and is let go if the file is still gone some \
                       polls later or when a reload is asked for";

/// What goes on from one build to the next.
#[derive(Default)]
pub(super) struct Lineage {
    pub(super) accounts: Accounts,
    /// What tenants can go back to.
    pub(super) predecessors: Predecessors,
    /// The number of the newest generation of any tenant.
    pub(super) generation: u64,
    /// Open where a chain could not be tried for want of room or of a processor: a poll tries again, whatever the files say.
    pub(super) again: Breaker,
    /// What was in use and is not configured any more.
    pub(super) graces: Graces,
    /// What `state_dir` has, for the first build.
    pub(super) kept: BTreeMap<TenantId, Arc<config::Tenant>>,
    /// The numbers of the generations that were made of it.
    restored: BTreeSet<u64>,
}

/// # Errors
/// If an upstream or the collector of traces cannot be set up. Nothing has changed then.
pub(super) async fn build(
    shared: &Arc<Shared>,
    lineage: &mut Lineage,
    loaded: Loaded,
    previous: Option<&Pipeline>,
    cause: &'static str,
) -> Result<(Pipeline, Report), ReloadError> {
    let Loaded {
        mut config,
        broken,
        plugins,
        found,
        warnings,
        ..
    } = loaded;
    let mut building = Building {
        shared,
        lineage,
        previous,
        restored: Vec::new(),
        tenants: BTreeMap::new(),
        report: Report {
            plugins: plugins.iter().map(ToString::to_string).collect(),
            warnings,
            ..Report::new(cause)
        },
    };
    let changed = building.go_on_with_the_unchanged(&config);
    building.build_the_changed(changed).await;
    building.restore(&config, &broken, &found.missing).await;
    let mut waiting = building.go_on_with_the_unreadable(broken);
    building.go_on_with_the_missing(&found.missing);
    waiting.are_more = building.report.unknown().next().is_some();
    building.tell_who_is_gone();
    building.tell_who_is_restored();
    let Building { tenants, report, .. } = building;
    report.log();

    keep_needed_upstreams(&mut config, &tenants, previous);
    let traces = collector(&config, previous)?;
    let upstreams = shared.upstreams.apply(&config.upstreams)?;
    let provable = provable(&config, &tenants);
    let grace = config.credential_grace;
    let now = Instant::now();
    let used = previous.map(|previous| previous.tenants.used_lately(grace, now));
    let held = Holders::new(&provable, &waiting.credentials);
    waiting.removed = lineage
        .graces
        .renew(used.unwrap_or_default(), &held, grace, now, &shared.metrics);
    let accounts = &mut lineage.accounts;
    accounts.forget_closed();
    lineage.predecessors.retain(|id| tenants.contains_key(id));
    let mut all = Tenants::default();
    tenants.into_values().for_each(|generation| all.serve(generation));
    for (id, tenant) in &provable {
        all.know(
            accounts.open(id, &shared.memos, &shared.watch, &shared.metrics),
            &tenant.credentials,
        );
    }
    let pipeline = Pipeline {
        config: Arc::new(config),
        authenticator: Arc::new(Authenticator::new(provable.into_values(), waiting)),
        tenants: all,
        upstreams,
        traces,
        shared: Arc::clone(shared),
    };
    Ok((pipeline, report))
}

/// One whose settings did not change keeps its connections.
fn collector(config: &Config, previous: Option<&Pipeline>) -> Result<Option<Arc<Collector>>, ReloadError> {
    let Some(settings) = &config.traces else {
        return Ok(None);
    };
    let before = previous.and_then(|previous| previous.traces.as_ref());
    match before.filter(|before| before.settings == *settings) {
        Some(before) => Ok(Some(Arc::clone(before))),
        None => Ok(Some(Arc::new(Collector::new(settings)?))),
    }
}

struct Building<'a> {
    shared: &'a Shared,
    lineage: &'a mut Lineage,
    previous: Option<&'a Pipeline>,
    /// What served an earlier process, of those that this one has nothing else for.
    restored: Vec<Arc<Generation>>,
    /// What is going to serve.
    tenants: BTreeMap<TenantId, Arc<Generation>>,
    report: Report,
}

impl Building<'_> {
    /// Unchanged tenants keep their instances, their memo and their generation. Gives the others.
    fn go_on_with_the_unchanged(&mut self, config: &Config) -> Vec<Arc<config::Tenant>> {
        let mut changed = Vec::new();
        for (id, tenant) in &config.tenants {
            match self.before(id).filter(|old| old.written() == tenant) {
                Some(old) => drop(self.tenants.insert(id.clone(), old)),
                None => changed.push(Arc::clone(tenant)),
            }
        }
        changed
    }

    /// One whose chain cannot be built goes on with the last one that could.
    async fn build_the_changed(&mut self, changed: Vec<Arc<config::Tenant>>) {
        let first = self.lineage.generation + 1;
        self.lineage.generation += changed.len() as u64;
        let mut may_pass = false;
        let changed = self.with_accounts(changed);
        for (number, (tenant, account), built) in build_chains(self.shared, first, changed).await {
            let id = tenant.id.clone();
            let generation = match built {
                Ok(chain) => {
                    if let Some(old) = self.before(&id) {
                        let predecessors = &mut self.lineage.predecessors;
                        predecessors.keep(&old, &tenant.policies, &self.shared.memory);
                    }
                    Some(self.generation(number, tenant, chain, account))
                }
                Err(error) => {
                    if error.may_pass() {
                        may_pass = true;
                        self.lineage.predecessors.clear();
                    }
                    let old = self.before(&id);
                    self.report.broken.push(Broken {
                        tenant: Some(id.clone()),
                        file: tenant.file.clone(),
                        error: with_its_place(&tenant, error, self.report.broken.len() < EXACT_PLACES).await,
                        serving: old.as_ref().map(|old| old.number()),
                        is_restored: false,
                        credentials_unknown: has_more(&tenant.credentials, old.as_deref()),
                    });
                    old
                }
            };
            self.tenants.extend(generation.map(|generation| (id, generation)));
        }
        self.try_again(may_pass);
    }

    /// Some time later, longer each time: the next try may take what is missing from those who serve.
    fn try_again(&mut self, may_pass: bool) {
        let again = &mut self.lineage.again;
        if may_pass {
            again.open(Instant::now(), TRIES, None);
        } else {
            again.close();
            again.forget();
        }
    }

    /// Makes again what served an earlier process, for those whose configuration is at fault or gone.
    async fn restore(&mut self, config: &Config, broken: &[BrokenTenant], missing: &BTreeSet<PathBuf>) {
        let wanted = |kept: &config::Tenant| {
            let is_it = |broken: &BrokenTenant| match &broken.tenant {
                Some(id) => *id == kept.id,
                None => broken.file == kept.file,
            };
            config.tenants.contains_key(&kept.id) || missing.contains(&kept.file) || broken.iter().any(is_it)
        };
        let can_send = |kept: &config::Tenant| kept.upstreams.iter().all(|name| config.upstreams.contains_key(name));
        let kept = self.lineage.kept.values();
        let needed = kept
            .filter(|kept| !self.tenants.contains_key(&kept.id) && wanted(kept))
            .cloned();
        let (needed, others): (Vec<_>, Vec<_>) = needed.partition(|kept| can_send(kept));
        for kept in others {
            tracing::warn!(tenant = %kept.id, "what state_dir has of this tenant names an upstream that is not configured any more");
        }
        let first = self.lineage.generation + 1;
        self.lineage.generation += needed.len() as u64;
        let needed = self.with_accounts(needed);
        for (number, (tenant, account), built) in build_chains(self.shared, first, needed).await {
            match built {
                Ok(chain) => {
                    let generation = self.generation(number, tenant, chain, account);
                    self.lineage.restored.insert(number);
                    self.go_on_where_it_could_not_be_built(config, &generation);
                    self.restored.push(generation);
                }
                Err(error) => {
                    tracing::warn!(tenant = %tenant.id, %error, "what state_dir has of this tenant cannot be used");
                }
            }
        }
    }

    /// Its file is sound and was told to be at fault already.
    fn go_on_where_it_could_not_be_built(&mut self, config: &Config, generation: &Arc<Generation>) {
        let id = &generation.config().id;
        let told = self.report.broken.iter_mut();
        if let Some(told) = told.into_iter().find(|told| told.tenant.as_ref() == Some(id)) {
            told.serving = Some(generation.number());
            let written = config.tenants.get(id).map_or(&[][..], |tenant| &tenant.credentials);
            told.credentials_unknown |= has_more(written, Some(generation));
            self.tenants.insert(id.clone(), Arc::clone(generation));
        }
    }

    fn with_accounts(&mut self, tenants: Vec<Arc<config::Tenant>>) -> Vec<Accounted> {
        let Shared {
            memos, watch, metrics, ..
        } = self.shared;
        let accounts = &mut self.lineage.accounts;
        let with_account = |tenant: Arc<config::Tenant>| {
            let account = accounts.open(&tenant.id, memos, watch, metrics);
            (tenant, account)
        };
        tenants.into_iter().map(with_account).collect()
    }

    fn generation(
        &self,
        number: u64,
        tenant: Arc<config::Tenant>,
        chain: Chain,
        account: Arc<Account>,
    ) -> Arc<Generation> {
        let (key, clock) = (&self.shared.hash_key, self.shared.clock);
        Arc::new(Generation::new(number, tenant, chain, account, key, clock))
    }

    fn tell_who_is_restored(&mut self) {
        for broken in &mut self.report.broken {
            broken.is_restored = broken
                .serving
                .is_some_and(|number| self.lineage.restored.contains(&number));
        }
    }

    /// A file that cannot be read takes nothing from the tenant that it configured before. Gives the credentials of
    /// those that were never served: whoever proves one is told to wait. The file that a tenant was read from comes
    /// before others that name it.
    fn go_on_with_the_unreadable(&mut self, broken: Vec<BrokenTenant>) -> Waiting {
        let mut waiting = Waiting::default();
        let (own, others): (Vec<_>, Vec<_>) = broken.into_iter().partition(|broken| self.is_own(broken));
        for broken in own.into_iter().chain(others) {
            let old = self.before_in(&broken);
            let are_more = has_more(&broken.credentials, old.as_deref());
            let are_unknown = !broken.credentials_known || are_more;
            if old.is_none() {
                waiting.credentials.extend(broken.credentials);
            }
            let id = old.as_ref().map(|old| old.config().id.clone());
            self.report.broken.push(Broken {
                tenant: broken.tenant.or_else(|| id.clone()),
                file: broken.file,
                error: lines(&broken.errors),
                serving: old.as_ref().map(|old| old.number()),
                is_restored: false,
                credentials_unknown: are_unknown,
            });
            self.tenants.extend(id.zip(old));
        }
        waiting
    }

    /// A file that is gone takes nothing from the tenant that it configured, until its absence is believed.
    fn go_on_with_the_missing(&mut self, missing: &BTreeSet<PathBuf>) {
        for file in missing {
            let old = self.before_from(file).cloned();
            let id = old.as_ref().map(|old| old.config().id.clone());
            if id.as_ref().is_some_and(|id| self.tenants.contains_key(id)) {
                // Another file has it now: this one was renamed.
                continue;
            }
            self.report.broken.push(Broken {
                tenant: id.clone(),
                file: file.clone(),
                error: MISSING.to_owned(),
                serving: old.as_ref().map(|old| old.number()),
                is_restored: false,
                credentials_unknown: old.is_none(),
            });
            self.tenants.extend(id.zip(old));
        }
    }

    fn tell_who_is_gone(&self) {
        let before = self
            .previous
            .into_iter()
            .flat_map(|previous| previous.tenants.serving());
        for old in before.filter(|old| !self.tenants.contains_key(&old.config().id)) {
            let (tenant, file) = (&old.config().id, old.config().file.display());
            tracing::info!(%tenant, %file, "the tenant is not configured any more and is let go");
        }
    }

    fn before_from(&self, file: &Path) -> Option<&Arc<Generation>> {
        self.serving_before().find(|old| old.config().file == file)
    }

    fn serving_before(&self) -> impl Iterator<Item = &Arc<Generation>> {
        let previous = self
            .previous
            .into_iter()
            .flat_map(|previous| previous.tenants.serving());
        previous.chain(&self.restored)
    }

    fn is_own(&self, broken: &BrokenTenant) -> bool {
        self.before_from(&broken.file)
            .is_some_and(|old| broken.tenant.as_ref().is_none_or(|id| *id == old.config().id))
    }

    fn before(&self, id: &TenantId) -> Option<Arc<Generation>> {
        self.previous?.tenants.get(id).cloned()
    }

    /// What served whom `broken` configures, as far as that can be told, and does not serve on already.
    fn before_in(&self, broken: &BrokenTenant) -> Option<Arc<Generation>> {
        let is_it = |old: &config::Tenant| match &broken.tenant {
            Some(id) => *id == old.id,
            None => broken.file == old.file,
        };
        let mut all = self.serving_before();
        let left = |old: &&Arc<Generation>| !self.tenants.contains_key(&old.config().id);
        all.find(|old| left(old) && is_it(old.config())).cloned()
    }
}

/// Whether some of what is `written` are not those of what goes `on`: it knows nothing of a credential that came with a
/// mistake.
fn has_more(written: &[Credential], on: Option<&Generation>) -> bool {
    on.is_some_and(|on| written.iter().any(|one| !on.config().credentials.contains(one)))
}

/// A tenant's configuration, and what the tenant has whatever that says.
type Accounted = (Arc<config::Tenant>, Arc<Account>);

async fn build_chains(
    shared: &Shared,
    first: u64,
    tenants: Vec<Accounted>,
) -> Vec<(u64, Accounted, Result<Chain, BuildError>)> {
    let builds = (first..)
        .zip(tenants)
        .map(|(generation, (tenant, account))| async move {
            let (context, policies) = (Context::of(&tenant), &tenant.policies);
            let chain = Chain::build_with(&shared.engine, &context, policies, generation, account.samples()).await;
            (generation, (tenant, account), chain)
        });
    futures_util::stream::iter(builds)
        .buffered(BUILDS_AT_ONCE)
        .collect()
        .await
}

/// What is wrong with a policy of `tenant`, as is told of any other mistake in the file that has the policy; the `exact`
/// place in its settings is looked up in the file.
async fn with_its_place(tenant: &config::Tenant, error: BuildError, exact: bool) -> String {
    let Some(policy) = tenant.policies.iter().find(|policy| policy.name == error.policy) else {
        return error.to_string();
    };
    let at = policy.written_at.clone();
    let told = move || match error.of_settings().filter(|_| exact) {
        Some(said) => at.mistake_in_settings(said, error.to_string()),
        None => at.mistake(error.to_string()),
    };
    blocking(told).await.to_string()
}

/// Who can be proved: everybody served, and the sound tenants without a generation, whose writes wait (503) and are
/// not refused (401). A tenant that goes on with an old generation loses what the new configuration gives to another:
/// a credential that proves two tenants proves none, and the other one did nothing wrong.
fn provable(config: &Config, tenants: &BTreeMap<TenantId, Arc<Generation>>) -> BTreeMap<TenantId, Arc<config::Tenant>> {
    let given: HashMap<Vec<u8>, &TenantId> = config
        .tenants
        .values()
        .flat_map(|tenant| {
            tenant
                .credentials
                .iter()
                .map(|credential| (credential.identity(), &tenant.id))
        })
        .collect();
    let mut provable = config.tenants.clone();
    for (id, tenant) in tenants {
        let stays = |c: &Credential| given.get(&c.identity()).is_none_or(|owner| *owner == id);
        let served = match tenant.config().credentials.iter().all(stays) {
            true => Arc::clone(tenant.config()),
            false => {
                let mut config = (**tenant.config()).clone();
                config.credentials.retain(stays);
                Arc::new(config)
            }
        };
        provable.insert(id.clone(), served);
    }
    provable
}

/// A tenant that goes on with an old generation may name an upstream that the new configuration has no more.
fn keep_needed_upstreams(
    config: &mut Config,
    tenants: &BTreeMap<TenantId, Arc<Generation>>,
    previous: Option<&Pipeline>,
) {
    let Some(previous) = previous else { return };
    for name in tenants.values().flat_map(|tenant| &tenant.config().upstreams) {
        if !config.upstreams.contains_key(name)
            && let Some(upstream) = previous.config.upstreams.get(name)
        {
            config.upstreams.insert(name.clone(), Arc::clone(upstream));
        }
    }
}
