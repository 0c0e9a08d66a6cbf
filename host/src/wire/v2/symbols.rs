//! The symbols of one body, and the references to them.
//!
//! Takes the bytes of references, gives where the symbols lie that they stand for. What refers to no symbol is an error,
//! never an empty text. Never looks at what a symbol says.

use crate::wire::fields::{Value, malformed};
use crate::wire::series::ScanError;
use crate::wire::v1::is_utf8;
use crate::wire::varint;

/// Most symbols of one write. A write of 100,000 series has some 300,000; sixteen million empty ones fit in 1.5 MiB of
/// snappy, and to know where one lies takes eight bytes.
pub(super) const MAX_COUNT: u64 = 1 << 20;

/// By reference.
#[derive(Debug)]
pub(super) struct Symbols(pub(super) Vec<Symbol>);

/// Where the text of one lies in its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    pub(super) start: u32,
    pub(super) length: u32,
}

impl Symbols {
    #[inline(always)]
    pub(super) fn get(&self, reference: u32) -> Result<Symbol, ScanError> {
        match self.0.get(reference as usize) {
            Some(symbol) => Ok(*symbol),
            None => Err(out_of_range()),
        }
    }

    /// Whether all of them are, which lie one behind another: some receivers refuse a write for one that nothing refers to.
    pub(super) fn are_utf8(&self, body: &[u8]) -> bool {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else {
            return true;
        };
        let all = body.get(first.start as usize..(last.start + last.length) as usize);
        let is_one = |symbol: &Symbol| symbol.text(body).is_ok_and(is_utf8);
        // Tags and lengths between them are, too, if no text is long.
        all.is_some_and(<[u8]>::is_ascii) || self.0.iter().all(is_one)
    }

    /// Name and value of a label.
    #[inline(always)]
    pub(super) fn texts<'a>(&self, body: &'a [u8], name: u32, value: u32) -> Result<(&'a [u8], &'a [u8]), ScanError> {
        Ok((self.get(name)?.text(body)?, self.get(value)?.text(body)?))
    }
}

impl Symbol {
    #[inline(always)]
    pub(super) fn text(self, body: &[u8]) -> Result<&[u8], ScanError> {
        let start = self.start as usize;
        match body.get(start..start + self.length as usize) {
            Some(text) => Ok(text),
            None => Err(ScanError::NotRewritten),
        }
    }

    /// Bytes of a field that holds it: a tag of one byte, its length, its text.
    #[inline(always)]
    pub(super) fn field_length(self) -> u64 {
        match self.length {
            length @ ..0x80 => u64::from(length) + 2,
            length => varint::length(length.into()) as u64 + u64::from(length) + 1,
        }
    }
}

/// Bytes of a label in 1.0, its tag and length included.
#[inline(always)]
pub(super) fn label_length(name: Symbol, value: Symbol) -> u64 {
    match name.field_length() + value.field_length() {
        content @ ..0x80 => content + 2,
        content => varint::length(content) as u64 + content + 1,
    }
}

/// Pairs of references, a name's and a value's, from as many fields as they come in.
#[derive(Default)]
pub(super) struct Pairs {
    name: Option<u32>,
}

impl Pairs {
    /// Takes one field: a packed list, or a single one.
    pub(super) fn take(
        &mut self,
        field: Value<'_>,
        mut pair: impl FnMut(u32, u32) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        match field {
            // An integer of 32 bits is what is left of one of 64.
            Value::Varint(reference) => self.add(reference as u32, &mut pair),
            Value::Bytes(packed) => {
                let mut references = References(packed);
                while let Some(reference) = references.next()? {
                    self.add(reference, &mut pair)?;
                }
                Ok(())
            }
            Value::Fixed64(_) | Value::Other => Err(malformed("references to symbols are not integers")),
        }
    }

    #[inline(always)]
    fn add(
        &mut self,
        reference: u32,
        pair: &mut impl FnMut(u32, u32) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        match self.name.take() {
            Some(name) => pair(name, reference),
            None => {
                self.name = Some(reference);
                Ok(())
            }
        }
    }

    /// That a name has its value.
    pub(super) fn end(self) -> Result<(), ScanError> {
        match self.name {
            Some(_) => Err(odd_number()),
            None => Ok(()),
        }
    }
}

/// A packed list of references.
pub(super) struct References<'a>(pub(super) &'a [u8]);

impl References<'_> {
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<u32>, ScanError> {
        match *self.0 {
            [] => Ok(None),
            [one @ ..0x80, ref rest @ ..] => {
                self.0 = rest;
                Ok(Some(one.into()))
            }
            [low, high @ ..0x80, ref rest @ ..] => {
                self.0 = rest;
                Ok(Some(u32::from(low & 0x7f) | u32::from(high) << 7))
            }
            _ => self.next_long(),
        }
    }

    fn next_long(&mut self) -> Result<Option<u32>, ScanError> {
        let reference = prost::encoding::decode_varint(&mut self.0);
        let reference = reference.map_err(|_| malformed("a reference is cut short or too long"))?;
        Ok(Some(reference as u32))
    }
}

#[cold]
pub(super) fn out_of_range() -> ScanError {
    malformed("a reference is to no symbol")
}

#[cold]
pub(super) fn odd_number() -> ScanError {
    malformed("labels have an odd number of references: one has a name and no value")
}
