//! Who runs next: a queue that is fair between tenants by the processor time their work took.
//!
//! Takes work with its tenant and what each piece cost; gives the next piece to run. A pure structure: no
//! threads, no clock. Never grows past its bounds.
//!
//! Start-time fair queueing: every tenant has a virtual time, the sum of what its work took. The waiting tenant
//! with the least goes next. A tenant that returns starts where the least of the others stands, so that idling
//! saves nothing up, and a debt is kept until the others have caught up, so that leaving pays nothing off.
//!
//! Pieces are not interrupted, so order alone does not help who comes while all threads are in long pieces. Tenants
//! whose pieces were long of late therefore never have all threads: one is kept for those whose pieces are short.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::model::TenantId;

/// A piece that takes longer is long: many times what a call of a standard plugin takes, a tenth of what it may take.
const LONG: Duration = Duration::from_millis(5);
/// Of how many short pieces each lets a tenant's longest one count less: 17 of them make up for one of 50 ms.
const FADES_BY: u32 = 8;

/// How much may wait, and how much may run at once.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    pub waiting_per_tenant: usize,
    pub waiting: usize,
    pub running_per_tenant: usize,
    /// Of one tenant, and of what was done for it and is not fetched yet.
    pub begun_per_tenant: usize,
    /// Of all tenants whose pieces are long.
    pub running_long: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Where among the tenant's own work a piece waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// Behind what came before it.
    Begins,
    /// It goes on with what a piece before it gave, which is held until it has run: ahead of all that begins.
    GoesOn,
}

/// A piece that was taken out to run. To be handed back with [`Fair::finish`].
#[derive(Debug)]
pub struct Started {
    pub tenant: TenantId,
    /// Counted among those that may be long.
    long: bool,
}

#[derive(Debug)]
pub struct Fair<T> {
    capacity: Capacity,
    lanes: HashMap<TenantId, Lane<T>>,
    waiting: usize,
    running_long: usize,
    /// The most virtual time at which work was started so far. Who comes starts here; one that may not run yet, or that
    /// waited when it was less, can be behind it.
    floor: Duration,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    running: usize,
    /// Done, and not fetched yet.
    done: usize,
    used: Duration,
    /// The longest piece of late.
    longest: Duration,
}

impl<T> Lane<T> {
    fn is_long(&self) -> bool {
        self.longest > LONG
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running == 0 && self.done == 0
    }
}

