//! From a body whose labels were copied to a compressed one, by where they were copied from.
//!
//! Takes the series of a body written out of one of 2.0 and the rows of labels that lie before as well, gives elements. What
//! a reference stands for is known to lie where it was written before, so nothing is looked for: each row is one copy, as
//! far as what lies before and behind it is the same too. Where that ends can hardly be foreseen; it is mostly near, and found
//! without a branch there.

use std::ops::Range;

use super::places::{LONG_TAIL, NAME, SEAM_BITS, label_end, replace, word};
use crate::wire::series::Series;
use crate::wire::snappy::elements::{Elements, alike_before};
use crate::wire::text::LabelRow;

/// Bytes of most copies.
const ELEMENT: usize = 3;
/// A time, and most of a value, before a series.
const BEFORE: usize = 16;

pub(super) struct Encoder<'a> {
    body: &'a [u8],
    elements: Elements<'a>,
    snap: &'a mut snap::raw::Encoder,
    /// Those that are not encoded yet.
    rows: &'a [LabelRow],
    /// Last places of series whose first bytes were the same.
    seams: [u32; 1 << SEAM_BITS],
    /// Where the series before begins.
    before: usize,
    before_labels: usize,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(
        body: &'a [u8],
        elements: Elements<'a>,
        snap: &'a mut snap::raw::Encoder,
        rows: &'a [LabelRow],
    ) -> Self {
        Self {
            body,
            elements,
            snap,
            rows,
            seams: [0; 1 << SEAM_BITS],
            before: 0,
            before_labels: 0,
        }
    }

    /// Writes one series but for its last bytes: a copy may reach from them into the next one.
    #[inline(always)]
    pub(super) fn series(&mut self, series: &Series) {
        let (start, labels) = (series.start as usize, series.labels_start as usize);
        let (tail, end) = (series.labels_end as usize, series.end as usize);
        let first = self.rows.first().filter(|row| row.at == series.labels_start);
        self.seam(start, labels, first);
        if first.is_none() && self.elements.done() < tail {
            self.new_name(labels, label_end(self.body, labels));
        }
        while let [row, rest @ ..] = self.rows
            && (row.at as usize) < tail
        {
            self.rows = rest;
            self.elements.lay(row.at as usize, row.end as usize, row.from as usize);
        }
        if end > self.elements.done().max(tail) + LONG_TAIL {
            self.elements.literal(tail);
            self.elements.search(end, self.snap);
        }
        (self.before, self.before_labels) = (start, labels);
    }

    /// All that is left, and the stream.
    pub(super) fn finish(self) -> &'a [u8] {
        self.elements.finish()
    }

    /// The length of a series at `start..labels`, with what is alike at the end of the one before: the time, perhaps the value.
    /// Nothing where the first row will bring it along; else it is as it was before another series of this length, perhaps
    /// with the first row, or before the last one.
    #[inline(always)]
    fn seam(&mut self, start: usize, labels: usize, first: Option<&LabelRow>) {
        let header = labels - start;
        let bytes = word(self.body, start);
        let alike = |from: usize| (word(self.body, from) ^ bytes).trailing_zeros() as usize / 8;
        let seam = replace::<SEAM_BITS, _>(&mut self.seams, bytes << 24, start);
        if self.elements.done() >= labels {
            return;
        }
        let is_known = alike(seam) >= header;
        let of_row = first.map_or(start, |row| (row.from as usize).wrapping_sub(header));
        let comes_along = of_row < start && alike(of_row) >= header;
        let before = |from| alike_before(self.body, start, from, BEFORE);
        if comes_along && !(is_known && before(seam) > before(of_row) + ELEMENT) {
            return;
        }
        if !is_known {
            let alike = alike(self.before).min(header);
            self.elements.lay(start, start + alike, self.before);
        } else if let Some(row) = first
            && self.is_same(labels..row.end as usize, seam + header)
        {
            self.rows = &self.rows[1..];
            self.elements.lay(start, row.end as usize, seam);
        } else {
            self.elements.lay(start, labels, seam);
        }
    }

    /// Looks no further than these bytes: how much more is the same would be asked again for the next series.
    #[inline(always)]
    fn is_same(&self, bytes: Range<usize>, from: usize) -> bool {
        self.body.get(from..from + bytes.len()) == self.body.get(bytes)
    }

    /// The name of a metric begins like the one before, or goes on like it where it is another one.
    #[cold]
    #[inline(never)]
    fn new_name(&mut self, at: usize, end: usize) {
        if self.elements.done() <= at {
            self.elements.copy(at, self.before_labels, 0);
        }
        let name = self.elements.done().max(at + NAME);
        if name < end {
            self.elements.copy(name, self.before_labels + (name - at), 0);
        }
    }
}
