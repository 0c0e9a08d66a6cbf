//! The bytes that go on.
//!
//! Takes a scanned body and what was decided for its series, gives the body to forward and where each series lies in
//! it: kept series as they stand, edited ones with other labels before the samples they came with. Never touches a
//! sample.

use std::ops::Range;

use super::tags::SERIES;
use crate::wire::series::{Patch, Piece, Scanned, Series, Torn};
use crate::wire::varint;

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
///
/// # Errors
/// If a piece is of another write and does not fit into this one. `out` holds a part of the pieces then.
pub fn splice<'a>(
    out: &mut Vec<u8>,
    extents: &mut Vec<Extent>,
    scanned: &Scanned,
    pieces: impl IntoIterator<Item = Piece<'a>>,
) -> Result<(), Torn> {
    let mut run = 0..0;
    for piece in pieces {
        match piece {
            Piece::Keep(series) => {
                if series.range().start == run.end {
                    run.end = series.range().end;
                } else {
                    copy(out, scanned, std::mem::replace(&mut run, series.range()))?;
                }
                let moved = |at: u32| at.wrapping_sub(run.start as u32).wrapping_add(out.len() as u32);
                extents.push(Extent {
                    labels: moved(series.labels_start),
                    tail: moved(series.labels_end),
                    end: moved(series.end),
                });
            }
            Piece::Edit(series, patch) => {
                copy(out, scanned, std::mem::replace(&mut run, 0..0))?;
                edit(out, scanned, series, &patch)?;
                let tail = (out.len() - series.tail_range().len()) as u32;
                extents.push(Extent {
                    labels: tail.wrapping_sub(patch.length() as u32),
                    tail,
                    end: out.len() as u32,
                });
            }
        }
    }
    copy(out, scanned, run)
}

/// The label bytes that a piece goes on with: those that were sent, or an edit's, put together in `whole`.
///
/// # Errors
/// If it is of another write and does not fit into this one.
pub fn label_bytes<'a>(scanned: &'a Scanned, piece: &Piece<'_>, whole: &'a mut Vec<u8>) -> Result<&'a [u8], Torn> {
    let sent = scanned.body().get(piece.series().labels_range()).ok_or(Torn)?;
    let Piece::Edit(_, patch) = piece else {
        return Ok(sent);
    };
    let (rest, last) = sent
        .len()
        .checked_sub(patch.last.into())
        .and_then(|rest| sent.split_at_checked(rest))
        .ok_or(Torn)?;
    whole.clear();
    whole.extend_from_slice(rest.get(..patch.first.into()).ok_or(Torn)?);
    whole.extend_from_slice(patch.middle);
    whole.extend_from_slice(last);
    Ok(whole)
}

/// Appends one series as it stands.
///
/// # Errors
/// If it is of another write and does not fit into this one.
pub fn keep(out: &mut Vec<u8>, scanned: &Scanned, series: &Series) -> Result<(), Torn> {
    copy(out, scanned, series.range())
}

/// Appends one series with the labels of `patch` in place of its own.
///
/// # Errors
/// If it is of another write and does not fit into this one, or has fewer label bytes than the patch takes of them.
pub fn edit(out: &mut Vec<u8>, scanned: &Scanned, series: &Series, patch: &Patch<'_>) -> Result<(), Torn> {
    let sent = series.labels_range();
    // The samples lie behind the labels.
    let bytes = scanned.body().get(sent.start..series.range().end).ok_or(Torn)?;
    let rest = sent.len().checked_sub(patch.last.into()).ok_or(Torn)?;
    let (labels, rest) = bytes.split_at_checked(rest).ok_or(Torn)?;
    let first = labels.get(..patch.first.into()).ok_or(Torn)?;
    out.push(SERIES);
    varint::put(out, (first.len() + patch.middle.len() + rest.len()) as u64);
    out.extend_from_slice(first);
    out.extend_from_slice(patch.middle);
    out.extend_from_slice(rest);
    Ok(())
}

fn copy(out: &mut Vec<u8>, scanned: &Scanned, range: Range<usize>) -> Result<(), Torn> {
    out.extend_from_slice(scanned.body().get(range).ok_or(Torn)?);
    Ok(())
}