impl<T> Fair<T> {
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            lanes: HashMap::new(),
            waiting: 0,
            running_long: 0,
            floor: Duration::ZERO,
        }
    }

    /// # Errors
    /// If the tenant, or all of them together, have as much waiting as the bounds allow.
    pub fn push(&mut self, tenant: &TenantId, rank: Rank, work: T) -> Result<(), Full> {
        if self.waiting >= self.capacity.waiting {
            return Err(Full);
        }
        let bound = self.capacity.waiting_per_tenant;
        let lane = self.lane(tenant);
        if lane.waiting.len() >= bound {
            return Err(Full);
        }
        match rank {
            Rank::Begins => lane.waiting.push_back(work),
            Rank::GoesOn => lane.waiting.push_front(work),
        }
        self.waiting += 1;
        Ok(())
    }

    /// Puts started work back for its next step, ahead of the tenant's other work. Takes no bound: it was let in.
    pub fn put_back(&mut self, started: &Started, work: T) {
        self.lane(&started.tenant).waiting.push_front(work);
        self.waiting += 1;
    }

    /// The next piece to run. [`Fair::finish`] must follow.
    pub fn pop(&mut self) -> Option<(Started, T)> {
        let capacity = self.capacity;
        let room_for_long = self.running_long < capacity.running_long;
        let may_run = |lane: &Lane<T>| {
            !lane.waiting.is_empty()
                && lane.running < capacity.running_per_tenant
                && lane.running + lane.done < capacity.begun_per_tenant
                && (room_for_long || !lane.is_long())
        };
        let (tenant, lane) = self
            .lanes
            .iter_mut()
            .filter(|(_, lane)| may_run(lane))
            .min_by(|(a, x), (b, y)| (x.used, a).cmp(&(y.used, b)))?;
        let work = lane.waiting.pop_front()?;
        let (tenant, long) = (tenant.clone(), lane.is_long());
        lane.running += 1;
        self.floor = self.floor.max(lane.used);
        self.running_long += usize::from(long);
        self.waiting -= 1;
        Some((Started { tenant, long }, work))
    }

    /// Books what a piece of work took.
    pub fn finish(&mut self, started: &Started, took: Duration) {
        self.running_long -= usize::from(started.long);
        if let Some(lane) = self.lanes.get_mut(&started.tenant) {
            lane.running = lane.running.saturating_sub(1);
            lane.used += took;
            lane.longest = took.max(lane.longest - lane.longest / FADES_BY);
        }
        self.forget();
    }

    /// What was run is to be fetched, with [`Fair::fetched`]. Until then it is in the way of the tenant's next pieces: where
    /// nobody has time to go on with what was done, more of it would only be in the way of others there.
    pub fn done(&mut self, tenant: &TenantId) {
        self.lane(tenant).done += 1;
    }

    /// As often as [`Fair::done`].
    pub fn fetched(&mut self, tenant: &TenantId) {
        if let Some(lane) = self.lanes.get_mut(tenant) {
            lane.done -= 1;
        }
        self.forget();
    }

    /// Lets long pieces count for half as long as before. Called once a second.
    pub fn fade(&mut self) {
        self.lanes.values_mut().for_each(|lane| lane.longest /= 2);
        self.forget();
    }

    /// A tenant with nothing here, no debt left and no long piece of late is the same as one never seen.
    fn forget(&mut self) {
        // With nobody waiting there is nobody to owe anything.
        let (floor, owes) = (self.floor, self.waiting > 0);
        self.lanes
            .retain(|_, lane| !lane.is_idle() || lane.is_long() || (owes && lane.used > floor));
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
            done: 0,
            used: floor,
            longest: Duration::ZERO,
        });
        if lane.is_idle() {
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
            begun_per_tenant: usize::MAX,
            running_long: usize::MAX,
        })
    }

    fn push(fair: &mut Fair<u32>, tenant: &TenantId, work: u32) -> Result<(), Full> {
        fair.push(tenant, Rank::Begins, work)
    }

    fn run(fair: &mut Fair<u32>, cost: impl Fn(&str) -> Duration) -> String {
        let (started, _) = fair.pop().unwrap();
        fair.finish(&started, cost(started.tenant.as_str()));
        started.tenant.as_str().to_owned()
    }

    #[test]
    fn the_tenant_with_the_least_time_goes_next() {
        let mut fair = fair(1);
        for i in 0..50 {
            push(&mut fair, &tenant("hog"), i).unwrap();
            push(&mut fair, &tenant("light"), i).unwrap();
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
            push(&mut fair, &tenant("busy"), i).unwrap();
        }
        for _ in 0..10 {
            run(&mut fair, cost);
        }
        // Away so far: takes turns from here, does not run ten times in a row.
        for i in 0..10 {
            push(&mut fair, &tenant("new"), i).unwrap();
        }
        let turns: Vec<String> = (0..6).map(|_| run(&mut fair, cost)).collect();
        let new = turns.iter().filter(|name| *name == "new").count();
        assert!((3..=4).contains(&new), "{turns:?}");

        // One expensive call, then gone until the next: still owes it.
        let mut fair = self::fair(1);
        let cost = |name: &str| if name == "coming-and-going" { 50 * MS } else { MS };
        for i in 0..60 {
            push(&mut fair, &tenant("steady"), i).unwrap();
        }
        let mut expensive = 0;
        for i in 0..40 {
            let lane = fair.lanes.get(&tenant("coming-and-going"));
            if lane.is_none_or(|lane| lane.waiting.is_empty()) {
                push(&mut fair, &tenant("coming-and-going"), i).unwrap();
            }
            expensive += usize::from(run(&mut fair, cost) == "coming-and-going");
        }
        assert_eq!(expensive, 1);
    }

    #[test]
    fn both_bounds_hold_at_and_above() {
        let mut fair = fair(1);
        for i in 0..100 {
            push(&mut fair, &tenant("a"), i).unwrap();
        }
        assert_eq!(push(&mut fair, &tenant("a"), 100), Err(Full));
        for i in 0..50 {
            push(&mut fair, &tenant("b"), i).unwrap();
        }
        assert_eq!(push(&mut fair, &tenant("b"), 50), Err(Full));
        run(&mut fair, |_| MS);
        assert_eq!(push(&mut fair, &tenant("b"), 50), Ok(()));
    }

    #[test]
    fn one_tenant_never_holds_more_threads_than_its_share() {
        let mut fair = fair(1);
        push(&mut fair, &tenant("a"), 1).unwrap();
        push(&mut fair, &tenant("a"), 2).unwrap();
        push(&mut fair, &tenant("b"), 3).unwrap();
        let (a, _) = fair.pop().unwrap();
        assert_eq!(a.tenant.as_str(), "a");
        assert_eq!(fair.pop().unwrap().0.tenant.as_str(), "b");
        assert!(fair.pop().is_none());
        fair.finish(&a, MS);
        assert_eq!(fair.pop().unwrap().1, 2);
    }

    #[test]
    fn work_that_is_put_back_comes_before_the_tenants_other_work_and_waits_for_cheaper_tenants() {
        let mut fair = fair(1);
        push(&mut fair, &tenant("a"), 1).unwrap();
        push(&mut fair, &tenant("a"), 2).unwrap();
        push(&mut fair, &tenant("b"), 3).unwrap();
        let (a, first) = fair.pop().unwrap();
        fair.put_back(&a, first);
        fair.finish(&a, MS);
        let (b, third) = fair.pop().unwrap();
        assert_eq!(third, 3);
        fair.finish(&b, 2 * MS);
        assert_eq!(fair.pop().unwrap().1, 1);
    }

    #[test]
    fn what_goes_on_with_work_comes_before_the_tenants_work_that_begins() {
        let (mut fair, a) = (fair(1), tenant("a"));
        push(&mut fair, &a, 1).unwrap();
        push(&mut fair, &a, 2).unwrap();
        fair.push(&a, Rank::GoesOn, 3).unwrap();
        let order = std::iter::from_fn(|| {
            let (started, work) = fair.pop()?;
            fair.finish(&started, MS);
            Some(work)
        });
        assert_eq!(order.collect::<Vec<_>>(), [3, 1, 2]);
    }

    /// Three threads, two of which may be in long pieces; each tenant has had one piece that long.
    fn with_records(records: &[(&str, Duration)]) -> Fair<u32> {
        let mut fair = Fair::new(Capacity {
            waiting_per_tenant: 100,
            waiting: 150,
            running_per_tenant: 2,
            begun_per_tenant: 3,
            running_long: 2,
        });
        for (name, took) in records {
            push(&mut fair, &tenant(name), 0).unwrap();
            let (started, _) = fair.pop().unwrap();
            fair.finish(&started, *took);
        }
        fair
    }

    #[test]
    fn one_thread_is_kept_from_tenants_whose_pieces_are_long() {
        let mut fair = with_records(&[("s1", 40 * MS), ("s2", 40 * MS), ("s3", 40 * MS)]);
        for name in ["s1", "s2", "s3", "s1", "s2", "s3"] {
            push(&mut fair, &tenant(name), 1).unwrap();
        }
        let (first, _) = fair.pop().unwrap();
        let (second, _) = fair.pop().unwrap();
        assert!(fair.pop().is_none(), "a third thread for a long piece");
        push(&mut fair, &tenant("bystander"), 2).unwrap();
        let (bystander, _) = fair.pop().unwrap();
        assert_eq!(bystander.tenant.as_str(), "bystander");
        fair.finish(&bystander, MS);
        assert!(fair.pop().is_none());
        // And the place of one that ends is another one's.
        fair.finish(&first, 40 * MS);
        let third = fair.pop().unwrap().0;
        assert!(![&first.tenant, &second.tenant].contains(&&third.tenant), "{third:?}");
    }

    #[test]
    fn a_tenant_that_does_not_fetch_what_was_done_gets_no_more_done() {
        let mut fair = with_records(&[]);
        for name in ["a", "a", "a", "a", "b"] {
            push(&mut fair, &tenant(name), 1).unwrap();
        }
        let a = tenant("a");
        let run = |fair: &mut Fair<u32>| {
            let (started, _) = fair.pop().unwrap();
            fair.done(&started.tenant);
            fair.finish(&started, MS / 10);
            started.tenant
        };
        assert_eq!([run(&mut fair), run(&mut fair)], [a.clone(), tenant("b")]);
        assert_eq!([run(&mut fair), run(&mut fair)], [a.clone(), a.clone()]);
        assert!(fair.pop().is_none(), "a fourth of a's");
        fair.fetched(&a);
        assert_eq!(run(&mut fair), a);
        (0..3).for_each(|_| fair.fetched(&a));
        fair.fetched(&tenant("b"));
        assert!(fair.lanes.is_empty());
    }

    #[test]
    fn whose_pieces_became_short_is_held_back_no_longer() {
        let long = |fair: &mut Fair<u32>| {
            push(fair, &tenant("a"), 1).unwrap();
            let (started, _) = fair.pop().unwrap();
            fair.finish(&started, MS);
            started.long
        };
        let mut fair = with_records(&[("a", 40 * MS)]);
        let pieces = (0..100).take_while(|_| long(&mut fair)).count();
        assert!((10..20).contains(&pieces), "{pieces}");
        let mut fair = with_records(&[("a", 40 * MS)]);
        (0..3).for_each(|_| fair.fade());
        assert!(!long(&mut fair));
        assert!(fair.lanes.is_empty());
    }

    #[test]
    fn a_tenant_is_known_for_its_long_pieces_when_it_returns() {
        let mut fair = with_records(&[("a", 40 * MS)]);
        push(&mut fair, &tenant("a"), 1).unwrap();
        assert!(fair.pop().unwrap().0.long);
    }

    #[test]
    fn tenants_that_left_are_forgotten() {
        let mut fair = fair(1);
        for i in 0..1000 {
            push(&mut fair, &tenant(&format!("t{i}")), i).unwrap();
            run(&mut fair, |_| MS);
        }
        assert!(fair.lanes.len() <= 2, "{}", fair.lanes.len());
    }
}
