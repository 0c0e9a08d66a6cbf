//! Budgets: what counts against them, whom they refuse, and when they are forgotten. At the end against a model that
//! knows every series.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::judge::memo::budgets::NUMBER_BITS;
use crate::model::SeriesBudget;

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

/// Numbers that are as good as random, and the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// What all policies together say of a series: the same each time it is asked in one generation.
fn said(generation: u16, n: u64) -> Verdict {
    let mut random = Random(u64::from(generation) << 32 | n);
    random.below(2);
    let name = format!("budget-{}", random.below(4));
    // Two bounds of each name.
    let max = [6, 12][random.below(2) as usize];
    match random.below(8) {
        0 => Verdict::Drop { reason: 0 },
        1 => KEPT,
        2..5 => edited(&name, max),
        _ => kept(&name, max),
    }
}

fn name_of(verdict: &Verdict) -> Option<String> {
    verdict.budget().map(|budget| budget.name.to_string())
}

/// Active series by the name of their budget; under `None` all.
type Counts = BTreeMap<Option<String>, u64>;

fn add(counts: &mut Counts, name: Option<String>) {
    *counts.entry(None).or_default() += 1;
    if name.is_some() {
        *counts.entry(name).or_default() += 1;
    }
}

fn of(counts: &Counts, name: &Option<String>) -> u64 {
    counts.get(name).copied().unwrap_or(0)
}

/// Every active series: when it was last seen, and against what it counts.
#[derive(Default)]
struct Model(BTreeMap<u64, (u16, Option<String>)>);

impl Model {
    fn expire(&mut self, tick: u16) {
        self.0.retain(|_, (seen, _)| tick - *seen < WINDOW_TICKS);
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        self.0.values().for_each(|(_, name)| add(&mut counts, name.clone()));
        counts
    }

    /// An active series came again. That it is active no more, or counts elsewhere, is in `went`.
    fn meets(&mut self, n: u64, tick: u16, verdict: &Verdict, cacheable: bool, went: &mut Counts) {
        let Some((seen, name)) = self.0.get_mut(&n) else { return };
        *seen = tick;
        if !cacheable {
            return;
        }
        if !verdict.lets_through() {
            add(went, name.take());
            self.0.remove(&n);
        } else if *name != name_of(verdict) {
            *went.entry(std::mem::replace(name, name_of(verdict))).or_default() += 1;
        }
    }

    fn hold_against(&self, memo: &Memo, tick: u16) {
        memo.shelf.lock().check();
        let counts = self.counts();
        assert_eq!(memo.stats(tick).active_series, of(&counts, &None));
        for name in (0..4).map(|n| format!("budget-{n}")) {
            assert_eq!(active(memo, &name, tick), of(&counts, &Some(name)));
        }
    }
}

/// One write, judged: what the memo does not know is asked about, each series once.
fn judge(memo: &Memo, series: &BTreeSet<u64>, b: Bounds, cacheable: bool) -> (BTreeMap<u64, Fate>, NewSeries) {
    let mut new = NewSeries::default();
    let looked_up = series.iter().map(|n| (*n, look_up(memo, *n, b, &mut new)));
    let mut fates: BTreeMap<u64, Fate> = looked_up.collect();
    for (n, fate) in fates.iter_mut().filter(|(_, fate)| **fate == Fate::Unknown) {
        let one = NewVerdict {
            hash: hash(*n),
            sent: SENT,
            verdict: said(b.generation, *n),
        };
        memo.store(&[one], cacheable, &b, &mut new, |verdict, refused| {
            *fate = refused.unwrap_or_else(|| Edits::default().fate(verdict));
        });
    }
    (fates, new)
}

fn passes(fate: &Fate) -> bool {
    matches!(fate, Fate::Keep { .. } | Fate::Edit { .. })
}

/// Which bound was met, by what a series is refused for.
fn bound_met(fate: &Fate, verdict: &Verdict, new: &NewSeries, b: &Bounds) -> Option<(Option<String>, u64)> {
    match fate {
        Fate::OverActiveSeries => Some((None, b.max_active_series)),
        Fate::OverBudget { budget } => {
            let budget = new.budget(*budget).unwrap();
            assert_eq!(Some(budget), verdict.budget());
            Some((Some(budget.name.to_string()), budget.max_active_series))
        }
        _ => None,
    }
}

