//! What the series are called that a tenant began to send lately: by which metrics and labels it grows.
//!
//! Takes series as they become active, gives the commonest names in the last 5, 30 and 60 minutes, with how far a count may
//! be off. Costs nothing where a series is known. Memory is taken as there are new series, of what all tenants share; where
//! there is no more, what is oldest becomes less exact and then what is new. Never keeps a label's value.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::chain::PolicyWatch;
use crate::memory::Held;
use crate::sandbox::{Effort, Rank, Work};

mod run;
mod sketch;
#[cfg(test)]
mod tests;

use run::Run;
pub use sketch::CountedName;
use sketch::{Sketch, names_of};

const SLOT: Duration = Duration::from_secs(300);
/// By how many whole slots, the one that is not over yet left out.
const WINDOWS: [u64; 3] = [1, 6, 12];
const SLOTS: u64 = 13;
/// Names of each kind that are shown.
const SHOWN: usize = 20;
/// Bytes of labels that are looked at without a pause: some 40 us, and half a millisecond if all are names that nobody has
/// seen.
const PER_STEP: u32 = 16 << 10;
/// Most bytes of one tenant.
const MOST_PER_TENANT: u64 = 256 << 10;
/// What every tenant has, however many there are.
const LEAST_PER_TENANT: u64 = 4 << 10;

/// One tenant's, over all its generations.
pub struct Newcomers {
    watch: Arc<PolicyWatch>,
    began: Instant,
    kept: Mutex<Kept>,
}

struct Kept {
    /// The newest last.
    slots: VecDeque<Slot>,
    /// As many bytes as the sketches take.
    held: Held,
}

struct Slot {
    /// Counts slots since the first.
    number: u64,
    series: u64,
    metrics: Sketch,
    labels: Sketch,
}

/// What became active within a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewcomersWindow {
    pub length: Duration,
    /// How long it is in truth: slots are counted whole.
    pub covered: Duration,
    pub new_series: u64,
    /// The most that any count can be too high, and that a name which is not there can have.
    pub error: u64,
    pub metrics: Vec<CountedName>,
    pub labels: Vec<CountedName>,
}

impl Newcomers {
    pub fn new(watch: &Arc<PolicyWatch>) -> Arc<Self> {
        Arc::new(Self {
            watch: Arc::clone(watch),
            began: Instant::now(),
            kept: Mutex::new(Kept {
                slots: VecDeque::new(),
                held: watch.open(),
            }),
        })
    }

    /// The work that the series at these places of `body` are, which are proved and became active now.
    pub fn noting(self: &Arc<Self>, body: &Bytes, series: impl Iterator<Item = Range<u32>>) -> Noting {
        Noting {
            newcomers: Arc::clone(self),
            body: body.clone(),
            series: series.collect(),
            next: 0,
        }
    }

    /// So many more, of which no name is known.
    pub fn missed(&self, series: u64, now: Instant) {
        let slot = self.slot(now);
        let kept = &mut *self.lock();
        kept.begin(slot);
        if let Some(current) = kept.slots.back_mut() {
            current.series += series;
            current.metrics.missed(series);
            current.labels.missed(series);
        }
    }

