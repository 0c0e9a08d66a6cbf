//! The walk over bytes that are proved canonical on the way.
//!
//! Takes a body, gives the extent of every series, or says that the body is not canonical. Knows no second reading of
//! any byte: what it does not expect at a place ends the walk. Never allocates per series.
//!
//! Senders that build on the reference implementation (Prometheus, its agent, Thanos) write just this form: fields
//! ascending, lengths shortest, absent scalars where they are zero. An explicit zero is accepted too, since it can be
//! read in one way only.

use super::tags::{
    EXEMPLAR, EXEMPLAR_LABEL, EXEMPLAR_TIMESTAMP, EXEMPLAR_VALUE, HISTOGRAM, LABEL, METADATA, NAME, SAMPLE,
    SAMPLE_TIMESTAMP, SAMPLE_VALUE, SERIES, VALUE,
};
use super::{histogram, labels};
use crate::model::Totals;
use crate::wire::series::{InvalidSeries, Rejects, ScanError, ScanLimits, Series, Walked};
use crate::wire::{Shown, varint};

pub(super) const METRIC_NAME: &[u8; 8] = b"__name__";
const METRIC_NAME_PREFIX: u64 = u64::from_be_bytes(*METRIC_NAME);

/// Room reserved for series: recorded bodies of node_exporter have 150 bytes a series.
const BYTES_PER_SERIES: usize = 128;

/// How much is done about labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Labels {
    Proved,
    /// If a series ends in usual samples, what is before them is taken for its labels; the caller has to prove it.
    Seem,
}

/// Walks `body`, which must be shorter than 4 GiB. None where it is not canonical, be it legal or not, and where it has
/// more than `most` elements: series, metadata, and whatever is in a series besides its labels and usual samples.
///
/// # Errors
/// Only `TooManySeries` and `TooManyHistograms`.
pub(super) fn walk(body: &[u8], limits: &ScanLimits, labels: Labels, most: u64) -> Result<Option<Walked>, ScanError> {
    let room = (body.len() / BYTES_PER_SERIES + 1).min(usize::try_from(limits.max_series).unwrap_or(usize::MAX));
    let mut found = Walked {
        series: Vec::with_capacity(room),
        totals: Totals::default(),
        rejected: Rejects::default(),
        metadata: 0,
    };
    let mut parts = Parts {
        most,
        ..Parts::default()
    };
    let most_series = limits.max_series.min(most);
    let mut count = 0;
    let mut at = 0;
    while let Some(&tag) = body.get(at) {
        let Some((start, end)) = varint::read_extent(body, at + 1) else {
            return Ok(None);
        };
        match tag {
            SERIES => {
                count += 1;
                if count > most_series {
                    return too_many_series(count, limits);
                }
                let seeming = match labels {
                    Labels::Seem => seeming_series(body, at, start, end),
                    Labels::Proved => None,
                };
                if let Some(series) = seeming {
                    found.totals.series += 1;
                    found.totals.samples += u64::from(series.samples);
                    found.series.push(series);
                    at = end;
                    continue;
                }
                match walk_series(body, at, start, end, &mut parts) {
                    Some((series, None)) => {
                        found.totals += series.totals();
                        found.series.push(series);
                    }
                    Some((series, Some(reason))) => {
                        let labels = || labels::label_bytes(&body[series.labels_range()]);
                        found
                            .rejected
                            .add(reason, series.totals(), || Shown::of(labels(), None));
                    }
                    None if parts.histograms > histogram::MAX_COUNT => return Err(histogram::too_many()),
                    None => return Ok(None),
                }
            }
            METADATA if found.metadata < most => found.metadata += 1,
            _ => return Ok(None),
        }
        at = end;
    }
    Ok(Some(found))
}

/// More than a write may have, or than the walk was to go through.
#[cold]
fn too_many_series(count: u64, limits: &ScanLimits) -> Result<Option<Walked>, ScanError> {
    let limit = limits.max_series;
    match count > limit {
        true => Err(ScanError::TooManySeries { limit }),
        false => Ok(None),
    }
}

