//! The block format of snappy, within bounds.
//!
//! Takes compressed bytes of any content, gives decoded ones, and back. Never allocates for a length that was
//! declared and not yet believed.

use std::cell::RefCell;

use bytes::Bytes;

mod decode;
pub(super) mod buffer;
pub(super) mod elements;

use buffer::Buffer;

/// A compressed byte stands for at most 64/3 decoded ones (a copy of 64 bytes takes 3), so a body that declares
/// more than this many times its size is lying.
const MAX_RATIO: u64 = 22;

/// The most that so many compressed bytes decode to.
pub const fn most_decoded(compressed: u64) -> u64 {
    compressed.saturating_mul(MAX_RATIO)
}

/// Scratch space of an encoder kept for its thread's next body. Larger bodies are rare enough to pay for theirs.
const KEPT_SCRATCH_BYTES: usize = 2 << 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnappyError {
    /// More than the limit, by the body's own word.
    #[error("the body would decode to {declared} bytes, the limit is {limit}")]
    TooLarge { declared: u64, limit: u64 },
    /// More than the format can express in so few bytes.
    #[error("the body declares {declared} decoded bytes, which {compressed} compressed ones cannot hold")]
    Implausible { declared: u64, compressed: u64 },
    #[error("the body is not snappy in the block format")]
    Malformed,
    /// Only on encoding: the format ends at 4 GiB, less what incompressible bytes need on top.
    #[error("{length} bytes are more than snappy can hold")]
    TooLong { length: u64 },
}

/// The length that `compressed` declares for itself once decoded, in bytes. Nothing is allocated for it.
///
/// # Errors
/// If the declared length is above `max_decoded` bytes or cannot be true.
pub fn decoded_length(compressed: &[u8], max_decoded: u64) -> Result<usize, SnappyError> {
    // The crate takes no bytes for an empty body; the format wants a length even there.
    if compressed.is_empty() {
        return Err(SnappyError::Malformed);
    }
    let declared = snap::raw::decompress_len(compressed).map_err(|_| SnappyError::Malformed)?;
    if declared as u64 > max_decoded {
        return Err(SnappyError::TooLarge {
            declared: declared as u64,
            limit: max_decoded,
        });
    }
    if declared as u64 > most_decoded(compressed.len() as u64) {
        return Err(SnappyError::Implausible {
            declared: declared as u64,
            compressed: compressed.len() as u64,
        });
    }
    Ok(declared)
}

/// The length that a body of which these are the first bytes declares for itself once decoded, if they tell it: nobody has
/// to believe it yet.
pub fn declared_length(first: &[u8]) -> Option<u64> {
    snap::raw::decompress_len(first).ok().map(|length| length as u64)
}

/// Decodes `compressed`, into memory that an earlier body may have used: see [`Buffer`].
///
/// # Errors
/// Those of [`decoded_length`], before anything is allocated, and `Malformed` if the bytes do not decode.
pub fn decode(compressed: &[u8], max_decoded: u64) -> Result<Bytes, SnappyError> {
    let declared = decoded_length(compressed, max_decoded)?;
    let mut buffer = Buffer::take(declared);
    let preamble = compressed.iter().take_while(|&&byte| byte >= 0x80).count() + 1;
    let elements = compressed.get(preamble..).ok_or(SnappyError::Malformed)?;
    if decode::decode(elements, buffer.room_mut()).is_none() {
        by_snap(compressed, buffer.room_mut())?;
    }
    Ok(Bytes::from_owner(buffer))
}

/// Decides about a stream that the fast decoder did not take.
#[cold]
fn by_snap(compressed: &[u8], room: &mut [u8]) -> Result<(), SnappyError> {
    let declared = room.len();
    let written = snap::raw::Decoder::new()
        .decompress(compressed, room)
        .map_err(|_| SnappyError::Malformed)?;
    // The format has no other end than the declared one; whoever decoded less has left another body's bytes behind it.
    if written != declared {
        return Err(SnappyError::Malformed);
    }
    Ok(())
}

