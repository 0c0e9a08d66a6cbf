//! What the memo remembers, counts and lets go of.

use super::activity::WINDOW_TICKS;
use super::*;
use crate::model::Refusal;
use crate::wire::{Framed, Patch};

mod budgets;

const BUDGET: usize = 1 << 20;

/// In a process that has memory enough.
fn memo() -> Memo {
    Memo::new(&TenantId::new("a").unwrap(), &Memos::within(u64::MAX))
}

fn hash(n: u64) -> ProvedHash {
    // Spread over shards and slots as a real hash is.
    let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ProvedHash::made_up([spread, spread.rotate_left(17) ^ n])
}

fn bounds(generation: u16, tick: u16, max: u64) -> Bounds {
    Bounds {
        generation,
        tick,
        max_active_series: max,
        max_bytes: BUDGET,
    }
}

/// What every series of these tests is sent as.
const SENT: &[u8] = b"labels";

fn look_up(memo: &Memo, n: u64, bounds: Bounds, new: &mut NewSeries) -> Fate {
    look_up_edited(memo, n, SENT, bounds, new).0
}

fn look_up_edited(memo: &Memo, n: u64, sent: &[u8], bounds: Bounds, new: &mut NewSeries) -> (Fate, Edits) {
    let (mut fates, mut edits) = (Vec::new(), Edits::default());
    let found = &mut Found {
        fates: &mut fates,
        edits: &mut edits,
    };
    let mut framed = Framed::made_up(sent, hash(n).hash());
    memo.look_up(&mut framed.asked(), &bounds, new, found);
    (fates[0], edits)
}

/// What becomes of it where it may not pass.
fn store(memo: &Memo, n: u64, verdict: &Verdict, b: Bounds, new: &mut NewSeries) -> Option<Fate> {
    store_sent(memo, n, SENT, verdict, b, new)
}

fn store_sent(memo: &Memo, n: u64, sent: &[u8], verdict: &Verdict, b: Bounds, new: &mut NewSeries) -> Option<Fate> {
    let one = NewVerdict {
        hash: hash(n),
        sent,
        verdict: verdict.clone(),
    };
    let mut passes = None;
    memo.store(&[one], true, &b, new, |_, refused| passes = Some(refused));
    passes.unwrap()
}

fn send(memo: &Memo, n: u64, verdict: &Verdict, b: Bounds) -> Fate {
    let mut new = NewSeries::default();
    let mut fate = look_up(memo, n, b, &mut new);
    if fate == Fate::Unknown {
        fate = store(memo, n, verdict, b, &mut new).unwrap_or_else(|| Edits::default().fate(verdict));
    }
    memo.activate(&new, &b);
    fate
}

const KEPT: Verdict = Verdict::Keep {
    stream: 0,
    budget: None,
};
const PASSED: Fate = Fate::Keep { stream: 0 };

#[test]
fn a_verdict_is_given_out_only_under_its_generation() {
    let memo = memo();
    send(&memo, 1, &Verdict::Drop { reason: 3 }, bounds(1, 0, 10));
    let mut new = NewSeries::default();
    assert_eq!(look_up(&memo, 1, bounds(1, 0, 10), &mut new), Fate::Drop { reason: 3 });
    assert_eq!(look_up(&memo, 1, bounds(2, 0, 10), &mut new), Fate::Unknown);
}

#[test]
fn at_the_active_limit_known_series_pass_and_a_new_one_is_refused() {
    let memo = memo();
    let b = bounds(1, 0, 2);
    assert_eq!(send(&memo, 1, &KEPT, b), PASSED);
    assert_eq!(send(&memo, 2, &KEPT, b), PASSED);
    assert_eq!(send(&memo, 3, &KEPT, b), Fate::OverActiveSeries);
    // Now remembered, still refused; and what is dropped needs no room.
    assert_eq!(send(&memo, 3, &KEPT, b), Fate::OverActiveSeries);
    assert_eq!(
        send(&memo, 4, &Verdict::Drop { reason: 0 }, b),
        Fate::Drop { reason: 0 }
    );
    assert_eq!(send(&memo, 1, &KEPT, b), PASSED);
    assert_eq!(memo.stats(0).active_series, 2);
}

