//! The arithmetic of intervals, with clocks that are given.

use super::*;
use crate::chain::PolicyWatch;
use crate::judge::memo::Memos;
use crate::memory::Memory;
use crate::model::TenantId;
use crate::tenant::{Account, Accounts};

struct World {
    metrics: Arc<Metrics>,
    accounts: Accounts,
    tenants: Tenants,
    start: Instant,
    flow: Flow,
}

impl World {
    fn new() -> Self {
        let (start, metrics) = (Instant::now(), Arc::new(Metrics::new()));
        Self {
            flow: Flow::new(Arc::clone(&metrics), start),
            metrics,
            accounts: Accounts::default(),
            tenants: Tenants::default(),
            start,
        }
    }

    fn tenant(&mut self, name: &str) -> Arc<Account> {
        let memory = Memory::new(u64::MAX / 100, Arc::clone(&self.metrics));
        let watch = PolicyWatch::new(&memory).unwrap();
        let (id, memos) = (TenantId::new(name).unwrap(), Memos::within(u64::MAX));
        let account = self.accounts.open(&id, &memos, &watch, &self.metrics);
        self.tenants.know(Arc::clone(&account), &[]);
        account
    }

    fn look(&self, millis: u64) {
        self.flow
            .look(&self.tenants, self.start + Duration::from_millis(millis));
    }

    fn received(&self) -> Vec<i64> {
        let intervals = self.flow.intervals();
        intervals.iter().map(|interval| interval.moved.received).collect()
    }
}

#[test]
fn each_sample_is_in_the_interval_that_was_open_when_it_was_seen() {
    let mut world = World::new();
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    a.counters().received(5, 1);
    world.look(3_000);
    assert!(world.received().is_empty());
    b.counters().received(7, 1);
    assert!(!world.flow.is_due(world.start + Duration::from_millis(9_999)));
    assert!(world.flow.is_due(world.start + INTERVAL));
    world.look(10_050);
    assert!(!world.flow.is_due(world.start + Duration::from_millis(10_050)));
    assert_eq!(world.received(), [12]);
    b.counters().received(1, 1);
    // Looked at late: the intervals between are there, and empty.
    world.look(40_000);
    assert_eq!(world.received(), [12, 1, 0, 0]);
    assert!(a.flow().minutes().is_empty());
    world.look(60_000);
    let minutes = [a.flow().last_minute().received, b.flow().last_minute().received];
    assert_eq!(minutes, [5, 8]);
}

#[test]
fn an_hour_is_remembered_and_no_more_however_long_the_process_stood_still() {
    let mut world = World::new();
    let a = world.tenant("a");
    for second in (10..=4_000).step_by(10) {
        a.counters().received(second, 1);
        world.look(second * 1_000);
    }
    let received = world.received();
    assert_eq!((received.len(), received[0], received[359]), (INTERVALS, 410, 4_000));
    assert_eq!(a.flow().minutes().len(), 60);
    a.counters().received(3, 1);
    world.look(90_000_000_000);
    let received = world.received();
    assert_eq!((received.len(), received.iter().sum::<i64>()), (INTERVALS, 3));
}

#[test]
fn what_a_tenant_sent_stays_counted_when_it_is_gone() {
    let mut world = World::new();
    let a = world.tenant("a");
    a.counters().received(5, 1);
    a.counters().forwarded("soft", 5);
    world.look(5_000);
    drop(a);
    world.tenants = Tenants::default();
    world.accounts.forget_closed();
    world.look(10_000);
    assert_eq!(world.received(), [5]);
    // Its counters go on where they stood, and it is not counted twice.
    let back = world.tenant("a");
    back.counters().forwarded("soft", 2);
    back.counters().received(2, 1);
    world.look(20_000);
    assert_eq!(world.received(), [5, 2]);
    let [first, second] = &world.flow.intervals()[..] else {
        panic!("two intervals");
    };
    assert_eq!(first.upstreams, [(Arc::from("soft"), 5)]);
    assert_eq!(second.upstreams, [(Arc::from("soft"), 2)]);
    assert_eq!(world.flow.upstreams()["soft"].samples, 7);
}

#[test]
fn rates_are_of_the_time_since_they_were_last_asked_for() {
    let mut world = World::new();
    let a = world.tenant("a");
    let at = |millis| world.start + Duration::from_millis(millis);
    a.counters().received(10, 1);
    world.look(2_000);
    let (interval, seconds) = world.flow.take_lately(at(2_000));
    assert_eq!((interval.moved.received, seconds), (10, 2.0));
    assert_eq!(world.flow.take_lately(at(2_500)), (Interval::default(), 0.5));
    // The hour has it all the same.
    world.look(10_000);
    assert_eq!(world.received(), [10]);
}

#[test]
fn an_upstream_is_known_until_it_is_configured_no_more_and_its_hour_is_over() {
    let mut world = World::new();
    let a = world.tenant("a");
    let status = |name: &str| UpstreamStatus {
        name: name.to_owned(),
        in_flight: 0,
        lookup_error: None,
        path: "/".to_owned(),
        answers: Vec::new(),
        endpoints: Vec::new(),
    };
    world.flow.know_upstreams(&[status("soft"), status("old")]);
    let labels = UpstreamName {
        upstream: "soft".to_owned(),
    };
    world.metrics.upstream_duration.get_or_create(&labels).observe(0.003);
    let p99 = world.flow.upstreams()["soft"].p99.unwrap();
    assert!(p99 > 0.002 && p99 <= 0.004, "{p99}");
    a.counters().forwarded("old", 1);
    world.look(10_000);
    world.flow.know_upstreams(&[status("soft")]);
    assert_eq!(world.flow.upstreams().len(), 2);
    world.look(3_620_000);
    world.flow.know_upstreams(&[status("soft")]);
    assert_eq!(
        world.flow.upstreams().keys().map(|name| &**name).collect::<Vec<_>>(),
        ["soft"]
    );
}
