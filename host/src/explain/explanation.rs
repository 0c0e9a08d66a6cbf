//! What is told of a series that was asked about: the words of the admin API and of the command line.
//!
//! Takes what was found on its way, gives plain values that go to JSON and back. Never asks anything.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::config::OverRate;
use crate::model::{Label, series_text};
use crate::respond::{Answer, Context, Failure, Stored, stored_as};

/// A question: these series, as Prometheus writes them, of this tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inquiry {
    pub tenant: String,
    pub series: Vec<String>,
    /// In place of the tenant's own policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<AskedPolicy>>,
}

/// A policy that nobody has configured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedPolicy {
    /// Its name; without one it has that of its plugin.
    #[serde(default, alias = "name", skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    pub plugin: String,
    #[serde(default)]
    pub settings: serde_json::Value,
}

/// The answer to one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    pub tenant: String,
    /// Of the tenant's configuration.
    pub generation: u64,
    /// In the order of the question.
    pub explanations: Vec<Explanation>,
}

/// What became of one series, sent alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// As it was asked about.
    pub series: String,
    /// Each policy that judges series, then the host's own checks, then each policy that judges writes.
    pub steps: Vec<ExplainedStep>,
    pub active_series: u64,
    pub max_active_series: u64,
    /// Whether it would count as one more.
    pub is_new: bool,
    /// `None` if it does not go on.
    pub forwarded: Option<ForwardedAs>,
    pub answer: GivenAnswer,
}

/// What one policy, or the host, made of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ExplainedStep {
    /// `series` or `write`.
    pub about: String,
    /// `None`: the host's own checks.
    pub policy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// `operator` or `tenant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `shadow` or `enforce 10%`; `None` if its word counts always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// With a mode, if it was asked: whether its word counts here. If not, what it said is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<bool>,
    /// `keep`, `edit`, `drop`, `refuse`, `admit`, `reject`, `left_out`, `failed` or `not_asked`.
    pub said: String,
    /// Its reason, or what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The series as it came to this step, and as it left it; none of what is about the write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelChange>,
    /// That the series was put into here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// That it counts against from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<AskedBudget>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<AskedCharge>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<AskedRoute>,
}

/// `from` `None`: it was added; `to` `None`: it was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelChange {
    pub label: String,
    pub from: Option<String>,
    pub to: Option<String>,
}

/// Where it has so many active series, new ones are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedBudget {
    pub name: String,
    pub max_active_series: u64,
}

/// Tokens that a policy asks of one of its buckets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AskedCharge {
    pub bucket: String,
    pub tokens: u64,
    pub per_second: f64,
    pub burst: u64,
}

/// Where a policy sends a stream. An empty name is the default stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedRoute {
    pub stream: String,
    pub upstream: String,
}

/// What goes on, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedAs {
    pub series: String,
    /// Empty: the default stream.
    pub stream: String,
    pub upstream: String,
}

/// What the sender would be told, if the upstream takes what goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenAnswer {
    pub status: u16,
    /// The metric's and the log's word; `None` if all is well.
    pub reason: Option<String>,
    pub text: String,
    pub retry_after_seconds: Option<u64>,
}

impl GivenAnswer {
    /// To a write that ended well, though something of it may be refused.
    pub(super) fn stored(stored: &Stored) -> Self {
        let (status, text) = stored_as(stored);
        let reason = stored.refused.first().map(|refused| refused.reason.to_owned());
        Self {
            status: status.as_u16(),
            reason,
            text: text.unwrap_or_default(),
            retry_after_seconds: None,
        }
    }

    /// At a first attempt.
    pub(super) fn failed(failure: &Failure, over_rate: OverRate) -> Self {
        let Answer {
            status,
            retry_after_seconds,
            text,
            reason,
        } = failure.answer(&Context::plain(over_rate));
        Self {
            status: status.as_u16(),
            reason: Some(reason.to_owned()),
            text,
            retry_after_seconds,
        }
    }

    /// Nothing was refused, dropped on purpose though it may be.
    pub fn is_good(&self) -> bool {
        StatusCode::from_u16(self.status).is_ok_and(|status| status.is_success())
    }
}

/// As Prometheus writes it.
pub fn text_of(labels: &[Label]) -> String {
    series_text(labels.iter().map(|label| (&*label.name, &*label.value)))
}

impl LabelChange {
    /// What differs between two label sets, each sorted by name.
    pub(super) fn between(before: &[Label], after: &[Label]) -> Vec<Self> {
        let mut changes = Vec::new();
        let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
        loop {
            let (from, to) = match (old.peek(), new.peek()) {
                (None, None) => return changes,
                (Some(a), Some(b)) if a.name == b.name => (old.next(), new.next()),
                (Some(a), Some(b)) if a.name < b.name => (old.next(), None),
                (Some(_), None) => (old.next(), None),
                (_, Some(_)) => (None, new.next()),
            };
            let value = |label: Option<&Label>| label.map(|label| label.value.clone());
            if let Some(label) = from.or(to).filter(|_| value(from) != value(to)) {
                changes.push(Self {
                    label: label.name.clone(),
                    from: value(from),
                    to: value(to),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse_series;

    #[test]
    fn what_differs_between_two_series_is_told_by_label() {
        let of = |text| parse_series(text).unwrap();
        let changes = LabelChange::between(&of(r#"up{a="1",b="2",c="3"}"#), &of(r#"up{b="2",c="4",d="5"}"#));
        let told: Vec<_> = changes
            .iter()
            .map(|change| (&*change.label, change.from.as_deref(), change.to.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                ("a", Some("1"), None),
                ("c", Some("3"), Some("4")),
                ("d", None, Some("5"))
            ]
        );
        assert_eq!(LabelChange::between(&of("up"), &of("up")), []);
        assert_eq!(LabelChange::between(&of("up"), &[]).len(), 1);
    }
}
