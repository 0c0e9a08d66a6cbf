//! The bytes that go on.
//!
//! Takes a scanned body and what was decided for its series, gives the body to forward and where each series lies in
//! it: kept series as they stand, edited ones with other labels before the samples they came with. Never touches a
//! sample.

use std::ops::Range;

use super::canonical::SERIES;
use super::scan::{Scanned, Series};
use super::varint;

/// What becomes of a series that goes on. Those that do not are left out.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    Keep(&'a Series),
    /// With these label bytes ([`encode_labels`](super::labels::encode_labels)) in place of its own.
    Edit(&'a Series, &'a [u8]),
}

/// Where one series lies in what was spliced. It starts where the one before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub labels: u32,
    /// Samples, exemplars and histograms.
    pub tail: u32,
    pub end: u32,
}

/// Appends `pieces`, all of them series of `scanned`, and to `extents` where they lie: right for what ends before 4 GiB.
/// Neighbours that are both kept are copied at once.
pub fn splice<'a>(
    out: &mut Vec<u8>,
    extents: &mut Vec<Extent>,
    scanned: &Scanned,
    pieces: impl IntoIterator<Item = Piece<'a>>,
) {
    let mut run = 0..0;
    for piece in pieces {
        match piece {
            Piece::Keep(series) => {
                if series.range().start == run.end {
                    run.end = series.range().end;
                } else {
                    copy(out, scanned, std::mem::replace(&mut run, series.range()));
                }
                let moved = |at: u32| at.wrapping_sub(run.start as u32).wrapping_add(out.len() as u32);
                extents.push(Extent {
                    labels: moved(series.labels_start),
                    tail: moved(series.labels_end),
                    end: moved(series.end),
                });
            }
            Piece::Edit(series, label_bytes) => {
                copy(out, scanned, std::mem::replace(&mut run, 0..0));
                edit(out, scanned, series, label_bytes);
                let tail = (out.len() - series.tail_range().len()) as u32;
                extents.push(Extent {
                    labels: tail.wrapping_sub(label_bytes.len() as u32),
                    tail,
                    end: out.len() as u32,
                });
            }
        }
    }
    copy(out, scanned, run);
}

/// Appends one series as it stands.
pub fn keep(out: &mut Vec<u8>, scanned: &Scanned, series: &Series) {
    copy(out, scanned, series.range());
}

/// Appends one series with `label_bytes` in place of its own labels.
pub fn edit(out: &mut Vec<u8>, scanned: &Scanned, series: &Series, label_bytes: &[u8]) {
    let tail = scanned.body().get(series.tail_range()).unwrap_or_default();
    out.push(SERIES);
    varint::put(out, (label_bytes.len() + tail.len()) as u64);
    out.extend_from_slice(label_bytes);
    out.extend_from_slice(tail);
}

fn copy(out: &mut Vec<u8>, scanned: &Scanned, range: Range<usize>) {
    out.extend_from_slice(scanned.body().get(range).unwrap_or_default());
}
