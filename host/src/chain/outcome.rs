//! What a chain makes of one series.
//!
//! Takes what each policy says of it, which is checked like network input: gives what the next one is asked about, and what
//! the law judges in the end. Never applies a tenant's own rules.

use std::sync::Arc;

use super::labels::{LabelSet, Unfit};
use super::member::Member;
use super::words::check_name;
use crate::model::{Label, MAX_BUDGET_LENGTH, Refusal, SeriesBudget, plain};
use crate::sandbox::types::{Budget, Edit, Verdict};
use crate::wire::labels::labels;
use crate::wire::shown_whole;

/// What the chain makes of one series. Where a policy says what can be no series, that one is refused and the others go
/// on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `stream` `None`: the default stream. `budget` `None`: it counts against none.
    Keep {
        stream: Option<Arc<str>>,
        budget: Option<Arc<SeriesBudget>>,
    },
    /// `policy`: the name of the one that dropped it.
    Drop { policy: Arc<str>, reason: Arc<str> },
    Edit {
        labels: LabelSet,
        stream: Option<Arc<str>>,
        budget: Option<Arc<SeriesBudget>>,
    },
    /// It came with more labels than a policy is asked about, so none was. Not to go on: what a policy would have dropped or
    /// redacted nobody knows.
    TooLarge,
    /// `policy`: the name of the one whose word cannot be done.
    Reject { policy: Arc<str>, unfit: Unfit },
}

impl Outcome {
    /// Before any policy had its say.
    pub const UNTOUCHED: Self = Self::Keep {
        stream: None,
        budget: None,
    };

    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Keep { .. } | Self::Edit { .. })
    }

    pub(super) fn unfit(&self) -> Option<&Unfit> {
        match self {
            Self::Reject { unfit, .. } => Some(unfit),
            _ => None,
        }
    }

    /// As it may be logged: without the values of labels.
    pub(super) fn told(&self) -> String {
        let counted = match self.budget() {
            Some(budget) => format!(" against a budget of {}", budget.max_active_series),
            None => String::new(),
        };
        let apart = match self.stream() {
            Some(stream) => format!(" in stream {stream}{counted}"),
            None => counted,
        };
        match self {
            Self::Keep { .. } => format!("keep{apart}"),
            Self::Drop { reason, .. } => format!("drop ({reason})"),
            Self::Edit { .. } => format!("edit{apart}"),
            Self::TooLarge => "refuse (too many labels)".to_owned(),
            Self::Reject { unfit, .. } => format!("refuse ({})", unfit.refusal.text()),
        }
    }

    /// For operators, cut to `most` bytes.
    pub(super) fn shown(&self, most: usize) -> String {
        let Self::Edit { labels, .. } = self else {
            return plain(&self.told(), most);
        };
        let parts = labels
            .iter()
            .map(|label| (label.name.as_bytes(), label.value.as_bytes()));
        plain(&format!("{}: {}", self.told(), shown_whole(parts, most)), most)
    }

    pub(super) fn stream(&self) -> Option<&Arc<str>> {
        match self {
            Self::Keep { stream, .. } | Self::Edit { stream, .. } => stream.as_ref(),
            _ => None,
        }
    }

    fn budget(&self) -> Option<&Arc<SeriesBudget>> {
        match self {
            Self::Keep { budget, .. } | Self::Edit { budget, .. } => budget.as_ref(),
            _ => None,
        }
    }

    /// Bytes of its labels.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Edit { labels, .. } => labels.bytes(),
            _ => 0,
        }
    }

    /// Does what one policy says of this series, or refuses the series where that cannot be done. `Some` where the next
    /// policy must be asked anew: with the bytes of the labels that are left on the series.
    pub(super) fn apply(&mut self, verdict: Verdict, member: &Member) -> Option<usize> {
        self.try_apply(verdict, member).unwrap_or_else(|unfit| {
            let policy = member.info.name.clone();
            *self = Self::Reject { policy, unfit };
            Some(0)
        })
    }

    fn try_apply(&mut self, verdict: Verdict, member: &Member) -> Result<Option<usize>, Unfit> {
        let (labels, stream, budget) = match verdict {
            Verdict::Keep => return Ok(None),
            Verdict::Drop(reason) => {
                *self = Self::Drop {
                    policy: member.info.name.clone(),
                    reason: member.reasons.reason(&reason),
                };
                return Ok(Some(0));
            }
            Verdict::Edit(Edit { labels, stream, budget }) => (labels, stream, budget),
        };
        let labels = labels.map(|labels| {
            LabelSet::check(labels.into_iter().map(|label| Label {
                name: label.name,
                value: label.value,
            }))
        });
        let labels = labels.transpose()?;
        let (Self::Keep {
            stream: old,
            budget: had,
        }
        | Self::Edit {
            stream: old,
            budget: had,
            ..
        }) = self
        else {
            return Ok(None);
        };
        if let Some(stream) = stream {
            *old = member.streams.stream(&stream)?;
        }
        if let Some(budget) = budget {
            *had = Some(Arc::new(checked(budget)?));
        }
        let Some(labels) = labels else { return Ok(None) };
        let (bytes, stream, budget) = (labels.bytes(), old.take(), had.take());
        *self = Self::Edit { labels, stream, budget };
        Ok(Some(bytes))
    }

    /// Edited into what it was sent as, it is kept: its bytes need not be written anew.
    pub(super) fn unless_as(self, sent: &[u8]) -> Self {
        match self {
            Self::Edit {
                labels: edited,
                stream,
                budget,
            } if labels(sent).eq(edited.iter().map(|label| (&*label.name, &*label.value))) => {
                Self::Keep { stream, budget }
            }
            other => other,
        }
    }
}

fn checked(budget: Budget) -> Result<SeriesBudget, Unfit> {
    let Budget {
        name,
        max_active_series,
    } = budget;
    match check_name("budget", &name, MAX_BUDGET_LENGTH) {
        Ok(()) if !name.is_empty() => Ok(SeriesBudget {
            name: Arc::from(name),
            max_active_series,
        }),
        _ => Err(Unfit::of(Refusal::BudgetName)),
    }
}
