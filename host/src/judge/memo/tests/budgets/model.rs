//! Counts against a model that knows every series, over writes, refusals, minutes, generations and eviction.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

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
