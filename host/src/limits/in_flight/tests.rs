//! Bounds at, below and above, and what is given back.

use super::*;
use crate::config::defaults;

fn limits(bytes: u64, requests: usize) -> Limits {
    Limits {
        max_in_flight_size: bytes,
        max_concurrent_requests: requests,
        ..defaults::LIMITS
    }
}

fn tenant() -> Arc<Count> {
    Arc::default()
}

fn in_flight(bytes: u64, requests: usize) -> Arc<InFlight> {
    within(u64::MAX / 100, bytes, requests)
}

fn within(memory: u64, bytes: u64, requests: usize) -> Arc<InFlight> {
    let metrics = Arc::new(Metrics::new());
    let memory = Memory::new(memory, Arc::clone(&metrics));
    InFlight::new(metrics, memory, bytes, requests)
}

fn acquire(all: &Arc<InFlight>, count: &Arc<Count>, limits: &Limits, bytes: u64) -> Result<Permit, BoundMet> {
    let mut permit = all.enter(count, limits)?;
    permit.take_place(limits.max_concurrent_requests)?;
    permit.hold(bytes)?;
    Ok(permit)
}

fn held(all: &InFlight) -> (u64, u64, i64, i64, u64) {
    let metrics = &all.metrics;
    (
        all.requests(),
        all.bytes(),
        metrics.in_flight_requests.get(),
        metrics.in_flight_bytes.get(),
        all.memory.held(Kind::Bodies),
    )
}

#[test]
fn each_bound_is_met_exactly_and_told_by_its_name() {
    let all = in_flight(100, 3);
    let (a, b) = (tenant(), tenant());
    let small = limits(60, 2);
    let refused = |tenant: &Arc<Count>, limits: &Limits, bytes| acquire(&all, tenant, limits, bytes).err();

    let _one = acquire(&all, &a, &small, 60).unwrap();
    assert_eq!(refused(&a, &small, 1), Some(BoundMet::TenantBytes));
    let _two = acquire(&all, &a, &small, 0).unwrap();
    assert_eq!(refused(&a, &small, 0), Some(BoundMet::TenantRequests));
    assert_eq!(refused(&b, &small, 41), Some(BoundMet::Bytes));
    let _three = acquire(&all, &b, &small, 40).unwrap();
    assert_eq!(refused(&b, &small, 0), Some(BoundMet::Requests));
    // What was refused holds nothing.
    assert_eq!(held(&all), (3, 100, 3, 100, 100));
}

#[test]
fn bodies_draw_on_the_memory_of_the_process() {
    let all = within(1000, 5000, 10);
    let kind = all.memory.room(Kind::Bodies);
    let mut one = acquire(&all, &tenant(), &limits(5000, 9), kind).unwrap();
    let over = acquire(&all, &tenant(), &limits(5000, 9), 1).err();
    assert_eq!(over, Some(BoundMet::Memory(Full(Kind::Bodies))));
    one.keep(kind - 1);
    assert!(acquire(&all, &tenant(), &limits(5000, 9), 1).is_ok());
    drop(one);
    assert_eq!(held(&all), (0, 0, 0, 0, 0));
}

#[test]
fn a_body_that_is_not_in_holds_no_place() {
    let all = in_flight(100, 2);
    let (a, small) = (tenant(), limits(100, 1));
    let mut dribbling: Vec<Permit> = (0..10).map(|_| all.enter(&a, &small).unwrap()).collect();
    let mut other = all.enter(&tenant(), &small).unwrap();
    assert_eq!(other.take_place(1), Ok(()));
    assert_eq!(dribbling[0].take_place(1), Ok(()));
    assert_eq!(dribbling[1].take_place(1), Err(BoundMet::TenantRequests));
    assert_eq!(all.enter(&a, &small).err(), Some(BoundMet::TenantRequests));
    assert_eq!(all.enter(&tenant(), &small).err(), Some(BoundMet::Requests));
    drop(dribbling);
    assert_eq!((held(&all).0, all.tenants.load(Ordering::Relaxed)), (1, 1));
}

