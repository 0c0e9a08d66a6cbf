//! Budgets: what counts against them, whom they refuse, and when they are forgotten.

use super::*;
use crate::judge::memo::budgets::NUMBER_BITS;
use crate::model::SeriesBudget;

mod model;

fn budget(name: &str, max_active_series: u64) -> Option<Arc<SeriesBudget>> {
    let name = Arc::from(name);
    Some(Arc::new(SeriesBudget {
        name,
        max_active_series,
    }))
}

fn kept(name: &str, max: u64) -> Verdict {
    let (stream, budget) = (0, budget(name, max));
    Verdict::Keep { stream, budget }
}

fn edited(name: &str, max: u64) -> Verdict {
    Verdict::Edit {
        labels: vec![b'x'; 100],
        stream: 3,
        budget: budget(name, max),
    }
}

/// Under no limit of the tenant's that is near.
fn at(generation: u16, tick: u16) -> Bounds {
    Bounds {
        max_bytes: usize::MAX,
        ..bounds(generation, tick, 1_000_000)
    }
}

fn active(memo: &Memo, name: &str, tick: u16) -> u64 {
    memo.budget(name, tick).map_or(0, |stats| stats.active_series)
}

fn is_over(fate: Fate) -> bool {
    matches!(fate, Fate::OverBudget { .. })
}

#[test]
fn a_full_budget_refuses_its_new_series_and_nobody_elses() {
    let (memo, b) = (memo(), at(1, 0));
    for n in 0..3 {
        assert_eq!(send(&memo, n, &kept("up", 3), b), PASSED);
    }
    assert!(is_over(send(&memo, 3, &kept("up", 3), b)));
    // Remembered, and still refused without being asked about, with the budget's name.
    let mut new = NewSeries::default();
    let Fate::OverBudget { budget } = look_up(&memo, 3, b, &mut new) else {
        panic!()
    };
    let told = new.budget(budget).unwrap();
    assert_eq!((&*told.name, told.max_active_series), ("up", 3));
    // Those it has, those of other budgets and those of none pass.
    assert_eq!(send(&memo, 2, &kept("up", 3), b), PASSED);
    assert_eq!(send(&memo, 4, &kept("down", 3), b), PASSED);
    assert_eq!(send(&memo, 5, &KEPT, b), PASSED);
    // A larger bound under the same name is for the series that has it.
    assert_eq!(send(&memo, 6, &kept("up", 4), b), PASSED);
    assert!(is_over(send(&memo, 7, &kept("up", 4), b)));
    assert_eq!((active(&memo, "up", 0), active(&memo, "down", 0)), (4, 1));
    assert_eq!(memo.stats(0).active_series, 6);
    memo.shelf.lock().check();
}

#[test]
fn what_is_refused_for_its_budget_costs_what_other_refused_series_do() {
    let (memo, b) = (memo(), at(1, 0));
    send(&memo, 0, &edited("up", 1), b);
    let before = memo.stats(0);
    for n in 1..1000 {
        assert!(is_over(send(&memo, n, &edited("up", 1), b)));
    }
    let after = memo.stats(0);
    assert_eq!((after.entries, after.active_series), (before.entries, 1));
    assert!(after.bytes - before.bytes < 55_000, "{}", after.bytes - before.bytes);
    for n in 1..1000 {
        assert!(is_over(look_up(&memo, n, b, &mut NewSeries::default())));
    }
    // Where there is room again they are asked about.
    let later = at(1, WINDOW_TICKS - 1);
    assert!(is_over(look_up(&memo, 1, later, &mut NewSeries::default())));
    let later = at(1, WINDOW_TICKS);
    assert_eq!(look_up(&memo, 1, later, &mut NewSeries::default()), Fate::Unknown);
    memo.shelf.lock().check();
}

#[test]
fn series_of_one_write_and_of_writes_at_one_time_share_the_room_there_is() {
    let (memo, b) = (memo(), at(1, 0));
    let judged = |range: std::ops::Range<u64>| {
        let mut new = NewSeries::default();
        let passed = range.filter(|n| store(&memo, *n, &kept("up", 3), b, &mut new).is_none());
        (passed.count(), new)
    };
    // Series 1 and 2 are in both.
    let ((first, one), (second, other)) = (judged(0..5), judged(1..6));
    assert_eq!((first, second), (3, 3));
    assert_eq!(memo.activate(&one, &b).len(), 0);
    let over = memo.activate(&other, &b);
    assert_eq!(over.len(), 1);
    assert!(is_over(over[&hash(3)]));
    assert_eq!(active(&memo, "up", 0), 3);
}

