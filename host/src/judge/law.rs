//! Host checks: what no plugin can switch off, applied to every series after the chain.
//!
//! Takes a label set (a sender's or a plugin's: both are network input), gives the labels that may be forwarded or
//! the reason they may not. Closes the ways by which a label could name another tenant (I2). Pure.

use crate::config;
use crate::model::Label;
use crate::wire::labels::{label_bytes, labels};

/// Why a host check refused a series. The number is what the memo stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Refusal {
    NoLabels,
    MissingMetricName,
    EmptyLabelName,
    DuplicateLabel,
    TooManyLabels,
    LabelNameTooLong,
    LabelValueTooLong,
    LegacyName,
    ReservedLabelTaken,
    /// Not a check of labels: the tenant has as many active series as it may have. Never remembered.
    OverActiveSeries,
}

impl Refusal {
    pub const ALL: [Self; 10] = [
        Self::NoLabels,
        Self::MissingMetricName,
        Self::EmptyLabelName,
        Self::DuplicateLabel,
        Self::TooManyLabels,
        Self::LabelNameTooLong,
        Self::LabelValueTooLong,
        Self::LegacyName,
        Self::ReservedLabelTaken,
        Self::OverActiveSeries,
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
            Self::EmptyLabelName => "empty_label_name",
            Self::DuplicateLabel => "duplicate_label",
            Self::TooManyLabels => "too_many_labels",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::LegacyName => "not_a_legacy_name",
            Self::ReservedLabelTaken => "reserved_label_taken",
            Self::OverActiveSeries => "over_active_series",
        }
    }

    /// What the sender is told.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoLabels => "no labels are left",
            Self::MissingMetricName => "no metric name",
            Self::EmptyLabelName => "an empty label name",
            Self::DuplicateLabel => "a label name twice",
            Self::TooManyLabels => "more labels than max_labels_per_series",
            Self::LabelNameTooLong => "a label name longer than max_label_name_length",
            Self::LabelValueTooLong => "a label value longer than max_label_value_length",
            Self::LegacyName => "a name outside [a-zA-Z_][a-zA-Z0-9_]*",
            Self::ReservedLabelTaken => "a reserved label whose exported_ name is taken as well",
            Self::OverActiveSeries => "a new series over max_active_series",
        }
    }
}

/// The part of a tenant's configuration that host checks read.
#[derive(Debug, Clone)]
pub struct HostChecks {
    max_labels: usize,
    max_name: usize,
    max_value: usize,
    /// Sorted.
    reserved: Vec<String>,
    legacy_names: bool,
}

/// The result for labels that came as the sender sent them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// Forward as they are.
    AsSent,
    /// Forward these.
    Labels(Vec<Label>),
    Refused(Refusal),
}

const METRIC_NAME: &str = "__name__";
const EXPORTED: &str = "exported_";

impl HostChecks {
    pub fn new(tenant: &config::Tenant) -> Self {
        let mut reserved = tenant.reserved_labels.clone();
        reserved.sort_unstable();
        reserved.dedup();
        Self {
            max_labels: tenant.limits.max_labels_per_series,
            max_name: tenant.limits.max_label_name_length,
            max_value: tenant.limits.max_label_value_length,
            reserved,
            legacy_names: tenant.legacy_names,
        }
    }

    /// Checks labels that no policy changed, as they were sent: canonical, so sorted, unique and not empty.
    pub fn check_sent(&self, sent: &[u8]) -> Checked {
        let mut reserved = false;
        let refusal = self.refusal(label_bytes(sent).inspect(|(name, _)| reserved |= self.is_reserved(name)));
        if reserved {
            let owned = labels(sent)
                .map(|(name, value)| Label {
                    name: name.into(),
                    value: value.into(),
                })
                .collect();
            return match self.check_edited(owned) {
                Ok(labels) => Checked::Labels(labels),
                Err(refusal) => Checked::Refused(refusal),
            };
        }
        match refusal {
            Some(refusal) => Checked::Refused(refusal),
            None => Checked::AsSent,
        }
    }

    /// Checks labels that a policy returned, in any order and with anything in them.
    ///
    /// # Errors
    /// The first check that does not hold.
    pub fn check_edited(&self, mut labels: Vec<Label>) -> Result<Vec<Label>, Refusal> {
        labels.retain(|label| !label.value.is_empty());
        self.rename_reserved(&mut labels)?;
        labels.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        if labels.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(Refusal::DuplicateLabel);
        }
        match self.refusal(labels.iter().map(|l| (l.name.as_bytes(), l.value.as_bytes()))) {
            Some(refusal) => Err(refusal),
            None => Ok(labels),
        }
    }

    /// `tenant_id` becomes `exported_tenant_id`, as Prometheus does where a scrape conflicts with its own labels.
    fn rename_reserved(&self, labels: &mut [Label]) -> Result<(), Refusal> {
        for i in 0..labels.len() {
            if self.is_reserved(labels[i].name.as_bytes()) {
                let name = format!("{EXPORTED}{}", labels[i].name);
                if self.is_reserved(name.as_bytes()) || labels.iter().any(|label| label.name == name) {
                    return Err(Refusal::ReservedLabelTaken);
                }
                labels[i].name = name;
            }
        }
        Ok(())
    }

    fn is_reserved(&self, name: &[u8]) -> bool {
        self.reserved.iter().any(|reserved| reserved.as_bytes() == name)
    }

    fn refusal<'a>(&self, labels: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<Refusal> {
        let mut count = 0;
        let mut named = false;
        for (name, value) in labels {
            count += 1;
            named |= name == METRIC_NAME.as_bytes();
            if name.is_empty() {
                return Some(Refusal::EmptyLabelName);
            }
            if name.len() > self.max_name {
                return Some(Refusal::LabelNameTooLong);
            }
            if value.len() > self.max_value {
                return Some(Refusal::LabelValueTooLong);
            }
            if self.legacy_names && !is_legacy(name, value) {
                return Some(Refusal::LegacyName);
            }
        }
        match count {
            0 => Some(Refusal::NoLabels),
            _ if !named => Some(Refusal::MissingMetricName),
            n if n > self.max_labels => Some(Refusal::TooManyLabels),
            _ => None,
        }
    }
}

