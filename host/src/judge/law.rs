//! Host checks: what no plugin can switch off, applied to every series after the chain.
//!
//! Takes what the chain says of a series (its labels are a sender's or a plugin's: both are network input), gives the
//! verdict, with the label bytes as they may be forwarded or the reason they may not. Closes the ways by which a label
//! could name another tenant (I2). Runs at the end of the chain: on the plugin thread, where policies judge series.

use std::sync::Arc;

use super::verdict::{Bug, StreamId, Verdict};
use super::words::{DropWords, Words};
use crate::chain::{LabelSet, Outcome, Unfit};
use crate::config;
use crate::model::{Label, Refusal, SeriesBudget};
use crate::wire::labels::{encode_labels, label_bytes, labels};

/// The part of a tenant's configuration that host checks read.
#[derive(Debug, Clone)]
struct HostChecks {
    max_labels: usize,
    max_name: usize,
    max_value: usize,
    /// Sorted.
    reserved: Vec<String>,
    legacy_names: bool,
}

const METRIC_NAME: &str = "__name__";
const EXPORTED: &str = "exported_";

/// One generation's host checks, and the words its verdicts stand for.
pub struct Law {
    checks: HostChecks,
    words: Words,
}

impl Law {
    pub fn new(tenant: &config::Tenant) -> Self {
        Self {
            checks: HostChecks::new(tenant),
            words: Words::default(),
        }
    }

    pub fn words(&self) -> &Words {
        &self.words
    }

    /// What becomes of a series that was sent with the label bytes `sent`.
    ///
    /// # Errors
    /// If there is no number for a word.
    pub fn verdict(&self, sent: &[u8], outcome: Outcome) -> Result<Verdict, Bug> {
        let judged = match outcome {
            Outcome::Drop { policy, reason } => {
                let reason = self.words.drop_id(&DropWords { policy, reason })?;
                return Ok(Verdict::Drop { reason });
            }
            // By the tenant's own limits, if it is over one.
            Outcome::TooLarge => self
                .checks
                .check_sent(sent)
                .and(Err(Unfit::of(Refusal::LabelsTooLarge))),
            Outcome::Reject { policy, unfit } => return Ok(self.reject(Some(policy), &unfit)),
            Outcome::Keep { stream, budget } => self.keep(sent, stream, budget),
            Outcome::Edit { labels, stream, budget } => self.edit(sent, labels, stream, budget),
        };
        Ok(judged.unwrap_or_else(|unfit| self.reject(None, &unfit)))
    }

    fn keep(&self, sent: &[u8], stream: Option<Arc<str>>, budget: Option<Arc<SeriesBudget>>) -> Result<Verdict, Unfit> {
        let stream = self.stream(stream)?;
        Ok(match self.checks.check_sent(sent)? {
            None => Verdict::Keep { stream, budget },
            Some(labels) => Verdict::Edit { labels, stream, budget },
        })
    }

    fn edit(
        &self,
        sent: &[u8],
        labels: LabelSet,
        stream: Option<Arc<str>>,
        budget: Option<Arc<SeriesBudget>>,
    ) -> Result<Verdict, Unfit> {
        let stream = self.stream(stream)?;
        let labels = self.checks.check_edited(labels)?;
        Ok(match labels == sent {
            // Renamed into what it was sent as, it is kept.
            true => Verdict::Keep { stream, budget },
            false => Verdict::Edit { labels, stream, budget },
        })
    }

    /// No policy alone is at fault where there are too many: each has kept its own bound.
    fn stream(&self, name: Option<Arc<str>>) -> Result<StreamId, Unfit> {
        let number = name.map_or(Some(0), |name| self.words.stream_id(&name));
        number.ok_or_else(|| Unfit::of(Refusal::TooManyStreams))
    }

    fn reject(&self, policy: Option<Arc<str>>, unfit: &Unfit) -> Verdict {
        let label = Some(&*unfit.label).filter(|label| !label.is_empty());
        Verdict::Reject {
            refusal: unfit.refusal,
            blame: self.words.blame_id(policy, label),
        }
    }
}

