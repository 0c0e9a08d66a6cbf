//! Remote write 1.0: the only place that knows its bytes.
//!
//! Takes a decoded body of any content, gives its series proved, or where they seem to lie. A canonical body is taken
//! as it is, by a walk that allocates nothing per series; any other legal protobuf is written anew in canonical form
//! first and then walked the same way, so that what later stages and receivers read cannot differ from what was judged.
//! Never interprets a float sample.

use bytes::Bytes;

pub mod encode;
pub mod labels;
pub mod metadata;
pub mod tail;
pub mod splice;

mod canonical;
mod copied;
mod histogram;
mod message;
mod parts;
mod places;
mod resolution;
mod rewrite;
pub(super) mod tags;
mod write;

pub(super) use canonical::{USUAL_SAMPLE, is_usual_content, usual_length};
pub(super) use histogram::most_written;
pub(super) use parts::{SeriesParts, is_utf8};
pub use write::write_series;

use super::series::{ScanError, ScanLimits, Scanned, Series, Walked};
use crate::model::Protocol;

/// Finds the series of `body`: each proved here and now, or, if it ends in plain samples, with what lies before them
/// taken for its labels.
pub(super) fn frame(body: Bytes, limits: &ScanLimits) -> Result<Scanned, ScanError> {
    find(body, limits, canonical::Labels::Seem)
}

/// As [`frame`]. None where the body is not canonical or has more than `most` elements.
pub(super) fn frame_within(body: &Bytes, limits: &ScanLimits, most: u64) -> Result<Option<Scanned>, ScanError> {
    let found = walk(body, limits, canonical::Labels::Seem, most)?;
    Ok(found.map(|found| Scanned::as_found(Protocol::V1, body.clone(), found)))
}

/// Proves every series of `body`.
pub(super) fn scan(body: Bytes, limits: &ScanLimits) -> Result<Scanned, ScanError> {
    find(body, limits, canonical::Labels::Proved)
}

/// Whether the labels of a series that was only framed are what they seem to be.
pub(super) fn proves_labels(body: &[u8], series: &Series) -> bool {
    let labels = series.labels_range();
    let found = body
        .get(..series.range().end)
        .and_then(|body| canonical::walk_labels(body, labels.start));
    found == Some(labels.end)
}

fn find(body: Bytes, limits: &ScanLimits, labels: canonical::Labels) -> Result<Scanned, ScanError> {
    match walk(&body, limits, labels, u64::MAX)? {
        Some(found) => Ok(Scanned::as_found(Protocol::V1, body, found)),
        None => rewritten(&body, limits),
    }
}

/// Proves what was written here.
///
/// # Errors
/// `NotRewritten` where it is not canonical.
pub(super) fn prove(written: &[u8], limits: &ScanLimits) -> Result<Walked, ScanError> {
    walk(written, limits, canonical::Labels::Proved, u64::MAX)?.ok_or(ScanError::NotRewritten)
}

/// The same write in canonical form.
fn rewritten(body: &[u8], limits: &ScanLimits) -> Result<Scanned, ScanError> {
    let rewritten = rewrite::rewrite(body, limits)?;
    let mut found = prove(&rewritten.body, limits)?;
    found.rejected.merge(rewritten.rejected);
    Ok(Scanned::rewritten(Protocol::V1, rewritten.body.into(), found))
}

fn walk(body: &[u8], limits: &ScanLimits, labels: canonical::Labels, most: u64) -> Result<Option<Walked>, ScanError> {
    if u32::try_from(body.len()).is_err() {
        return Err(ScanError::TooLong {
            length: body.len() as u64,
        });
    }
    canonical::walk(body, limits, labels, most)
}
