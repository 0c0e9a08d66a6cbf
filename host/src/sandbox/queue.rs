//! Who runs next: a queue that is fair between tenants by the time their plugins took.
//!
//! Takes work with its tenant and what each piece cost; gives the next piece to run. A pure structure: no
//! threads, no clock. Never grows past its bounds.
//!
//! Start-time fair queueing: every tenant has a virtual time, the sum of what its work took. The waiting tenant
//! with the least goes next. A tenant that returns starts where the least of the others stands, so that idling
//! saves nothing up, and a debt is kept until the others have caught up, so that leaving pays nothing off.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::model::TenantId;

/// How much may wait, and how much of one tenant may run at once.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    pub waiting_per_tenant: usize,
    pub waiting: usize,
    pub running_per_tenant: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[derive(Debug)]
pub struct Fair<T> {
    capacity: Capacity,
    lanes: HashMap<TenantId, Lane<T>>,
    waiting: usize,
    /// Virtual time of the work that was started last: no waiting tenant is behind it.
    floor: Duration,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    running: usize,
    used: Duration,
}

impl<T> Fair<T> {
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            lanes: HashMap::new(),
            waiting: 0,
            floor: Duration::ZERO,
        }
    }

    /// # Errors
    /// If the tenant, or all of them together, have as much waiting as the bounds allow.
    pub fn push(&mut self, tenant: &TenantId, work: T) -> Result<(), Full> {
        if self.waiting >= self.capacity.waiting {
            return Err(Full);
        }
        let lane = self.lane(tenant);
        let waiting = lane.waiting.len();
        if waiting >= self.capacity.waiting_per_tenant {
            return Err(Full);
        }
        self.lane(tenant).waiting.push_back(work);
        self.waiting += 1;
        Ok(())
    }

    /// Puts started work back for its next step, ahead of the tenant's other work. Takes no bound: it was let in.
    pub fn put_back(&mut self, tenant: &TenantId, work: T) {
        self.lane(tenant).waiting.push_front(work);
        self.waiting += 1;
    }

    /// The next piece to run. [`Fair::finish`] must follow.
    pub fn pop(&mut self) -> Option<(TenantId, T)> {
        let running_per_tenant = self.capacity.running_per_tenant;
        let (tenant, lane) = self
            .lanes
            .iter_mut()
            .filter(|(_, lane)| !lane.waiting.is_empty() && lane.running < running_per_tenant)
            .min_by(|(a, x), (b, y)| (x.used, a).cmp(&(y.used, b)))?;
        let work = lane.waiting.pop_front()?;
        lane.running += 1;
        self.floor = self.floor.max(lane.used);
        self.waiting -= 1;
        Some((tenant.clone(), work))
    }

    /// Books what a piece of work took.
    pub fn finish(&mut self, tenant: &TenantId, took: Duration) {
        let floor = self.floor;
        if let Some(lane) = self.lanes.get_mut(tenant) {
            lane.running = lane.running.saturating_sub(1);
            lane.used += took;
        }
        // With nobody waiting there is nobody to owe anything.
        let idle = self.waiting == 0;
        // A tenant with nothing here and no debt left is the same as one never seen.
        self.lanes
            .retain(|_, lane| !lane.waiting.is_empty() || lane.running > 0 || (lane.used > floor && !idle));
    }

    /// Pieces that wait, of all tenants.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    fn lane(&mut self, tenant: &TenantId) -> &mut Lane<T> {
        let floor = self.floor;
        let lane = self.lanes.entry(tenant.clone()).or_insert_with(|| Lane {
            waiting: VecDeque::new(),
            running: 0,
            used: floor,
        });
        if lane.waiting.is_empty() && lane.running == 0 {
            lane.used = lane.used.max(floor);
        }
        lane
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn fair(running_per_tenant: usize) -> Fair<u32> {
        Fair::new(Capacity {
            waiting_per_tenant: 100,
            waiting: 150,
            running_per_tenant,
        })
    }

    fn run(fair: &mut Fair<u32>, cost: impl Fn(&str) -> Duration) -> String {
        let (tenant, _) = fair.pop().unwrap();
        fair.finish(&tenant, cost(tenant.as_str()));
        tenant.as_str().to_owned()
    }

    #[test]
    fn the_tenant_with_the_least_time_goes_next() {
        let mut fair = fair(1);
        for i in 0..50 {
            fair.push(&tenant("hog"), i).unwrap();
            fair.push(&tenant("light"), i).unwrap();
        }
        let cost = |name: &str| if name == "hog" { 50 * MS } else { MS };
        let order: Vec<String> = (0..51).map(|_| run(&mut fair, cost)).collect();
        assert!(order.iter().filter(|name| *name == "hog").count() <= 2, "{order:?}");
    }

    #[test]
    fn a_tenant_that_returns_has_saved_nothing_up_and_paid_nothing_off() {
        let mut fair = fair(1);
        let cost = |_: &str| 10 * MS;
        for i in 0..20 {
            fair.push(&tenant("busy"), i).unwrap();
        }
        for _ in 0..10 {
            run(&mut fair, cost);
        }
        // Away so far: takes turns from here, does not run ten times in a row.
        for i in 0..10 {
            fair.push(&tenant("new"), i).unwrap();
        }
        let turns: Vec<String> = (0..6).map(|_| run(&mut fair, cost)).collect();
        let new = turns.iter().filter(|name| *name == "new").count();
        assert!((3..=4).contains(&new), "{turns:?}");

        // One expensive call, then gone until the next: still owes it.
        let mut fair = self::fair(1);
        let cost = |name: &str| if name == "coming-and-going" { 50 * MS } else { MS };
        for i in 0..60 {
            fair.push(&tenant("steady"), i).unwrap();
        }
        let mut expensive = 0;
        for i in 0..40 {
            let lane = fair.lanes.get(&tenant("coming-and-going"));
            if lane.is_none_or(|lane| lane.waiting.is_empty()) {
                fair.push(&tenant("coming-and-going"), i).unwrap();
            }
            expensive += usize::from(run(&mut fair, cost) == "coming-and-going");
        }
        assert_eq!(expensive, 1);
    }

    #[test]
    fn both_bounds_hold_at_and_above() {
        let mut fair = fair(1);
        for i in 0..100 {
            fair.push(&tenant("a"), i).unwrap();
        }
        assert_eq!(fair.push(&tenant("a"), 100), Err(Full));
        for i in 0..50 {
            fair.push(&tenant("b"), i).unwrap();
        }
        assert_eq!(fair.push(&tenant("b"), 50), Err(Full));
        run(&mut fair, |_| MS);
        assert_eq!(fair.push(&tenant("b"), 50), Ok(()));
    }

    #[test]
    fn one_tenant_never_holds_more_threads_than_its_share() {
        let mut fair = fair(1);
        fair.push(&tenant("a"), 1).unwrap();
        fair.push(&tenant("a"), 2).unwrap();
        fair.push(&tenant("b"), 3).unwrap();
        assert_eq!(fair.pop().unwrap().0.as_str(), "a");
        assert_eq!(fair.pop().unwrap().0.as_str(), "b");
        assert!(fair.pop().is_none());
        fair.finish(&tenant("a"), MS);
        assert_eq!(fair.pop().unwrap().1, 2);
    }

    #[test]
    fn work_that_is_put_back_comes_before_the_tenants_other_work_and_waits_for_cheaper_tenants() {
        let mut fair = fair(1);
        fair.push(&tenant("a"), 1).unwrap();
        fair.push(&tenant("a"), 2).unwrap();
        fair.push(&tenant("b"), 3).unwrap();
        let (a, first) = fair.pop().unwrap();
        fair.put_back(&a, first);
        fair.finish(&a, MS);
        assert_eq!(fair.pop().unwrap().1, 3);
        fair.finish(&tenant("b"), 2 * MS);
        assert_eq!(fair.pop().unwrap().1, 1);
    }

    #[test]
    fn tenants_that_left_are_forgotten() {
        let mut fair = fair(1);
        for i in 0..1000 {
            fair.push(&tenant(&format!("t{i}")), i).unwrap();
            run(&mut fair, |_| MS);
        }
        assert!(fair.lanes.len() <= 2, "{}", fair.lanes.len());
    }
}