/// The series at `start..end`, its labels unseen, if it ends in usual samples: all there are are its samples then.
#[inline(always)]
fn seeming_series(body: &[u8], tag: usize, start: usize, end: usize) -> Option<Series> {
    let bytes = body.get(start..end)?;
    let mut rest = bytes;
    let mut samples = 0;
    while let Some(before) = before_usual_sample(rest) {
        rest = before;
        samples += 1;
    }
    if samples == 0 {
        return None;
    }
    Some(Series {
        start: tag as u32,
        labels_start: start as u32,
        labels_end: (start + rest.len()) as u32,
        end: end as u32,
        samples,
        histograms: 0,
        exemplars: 0,
    })
}

/// What is before the usual sample that `bytes` end in.
#[inline(always)]
fn before_usual_sample(bytes: &[u8]) -> Option<&[u8]> {
    if let Some((before, sample)) = bytes.split_last_chunk::<USUAL_SAMPLE>()
        && let [
            SAMPLE,
            16,
            SAMPLE_VALUE,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            SAMPLE_TIMESTAMP,
            time @ ..,
        ] = sample
        && is_usual_time(time)
    {
        return Some(before);
    }
    if let Some((before, sample)) = bytes.split_last_chunk::<ZERO_SAMPLE>()
        && let [SAMPLE, 7, SAMPLE_TIMESTAMP, time @ ..] = sample
        && is_usual_time(time)
    {
        return Some(before);
    }
    None
}

/// What is counted over all series of a body, less their labels and usual samples.
#[derive(Default)]
struct Parts {
    count: u64,
    most: u64,
    histograms: u64,
    /// Of histograms.
    scratch: Vec<u8>,
}

/// Walks the series whose tag lies at `tag` and whose content at `start..end`. A canonical one may still hold a
/// histogram that is none. None also where the
/// histograms, or all parts together, are too many.
fn walk_series(
    body: &[u8],
    tag: usize,
    start: usize,
    end: usize,
    parts: &mut Parts,
) -> Option<(Series, Option<InvalidSeries>)> {
    let bytes = body.get(..end)?;
    let labels_end = walk_labels(bytes, start)?;
    let mut series = Series {
        start: tag as u32,
        labels_start: start as u32,
        labels_end: labels_end as u32,
        end: end as u32,
        samples: 0,
        histograms: 0,
        exemplars: 0,
    };
    let mut invalid = None;
    let mut last = SAMPLE;
    let mut at = labels_end;
    while let Some(&field) = bytes.get(at) {
        if field == SAMPLE && last == SAMPLE && is_usual_sample(bytes, at) {
            series.samples += 1;
            at += USUAL_SAMPLE;
            continue;
        }
        let (part, part_end) = varint::read_extent(bytes, at + 1)?;
        let content = bytes.get(part..part_end)?;
        parts.count += 1;
        if field < last || parts.count > parts.most {
            return None;
        }
        match field {
            SAMPLE => {
                walk_sample(content, SAMPLE_VALUE, SAMPLE_TIMESTAMP)?;
                series.samples += 1;
            }
            EXEMPLAR => {
                walk_exemplar(content)?;
                series.exemplars += 1;
            }
            HISTOGRAM => {
                parts.histograms += 1;
                if parts.histograms > histogram::MAX_COUNT {
                    return None;
                }
                if histogram::check_canonical(content, &mut parts.scratch)? == Err(histogram::Inconsistent) {
                    invalid = Some(InvalidSeries::InvalidHistogram);
                }
                series.histograms += 1;
            }
            _ => return None,
        }
        last = field;
        at = part_end;
    }
    Some((series, invalid))
}

/// Proves the labels from `start` on and gives where they end.
pub(super) fn walk_labels(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    let mut has_metric_name = false;
    let mut count = 0;
    let mut last = Name { prefix: 0, bytes: &[] };
    loop {
        let (name, label_end) = match short_label(bytes, at) {
            Some(label) => label,
            None if bytes.get(at) == Some(&LABEL) => any_label(bytes, at)?,
            None => break,
        };
        // The first name must be above the empty one: this is also what refuses empty names.
        if !name.is_above(&last) {
            return None;
        }
        has_metric_name |= name.prefix == METRIC_NAME_PREFIX && name.bytes.len() == METRIC_NAME.len();
        last = name;
        at = label_end;
        count += 1;
    }
    // Whoever writes the body anew says so.
    if count > labels::MAX_COUNT {
        return None;
    }
    if !has_metric_name {
        return None;
    }
    // One sweep over all of them proves nearly every series there is: tags and lengths below 128 are ASCII as well.
    let label_bytes = bytes.get(start..at)?;
    if !is_ascii(label_bytes) {
        check_utf8(label_bytes)?;
    }
    Some(at)
}

