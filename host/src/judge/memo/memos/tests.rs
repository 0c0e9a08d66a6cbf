//! Memos that flood, and those that must not feel it.

use super::*;
use crate::judge::memo::{Bounds, Found, Memo, NewSeries, NewVerdict};
use crate::judge::verdict::{Edits, Fate, Verdict};
use crate::wire::{Framed, ProvedHash};

const MIB: u64 = 1 << 20;

fn bounds(tick: u16) -> Bounds {
    Bounds {
        generation: 1,
        tick,
        max_active_series: u64::MAX,
        max_bytes: usize::MAX,
    }
}

fn hash(n: u64) -> ProvedHash {
    let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ProvedHash::made_up([spread, spread.rotate_left(17) ^ n])
}

fn open(memos: &Arc<Memos>, n: usize) -> Memo {
    Memo::new(&TenantId::new(&format!("tenant-{n}")).unwrap(), memos)
}

/// A write of new series, admitted; every other one is edited.
fn write(memo: &Memo, series: std::ops::Range<u64>, bounds: &Bounds) {
    let verdict = |n| match n % 2 {
        0 => Verdict::Keep {
            stream: 0,
            budget: None,
        },
        _ => Verdict::Edit {
            labels: vec![b'x'; 100],
            stream: 0,
            budget: None,
        },
    };
    let all: Vec<_> = series
        .map(|n| NewVerdict {
            hash: hash(n),
            sent: b"labels",
            verdict: verdict(n),
        })
        .collect();
    let mut new = NewSeries::default();
    for some in all.chunks(256) {
        memo.store(some, true, bounds, &mut new, |_, refused| assert_eq!(refused, None));
    }
    assert!(memo.activate(&new, bounds).is_empty());
}

/// How many of them need no policy.
fn known(memo: &Memo, series: std::ops::Range<u64>, bounds: &Bounds) -> usize {
    let (mut fates, mut edits) = (Vec::new(), Edits::default());
    for n in series {
        let mut framed = Framed::made_up(b"labels", hash(n).hash());
        let found = &mut Found {
            fates: &mut fates,
            edits: &mut edits,
        };
        memo.look_up(&mut framed.asked(), bounds, &mut NewSeries::default(), found);
    }
    fates.iter().filter(|fate| **fate != Fate::Unknown).count()
}

fn check(memos: &Memos) {
    let shelves: Vec<_> = memos.list().iter().filter_map(Weak::upgrade).collect();
    shelves.iter().for_each(|shelf| shelf.lock().check());
    let held: u64 = shelves.iter().map(|shelf| shelf.size()).sum();
    assert_eq!(held, memos.memory.held(Kind::Memos));
}

#[test]
fn floods_stay_inside_the_number_and_share_it() {
    for (tenants, rounds, limit) in [(4, 200, 8 * MIB), (500, 4, 64 * MIB)] {
        let memos = Memos::within(limit);
        let flooding: Vec<Memo> = (0..tenants).map(|n| open(&memos, n)).collect();
        for round in 0..rounds {
            for memo in &flooding {
                write(memo, round * 1000..(round + 1) * 1000, &bounds(0));
                assert!(memos.memory.held(Kind::Memos) <= limit / 2);
            }
        }
        check(&memos);
        let sizes = || flooding.iter().map(|memo| memo.stats(0).bytes);
        let (least, most) = (sizes().min().unwrap(), sizes().max().unwrap());
        assert!(sizes().sum::<u64>() > limit / 4, "it is used");
        // Small tables grow by doubling.
        assert!(least * 4 > most, "{tenants}: {least} to {most}");
    }
}

