//! Which writes wait for which, how long, and for how many.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::*;
use crate::memory::{Kind, Memory};
use crate::model::{Protocol, TenantId};
use crate::telemetry::Metrics;
use crate::wire::{ScanLimits, scan, write_series};

fn memory() -> Arc<Memory> {
    Memory::new(1 << 30, Arc::new(Metrics::new()))
}

fn order(memory: &Arc<Memory>) -> Order {
    Order::new(&PolicyWatch::new(memory).unwrap())
}

fn counters() -> (Counters, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    (Counters::new(&TenantId::new("kazusa").unwrap(), &metrics), metrics)
}

/// A write of these series, each with one sample of this time.
fn at(time: i64, series: std::ops::Range<usize>) -> Scanned {
    let mut body = Vec::new();
    for n in series {
        let pod = n.to_string();
        let labels = [("__name__", "up"), ("pod", pod.as_str())];
        write_series(&mut body, labels.into_iter(), std::iter::once((1.0, time)));
    }
    scan(Protocol::V1, body, &ScanLimits::NONE).unwrap()
}

/// Told to wait for a second.
fn told(order: &Order, scanned: &Scanned, now: Instant) {
    let write = order.register(scanned, now).unwrap();
    order.told_to_wait(Some(write), 1, now);
}

#[test]
fn a_newer_write_waits_for_an_older_one_of_its_series_until_that_is_answered() {
    let memory = memory();
    let (order, now) = (order(&memory), Instant::now());
    assert!(!order.matters(false));
    let (older, newer) = (at(1000, 0..100), at(2000, 0..100));
    told(&order, &older, now);
    assert!(order.matters(false));
    let waits_for = |write: &InOrder<'_>| order.lock().waits_for(write.place, now);
    let waiting = order.register(&newer, now).unwrap();
    assert_eq!(waits_for(&waiting), Some(Some(now + Duration::from_secs(1) + LATE)));
    let back = order.register(&older, now).unwrap();
    // It is here, and waits for nobody.
    assert_eq!((waits_for(&waiting), waits_for(&back)), (Some(None), None));
    drop(back);
    assert_eq!(waits_for(&waiting), None);
    drop(waiting);
    assert_eq!(memory.held(Kind::Plugins), 0);
}

#[test]
fn whoever_has_other_series_or_the_same_time_does_not_wait() {
    let memory = memory();
    let (order, now) = (order(&memory), Instant::now());
    told(&order, &at(1000, 0..100), now);
    for scanned in [at(2000, 100..200), at(1000, 0..100), at(999, 0..100)] {
        let write = order.register(&scanned, now).unwrap();
        assert_eq!(order.lock().waits_for(write.place, now), None);
    }
}

#[test]
fn writes_that_have_most_series_in_common_know_each_other_and_the_oldest_sample_counts() {
    let memory = memory();
    let (order, now) = (order(&memory), Instant::now());
    told(&order, &at(1000, 0..1500), now);
    let write = order.register(&at(2000, 300..1800), now).unwrap();
    assert!(order.lock().waits_for(write.place, now).is_some());
    // Several samples of one series, the newest first.
    let mut body = Vec::new();
    for time in [3000, 500] {
        write_series(
            &mut body,
            [("__name__", "up"), ("pod", "0")].into_iter(),
            [(1.0, time)].into_iter(),
        );
    }
    let series = order.series(&scan(Protocol::V1, body, &ScanLimits::NONE).unwrap());
    assert_eq!((series.len(), series[0].time), (1, 500));
}

#[test]
fn few_series_are_known_among_many_and_who_comes_later_and_is_older_goes_first_too() {
    let memory = memory();
    let (order, now) = (order(&memory), Instant::now());
    told(&order, &at(1000, 1500..1501), now);
    let many = order.register(&at(2000, 0..2000), now).unwrap();
    assert!(order.lock().waits_for(many.place, now).is_some());
    drop(order.register(&at(1000, 1500..1501), now));
    assert_eq!(order.lock().waits_for(many.place, now), None);
    let late = order.register(&at(500, 0..2000), now).unwrap();
    assert_eq!(order.lock().waits_for(many.place, now), Some(None));
    assert_eq!(order.lock().waits_for(late.place, now), None);
    // Its place is another's then, for whom nobody waits.
    drop(late);
    let other = order.register(&at(1, 5000..5001), now).unwrap();
    assert_eq!((other.place, order.lock().waits_for(many.place, now)), (0, None));
}

#[test]
fn nobody_is_held_for_a_tenant_whose_writes_do_not_come_again() {
    let memory = memory();
    let (order, now) = (order(&memory), Instant::now());
    for n in 0..3 {
        told(&order, &at(n, 0..10), now);
    }
    let missed = now + Duration::from_secs(1) + LATE;
    assert!(order.register(&at(9, 0..10), missed).is_none());
    assert_eq!(memory.held(Kind::Plugins), 0);
    assert!(order.register(&at(9, 0..10), missed + RESPITE).is_some());
    // One that comes is as good as none that was missed.
    for n in 0..9 {
        let now = missed + RESPITE + Duration::from_secs(10 * n);
        told(&order, &at(10, 0..10), now);
        told(&order, &at(20, 0..10), now);
        assert!(order.register(&at(20, 0..10), now).is_some(), "{n}");
    }
}

