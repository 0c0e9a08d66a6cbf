//! Remote write on the wire.
//!
//! Takes a compressed body, gives proved series and the bytes to forward. [`snappy`] decodes within bounds, [`scan`](scan())
//! proves where each series lies, [`frame`] leaves that to be done for those that are not known by their hash,
//! [`encode`] writes the series that are kept or edited and compresses them by what it knows of series,
//! [`labels`](labels::labels) reads and [`encode_labels`](labels::encode_labels) writes one series' labels, [`write_series`] a
//! whole one. Never interprets a sample: its bytes go through as they came.
//!
//! What does not lie where it should is a bug of ours and never an empty word, for that would be acknowledged: whatever
//! is written says [`Torn`], and the write fails with it; what is only read panics, which costs one connection or one
//! job. Nothing on the way of a write stands in for what is not there.
//!
//! From the ground up: `varint`, `fields`; the words, `series`, `shown` and `identity`; `snappy`; `v1`, which alone knows how a
//! write lies in its bytes; `scan`, the door.

pub mod snappy;

mod fields;
mod identity;
mod scan;
mod series;
mod shown;
mod v1;
mod varint;

#[cfg(test)]
mod tests;

pub use identity::{AsIs, HashKey, NoRandomness, ProvedHash, SeriesHash};
pub use scan::{Asked, Framed, Met, Proof, Question, Recognised, frame, scan};
pub use series::{InvalidSeries, Patch, Piece, Rejected, ScanError, ScanLimits, Scanned, Series, Torn};
pub use shown::{Shown, shown_whole};
pub use snappy::SnappyError;
pub use v1::encode::{EncodeError, encode};
pub use v1::{labels, splice, write_series};

/// Above this many bytes, decoding, proving and encoding would hold an I/O thread longer than 500 us.
const HEAVY_BYTES: usize = 1 << 20;

/// Runs `work` on a body of `bytes` where it may take longer than an I/O thread can spare. Only for threads of a runtime
/// that has several.
pub fn heavy<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes < HEAVY_BYTES {
        work()
    } else {
        tokio::task::block_in_place(work)
    }
}
