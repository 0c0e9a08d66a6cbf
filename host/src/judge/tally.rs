//! What became of a write's series, by sum.
//!
//! Takes the fate of each, gives totals by stream, by drop reason and by refusal, with the words that the ledger and the
//! sender are told. Pure.

use super::memo::NewSeries;
use super::verdict::{BlameId, Bug, DropId, Fate, StreamId};
use super::words::{Blame, DropWords, Words};
use crate::model::{Refusal, SeriesBudget, Totals};
use crate::wire::Scanned;

/// What became of a write's series, by sum.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Indexed by [`StreamId`]; what is left to forward.
    pub streams: Vec<Totals>,
    /// Samples under changed labels, already within `streams`.
    pub edited: Totals,
    pub dropped: Vec<Dropped>,
    pub refused: Vec<Refused>,
}

/// What was refused for one reason.
#[derive(Debug, Clone)]
pub struct Refused {
    pub refusal: Refusal,
    pub totals: Totals,
    /// The first one's place among the scanned series.
    pub first: usize,
    /// Whose fault the first one is.
    pub blame: Blame,
    /// That the first one is over, if it is that.
    pub budget: Option<SeriesBudget>,
}

/// What one policy dropped for one reason.
#[derive(Debug, Clone)]
pub struct Dropped {
    pub(super) id: DropId,
    pub words: DropWords,
    pub totals: Totals,
    /// The first one's place among the scanned series.
    pub(super) first: usize,
}

/// # Errors
/// If a series has no fate, or a drop or a refusal no words.
pub(super) fn tally(scanned: &Scanned, fates: &[Fate], words: &Words, new: &NewSeries) -> Result<Tally, Bug> {
    let mut tally = Tally::default();
    // The usual case needs no sums: they were made when the series were counted.
    if fates.iter().all(|fate| *fate == Fate::Keep { stream: 0 }) {
        tally.let_through(0, scanned.valid());
        return Ok(tally);
    }
    for (at, (series, fate)) in scanned.series().iter().zip(fates).enumerate() {
        let totals = series.totals();
        let (refusal, blame, budget) = match fate {
            Fate::Keep { stream } => {
                tally.let_through(*stream, totals);
                continue;
            }
            Fate::Edit { stream, .. } => {
                tally.edited += totals;
                tally.let_through(*stream, totals);
                continue;
            }
            Fate::Drop { reason } => {
                tally.drop(*reason, totals, at, words)?;
                continue;
            }
            Fate::Reject { refusal, blame } => (*refusal, *blame, None),
            Fate::OverActiveSeries => (Refusal::OverActiveSeries, BlameId::default(), None),
            Fate::OverBudget { budget } => (Refusal::OverBudget, BlameId::default(), Some(*budget)),
            Fate::Unknown => return Err(Bug::NoVerdict),
        };
        match tally.refused.iter_mut().find(|refused| refused.refusal == refusal) {
            Some(refused) => refused.totals += totals,
            None => tally.refused.push(Refused {
                refusal,
                totals,
                first: at,
                blame: words.of_blame(blame)?,
                budget: budget.map(|number| new.budget(number).cloned()).transpose()?,
            }),
        }
    }
    Ok(tally)
}

impl Tally {
    fn let_through(&mut self, stream: StreamId, totals: Totals) {
        let stream = usize::from(stream);
        if self.streams.len() <= stream {
            self.streams.resize(stream + 1, Totals::default());
        }
        self.streams[stream] += totals;
    }

    fn drop(&mut self, id: DropId, totals: Totals, at: usize, words: &Words) -> Result<(), Bug> {
        match self.dropped.iter_mut().find(|dropped| dropped.id == id) {
            Some(dropped) => dropped.totals += totals,
            None => {
                let words = words.of_drop(id)?;
                self.dropped.push(Dropped {
                    id,
                    words,
                    totals,
                    first: at,
                });
            }
        }
        Ok(())
    }

    /// Everything that is left to forward.
    pub fn forwardable(&self) -> Totals {
        let mut sum = Totals::default();
        self.streams.iter().for_each(|totals| sum += *totals);
        sum
    }
}
