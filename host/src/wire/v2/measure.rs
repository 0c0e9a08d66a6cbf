//! How large a write is once its symbols stand where they are referred to.
//!
//! Takes a decoded body, finds its symbols wherever they lie and follows every reference, gives a number of bytes before
//! any of them is taken. So what is too large is refused for nothing, and the memory for what is not is asked for first.
//! Never looks at what a symbol says.

use super::output::Output;
use super::symbols::{MAX_COUNT, Pairs, Symbol, Symbols, label_length};
use super::usual::Usual;
use crate::wire::fields::{Fields, Value, malformed};
use crate::wire::series::{ScanError, ScanLimits, Series};
use crate::wire::v1::{is_usual_content, most_written};
use crate::wire::{LIGHT_ELEMENTS, varint};

/// Up to so many symbols are found, and so many references followed twice, in about 100 us each. A usual write of 2000
/// series has 3,000 and 40,000.
pub(super) const LIGHT_SYMBOLS: u64 = 4 * LIGHT_ELEMENTS as u64;
pub(super) const LIGHT_REFERENCES: u64 = 16 * LIGHT_ELEMENTS as u64;
/// Up to so many bytes of 1.0 are written out in some 200 us: pieces of labels are copied, which is less than decoding them.
pub(super) const LIGHT_WRITTEN: u64 = 2 << 20;

/// What is kept of a series' metadata, and of the start of each of its samples (`extras`), where room grows by doubling.
const METADATA_BYTES: u64 = 96;
const START_BYTES: u64 = 16;
/// A series that is read to its parts stands there a second and a third time until it is written, in room that grows by
/// doubling.
const PARTS: u64 = 2 * 2;

/// Labels, a sample and metadata.
const USUAL_FIELDS: u64 = 3;

/// What it takes to write out a body.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) symbols: Symbols,
    pub(super) series: u64,
    /// Bytes of all of them as 1.0, at most.
    pub(super) written: u64,
    /// What is kept besides, and what the largest series takes while it is read, at most.
    beside: u64,
    references: u64,
    /// It has nothing but symbols, and series behind them, each in its shortest form but for its content.
    pub(super) is_canonical: bool,
    pub(super) is_light: bool,
}

impl Sizes {
    /// Bytes of memory that it takes besides the decoded body, at most.
    pub(super) fn size(&self) -> u64 {
        let series = self.series * size_of::<Series>() as u64;
        Output::size(self.written, self.labels(), self.references, &self.symbols) + self.beside + series
    }

    /// As many as usual series have, with their ends.
    pub(super) fn labels(&self) -> usize {
        (self.references / 2 + self.series + 1) as usize
    }
}

/// Measures `body`. None only if `only_light`, and it turns out to be more.
///
/// # Errors
/// `Malformed`, `TooManySeries`, `TooManySymbols`, `WrittenTooLarge`, `TooLong`.
pub(super) fn sizes(body: &[u8], limits: &ScanLimits, only_light: bool) -> Result<Option<Sizes>, ScanError> {
    let Some(contents) = Contents::of(body, limits, only_light)? else {
        return Ok(None);
    };
    let mut measuring = Measuring::of(&contents.symbols);
    let mut written = 0;
    let mut is_light = contents.is_light();
    let mut fields = Fields::new(body);
    while let Some((number, value)) = fields.next()? {
        if number != 5 {
            continue;
        }
        let content = measuring.series(value.bytes("a series is not a message")?)?;
        written += 1 + varint::length(content) as u64 + content;
        check(written, limits)?;
        is_light &= measuring.is_light() && written < LIGHT_WRITTEN;
        if only_light && !is_light {
            return Ok(None);
        }
    }
    let (beside, references) = (measuring.beside(), measuring.references);
    let is_canonical = contents.shortest == Some(body.len() as u64);
    Ok(Some(Sizes {
        series: contents.series,
        symbols: contents.symbols,
        written,
        beside,
        references,
        is_canonical,
        is_light,
    }))
}

/// Offsets are 32 bits wide, whatever the limit is.
fn check(written: u64, limits: &ScanLimits) -> Result<(), ScanError> {
    let limit = limits.max_decoded_size;
    match written {
        _ if written > limit => Err(ScanError::WrittenTooLarge { limit }),
        _ if u32::try_from(written).is_err() => Err(ScanError::TooLong { length: written }),
        _ => Ok(()),
    }
}

/// What a request has.
struct Contents {
    symbols: Symbols,
    series: u64,
    is_plain: bool,
    /// Bytes of the shortest form of its fields so far, if symbols came first.
    shortest: Option<u64>,
}

impl Contents {
    fn of(body: &[u8], limits: &ScanLimits, only_light: bool) -> Result<Option<Self>, ScanError> {
        let mut contents = Self {
            symbols: Symbols(Vec::new()),
            series: 0,
            is_plain: true,
            shortest: Some(0),
        };
        let mut fields = Fields::new(body);
        while let Some((number, value)) = fields.next()? {
            match number {
                4 => contents.symbol(value, body.len() - fields.left())?,
                5 => {
                    let length = value.bytes("a series is not a message")?.len();
                    contents.shortest = contents.shortest.map(|sum| sum + field_length(length as u64));
                    contents.series += 1;
                    if contents.series > limits.max_series {
                        let limit = limits.max_series;
                        return Err(ScanError::TooManySeries { limit });
                    }
                }
                // Also so that a body of such fields alone, of two bytes each, is not light.
                _ => contents.is_plain = false,
            }
            if only_light && !contents.is_light() {
                return Ok(None);
            }
        }
        contents.check_symbols()?;
        Ok(Some(contents))
    }

