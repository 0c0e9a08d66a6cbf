//! From the body of a write to what is known of its series.
//!
//! Takes a compressed body, gives [`Recalled`]: every series proved, now or when it was met before, with the fate of those
//! that the memo knows. Goes on by itself as far as that is light work for its elements, which says more than its bytes:
//! 500,000 of them fit in 47 kB. What is more is done in steps, wherever there is room for it. Never asks a policy.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::knowledge::{Knowledge, LIGHT_NEW};
use super::memo::{Found, NewSeries};
use super::verdict::{Edits, Fate};
use crate::chain::most_edited;
use crate::model::Protocol;
use crate::sandbox::{Effort, Undone, Work};
use crate::wire::{
    self, AsIs, Framed, LIGHT_BYTES, LIGHT_ELEMENTS, Measured, Proof, ProvedHash, Recognised, Refuted, ScanError,
    ScanLimits, Scanned, Series, SnappyError, snappy,
};

/// What is known of one series of a write.
const SERIES_BYTES: u64 =
    (size_of::<Series>() + size_of::<ProvedHash>() + size_of::<Fate>() + size_of::<usize>()) as u64;
/// While policies are asked about one, besides its labels: its place among the others, what a policy says, a verdict, and
/// its place among the new ones with its budget.
const NEW_SERIES_BYTES: u64 = 224;

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
    pub(super) recollection: Recollection,
    pub(super) distinct: Distinct,
}

#[derive(Default)]
pub(super) struct Recollection {
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
    knowledge: Arc<Knowledge>,
    /// None where it is over.
    stage: Option<Stage>,
}

enum Stage {
    Compressed(Body),
    /// And nobody tried yet whether it is light to frame.
    Decoded(Bytes, Protocol, ScanLimits),
    Unframed(Bytes, Protocol, ScanLimits),
    /// One of 2.0, and there is room for it.
    Measured(Measured),
    Framed(Framed, Recollection),
    LookedUp(Framed, Recollection),
    Refuted(Refuted),
    Done(Recalled),
}

impl Recalled {
    pub fn scanned(&self) -> &Scanned {
        self.series.scanned()
    }

    /// Series that policies are to be asked about.
    pub fn unknown(&self) -> usize {
        self.series.unknown().len()
    }

    /// Bytes of memory that it takes besides its body until it is judged: of each series its place, hash and fate, of each
    /// that is not known what policies are asked as well.
    pub fn size(&self) -> u64 {
        let (all, new, labels) = self.extent();
        all * SERIES_BYTES + new * NEW_SERIES_BYTES + labels
    }

    /// Bytes that policies may make of the series that are not known, at most.
    pub fn most_edited(&self) -> u64 {
        let (_, new, labels) = self.extent();
        most_edited(new, labels)
    }

    /// Series, those of them that are not known, and about how many bytes of labels those have.
    fn extent(&self) -> (u64, u64, u64) {
        let scanned = self.scanned();
        let (all, new) = (scanned.series().len() as u64, self.series.unknown().len() as u64);
        (all, new, scanned.length() as u64 * new / all.max(1))
    }
}

impl Recall {
    pub(super) fn new(knowledge: Arc<Knowledge>, body: Body) -> Self {
        Self {
            knowledge,
            stage: Some(Stage::Compressed(body)),
        }
    }

    /// Of a body of 2.0 for which there is room.
    pub(super) fn measured(knowledge: Arc<Knowledge>, measured: Measured) -> Self {
        Self {
            knowledge,
            stage: Some(Stage::Measured(measured)),
        }
    }

