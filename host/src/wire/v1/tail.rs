//! What a canonical series holds, part by part, for who writes it in another protocol.
//!
//! Takes what follows the labels of a series that a scan proved, gives its samples, exemplars and histograms in the order
//! they stand. Never interprets a value: where both protocols write a message alike, its bytes are given as they are.

use super::labels::read_field;
use super::tags::{EXEMPLAR, EXEMPLAR_LABEL, HISTOGRAM, NAME, SAMPLE, VALUE};
use crate::wire::fields::{Fields, Value};
use crate::wire::series::Torn;
use crate::wire::varint;

/// `Sample.timestamp` and `Histogram.timestamp`.
const SAMPLE_TIME: u32 = 2;
const HISTOGRAM_TIME: u32 = 15;

/// One part of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesPart<'a> {
    /// A `Sample`: value and timestamp.
    Sample(&'a [u8]),
    /// Its labels, as [`exemplar_labels`] reads them, and what is behind them: value and timestamp.
    Exemplar { labels: &'a [u8], rest: &'a [u8] },
    /// A `Histogram`.
    Histogram(&'a [u8]),
}

/// The parts of a series' tail. Ends behind the first that is none.
pub fn parts(tail: &[u8]) -> impl Iterator<Item = Result<SeriesPart<'_>, Torn>> {
    let mut rest = tail;
    std::iter::from_fn(move || {
        let tag = *rest.first()?;
        let part = part(rest, tag);
        rest = part.map_or(&[], |(_, next)| next);
        Some(part.map(|(part, _)| part).ok_or(Torn))
    })
}

/// The time of the first sample or histogram, in milliseconds. None if there is neither.
pub fn first_time(tail: &[u8]) -> Option<i64> {
    parts(tail).map_while(Result::ok).find_map(|part| match part {
        SeriesPart::Sample(sample) => time_of(sample, SAMPLE_TIME),
        SeriesPart::Histogram(histogram) => time_of(histogram, HISTOGRAM_TIME),
        SeriesPart::Exemplar { .. } => None,
    })
}

/// It is left out where it is zero.
fn time_of(message: &[u8], number: u32) -> Option<i64> {
    let mut fields = Fields::new(message);
    while let Ok(Some((field, value))) = fields.next() {
        if let (true, Value::Varint(time)) = (field == number, value) {
            return Some(time as i64);
        }
    }
    Some(0)
}

fn part(bytes: &[u8], tag: u8) -> Option<(SeriesPart<'_>, &[u8])> {
    let (content, next) = read_field(bytes, tag)?;
    let part = match tag {
        SAMPLE => SeriesPart::Sample(content),
        HISTOGRAM => SeriesPart::Histogram(content),
        EXEMPLAR => {
            let (labels, rest) = content.split_at_checked(exemplar_labels_end(content)?)?;
            SeriesPart::Exemplar { labels, rest }
        }
        _ => return None,
    };
    Some((part, next))
}

fn exemplar_labels_end(exemplar: &[u8]) -> Option<usize> {
    let mut at = 0;
    while exemplar.get(at) == Some(&EXEMPLAR_LABEL) {
        (_, at) = varint::read_extent(exemplar, at + 1)?;
    }
    Some(at)
}

/// Names and values of an exemplar's labels. Either may be empty.
pub fn exemplar_labels(labels: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), Torn>> {
    let mut rest = labels;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let label = read_field(rest, EXEMPLAR_LABEL);
        rest = label.map_or(&[], |(_, next)| next);
        Some(label.and_then(|(label, _)| exemplar_label(label)).ok_or(Torn))
    })
}

fn exemplar_label(label: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = or_empty(label, NAME)?;
    let (value, rest) = or_empty(rest, VALUE)?;
    rest.is_empty().then_some((name, value))
}

/// A field that is left out where it is empty.
fn or_empty(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    match bytes.first() {
        Some(&first) if first == tag => read_field(bytes, tag),
        _ => Some((&[], bytes)),
    }
}
