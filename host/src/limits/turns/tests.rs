//! Who waits, for whom, and for how long.

use std::task::Poll;

use futures_util::poll;

use super::*;
use crate::config::{Limits, defaults};
use crate::memory::{Kind, Memory};
use crate::telemetry::Metrics;

fn turns(max_bytes: u64) -> Turns {
    let metrics = Arc::new(Metrics::new());
    let memory = Memory::new(u64::MAX / 100, Arc::clone(&metrics));
    Turns::new(InFlight::new(metrics, memory, max_bytes, 1000))
}

fn permit(turns: &Turns, tenant: &Arc<Count>) -> Permit {
    let limits = Limits {
        max_in_flight_size: 100,
        ..defaults::LIMITS
    };
    turns.in_flight.enter(tenant, &limits).unwrap()
}

fn need(bytes: u64) -> Need {
    Need { bytes, work: 0 }
}

fn tenant() -> Arc<Count> {
    Arc::default()
}

#[tokio::test]
async fn what_is_free_is_had_at_once_on_top_of_what_is_held() {
    let turns = turns(800);
    let mut one = permit(&turns, &tenant());
    one.hold(30).unwrap();
    turns.wait(&mut one, Need { bytes: 80, work: 50 }).await.unwrap();
    assert_eq!((one.bytes(), turns.in_flight.bytes()), (130, 130));
    // What it needs to be worked on is held already, and a tenant's bound is of the body alone.
    assert_eq!((one.hold(80), one.hold_work(50), one.bytes()), (Ok(()), Ok(()), 130));
    assert_eq!((one.hold(101), one.hold_work(60)), (Err(BoundMet::TenantBytes), Ok(())));
    one.keep(7);
    assert_eq!(turns.in_flight.bytes(), 7);
    // No write has more than a third to be worked on.
    turns.wait(&mut one, Need { bytes: 80, work: 5000 }).await.unwrap();
    assert_eq!(one.bytes(), 266);
}

#[tokio::test]
async fn who_waits_holds_nothing_and_gets_all_when_it_is_given_back() {
    let turns = turns(1000);
    let a = tenant();
    let (mut first, mut second) = (permit(&turns, &a), permit(&turns, &a));
    turns.wait(&mut first, need(60)).await.unwrap();
    let mut waiting = Box::pin(turns.wait(&mut second, need(60)));
    assert!(poll!(&mut waiting).is_pending());
    assert_eq!(turns.in_flight.bytes(), 60);
    first.keep(40);
    waiting.await.unwrap();
    assert_eq!((first.bytes(), second.bytes()), (40, 60));
}

#[tokio::test]
async fn tenants_take_turns_however_many_bodies_one_of_them_has() {
    // Space for one at a time.
    let turns = turns(100);
    let (a, b) = (tenant(), tenant());
    let mut first = permit(&turns, &a);
    turns.wait(&mut first, need(80)).await.unwrap();
    let (mut a1, mut a2, mut b1) = (permit(&turns, &a), permit(&turns, &a), permit(&turns, &b));
    let mut of_a1 = Box::pin(turns.wait(&mut a1, need(80)));
    assert!(poll!(&mut of_a1).is_pending());
    let mut of_a2 = Box::pin(turns.wait(&mut a2, need(80)));
    assert!(poll!(&mut of_a2).is_pending());
    let mut of_b = Box::pin(turns.wait(&mut b1, need(80)));
    assert!(poll!(&mut of_b).is_pending());
    drop(first);
    of_a1.await.unwrap();
    assert!(poll!(&mut of_a2).is_pending() && poll!(&mut of_b).is_pending());
    drop(a1);
    of_b.await.unwrap();
    assert!(poll!(&mut of_a2).is_pending());
    drop(b1);
    of_a2.await.unwrap();
}

#[tokio::test]
async fn a_large_body_is_not_overtaken_by_the_smaller_ones_behind_it() {
    let turns = turns(100);
    let (mut first, mut large, mut small) = (
        permit(&turns, &tenant()),
        permit(&turns, &tenant()),
        permit(&turns, &tenant()),
    );
    turns.wait(&mut first, need(40)).await.unwrap();
    let mut large = Box::pin(turns.wait(&mut large, need(70)));
    assert!(poll!(&mut large).is_pending());
    let mut small = Box::pin(turns.wait(&mut small, need(10)));
    assert!(poll!(&mut small).is_pending());
    // Who gives up lets the others go on.
    drop(large);
    small.await.unwrap();
    assert_eq!(turns.in_flight.bytes(), 50);
}

