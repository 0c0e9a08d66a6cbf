//! Series of a tenant that were dropped or refused lately, for operators who ask which ones.
//!
//! Takes judged writes, gives label sets as text, the newest ones of each policy and reason. Off unless the tenant's
//! `drop_examples` says otherwise; then a write is looked at for one series of each reason, and of a reason ten times a
//! second at most, so that what is dropped by the million costs no more. Bounded for each reason, for each tenant, for all
//! together, and by the process's memory. Never shows a label's value but the metric's name, unless the tenant has that on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::chain::PolicyWatch;
use crate::config::DropExamples;
use crate::judge::{DropWords, Judged};
use crate::memory::Held;
use crate::model::{plain, series_text};
use crate::wire::labels::labels;

/// Label sets of one cause.
const PER_CAUSE: usize = 16;
const MAX_CAUSES: usize = 64;
/// Longest text of one, in bytes; a mark for what was cut comes on top.
const MAX_TEXT: usize = 1 << 10;
/// Longest name or value in it.
const MAX_PART: usize = 256;
/// Between two looks for one cause.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Looks for all causes of a tenant in that time, however many it makes up: some 50 us.
const MAX_LOOKS: usize = 16;
/// Most bytes of one tenant.
const MOST_PER_TENANT: u64 = 256 << 10;
/// What every tenant has, however many there are.
const LEAST_PER_TENANT: u64 = 4 << 10;
/// What keeping one takes beside its text.
const RECORD: u64 = 64;
const METRIC_NAME: &str = "__name__";
/// In place of a value. Not an empty one, which would be no label.
const HIDDEN: &str = "_";

/// Why a series came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhyGone {
    Dropped(DropWords),
    /// The metric's word.
    Refused(&'static str),
}

/// One tenant's, over all its generations.
pub struct Examples {
    watch: Arc<PolicyWatch>,
    /// Apart, for the writes of those who have none kept.
    is_on: AtomicBool,
    kept: Mutex<Kept>,
}

struct Kept {
    what: DropExamples,
    causes: BTreeMap<WhyGone, Sets>,
    /// When those that are counted began, and how many there were.
    looks: (Option<Instant>, usize),
    /// As many bytes as the sets take.
    held: Held,
}

#[derive(Default)]
struct Sets {
    looked: Option<Instant>,
    /// Where the next look begins.
    from: usize,
    /// The newest first.
    sets: VecDeque<(String, Instant)>,
}

impl Examples {
    pub fn new(watch: &Arc<PolicyWatch>) -> Self {
        Self {
            is_on: AtomicBool::new(false),
            kept: Mutex::new(Kept {
                what: DropExamples::Off,
                causes: BTreeMap::new(),
                looks: (None, 0),
                held: watch.open(),
            }),
            watch: Arc::clone(watch),
        }
    }

    /// Keeps `what` from now on. What was kept under another word is forgotten, since it may show more: here, and elsewhere by
    /// `forget`, while nobody is in [`Examples::of_refused`].
    pub fn keep(&self, what: DropExamples, forget: impl FnOnce()) {
        let mut kept = self.lock();
        if kept.what != what {
            kept.forget();
            forget();
            kept.what = what;
            self.is_on.store(what != DropExamples::Off, Ordering::Relaxed);
        }
    }

    /// Looks at what became of a write. Nothing where nothing is kept, or nothing was dropped or refused.
    #[inline]
    pub fn note(&self, judged: &Judged) {
        let all_went_on = || {
            let tally = &judged.tally;
            tally.dropped.is_empty() && tally.refused.is_empty() && judged.scanned().rejected().is_empty()
        };
        if self.is_on.load(Ordering::Relaxed) && !all_went_on() {
            self.note_now(judged, Instant::now());
        }
    }