impl HostChecks {
    fn new(tenant: &config::Tenant) -> Self {
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

    /// Checks labels that no policy changed, as they were sent: canonical, so sorted, unique and not empty. `None` if
    /// they may go on as they are, else the label bytes that may.
    fn check_sent(&self, sent: &[u8]) -> Result<Option<Vec<u8>>, Unfit> {
        let mut reserved = false;
        let unfit = self.unfit(label_bytes(sent).inspect(|(name, _)| reserved |= self.is_reserved(name)));
        if reserved {
            let owned = labels(sent).map(|(name, value)| Label {
                name: name.into(),
                value: value.into(),
            });
            return self.check(owned.collect()).map(Some);
        }
        unfit.map_or(Ok(None), Err)
    }

    /// Checks labels that policies made, and gives the label bytes that may go on.
    fn check_edited(&self, labels: LabelSet) -> Result<Vec<u8>, Unfit> {
        self.check(labels.into_vec())
    }

    /// Of labels in order, each once, none of them empty; gives them so, as label bytes.
    fn check(&self, mut labels: Vec<Label>) -> Result<Vec<u8>, Unfit> {
        if self.rename_reserved(&mut labels)? {
            labels.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        }
        if let Some(unfit) = self.unfit(labels.iter().map(|l| (l.name.as_bytes(), l.value.as_bytes()))) {
            return Err(unfit);
        }
        let mut bytes = Vec::new();
        encode_labels(labels.iter().map(|label| (&*label.name, &*label.value)), &mut bytes);
        Ok(bytes)
    }

    /// `tenant_id` becomes `exported_tenant_id`, as Prometheus does where a scrape conflicts with its own labels. Whether
    /// any did: each is still there once, but maybe out of order.
    fn rename_reserved(&self, labels: &mut [Label]) -> Result<bool, Unfit> {
        let mut renamed = false;
        for i in 0..labels.len() {
            if self.is_reserved(labels[i].name.as_bytes()) {
                let name = format!("{EXPORTED}{}", labels[i].name);
                if self.is_reserved(name.as_bytes()) || labels.iter().any(|label| label.name == name) {
                    return Err(at_fault(Refusal::ReservedLabelTaken, labels[i].name.as_bytes()));
                }
                labels[i].name = name;
                renamed = true;
            }
        }
        Ok(renamed)
    }

    fn is_reserved(&self, name: &[u8]) -> bool {
        self.reserved.iter().any(|reserved| reserved.as_bytes() == name)
    }

    fn unfit<'a>(&self, labels: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<Unfit> {
        let mut count = 0;
        let mut named = false;
        for (name, value) in labels {
            count += 1;
            named |= name == METRIC_NAME.as_bytes();
            if name.len() > self.max_name {
                return Some(at_fault(Refusal::LabelNameTooLong, name));
            }
            if value.len() > self.max_value {
                return Some(at_fault(Refusal::LabelValueTooLong, name));
            }
            if self.legacy_names && !is_legacy(name, value) {
                return Some(at_fault(Refusal::LegacyName, name));
            }
        }
        match count {
            0 => Some(Unfit::of(Refusal::NoLabels)),
            _ if !named => Some(Unfit::of(Refusal::MissingMetricName)),
            n if n > self.max_labels => Some(Unfit::of(Refusal::TooManyLabels)),
            _ => None,
        }
    }
}