#[test]
fn a_series_counts_twice_in_one_write_only_once() {
    let memo = memo();
    let b = bounds(1, 0, 1);
    let mut new = NewSeries::default();
    store(&memo, 1, &KEPT, b, &mut new);
    assert_eq!(look_up(&memo, 1, b, &mut new), PASSED);
    assert_eq!(new.len(), 1);
}

#[test]
fn active_series_survive_a_new_generation_and_leave_after_the_window() {
    let memo = memo();
    for n in 0..1000 {
        send(&memo, n, &KEPT, bounds(1, 0, 10_000));
    }
    memo.forget_verdicts();
    assert_eq!(memo.stats(0).active_series, 1000);
    for n in 0..10 {
        send(&memo, n, &KEPT, bounds(2, 5, 10_000));
    }
    assert_eq!(memo.stats(5).active_series, 1000);
    assert_eq!(memo.stats(WINDOW_TICKS - 1).active_series, 1000);
    assert_eq!(memo.stats(WINDOW_TICKS).active_series, 10);
    assert_eq!(memo.stats(WINDOW_TICKS + 5).active_series, 0);
}

#[test]
fn a_long_silence_leaves_no_active_series_behind() {
    let memo = memo();
    for n in 0..100 {
        send(&memo, n, &KEPT, bounds(1, 0, 1000));
    }
    assert_eq!(memo.stats(10_000).active_series, 0);
    // Not swept yet or swept: either way it is new again, and counted once.
    send(&memo, 1, &KEPT, bounds(1, 10_000, 1000));
    assert_eq!(memo.stats(10_000).active_series, 1);
}

#[test]
fn a_write_that_is_not_admitted_leaves_its_series_new() {
    let memo = memo();
    let b = bounds(1, 0, 10);
    let mut new = NewSeries::default();
    store(&memo, 1, &KEPT, b, &mut new);
    assert_eq!((new.len(), memo.stats(0).active_series), (1, 0));
    let mut again = NewSeries::default();
    look_up(&memo, 1, b, &mut again);
    assert_eq!(again.len(), 1);
}

#[test]
fn churn_stays_under_the_bound_and_edits_free_their_labels() {
    let memo = memo();
    let bounds = Bounds {
        max_bytes: 6_000,
        ..bounds(1, 0, u64::MAX)
    };
    let mut new = NewSeries::default();
    for n in 0..100_000 {
        let verdict = match n % 2 {
            0 => KEPT,
            _ => Verdict::Edit {
                labels: vec![b'x'; 100],
                stream: 0,
                budget: None,
            },
        };
        store(&memo, n, &verdict, bounds, &mut new);
        assert_ne!(look_up(&memo, n, bounds, &mut new), Fate::Unknown);
        let bytes = memo.shelf.lock().bytes();
        assert!(bytes <= bounds.max_bytes, "{bytes}");
    }
    memo.shelf.lock().check();
}

#[test]
fn eviction_takes_the_oldest_first() {
    let memo = memo();
    let bounds_at = |tick| Bounds {
        max_bytes: 160_000,
        ..bounds(1, tick, u64::MAX)
    };
    let mut new = NewSeries::default();
    for n in 0..2000 {
        store(&memo, n, &KEPT, bounds_at(0), &mut new);
    }
    for n in 10_000..14_000 {
        store(&memo, n, &KEPT, bounds_at(3), &mut new);
    }
    let count = |range: std::ops::Range<u64>| {
        let mut new = NewSeries::default();
        range
            .filter(|n| look_up(&memo, *n, bounds(1, 3, u64::MAX), &mut new) != Fate::Unknown)
            .count()
    };
    let (old, young) = (count(0..2000), count(10_000..14_000));
    assert!(young > old * 2, "old {old} young {young}");
}

