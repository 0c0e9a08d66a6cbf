//! Who gets what of a write.
//!
//! Takes a judged write and the routes of its streams, gives one body for each upstream that gets something: the
//! sender's own bytes where every series was kept and goes to one place, else spliced. The write is gone through once to
//! part it, however many upstreams there are. Never sends anything.

use bytes::Bytes;

use crate::judge::verdict::Fate;
use crate::judge::{Bug, Judged};
use crate::model::Totals;
use crate::route::Routes;
use crate::wire::{self, EncodeError, Piece, Series};

/// What one upstream gets.
#[derive(Debug, Clone)]
pub struct Part {
    /// Index into the tenant's list.
    pub upstream: usize,
    /// A remote-write 1.0 request in snappy's block format.
    pub body: Bytes,
    pub totals: Totals,
}

/// Why a write could not be parted. Neither is the sender's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A bug: every stream of a write is routed before it is parted.
    #[error("stream {0} of the write was not routed")]
    NotRouted(usize),
    #[error(transparent)]
    Edits(#[from] Bug),
}

/// The parts of a write, in the order of the tenant's upstreams.
///
/// # Errors
/// See [`PartError`]. No part goes on then.
pub fn part(judged: &Judged, compressed: &Bytes, routes: &Routes) -> Result<Vec<Part>, PartError> {
    let streams = &judged.tally.streams;
    let targets = routes.targets(|stream| streams.get(stream).is_some_and(|totals| totals.series > 0));
    match targets[..] {
        [upstream] if judged.all_kept() && judged.scanned().is_as_sent() => Ok(vec![Part {
            upstream,
            body: compressed.clone(),
            totals: judged.tally.forwardable(),
        }]),
        // All that goes on goes to one place: nothing to part.
        [upstream] => Ok(vec![spliced(
            judged,
            upstream,
            judged.tally.forwardable(),
            with_fates(judged),
        )?]),
        _ => {
            let shares = shares(judged, routes, &targets)?;
            let parts = targets.into_iter().zip(shares);
            parts
                .map(|(upstream, share)| spliced(judged, upstream, share.totals, share.series.into_iter()))
                .collect()
        }
    }
}

/// What one upstream gets of a write that goes to several.
#[derive(Default)]
struct Share<'j> {
    series: Vec<(&'j Series, Fate)>,
    totals: Totals,
}

/// One share for each of `targets`, which are in order.
fn shares<'j>(judged: &'j Judged, routes: &Routes, targets: &[usize]) -> Result<Vec<Share<'j>>, PartError> {
    let mut shares: Vec<Share<'_>> = targets.iter().map(|_| Share::default()).collect();
    for (series, fate) in with_fates(judged) {
        let stream = match fate {
            Fate::Keep { stream } | Fate::Edit { stream, .. } => usize::from(stream),
            Fate::Drop { .. }
            | Fate::Reject { .. }
            | Fate::OverActiveSeries
            | Fate::OverBudget { .. }
            | Fate::Unknown => continue,
        };
        let upstream = routes.upstream_of(stream).ok_or(PartError::NotRouted(stream))?;
        let share = targets.binary_search(&upstream).ok().and_then(|at| shares.get_mut(at));
        let share = share.ok_or(PartError::NotRouted(stream))?;
        share.series.push((series, fate));
        share.totals += series.totals();
    }
    Ok(shares)
}

fn with_fates(judged: &Judged) -> impl Iterator<Item = (&Series, Fate)> {
    judged.scanned().series().iter().zip(judged.fates().iter().copied())
}

/// Those of `series` that go on.
fn spliced<'j>(
    judged: &'j Judged,
    upstream: usize,
    totals: Totals,
    series: impl Iterator<Item = (&'j Series, Fate)>,
) -> Result<Part, PartError> {
    let scanned = judged.scanned();
    let mut bug = None;
    let pieces = series.filter_map(|(series, fate)| match fate {
        Fate::Keep { .. } => Some(Piece::Keep(series)),
        Fate::Edit { edit, .. } => match judged.edits().get(edit) {
            Ok(patch) => Some(Piece::Edit(series, patch)),
            Err(error) => {
                bug = Some(error);
                None
            }
        },
        Fate::Drop { .. } | Fate::Reject { .. } | Fate::OverActiveSeries | Fate::OverBudget { .. } | Fate::Unknown => {
            None
        }
    });
    let mut body = Vec::new();
    wire::encode(scanned, pieces, judged.edits().put_in(), &mut body)?;
    if let Some(bug) = bug {
        return Err(bug.into());
    }
    Ok(Part {
        upstream,
        body: Bytes::from(body),
        totals,
    })
}
