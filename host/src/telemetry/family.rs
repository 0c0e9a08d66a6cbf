//! Metrics of one name, told apart by their labels.
//!
//! Takes labels, gives the metric that has them, made when it is first asked for. Unlike the library's own family it can be
//! asked to forget all that is labelled with tenants that are gone, and to have its metrics replaced in one step. Never
//! holds its lock for longer than a look, but where it is written out or forgets.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// What tells metrics of one name apart.
pub trait MetricLabels: EncodeLabelSet + Clone + Eq + Hash + Debug + Send + Sync + 'static {
    /// The tenant with whose account the metric is to go; `None` if it is to go in another way, or never.
    fn tenant(&self) -> Option<&str> {
        None
    }
}

/// Clones are the same family.
#[derive(Debug)]
pub struct Family<L, M> {
    all: Arc<RwLock<HashMap<L, M>>>,
    make: fn() -> M,
}

impl<L, M> Clone for Family<L, M> {
    fn clone(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
            make: self.make,
        }
    }
}

impl<L, M: Default> Default for Family<L, M> {
    fn default() -> Self {
        Self::made_by(M::default)
    }
}

impl<L, M> Family<L, M> {
    pub fn made_by(make: fn() -> M) -> Self {
        Self {
            all: Arc::default(),
            make,
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<L, M>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<L, M>> {
        self.all.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: MetricLabels, M: Clone> Family<L, M> {
    /// A handle: whoever counts often keeps it.
    pub fn get_or_create(&self, labels: &L) -> M {
        if let Some(metric) = self.read().get(labels) {
            return metric.clone();
        }
        self.write().entry(labels.clone()).or_insert_with(self.make).clone()
    }

    pub fn remove(&self, labels: &L) {
        self.write().remove(labels);
    }

    pub fn clear(&self) {
        self.write().clear();
    }

    /// Has these metrics and no others from now on; whoever reads sees all of the old or all of the new.
    pub fn replace(&self, all: HashMap<L, M>) {
        *self.write() = all;
    }

    /// Forgets the metrics of tenants that are gone.
    pub(super) fn forget(&self, is_gone: &dyn Fn(&str) -> bool) {
        let stays = |labels: &L| !labels.tenant().is_some_and(is_gone);
        // As a rule it has none of them, and then nobody waits.
        if self.read().keys().all(stays) {
            return;
        }
        self.write().retain(|labels, _| stays(labels));
    }
}

/// A metric that is there once it is needed: what few policies have is no series of the others.
#[derive(Debug)]
pub struct Late<L, M> {
    family: Family<L, M>,
    labels: L,
    made: OnceLock<M>,
}

impl<L: MetricLabels, M: Clone> Late<L, M> {
    pub fn new(family: &Family<L, M>, labels: &L) -> Self {
        Self {
            family: family.clone(),
            labels: labels.clone(),
            made: OnceLock::new(),
        }
    }

    pub fn needed(&self) -> &M {
        self.made.get_or_init(|| self.family.get_or_create(&self.labels))
    }
}

impl<L, M: TypedMetric> TypedMetric for Family<L, M> {
    const TYPE: MetricType = M::TYPE;
}

impl<L: MetricLabels, M: EncodeMetric + TypedMetric> EncodeMetric for Family<L, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (labels, metric) in self.read().iter() {
            metric.encode(encoder.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }

    fn is_empty(&self) -> bool {
        self.read().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;
    use crate::telemetry::metrics::{ConfiguredTenant, TenantLabels};

    fn labels(tenant: &str) -> TenantLabels {
        TenantLabels { tenant: tenant.into() }
    }

    #[test]
    fn who_asks_twice_counts_on_and_who_is_gone_begins_anew() {
        let family = Family::<TenantLabels, Counter>::default();
        for tenant in ["a", "b", "a"] {
            family.get_or_create(&labels(tenant)).inc();
        }
        family.forget(&|tenant| tenant == "a");
        assert_eq!(family.get_or_create(&labels("a")).get(), 0);
        assert_eq!(family.get_or_create(&labels("b")).get(), 1);
    }

    #[test]
    fn what_is_not_needed_yet_is_no_series() {
        let family = Family::<TenantLabels, Counter>::default();
        let late = Late::new(&family, &labels("a"));
        assert!(family.is_empty());
        late.needed().inc();
        assert_eq!(family.get_or_create(&labels("a")).get(), 1);
    }

    #[test]
    fn what_goes_in_another_way_is_not_forgotten_with_its_tenant() {
        let family = Family::<ConfiguredTenant, Counter>::default();
        let labels = ConfiguredTenant { tenant: "a".into() };
        family.get_or_create(&labels).inc();
        family.forget(&|_| true);
        assert_eq!(family.get_or_create(&labels).get(), 1);
    }
}
