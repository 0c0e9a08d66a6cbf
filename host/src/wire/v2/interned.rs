//! The strings of one request, each once.
//!
//! Takes strings, gives the numbers they are referred to by, in the order they first came, and the bytes of the table.
//! The empty string is number 0, as the specification wants it. Memory is about 20 bytes for each different string at the
//! worst, besides the strings. Hashes are keyed, so that no sender can choose strings that meet in one place.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::tags::SYMBOL;
use crate::wire::varint;

#[derive(Default)]
pub(super) struct Interned {
    /// The table as it goes out: `Request.symbols`, one field after the other.
    bytes: Vec<u8>,
    /// By number.
    places: Vec<Place>,
    numbers: HashTable<u32>,
    hasher: RandomState,
}

/// Where a symbol lies in the table, without its tag and length.
#[derive(Clone, Copy)]
struct Place {
    start: u32,
    end: u32,
}

impl Interned {
    /// Forgets all but the empty string.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
        self.numbers.clear();
        self.push(b"");
    }

    pub(super) fn number(&mut self, text: &[u8]) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let hash = self.hasher.hash_one(text);
        let is_same = |&number: &u32| bytes_of(&self.bytes, &self.places, number) == text;
        if let Some(&number) = self.numbers.find(hash, is_same) {
            return number;
        }
        let number = self.push(text);
        let Self {
            bytes,
            places,
            numbers,
            hasher,
        } = self;
        numbers.insert_unique(hash, number, |&number| hasher.hash_one(bytes_of(bytes, places, number)));
        number
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory held.
    pub(super) fn size(&self) -> usize {
        self.bytes.capacity() + self.places.capacity() * size_of::<Place>() + self.numbers.allocation_size()
    }

    fn push(&mut self, text: &[u8]) -> u32 {
        varint::put_bytes(&mut self.bytes, SYMBOL, text);
        let number = self.places.len() as u32;
        let end = self.bytes.len();
        self.places.push(Place {
            start: (end - text.len()) as u32,
            end: end as u32,
        });
        number
    }
}

fn bytes_of<'a>(bytes: &'a [u8], places: &[Place], number: u32) -> &'a [u8] {
    let place = places.get(number as usize);
    place
        .and_then(|place| bytes.get(place.start as usize..place.end as usize))
        .unwrap_or_default()
}
