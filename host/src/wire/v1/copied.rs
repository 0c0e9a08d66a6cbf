//! From a body whose labels were copied to a compressed one, by where they were copied from.
//!
//! Takes the series of a body written out of one of 2.0 and the sources of their labels, gives elements. What a reference
//! stands for is known to lie where it was written before, so nothing is looked for and little is compared, and no label is
//! looked at by itself: those that lie in one row before are one copy. Between the labels, of values and times, only what lies
//! at the same place of the series before is tried, as [`encode`](super::encode) does it.

use std::ops::Range;

use super::places::{LONG_TAIL, NAME, SEAM_BITS, label_end, replace, word};
use crate::wire::series::{Series, Source};
use crate::wire::snappy::elements::{Elements, FAR, alike_after};

pub(super) struct Encoder<'a> {
    body: &'a [u8],
    elements: Elements<'a>,
    snap: &'a mut snap::raw::Encoder,
    /// Those that begin behind what is encoded.
    sources: &'a [Source],
    /// How far the labels of the last one lie behind where they are copied from. 0 if nowhere.
    distance: usize,
    run: Run,
    /// Last places of series whose first bytes were the same.
    seams: [u32; 1 << SEAM_BITS],
    /// Where the series before begins.
    before: usize,
    before_labels: usize,
}

/// Bytes from `at` to `stop` that are the same as those so far before them. None if `offset` is 0.
#[derive(Clone, Copy)]
struct Run {
    at: usize,
    offset: usize,
    stop: usize,
}

impl Run {
    const NONE: Self = Self {
        at: 0,
        offset: 0,
        stop: 0,
    };

    fn is_any(self) -> bool {
        self.offset != 0
    }

    /// What lies there is the same as what lies at `at`, or would go on with the run.
    fn source(self, at: usize) -> usize {
        at.wrapping_sub(self.offset)
    }
}

impl<'a> Encoder<'a> {
    pub(super) fn new(
        body: &'a [u8],
        elements: Elements<'a>,
        snap: &'a mut snap::raw::Encoder,
        sources: &'a [Source],
    ) -> Self {
        Self {
            body,
            elements,
            snap,
            sources,
            distance: 0,
            run: Run::NONE,
            seams: [0; 1 << SEAM_BITS],
            before: 0,
            before_labels: 0,
        }
    }

    #[inline(always)]
    pub(super) fn series(&mut self, series: &Series) {
        let (start, labels) = (series.start as usize, series.labels_start as usize);
        let (tail, end) = (series.labels_end as usize, series.end as usize);
        let mut run = self.seam(self.run, start, labels);
        let mut at = labels;
        while at < tail {
            if let [source, rest @ ..] = self.sources
                && source.at as usize == at
            {
                self.sources = rest;
                self.distance = if source.from == 0 { 0 } else { at - source.from as usize };
            }
            debug_assert!(self.sources.first().is_none_or(|next| next.at as usize > at));
            let next = self.sources.first().map_or(tail, |next| tail.min(next.at as usize));
            if next > run.stop {
                run = self.row(run, at..next, at == labels);
            }
            at = next;
        }
        self.run = self.tail(run, tail, end);
        (self.before, self.before_labels) = (start, labels);
    }

    /// All that is left, and the stream.
    pub(super) fn finish(mut self) -> &'a [u8] {
        self.end(self.run);
        self.elements.finish()
    }

    /// The length of a series, with the time at the end of the one before: as it was before another series of this length, or
    /// else before the last one.
    #[inline(always)]
    fn seam(&mut self, mut run: Run, start: usize, labels: usize) -> Run {
        let first = word(self.body, start);
        let seam = replace::<SEAM_BITS, _>(&mut self.seams, first << 24, start);
        if run.is_any() {
            if run.stop >= labels {
                return run;
            }
            run.stop = start;
            self.end(run);
        }
        let differing = |from: usize| (word(self.body, from) ^ first).trailing_zeros() as usize / 8;
        let (mut from, mut alike) = (seam, differing(seam));
        if alike < labels - start {
            (from, alike) = (self.before, differing(self.before));
        }
        let run = Run {
            at: start,
            offset: start - from,
            stop: start + alike.min(labels - start),
        };
        if run.stop == labels {
            return run;
        }
        self.end(run)
    }

    /// Labels that lie in one row before, or nowhere, and that the run does not reach the end of, as far as is known.
    #[inline(always)]
    fn row(&mut self, mut run: Run, row: Range<usize>, is_first: bool) -> Run {
        let (Range { start: at, end }, distance) = (row, self.distance);
        debug_assert!(distance == 0 || self.body.get(at - distance..end - distance) == self.body.get(at..end));
        if run.is_any() {
            if distance == run.offset {
                run.stop = end;
                return run;
            }
            // What came there behind the same labels may be the same as well; from far away it takes longer elements.
            if distance == 0 || run.offset < FAR {
                run.stop = at + alike(self.body, at, run.source(at));
                if run.stop >= end {
                    return run;
                }
            }
            self.end(run);
        }
        if self.elements.done() < end {
            if distance > 0 {
                return Run {
                    at,
                    offset: distance,
                    stop: end,
                };
            }
            if is_first {
                self.new_name(at, label_end(self.body, at));
            }
        }
        Run::NONE
    }

    /// The name of a metric begins like the one before, or goes on like it where it is another one.
    fn new_name(&mut self, at: usize, end: usize) {
        if self.elements.done() <= at {
            self.elements.copy(at, self.before_labels, 0);
        }
        let name = self.elements.done().max(at + NAME);
        if name < end {
            self.elements.copy(name, self.before_labels + (name - at), 0);
        }
    }

    #[inline(always)]
    fn tail(&mut self, mut run: Run, tail: usize, end: usize) -> Run {
        if run.is_any() {
            if run.stop <= tail {
                run.stop = tail + alike(self.body, tail, run.source(tail));
            }
            if run.stop >= end {
                return run;
            }
            self.end(run);
        }
        if end > self.elements.done().max(tail) + LONG_TAIL {
            self.elements.literal(tail);
            self.elements.search(end, self.snap);
        }
        Run::NONE
    }

    /// Writes it, and what is not written before it. There is none then.
    #[inline(always)]
    fn end(&mut self, run: Run) -> Run {
        if run.is_any() {
            self.elements.put(run.at, run.source(run.at), run.stop);
        }
        Run::NONE
    }
}

/// How many bytes from `at` on are the same from `from` on, which is less. Where they part is mostly near.
#[inline(always)]
fn alike(body: &[u8], at: usize, from: usize) -> usize {
    let sixteen = |at: usize| -> Option<u128> { Some(u128::from_le_bytes(*body.get(at..)?.first_chunk()?)) };
    match sixteen(at).zip(sixteen(from)) {
        Some((a, b)) if a != b => (a ^ b).trailing_zeros() as usize / 8,
        _ => alike_after(body, at, from),
    }
}
