//! What a plugin said of a series, in the form in which two such words can be compared.
//!
//! Takes verdicts, gives what the gateway would make of each by itself: label sets checked and in order, names that can be
//! names. What changes nothing is nothing. Never applies a tenant's own rules.

use super::shown::{quoted, show_name};
use crate::chain::{LabelSet, reason_kept, stream_fault};
use crate::model::{Label, Refusal};
use crate::sandbox::types::{Edit, Verdict};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Pass(Passed),
    Drop {
        /// As it is counted and shown.
        reason: String,
        /// Of several, the one that did.
        policy: Option<String>,
    },
    /// No such series goes on, whatever the policy wanted.
    Refuse {
        reason: &'static str,
        text: String,
    },
}

/// What is `None` stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    pub labels: Option<Vec<Label>>,
    pub stream: Option<String>,
    /// Its name and the most active series.
    pub budget: Option<(String, u64)>,
}

/// Of a series that was sent with these labels.
pub fn of(verdict: Verdict, sent: &[Label]) -> Said {
    let (labels, stream, budget) = match verdict {
        Verdict::Keep => return Said::Pass(Passed::default()),
        Verdict::Drop(reason) => {
            return Said::Drop {
                reason: reason_kept(&reason),
                policy: None,
            };
        }
        Verdict::Edit(Edit { labels, stream, budget }) => (labels, stream, budget),
    };
    let labels = labels.map(|labels| {
        LabelSet::check(labels.into_iter().map(|label| Label {
            name: label.name,
            value: label.value,
        }))
    });
    let stream_fault = stream.as_deref().and_then(stream_fault);
    let labels = match (labels.transpose(), stream_fault) {
        (Err(unfit), _) => return refused(unfit.refusal, &unfit.label),
        (_, Some(refusal)) => return refused(refusal, ""),
        (Ok(labels), None) => labels.map(LabelSet::into_vec),
    };
    Said::Pass(Passed {
        labels: labels.filter(|labels| labels != sent),
        stream,
        budget: budget.map(|budget| (budget.name, budget.max_active_series)),
    })
}

fn refused(refusal: Refusal, label: &str) -> Said {
    let at = match label {
        "" => String::new(),
        name => format!(": {}", show_name(name)),
    };
    Said::Refuse {
        reason: refusal.reason(),
        text: format!("{}{at}", refusal.text()),
    }
}

impl Said {
    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass(passed) if *passed == Passed::default() => "keep",
            Self::Pass(_) => "edit",
            Self::Drop { .. } => "drop",
            Self::Refuse { .. } => "refuse",
        }
    }

    /// In one line.
    pub fn line(&self) -> String {
        match self {
            Self::Pass(passed) => {
                let stream = passed
                    .stream
                    .as_ref()
                    .map(|stream| format!(", stream {}", quoted(stream)));
                let budget = passed.budget.as_ref();
                let budget = budget.map(|(name, most)| format!(", budget {} of {most}", quoted(name)));
                format!(
                    "{}{}{}",
                    self.word(),
                    stream.unwrap_or_default(),
                    budget.unwrap_or_default()
                )
            }
            Self::Drop { reason, policy } => {
                let by = policy.as_ref().map(|policy| format!(" (policy {policy})"));
                format!("drop: {reason}{}", by.unwrap_or_default())
            }
            Self::Refuse { text, .. } => format!("refused by the gateway: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse_series;

    fn labels(text: &str) -> Vec<Label> {
        parse_series(text).unwrap()
    }

    fn edit(text: &str, stream: Option<&str>) -> Verdict {
        // In another order than the gateway keeps them in.
        let said = labels(text)
            .into_iter()
            .rev()
            .map(|Label { name, value }| crate::sandbox::types::LabelResult { name, value });
        Verdict::Edit(Edit {
            labels: Some(said.collect()),
            stream: stream.map(str::to_owned),
            budget: None,
        })
    }

    #[test]
    fn an_edit_that_changes_nothing_is_a_keep() {
        let sent = labels("up{a=\"1\",b=\"2\"}");
        assert_eq!(of(edit("up{a=\"1\",b=\"2\"}", None), &sent), of(Verdict::Keep, &sent));
        assert_eq!(
            of(edit("up{a=\"1\",b=\"2\"}", Some("s")), &sent).line(),
            "edit, stream \"s\""
        );
        assert_eq!(of(edit("up{a=\"1\"}", None), &sent).word(), "edit");
    }

    #[test]
    fn what_the_gateway_lets_no_series_be_is_refused() {
        let twice = Verdict::Edit(Edit {
            labels: Some(
                ["1", "2"]
                    .map(|value| crate::sandbox::types::LabelResult {
                        name: "a".into(),
                        value: value.into(),
                    })
                    .to_vec(),
            ),
            stream: None,
            budget: None,
        });
        assert_eq!(
            of(twice, &[]).line(),
            "refused by the gateway: a label name that occurs twice: a"
        );
        let stream = edit("up", Some(&"s".repeat(200)));
        assert!(matches!(
            of(stream, &[]),
            Said::Refuse {
                reason: "stream_name",
                ..
            }
        ));
    }
}
