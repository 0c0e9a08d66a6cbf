//! What became of a write's parts, and what its sender is told of them together.
//!
//! Takes the word of each upstream, gives the ledger its numbers and the sender the worst failure. Remembers what may be
//! stored of a write that the sender is told to send again: that receivers refuse it the second time is not his fault. Does
//! no work for a write that went through.

use std::time::Instant;

use super::ledger::Ledger;
use super::shared::Shared;
use crate::forward::delivery::Part;
use crate::forward::{Conflict, ForwardError, HowMany, Written};
use crate::model::{Discarded, DiscardedKind, WhyDiscarded};
use crate::respond::Failure;
use crate::tenant::{Before, Session};
use crate::wire::BodyHash;

/// Of one write.
pub(super) struct Settling<'w> {
    pub(super) session: &'w Session<'w>,
    pub(super) shared: &'w Shared,
    /// The sender says so, by its `Retry-Attempt`.
    pub(super) is_sent_again: bool,
}

/// What an upstream stored of a part.
pub(super) type PartOutcome = Result<Written, Failure>;

impl Settling<'_> {
    /// Settles all `parts`, in whose order the `outcomes` are.
    ///
    /// # Errors
    /// The failure that weighs most.
    pub(super) fn settle(
        &self,
        parts: &[Part],
        outcomes: Vec<PartOutcome>,
        ledger: &mut Ledger<'_>,
    ) -> Result<(), Failure> {
        let weight = |failure: &Failure| failure.weight(self.session.config().over_rate);
        let failures = || outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        if failures().any(|failure| is_sent_again(weight(failure))) {
            self.remember(parts, &outcomes);
        }
        let mut worst: Option<Failure> = None;
        for (part, outcome) in parts.iter().zip(outcomes) {
            if let Err(failure) = self.settle_part(part, outcome, ledger)
                && worst.as_ref().is_none_or(|worst| weight(worst) < weight(&failure))
            {
                worst = Some(failure);
            }
        }
        match worst {
            None => Ok(()),
            Some(failure) => Err(ledger.fail(failure)),
        }
    }

    fn settle_part(&self, part: &Part, outcome: PartOutcome, ledger: &mut Ledger<'_>) -> Result<(), Failure> {
        match outcome {
            Ok(written) => self.settle_written(part, written, ledger),
            Err(Failure::Forward(ForwardError::NotWritten { written, .. })) => {
                self.settle_written(part, written, ledger)?;
                let missing = part.totals.all_samples() - written.all_samples();
                outcome
                    .map(drop)
                    .inspect_err(|failure| ledger.rejected(failure.reason(), missing))
            }
            Err(Failure::Forward(ForwardError::Conflict(conflict))) => self.settle_conflict(part, conflict, ledger),
            Err(failure) => {
                ledger.rejected(failure.reason(), part.totals.all_samples());
                Err(failure)
            }
        }
    }

    /// By the word of a receiver of 2.0, or all of it.
    fn settle_written(&self, part: &Part, written: Written, ledger: &mut Ledger<'_>) -> Result<(), Failure> {
        self.session.counters().discarded(&Discarded {
            kind: DiscardedKind::Exemplars,
            why: WhyDiscarded::NotWritten,
            count: part.totals.exemplars.saturating_sub(written.exemplars),
        });
        ledger.forwarded(self.upstream(part)?, part, &written.totals(&part.totals));
        Ok(())
    }

    /// A receiver has judged the part: nothing of it is worth sending again.
    fn settle_conflict(&self, part: &Part, conflict: Box<Conflict>, ledger: &mut Ledger<'_>) -> Result<(), Failure> {
        let upstream = self.upstream(part)?;
        self.session.counters().refused_exemplars(conflict.exemplars());
        if conflict.how_many() == HowMany::Exemplars {
            let mut stored = part.totals;
            stored.exemplars = stored.exemplars.saturating_sub(conflict.exemplars());
            ledger.forwarded(upstream, part, &stored);
            return Ok(());
        }
        let amounts = conflict.amounts(part.totals.all_samples());
        if self.is_stored(part, &conflict) {
            ledger.already_stored(upstream, &part.totals, &amounts);
            return Ok(());
        }
        ledger.refused_by_receiver(upstream, &amounts);
        Err(ForwardError::Conflict(conflict).into())
    }

    /// Whether all that the receiver refuses now was stored when it was sent before. In doubt it was not: what is lost is
    /// told.
    fn is_stored(&self, part: &Part, conflict: &Conflict) -> bool {
        let before = self.session.stored_before().find(|| self.hash(part), Instant::now());
        let may_be = conflict.again || self.is_sent_again;
        match before.or(may_be.then_some(Before::MayBeStored)) {
            Some(Before::Stored) => true,
            Some(Before::MayBeStored) => conflict.is_of_a_second_time(&part.totals),
            None => false,
        }
    }

    fn remember(&self, parts: &[Part], outcomes: &[PartOutcome]) {
        let now = Instant::now();
        for (part, outcome) in parts.iter().zip(outcomes) {
            if let Some(before) = before(outcome) {
                let stored = self.session.stored_before();
                stored.note(self.hash(part), before, &self.shared.memory, now);
            }
        }
    }

    fn hash(&self, part: &Part) -> BodyHash {
        let upstream = self.upstream(part).unwrap_or_default();
        self.shared.hash_key.hash_body(&part.body, upstream)
    }

    fn upstream(&self, part: &Part) -> Result<&str, Failure> {
        let name = self.session.config().upstreams.get(part.upstream).map(String::as_str);
        name.ok_or(NO_SUCH_UPSTREAM)
    }
}

pub(super) const NO_SUCH_UPSTREAM: Failure = Failure::Bug("a part is for an upstream that the tenant does not have");

/// By its weight.
fn is_sent_again((is_kept, may_be_kept, _): (bool, bool, Option<u64>)) -> bool {
    is_kept || may_be_kept
}

fn before(outcome: &PartOutcome) -> Option<Before> {
    match outcome {
        Ok(_) => Some(Before::Stored),
        Err(Failure::Forward(ForwardError::Conflict(conflict))) => {
            (conflict.how_many() == HowMany::Exemplars).then_some(Before::Stored)
        }
        Err(Failure::Forward(error)) => error.may_be_stored().then_some(Before::MayBeStored),
        Err(_) => None,
    }
}