#[test]
fn there_are_not_more_than_so_many_and_without_memory_none() {
    let memory = memory();
    let (order, now) = (order(&memory), Instant::now());
    let all: Vec<_> = (0..100).filter_map(|n| order.register(&at(n, 0..100), now)).collect();
    assert_eq!(all.len(), MOST);
    let held = memory.held(Kind::Plugins);
    assert!((1..=MOST_BYTES).contains(&held), "{held}");
    drop(all);
    assert_eq!(memory.held(Kind::Plugins), 0);
    let most = crate::memory::most(memory.limit(), Kind::Plugins);
    let _all = memory.hold(Kind::Plugins, most).unwrap();
    assert!(order.register(&at(1, 0..100), now).is_none());
    // What holds no series is no older than anything.
    assert!(order.register(&at(1, 0..0), now).is_none());
}

#[tokio::test]
async fn a_write_that_waits_goes_on_when_the_older_one_is_answered() {
    let memory = memory();
    let (order, (counters, metrics)) = (order(&memory), counters());
    let now = Instant::now();
    let (older, newer) = (at(1000, 0..10), at(2000, 0..10));
    order.told_to_wait(order.register(&older, now), 1, now);
    let write = order.register(&newer, now).unwrap();
    let back = order.register(&older, now).unwrap();
    let answered = async {
        while order.lock().waiting == 0 {
            tokio::task::yield_now().await;
        }
        drop(back);
    };
    let (waited, ()) = tokio::join!(order.wait(&write, false, &counters), answered);
    assert_eq!(waited, Ok(()));
    assert_eq!(order.lock().waiting, 0);
    let text = metrics.text();
    assert!(
        text.contains("gauntlet_held_writes_total{tenant=\"kazusa\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn a_write_whose_turn_is_further_off_than_it_may_be_held_is_told_to_come_after_the_older_one() {
    let memory = memory();
    let (order, (counters, metrics)) = (order(&memory), counters());
    let now = Instant::now();
    order.told_to_wait(order.register(&at(1000, 0..10), now), 10, now);
    let write = order.register(&at(2000, 0..10), now).unwrap();
    let told = order.wait(&write, false, &counters).await.unwrap_err();
    let seconds = Duration::from_secs(10)..=Duration::from_secs(11);
    assert!(seconds.contains(&told.retry_after), "{told:?}");
    assert!(!metrics.text().contains("gauntlet_held_writes_total{"));
    // Nobody waits for what a receiver had told to come in an hour.
    drop(write);
    let back = order.register(&at(1000, 0..10), now);
    order.told_to_wait(back, 3600, now);
    let write = order.register(&at(2000, 0..10), now).unwrap();
    assert_eq!(order.wait(&write, false, &counters).await, Ok(()));
}

#[tokio::test]
async fn where_writes_share_series_one_that_comes_a_moment_later_and_is_older_goes_first() {
    let memory = memory();
    let (order, (counters, _)) = (order(&memory), counters());
    let now = Instant::now();
    let first = order.register(&at(3000, 0..10), now).unwrap();
    let alone = std::pin::pin!(order.wait(&first, false, &counters));
    assert_eq!(futures_util::poll!(alone), std::task::Poll::Ready(Ok(())));
    let second = order.register(&at(2000, 0..10), now).unwrap();
    let mut waits = std::pin::pin!(order.wait(&second, false, &counters));
    assert!(futures_util::poll!(&mut waits).is_pending());
    let third = order.register(&at(1000, 0..10), now).unwrap();
    let went = async {
        order.wait(&third, false, &counters).await.unwrap();
        assert_eq!(order.lock().waits_for(second.place, now), Some(None));
        drop(third);
    };
    let (waited, ()) = tokio::join!(waits, went);
    assert_eq!(waited, Ok(()));
}

#[tokio::test]
async fn not_more_than_so_many_wait_and_one_whose_sender_hung_up_waits_no_longer() {
    let memory = memory();
    let (order, (counters, _)) = (order(&memory), counters());
    let now = Instant::now();
    told(&order, &at(1000, 0..10), now);
    let writes: Vec<_> = (0..20)
        .map(|n| order.register(&at(2000 + n, 0..10), now).unwrap())
        .collect();
    let mut waits: FuturesUnordered<_> = writes.iter().map(|write| order.wait(write, false, &counters)).collect();
    for _ in MOST_HELD..writes.len() {
        assert_eq!(waits.next().await, Some(Ok(())));
    }
    assert_eq!(order.lock().waiting, MOST_HELD);
    drop(waits);
    assert_eq!(order.lock().waiting, 0);
}

#[test]
fn writes_of_a_sender_with_several_queues_gather_from_the_first_one_on() {
    let memory = memory();
    let order = order(&memory);
    assert!(!order.matters(false));
    assert!(order.gather_until.get().is_none());
    assert!(order.matters(true));
    assert!(!order.matters(false));
    let until = *order.gather_until.get().unwrap();
    assert!(until > Instant::now() && until <= Instant::now() + GATHERS);
    assert!(order.matters(true));
    assert_eq!(order.gather_until.get(), Some(&until));
}
