//! From the body of a write to what is known of its series.
//!
//! Takes a compressed body, gives [`Recalled`]: every series proved, now or when it was met before, with the fate of those
//! that the memo knows. Goes on by itself as far as that is light work for its elements, which says more than its bytes:
//! 500,000 of them fit in 47 kB. What is more is done in steps, wherever there is room for it. Never asks a policy.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::memo::{Found, NewSeries};
use super::verdict::{Edits, Fate};
use super::{Judge, LIGHT_NEW};
use crate::model::Protocol;
use crate::sandbox::{Effort, Undone, Work};
use crate::wire::{
    self, AsIs, Framed, LIGHT_BYTES, LIGHT_ELEMENTS, Proof, ProvedHash, Recognised, Refuted, ScanError, ScanLimits,
    Scanned, Series, SnappyError, snappy,
};

/// What is known of one series of a write.
const SERIES_BYTES: u64 =
    (size_of::<Series>() + size_of::<ProvedHash>() + size_of::<Fate>() + size_of::<usize>()) as u64;
/// While policies are asked about one, besides its labels: its place among the others, what a policy says, a verdict.
const NEW_SERIES_BYTES: u64 = 128;

/// Why a body is not recalled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecallError {
    #[error(transparent)]
    Snappy(#[from] SnappyError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Undone(#[from] Undone),
}

/// The body of a write as it came.
#[derive(Debug)]
pub struct Body {
    pub protocol: Protocol,
    pub compressed: Bytes,
    /// By its own word, which was compared with the limit.
    pub decoded_size: usize,
    pub limits: ScanLimits,
}

/// A write whose every series is proved, with what is known of each.
pub struct Recalled {
    pub(super) series: Recognised,
    pub(super) memory: Memory,
    pub(super) distinct: Distinct,
}

#[derive(Default)]
pub(super) struct Memory {
    pub(super) fates: Vec<Fate>,
    pub(super) edits: Edits,
    pub(super) new: NewSeries,
}

/// Series that are not known, each once: a series that comes twice in one write is judged once, for its second verdict
/// could be another one.
#[derive(Default)]
pub(super) struct Distinct {
    /// Their places among all series.
    pub(super) series: Vec<usize>,
    /// Of each series that is not known, its place among the distinct ones.
    pub(super) places: Vec<usize>,
}

/// A body on its way.
pub(super) struct Recall {
    judge: Arc<Judge>,
    /// None where it is over.
    stage: Option<Stage>,
}

enum Stage {
    Compressed(Body),
    /// And nobody tried yet whether it is light to frame.
    Decoded(Bytes, Protocol, ScanLimits),
    Unframed(Bytes, Protocol, ScanLimits),
    Framed(Framed, Memory),
    LookedUp(Framed, Memory),
    Refuted(Refuted),
    Done(Recalled),
}

impl Recalled {
    pub fn scanned(&self) -> &Scanned {
        self.series.scanned()
    }

    /// Bytes of memory that it takes besides its body until it is judged: of each series its place, hash and fate, of each
    /// that is not known what policies make of it as well.
    pub fn size(&self) -> u64 {
        let scanned = self.scanned();
        let (all, new) = (scanned.series().len() as u64, self.series.unknown().len() as u64);
        let labels = scanned.body().len() as u64 * new / all.max(1);
        all * SERIES_BYTES + new * NEW_SERIES_BYTES + labels
    }
}

impl Recall {
    pub(super) fn new(judge: Arc<Judge>, body: Body) -> Self {
        Self {
            judge,
            stage: Some(Stage::Compressed(body)),
        }
    }

    #[cfg(test)]
    pub(super) fn framed(judge: Arc<Judge>, framed: Framed) -> Self {
        Self {
            judge,
            stage: Some(Stage::framed(framed)),
        }
    }
}

impl Work for Recall {
    type Done = Result<Recalled, RecallError>;

    fn go_on(&mut self, effort: Effort) -> Option<Self::Done> {
        loop {
            if effort == Effort::Light && !self.stage.as_ref()?.is_light() {
                return None;
            }
            match self.stage.take()?.next(&self.judge) {
                Ok(Stage::Done(recalled)) => return Some(Ok(recalled)),
                Ok(next) => self.stage = Some(next),
                Err(error) => return Some(Err(error)),
            }
            if effort == Effort::Full {
                return None;
            }
        }
    }
}

impl Stage {
    fn framed(framed: Framed) -> Self {
        let memory = Memory {
            fates: Vec::with_capacity(framed.series().len()),
            ..Memory::default()
        };
        Self::Framed(framed, memory)
    }

    fn is_light(&self) -> bool {
        match self {
            Self::Compressed(body) => body.decoded_size < LIGHT_BYTES,
            Self::Framed(framed, _) => framed.series().len() <= LIGHT_ELEMENTS,
            Self::LookedUp(framed, _) => framed.unknown() <= LIGHT_NEW,
            Self::Decoded(..) | Self::Done(_) => true,
            Self::Unframed(..) | Self::Refuted(_) => false,
        }
    }

    fn next(self, judge: &Judge) -> Result<Self, RecallError> {
        Ok(match self {
            Self::Compressed(body) => {
                let decoded = snappy::decode(&body.compressed, body.decoded_size as u64)?;
                Self::Decoded(decoded, body.protocol, body.limits)
            }
            Self::Decoded(body, protocol, limits) => match wire::frame_light(protocol, &body, &limits)? {
                Some(framed) => Self::framed(framed),
                None => Self::Unframed(body, protocol, limits),
            },
            Self::Unframed(body, protocol, limits) => Self::framed(wire::frame(protocol, body, &limits)?),
            Self::Framed(mut framed, mut memory) => {
                let found = &mut Found {
                    fates: &mut memory.fates,
                    edits: &mut memory.edits,
                };
                let mut asked = framed.ask(&judge.key, LIGHT_ELEMENTS);
                judge.memo.look_up(&mut asked, &judge.bounds(), &mut memory.new, found);
                match memory.fates.len() < framed.series().len() {
                    true => Self::Framed(framed, memory),
                    false => Self::LookedUp(framed, memory),
                }
            }
            Self::LookedUp(framed, memory) => match framed.prove(&judge.key) {
                Proof::AsFramed(series) => Self::Done(Recalled {
                    distinct: Distinct::of(&series),
                    series,
                    memory,
                }),
                Proof::Otherwise(refuted) => Self::Refuted(refuted),
            },
            // All of it is proved then: the next round is the last.
            Self::Refuted(refuted) => Self::framed(refuted.scan()?),
            Self::Done(recalled) => Self::Done(recalled),
        })
    }
}

impl Distinct {
    fn of(series: &Recognised) -> Self {
        let unknown = series.unknown();
        if unknown.is_empty() {
            return Self::default();
        }
        let mut first: HashMap<ProvedHash, usize, AsIs> =
            HashMap::with_capacity_and_hasher(unknown.len(), AsIs::default());
        let mut distinct = Vec::with_capacity(unknown.len());
        let place = |&at: &usize| {
            *first.entry(series.hash(at)).or_insert_with(|| {
                distinct.push(at);
                distinct.len() - 1
            })
        };
        let places = unknown.iter().map(place).collect();
        Self {
            series: distinct,
            places,
        }
    }
}
