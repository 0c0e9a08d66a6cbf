//! Who gets what of a write.
//!
//! Takes a judged write, the routes of its streams and what each upstream takes, gives one body for each upstream that gets
//! something: the sender's own bytes where every series was kept, goes to one place and is taken in the protocol it came in;
//! else spliced, or written in the other protocol. The write is gone through once to part it, however many upstreams there
//! are. Never sends anything.

use bytes::Bytes;

use super::said;
pub use super::said::{Takes, unwanted};
use crate::judge::verdict::Fate;
use crate::judge::{Bug, Judged};
use crate::model::{Discarded, Protocol, Totals};
use crate::route::Routes;
use crate::wire::{self, EncodeError, Piece, Series};

/// What one upstream gets.
#[derive(Debug, Clone)]
pub struct Part {
    /// Index into the tenant's list.
    pub upstream: usize,
    /// A request in snappy's block format, of the version that the upstream takes.
    pub body: Bytes,
    pub totals: Totals,
    /// What of these series the upstream does not take.
    pub discarded: Vec<Discarded>,
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

/// The parts of a write, in the order of the tenant's `upstreams`, of which there are so many; `takes` says what each of them
/// takes.
///
/// # Errors
/// See [`PartError`]. No part goes on then.
pub fn part(
    judged: &Judged,
    compressed: &Bytes,
    routes: &Routes,
    upstreams: usize,
    takes: impl Fn(usize) -> Takes,
) -> Result<Vec<Part>, PartError> {
    let targets = targets(judged, routes, upstreams, &takes);
    match targets[..] {
        [upstream] if goes_as_sent(judged, takes(upstream)) => Ok(vec![Part {
            upstream,
            body: compressed.clone(),
            totals: judged.tally.forwardable(),
            discarded: Vec::new(),
        }]),
        // All that goes on goes to one place: nothing to part.
        [upstream] => {
            let all = Share {
                series: with_fates(judged),
                totals: judged.tally.forwardable(),
                is_all: judged.all_kept(),
            };
            Ok(vec![encoded(judged, upstream, takes(upstream), &all)?])
        }
        _ => {
            let shares = shares(judged, routes, &targets)?;
            let parts = targets.into_iter().zip(&shares);
            parts
                .map(|(upstream, share)| encoded(judged, upstream, takes(upstream), &share.iter()))
                .collect()
        }
    }
}

/// Whether a body of 2.0 has to be written for one of them, which takes longer than any other.
pub fn is_translated(judged: &Judged, routes: &Routes, upstreams: usize, takes: impl Fn(usize) -> Takes) -> bool {
    match targets(judged, routes, upstreams, &takes)[..] {
        [upstream] if goes_as_sent(judged, takes(upstream)) => false,
        ref targets => targets.iter().any(|&at| takes(at).protocol == Protocol::V2),
    }
}

/// The upstreams that get something, in order.
fn targets(judged: &Judged, routes: &Routes, upstreams: usize, takes: impl Fn(usize) -> Takes) -> Vec<usize> {
    let streams = &judged.tally.streams;
    let mut targets = routes.targets(|stream| streams.get(stream).is_some_and(|totals| totals.series > 0));
    said::add_targets(judged.scanned(), &mut targets, upstreams, takes);
    targets
}

/// Whether the sender's bytes say just what was judged, in the words of who gets them.
fn goes_as_sent(judged: &Judged, takes: Takes) -> bool {
    let scanned = judged.scanned();
    judged.all_kept() && scanned.is_as_sent() && scanned.protocol() == takes.protocol
}

/// What one upstream gets of a write.
#[derive(Default)]
struct Share<S> {
    series: S,
    totals: Totals,
    /// Every series that was scanned.
    is_all: bool,
}

/// One for each of several.
type Shares<'j> = Vec<Share<Vec<(&'j Series, Fate)>>>;

impl<'j> Share<Vec<(&'j Series, Fate)>> {
    fn iter(&self) -> Share<impl Iterator<Item = (&'j Series, Fate)> + Clone> {
        Share {
            series: self.series.iter().copied(),
            totals: self.totals,
            is_all: self.is_all,
        }
    }
}

/// One share for each of `targets`, which are in order.
fn shares<'j>(judged: &'j Judged, routes: &Routes, targets: &[usize]) -> Result<Shares<'j>, PartError> {
    let mut shares: Shares<'_> = targets.iter().map(|_| Share::default()).collect();
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

fn with_fates(judged: &Judged) -> impl Iterator<Item = (&Series, Fate)> + Clone {
    judged.scanned().series().iter().zip(judged.fates().iter().copied())
}

/// Those of the share that go on, in the words of who gets them.
fn encoded<'j>(
    judged: &'j Judged,
    upstream: usize,
    takes: Takes,
    share: &Share<impl Iterator<Item = (&'j Series, Fate)> + Clone>,
) -> Result<Part, PartError> {
    let scanned = judged.scanned();
    let (mut bug, mut body) = (None, Vec::new());
    let said = said::said(
        scanned,
        takes,
        share.is_all,
        pieces(judged, share.series.clone(), &mut bug),
    );
    let said = said.map_err(EncodeError::from)?;
    if share.is_all && said.fields.is_empty() && takes.protocol == Protocol::V1 && scanned.is_copied() {
        wire::encode_copied(scanned, &mut body)?;
    } else {
        let going = pieces(judged, share.series.clone(), &mut bug);
        match takes.protocol {
            Protocol::V1 => wire::encode_before(scanned, going, judged.edits().put_in(), &said.fields, &mut body)?,
            Protocol::V2 => wire::encode_v2(scanned, going, &mut body)?,
        }
    }
    if let Some(bug) = bug {
        return Err(bug.into());
    }
    Ok(Part {
        upstream,
        body: Bytes::from(body),
        totals: share.totals,
        discarded: said.discarded,
    })
}

/// Leaves a bug where an edit is not there: nothing goes on then.
fn pieces<'j>(
    judged: &'j Judged,
    series: impl Iterator<Item = (&'j Series, Fate)>,
    bug: &mut Option<Bug>,
) -> impl Iterator<Item = Piece<'j>> {
    series.filter_map(move |(series, fate)| match fate {
        Fate::Keep { .. } => Some(Piece::Keep(series)),
        Fate::Edit { edit, .. } => match judged.edits().get(edit) {
            Ok(patch) => Some(Piece::Edit(series, patch)),
            Err(error) => {
                *bug = Some(error);
                None
            }
        },
        Fate::Drop { .. } | Fate::Reject { .. } | Fate::OverActiveSeries | Fate::OverBudget { .. } | Fate::Unknown => {
            None
        }
    })
}
