//! What of a sender's samples is stored behind the gateway, and what beside it.
//!
//! Takes two storages and what policies make of a series; gives counts and the first thing that is wrong. Compares to the
//! bit, in both directions: a sample that was never sent is as wrong as one that is missing.

use std::collections::BTreeMap;

use gauntlet_tests::exporter::{GAUGES, gauge};

use crate::storage::{Labels, Series, Storage, bits};

/// What became of one sender's samples.
#[derive(Debug, Default, Clone)]
pub struct Count {
    pub sent: u64,
    pub missing: u64,
    /// Of another value, or never sent.
    pub different: u64,
    pub exemplars: u64,
    pub exemplars_missing: u64,
    /// The first fault, for people to look for.
    pub first: Option<String>,
}

impl Count {
    /// How many are not as they should be.
    pub fn wrong(&self) -> u64 {
        self.missing + self.different
    }

    /// What may still come.
    pub fn lacking(&self) -> u64 {
        self.missing + self.exemplars_missing
    }

    fn tell(&mut self, fault: impl FnOnce() -> String) {
        self.first.get_or_insert_with(fault);
    }
}

/// What a policy makes of a series: nothing, if it drops it.
pub type Policy = fn(&Labels) -> Option<Labels>;

pub fn unchanged(labels: &Labels) -> Option<Labels> {
    Some(labels.clone())
}

pub fn compare(sent: &Storage, stored: &Storage, policy: Policy) -> Count {
    let mut count = Count::default();
    let mut expected = BTreeMap::new();
    for (labels, series) in sent {
        if let Some(labels) = policy(labels) {
            expected.insert(labels, series);
        }
    }
    let nothing = Series::default();
    for (labels, series) in &expected {
        let arrived = stored.get(labels).unwrap_or(&nothing);
        one(&mut count, labels, series, arrived);
    }
    for (labels, series) in stored {
        if !expected.contains_key(labels) && !series.points.is_empty() {
            count.different += series.points.len() as u64;
            count.tell(|| format!("{} was never sent so", text(labels)));
        }
    }
    count
}

fn one(count: &mut Count, labels: &Labels, sent: &Series, arrived: &Series) {
    count.sent += sent.points.len() as u64;
    count.exemplars += sent.exemplars.len() as u64;
    count.exemplars_missing += sent.exemplars.difference(&arrived.exemplars).count() as u64;
    for (time, value) in &sent.points {
        match arrived.points.get(time) {
            None => {
                count.missing += 1;
                count.tell(|| format!("{} at {time} is missing", text(labels)));
            }
            Some(stored) if stored != value => {
                count.different += 1;
                count.tell(|| format!("{} at {time}: {value} was sent, {stored} is stored", text(labels)));
            }
            Some(_) => {}
        }
    }
    let invented = arrived.points.keys().filter(|time| !sent.points.contains_key(time));
    for time in invented {
        count.different += 1;
        count.tell(|| format!("{} at {time} was never sent", text(labels)));
    }
}

pub fn text(labels: &Labels) -> String {
    let words: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", words.join(","))
}

/// How many values of the exporter's gauges are not what they must be at the scrape that they are of: the sender's own
/// reading, before anything was sent.
pub fn misread(sent: &Storage) -> u64 {
    let number = |labels: &Labels| labels.get("__name__").is_some_and(|name| name == "known_scrape_number");
    let mut wrong = 0;
    for (labels, scrapes) in sent.iter().filter(|(labels, _)| number(labels)) {
        for series in 0..GAUGES {
            let mut gauge_labels = labels.clone();
            gauge_labels.insert("__name__".to_owned(), "known_gauge".to_owned());
            gauge_labels.insert("series".to_owned(), format!("{series:03}"));
            let Some(values) = sent.get(&gauge_labels) else {
                continue;
            };
            wrong += scrapes
                .points
                .iter()
                .filter(|(time, scrape)| differs(values, **time, scrape, series))
                .count();
        }
    }
    wrong as u64
}

fn differs(values: &Series, time: i64, scrape: &str, series: u64) -> bool {
    let Ok(scrape) = u64::from_str_radix(scrape, 16) else {
        return false;
    };
    let scrape = f64::from_bits(scrape);
    let Some(value) = values.points.get(&time) else {
        return false;
    };
    // A stale marker of the number is one of the gauges too. NaN has many bits, and a reader may choose.
    let expected = gauge(series, scrape as u64);
    !scrape.is_nan() && !expected.is_nan() && *value != bits(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(name: &str, points: &[(i64, f64)]) -> Storage {
        let labels = Labels::from([("__name__".to_owned(), name.to_owned())]);
        let points = points.iter().map(|(time, value)| (*time, bits(*value))).collect();
        let exemplars = Default::default();
        Storage::from([(labels, Series { points, exemplars })])
    }

    fn renamed(labels: &Labels) -> Option<Labels> {
        let name = labels["__name__"].clone();
        (name != "go").then(|| Labels::from([("__name__".to_owned(), format!("new_{name}"))]))
    }

    #[test]
    fn the_same_is_complete_and_faults_are_counted_apart() {
        let sent = storage("up", &[(1, 1.0), (2, f64::NAN), (3, 3.0)]);
        assert_eq!(compare(&sent, &sent, unchanged).wrong(), 0);
        let count = compare(&sent, &storage("up", &[(1, 1.5), (3, 3.0), (4, 4.0)]), unchanged);
        assert_eq!((count.sent, count.missing, count.different), (3, 1, 2));
        let other = compare(&sent, &storage("down", &[(1, 1.0)]), unchanged);
        assert_eq!((other.missing, other.different), (3, 1));
    }

    #[test]
    fn what_a_policy_drops_is_not_missing_and_what_it_edits_is_looked_for_as_edited() {
        let sent = storage("up", &[(1, 1.0)]);
        assert_eq!(compare(&sent, &storage("new_up", &[(1, 1.0)]), renamed).wrong(), 0);
        assert_eq!(compare(&sent, &sent, renamed).wrong(), 2);
        assert_eq!(
            compare(&storage("go", &[(1, 1.0)]), &Storage::new(), renamed).wrong(),
            0
        );
    }

    #[test]
    fn a_missing_exemplar_is_told_apart() {
        let mut sent = storage("up", &[(1, 1.0)]);
        let stored = sent.clone();
        for series in sent.values_mut() {
            series.exemplars.insert((1, "{} 0".to_owned()));
        }
        let count = compare(&sent, &stored, unchanged);
        assert_eq!((count.wrong(), count.exemplars_missing), (0, 1));
    }

    #[test]
    fn a_value_that_is_not_the_exporters_is_misread() {
        let mut sent = storage("known_scrape_number", &[(1, 6.0)]);
        let labels = ["__name__", "series"]
            .map(str::to_owned)
            .into_iter()
            .zip(["known_gauge", "007"].map(str::to_owned));
        let right = [(1, bits(gauge(7, 6)))].into();
        let series = |points| Series {
            points,
            exemplars: Default::default(),
        };
        let labels: Labels = labels.collect();
        sent.insert(labels.clone(), series(right));
        assert_eq!(misread(&sent), 0);
        sent.insert(labels, series([(1, bits(0.5))].into()));
        assert_eq!(misread(&sent), 1);
    }
}