#[test]
fn a_write_that_is_not_admitted_takes_no_room() {
    let (memo, b) = (memo(), at(1, 0));
    for _ in 0..3 {
        let mut new = NewSeries::default();
        assert_eq!(store(&memo, 1, &kept("up", 1), b, &mut new), None);
        assert_eq!(look_up(&memo, 1, b, &mut new), PASSED);
        assert_eq!(new.len(), 1);
    }
    assert_eq!(active(&memo, "up", 0), 0);
    // It is known, and refused where another one came before it.
    send(&memo, 2, &kept("up", 1), b);
    assert!(is_over(look_up(&memo, 1, b, &mut NewSeries::default())));
}

#[test]
fn budgets_outlive_generations_and_series_move_between_them() {
    let memo = memo();
    for n in 0..4 {
        send(&memo, n, &kept("old", 4), at(1, 0));
    }
    memo.forget_verdicts();
    // Not met again yet: counted as before, whatever the next generation makes of it.
    assert!(is_over(send(&memo, 10, &edited("old", 4), at(2, 1))));
    // They pass into a budget that has no room for new ones, and leave that which they had.
    for n in 0..3 {
        let passed = send(&memo, n, &edited("new", 2), at(2, 1));
        assert!(matches!(passed, Fate::Edit { stream: 3, .. }), "{passed:?}");
    }
    assert_eq!((active(&memo, "old", 1), active(&memo, "new", 1)), (1, 3));
    assert!(is_over(send(&memo, 11, &kept("new", 2), at(2, 1))));
    assert_eq!(send(&memo, 10, &kept("old", 4), at(2, 1)), PASSED);
    // And out of any, be it because they are dropped.
    memo.forget_verdicts();
    send(&memo, 0, &KEPT, at(3, 2));
    send(&memo, 1, &Verdict::Drop { reason: 0 }, at(3, 2));
    assert_eq!((active(&memo, "old", 2), active(&memo, "new", 2)), (2, 1));
    memo.shelf.lock().check();
    // What was met last in the minute 1 is gone.
    assert_eq!(
        (
            active(&memo, "old", WINDOW_TICKS),
            memo.stats(WINDOW_TICKS).active_series
        ),
        (1, 3)
    );
    assert_eq!(
        (
            active(&memo, "old", WINDOW_TICKS + 1),
            memo.stats(WINDOW_TICKS + 1).active_series
        ),
        (0, 1)
    );
}

#[test]
fn a_verdict_that_may_not_be_remembered_counts_all_the_same() {
    let (memo, b) = (memo(), at(1, 0));
    let unsure = |n| {
        let one = NewVerdict {
            hash: hash(n),
            sent: SENT,
            verdict: kept("up", 2),
        };
        let (mut new, mut passes) = (NewSeries::default(), None);
        memo.store(&[one], false, &b, &mut new, |_, refused| {
            passes = Some(refused.is_none())
        });
        memo.activate(&new, &b);
        passes.unwrap()
    };
    assert_eq!([1, 2, 3, 1].map(unsure), [true, true, false, true]);
    assert_eq!((active(&memo, "up", 0), memo.stats(0).active_series), (2, 2));
    memo.shelf.lock().check();
}

#[test]
fn a_budget_goes_with_its_last_series_and_leaves_nothing() {
    let memo = memo();
    let empty = memo.stats(0).bytes;
    for n in 0..500 {
        send(&memo, n, &edited(&format!("budget-{n}"), 1), at(1, 0));
    }
    assert_eq!(memo.fullest_budgets(0, 0).0, 500);
    for _ in 0..2 {
        memo.stats(WINDOW_TICKS);
    }
    // Swept, and the next minute finds that nobody has them.
    memo.stats(WINDOW_TICKS + 1);
    assert_eq!(memo.fullest_budgets(9, WINDOW_TICKS + 1), (0, vec![]));
    assert!(memo.stats(WINDOW_TICKS + 1).bytes <= empty + 100);
    memo.shelf.lock().check();
}