    #[cold]
    fn note_now(&self, judged: &Judged, now: Instant) {
        let most = self.watch.share(LEAST_PER_TENANT..=MOST_PER_TENANT);
        let kept = &mut *self.lock();
        for dropped in &judged.tally.dropped {
            if let Some(from) = kept.due(WhyGone::Dropped(dropped.words.clone()), now) {
                let text = kept.text(judged.one_dropped(dropped, from));
                kept.put(&WhyGone::Dropped(dropped.words.clone()), text, now, most);
            }
        }
        for refused in &judged.tally.refused {
            let cause = WhyGone::Refused(refused.refusal.reason());
            if let Some(from) = kept.due(cause.clone(), now) {
                let text = kept.text(judged.one_refused(refused, from));
                kept.put(&cause, text, now, most);
            }
        }
        // What can be no series has no labels that could be shown as such.
        for rejected in judged.scanned().rejected() {
            let cause = WhyGone::Refused(rejected.reason.word());
            if kept.due(cause.clone(), now).is_some() {
                let shown = match kept.what {
                    DropExamples::Values => rejected.first.clone(),
                    DropExamples::Off | DropExamples::Names => rejected.first.without_value(),
                };
                kept.put(&cause, plain(&shown.to_string(), MAX_TEXT), now, most);
            }
        }
    }

    /// Tells what may be shown of a series that was refused for `reason`, and the newest one of those that are kept.
    pub fn of_refused(&self, reason: &'static str, tell: impl FnOnce(DropExamples, Option<&str>)) {
        let kept = self.lock();
        let sets = kept.causes.get(&WhyGone::Refused(reason));
        tell(
            kept.what,
            sets.and_then(|of| of.sets.front()).map(|(text, _)| text.as_str()),
        );
    }

