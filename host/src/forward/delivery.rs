//! Who gets what of a write.
//!
//! Takes a judged write and the routes of its streams, gives one body for each upstream that gets something: the
//! sender's own bytes where every series was kept and goes to one place, else spliced. The write is gone through once to
//! part it, however many upstreams there are. Never sends anything.

use bytes::Bytes;

use crate::judge::Judged;
use crate::judge::verdict::Fate;
use crate::model::Totals;
use crate::route::Routes;
use crate::wire::snappy::SnappyError;
use crate::wire::splice::Piece;
use crate::wire::{self, heavy};

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
    Encode(#[from] SnappyError),
    /// A bug: every stream of a write is routed before it is parted.
    #[error("stream {0} of the write was not routed")]
    NotRouted(usize),
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
        [upstream] => {
            let places = 0..judged.fates().len();
            let totals = judged.tally.forwardable();
            Ok(vec![spliced(judged, upstream, totals, places)?])
        }
        _ => {
            let shares = shares(judged, routes, &targets)?;
            let with_share = targets.into_iter().zip(shares);
            with_share
                .map(|(upstream, share)| {
                    let places = share.places.iter().map(|place| *place as usize);
                    spliced(judged, upstream, share.totals, places)
                })
                .collect()
        }
    }
}

/// The series of one upstream by their places in the write: a write of more than 2^32 series is longer than any body.
#[derive(Default)]
struct Share {
    places: Vec<u32>,
    totals: Totals,
}

/// One share for each of `targets`, which are in order.
fn shares(judged: &Judged, routes: &Routes, targets: &[usize]) -> Result<Vec<Share>, PartError> {
    let mut shares: Vec<Share> = targets.iter().map(|_| Share::default()).collect();
    let series = judged.scanned().series().iter().zip(judged.fates());
    for (place, (series, fate)) in series.enumerate() {
        let stream = match *fate {
            Fate::Keep { stream } | Fate::Edit { stream, .. } => usize::from(stream),
            Fate::Drop { .. } | Fate::Reject { .. } | Fate::OverActiveSeries | Fate::Unknown => continue,
        };
        let upstream = routes.upstream_of(stream).ok_or(PartError::NotRouted(stream))?;
        let at = targets.binary_search(&upstream);
        let share = at.ok().and_then(|at| shares.get_mut(at));
        let share = share.ok_or(PartError::NotRouted(stream))?;
        share.places.push(place as u32);
        share.totals += series.totals();
    }
    Ok(shares)
}

/// The series at `places` as far as they go on.
fn spliced(
    judged: &Judged,
    upstream: usize,
    totals: Totals,
    places: impl Iterator<Item = usize>,
) -> Result<Part, PartError> {
    let scanned = judged.scanned();
    let pieces = places.filter_map(|place| {
        let series = scanned.series().get(place)?;
        match *judged.fates().get(place)? {
            Fate::Keep { .. } => Some(Piece::Keep(series)),
            Fate::Edit { edit, .. } => Some(Piece::Edit(series, judged.edits().get(edit))),
            Fate::Drop { .. } | Fate::Reject { .. } | Fate::OverActiveSeries | Fate::Unknown => None,
        }
    });
    let mut body = Vec::new();
    heavy(scanned.body().len(), || {
        wire::encode::encode(scanned, pieces, &mut body)
    })?;
    Ok(Part {
        upstream,
        body: Bytes::from(body),
        totals,
    })
}