/// What a run saw.
#[derive(Debug, Default)]
struct Seen {
    refused: u64,
    moved: u64,
    overtaken: u64,
}

impl Seen {
    /// A write, and what the model has to say of each of its series. Which new ones pass may depend on what is looked at
    /// first: that as many pass as there is room for, and no more, does not.
    fn write(&mut self, memo: &Memo, model: &mut Model, b: Bounds, random: &mut Random) {
        let series: BTreeSet<u64> = (0..random.below(12)).map(|_| random.below(80)).collect();
        let (cacheable, admitted) = (random.below(8) > 0, random.below(4) > 0);
        let before = model.counts();
        let (fates, new) = judge(memo, &series, b, cacheable);
        let (mut went, mut passed) = (Counts::new(), BTreeMap::new());
        for (n, fate) in &fates {
            let verdict = said(b.generation, *n);
            if model.0.contains_key(n) {
                assert_eq!(passes(fate), verdict.lets_through(), "{fate:?}");
                model.meets(*n, b.tick, &verdict, cacheable, &mut went);
            } else if passes(fate) {
                let budget = verdict.budget();
                let bounds = budget.map(|budget| (name_of(&verdict), budget.max_active_series));
                for bound in bounds.into_iter().chain([(None, b.max_active_series)]) {
                    *passed.entry(bound).or_insert(0) += 1;
                }
            }
        }
        for ((name, max), passed) in &passed {
            let least = of(&before, name).saturating_sub(of(&went, name));
            assert!(*passed <= max.saturating_sub(least), "{passed} of {max} in {name:?}");
        }
        let now = model.counts();
        for (n, fate) in &fates {
            let Some((name, max)) = bound_met(fate, &said(b.generation, *n), &new, &b) else {
                continue;
            };
            let all_passed = passed.iter().filter(|((other, _), _)| *other == name);
            let all_passed: u64 = all_passed.map(|(_, passed)| *passed).sum();
            assert!(of(&now, &name) + of(&went, &name) + all_passed >= max, "{name:?}");
            self.refused += 1;
        }
        self.moved += went.values().sum::<u64>();
        if admitted {
            self.admit(memo, model, b, &fates, &new);
        }
        model.hold_against(memo, b.tick);
    }

    /// A series that was active moved into a budget after a new one had found the last room there: that one is refused.
    fn admit(&mut self, memo: &Memo, model: &mut Model, b: Bounds, fates: &BTreeMap<u64, Fate>, new: &NewSeries) {
        let full = memo.activate(new, &b);
        for n in fates.iter().filter(|(_, fate)| passes(fate)).map(|(n, _)| *n) {
            if !full.contains_key(&hash(n)) {
                let name = name_of(&said(b.generation, n));
                model.0.entry(n).or_insert((b.tick, name));
            }
        }
        let now = model.counts();
        for n in fates.keys() {
            let over = full.get(&hash(*n));
            let met = over.and_then(|fate| bound_met(fate, &said(b.generation, *n), new, &b));
            if let Some((name, max)) = met {
                assert!(of(&now, &name) >= max, "{name:?}");
                self.overtaken += 1;
            }
        }
    }
}

#[test]
fn counts_are_those_of_a_model_that_knows_every_series() {
    let mut seen = Seen::default();
    for seed in 0..60 {
        let (memo, mut model, mut random) = (memo(), Model::default(), Random(seed));
        let (mut tick, mut generation) = (0, 1);
        for _ in 0..150 {
            match random.below(40) {
                0..4 => tick += 1 + random.below(6) as u16,
                4 | 5 => {
                    generation += 1;
                    memo.forget_verdicts();
                }
                6 => {
                    // With it some go that are active: these the model cannot know.
                    memo.shelf.lock().forget_some();
                    model.0.retain(|n, _| memo.shelf.lock().counted(hash(*n)).is_some());
                }
                _ => {}
            }
            model.expire(tick);
            let b = Bounds {
                max_active_series: 30,
                ..at(generation, tick)
            };
            seen.write(&memo, &mut model, b, &mut random);
        }
    }
    assert!(
        seen.refused > 1000 && seen.moved > 300 && seen.overtaken > 0,
        "{seen:?}"
    );
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
