//! Why a series does not go on though no policy dropped it.
//!
//! Takes a host check that did not hold, on what was sent or on what a policy says of it; gives the words for the sender
//! and for metrics, and the number that the memo keeps. Pure.

/// Why a series is refused while the rest of its write goes on. The number is what the memo stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Refusal {
    NoLabels,
    MissingMetricName,
    TooManyLabels,
    LabelNameTooLong,
    LabelValueTooLong,
    LegacyName,
    ReservedLabelTaken,
    /// Not a check of labels: the tenant has as many active series as it may have. Never remembered.
    OverActiveSeries,
    /// This and those below are what a policy makes of it: no series of any tenant.
    EmptyLabelName,
    DuplicateLabel,
    LabelsTooLarge,
    StreamName,
    TooManyStreams,
    /// Two fresh instances of a policy failed on it alone.
    FailsPolicy,
    /// What a policy makes of it.
    BudgetName,
    /// Not a check of labels: its budget has as many active series as it may have. Never remembered as a verdict.
    OverBudget,
}

impl Refusal {
    pub const ALL: [Self; 16] = [
        Self::NoLabels,
        Self::MissingMetricName,
        Self::TooManyLabels,
        Self::LabelNameTooLong,
        Self::LabelValueTooLong,
        Self::LegacyName,
        Self::ReservedLabelTaken,
        Self::OverActiveSeries,
        Self::EmptyLabelName,
        Self::DuplicateLabel,
        Self::LabelsTooLarge,
        Self::StreamName,
        Self::TooManyStreams,
        Self::FailsPolicy,
        Self::BudgetName,
        Self::OverBudget,
    ];

    pub fn code(self) -> u8 {
        self as u8
    }

    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The metric's `reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoLabels => "no_labels",
            Self::MissingMetricName => "missing_metric_name",
            Self::TooManyLabels => "too_many_labels",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::LegacyName => "not_a_legacy_name",
            Self::ReservedLabelTaken => "reserved_label_taken",
            Self::OverActiveSeries => "over_active_series",
            Self::EmptyLabelName => "empty_label_name",
            Self::DuplicateLabel => "duplicate_label",
            Self::LabelsTooLarge => "labels_too_large",
            Self::StreamName => "stream_name",
            Self::TooManyStreams => "too_many_streams",
            Self::FailsPolicy => "fails_policy",
            Self::BudgetName => "budget_name",
            Self::OverBudget => "over_budget",
        }
    }

    /// What the sender is told.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoLabels => "no labels are left",
            Self::MissingMetricName => "no metric name",
            Self::TooManyLabels => "more labels than max_labels_per_series",
            Self::LabelNameTooLong => "a label name longer than max_label_name_length",
            Self::LabelValueTooLong => "a label value longer than max_label_value_length",
            Self::LegacyName => "a name outside [a-zA-Z_][a-zA-Z0-9_]*",
            Self::ReservedLabelTaken => "a reserved label whose exported_ name is taken as well",
            Self::OverActiveSeries => "a new series over max_active_series",
            Self::EmptyLabelName => "an empty label name",
            Self::DuplicateLabel => "a label name that occurs twice",
            Self::LabelsTooLarge => "more labels, in number or in bytes, than policies are asked about or may leave",
            Self::StreamName => "a stream name that is too long or has control characters",
            Self::TooManyStreams => "one stream more than policies may name",
            Self::FailsPolicy => "labels that a policy fails on",
            Self::BudgetName => "a budget name that is empty, too long or has control characters",
            Self::OverBudget => "a new series over its budget",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_survives_the_memo() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(refusal.code()), Some(refusal));
        }
        assert_eq!(Refusal::from_code(200), None);
    }
}
