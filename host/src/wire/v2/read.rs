//! Any legal series, read into its parts.
//!
//! Takes the bytes of a series, gives its labels, samples, exemplars and histograms to the parts of which a canonical
//! one is made, and what is said of it besides to its extras. Reads as protobuf prescribes: fields in any order, the last
//! of a repeated scalar wins, messages that come twice are one, unknown fields are skipped. Never decides what is valid.

use std::ops::Range;

use super::extras::Besides;
use super::symbols::{Pairs, Symbols};
use crate::wire::fields::{Fields, malformed};
use crate::wire::series::ScanError;
use crate::wire::v1::{SeriesParts, is_utf8};

/// Reads the series of one body.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) body: &'a [u8],
    pub(super) symbols: &'a Symbols,
}

impl<'a> Reader<'a> {
    pub(super) fn series(
        &self,
        series: &[u8],
        parts: &mut SeriesParts<'a>,
        said: &mut Besides,
    ) -> Result<(), ScanError> {
        parts.clear();
        said.clear();
        let mut pairs = Pairs::default();
        let mut fields = Fields::new(series);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => pairs.take(value, |name, value| {
                    let (name, value) = self.symbols.texts(self.body, name, value)?;
                    parts.add_label(name, value)
                })?,
                2 => read_sample(value.bytes("a sample is not a message")?, parts, said)?,
                3 => read_histogram(value.bytes("a histogram is not a message")?, parts, said)?,
                4 => self.exemplar(value.bytes("an exemplar is not a message")?, parts)?,
                5 => self.metadata(value.bytes("metadata is not a message")?, said)?,
                // 6 was the time of creation, before samples had a start.
                _ => {}
            }
        }
        pairs.end()?;
        self.texts(said)
    }

    fn exemplar(&self, exemplar: &[u8], parts: &mut SeriesParts<'a>) -> Result<(), ScanError> {
        let (mut value, mut timestamp, mut pairs) = (0, 0, Pairs::default());
        parts.begin_exemplar();
        let mut fields = Fields::new(exemplar);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => pairs.take(field, |name, value| {
                    let (name, value) = self.symbols.texts(self.body, name, value)?;
                    parts.add_exemplar_label(name, value);
                    Ok(())
                })?,
                2 => value = field.fixed64("an exemplar's value is not a double")?,
                3 => timestamp = field.varint("an exemplar's timestamp is not an integer")?,
                _ => {}
            }
        }
        pairs.end()?;
        parts.end_exemplar(value, timestamp);
        Ok(())
    }

    /// Of several messages the last word on each thing counts: what it is is looked up when all are read
    /// ([`Reader::texts`]).
    pub(super) fn metadata(&self, metadata: &[u8], said: &mut Besides) -> Result<(), ScanError> {
        let mut fields = Fields::new(metadata);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => said.kind = field.varint("a metric's type is not an integer")? as i32,
                3 => said.help_ref = field.varint("a reference to a help text is not an integer")? as u32,
                4 => said.unit_ref = field.varint("a reference to a unit is not an integer")? as u32,
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn texts(&self, said: &mut Besides) -> Result<(), ScanError> {
        said.help = self.text(said.help_ref)?;
        said.unit = self.text(said.unit_ref)?;
        Ok(())
    }

    fn text(&self, reference: u32) -> Result<Range<u32>, ScanError> {
        let symbol = self.symbols.get(reference)?;
        let text = symbol.text(self.body)?;
        match is_utf8(text) {
            true => Ok(symbol.start..symbol.start + symbol.length),
            false => Err(malformed("a help text or a unit is not UTF-8")),
        }
    }
}

fn read_sample(sample: &[u8], parts: &mut SeriesParts<'_>, said: &mut Besides) -> Result<(), ScanError> {
    let (mut value, mut timestamp, mut start) = (0, 0, 0);
    let mut fields = Fields::new(sample);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => value = field.fixed64("a sample's value is not a double")?,
            2 => timestamp = field.varint("a sample's timestamp is not an integer")?,
            3 => start = field.varint("a sample's start timestamp is not an integer")?,
            _ => {}
        }
    }
    parts.add_sample(value, timestamp);
    said.sample_starts.push(start as i64);
    Ok(())
}

/// It is one of 1.0 with a start timestamp.
fn read_histogram(histogram: &[u8], parts: &mut SeriesParts<'_>, said: &mut Besides) -> Result<(), ScanError> {
    parts.add_histogram(histogram)?;
    let mut start = 0;
    let mut fields = Fields::new(histogram);
    while let Some((number, field)) = fields.next()? {
        if number == 17 {
            start = field.varint("a histogram's start timestamp is not an integer")?;
        }
    }
    said.histogram_starts.push(start as i64);
    Ok(())
}