/// Encodes `raw` into `out`, replacing what `out` held. Uses its thread's encoder.
///
/// # Errors
/// `TooLong` for bodies of about 3.7 GB and more.
pub fn encode(raw: &[u8], out: &mut Vec<u8>) -> Result<(), SnappyError> {
    struct Encoder {
        snap: snap::raw::Encoder,
        scratch: Vec<u8>,
    }
    thread_local! {
        static ENCODER: RefCell<Encoder> =
            RefCell::new(Encoder { snap: snap::raw::Encoder::new(), scratch: Vec::new() });
    }
    let too_long = || SnappyError::TooLong {
        length: raw.len() as u64,
    };
    let room = match snap::raw::max_compress_len(raw.len()) {
        0 => return Err(too_long()),
        room => room,
    };
    ENCODER.with_borrow_mut(|Encoder { snap, scratch }| {
        if scratch.len() < room {
            scratch.resize(room, 0);
        }
        let written = snap.compress(raw, scratch).map_err(|_| too_long())?;
        out.clear();
        out.extend_from_slice(&scratch[..written]);
        if scratch.len() > KEPT_SCRATCH_BYTES {
            *scratch = Vec::new();
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(raw: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(raw, &mut out).unwrap();
        out
    }

    #[test]
    fn what_was_encoded_comes_back_whatever_the_buffers_held() {
        for size in [0, 1, 59, 60, 61, 65_535, 65_536, 65_537, 3 << 20] {
            let raw: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
            let compressed = encoded(&raw);
            assert_eq!(decode(&compressed, u64::from(size)).unwrap(), raw);
        }
    }

    #[test]
    fn the_decoded_size_may_reach_the_limit_and_not_pass_it() {
        let compressed = encoded(&[1; 1000]);
        assert!(decode(&compressed, 1001).is_ok());
        assert!(decode(&compressed, 1000).is_ok());
        assert_eq!(
            decode(&compressed, 999),
            Err(SnappyError::TooLarge {
                declared: 1000,
                limit: 999
            })
        );
    }

    #[test]
    fn a_length_the_format_cannot_reach_allocates_nothing() {
        // Declares 1 GiB in five bytes.
        let lie = [0x80, 0x80, 0x80, 0x80, 0x04, 0x00];
        let told = Err(SnappyError::Implausible {
            declared: 1 << 30,
            compressed: 6,
        });
        assert_eq!(decoded_length(&lie, u64::MAX).map(drop), told);
        assert_eq!(decode(&lie, u64::MAX).map(drop), told);
    }

    #[test]
    fn the_ratio_bound_is_22_and_inclusive() {
        // Two bytes that declare 44 and 45: the first is believed and then found to hold nothing.
        assert_eq!(decode(&[44, 0], 1000), Err(SnappyError::Malformed));
        let told = Err(SnappyError::Implausible {
            declared: 45,
            compressed: 2,
        });
        assert_eq!(decode(&[45, 0], 1000), told);
    }

    #[test]
    fn the_most_compressible_body_is_not_taken_for_a_lie() {
        let raw = vec![0; 32 << 20];
        assert_eq!(decode(&encoded(&raw), 32 << 20).map(|body| body.len()), Ok(raw.len()));
    }

    #[test]
    fn bytes_that_are_no_snappy_are_refused() {
        assert_eq!(decode(&[], 1000), Err(SnappyError::Malformed));
        assert_eq!(decode(&[0xff; 20], 1000), Err(SnappyError::Malformed));
        // The framed format opens with a chunk that says so.
        let framed = [b"\xff\x06\x00\x00sNaPpY".as_slice(), &[0; 40]].concat();
        assert!(decode(&framed, 1 << 20).is_err());
        let whole = encoded(&[3; 100]);
        assert_eq!(decode(&whole[..whole.len() - 1], 1000), Err(SnappyError::Malformed));
    }

    #[test]
    fn an_empty_body_is_one_byte() {
        assert_eq!(decode(&[0], 0), Ok(Bytes::new()));
    }
}
