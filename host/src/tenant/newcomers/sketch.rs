//! The commonest of any number of names, counted in bounded memory.
//!
//! Takes names, one after the other; gives those that came most often. It is the space-saving sketch of Metwally, Agrawal and
//! El Abbadi (2005): a name that has no counter takes over the smallest one, and its count with it. Each sketch knows the most
//! that a name without a counter can have come (`floor`), and so what a count may be too high. Sketches are merged as they
//! are read, and their floors add. Never gives a count that is too low.

use std::collections::BTreeMap;

use crate::model::plain;

/// Counters of one sketch.
const COUNTERS: usize = 64;
/// Longest name kept, in bytes. Longer ones that begin alike are one.
const MAX_NAME: usize = 128;
/// Registers that a label's values are counted in: they are told to about 13 %.
const REGISTERS: usize = 64;
/// What a counter takes beside its name and its registers.
const RECORD: u64 = 96;

/// A name and how often it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedName {
    /// Fit to be shown.
    pub name: String,
    /// Never too low.
    pub new_series: u64,
    /// About how many different values it came with, if it is a label's.
    pub values: Option<u64>,
}

#[derive(Default)]
pub(super) struct Sketch {
    /// So few that they are read through.
    counters: Vec<Counter>,
    /// The most that a name can have come that has no counter.
    floor: u64,
    bytes: u64,
}

struct Counter {
    name: Box<[u8]>,
    count: u64,
    values: Option<Box<Values>>,
}

/// How many different values there were, by the longest run of zeros in their hashes (HyperLogLog).
#[derive(Clone)]
struct Values([u8; REGISTERS]);

impl Sketch {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What one more counter takes at most, in bytes.
    pub(super) fn most_for(name: &[u8], has_values: bool) -> u64 {
        let values = if has_values { REGISTERS as u64 } else { 0 };
        name.len().min(MAX_NAME) as u64 + values + RECORD
    }

    /// Counts `name` so many times more, with the hash of a value if it is a label's; false if it has no counter.
    pub(super) fn add_known(&mut self, name: &[u8], times: u64, value: Option<u64>) -> bool {
        let Some(counter) = self.find(name) else { return false };
        counter.count += times;
        counter.see(value);
        true
    }

    fn find(&mut self, name: &[u8]) -> Option<&mut Counter> {
        let name = &name[..name.len().min(MAX_NAME)];
        self.counters.iter_mut().find(|counter| *counter.name == *name)
    }

    /// The same of one that has no counter. `may_grow`: there is memory for one more.
    pub(super) fn add_new(&mut self, name: &[u8], times: u64, value: Option<u64>, may_grow: bool) {
        let name = &name[..name.len().min(MAX_NAME)];
        let (need, before) = (Self::most_for(name, value.is_some()), self.bytes);
        if self.counters.len() >= COUNTERS {
            self.forget_smallest();
        }
        while !may_grow && self.bytes + need > before {
            if self.counters.is_empty() {
                self.floor += times;
                return;
            }
            self.forget_smallest();
        }
        let mut counter = Counter {
            name: name.into(),
            count: self.floor + times,
            values: value.map(|_| Box::new(Values([0; REGISTERS]))),
        };
        counter.see(value);
        self.bytes += need;
        self.counters.push(counter);
    }

    /// So many came that nobody looked at: each may be any name.
    pub(super) fn missed(&mut self, names: u64) {
        self.floor += names;
        self.counters.iter_mut().for_each(|counter| counter.count += names);
    }

    /// Gives its memory back. What is known then is that no name came more often than the commonest.
    pub(super) fn forget(&mut self) {
        let most = self.counters.iter().map(|counter| counter.count).max();
        self.floor = self.floor.max(most.unwrap_or(0));
        self.counters = Vec::new();
        self.bytes = 0;
    }

    fn forget_smallest(&mut self) {
        let places = self.counters.iter().enumerate();
        let smallest = places.min_by_key(|(_, counter)| counter.count).map(|(at, _)| at);
        if let Some(at) = smallest {
            let gone = self.counters.swap_remove(at);
            self.bytes -= Self::most_for(&gone.name, gone.values.is_some());
            self.floor = self.floor.max(gone.count);
        }
    }
}

