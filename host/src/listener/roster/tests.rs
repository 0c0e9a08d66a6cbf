//! Who goes, when there is one too many.

use super::super::clock::Phase;
use super::*;
use crate::telemetry::Metrics;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const BOUNDS: MostSeats = MostSeats {
    connections: 3,
    strangers_per_address: 3,
    per_tenant: 3,
};

fn roster(bounds: MostSeats, memory: u64) -> Arc<Roster> {
    Roster::new(bounds, Memory::new(memory, Arc::new(Metrics::new())))
}

fn ample(bounds: MostSeats) -> Arc<Roster> {
    roster(bounds, u64::MAX / 100)
}

fn comes(roster: &Arc<Roster>) -> Result<(Seat, Notice), Leave> {
    let (seat, notice) = roster.seat(Arc::new(Clock::new(Duration::MAX, Duration::MAX)))?;
    seat.comes_from(HERE);
    Ok((seat, notice))
}

fn tenant(id: &str) -> TenantId {
    TenantId::new(id).unwrap()
}

/// One that has proved `id` and had its answer.
fn idle(roster: &Arc<Roster>, id: &str) -> (Seat, Notice) {
    let (seat, notice) = comes(roster).unwrap();
    assert!(seat.proved(&tenant(id)));
    seat.clock().enter(Phase::Idle);
    (seat, notice)
}

fn told((_, notice): &mut (Seat, Notice)) -> Option<Leave> {
    notice.told.try_recv().ok()
}

#[tokio::test]
async fn strangers_go_first_and_then_who_is_idle_the_longest() {
    let roster = ample(BOUNDS);
    let (mut first, mut second) = (idle(&roster, "a"), idle(&roster, "b"));
    let mut stranger = comes(&roster).unwrap();
    assert_eq!(comes(&roster).err(), Some(Leave::Full));
    roster.tell_one(Leave::Full, None);
    assert_eq!(told(&mut stranger), Some(Leave::Full));
    // It has its seat until it leaves.
    assert_eq!(comes(&roster).err(), Some(Leave::Full));
    drop(stranger);
    let mut third = idle(&roster, "a");
    // The first has another request, and its answer, so that it is no longer the longest idle.
    first.0.clock().enter(Phase::Idle);
    roster.tell_one(Leave::Full, None);
    assert_eq!(
        [told(&mut first), told(&mut second), told(&mut third)],
        [None, Some(Leave::Full), None]
    );
}

#[tokio::test]
async fn who_waits_for_room_has_it_when_the_one_that_was_told_left() {
    let roster = ample(MostSeats {
        connections: 1,
        ..BOUNDS
    });
    let mut first = Some(comes(&roster).unwrap());
    let second = roster.make_room(None, || comes(&roster));
    let leaving = async {
        while first.as_mut().is_some_and(|first| told(first).is_none()) {
            tokio::task::yield_now().await;
        }
        drop(first.take());
    };
    let (mut second, ()) = tokio::join!(second, leaving);
    assert_eq!(told(&mut second), None);
}

#[tokio::test]
async fn who_was_told_has_time_to_leave_before_the_next_is() {
    let roster = ample(BOUNDS);
    let mut all = [
        comes(&roster).unwrap(),
        comes(&roster).unwrap(),
        comes(&roster).unwrap(),
    ];
    let began = Instant::now();
    let made = timeout(LOOK_AGAIN * 4, roster.make_room(None, || comes(&roster))).await;
    assert!(made.is_err(), "nobody left");
    let told = all.each_mut().map(told);
    let is_one = told == [Some(Leave::Full), None, None];
    assert!(is_one || began.elapsed() > LEAVES_WITHIN, "{told:?}");
}

#[test]
fn nobody_at_work_is_told() {
    let roster = ample(BOUNDS);
    let mut all = [idle(&roster, "a"), idle(&roster, "b"), comes(&roster).unwrap()];
    all.iter().for_each(|(seat, _)| seat.clock().enter(Phase::Busy));
    roster.tell_one(Leave::Full, None);
    assert!(all.iter_mut().all(|one| told(one).is_none()));
    // The beginning of a tenant's next request is work too; that of a stranger's may be all there ever is of it.
    all.iter().for_each(|(seat, _)| seat.clock().enter(Phase::Head));
    roster.tell_one(Leave::Full, None);
    assert_eq!(all.each_mut().map(told), [None, None, Some(Leave::Full)]);
}