#[test]
fn dropping_permits_returns_everything() {
    let all = in_flight(100, 10);
    let permits: Vec<Permit> = (0..10)
        .map(|_| acquire(&all, &tenant(), &limits(10, 1), 10).unwrap())
        .collect();
    assert_eq!(held(&all), (10, 100, 10, 100, 100));
    drop(permits);
    assert_eq!(held(&all), (0, 0, 0, 0, 0));
    assert_eq!(all.tenants.load(Ordering::Relaxed), 0);
}

#[test]
fn a_permit_grows_up_to_the_bounds_and_keeps_what_it_has_when_refused() {
    let all = in_flight(100, 10);
    let (a, b) = (tenant(), tenant());
    let mut permit = acquire(&all, &a, &limits(50, 1), 10).unwrap();
    assert_eq!(permit.hold(50), Ok(()));
    assert_eq!(permit.hold(51), Err(BoundMet::TenantBytes));
    assert_eq!(permit.hold(u64::MAX), Err(BoundMet::TenantBytes));
    // It holds so much already.
    assert_eq!((permit.hold(20), permit.bytes()), (Ok(()), 50));
    let mut other = acquire(&all, &b, &limits(100, 1), 0).unwrap();
    assert_eq!(other.hold(51), Err(BoundMet::Bytes));
    assert_eq!(other.hold(50), Ok(()));
    permit.keep(30);
    assert_eq!(all.bytes(), 80);
    assert_eq!(other.hold(70), Ok(()));
    // No more comes back than was taken.
    permit.keep(0);
    permit.keep(40);
    assert_eq!((permit.bytes(), all.bytes()), (0, 70));
}

#[test]
fn changed_limits_hold_at_once_and_end_nothing() {
    let all = in_flight(100, 10);
    let a = tenant();
    let mut old = acquire(&all, &a, &limits(80, 5), 80).unwrap();
    assert_eq!(
        acquire(&all, &a, &limits(10, 1), 0).err(),
        Some(BoundMet::TenantRequests)
    );
    assert_eq!(acquire(&all, &a, &limits(10, 5), 1).err(), Some(BoundMet::TenantBytes));
    let _new = acquire(&all, &a, &limits(90, 5), 10).unwrap();
    all.set_limits(50, 10);
    assert_eq!(old.hold(80), Ok(()));
    old.keep(10);
    assert_eq!(acquire(&all, &a, &limits(90, 5), 31).err(), Some(BoundMet::Bytes));
    assert!(acquire(&all, &a, &limits(90, 5), 30).is_ok());
}

const MIB: u64 = 1 << 20;

#[test]
fn tenants_that_flood_leave_places_and_bytes_for_one_that_sends_a_little() {
    let all = in_flight(512 * MIB, 1024);
    let own = limits(128 * MIB, 256);
    let flooding: Vec<Arc<Count>> = (0..8).map(|_| tenant()).collect();
    let mut held = Vec::new();
    let mut refused = Vec::new();
    // One after the other, so that the first have most.
    for count in &flooding {
        let flood = std::iter::repeat_with(|| acquire(&all, count, &own, MIB / 2));
        let (some, none): (Vec<_>, Vec<_>) = flood.take(300).partition(Result::is_ok);
        held.extend(some);
        refused.extend(none.into_iter().filter_map(Result::err));
    }
    assert!(refused.contains(&BoundMet::ShareOfBytes), "{refused:?}");
    let bystander = tenant();
    let few: Vec<_> = (0..14).map(|_| acquire(&all, &bystander, &own, MIB / 2)).collect();
    assert!(few.iter().all(Result::is_ok));
    drop((held, few));

    let mut held = Vec::new();
    for count in &flooding {
        held.extend(
            std::iter::repeat_with(|| acquire(&all, count, &own, 0))
                .take(300)
                .flatten(),
        );
    }
    let over = acquire(&all, &flooding[7], &own, 0).err();
    assert_eq!(over, Some(BoundMet::ShareOfRequests));
    let few: Vec<_> = (0..14).map(|_| acquire(&all, &bystander, &own, 0)).collect();
    assert!(few.iter().all(Result::is_ok));
}