    #[cfg(test)]
    pub(super) fn framed(knowledge: Arc<Knowledge>, framed: Framed) -> Self {
        Self {
            knowledge,
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
            match self.stage.take()?.next(&self.knowledge) {
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
        let recollection = Recollection {
            fates: Vec::with_capacity(framed.series().len()),
            ..Recollection::default()
        };
        Self::Framed(framed, recollection)
    }

    fn is_light(&self) -> bool {
        match self {
            Self::Compressed(body) => body.decoded_size < LIGHT_BYTES,
            Self::Measured(measured) => measured.is_light(),
            Self::Framed(framed, _) => framed.series().len() <= LIGHT_ELEMENTS,
            Self::LookedUp(framed, _) => framed.unknown() <= LIGHT_NEW,
            Self::Decoded(..) | Self::Done(_) => true,
            Self::Unframed(..) | Self::Refuted(_) => false,
        }
    }

    fn next(self, knowledge: &Knowledge) -> Result<Self, RecallError> {
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
            Self::Measured(measured) => Self::framed(wire::frame_measured(measured)?),
            Self::Framed(mut framed, mut recollection) => {
                let found = &mut Found {
                    fates: &mut recollection.fates,
                    edits: &mut recollection.edits,
                };
                let mut asked = framed.ask(&knowledge.key, LIGHT_ELEMENTS);
                knowledge
                    .memo
                    .look_up(&mut asked, &knowledge.bounds(), &mut recollection.new, found);
                match recollection.fates.len() < framed.series().len() {
                    true => Self::Framed(framed, recollection),
                    false => Self::LookedUp(framed, recollection),
                }
            }
            Self::LookedUp(framed, recollection) => match framed.prove(&knowledge.key) {
                Proof::AsFramed(series) => Self::Done(Recalled {
                    distinct: Distinct::of(&series),
                    series,
                    recollection,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Judge;
    use crate::judge::tests::judge;
    use crate::wire::write_series;

    const FEW: usize = LIGHT_NEW;

    fn body(raw: &[u8]) -> Body {
        let mut compressed = Vec::new();
        snappy::encode(raw, &mut compressed).unwrap();
        Body {
            protocol: Protocol::V1,
            compressed: compressed.into(),
            decoded_size: raw.len(),
            limits: ScanLimits {
                max_series: 100_000,
                ..ScanLimits::NONE
            },
        }
    }

    /// So many series, their labels in this order.
    fn series(count: usize, sorted: bool) -> Vec<u8> {
        let mut raw = Vec::new();
        for n in 0..count {
            let n = n.to_string();
            let mut labels = [("__name__", "up"), ("n", &n)];
            if !sorted {
                labels.reverse();
            }
            write_series(&mut raw, labels.into_iter(), [(1.0, 1_700_000_000_000)].into_iter());
        }
        raw
    }

    /// In what is left over by light work, or at once: series, and how many of them are distinct and unknown.
    fn recalled(judge: &Judge, raw: &[u8], is_light: bool) -> (usize, usize) {
        let mut recall = Recall::new(Arc::clone(&judge.knowledge), body(raw));
        let light = recall.go_on(Effort::Light);
        assert_eq!(light.is_some(), is_light, "{} bytes", raw.len());
        let done = light.or_else(|| (0..100).find_map(|_| recall.go_on(Effort::Full)));
        let recalled = done.unwrap().unwrap();
        assert_eq!(recalled.recollection.fates.len(), recalled.scanned().series().len());
        (recalled.scanned().series().len(), recalled.distinct.series.len())
    }

    #[tokio::test]
    async fn what_is_light_is_told_by_elements_and_not_by_bytes() {
        let judge = judge("elements", &[]).await;
        let of = |raw: &[u8], is_light| recalled(&judge, raw, is_light);
        let one = series(1, true);
        // Metadata and unknown fields of two bytes each: half a million fit in 47 kB.
        let with = |field: [u8; 2], count: usize| [field.repeat(count), one.clone()].concat();
        assert_eq!(of(&with([0x1a, 0], LIGHT_ELEMENTS), true), (1, 1));
        assert_eq!(of(&with([0x1a, 0], LIGHT_ELEMENTS + 1), false), (1, 1));
        assert_eq!(of(&with([0x78, 0], 1), false), (1, 1));
        // Series: new ones cost more than those that are known, and those written anew most.
        assert_eq!(of(&series(FEW, true), true), (FEW, FEW));
        assert_eq!(of(&series(FEW + 1, true), false), (FEW + 1, FEW + 1));
        assert_eq!(of(&series(2, false), false), (2, 2));
        assert_eq!(
            of(&series(LIGHT_ELEMENTS + 1, true), false),
            (LIGHT_ELEMENTS + 1, LIGHT_ELEMENTS + 1)
        );
        // Samples that a series has in their hundreds of thousands, each of two bytes.
        let labels = [0x0a, 14, 0x0a, 8]
            .into_iter()
            .chain(*b"__name__")
            .chain([0x12, 2])
            .chain(*b"up");
        let samples = labels.chain([0x12, 0].repeat(LIGHT_ELEMENTS + 1)).collect::<Vec<_>>();
        let mut many = vec![0x0a];
        let length = samples.len();
        many.extend([length as u8 | 0x80, (length >> 7) as u8]);
        many.extend(samples);
        assert_eq!(of(&many, false), (1, 1));
    }

    #[tokio::test]
    async fn what_is_known_is_light_where_it_was_not_when_it_was_new() {
        let judge = judge("known", &[]).await;
        let raw = series(1000, true);
        let recalled = judge.recall(body(&raw)).await.unwrap();
        assert_eq!(judge.judge(recalled).await.unwrap().tally.forwardable().series, 1000);
        assert_eq!(self::recalled(&judge, &raw, true), (1000, 0));
    }
}