#[test]
fn whoever_has_less_than_his_part_loses_nothing_while_others_flood() {
    let memos = Memos::within(16 * MIB);
    let flooding: Vec<Memo> = (0..4).map(|n| open(&memos, n)).collect();
    let flood = |round: u64| {
        for memo in &flooding {
            write(memo, round * 1000..(round + 1) * 1000, &bounds(0));
        }
    };
    (0..50).for_each(flood);
    // It comes when all is taken, and needs most of what is guaranteed to one of five.
    let bystander = open(&memos, 4);
    for n in 0..3 {
        write(&bystander, n * 1000..(n + 1) * 1000, &bounds(0));
    }
    let bytes = bystander.stats(0).bytes;
    assert!(bytes <= memos.memory.guaranteed(Kind::Memos) / 5, "{bytes}");
    (50..100).for_each(flood);
    // And bodies take what memos have above what is guaranteed.
    let others = [Kind::Bodies, Kind::Compiling];
    let others = others.map(|kind| memos.memory.hold(kind, memos.memory.room(kind)).unwrap());
    assert!(memos.memory.held(Kind::Memos) <= memos.memory.guaranteed(Kind::Memos));
    (100..110).for_each(flood);
    assert_eq!(known(&bystander, 0..3000, &bounds(1)), 3000);
    assert_eq!(bystander.stats(1).active_series, 3000);
    check(&memos);
    drop(others);
}

#[test]
fn memos_give_way_from_any_thread_while_they_are_written_to() {
    let memos = Memos::within(8 * MIB);
    let flooding: Vec<Memo> = (0..4).map(|n| open(&memos, n)).collect();
    std::thread::scope(|threads| {
        for memo in &flooding {
            threads.spawn(|| (0..50).for_each(|round| write(memo, round * 1000..(round + 1) * 1000, &bounds(0))));
        }
        for _ in 0..2 {
            threads.spawn(|| {
                for _ in 0..100 {
                    let memory = &memos.memory;
                    // Half of all bodies may have: nearly half of it is not guaranteed to them.
                    let body = memory.hold(Kind::Bodies, memory.limit() / 100 * 25);
                    assert!(body.is_ok());
                }
            });
        }
    });
    check(&memos);
}

#[test]
fn what_saves_time_alone_goes_before_what_is_counted() {
    let memos = Memos::within(16 * MIB);
    let memo = open(&memos, 0);
    write(&memo, 0..10_000, &bounds(0));
    let before = memo.stats(0);
    assert_eq!(before.active_series, 10_000);
    // All that is given up is labels of edited series.
    let mut given = memos.memory.open(Kind::Memos);
    memo.shelf.give(before.bytes / 4, &mut given);
    let after = memo.stats(0);
    assert_eq!((after.active_series, after.entries), (10_000, 10_000));
    assert!(
        given.bytes() >= before.bytes / 4 && after.bytes < before.bytes,
        "{} {before:?} {after:?}",
        given.bytes()
    );
    // More than all labels: now active series go, the older ones first.
    known(&memo, 0..5000, &bounds(1));
    memo.shelf.give(after.bytes * 3 / 4, &mut given);
    let left = memo.stats(1).active_series;
    assert!((4000..8000).contains(&left), "{left}");
    drop(given);
    check(&memos);
}

#[test]
fn a_flood_that_fits_without_its_labels_is_counted_to_the_last_series() {
    let memos = Memos::within(16 * MIB);
    let memo = open(&memos, 0);
    for n in 0..100 {
        write(&memo, n * 1000..(n + 1) * 1000, &bounds(0));
    }
    assert_eq!(memo.stats(0).active_series, 100_000);
    let needs_no_policy = known(&memo, 0..100_000, &bounds(0));
    assert!((50_000..90_000).contains(&needs_no_policy), "{needs_no_policy}");
    check(&memos);
}

#[test]
fn the_level_takes_of_the_largest_what_is_wanted() {
    let level = |sizes: &[u64], wanted| super::level(sizes.iter().copied(), wanted);
    assert_eq!(level(&[100, 50, 10], 30), 70);
    assert_eq!(level(&[100, 50, 10], 50), 50);
    assert_eq!(level(&[100, 50, 10], 60), 45);
    assert_eq!(level(&[100, 50, 10], 160), 0);
    assert_eq!(level(&[100, 50, 10], 1000), 0);
    assert_eq!(level(&[], 10), 0);
}

#[test]
fn a_memo_that_is_gone_gives_its_memory_back() {
    let memos = Memos::within(16 * MIB);
    for n in 0..100 {
        write(&open(&memos, n), 0..1000, &bounds(0));
    }
    assert_eq!(memos.memory.held(Kind::Memos), 0);
    assert!(memos.list().len() < 10, "{}", memos.list().len());
}