fn at_fault(refusal: Refusal, label: &[u8]) -> Unfit {
    Unfit {
        refusal,
        label: String::from_utf8_lossy(label).into_owned(),
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
    use std::sync::Arc;

    use super::*;

    fn encoded(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_labels(pairs.iter().copied(), &mut bytes);
        bytes
    }

    fn law() -> Law {
        let checks = HostChecks {
            max_labels: 4,
            max_name: 30,
            max_value: 8,
            reserved: vec!["receiver_replica".into(), "tenant_id".into()],
            legacy_names: false,
        };
        let words = Words::default();
        Law { checks, words }
    }

    fn labels(pairs: &[(&str, &str)]) -> LabelSet {
        let label = |(name, value): &(&str, &str)| Label {
            name: (*name).into(),
            value: (*value).into(),
        };
        LabelSet::check(pairs.iter().map(label)).unwrap()
    }

    fn kept(law: &Law, pairs: &[(&str, &str)]) -> Verdict {
        let outcome = Outcome::Keep {
            stream: None,
            budget: None,
        };
        law.verdict(&encoded(pairs), outcome).unwrap()
    }

    fn sent(pairs: &[(&str, &str)]) -> Verdict {
        kept(&law(), pairs)
    }

    fn edited(sent: &[(&str, &str)], pairs: &[(&str, &str)]) -> Verdict {
        let outcome = Outcome::Edit {
            labels: labels(pairs),
            stream: None,
            budget: None,
        };
        law().verdict(&encoded(sent), outcome).unwrap()
    }

    const AS_SENT: Verdict = Verdict::Keep {
        stream: 0,
        budget: None,
    };

    fn refused(refusal: Refusal) -> Verdict {
        Verdict::Reject { refusal, blame: 0 }
    }

    /// With the first label that this law has named.
    fn refused_for_a_label(refusal: Refusal) -> Verdict {
        Verdict::Reject { refusal, blame: 1 }
    }

    #[test]
    fn a_reserved_label_is_renamed_whoever_wrote_it() {
        let forged = [("__name__", "up"), ("job", "a"), ("tenant_id", "other")];
        let renamed = Verdict::Edit {
            labels: encoded(&[("__name__", "up"), ("exported_tenant_id", "other"), ("job", "a")]),
            stream: 0,
            budget: None,
        };
        assert_eq!(sent(&forged), renamed);
        assert_eq!(edited(&[("__name__", "up")], &forged), renamed);
    }

    #[test]
    fn a_series_renamed_into_what_it_was_sent_as_is_kept() {
        let as_sent = [("__name__", "up"), ("exported_tenant_id", "other")];
        assert_eq!(edited(&as_sent, &[("__name__", "up"), ("tenant_id", "other")]), AS_SENT);
    }

    #[test]
    fn a_reserved_label_whose_new_name_is_taken_is_refused() {
        let forged = [("__name__", "up"), ("exported_tenant_id", "a"), ("tenant_id", "b")];
        assert_eq!(sent(&forged), refused_for_a_label(Refusal::ReservedLabelTaken));
    }

    #[test]
    fn nonsense_from_a_plugin_is_refused_by_its_name() {
        let edited = |pairs: &[(&str, &str)]| edited(&[("__name__", "up")], pairs);
        assert_eq!(edited(&[]), refused(Refusal::NoLabels));
        assert_eq!(edited(&[("a", "1")]), refused(Refusal::MissingMetricName));
        assert_eq!(edited(&[("__name__", "")]), refused(Refusal::NoLabels));
    }

    #[test]
    fn each_label_limit_holds_at_it_and_not_above() {
        let four = [("__name__", "up"), ("a", "1"), ("b", "1"), ("c", "1")];
        assert_eq!(sent(&four), AS_SENT);
        let five = [("__name__", "up"), ("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
        assert_eq!(sent(&five), refused(Refusal::TooManyLabels));
        let name = |n: usize| "n".repeat(n);
        assert_eq!(sent(&[("__name__", "up"), (&name(30), "1")]), AS_SENT);
        assert_eq!(
            sent(&[("__name__", "up"), (&name(31), "1")]),
            refused_for_a_label(Refusal::LabelNameTooLong)
        );
        assert_eq!(sent(&[("__name__", "12345678")]), AS_SENT);
        assert_eq!(
            sent(&[("__name__", "123456789")]),
            refused_for_a_label(Refusal::LabelValueTooLong)
        );
    }

    #[test]
    fn legacy_names_are_enforced_only_where_asked_for() {
        let utf8 = [("__name__", "a:b"), ("größe", "1")];
        assert_eq!(sent(&utf8), AS_SENT);
        let mut strict = law();
        strict.checks.legacy_names = true;
        assert_eq!(kept(&strict, &utf8), refused_for_a_label(Refusal::LegacyName));
        assert_eq!(kept(&strict, &[("__name__", "a:b"), ("x_1", "1")]), AS_SENT);
        assert_eq!(
            kept(&strict, &[("__name__", "a"), ("x:1", "1")]),
            Verdict::Reject {
                refusal: Refusal::LegacyName,
                blame: 2
            }
        );
    }

    #[test]
    fn what_can_be_no_series_is_refused_in_the_name_of_its_policy_and_of_the_label_at_fault() {
        let law = law();
        let unfit = Unfit {
            refusal: Refusal::DuplicateLabel,
            label: "job".into(),
        };
        let policy: Arc<str> = Arc::from("relabel");
        let (up, outcome) = (
            encoded(&[("__name__", "up")]),
            Outcome::Reject {
                policy: policy.clone(),
                unfit,
            },
        );
        let Ok(Verdict::Reject { refusal, blame }) = law.verdict(&up, outcome) else {
            panic!()
        };
        let blame = law.words().of_blame(blame).unwrap();
        assert_eq!(
            (refusal, blame.policy, blame.label.as_deref()),
            (Refusal::DuplicateLabel, Some(policy), Some("job"))
        );
        let long = kept(&law, &[("__name__", "up"), ("job", "123456789")]);
        let Verdict::Reject { blame, .. } = long else { panic!() };
        let blame = law.words().of_blame(blame).unwrap();
        assert_eq!((blame.policy, blame.label.as_deref()), (None, Some("job")));
    }

    #[test]
    fn a_series_that_no_policy_could_be_asked_about_is_refused_by_its_limits_or_for_that() {
        let of = |value: &str| {
            let sent = encoded(&[("__name__", "up"), ("job", value)]);
            law().verdict(&sent, Outcome::TooLarge).unwrap()
        };
        assert_eq!(of("123456789"), refused_for_a_label(Refusal::LabelValueTooLong));
        // Not even if nothing else speaks against it.
        assert_eq!(of("12345678"), refused(Refusal::LabelsTooLarge));
    }

    #[test]
    fn a_policys_words_come_back_as_the_chain_gave_them() {
        let law = law();
        let words = DropWords {
            policy: Arc::from("relabel"),
            // As long as a chain makes it, with its mark.
            reason: Arc::from(format!("{}…", "r".repeat(64))),
        };
        let DropWords { policy, reason } = words.clone();
        let verdict = law.verdict(&[], Outcome::Drop { policy, reason });
        assert_eq!(verdict, Ok(Verdict::Drop { reason: 0 }));
        assert_eq!(law.words().of_drop(0), Ok(words));
        let stream: Option<Arc<str>> = Some(Arc::from("kube"));
        let budget = Some(Arc::new(SeriesBudget {
            name: Arc::from("up"),
            max_active_series: 7,
        }));
        let outcome = Outcome::Keep {
            stream,
            budget: budget.clone(),
        };
        let verdict = law.verdict(&encoded(&[("__name__", "up")]), outcome);
        assert_eq!(verdict, Ok(Verdict::Keep { stream: 1, budget }));
    }
}