/// A label name that compares by its first bytes as one number.
struct Name<'a> {
    /// The first eight bytes, big-endian, zeros where the name is shorter.
    prefix: u64,
    bytes: &'a [u8],
}

impl Name<'_> {
    #[inline(always)]
    fn is_above(&self, last: &Self) -> bool {
        self.prefix > last.prefix || (self.prefix == last.prefix && self.bytes > last.bytes)
    }
}

/// The name of the label whose tag is at `at`, and where the label ends, if all lengths take one byte and twelve bytes
/// can be read at once: nearly every label does. None says nothing.
#[inline(always)]
fn short_label(bytes: &[u8], at: usize) -> Option<(Name<'_>, usize)> {
    let head: &[u8; 12] = bytes.get(at..at + 12)?.first_chunk()?;
    let [tag, length, name_tag, name_length, prefix @ ..] = *head;
    if (tag, name_tag) != (LABEL, NAME) || (length | name_length) >= 0x80 || name_length == 0 {
        return None;
    }
    let name = at + 4..at + 4 + usize::from(name_length);
    let &[value_tag, value_length] = bytes.get(name.end..name.end + 2)?.first_chunk()?;
    // The value must end where the label does. A value is longer than 127 bytes only if the label is.
    let ends_with_label = usize::from(name_length) + 4 + usize::from(value_length) == usize::from(length);
    if value_tag != VALUE || value_length == 0 || !ends_with_label {
        return None;
    }
    let end = at + 2 + usize::from(length);
    if end > bytes.len() {
        return None;
    }
    let unused = 64 - 8 * u32::from(name_length.min(8));
    let prefix = u64::from_be_bytes(prefix) >> unused << unused;
    Some((
        Name {
            prefix,
            bytes: bytes.get(name)?,
        },
        end,
    ))
}

/// The same for a label of any length.
#[cold]
fn any_label(bytes: &[u8], at: usize) -> Option<(Name<'_>, usize)> {
    let (start, end) = varint::read_extent(bytes, at + 1)?;
    let (name, value) = split_label(bytes, start, end)?;
    if value.is_empty() {
        return None;
    }
    let mut prefix = [0; 8];
    prefix.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    Some((
        Name {
            prefix: u64::from_be_bytes(prefix),
            bytes: name,
        },
        end,
    ))
}

/// Name and value of the label at `start..end`.
fn split_label(bytes: &[u8], start: usize, end: usize) -> Option<(&[u8], &[u8])> {
    let bytes = bytes.get(..end)?;
    if *bytes.get(start)? != NAME {
        return None;
    }
    let (name, name_end) = varint::read_extent(bytes, start + 1)?;
    if *bytes.get(name_end)? != VALUE {
        return None;
    }
    let (value, value_end) = varint::read_extent(bytes, name_end + 1)?;
    (value_end == end).then_some((bytes.get(name..name_end)?, bytes.get(value..)?))
}

/// The standard library's looks at the last 31 bytes one by one, which here is a fifth of all work.
#[inline(always)]
pub(super) fn is_ascii(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<16>() else {
        return bytes.is_ascii();
    };
    // The last sixteen bytes may overlap the chunks before them.
    let (chunks, _) = bytes.as_chunks::<16>();
    let seen = chunks.iter().fold(u128::from_ne_bytes(*last), |seen, chunk| {
        seen | u128::from_ne_bytes(*chunk)
    });
    seen & u128::from_ne_bytes([0x80; 16]) == 0
}

#[cold]
fn check_utf8(labels: &[u8]) -> Option<()> {
    let mut at = 0;
    while at < labels.len() {
        let (label, end) = varint::read_extent(labels, at + 1)?;
        let (name, value) = split_label(labels, label, end)?;
        std::str::from_utf8(name).ok()?;
        std::str::from_utf8(value).ok()?;
        at = end;
    }
    Some(())
}

