//! What became of a write's series, by sum.
//!
//! Takes the fate of each, gives totals by stream, by drop reason and by refusal, with the words that the ledger and the
//! sender are told. Pure.

use super::refusal::Refusal;
use super::verdict::{Bug, DropId, Fate, StreamId};
use super::words::{DropWords, Words};
use crate::model::Totals;
use crate::wire::Scanned;

/// What became of a write's series, by sum.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Indexed by [`StreamId`]; what is left to forward.
    pub streams: Vec<Totals>,
    /// Samples under changed labels, already within `streams`.
    pub edited: Totals,
    pub dropped: Vec<Dropped>,
    pub refused: Vec<(Refusal, Totals)>,
}

/// What one policy dropped for one reason.
#[derive(Debug, Clone)]
pub struct Dropped {
    id: DropId,
    pub words: DropWords,
    pub totals: Totals,
}

/// # Errors
/// If a series has no fate, or a drop no words.
pub(super) fn tally(scanned: &Scanned, fates: &[Fate], words: &Words) -> Result<Tally, Bug> {
    let mut tally = Tally::default();
    // The usual case needs no sums: they were made when the series were counted.
    if fates.iter().all(|fate| *fate == Fate::Keep { stream: 0 }) {
        tally.let_through(0, scanned.valid());
        return Ok(tally);
    }
    for (series, fate) in scanned.series().iter().zip(fates) {
        let totals = series.totals();
        let refusal = match fate {
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
                tally.drop(*reason, totals, words)?;
                continue;
            }
            Fate::Reject { refusal } => *refusal,
            Fate::OverActiveSeries => Refusal::OverActiveSeries,
            Fate::Unknown => return Err(Bug::NoVerdict),
        };
        tally.refuse(refusal, totals);
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

    fn drop(&mut self, id: DropId, totals: Totals, words: &Words) -> Result<(), Bug> {
        match self.dropped.iter_mut().find(|dropped| dropped.id == id) {
            Some(dropped) => dropped.totals += totals,
            None => {
                let words = words.of_drop(id)?;
                self.dropped.push(Dropped { id, words, totals });
            }
        }
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal, totals: Totals) {
        match self.refused.iter_mut().find(|(known, _)| *known == refusal) {
            Some((_, sum)) => *sum += totals,
            None => self.refused.push((refusal, totals)),
        }
    }

    /// Everything that is left to forward.
    pub fn forwardable(&self) -> Totals {
        let mut sum = Totals::default();
        self.streams.iter().for_each(|totals| sum += *totals);
        sum
    }
}
