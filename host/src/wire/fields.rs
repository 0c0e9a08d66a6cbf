//! Any legal protobuf message, field by field.
//!
//! Takes the bytes of a message, gives its fields in the order they stand. Keys, varints, groups and unknown fields
//! are read by prost, so that this reads what any protobuf library reads. Never allocates.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::series::ScanError;

pub(super) enum Value<'a> {
    Varint(u64),
    /// The bits, little-endian on the wire.
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// Four bytes, or a group: no known field has this wire type.
    Other,
}

impl<'a> Value<'a> {
    pub(super) fn bytes(self, what: &'static str) -> Result<&'a [u8], ScanError> {
        if let Self::Bytes(bytes) = self {
            Ok(bytes)
        } else {
            Err(ScanError::Malformed { what })
        }
    }

    pub(super) fn fixed64(self, what: &'static str) -> Result<u64, ScanError> {
        if let Self::Fixed64(bits) = self {
            Ok(bits)
        } else {
            Err(ScanError::Malformed { what })
        }
    }

    pub(super) fn varint(self, what: &'static str) -> Result<u64, ScanError> {
        if let Self::Varint(value) = self {
            Ok(value)
        } else {
            Err(ScanError::Malformed { what })
        }
    }
}

pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Bytes that were not read yet.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next field: its number and value. None at the end of the message.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, ScanError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.key()?;
        let value = match wire_type {
            WireType::Varint => Value::Varint(self.varint()?),
            WireType::SixtyFourBit => {
                let (bits, rest) = self.rest.split_first_chunk().ok_or(malformed(CUT_SHORT))?;
                self.rest = rest;
                Value::Fixed64(u64::from_le_bytes(*bits))
            }
            WireType::LengthDelimited => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(malformed(CUT_SHORT))?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            WireType::StartGroup | WireType::EndGroup | WireType::ThirtyTwoBit => {
                skip_field(wire_type, number, &mut self.rest, DecodeContext::default())
                    .map_err(|_| malformed("an unknown field cannot be skipped"))?;
                Value::Other
            }
        };
        Ok(Some((number, value)))
    }

    #[inline(always)]
    fn key(&mut self) -> Result<(u32, WireType), ScanError> {
        // Known fields have keys of one byte; prost's general case costs several times as much.
        if let [key @ 0x08..0x80, rest @ ..] = self.rest
            && let Ok(wire_type) = WireType::try_from(u64::from(key & 7))
        {
            self.rest = rest;
            return Ok((u32::from(key >> 3), wire_type));
        }
        decode_key(&mut self.rest).map_err(|_| malformed("a field has no valid key"))
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, ScanError> {
        if let [value @ ..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*value));
        }
        decode_varint(&mut self.rest).map_err(|_| malformed("a varint is cut short or too long"))
    }
}

const CUT_SHORT: &str = "a field is cut short";

pub(super) fn malformed(what: &'static str) -> ScanError {
    ScanError::Malformed { what }
}