impl Counter {
    fn see(&mut self, value: Option<u64>) {
        if let (Some(values), Some(hash)) = (&mut self.values, value) {
            values.see(hash);
        }
    }
}

impl Values {
    fn see(&mut self, hash: u64) {
        let register = &mut self.0[hash as usize % REGISTERS];
        // The bits that chose the register are no part of the run.
        let run = ((hash / REGISTERS as u64) | (1 << 58)).trailing_zeros() as u8 + 1;
        *register = run.max(*register);
    }

    fn merge(&mut self, other: &Self) {
        let both = self.0.iter_mut().zip(&other.0);
        both.for_each(|(a, b)| *a = (*a).max(*b));
    }

    /// Flajolet, Fusy, Gandouet and Meunier (2007), with their correction for few.
    fn count(&self) -> u64 {
        let registers = REGISTERS as f64;
        let sum: f64 = self.0.iter().map(|run| 0.5_f64.powi(i32::from(*run))).sum();
        let raw = 0.709 * registers * registers / sum;
        let empty = self.0.iter().filter(|run| **run == 0).count();
        let count = match empty {
            1.. if raw <= 2.5 * registers => registers * (registers / empty as f64).ln(),
            _ => raw,
        };
        count.round() as u64
    }
}

/// The `most` commonest names of all `sketches` together, and the most that one of their counts can be too high.
pub(super) fn names_of<'s>(sketches: impl Iterator<Item = &'s Sketch> + Clone, most: usize) -> (Vec<CountedName>, u64) {
    let error: u64 = sketches.clone().map(|sketch| sketch.floor).sum();
    let mut all: BTreeMap<&[u8], (u64, Option<Values>)> = BTreeMap::new();
    for sketch in sketches {
        for counter in &sketch.counters {
            // Where a name has no counter it may have come as often as the floor says.
            let (over, values) = all.entry(&counter.name).or_default();
            *over += counter.count - sketch.floor.min(counter.count);
            match (values, &counter.values) {
                (Some(values), Some(more)) => values.merge(more),
                (none, more) => *none = more.as_deref().cloned(),
            }
        }
    }
    let mut names: Vec<_> = all.into_iter().collect();
    names.sort_by(|(a, (a_over, _)), (b, (b_over, _))| b_over.cmp(a_over).then(a.cmp(b)));
    names.truncate(most);
    let named = |(name, (over, values)): (&[u8], (u64, Option<Values>))| CountedName {
        name: plain(&String::from_utf8_lossy(name), MAX_NAME),
        new_series: over + error,
        values: values.map(|values| values.count()),
    };
    (names.into_iter().map(named).collect(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deterministic noise.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut x = self.0;
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        }

        /// A rank by Zipf's law, whose exponent is one.
        fn zipf(&mut self, names: u64) -> u64 {
            let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
            ((names as f64).powf(uniform) as u64).min(names - 1)
        }
    }

    impl Sketch {
        fn add(&mut self, name: &str, may_grow: bool) {
            if !self.add_known(name.as_bytes(), 1, None) {
                self.add_new(name.as_bytes(), 1, None, may_grow);
            }
        }
    }

    struct Counting {
        sketches: Vec<Sketch>,
        exact: BTreeMap<String, u64>,
    }

    /// A stream in slots, counted both ways.
    fn counted(slots: usize, each: usize, mut name: impl FnMut(usize) -> String) -> Counting {
        let (mut sketches, mut exact) = (Vec::new(), BTreeMap::new());
        for slot in 0..slots {
            let mut sketch = Sketch::default();
            for n in 0..each {
                let name = name(slot * each + n);
                sketch.add(&name, true);
                *exact.entry(name).or_default() += 1;
            }
            assert!(sketch.floor <= (each / COUNTERS) as u64, "{}", sketch.floor);
            sketches.push(sketch);
        }
        Counting { sketches, exact }
    }

    impl Counting {
        /// What is promised: no count is too low, none too high by more than the error, and no name that is missing has
        /// come more often than what is shown last, or than the error if fewer are shown.
        fn keeps_its_word(&self) {
            let (shown, error) = names_of(self.sketches.iter(), usize::MAX);
            let mut missing = self.exact.clone();
            for name in &shown {
                let exact = missing.remove(&name.name).unwrap_or(0);
                assert!(exact <= name.new_series, "{name:?} came {exact} times");
                assert!(
                    name.new_series <= exact + error,
                    "{name:?} came {exact} times, error {error}"
                );
            }
            assert!(
                missing.values().all(|count| *count <= error),
                "{missing:?}, error {error}"
            );
        }
    }

    #[test]
    fn counts_are_within_the_error_whatever_comes() {
        let mut noise = Noise(1);
        counted(12, 20_000, |_| format!("zipf_{}", noise.zipf(100_000))).keeps_its_word();
        // Each once: the worst there is for what is frequent.
        counted(12, 20_000, |n| format!("once_{n}")).keeps_its_word();
        // Frequent ones that come late, after all counters are taken, and round about as many names as counters.
        counted(3, 20_000, |n| match n % 20_000 {
            at @ ..10_000 => format!("once_{at}"),
            _ => "late".to_owned(),
        })
        .keeps_its_word();
        counted(2, 20_000, |n| format!("round_{}", n % (COUNTERS + 1))).keeps_its_word();
        // Those of one slot are not those of the next.
        counted(12, 5000, |n| format!("slot_{}_{}", n / 5000, noise.zipf(500))).keeps_its_word();
    }

    #[test]
    fn what_is_few_is_exact_and_what_is_frequent_is_found() {
        let few = counted(12, 640, |n| format!("name_{}", n % COUNTERS));
        assert_eq!(names_of(few.sketches.iter(), 1).1, 0);
        let mut noise = Noise(2);
        let zipf = counted(12, 20_000, |_| format!("{}", noise.zipf(100_000)));
        let (shown, error) = names_of(zipf.sketches.iter(), 5);
        let first: Vec<&str> = shown.iter().map(|name| name.name.as_str()).collect();
        assert_eq!(first, ["1", "2", "3", "4", "5"]);
        assert!(error < 12 * 20_000 / COUNTERS as u64, "{error}");
    }

    #[test]
    fn what_had_to_go_makes_counts_less_sure_and_never_too_low() {
        let mut noise = Noise(3);
        let mut zipf = counted(4, 5000, |_| format!("{}", noise.zipf(1000)));
        zipf.sketches[0].forget();
        assert_eq!((zipf.sketches[0].bytes(), zipf.sketches[0].counters.len()), (0, 0));
        zipf.keeps_its_word();
        // Without memory nothing is kept, and all is known to be possible.
        let mut none = Sketch::default();
        (0..10).for_each(|n: u32| none.add(&n.to_string(), false));
        assert_eq!(names_of(std::iter::once(&none), 20), (vec![], 10));
        assert_eq!(none.bytes(), 0);
        // One that may not grow any more still follows what comes.
        let mut small = Sketch::default();
        small.add("first", true);
        (0..10).for_each(|_| small.add("other", false));
        let (shown, error) = names_of(std::iter::once(&small), 20);
        assert_eq!(
            (shown[0].name.as_str(), shown[0].new_series, shown.len()),
            ("other", 11, 1)
        );
        assert_eq!(error, 1);
    }

    #[test]
    fn values_are_told_to_a_fifth_from_one_to_a_million() {
        let mut noise = Noise(4);
        for count in [0, 1, 10, 50, 200, 1000, 20_000, 1_000_000] {
            let mut values = Values([0; REGISTERS]);
            (0..count).for_each(|_| values.see(noise.next()));
            let told = values.count();
            let off = told.abs_diff(count) as f64;
            assert!(off <= 0.35 * count as f64, "{count}: {told}");
        }
    }
}