#[test]
fn a_series_that_a_new_generation_drops_is_active_no_more() {
    let memo = memo();
    for n in 0..10 {
        send(&memo, n, &KEPT, bounds(1, 0, 10));
    }
    memo.forget_verdicts();
    for verdict in [
        Verdict::Drop { reason: 0 },
        Verdict::Reject {
            blame: 0x1234,
            refusal: Refusal::NoLabels,
        },
    ] {
        send(&memo, 1, &verdict, bounds(2, 0, 10));
    }
    for n in 2..6 {
        send(&memo, n, &Verdict::Drop { reason: 0 }, bounds(2, 1, 10));
    }
    assert_eq!(memo.stats(1).active_series, 5);
    // They are sent on and on, and still take no room from others.
    for n in 1..6 {
        send(&memo, n, &Verdict::Drop { reason: 0 }, bounds(2, 2, 10));
    }
    assert_eq!(memo.stats(2).active_series, 5);
    assert_eq!(send(&memo, 77, &KEPT, bounds(2, 2, 10)), PASSED);
    assert_eq!(memo.stats(WINDOW_TICKS + 2).active_series, 0);
}

#[test]
fn writes_that_were_judged_at_the_same_time_share_the_room_there_is() {
    let memo = memo();
    let b = bounds(1, 0, 3);
    let judged = |range: std::ops::Range<u64>| {
        let mut new = NewSeries::default();
        for n in range {
            assert_eq!(store(&memo, n, &KEPT, b, &mut new), None);
        }
        new
    };
    // Each fits by itself; series 2 is in both.
    let (one, other) = (judged(0..3), judged(2..5));
    assert_eq!(memo.activate(&one, &b).len(), 0);
    let over = memo.activate(&other, &b);
    let no_room = |n| (hash(n), Fate::OverActiveSeries);
    assert_eq!(over, HashMap::from_iter([no_room(3), no_room(4)]));
    assert_eq!(memo.stats(0).active_series, 3);
}

#[test]
fn an_edit_comes_back_whatever_it_has_in_common_with_what_was_sent() {
    let long = vec![b'l'; 100_000];
    let pairs: &[(&[u8], &[u8])] = &[
        (b"abc", b"abxc"),
        (b"abc", b"ac"),
        (b"abc", b"abc"),
        (b"abc", b""),
        (b"", b"abc"),
        (b"aaaa", b"aa"),
        (b"aa", b"aaaa"),
        (b"abab", b"ab"),
        (b"abc", b"xyz"),
        (&long, &long[1..]),
        (&long[..70_000], &long),
    ];
    let memo = memo();
    let b = bounds(1, 0, 1000);
    for (n, (sent, labels)) in pairs.iter().enumerate() {
        let verdict = Verdict::Edit {
            labels: labels.to_vec(),
            stream: 7,
            budget: None,
        };
        let mut new = NewSeries::default();
        assert_eq!(store_sent(&memo, n as u64, sent, &verdict, b, &mut new), None);
        let (fate, edits) = look_up_edited(&memo, n as u64, sent, b, &mut new);
        assert_eq!(fate, Fate::Edit { stream: 7, edit: 0 });
        let Patch { first, middle, last } = edits.get(0).unwrap();
        let (first, last) = (&sent[..first.into()], &sent[sent.len() - usize::from(last)..]);
        assert!([first, middle, last].concat() == *labels, "{n}");
    }
    // A label added costs its own bytes, not those of the whole series.
    assert!(memo.stats(0).bytes < 70_000);
}

