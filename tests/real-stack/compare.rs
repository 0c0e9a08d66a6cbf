//! Nothing lost: every sample of every series in each sender's own storage against the querier's.
//!
//! Takes the stack after all faults; gives the counts, or the first series that differs. Compares times and values,
//! not counts alone, over one fixed window: from when the senders were ready until now.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Stack;
use crate::query::Api;
use crate::sender::Sender;
use crate::wait::{now, until};

/// How long the last samples of the window may take to arrive.
const ARRIVE: Duration = Duration::from_secs(60);

/// Labels that the far end adds.
const ADDED: [&str; 3] = ["tenant_id", "cluster", "edition"];

/// Time in milliseconds to the value's bits.
type Samples = BTreeMap<i64, u64>;
type Storage = BTreeMap<String, Samples>;

pub fn nothing_lost(stack: &mut Stack) -> Result<String> {
    // A scrape is stored under the time at which it began and may take 900 ms: the newest are still to come.
    let (since, end) = (stack.since, now() - 2.0);
    let merged = stack.thanos.merged();
    let mut line = Vec::new();
    for sender in &stack.senders.all {
        // setsuna's policy drops these, and check 2 has seen that it does.
        let matcher = if sender.tenant == "setsuna" {
            "__name__=~\".+\",__name__!~\"go_.*\""
        } else {
            "__name__=~\".+\""
        };
        let truth = read(&sender.api(), &format!("{{{matcher}}}"), since, end)?;
        let far = format!("{{{matcher},tenant_id=\"{}\"}}", sender.tenant);
        until(&format!("{} has lost nothing", sender.tenant), ARRIVE, || {
            same(&truth, &read(&merged, &far, since, end)?)?;
            Ok(Some(()))
        })?;
        nothing_given_up(sender)?;
        let samples: usize = truth.values().map(BTreeMap::len).sum();
        let scrapes: usize = truth
            .iter()
            .filter(|(series, _)| series.starts_with("__name__=\"up\""))
            .map(|(_, s)| s.len())
            .sum();
        ensure!(scrapes > 0, "{} has no `up`", sender.tenant);
        line.push(format!(
            "{} {scrapes} scrapes, {} series, {samples} samples",
            sender.tenant,
            truth.len()
        ));
    }
    let window = end - since;
    Ok(format!(
        "over {window:.0} s, equal in time and value: {}; senders dropped 0, failed 0",
        line.join("; ")
    ))
}

/// The sender's own count of what it gave up.
fn nothing_given_up(sender: &Sender) -> Result<()> {
    for name in ["samples_dropped_total", "samples_failed_total", "metadata_failed_total"] {
        let count = sender.remote_storage(name)?;
        ensure!(
            count == 0.0,
            "prometheus_remote_storage_{name} of {} is {count}",
            sender.tenant
        );
    }
    Ok(())
}

/// Every sample with `since < time <= end`.
fn read(api: &Api, selector: &str, since: f64, end: f64) -> Result<Storage> {
    let range = (end - since).ceil() + 1.0;
    let result = api.query(&format!("{selector}[{range}s]"), end)?;
    let mut storage = Storage::new();
    for series in &result {
        let labels = series["metric"].as_object().context("a series without labels")?;
        let kept = labels.iter().filter(|(name, _)| !ADDED.contains(&name.as_str()));
        let identity: Vec<String> = kept.map(|(name, value)| format!("{name}={value}")).collect();
        // A policy's new edition continues the same series of the sender.
        let samples = storage.entry(identity.join(",")).or_default();
        for pair in series["values"].as_array().context("a series without values")? {
            let (time, value) = sample(pair).with_context(|| format!("sample {pair}"))?;
            if time > millis(since) && time <= millis(end) {
                samples.insert(time, value);
            }
        }
    }
    storage.retain(|_, samples| !samples.is_empty());
    Ok(storage)
}

fn sample(pair: &Value) -> Option<(i64, u64)> {
    let value: f64 = pair[1].as_str()?.parse().ok()?;
    Some((millis(pair[0].as_f64()?), value.to_bits()))
}

fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// Fails on a sample that is missing, different or invented. Series that the sender never had (the checks' own) are
/// not looked at.
fn same(truth: &Storage, far: &Storage) -> Result<()> {
    let empty = Samples::new();
    let (mut missing, mut first) = (0, None);
    for (series, samples) in truth {
        let arrived = far.get(series).unwrap_or(&empty);
        let lost: Vec<i64> = samples
            .keys()
            .filter(|time| !arrived.contains_key(time))
            .copied()
            .collect();
        missing += lost.len();
        if let (None, Some(time)) = (&first, lost.first()) {
            first = Some(format!(
                "{series} misses {} of {}, the first at {time}",
                lost.len(),
                samples.len()
            ));
        }
        for (time, value) in arrived {
            let sent = samples.get(time);
            ensure!(
                sent == Some(value),
                "{series} at {time}: sent {sent:?}, stored {value} (bits)"
            );
        }
    }
    match first {
        None => Ok(()),
        Some(first) => Err(anyhow::anyhow!("{missing} samples are missing; {first}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(samples: &[(i64, f64)]) -> Storage {
        let samples = samples.iter().map(|(time, value)| (*time, value.to_bits())).collect();
        Storage::from([("__name__=up".to_owned(), samples)])
    }

    #[test]
    fn the_same_samples_are_the_same() {
        let truth = storage(&[(1, 1.0), (2, f64::NAN)]);
        assert!(same(&truth, &truth.clone()).is_ok());
    }

    #[test]
    fn a_missing_sample_is_told_with_its_series_and_time() {
        let error = same(&storage(&[(1, 1.0), (2, 1.0)]), &storage(&[(1, 1.0)]))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "1 samples are missing; __name__=up misses 1 of 2, the first at 2"
        );
    }

    #[test]
    fn a_missing_series_is_told() {
        assert!(same(&storage(&[(1, 1.0)]), &Storage::new()).is_err());
    }

    #[test]
    fn a_changed_or_invented_sample_is_told() {
        let truth = storage(&[(1, 1.0)]);
        assert!(same(&truth, &storage(&[(1, 1.5)])).is_err());
        assert!(same(&truth, &storage(&[(1, 1.0), (2, 1.0)])).is_err());
    }
}
