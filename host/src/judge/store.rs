//! What policies said of new series, remembered.
//!
//! Takes one verdict for each series that was not known, gives the fates of all series of the write. Never judges.

use std::sync::Arc;
use std::vec;

use super::knowledge::{Knowledge, LIGHT_NEW};
use super::memo::{Bounds, NewVerdict};
use super::recall::{Distinct, Recalled, Recollection};
use super::verdict::{Bug, Fate, Verdict};
use crate::chain::Relabelled;
use crate::sandbox::{Effort, Rank, Work};
use crate::wire::Recognised;

/// Storing the verdicts of this many series takes some 50 us under one lock.
const STORED_PER_LOCK: usize = 256;
/// And of this many a quarter of a millisecond; then others get the thread.
const STORED_PER_STEP: usize = 4 * STORED_PER_LOCK;

/// Verdicts on their way into the memo.
pub(super) struct Store {
    knowledge: Arc<Knowledge>,
    bounds: Bounds,
    /// None where it is over.
    write: Option<Recalled>,
    verdicts: vec::IntoIter<Result<Verdict, Bug>>,
    cacheable: bool,
    /// Of the distinct series so far.
    fates: Vec<Fate>,
}

impl Store {
    pub(super) fn new(knowledge: Arc<Knowledge>, mut write: Recalled, said: Relabelled<Result<Verdict, Bug>>) -> Self {
        let count = write.distinct.series.len();
        write.recollection.new.reserve(count);
        Self {
            bounds: knowledge.bounds(),
            knowledge,
            write: Some(write),
            verdicts: said.outcomes.into_iter(),
            cacheable: said.cacheable,
            fates: Vec::with_capacity(count),
        }
    }

    /// Stores the next `most`. Whether that was all.
    fn store(&mut self, most: usize) -> Result<bool, Bug> {
        let Some(write) = &mut self.write else { return Ok(true) };
        let (series, recollection) = (&write.series, &mut write.recollection);
        let next = write.distinct.series.iter().skip(self.fates.len()).take(most);
        let verdicts = next.zip(&mut self.verdicts).map(|(&at, verdict)| {
            Ok(NewVerdict {
                hash: series.hash(at),
                sent: series.scanned().label_bytes(&series.scanned().series()[at]),
                verdict: verdict?,
            })
        });
        let verdicts = verdicts.collect::<Result<Vec<_>, Bug>>()?;
        let (edits, fates) = (&mut recollection.edits, &mut self.fates);
        let (memo, new) = (&self.knowledge.memo, &mut recollection.new);
        memo.store(&verdicts, self.cacheable, &self.bounds, new, |verdict, refused| {
            fates.push(refused.unwrap_or_else(|| edits.fate(verdict)));
        });
        // Fewer verdicts than series is a bug that is found when the fates are put in their places.
        Ok(verdicts.len() < most || fates.len() == write.distinct.series.len())
    }

    fn step(&mut self) -> Result<bool, Bug> {
        for _ in 0..STORED_PER_STEP / STORED_PER_LOCK {
            if self.store(STORED_PER_LOCK)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Every series of the write has its fate.
    fn finish(&mut self) -> Result<(Recognised, Recollection), Bug> {
        let Recalled {
            series,
            mut recollection,
            distinct: Distinct { places, .. },
        } = self.write.take().ok_or(Bug::NoVerdict)?;
        for (&at, place) in series.unknown().iter().zip(places) {
            recollection.fates[at] = *self.fates.get(place).ok_or(Bug::NoVerdict)?;
        }
        Ok((series, recollection))
    }
}

impl Work for Store {
    type Done = Result<(Recognised, Recollection), Bug>;

    /// A tenant's edits would pile up if all its writes were judged before any was stored.
    const RANK: Rank = Rank::GoesOn;

    fn go_on(&mut self, effort: Effort) -> Option<Self::Done> {
        if effort == Effort::Light && self.verdicts.len() > LIGHT_NEW {
            return None;
        }
        match self.step() {
            Ok(true) => Some(self.finish()),
            Ok(false) => None,
            Err(bug) => Some(Err(bug)),
        }
    }
}
