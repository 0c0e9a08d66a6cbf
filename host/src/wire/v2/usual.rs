//! A series of 2.0 as senders write nearly all of them.
//!
//! Takes the bytes of a series, gives where its parts lie if they stand once and in order, and each in the form that every
//! sender gives it. Never takes one apart that is otherwise: that is `read`'s to do.

use std::ops::Range;

use super::tags::{LABELS_REFS, METADATA, SAMPLE, SAMPLE_START};
use crate::wire::v1::tags::SAMPLE_VALUE;
use crate::wire::v1::{is_usual_content, usual_length};
use crate::wire::varint;

/// Bytes of the timestamp of a usual sample, its tag included.
const USUAL_TIME: usize = 7;

/// A series as senders write nearly all of them: labels, samples without a start timestamp or one with it, metadata.
pub(super) struct Usual<'a> {
    /// Where they lie in the series.
    pub(super) references: Range<usize>,
    /// With their tags and lengths.
    pub(super) samples: &'a [u8],
    pub(super) count: u32,
    /// Of a single sample, which then is without it, but has the length it had with it. 0 if there is none.
    pub(super) start: i64,
    pub(super) metadata: &'a [u8],
}

impl<'a> Usual<'a> {
    #[inline(always)]
    pub(super) fn of(series: &'a [u8]) -> Option<Self> {
        if let Some(short) = Self::short(series) {
            return Some(short);
        }
        if *series.first()? != LABELS_REFS {
            return None;
        }
        let (first, end) = varint::read_extent(series, 1)?;
        let references = first..end;
        let mut count = 0;
        let mut at = end;
        while let Some(length) = usual_length(series.get(at..)?) {
            count += 1;
            at += length;
        }
        let mut samples = series.get(end..at)?;
        let mut start = 0;
        if count == 0 {
            let length;
            (samples, start, length) = Self::started(series.get(end..)?)?;
            (count, at) = (1, end + length);
        }
        let metadata = match series.get(at..)? {
            [] | [METADATA, 0] => &[],
            [METADATA, ..] => {
                let (start, end) = varint::read_extent(series, at + 1)?;
                series.get(start..end).filter(|_| end == series.len())?
            }
            _ => return None,
        };
        Some(Self {
            references,
            samples,
            count,
            start,
            metadata,
        })
    }

    /// The sample that `bytes` begin with, up to its start timestamp; that; and where the sample ends.
    #[inline(always)]
    fn started(bytes: &'a [u8]) -> Option<(&'a [u8], i64, usize)> {
        let [SAMPLE, length @ ..0x80, first, ..] = *bytes else {
            return None;
        };
        let value = if first == SAMPLE_VALUE { 9 } else { 0 };
        let (sample, started) = bytes
            .get(..2 + usize::from(length))?
            .split_at_checked(2 + value + USUAL_TIME)?;
        let (start, end) = varint::read(started, 1)?;
        let is_it = started.first() == Some(&SAMPLE_START) && end == started.len() && start != 0;
        (is_it && is_usual_content(&sample[2..])).then_some((sample, start as i64, 2 + usize::from(length)))
    }

    /// Bytes of the start timestamp that is left out.
    pub(super) fn start_length(&self) -> usize {
        match self.start {
            0 => 0,
            start => 1 + varint::length(start as u64),
        }
    }

    pub(super) fn says_something(&self) -> bool {
        self.start != 0 || !self.metadata.is_empty()
    }

    /// One sample, and nothing else that takes more than a byte to say its length.
    #[inline(always)]
    fn short(series: &'a [u8]) -> Option<Self> {
        let [LABELS_REFS, length @ ..0x80, ..] = *series else {
            return None;
        };
        let end = 2 + usize::from(length);
        let behind = series.get(end..)?;
        let (samples, rest) = behind.split_at_checked(usual_length(behind)?)?;
        matches!(rest, [] | [METADATA, 0]).then_some(Self {
            references: 2..end,
            samples,
            count: 1,
            start: 0,
            metadata: &[],
        })
    }
}