    /// What is kept, and of each cause the label sets, each with how long ago it was last seen, the newest first.
    pub fn kept(&self, now: Instant) -> (DropExamples, BTreeMap<WhyGone, Vec<(String, Duration)>>) {
        let kept = self.lock();
        let sets = |sets: &Sets| {
            let all = sets.sets.iter();
            all.map(|(text, at)| (text.clone(), now.saturating_duration_since(*at)))
                .collect()
        };
        let all = kept.causes.iter().map(|(cause, of)| (cause.clone(), sets(of)));
        (kept.what, all.collect())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn forget(&mut self) {
        self.causes.clear();
        self.held.shrink(self.held.bytes());
    }

    /// Where to begin to look for a series of this cause, if it is time to look again. One cause too many takes the place
    /// of that which was not seen for the longest.
    fn due(&mut self, cause: WhyGone, now: Instant) -> Option<usize> {
        let is_early = |looked: Instant| now.saturating_duration_since(looked) < LOOK_EVERY;
        if !self.looks.0.is_some_and(is_early) {
            self.looks = (Some(now), 0);
        }
        let is_known_early = self
            .causes
            .get(&cause)
            .is_some_and(|sets| sets.looked.is_some_and(is_early));
        if is_known_early || self.looks.1 >= MAX_LOOKS || self.what == DropExamples::Off {
            return None;
        }
        self.looks.1 += 1;
        if !self.causes.contains_key(&cause) && self.causes.len() >= MAX_CAUSES {
            let oldest = self.causes.iter().min_by_key(|(_, sets)| sets.looked);
            let oldest = oldest.map(|(cause, _)| cause.clone());
            let gone = oldest.and_then(|oldest| self.causes.remove(&oldest));
            gone.iter().for_each(|gone| self.give_back(gone));
        }
        let sets = self.causes.entry(cause).or_default();
        sets.looked = Some(now);
        // Fibonacci hashing: looks that follow one another begin far apart.
        sets.from = sets.from.wrapping_add(0x9e37_79b9);
        Some(sets.from)
    }

    fn give_back(&mut self, gone: &Sets) {
        let bytes = gone.sets.iter().map(|(text, _)| bytes_of(text)).sum();
        self.held.shrink(bytes);
    }

    fn text(&self, label_bytes: &[u8]) -> String {
        text_of(label_bytes, self.what == DropExamples::Values)
    }

    fn put(&mut self, cause: &WhyGone, text: String, now: Instant, most: u64) {
        let Some(sets) = self.causes.get_mut(cause) else { return };
        if let Some(at) = sets.sets.iter().position(|(known, _)| *known == text) {
            sets.sets.remove(at);
            sets.sets.push_front((text, now));
            return;
        }
        let gone = (sets.sets.len() >= PER_CAUSE).then(|| sets.sets.pop_back()).flatten();
        self.held.shrink(gone.map_or(0, |(gone, _)| bytes_of(&gone)));
        let bytes = bytes_of(&text);
        // There may be more tenants than when it was filled.
        while self.held.bytes() + bytes > most {
            if !self.forget_one() {
                return;
            }
        }
        if self.held.grow(bytes).is_ok()
            && let Some(sets) = self.causes.get_mut(cause)
        {
            sets.sets.push_front((text, now));
        }
    }

    /// The oldest one of the cause that has the most; false if there is none.
    fn forget_one(&mut self) -> bool {
        let most = self.causes.values_mut().max_by_key(|sets| {
            let oldest = sets.sets.back().map(|(_, at)| *at);
            (sets.sets.len(), Reverse(oldest))
        });
        let gone = most.and_then(|sets| sets.sets.pop_back());
        gone.inspect(|(text, _)| self.held.shrink(bytes_of(text))).is_some()
    }
}

fn bytes_of(text: &str) -> u64 {
    text.len() as u64 + RECORD
}

/// As Prometheus writes it, as far as there is room.
fn text_of(label_bytes: &[u8], with_values: bool) -> String {
    let (mut left, mut is_cut) = (MAX_TEXT, false);
    let mut shown = Vec::new();
    for (name, value) in labels(label_bytes) {
        let value = match with_values || name == METRIC_NAME {
            true => value,
            false => HIDDEN,
        };
        let parts = (start_of(name), start_of(value));
        is_cut |= parts != (name, value);
        let bytes = parts.0.len() + parts.1.len();
        if bytes > left {
            is_cut = true;
            break;
        }
        left -= bytes;
        shown.push(parts);
    }
    let mut text = series_text(shown.into_iter());
    if is_cut {
        text.push('…');
    }
    plain(&text, MAX_TEXT)
}

fn start_of(text: &str) -> &str {
    let is_end = |at: &usize| text.is_char_boundary(*at);
    let end = (0..=MAX_PART.min(text.len())).rev().find(is_end);
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Kind, Memory};
    use crate::telemetry::Metrics;
    use crate::wire::labels::encode_labels;

    fn memory() -> Arc<Memory> {
        Memory::new(1 << 30, Arc::new(Metrics::new()))
    }

    fn examples(memory: &Arc<Memory>, what: DropExamples) -> Examples {
        let examples = Examples::new(&PolicyWatch::new(memory).unwrap());
        examples.keep(what, || ());
        examples
    }

    fn dropped(reason: &str) -> WhyGone {
        WhyGone::Dropped(DropWords {
            policy: Arc::from("relabel"),
            reason: Arc::from(reason),
        })
    }

    fn series(metric: &str, job: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_labels([("__name__", metric), ("job", job)].into_iter(), &mut bytes);
        bytes
    }

    /// Whether it was looked at.
    fn note(examples: &Examples, cause: &WhyGone, label_bytes: &[u8], now: Instant) -> bool {
        let kept = &mut *examples.lock();
        let is_due = kept.due(cause.clone(), now).is_some();
        if is_due {
            let text = kept.text(label_bytes);
            kept.put(
                cause,
                text,
                now,
                examples.watch.share(LEAST_PER_TENANT..=MOST_PER_TENANT),
            );
        }
        is_due
    }

