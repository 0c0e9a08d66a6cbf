//! What a write says besides its series: metadata and start timestamps.
//!
//! Takes a write, what an upstream takes and which of the series it gets; gives what is sent to it behind the series, and what
//! it is not sent, counted. The metadata of a 1.0 write belongs to no series, so it goes to every upstream of its tenant that
//! wants it; that of a 2.0 write goes with its series. What an upstream of 2.0 gets of a 2.0 write is in its body already.

use crate::model::{Discarded, DiscardedKind, Protocol, WhyDiscarded};
use crate::wire::metadata::{self, Families};
use crate::wire::{ExtraTotals, Extras, Piece, Scanned, Torn, labels, splice};

/// What an upstream takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Takes {
    pub protocol: Protocol,
    /// Of remote write 1.0; 2.0 has it in its series.
    pub metadata: bool,
}

/// For one upstream.
#[derive(Default)]
pub(super) struct BesideSeries {
    /// Whole fields of a 1.0 request.
    pub(super) fields: Vec<u8>,
    pub(super) discarded: Vec<Discarded>,
}

/// Adds the upstreams that want the metadata of a write, and may get nothing else of it.
pub(super) fn add_targets(
    scanned: &Scanned,
    targets: &mut Vec<usize>,
    upstreams: usize,
    takes: impl Fn(usize) -> Takes,
) {
    if scanned.metadata() > 0 && scanned.protocol() == Protocol::V1 {
        targets.extend((0..upstreams).filter(|&at| wants_metadata(takes(at))));
        targets.sort_unstable();
        targets.dedup();
    }
}

fn wants_metadata(takes: Takes) -> bool {
    takes.metadata && takes.protocol == Protocol::V1
}

/// The metadata of a 1.0 write that goes to none of the tenant's upstreams.
pub fn unwanted(scanned: &Scanned, mut all: impl Iterator<Item = Takes>) -> Option<Discarded> {
    let count = scanned.metadata();
    if count == 0 || scanned.protocol() != Protocol::V1 || all.any(wants_metadata) {
        return None;
    }
    Some(Discarded {
        kind: DiscardedKind::Metadata,
        why: WhyDiscarded::NotForwarded,
        count,
    })
}

/// `going` are the series that the upstream gets, which are gone through where they matter; `is_all` says that they are all
/// that there are.
pub(super) fn said<'j>(
    scanned: &Scanned,
    takes: Takes,
    is_all: bool,
    going: impl Iterator<Item = Piece<'j>>,
) -> Result<BesideSeries, Torn> {
    let mut said = BesideSeries::default();
    match (scanned.protocol(), takes.protocol) {
        (Protocol::V1, Protocol::V1) if takes.metadata && scanned.metadata() > 0 => said.sent(scanned)?,
        (Protocol::V2, Protocol::V1) => {
            if let Some(extras) = scanned.extras() {
                match is_all && !takes.metadata {
                    true => said.leaves_out(extras.totals()),
                    false => said.extras(scanned, extras, takes.metadata, going)?,
                }
            }
        }
        // What nobody wants of a 1.0 write is counted once, and not for each part.
        (Protocol::V1, _) | (Protocol::V2, Protocol::V2) => {}
    }
    Ok(said)
}

impl BesideSeries {
    fn sent(&mut self, scanned: &Scanned) -> Result<(), Torn> {
        let put = metadata::put_sent(&mut self.fields, scanned)?;
        self.discard(DiscardedKind::Metadata, WhyDiscarded::Invalid, put.invalid);
        Ok(())
    }

    fn extras<'j>(
        &mut self,
        scanned: &Scanned,
        extras: &Extras,
        forwards: bool,
        going: impl Iterator<Item = Piece<'j>>,
    ) -> Result<(), Torn> {
        let (mut families, mut whole) = (Families::default(), Vec::new());
        let (mut left, mut too_much) = (ExtraTotals::default(), 0);
        let (series, mut at) = (scanned.series(), 0);
        for piece in going {
            // They go on in the order they came.
            while !std::ptr::eq(series.get(at).ok_or(Torn)?, piece.series()) {
                at += 1;
            }
            let Some(extra) = extras.of(at) else { continue };
            left.sample_starts += starts(extra.sample_starts);
            left.histogram_starts += starts(extra.histogram_starts);
            match extra.metadata {
                Some(said) if forwards => {
                    let name = metric_name(splice::label_bytes(scanned, &piece, &mut whole)?).ok_or(Torn)?;
                    too_much += u64::from(!families.put(&mut self.fields, name, &said));
                }
                said => left.metadata += u64::from(said.is_some()),
            }
        }
        self.leaves_out(left);
        self.discard(DiscardedKind::Metadata, WhyDiscarded::TooMuch, too_much);
        Ok(())
    }

    fn leaves_out(&mut self, left: ExtraTotals) {
        let starts = left.sample_starts + left.histogram_starts;
        self.discard(DiscardedKind::StartTimestamps, WhyDiscarded::Protocol, starts);
        self.discard(DiscardedKind::Metadata, WhyDiscarded::NotForwarded, left.metadata);
    }

    fn discard(&mut self, kind: DiscardedKind, why: WhyDiscarded, count: u64) {
        if count > 0 {
            self.discarded.push(Discarded { kind, why, count });
        }
    }
}

fn starts(starts: &[i64]) -> u64 {
    starts.iter().filter(|start| **start != 0).count() as u64
}

fn metric_name(label_bytes: &[u8]) -> Option<&[u8]> {
    let mut labels = labels::label_bytes(label_bytes);
    labels.find(|(name, _)| *name == b"__name__").map(|(_, value)| value)
}