    fn note<'a>(&self, series: impl Iterator<Item = &'a [u8]>, now: Instant) {
        let (slot, most) = (self.slot(now), self.watch.share(LEAST_PER_TENANT..=MOST_PER_TENANT));
        let kept = &mut *self.lock();
        kept.begin(slot);
        kept.note(series, &self.watch, most);
    }

    /// By length.
    pub fn windows(&self, now: Instant) -> Vec<NewcomersWindow> {
        let slot = self.slot(now);
        let since_it_began = now.saturating_duration_since(self.began + SLOT * slot as u32);
        let kept = self.lock();
        let window = |whole: u64| {
            let within = |of: &&Slot| of.number + whole >= slot;
            let slots = || kept.slots.iter().filter(within);
            let new_series = slots().map(|slot| slot.series).sum();
            // No name is twice on one series.
            let at_most = |mut names: Vec<CountedName>| {
                names
                    .iter_mut()
                    .for_each(|name| name.new_series = name.new_series.min(new_series));
                names
            };
            let (metrics, error) = names_of(slots().map(|slot| &slot.metrics), SHOWN);
            let (labels, of_labels) = names_of(slots().map(|slot| &slot.labels), SHOWN);
            NewcomersWindow {
                length: SLOT * whole as u32,
                covered: SLOT * whole.min(slot) as u32 + since_it_began,
                new_series,
                error: error.max(of_labels).min(new_series),
                metrics: at_most(metrics),
                labels: at_most(labels),
            }
        };
        WINDOWS.map(window).into()
    }

    pub(super) fn forget_old(&self, now: Instant) {
        let slot = self.slot(now);
        self.lock().forget_before(slot);
    }

    fn slot(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs() / SLOT.as_secs()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn begin(&mut self, number: u64) {
        // One that waited for the lock may be late.
        if self.slots.back().is_none_or(|last| last.number < number) {
            self.forget_before(number);
            self.slots.push_back(Slot {
                number,
                series: 0,
                metrics: Sketch::default(),
                labels: Sketch::default(),
            });
        }
    }

    fn forget_before(&mut self, slot: u64) {
        while self.slots.front().is_some_and(|first| first.number + SLOTS <= slot) {
            let gone = self.slots.pop_front();
            self.held.shrink(gone.map_or(0, |gone| gone.bytes()));
        }
        if self.slots.is_empty() {
            self.slots = VecDeque::new();
        }
    }

    fn note<'a>(&mut self, series: impl Iterator<Item = &'a [u8]>, watch: &PolicyWatch, most: u64) {
        let mut run = Run::default();
        for label_set in series {
            self.note_one(label_set, &mut run, watch, most);
        }
        self.add(run.metric, run.of_metric, None, most);
        self.add_labels(&run, watch, most);
    }

    fn note_one<'a>(&mut self, label_set: &'a [u8], run: &mut Run<'a>, watch: &PolicyWatch, most: u64) {
        let goes_on = run.goes_on(label_set, |name, value| self.see(name, watch.hash(value)));
        if !goes_on {
            self.add_labels(run, watch, most);
            run.begin(label_set);
            for (name, value) in run.labels() {
                self.add(name, 1, Some(watch.hash(value)), most);
            }
        }
        let metric = run.metric_name();
        if metric != run.metric {
            self.add(run.metric, run.of_metric, None, most);
            (run.metric, run.of_metric) = (metric, 0);
        }
        run.of_metric += 1;
        if let Some(current) = self.slots.back_mut() {
            current.series += 1;
        }
    }

    /// As often as series had the same ones, whose values were seen.
    fn add_labels(&mut self, run: &Run<'_>, watch: &PolicyWatch, most: u64) {
        if run.of_labels > 0 {
            for (name, value) in run.labels() {
                self.add(name, run.of_labels, Some(watch.hash(value)), most);
            }
        }
    }

    fn see(&mut self, name: &[u8], value: u64) {
        if let Some(current) = self.slots.back_mut() {
            // It is counted with the others of its run.
            current.labels.add_known(name, 0, Some(value));
        }
    }

    fn add(&mut self, name: &[u8], times: u64, value: Option<u64>, most: u64) {
        if times == 0 {
            return;
        }
        let Some(current) = self.slots.back_mut() else { return };
        if current.sketch(value).add_known(name, times, value) {
            return;
        }
        let need = Sketch::most_for(name, value.is_some());
        let may_grow = self.has_room(need, most) && self.held.grow(need).is_ok();
        let Some(current) = self.slots.back_mut() else { return };
        let sketch = current.sketch(value);
        let before = sketch.bytes();
        sketch.add_new(name, times, value, may_grow);
        let reserved = before + if may_grow { need } else { 0 };
        self.held.shrink(reserved.saturating_sub(sketch.bytes()));
    }

    /// Older slots give way to the newest.
    fn has_room(&mut self, need: u64, most: u64) -> bool {
        let newest = self.slots.len().saturating_sub(1);
        for older in self.slots.iter_mut().take(newest) {
            if self.held.bytes() + need <= most {
                return true;
            }
            self.held.shrink(older.bytes());
            older.metrics.forget();
            older.labels.forget();
        }
        self.held.bytes() + need <= most
    }
}

impl Slot {
    /// Labels have values, metrics have none.
    fn sketch(&mut self, value: Option<u64>) -> &mut Sketch {
        match value {
            None => &mut self.metrics,
            Some(_) => &mut self.labels,
        }
    }

    fn bytes(&self) -> u64 {
        self.metrics.bytes() + self.labels.bytes()
    }
}

/// The new series of one write, on their way into the counts.
pub struct Noting {
    newcomers: Arc<Newcomers>,
    body: Bytes,
    series: Vec<Range<u32>>,
    next: usize,
}

impl Work for Noting {
    type Done = ();

    /// The write waits for it, and has been admitted.
    const RANK: Rank = Rank::GoesOn;

    fn go_on(&mut self, effort: Effort) -> Option<()> {
        let (mut end, mut bytes) = (self.next, 0);
        // One at least, however long it is.
        while end < self.series.len() && bytes < PER_STEP {
            bytes += self.series[end].len() as u32;
            end += 1;
        }
        if effort == Effort::Light && end < self.series.len() {
            return None;
        }
        let some = self.series[self.next..end].iter();
        let labels = some.map(|range| &self.body[range.start as usize..range.end as usize]);
        self.newcomers.note(labels, Instant::now());
        self.next = end;
        (end == self.series.len()).then_some(())
    }
}