/// Prometheus' legacy validation: label names without a colon, metric names with one allowed.
fn is_legacy(name: &[u8], value: &[u8]) -> bool {
    let legal = |text: &[u8], colon: bool| {
        !text.first().is_some_and(u8::is_ascii_digit)
            && text
                .iter()
                .all(|c| c.is_ascii_alphanumeric() || *c == b'_' || (colon && *c == b':'))
    };
    legal(name, false) && (name != METRIC_NAME.as_bytes() || legal(value, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::labels::encode_labels;

    fn encoded(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_labels(pairs.iter().copied(), &mut bytes);
        bytes
    }

    fn checks() -> HostChecks {
        HostChecks {
            max_labels: 4,
            max_name: 30,
            max_value: 8,
            reserved: vec!["receiver_replica".into(), "tenant_id".into()],
            legacy_names: false,
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
        pairs
            .iter()
            .map(|(n, v)| Label {
                name: (*n).into(),
                value: (*v).into(),
            })
            .collect()
    }

    fn sent(pairs: &[(&str, &str)]) -> Checked {
        checks().check_sent(&encoded(pairs))
    }

    #[test]
    fn a_reserved_label_is_renamed_whoever_wrote_it() {
        let forged = [("__name__", "up"), ("tenant_id", "other")];
        let renamed = labels(&[("__name__", "up"), ("exported_tenant_id", "other")]);
        assert_eq!(sent(&forged), Checked::Labels(renamed.clone()));
        assert_eq!(checks().check_edited(labels(&forged)), Ok(renamed));
    }

    #[test]
    fn a_reserved_label_whose_new_name_is_taken_is_refused() {
        let forged = [("__name__", "up"), ("exported_tenant_id", "a"), ("tenant_id", "b")];
        assert_eq!(sent(&forged), Checked::Refused(Refusal::ReservedLabelTaken));
    }

    #[test]
    fn a_plugins_labels_are_sorted_and_empty_values_vanish() {
        let out = checks().check_edited(labels(&[("b", "2"), ("gone", ""), ("__name__", "up"), ("a", "1")]));
        assert_eq!(out, Ok(labels(&[("__name__", "up"), ("a", "1"), ("b", "2")])));
    }

    #[test]
    fn nonsense_from_a_plugin_is_refused_by_its_name() {
        let edited = |pairs: &[(&str, &str)]| checks().check_edited(labels(pairs));
        assert_eq!(edited(&[]), Err(Refusal::NoLabels));
        assert_eq!(edited(&[("a", "1")]), Err(Refusal::MissingMetricName));
        assert_eq!(edited(&[("__name__", "")]), Err(Refusal::NoLabels));
        assert_eq!(edited(&[("__name__", "a"), ("", "x")]), Err(Refusal::EmptyLabelName));
        assert_eq!(
            edited(&[("__name__", "a"), ("b", "x"), ("b", "y")]),
            Err(Refusal::DuplicateLabel)
        );
    }

    #[test]
    fn each_label_limit_holds_at_it_and_not_above() {
        let four = [("__name__", "up"), ("a", "1"), ("b", "1"), ("c", "1")];
        assert_eq!(sent(&four), Checked::AsSent);
        let five = [("__name__", "up"), ("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
        assert_eq!(sent(&five), Checked::Refused(Refusal::TooManyLabels));
        let name = |n: usize| "n".repeat(n);
        assert_eq!(sent(&[("__name__", "up"), (&name(30), "1")]), Checked::AsSent);
        assert_eq!(
            sent(&[("__name__", "up"), (&name(31), "1")]),
            Checked::Refused(Refusal::LabelNameTooLong)
        );
        assert_eq!(sent(&[("__name__", "12345678")]), Checked::AsSent);
        assert_eq!(
            sent(&[("__name__", "123456789")]),
            Checked::Refused(Refusal::LabelValueTooLong)
        );
    }

    #[test]
    fn legacy_names_are_enforced_only_where_asked_for() {
        let utf8 = [("__name__", "a:b"), ("größe", "1")];
        assert_eq!(sent(&utf8), Checked::AsSent);
        let mut strict = checks();
        strict.legacy_names = true;
        assert_eq!(
            strict.check_sent(&encoded(&utf8)),
            Checked::Refused(Refusal::LegacyName)
        );
        assert_eq!(
            strict.check_sent(&encoded(&[("__name__", "a:b"), ("x_1", "1")])),
            Checked::AsSent
        );
        assert_eq!(
            strict.check_sent(&encoded(&[("__name__", "a"), ("x:1", "1")])),
            Checked::Refused(Refusal::LegacyName)
        );
    }

    #[test]
    fn a_refusal_survives_the_memo() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(refusal.code()), Some(refusal));
        }
        assert_eq!(Refusal::from_code(200), None);
    }
}
