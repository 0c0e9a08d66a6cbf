//! What becomes of a series, ready for the wire, as one write sees it, and as the memo keeps it.
//!
//! Takes verdicts, gives the fates and the label bytes of one write. Of an edit it keeps what differs from what was sent.
//! Pure.

use std::sync::Arc;

use crate::model::{Refusal, SeriesBudget};
use crate::wire::Patch;

/// Names a stream within one generation of one tenant; 0 is the default stream.
pub type StreamId = u16;
/// Names a (policy, reason) pair within one generation of one tenant.
pub type DropId = u16;
/// Names whose fault a refusal is within one generation of one tenant; 0 is nobody's in particular.
pub type BlameId = u16;
/// Names a budget, with the bound it was named with, in one tenant's memo, as long as anything there or any write has it;
/// 0 is no budget.
pub type BudgetId = u16;

/// What can only be wrong where this program is. No data is let go for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bug {
    #[error("a stream has a number and no name")]
    NoStream,
    #[error("a drop reason has a number and no words")]
    NoReason,
    #[error("there are more drop reasons than numbers for them")]
    NoNumber,
    #[error("a refusal has a number and is nobody's")]
    NoBlame,
    #[error("a series is over a budget that is not known")]
    NoBudget,
    #[error("a series was left without a verdict")]
    NoVerdict,
    #[error("an edited series was left without its labels")]
    NoEdit,
}

/// What becomes of a series, host checks included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Keep {
        stream: StreamId,
        budget: Option<Arc<SeriesBudget>>,
    },
    Drop {
        reason: DropId,
    },
    /// A host check refused the series, or what a policy makes of it.
    Reject {
        refusal: Refusal,
        blame: BlameId,
    },
    /// `labels`: all its label bytes, canonical.
    Edit {
        labels: Vec<u8>,
        stream: StreamId,
        budget: Option<Arc<SeriesBudget>>,
    },
}

impl Verdict {
    /// Against which the series counts, of one that is let through.
    pub(super) fn budget(&self) -> Option<&SeriesBudget> {
        match self {
            Self::Keep { budget, .. } | Self::Edit { budget, .. } => budget.as_deref(),
            Self::Drop { .. } | Self::Reject { .. } => None,
        }
    }

    pub(super) fn lets_through(&self) -> bool {
        matches!(self, Self::Keep { .. } | Self::Edit { .. })
    }
}

/// What becomes of one series of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Ask the chain.
    Unknown,
    Keep {
        stream: StreamId,
    },
    Drop {
        reason: DropId,
    },
    Reject {
        refusal: Refusal,
        blame: BlameId,
    },
    /// With the labels at this place of [`Edits`].
    Edit {
        stream: StreamId,
        edit: u32,
    },
    /// Let through by the chain, but new, and the tenant has as many active series as it may have.
    OverActiveSeries,
    /// The same of its budget, which the write's new series know.
    OverBudget {
        budget: BudgetId,
    },
}

/// The labels of one write's edited series.
#[derive(Debug, Default)]
pub struct Edits {
    patches: Vec<Place>,
    /// What differs, one behind the other.
    middles: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    middle_end: usize,
    first: u16,
    last: u16,
}

impl Edits {
    /// # Errors
    /// If there is none. A series must not go on without labels.
    pub fn get(&self, edit: u32) -> Result<Patch<'_>, Bug> {
        let at = edit as usize;
        let start = at.checked_sub(1).and_then(|before| self.patches.get(before));
        let start = start.map_or(0, |before| before.middle_end);
        let place = self.patches.get(at).ok_or(Bug::NoEdit)?;
        Ok(Patch {
            first: place.first,
            middle: self.middles.get(start..place.middle_end).ok_or(Bug::NoEdit)?,
            last: place.last,
        })
    }

    /// Bytes that they add to a body at most: what they put in, and a longer length before it.
    pub fn put_in(&self) -> usize {
        self.middles.len() + self.patches.len() * size_of::<u32>()
    }

    /// Bytes of memory held.
    pub fn size(&self) -> usize {
        self.middles.capacity() + self.patches.capacity() * size_of::<Place>()
    }

    pub(super) fn push(&mut self, stream: StreamId, patch: &Patch<'_>) -> Fate {
        self.middles.extend_from_slice(patch.middle);
        self.patches.push(Place {
            middle_end: self.middles.len(),
            first: patch.first,
            last: patch.last,
        });
        Fate::Edit {
            stream,
            edit: (self.patches.len() - 1) as u32,
        }
    }

    /// What `verdict` means for one series of this write.
    pub fn fate(&mut self, verdict: &Verdict) -> Fate {
        match verdict {
            Verdict::Keep { stream, .. } => Fate::Keep { stream: *stream },
            Verdict::Drop { reason } => Fate::Drop { reason: *reason },
            Verdict::Reject { refusal, blame } => Fate::Reject {
                refusal: *refusal,
                blame: *blame,
            },
            Verdict::Edit { labels, stream, .. } => self.push(*stream, &Patch::whole(labels)),
        }
    }
}

/// An edited series' label bytes: the first and last ones of those sent, and others in between.
#[derive(Debug)]
pub(super) struct Edited<'e> {
    pub(super) middle: &'e [u8],
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) stream: StreamId,
}

impl<'e> Edited<'e> {
    pub(super) fn new(sent: &[u8], labels: &'e [u8], stream: StreamId) -> Self {
        let same = |limit: usize, pairs: &mut dyn Iterator<Item = (&u8, &u8)>| {
            let limit = limit.min(usize::from(u16::MAX));
            pairs.take(limit).take_while(|(a, b)| a == b).count()
        };
        let shorter = sent.len().min(labels.len());
        let first = same(shorter, &mut sent.iter().zip(labels));
        let last = same(shorter - first, &mut sent.iter().rev().zip(labels.iter().rev()));
        Self {
            middle: &labels[first..labels.len() - last],
            first: first as u16,
            last: last as u16,
            stream,
        }
    }

    /// None if `sent` cannot be what the edit was made of.
    pub(super) fn of(&self, sent: &[u8]) -> Option<Patch<'e>> {
        (usize::from(self.first) + usize::from(self.last) <= sent.len()).then_some(Patch {
            first: self.first,
            middle: self.middle,
            last: self.last,
        })
    }
}
