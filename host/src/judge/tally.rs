//! What became of a write's series, by sum.
//!
//! Takes the fate of each, gives totals by stream, by drop reason and by refusal. Pure.

use super::law::Refusal;
use super::verdict::{DropId, Fate, StreamId};
use crate::model::Totals;
use crate::wire::Scanned;

/// What became of a write's series, by sum.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Indexed by [`StreamId`]; what is left to forward.
    pub streams: Vec<Totals>,
    /// Samples under changed labels, already within `streams`.
    pub edited: Totals,
    pub dropped: Vec<(DropId, Totals)>,
    pub refused: Vec<(Refusal, Totals)>,
}

pub(super) fn tally(scanned: &Scanned, fates: &[Fate]) -> Tally {
    let mut tally = Tally::default();
    // The usual case needs no sums: they were made when the series were counted.
    if fates.iter().all(|fate| *fate == Fate::Keep { stream: 0 }) {
        tally.let_through(0, scanned.valid());
        return tally;
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
                add(&mut tally.dropped, *reason, totals);
                continue;
            }
            Fate::Reject { refusal } => Refusal::from_code(*refusal).unwrap_or(Refusal::NoLabels),
            // Nothing stays unknown; were it to, it would not pass.
            Fate::OverActiveSeries | Fate::Unknown => Refusal::OverActiveSeries,
        };
        add(&mut tally.refused, refusal, totals);
    }
    tally
}

impl Tally {
    fn let_through(&mut self, stream: StreamId, totals: Totals) {
        let stream = usize::from(stream);
        if self.streams.len() <= stream {
            self.streams.resize(stream + 1, Totals::default());
        }
        self.streams[stream] += totals;
    }

    /// Everything that is left to forward.
    pub fn forwardable(&self) -> Totals {
        let mut sum = Totals::default();
        self.streams.iter().for_each(|totals| sum += *totals);
        sum
    }
}

fn add<K: PartialEq>(sums: &mut Vec<(K, Totals)>, key: K, totals: Totals) {
    match sums.iter_mut().find(|(k, _)| *k == key) {
        Some((_, sum)) => *sum += totals,
        None => sums.push((key, totals)),
    }
}