#[test]
fn what_a_memo_holds_is_found_again_as_it_grows_and_leaves_in_time() {
    let memo = memo();
    let mut new = NewSeries::default();
    let mut splits = vec![];
    let all = Bounds {
        max_bytes: usize::MAX,
        ..bounds(1, 0, u64::MAX)
    };
    for n in 0..40_000 {
        let before = memo.shelf.lock().shards();
        store(&memo, n, &KEPT, all, &mut new);
        let shards = memo.shelf.lock().shards();
        if shards != before {
            splits.push((n, shards));
        }
        // One of each shard that there was before.
        let known = (0..=n).step_by(1 + n as usize / 64);
        let mut unknown = NewSeries::default();
        known.for_each(|n| assert_ne!(look_up(&memo, n, all, &mut unknown), Fate::Unknown));
    }
    assert_eq!(splits, [(1024, 16), (16_384, 256)]);
    memo.activate(&new, &all);
    memo.shelf.lock().check();
    let counts = |tick| (memo.stats(tick).entries, memo.stats(tick).active_series);
    assert_eq!(counts(0), (40_000, 40_000));
    // Each look at it sweeps one shard.
    let mut left = counts(WINDOW_TICKS);
    for _ in 0..300 {
        left = counts(WINDOW_TICKS);
    }
    assert_eq!(left, (0, 0));
}

#[test]
fn a_refused_series_costs_next_to_nothing_and_is_refused_again_without_being_asked_about() {
    let memo = memo();
    let b = bounds(1, 0, 100);
    for n in 0..100 {
        send(&memo, n, &KEPT, b);
    }
    let edit = Verdict::Edit {
        labels: vec![b'x'; 1000],
        stream: 0,
        budget: None,
    };
    for n in 1000..2000 {
        assert_eq!(send(&memo, n, &edit, b), Fate::OverActiveSeries);
    }
    let stats = memo.stats(0);
    assert_eq!((stats.entries, stats.active_series), (100, 100));
    assert!(stats.bytes < 60_000, "{}", stats.bytes);
    for n in 1000..2000 {
        assert_eq!(look_up(&memo, n, b, &mut NewSeries::default()), Fate::OverActiveSeries);
    }
    memo.shelf.lock().check();
    // Under other policies, or where there is room, it is another question.
    let unknown = |b| look_up(&memo, 1000, b, &mut NewSeries::default());
    assert_eq!(unknown(bounds(2, 0, 100)), Fate::Unknown);
    assert_eq!(unknown(bounds(1, 0, 101)), Fate::Unknown);
    assert_eq!(unknown(bounds(1, WINDOW_TICKS, 100)), Fate::Unknown);
}

#[test]
fn a_flood_of_refused_series_is_bounded_and_pushes_out_nobody() {
    let memo = memo();
    let b = Bounds {
        max_bytes: 4 << 20,
        ..bounds(1, 0, 1000)
    };
    for n in 0..1000 {
        send(&memo, n, &KEPT, b);
    }
    let before = memo.stats(0).bytes;
    for n in 10_000..210_000 {
        let refused = store(&memo, n, &KEPT, b, &mut NewSeries::default());
        assert_eq!(refused, Some(Fate::OverActiveSeries));
    }
    let after = memo.stats(0);
    assert_eq!((after.entries, after.active_series), (1000, 1000));
    assert!(after.bytes - before < 1_700_000, "{}", after.bytes - before);
    assert_eq!(
        look_up(&memo, 10_000, b, &mut NewSeries::default()),
        Fate::OverActiveSeries
    );
    // A new generation's take their place.
    let next = Bounds { generation: 2, ..b };
    assert_eq!(send(&memo, 7_000_000, &KEPT, next), Fate::OverActiveSeries);
    assert_eq!(
        look_up(&memo, 7_000_000, next, &mut NewSeries::default()),
        Fate::OverActiveSeries
    );
    memo.shelf.lock().check();
}

#[test]
fn what_there_is_no_memory_for_passes_and_is_not_remembered() {
    let memos = Memos::within(0);
    let memo = Memo::new(&TenantId::new("a").unwrap(), &memos);
    let b = bounds(1, 0, 10);
    for n in 0..100 {
        assert_eq!(send(&memo, n % 5, &KEPT, b), PASSED);
    }
    assert_eq!((memo.stats(0).entries, memo.stats(0).active_series), (0, 0));
}
