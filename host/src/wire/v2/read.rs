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
        pairs.end()
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

    /// Looks up the help text and the unit.
    pub(super) fn texts(&self, said: &mut Besides, proved: &mut ProvedTexts) -> Result<(), ScanError> {
        said.help = self.text(said.help_ref, proved)?;
        said.unit = self.text(said.unit_ref, proved)?;
        Ok(())
    }

    fn text(&self, reference: u32, proved: &mut ProvedTexts) -> Result<Range<u32>, ScanError> {
        let symbol = self.symbols.get(reference)?;
        if symbol.length > 0 && !proved.has(reference, self.symbols) {
            if !is_utf8(symbol.text(self.body)?) {
                return Err(malformed("a help text or a unit is not UTF-8"));
            }
            proved.add(reference);
        }
        Ok(symbol.start..symbol.start + symbol.length)
    }
}

/// Which symbols were proved to be UTF-8: every series may refer to the same one, which may be of megabytes.
#[derive(Default)]
pub(super) struct ProvedTexts(Vec<bool>);

impl ProvedTexts {
    /// Bytes of memory, for these symbols.
    pub(super) fn size(symbols: &Symbols) -> usize {
        symbols.0.len()
    }

    fn has(&mut self, reference: u32, symbols: &Symbols) -> bool {
        if self.0.is_empty() {
            self.0 = vec![false; symbols.0.len()];
        }
        self.0.get(reference as usize) == Some(&true)
    }

    fn add(&mut self, reference: u32) {
        if let Some(is_proved) = self.0.get_mut(reference as usize) {
            *is_proved = true;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v2::symbols::Symbol;

    #[test]
    fn a_text_is_proved_once_however_many_series_refer_to_it() {
        let symbols = Symbols(vec![Symbol { start: 0, length: 0 }, Symbol { start: 0, length: 2 }]);
        let (mut said, mut proved) = (Besides::default(), ProvedTexts::default());
        said.help_ref = 1;
        let mut read = |body: &[u8]| {
            let reader = Reader {
                body,
                symbols: &symbols,
            };
            reader.texts(&mut said, &mut proved)
        };
        assert!(read(b"\xc3\xc3").is_err());
        assert_eq!(read("é".as_bytes()), Ok(()));
        // Nobody looks again: of the body of one write it would be the same.
        assert_eq!(read(b"\xc3\xc3"), Ok(()));
    }
}
