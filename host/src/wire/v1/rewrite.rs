//! Any legal body, written anew in canonical form.
//!
//! Takes a body that is not canonical, gives one that is, with the series that are invalid left out and counted.
//! Reads as protobuf prescribes: fields in any order, the last of a repeated scalar wins, unknown fields are skipped.
//! Never builds the message: memory stays in proportion to the body, and series are counted before any is written.

use super::parts::SeriesParts;
use super::tags::METADATA;
use crate::wire::fields::{Fields, Value, malformed};
use crate::wire::series::{Rejects, ScanError, ScanLimits};
use crate::wire::varint;

pub(super) struct Rewritten {
    pub(super) body: Vec<u8>,
    pub(super) rejected: Rejects,
}

/// Writes `body` anew.
///
/// # Errors
/// `TooManySeries` before anything is built, `TooManyHistograms`, `TooManyLabels`, `Malformed` where the body is no protobuf.
pub(super) fn rewrite(body: &[u8], limits: &ScanLimits) -> Result<Rewritten, ScanError> {
    check_count(body, limits)?;
    let mut rewritten = Rewritten {
        body: Vec::with_capacity(body.len()),
        rejected: Rejects::default(),
    };
    let mut series = SeriesParts::default();
    let mut fields = Fields::new(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                read_series(&mut series, value.bytes("a series is not a message")?)?;
                series.write(&mut rewritten.body, &mut rewritten.rejected);
            }
            // As it came: nobody is judged by it.
            3 => varint::put_bytes(&mut rewritten.body, METADATA, value.bytes("metadata is not a message")?),
            _ => {}
        }
    }
    Ok(rewritten)
}

/// A million empty series fit in 100 KB of snappy; counting them costs no memory. A body that has nothing of this version and
/// symbols or series of 2.0 is one that was labelled wrongly: taken for an empty write it would be acknowledged.
fn check_count(body: &[u8], limits: &ScanLimits) -> Result<(), ScanError> {
    let (mut count, mut metadata, mut of_2_0) = (0, false, false);
    let mut fields = Fields::new(body);
    while let Some((number, value)) = fields.next()? {
        count += u64::from(number == 1);
        metadata |= number == 3;
        of_2_0 |= matches!((number, value), (4 | 5, Value::Bytes(_)));
        if count > limits.max_series {
            return Err(ScanError::TooManySeries {
                limit: limits.max_series,
            });
        }
    }
    match of_2_0 && count == 0 && !metadata {
        true => Err(malformed("it looks like remote write 2.0, and is labelled as 1.0")),
        false => Ok(()),
    }
}

fn read_series<'a>(parts: &mut SeriesParts<'a>, series: &'a [u8]) -> Result<(), ScanError> {
    parts.clear();
    let mut fields = Fields::new(series);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                let (name, value) = label_parts(value.bytes("a label is not a message")?)?;
                parts.add_label(name, value)?;
            }
            2 => read_sample(parts, value.bytes("a sample is not a message")?)?,
            3 => read_exemplar(parts, value.bytes("an exemplar is not a message")?)?,
            4 => parts.add_histogram(value.bytes("a histogram is not a message")?)?,
            _ => {}
        }
    }
    Ok(())
}

fn read_sample(parts: &mut SeriesParts<'_>, sample: &[u8]) -> Result<(), ScanError> {
    let (mut value, mut timestamp) = (0, 0);
    let mut fields = Fields::new(sample);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => value = field.fixed64("a sample's value is not a double")?,
            2 => timestamp = field.varint("a sample's timestamp is not an integer")?,
            _ => {}
        }
    }
    parts.add_sample(value, timestamp);
    Ok(())
}

fn read_exemplar(parts: &mut SeriesParts<'_>, exemplar: &[u8]) -> Result<(), ScanError> {
    let (mut value, mut timestamp) = (0, 0);
    parts.begin_exemplar();
    let mut fields = Fields::new(exemplar);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => {
                let (name, value) = label_parts(field.bytes("an exemplar's label is not a message")?)?;
                parts.add_exemplar_label(name, value);
            }
            2 => value = field.fixed64("an exemplar's value is not a double")?,
            3 => timestamp = field.varint("an exemplar's timestamp is not an integer")?,
            _ => {}
        }
    }
    parts.end_exemplar(value, timestamp);
    Ok(())
}

/// Name and value of a label, the last of each; absent ones are empty.
fn label_parts(label: &[u8]) -> Result<(&[u8], &[u8]), ScanError> {
    let mut parts: (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Fields::new(label);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => parts.0 = field.bytes("a label's name is not a string")?,
            2 => parts.1 = field.bytes("a label's value is not a string")?,
            _ => {}
        }
    }
    Ok(parts)
}
