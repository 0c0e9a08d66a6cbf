//! Whether a series of 2.0 has one reading.
//!
//! Takes its bytes and what was read of them, says whether nothing else can be read: every field is a known one, in ascending
//! order, there once if it is one, in its shortest form, and what it refers to is what was written out. Such a series may go on to
//! an upstream of 2.0 as it came; what a lenient reader made of any other has to be written anew. Decides nothing else.

use super::extras::Besides;
use super::read::Reader;
use super::tags::{
    EXEMPLAR, HISTOGRAM, HISTOGRAM_START, LABELS_REFS, METADATA, METADATA_HELP, METADATA_TYPE, METADATA_UNIT, SAMPLE,
    SAMPLE_START,
};
use crate::wire::series::Series;
use crate::wire::v1::labels::read_one;
use crate::wire::v1::tail::{SeriesPart, exemplar_labels, parts};
use crate::wire::varint;

/// Whether `sent` says just what was written out of it, which is `series` of `written`, and what was said besides. Not where
/// it has to be written in another way: with exemplars alone, and with samples and histograms in one.
pub(super) fn says_just(reader: Reader<'_>, sent: &[u8], written: &[u8], series: &Series, said: &Besides) -> bool {
    let has_one_kind = (series.samples > 0) != (series.histograms > 0);
    let (labels, tail) = (written.get(series.labels_range()), written.get(series.tail_range()));
    let has_labels = |labels| series_labels(reader, sent, labels);
    let at = labels.filter(|_| has_one_kind).and_then(has_labels);
    at.zip(tail)
        .and_then(|(at, tail)| rest(reader, sent, at, tail, said))
        .is_some()
}

/// Whether it is what was read of it, in the shortest form.
pub(super) fn is_metadata(sent: &[u8], said: &Besides) -> bool {
    // An enum is an int32: a number below zero takes ten bytes.
    let kind = i64::from(said.kind) as u64;
    let fields = [
        (METADATA_TYPE, kind),
        (METADATA_HELP, said.help_ref.into()),
        (METADATA_UNIT, said.unit_ref.into()),
    ];
    let mut at = 0;
    for (tag, expected) in fields.into_iter().filter(|(_, value)| *value > 0) {
        match sent
            .get(at)
            .filter(|first| **first == tag)
            .and_then(|_| varint::read(sent, at + 1))
        {
            Some((value, end)) if value == expected => at = end,
            _ => return false,
        }
    }
    at == sent.len()
}

/// Where they end.
fn series_labels(reader: Reader<'_>, sent: &[u8], mut labels: &[u8]) -> Option<usize> {
    let (references, end) = varint::read_bytes(sent, 0, LABELS_REFS)?;
    are_referred_to(reader, references, || {
        let (name, value, rest) = read_one(labels)?;
        labels = rest;
        Some((name, value))
    })?;
    labels.is_empty().then_some(end)
}

fn rest(reader: Reader<'_>, sent: &[u8], mut at: usize, tail: &[u8], said: &Besides) -> Option<()> {
    let is_exemplar = |part: &SeriesPart| matches!(part, SeriesPart::Exemplar { .. });
    let mut values = parts(tail).map_while(Result::ok).filter(|part| !is_exemplar(part));
    let mut exemplars = parts(tail).map_while(Result::ok).filter(is_exemplar);
    // Of one kind.
    let mut starts = said.sample_starts.iter().chain(&said.histogram_starts);
    let mut last = 0;
    while let Some(&tag) = sent.get(at).filter(|tag| **tag >= last) {
        let (part, end) = varint::read_bytes(sent, at, tag)?;
        match tag {
            SAMPLE | HISTOGRAM => {
                let (expected, value, start_tag) = match values.next()? {
                    SeriesPart::Sample(sample) => (SAMPLE, sample, &[SAMPLE_START][..]),
                    SeriesPart::Histogram(histogram) => (HISTOGRAM, histogram, &HISTOGRAM_START[..]),
                    SeriesPart::Exemplar { .. } => return None,
                };
                let start = part.strip_prefix(value).filter(|_| tag == expected)?;
                is_start(start, start_tag, *starts.next()?)?;
            }
            EXEMPLAR => match exemplars.next()? {
                SeriesPart::Exemplar { labels, rest } => exemplar(reader, part, labels, rest)?,
                _ => return None,
            },
            METADATA => (end == sent.len() && is_metadata(part, said)).then_some(())?,
            _ => return None,
        }
        (at, last) = (end, tag);
    }
    (at == sent.len() && values.next().is_none() && exemplars.next().is_none()).then_some(())
}

fn is_start(sent: &[u8], tag: &[u8], start: i64) -> Option<()> {
    if start == 0 {
        return sent.is_empty().then_some(());
    }
    let start_sent = sent.strip_prefix(tag)?;
    (varint::read(start_sent, 0)? == (start as u64, start_sent.len())).then_some(())
}

fn exemplar(reader: Reader<'_>, sent: &[u8], labels: &[u8], rest: &[u8]) -> Option<()> {
    let (references, end) = match labels {
        [] => (&[][..], 0),
        _ => varint::read_bytes(sent, 0, LABELS_REFS)?,
    };
    let mut labels = exemplar_labels(labels);
    are_referred_to(reader, references, || labels.next()?.ok())?;
    (labels.next().is_none() && sent.get(end..)? == rest).then_some(())
}

/// Whether these are references to the names and values that `next` gives.
fn are_referred_to<'a>(
    Reader { body, symbols }: Reader<'_>,
    references: &[u8],
    mut next: impl FnMut() -> Option<(&'a [u8], &'a [u8])>,
) -> Option<()> {
    let mut at = 0;
    while at < references.len() {
        let (name, value_at) = varint::read(references, at)?;
        let (value, end) = varint::read(references, value_at)?;
        let reference = |number: u64| u32::try_from(number).ok();
        let texts = symbols.texts(body, reference(name)?, reference(value)?).ok()?;
        (texts == next()?).then_some(())?;
        at = end;
    }
    Some(())
}