#[test]
fn a_series_whose_budget_is_one_too_many_passes_and_counts_against_none() {
    let memo = memo();
    for n in 0..MAX_BUDGETS as u64 {
        assert_eq!(send(&memo, n, &kept(&format!("{n:0>128}"), 1), at(1, 0)), PASSED);
    }
    assert_eq!(memo.unbudgeted.get(), 0);
    for n in 10_000..10_003 {
        assert_eq!(send(&memo, n, &kept("one too many", 1), at(1, 0)), PASSED);
    }
    assert_eq!((memo.unbudgeted.get(), active(&memo, "one too many", 0)), (3, 0));
    // Bounds of those that there are.
    assert!(is_over(send(
        &memo,
        10_003,
        &kept(&format!("{:0>128}", 7), 1),
        at(1, 0)
    )));
    let table = memo.shelf.lock();
    table.check();
    // Of that some 250 KB are entries.
    assert!(table.bytes() < 3_000_000, "{}", table.bytes());
    drop(table);
    // And when others have gone there is a place. One stays.
    send(&memo, 0, &kept(&format!("{:0>128}", 0), 1), at(1, 5));
    for _ in 0..40 {
        memo.stats(WINDOW_TICKS);
    }
    assert_eq!(
        send(&memo, 10_004, &kept("one too many", 1), at(1, WINDOW_TICKS + 1)),
        PASSED
    );
    assert!(is_over(send(
        &memo,
        10_005,
        &kept("one too many", 1),
        at(1, WINDOW_TICKS + 1)
    )));
    memo.shelf.lock().check();
}

#[test]
fn there_are_only_so_many_bounds() {
    let memo = memo();
    let most = (1 << NUMBER_BITS) - 1;
    for n in 0..most + 5 {
        send(&memo, n, &kept("up", 1_000_000 + n), at(1, 0));
    }
    assert_eq!((memo.unbudgeted.get(), active(&memo, "up", 0)), (5, most));
    memo.shelf.lock().check();
}

#[test]
fn a_number_stands_for_no_other_budget_while_a_write_has_it() {
    let memo = memo();
    let mut waiting = NewSeries::default();
    store(&memo, 1, &kept("first", 10), at(1, 0), &mut waiting);
    // All else that has its number goes.
    while memo.shelf.lock().forget_some() {}
    for minute in 1..4 {
        let n = 10 + u64::from(minute);
        send(&memo, n, &kept(&format!("later-{n}"), 10), at(1, minute));
    }
    memo.activate(&waiting, &at(1, 4));
    assert_eq!(active(&memo, "first", 4), 1);
    assert_eq!(memo.fullest_budgets(9, 4).0, 4);
    drop(waiting);
    memo.shelf.lock().check();
}

#[test]
fn the_fullest_come_first() {
    let memo = memo();
    for (n, (name, max)) in (0..).zip([("third", 9), ("first", 2), ("second", 3), ("first", 2)]) {
        send(&memo, n, &kept(name, max), at(1, 0));
    }
    let (all, fullest) = memo.fullest_budgets(2, 0);
    let shown = fullest
        .iter()
        .map(|of| (&*of.name, of.active_series, of.max_active_series));
    assert_eq!(
        (all, shown.collect::<Vec<_>>()),
        (3, vec![("first", 2, 2), ("second", 1, 3)])
    );
}

#[test]
fn what_only_saves_time_goes_and_the_counts_stay() {
    let memo = memo();
    for n in 0..2000 {
        send(&memo, n, &edited(&format!("budget-{}", n % 7), 1000), at(1, 0));
        // Known, and not active.
        store(
            &memo,
            100_000 + n,
            &kept("up", 1000),
            at(1, 0),
            &mut NewSeries::default(),
        );
    }
    let before = memo.stats(0);
    // Of each shard some, twice.
    let shards = memo.shelf.lock().shards();
    for _ in 0..2 * shards {
        assert!(memo.shelf.lock().forget_some());
    }
    let after = memo.stats(0);
    assert!(after.bytes < before.bytes && after.entries < before.entries);
    memo.shelf.lock().check();
    assert_eq!((before.active_series, after.active_series), (2000, 2000));
    let all = (0..7).map(|n| active(&memo, &format!("budget-{n}"), 0));
    assert_eq!(all.sum::<u64>(), 2000);
}

#[test]
fn a_shard_has_only_so_many_edits_and_the_rest_is_asked_about_again() {
    let mut slab = crate::judge::memo::slab::Slab::default();
    let one = crate::judge::verdict::Edited::new(SENT, b"labelx", 0);
    for n in 0..1 << 16 {
        assert_eq!(slab.insert(&one), Some(n));
    }
    assert_eq!(slab.insert(&one), None);
    slab.remove(77);
    assert_eq!((slab.insert(&one), slab.insert(&one)), (Some(77), None));
}
