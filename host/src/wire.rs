//! Remote write on the wire.
//!
//! Takes a compressed body, gives proved series and the bytes to forward. [`snappy`] decodes within bounds, [`measure`]
//! tells how large a body of 2.0 is as one of 1.0, which it becomes, [`scan`](scan()) proves where each series lies,
//! [`frame`] leaves that to be done for those that are not known by their hash, [`encode`] writes the series that are
//! kept or edited and compresses them by what it knows of series, [`labels`](labels::labels) reads and [`encode_labels`](labels::encode_labels) writes one series' labels, [`write_series`] a
//! whole one. Never interprets a sample: its bytes go through as they came.
//!
//! What does not lie where it should is a bug of ours and never an empty word, for that would be acknowledged: whatever
//! is written says [`Torn`], and the write fails with it; what is only read panics, which costs one connection or one
//! job. Nothing on the way of a write stands in for what is not there.
//!
//! From the ground up: `varint`, `fields`; the words, `series`, `text`, `shown` and `identity`; `snappy`; `v1`, which alone knows how a
//! write of 1.0 lies in its bytes; `v2`, which makes one of a write of 2.0; `scan`, the door.

pub mod snappy;

mod fields;
mod identity;
mod scan;
mod series;
mod shown;
mod text;
mod v1;
mod v2;
mod varint;

#[cfg(test)]
mod tests;

pub use identity::{AsIs, BodyHash, HashKey, NoRandomness, ProvedHash, SeriesHash};
pub use scan::{
    Asked, Framed, Met, Proof, Question, Recognised, Refuted, frame, frame_light, frame_measured, measure,
    measure_light, name, scan,
};
pub use series::{InvalidSeries, Patch, Piece, Rejected, ScanError, ScanLimits, Scanned, Series, Torn};
pub use shown::{Shown, shown_whole};
pub use snappy::SnappyError;
pub use text::Foresight;
pub use v1::encode::{EncodeError, encode, encode_before, encode_copied};
pub use v1::tail::first_time;
pub use v1::{labels, metadata, splice, write_series};
pub use v2::Measured;
pub use v2::encode::encode as encode_v2;
pub use v2::extras::{Extra, ExtraTotals, Extras, Metadata};

/// Up to this many bytes, decoding and encoding hold an I/O thread no longer than 500 us.
pub const LIGHT_BYTES: usize = 1 << 20;
/// As many elements of a body are found, and looked up, in about 300 us; twice what Prometheus sends at once.
pub const LIGHT_ELEMENTS: usize = 4096;