#[tokio::test]
async fn nobody_waits_for_a_tenant_whose_own_bound_is_met() {
    let turns = turns(1000);
    let (a, b) = (tenant(), tenant());
    let (mut first, mut own, mut other) = (permit(&turns, &a), permit(&turns, &a), permit(&turns, &b));
    turns.wait(&mut first, need(60)).await.unwrap();
    let mut own = Box::pin(turns.wait(&mut own, need(60)));
    assert!(poll!(&mut own).is_pending());
    turns.wait(&mut other, need(60)).await.unwrap();
    assert!(poll!(&mut own).is_pending());
}

#[tokio::test]
async fn nobody_waits_for_a_tenant_that_waits_for_its_own_bodies() {
    let turns = turns(100);
    let (a, b) = (tenant(), tenant());
    let (mut first, mut second, mut third) = (permit(&turns, &a), permit(&turns, &a), permit(&turns, &a));
    turns.wait(&mut first, need(40)).await.unwrap();
    turns.wait(&mut second, need(40)).await.unwrap();
    let mut third = Box::pin(turns.wait(&mut third, need(20)));
    assert!(poll!(&mut third).is_pending());
    let mut other = permit(&turns, &b);
    let mut other = Box::pin(turns.wait(&mut other, need(5)));
    assert_eq!(poll!(&mut other), Poll::Ready(Ok(())));
}

#[tokio::test]
async fn what_can_never_be_held_is_refused_at_once() {
    let turns = turns(80);
    let a = tenant();
    let (mut first, mut second) = (permit(&turns, &a), permit(&turns, &a));
    turns.wait(&mut first, need(80)).await.unwrap();
    for (bytes, met) in [(81, BoundMet::Bytes), (101, BoundMet::TenantBytes)] {
        let mut waiting = Box::pin(turns.wait(&mut second, need(bytes)));
        assert_eq!(poll!(&mut waiting), Poll::Ready(Err(met)));
    }
}

#[tokio::test]
async fn turns_leave_memory_to_small_writes_and_wait_for_it() {
    let metrics = Arc::new(Metrics::new());
    let memory = Memory::new(200, Arc::clone(&metrics));
    let turns = Turns::new(InFlight::new(metrics, Arc::clone(&memory), 120, 1000));
    // That leaves 70 for bodies.
    let _plugins = memory.hold(Kind::Plugins, 80).unwrap();
    let (mut first, mut second, mut small) = (
        permit(&turns, &tenant()),
        permit(&turns, &tenant()),
        permit(&turns, &tenant()),
    );
    turns.wait(&mut first, need(40)).await.unwrap();
    let mut second = Box::pin(turns.wait(&mut second, need(20)));
    assert!(poll!(&mut second).is_pending());
    small.hold(15).unwrap();
    drop(first);
    second.await.unwrap();
}

#[tokio::test]
async fn who_waits_too_long_is_told_whose_bound_it_was() {
    let mut turns = turns(1000);
    turns.patience = Duration::from_millis(5);
    let a = tenant();
    let (mut first, mut second) = (permit(&turns, &a), permit(&turns, &a));
    turns.wait(&mut first, need(60)).await.unwrap();
    assert_eq!(turns.wait(&mut second, need(60)).await, Err(BoundMet::TenantBytes));
    assert_eq!((second.bytes(), turns.in_flight.freed.is_waited_for()), (0, false));
}

#[tokio::test]
async fn few_may_wait_of_one_tenant_and_of_all() {
    let turns = turns(100);
    let mut first = permit(&turns, &tenant());
    turns.wait(&mut first, need(80)).await.unwrap();
    let tenants: Vec<_> = (0..9).map(|_| tenant()).collect();
    let mut permits: Vec<Permit> = (0..MAX_WAITING + 70)
        .map(|n| permit(&turns, &tenants[n / (MAX_WAITING_OF_TENANT + 1)]))
        .collect();
    let mut all: Vec<_> = permits
        .iter_mut()
        .map(|one| Box::pin(turns.wait(one, need(80))))
        .collect();
    let mut refused = Vec::new();
    for waiting in &mut all {
        if let Poll::Ready(refusal) = poll!(waiting) {
            refused.push(refusal);
        }
    }
    let own = refused.iter().filter(|one| **one == Err(BoundMet::TenantBytes)).count();
    // And the last tenant's first waits although there are many: it has nobody else there.
    assert_eq!((own, refused.len()), (7, 69));
    drop(all);
    assert!(!turns.in_flight.freed.is_waited_for());
}
