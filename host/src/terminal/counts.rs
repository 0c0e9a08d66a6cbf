//! A gateway's counters of samples, read from `/metrics`.
//!
//! Takes the text, gives numbers by tenant. Lines that are no such counter are passed over unread; never keeps the text.

use std::collections::BTreeMap;

use crate::model::{Label, parse_series};

/// Samples of one tenant since the gateway began.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) received: f64,
    pub(super) edited: f64,
    pub(super) dropped: f64,
    /// Refused by a receiver that had them already.
    already_stored: f64,
    /// Gone: the sender was told to drop them.
    pub(super) rejected: f64,
    /// The sender was told to keep them.
    pub(super) waiting: f64,
    pub(super) forwarded: BTreeMap<String, f64>,
    /// Upper bounds in seconds, each with how many answers took at most that.
    pub(super) durations: Vec<(f64, f64)>,
}

/// All that is read of the text.
#[derive(Debug, Clone, Default)]
pub(super) struct AllCounts {
    pub(super) tenants: BTreeMap<String, Counts>,
    /// Tenant and policy.
    pub(super) quarantined: Vec<(String, String)>,
}

pub(super) fn counted(text: &str) -> AllCounts {
    let mut counted = AllCounts::default();
    for line in text.lines() {
        let Some((family, value, labels)) = sample(line) else {
            continue;
        };
        let label = |name: &str| {
            let found = labels.iter().find(|label| label.name == name);
            found.map(|label| label.value.clone()).unwrap_or_default()
        };
        let tenant = label("tenant");
        if tenant.is_empty() {
            continue;
        }
        match family {
            "policy_quarantined" if value > 0.0 => counted.quarantined.push((tenant, label("policy"))),
            "policy_quarantined" => {}
            _ => {
                let counts = counted.tenants.entry(tenant).or_default();
                match family {
                    "received_samples_total" => counts.received += value,
                    "edited_samples_total" => counts.edited += value,
                    "dropped_samples_total" => counts.dropped += value,
                    "forwarded_samples_total" => *counts.forwarded.entry(label("upstream")).or_default() += value,
                    "rejected_samples_total" if label("reason") == "already_stored" => counts.already_stored += value,
                    "rejected_samples_total" => counts.rejected += value,
                    "waiting_samples_total" => counts.waiting += value,
                    _ => {
                        let bound = label("le").parse().unwrap_or(f64::INFINITY);
                        counts.durations.push((bound, value));
                    }
                }
            }
        }
    }
    for counts in counted.tenants.values_mut() {
        counts.rejected = (counts.rejected - counts.waiting).max(0.0);
    }
    counted
}

/// The name without its prefix, the value and the labels of a line that is wanted.
fn sample(line: &str) -> Option<(&str, f64, Vec<Label>)> {
    let rest = line.strip_prefix("gauntlet_")?;
    let (family, _) = rest.split_once('{')?;
    let is_wanted = matches!(
        family,
        "received_samples_total"
            | "edited_samples_total"
            | "dropped_samples_total"
            | "forwarded_samples_total"
            | "rejected_samples_total"
            | "waiting_samples_total"
            | "request_duration_seconds_bucket"
            | "policy_quarantined"
    );
    if !is_wanted {
        return None;
    }
    // An exemplar may follow the value of a histogram.
    let plain = if family.ends_with("_bucket") {
        line.split(" # ").next()?
    } else {
        line
    };
    let (_, value) = plain.rsplit_once(' ')?;
    Some((family, value.parse().ok()?, parse_series(line).ok()?))
}

impl Counts {
    pub(super) fn stored(&self) -> f64 {
        self.forwarded.values().sum::<f64>() + self.already_stored
    }

    /// The bound under which 99 of 100 answers were given, in seconds.
    pub(super) fn p99(&self) -> Option<f64> {
        let all = self.durations.iter().map(|(_, count)| *count).fold(0.0, f64::max);
        let enough = |(_, count): &&(f64, f64)| count * 100.0 >= all * 99.0;
        let bounds = self.durations.iter().filter(enough).map(|(bound, _)| *bound);
        bounds.min_by(f64::total_cmp).filter(|_| all > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP gauntlet_received_samples Samples
gauntlet_received_samples_total{tenant="a"} 100
gauntlet_received_samples_total{tenant="b"} 9
gauntlet_edited_samples_total{tenant="a"} 7
gauntlet_forwarded_samples_total{tenant="a",upstream="soft"} 50
gauntlet_forwarded_samples_total{tenant="a",upstream="hard"} 20
gauntlet_dropped_samples_total{tenant="a",policy="relabel",reason="go, \"gone\" } 5"} 10
gauntlet_rejected_samples_total{tenant="a",reason="label_value_too_long"} 4
gauntlet_rejected_samples_total{tenant="a",reason="upstream_connect"} 6
gauntlet_rejected_samples_total{tenant="a",reason="already_stored"} 3
gauntlet_rejected_samples_total{tenant="a",reason="over_rate"} 7
gauntlet_waiting_samples_total{tenant="a"} 13
gauntlet_rejected_samples_total{tenant="b",reason="over_rate"} 9
gauntlet_rejected_samples_total{tenant="",reason="malformed"} 9
gauntlet_request_duration_seconds_bucket{tenant="a",le="0.001"} 98
gauntlet_request_duration_seconds_bucket{tenant="a",le="0.002"} 99 # {trace_id="x"} 0.0015
gauntlet_request_duration_seconds_bucket{tenant="a",le="+Inf"} 100
gauntlet_policy_quarantined{tenant="a",policy="relabel"} 1
gauntlet_policy_quarantined{tenant="a",policy="limits"} 0
gauntlet_policy_duration_seconds_bucket{tenant="a",le="1"} 3
gauntlet_received_samples_total{tenant="a
# EOF
"#;

    #[test]
    fn counters_are_read_by_tenant_and_the_rest_is_passed_over() {
        let counted = counted(TEXT);
        let a = &counted.tenants["a"];
        assert_eq!((a.received, a.edited, a.dropped, a.stored()), (100.0, 7.0, 10.0, 73.0));
        assert_eq!(a.forwarded["hard"], 20.0);
        assert_eq!(a.p99(), Some(0.002));
        assert_eq!(counted.tenants.len(), 2);
        assert_eq!(counted.quarantined, [("a".to_owned(), "relabel".to_owned())]);
    }

    #[test]
    fn what_is_rejected_is_gone_unless_its_sender_keeps_it_or_a_receiver_has_it() {
        let counted = counted(TEXT);
        let (a, b) = (&counted.tenants["a"], &counted.tenants["b"]);
        assert_eq!((a.rejected, a.waiting), (4.0, 13.0));
        assert_eq!((b.rejected, b.waiting), (9.0, 0.0));
        assert_eq!(b.p99(), None);
    }
}