#[tokio::test]
async fn whoever_has_a_request_before_he_hears_it_stays_for_the_answer() {
    let roster = ample(BOUNDS);
    let (seat, notice) = idle(&roster, "a");
    roster.tell_one(Leave::Full, None);
    seat.clock().enter(Phase::Busy);
    let mut comes = Box::pin(notice.comes());
    let early = timeout(LOOK_AGAIN, &mut comes).await;
    assert!(early.is_err());
    seat.clock().enter(Phase::Idle);
    assert_eq!(comes.await, Leave::Full);
}

#[tokio::test]
async fn a_part_of_all_seats_is_for_strangers() {
    let many = 2 * PART_OF_STRANGERS;
    let roster = ample(MostSeats {
        connections: many,
        strangers_per_address: many,
        per_tenant: many,
    });
    let mut tenants: Vec<_> = (2..many).map(|_| idle(&roster, "a")).collect();
    let mut strangers = [comes(&roster).unwrap(), comes(&roster).unwrap()];
    roster.tell_one(Leave::Full, None);
    assert_eq!(strangers.each_mut().map(told), [None, None]);
    assert_eq!(told(&mut tenants[0]), Some(Leave::Full));
    drop(tenants.remove(0));
    let third = comes(&roster).unwrap();
    roster.tell_one(Leave::Full, None);
    assert_eq!(strangers.each_mut().map(told), [Some(Leave::Full), None]);
    assert!(tenants.iter_mut().all(|one| told(one).is_none()));
    drop(third);
}

#[tokio::test]
async fn of_too_many_strangers_of_one_address_the_first_goes_and_tenants_do_not_count() {
    let roster = ample(MostSeats {
        connections: 10,
        strangers_per_address: 2,
        per_tenant: 10,
    });
    let mut tenants = [idle(&roster, "a"), idle(&roster, "a"), idle(&roster, "a")];
    let mut strangers = [comes(&roster).unwrap(), comes(&roster).unwrap()];
    strangers[0].0.clock().enter(Phase::Busy);
    let mut third = comes(&roster).unwrap();
    assert_eq!(strangers.each_mut().map(told), [None, Some(Leave::Address)]);
    assert_eq!(told(&mut third), None);
    assert_eq!(tenants.each_mut().map(told), [None, None, None]);
    let elsewhere = roster.seat(Arc::new(Clock::new(Duration::MAX, Duration::MAX))).unwrap();
    elsewhere.0.comes_from("192.0.2.1".parse().unwrap());
    assert_eq!(told(&mut third), None);
}

#[tokio::test]
async fn a_tenant_with_as_many_as_it_may_have_loses_the_one_that_is_idle_the_longest() {
    let roster = ample(MostSeats {
        connections: 10,
        strangers_per_address: 10,
        per_tenant: 2,
    });
    let mut other = idle(&roster, "b");
    let mut both = [idle(&roster, "a"), idle(&roster, "a")];
    both[0].0.clock().enter(Phase::Busy);
    let third = idle(&roster, "a");
    assert_eq!(both.each_mut().map(told), [None, Some(Leave::Tenant)]);
    assert_eq!(told(&mut other), None);
    third.0.clock().enter(Phase::Busy);
    let fourth = comes(&roster).unwrap();
    assert!(!fourth.0.proved(&tenant("a")), "all are at work");
    drop(third);
    assert!(fourth.0.proved(&tenant("a")));
}

#[tokio::test]
async fn memory_is_held_for_each_and_who_speaks_needs_more() {
    // Room for two at rest and for one of them to speak; connections may take a quarter of all.
    let roster = roster(BOUNDS, (2 * AT_REST + IN_USE) * 4 + 400);
    let mut first = comes(&roster).unwrap();
    let second = comes(&roster).unwrap();
    let speaking = second.0.speak().await;
    assert_eq!(comes(&roster).err(), Some(Leave::Memory));
    // The first goes for the second's sake.
    let again = second.0.speak();
    let (_speaking, ()) = tokio::join!(again, async {
        while told(&mut first).is_none() {
            tokio::task::yield_now().await;
        }
        drop(speaking);
    });
    drop(second);
    assert_eq!(roster.memory.held(Kind::Connections), AT_REST + IN_USE);
}

#[test]
fn who_leaves_leaves_nothing_behind() {
    let roster = ample(BOUNDS);
    let all = (idle(&roster, "a"), comes(&roster).unwrap());
    drop(all);
    let book = roster.book();
    assert!(book.seats.is_empty() && book.strangers.is_empty());
    assert!(book.by_network.is_empty() && book.by_tenant.is_empty());
    assert_eq!(roster.memory.held(Kind::Connections), 0);
}
