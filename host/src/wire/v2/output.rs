//! Where a body of 1.0 is written.
//!
//! Takes labels by their references and bytes, gives one piece of memory that was measured before. A label that was written
//! before is copied from there, as a whole: of twenty references of a series two or three are news. Never grows.

use super::symbols::Symbols;
use crate::wire::series::ScanError;
use crate::wire::v1::tags::{LABEL, NAME, VALUE};
use crate::wire::varint;

/// As many bytes are copied of a label that has no more: what is too much is written over. Nearly all have fewer.
const CHUNK: usize = 32;

pub(super) struct Output {
    bytes: Vec<u8>,
    /// How many of them are written.
    at: usize,
    /// By the reference to a value.
    last: Vec<LastLabel>,
}

/// Where the label with a value was written last.
#[derive(Clone, Copy)]
pub(super) struct LastLabel {
    /// A reference; of nothing yet one that there is not.
    name: u32,
    at: u32,
    length: u32,
}

impl Output {
    /// For so many bytes and symbols.
    pub(super) fn new(length: u64, symbols: &Symbols) -> Self {
        let none = LastLabel {
            name: u32::MAX,
            at: 0,
            length: 0,
        };
        Self {
            bytes: vec![0; length as usize + CHUNK],
            at: 0,
            last: vec![none; symbols.0.len()],
        }
    }

    /// How many bytes are written.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What is written.
    pub(super) fn done(mut self) -> Vec<u8> {
        self.bytes.truncate(self.at);
        self.bytes
    }

    #[inline(always)]
    pub(super) fn put(&mut self, byte: u8) -> Result<(), ScanError> {
        *self.bytes.get_mut(self.at).ok_or(ScanError::NotRewritten)? = byte;
        self.at += 1;
        Ok(())
    }

    #[inline(always)]
    pub(super) fn put_varint(&mut self, mut value: u64) -> Result<(), ScanError> {
        while value >= 0x80 {
            self.put(value as u8 | 0x80)?;
            value >>= 7;
        }
        self.put(value as u8)
    }

    #[inline(always)]
    pub(super) fn put_all(&mut self, bytes: &[u8]) -> Result<(), ScanError> {
        let room = self.bytes.get_mut(self.at..self.at + bytes.len());
        room.ok_or(ScanError::NotRewritten)?.copy_from_slice(bytes);
        self.at += bytes.len();
        Ok(())
    }

    /// The label of these references into `body`.
    #[inline(always)]
    pub(super) fn put_label(&mut self, body: &[u8], symbols: &Symbols, name: u32, value: u32) -> Result<(), ScanError> {
        match self.last.get(value as usize) {
            Some(last) if last.name == name && last.length as usize <= CHUNK => {
                let (at, length) = (last.at as usize, last.length as usize);
                let chunk: Option<&[u8; CHUNK]> = self.bytes.get(at..).and_then(|bytes| bytes.first_chunk());
                let chunk = *chunk.ok_or(ScanError::NotRewritten)?;
                let room = self.bytes.get_mut(self.at..).and_then(|bytes| bytes.first_chunk_mut());
                *room.ok_or(ScanError::NotRewritten)? = chunk;
                self.at += length;
                Ok(())
            }
            _ => self.put_new_label(body, symbols, name, value),
        }
    }

    fn put_new_label(&mut self, body: &[u8], symbols: &Symbols, name: u32, value: u32) -> Result<(), ScanError> {
        let (name_text, value_text) = symbols.texts(body, name, value)?;
        let at = self.at;
        let field = |text: &[u8]| 1 + varint::length(text.len() as u64) + text.len();
        self.put(LABEL)?;
        self.put_varint((field(name_text) + field(value_text)) as u64)?;
        for (tag, text) in [(NAME, name_text), (VALUE, value_text)] {
            self.put(tag)?;
            self.put_varint(text.len() as u64)?;
            self.put_all(text)?;
        }
        if let Some(last) = self.last.get_mut(value as usize) {
            *last = LastLabel {
                name,
                at: at as u32,
                length: (self.at - at) as u32,
            };
        }
        Ok(())
    }
}