/// A sample with a value and a timestamp of the years 1971 to 2109: six bytes of varint.
pub(in crate::wire) const USUAL_SAMPLE: usize = 18;
/// The same with the value left out because it is zero.
const ZERO_SAMPLE: usize = 9;

#[inline(always)]
fn is_usual_sample(bytes: &[u8], at: usize) -> bool {
    let Some(sample) = bytes
        .get(at..at + USUAL_SAMPLE)
        .and_then(|sample| sample.first_chunk::<USUAL_SAMPLE>())
    else {
        return false;
    };
    matches!(sample, [SAMPLE, 16, SAMPLE_VALUE, _, _, _, _, _, _, _, _, SAMPLE_TIMESTAMP, time @ ..] if is_usual_time(time))
}

/// Bytes of the usual sample that `bytes` begin with, whose value may be zero: whether it is can hardly be foreseen, so that no
/// branch asks it.
#[inline(always)]
pub(in crate::wire) fn usual_length(bytes: &[u8]) -> Option<usize> {
    const TIME: u64 = u64::from_le_bytes([0, SAMPLE_TIMESTAMP, 0x80, 0x80, 0x80, 0x80, 0x80, 0]);
    // The tag, and of each byte of the time the bit that says whether it goes on.
    const BITS: u64 = u64::from_le_bytes([0, 0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]);
    let head: [u8; 3] = *bytes.first_chunk()?;
    let length = 2 + usize::from(head[1]);
    let last = u64::from_le_bytes(*bytes.get(..length)?.last_chunk()?);
    let is_usual = (head == [SAMPLE, 16, SAMPLE_VALUE]) | (head == [SAMPLE, 7, SAMPLE_TIMESTAMP]);
    let has_usual_time = (last & BITS == TIME) & (last >> 56 != 0);
    (is_usual & has_usual_time).then_some(length)
}

/// Whether the content of a sample is a usual one's, whose value may be zero.
#[inline(always)]
pub(in crate::wire) fn is_usual_content(sample: &[u8]) -> bool {
    match sample {
        [SAMPLE_VALUE, _, _, _, _, _, _, _, _, SAMPLE_TIMESTAMP, time @ ..] | [SAMPLE_TIMESTAMP, time @ ..] => {
            is_usual_time(time)
        }
        _ => false,
    }
}

/// A varint of just six bytes in its shortest form.
#[inline(always)]
fn is_usual_time(time: &[u8]) -> bool {
    matches!(*time, [a, b, c, d, e, f] if a & b & c & d & e >= 0x80 && f < 0x80 && f != 0)
}

/// Proves a value and a timestamp, each at most once and in this order. Zeros may be absent.
fn walk_sample(bytes: &[u8], value: u8, timestamp: u8) -> Option<()> {
    let mut at = 0;
    if bytes.get(at) == Some(&value) {
        at += 9;
    }
    if bytes.get(at) == Some(&timestamp) {
        (_, at) = varint::read(bytes, at + 1)?;
    }
    (at == bytes.len()).then_some(())
}

/// Proves an exemplar: labels (in any order, parts possibly empty), then value and timestamp.
fn walk_exemplar(bytes: &[u8]) -> Option<()> {
    let mut at = 0;
    while bytes.get(at) == Some(&EXEMPLAR_LABEL) {
        let (start, end) = varint::read_extent(bytes, at + 1)?;
        walk_exemplar_label(bytes.get(start..end)?)?;
        at = end;
    }
    walk_sample(bytes.get(at..)?, EXEMPLAR_VALUE, EXEMPLAR_TIMESTAMP)
}

fn walk_exemplar_label(label: &[u8]) -> Option<()> {
    let mut at = 0;
    for tag in [NAME, VALUE] {
        if label.get(at) == Some(&tag) {
            let (start, end) = varint::read_extent(label, at + 1)?;
            std::str::from_utf8(label.get(start..end)?).ok()?;
            at = end;
        }
    }
    (at == label.len()).then_some(())
}