    fn texts(examples: &Examples, cause: &WhyGone, now: Instant) -> Vec<String> {
        let (_, mut all) = examples.kept(now);
        let of = all.remove(cause).unwrap_or_default();
        of.into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn one_cause_is_looked_at_ten_times_a_second_and_the_same_series_is_there_once() {
        let memory = memory();
        let (examples, start, go) = (examples(&memory, DropExamples::Values), Instant::now(), dropped("go"));
        let looked = (0..1000).filter(|n| note(&examples, &go, &series("up", "a"), start + Duration::from_millis(*n)));
        assert_eq!(looked.count(), 10);
        assert_eq!(texts(&examples, &go, start), ["up{job=\"a\"}"]);
        let later = start + Duration::from_secs(2);
        assert!(note(&examples, &go, &series("up", "b"), later));
        assert_eq!(texts(&examples, &go, later), ["up{job=\"b\"}", "up{job=\"a\"}"]);
        // Another reason has a clock of its own, and there are only so many.
        let others = (0..100).filter(|n| note(&examples, &dropped(&n.to_string()), &series("up", "b"), later));
        assert_eq!(others.count(), MAX_LOOKS - 1);
    }

    #[test]
    fn values_are_hidden_unless_they_are_on_and_another_word_forgets_what_was_kept() {
        let memory = memory();
        let (examples, start, go) = (examples(&memory, DropExamples::Values), Instant::now(), dropped("go"));
        note(&examples, &go, &series("up", "secret"), start);
        examples.keep(DropExamples::Values, || ());
        assert_eq!(texts(&examples, &go, start), ["up{job=\"secret\"}"]);
        examples.keep(DropExamples::Names, || ());
        assert!(examples.kept(start).1.is_empty());
        note(&examples, &go, &series("up", "secret"), start);
        assert_eq!(texts(&examples, &go, start), ["up{job=\"_\"}"]);
        examples.keep(DropExamples::Off, || ());
        assert!(!note(&examples, &go, &series("up", "secret"), start));
        assert!(examples.kept(start).1.is_empty());
        assert_eq!(memory.held(Kind::Plugins), 0);
    }

    #[test]
    fn what_is_kept_is_bounded_by_cause_by_tenant_and_by_the_number_of_tenants() {
        let memory = memory();
        let (one, start) = (examples(&memory, DropExamples::Values), Instant::now());
        let at = |n: u64| start + LOOK_EVERY * n as u32;
        for n in 0..100 {
            note(&one, &dropped("go"), &series("up", &n.to_string()), at(n));
        }
        let kept = texts(&one, &dropped("go"), at(100));
        assert_eq!((kept.len(), kept[0].as_str()), (PER_CAUSE, "up{job=\"99\"}"));
        // The newest causes are there, each with its last sets.
        let long = "v".repeat(10_000);
        for n in 0..200 {
            for set in 0..20 {
                let cause = dropped(&format!("reason {n}"));
                note(
                    &one,
                    &cause,
                    &series(&format!("{set}{long}"), &long),
                    at(200 + 20 * n + set),
                );
            }
        }
        let (_, all) = one.kept(at(5000));
        assert_eq!(all.len(), MAX_CAUSES);
        assert!(all.contains_key(&dropped("reason 199")) && !all.contains_key(&dropped("go")));
        assert!(
            all.values()
                .flatten()
                .all(|(text, _)| text.len() <= MAX_TEXT + '…'.len_utf8())
        );
        let held = memory.held(Kind::Plugins);
        assert!(held > MOST_PER_TENANT / 2 && held <= MOST_PER_TENANT, "{held}");
        drop(one);
        assert_eq!(memory.held(Kind::Plugins), 0);
    }

    #[test]
    fn a_long_label_set_is_cut_on_a_character_and_says_so() {
        let text = text_of(&series("up", &"火".repeat(1000)), true);
        assert!(text.starts_with("up{job=\"火") && text.ends_with("火\"}…"), "{text}");
        let mut many = Vec::new();
        let names: Vec<String> = (0..1000).map(|n| format!("l{n:04}")).collect();
        encode_labels(names.iter().map(|name| (&**name, "v")), &mut many);
        let text = text_of(&many, false);
        assert!(text.ends_with('…') && text.len() <= MAX_TEXT + '…'.len_utf8(), "{text}");
    }
}
