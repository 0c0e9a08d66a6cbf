//! Remote write on the wire.
//!
//! Takes a compressed body, gives proved series and the bytes to forward. [`snappy`] decodes within bounds,
//! [`scan`](scan::scan) proves where each series lies, [`splice`] writes the series that are kept or edited, [`encode`]
//! compresses them by what it knows of series, [`labels`](labels::labels) reads and
//! [`encode_labels`](labels::encode_labels) writes one series' labels. Never interprets a sample: its bytes go through as
//! they came.

pub mod encode;
pub mod labels;
pub mod scan;
pub mod snappy;
pub mod splice;

mod buffer;
mod canonical;
mod decode;
mod fields;
mod histogram;
mod rewrite;
mod v1;
mod varint;

#[cfg(test)]
mod tests;

pub use scan::{Framed, InvalidSeries, Limits, Rejected, ScanError, Scanned, Series, frame, scan};
pub use snappy::SnappyError;

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
