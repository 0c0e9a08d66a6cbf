//! Remote write 2.0: the only place that knows its bytes.
//!
//! Takes a decoded body of any content, gives the same write as a canonical body of 1.0, with each series proved or where
//! it seems to lie. So all that comes after has one shape to know, and a series has the same hash whichever way it came.
//! What 1.0 has no place for is beside it, in [`extras`]. Never takes memory for what references stand for before it is
//! known how much that is: a reference of one byte may name a symbol of a mebibyte.

use bytes::Bytes;

pub mod encode;
pub mod extras;

mod at_once;
mod canonical;
mod interned;
mod known;
mod measure;
mod measured;
mod named;
mod output;
mod read;
mod rests;
mod room;
mod short;
mod symbols;
mod tags;
mod transcode;
mod usual;
mod whole;

pub use measured::Measured;

use super::identity::SeriesHash;
use super::series::{ScanError, ScanLimits, Scanned};
use measured::measured;

pub(super) use measured::name;

/// Finds out how large `body` is as 1.0.
pub(super) fn measure(body: Bytes, limits: &ScanLimits) -> Result<Measured, ScanError> {
    // Whatever it is, it is not too much.
    measured(body, limits, false)?.ok_or(ScanError::NotRewritten)
}

/// As [`measure()`]. None where to do so, or to frame it then, is more than light work.
pub(super) fn measure_light(body: &Bytes, limits: &ScanLimits) -> Result<Option<Measured>, ScanError> {
    measured(body.clone(), limits, true)
}

/// The series, those of usual ones with labels taken for what they seem to be, and what they are called, if that is known.
pub(super) fn frame(measured: Measured) -> Result<(Scanned, Option<Vec<SeriesHash>>), ScanError> {
    measured.frame()
}

/// Writes the series out and proves every one.
pub(super) fn scan(body: Bytes, limits: &ScanLimits) -> Result<Scanned, ScanError> {
    measure(body, limits)?.prove()
}
