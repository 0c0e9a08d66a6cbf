//! Remote write on the wire.
//!
//! Takes a compressed body, gives proved series and the bytes to forward. [`snappy`] decodes within bounds,
//! [`scan`](scan::scan) proves where each series lies, [`splice`] writes the series that are kept or edited,
//! [`labels`](labels::labels) reads and [`encode_labels`](labels::encode_labels) writes one series' labels. Never
//! interprets a sample: its bytes go through as they came.

pub mod labels;
pub mod scan;
pub mod snappy;
pub mod splice;

mod canonical;
mod fields;
mod histogram;
mod rewrite;
mod v1;
mod varint;

#[cfg(test)]
mod tests;

pub use scan::{InvalidSeries, Limits, Rejected, ScanError, Scanned, Series, scan};
pub use snappy::SnappyError;