    fn symbol(&mut self, value: Value<'_>, end: usize) -> Result<(), ScanError> {
        let length = value.bytes("a symbol is not a string")?.len();
        if self.symbols.0.len() as u64 >= MAX_COUNT {
            return Err(ScanError::TooManySymbols { limit: MAX_COUNT });
        }
        // Some receivers read a series as soon as they meet it.
        let is_first = self.series == 0;
        self.shortest = self
            .shortest
            .filter(|_| is_first)
            .map(|sum| sum + field_length(length as u64));
        self.symbols.0.push(Symbol {
            start: (end - length) as u32,
            length: length as u32,
        });
        Ok(())
    }

    /// That there is an empty one, and first ("symbols array MUST start with empty string"). A body of another kind has
    /// none, and is not to pass for an empty write.
    fn check_symbols(&self) -> Result<(), ScanError> {
        match self.symbols.0.first() {
            None => Err(malformed(
                "it has no symbols, of which the first has to be the empty string",
            )),
            Some(first) if first.length > 0 => Err(malformed("its first symbol is not the empty string")),
            Some(_) => Ok(()),
        }
    }

    fn is_light(&self) -> bool {
        self.is_plain && self.symbols.0.len() as u64 <= LIGHT_SYMBOLS && self.series <= LIGHT_ELEMENTS as u64
    }
}

pub(super) struct Measuring<'s> {
    symbols: &'s Symbols,
    pub(super) references: u64,
    /// All that is in series besides what usual ones have.
    parts: u64,
    kept: u64,
    /// What the largest series takes while it is read to its parts.
    reading: u64,
}

impl<'s> Measuring<'s> {
    pub(super) fn of(symbols: &'s Symbols) -> Self {
        Self {
            symbols,
            references: 0,
            parts: 0,
            kept: 0,
            reading: 0,
        }
    }

    /// Bytes of memory besides those of the labels and the body.
    pub(super) fn beside(&self) -> u64 {
        self.kept + self.reading
    }

    pub(super) fn is_light(&self) -> bool {
        self.references <= LIGHT_REFERENCES && self.parts <= LIGHT_ELEMENTS as u64
    }

    /// A usual one, which was written out.
    #[inline(always)]
    pub(super) fn usual(&mut self, references: u64, samples: u32, says_something: bool) {
        self.references += references;
        // Its labels and its metadata are the others.
        self.parts += u64::from(samples.saturating_sub(1));
        // There may be one start.
        self.kept += if says_something {
            METADATA_BYTES + START_BYTES
        } else {
            0
        };
    }

    /// Bytes of its content as 1.0, at most.
    pub(super) fn series(&mut self, series: &[u8]) -> Result<u64, ScanError> {
        let (mut labels, mut pairs) = (0, Pairs::default());
        let references = self.references;
        let (mut rest, mut samples, mut may_have_starts) = (0, 0, false);
        let mut count = 0;
        let mut fields = Fields::new(series);
        while let Some((number, value)) = fields.next()? {
            count += 1;
            match number {
                1 => self.labels(&mut pairs, value, &mut labels)?,
                2 => {
                    let sample = value.bytes("a sample is not a message")?;
                    rest += field_length(sample.len() as u64);
                    samples += 1;
                    may_have_starts |= !is_usual_content(sample);
                }
                3 => {
                    let length = value.bytes("a histogram is not a message")?.len();
                    rest += field_length(most_written(length) as u64);
                    samples += 1;
                    may_have_starts = true;
                    self.parts += 1;
                }
                4 => rest += self.exemplar(value.bytes("an exemplar is not a message")?)?,
                5 => {
                    let says_something = !value.bytes("metadata is not a message")?.is_empty();
                    self.kept += if says_something { METADATA_BYTES } else { 0 };
                }
                _ => {}
            }
        }
        pairs.end()?;
        self.parts += u64::saturating_sub(count, USUAL_FIELDS);
        if Usual::of(series).is_none() {
            // Each of its labels is looked at, sorted perhaps and written by itself, which takes as long as a usual series.
            self.parts += (self.references - references) / 2;
        }
        self.kept += if may_have_starts {
            METADATA_BYTES + START_BYTES * samples
        } else {
            0
        };
        self.reading = self.reading.max(PARTS * (labels + rest) + START_BYTES * samples);
        Ok(labels + rest)
    }

    fn exemplar(&mut self, exemplar: &[u8]) -> Result<u64, ScanError> {
        let (mut labels, mut pairs) = (0, Pairs::default());
        self.parts += 1;
        let mut fields = Fields::new(exemplar);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => self.labels(&mut pairs, value, &mut labels)?,
                _ => self.parts += 1,
            }
        }
        pairs.end()?;
        // Value and time take no more than they did.
        Ok(field_length(labels + exemplar.len() as u64))
    }

    #[inline(always)]
    fn labels(&mut self, pairs: &mut Pairs, field: Value<'_>, length: &mut u64) -> Result<(), ScanError> {
        let mut count = 0;
        pairs.take(field, |name, value| {
            count += 2;
            *length += label_length(self.symbols.get(name)?, self.symbols.get(value)?);
            Ok(())
        })?;
        self.references += count;
        Ok(())
    }
}

/// Bytes of a field with so long a content and a tag of one byte.
fn field_length(content: u64) -> u64 {
    1 + varint::length(content) as u64 + content
}
