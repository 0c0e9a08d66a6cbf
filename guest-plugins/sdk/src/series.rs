//! One series as a policy sees and changes it.
//!
//! Takes labels as the gateway lists them; gives the verdict that says what changed. Never tells the
//! gateway of an edit that changed nothing: a kept series is forwarded as it came, which is cheapest.

use std::fmt;

use crate::{Budget, Edit, Label, Verdict};

/// What becomes of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes on, with the changes made to it.
    Keep,
    /// It is dropped on purpose. The reason is counted and shown, so it should be one of a few short words.
    Drop(String),
}

impl Fate {
    pub fn drop(reason: impl Into<String>) -> Self {
        Self::Drop(reason.into())
    }
}

/// The labels of one series.
#[derive(Debug)]
pub struct Series {
    labels: Vec<Label>,
    stream: Option<String>,
    budget: Option<Budget>,
    changed: bool,
}

impl Series {
    pub fn new(labels: Vec<Label>) -> Self {
        Self {
            labels,
            stream: None,
            budget: None,
            changed: false,
        }
    }

    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// The label's value; empty where there is no such label.
    pub fn value(&self, name: &str) -> &str {
        self.labels
            .iter()
            .find(|label| label.name == name)
            .map_or("", |label| &label.value)
    }

    /// Adds the label or changes its value. An empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return self.remove(name);
        }
        match self.labels.iter_mut().find(|label| label.name == name) {
            Some(label) if label.value == value => return,
            Some(label) => value.clone_into(&mut label.value),
            None => self.labels.push(Label {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
        }
        self.changed = true;
    }

    pub fn remove(&mut self, name: &str) {
        self.retain(|label| label.name != name);
    }

    /// Keeps the labels that `wanted` accepts.
    pub fn retain(&mut self, wanted: impl FnMut(&Label) -> bool) {
        let before = self.labels.len();
        self.labels.retain(wanted);
        self.changed |= self.labels.len() != before;
    }

    /// Adds labels whose names it does not have yet.
    pub fn extend(&mut self, labels: Vec<Label>) {
        self.changed |= !labels.is_empty();
        self.labels.extend(labels);
    }

    /// Puts the series into a stream, which `admit` can route.
    pub fn assign_stream(&mut self, name: impl Into<String>) {
        self.stream = Some(name.into());
    }

    /// Counts the series against a budget of the tenant's: new series are refused where it has as many active ones already.
    pub fn assign_budget(&mut self, name: impl Into<String>, max_active_series: u64) {
        self.budget = Some(Budget {
            name: name.into(),
            max_active_series,
        });
    }

    /// The verdict that a fate and the changes made so far amount to.
    pub fn judge(mut self, fate: Fate) -> Verdict {
        self.verdict(fate)
    }

    /// The same; what is left is good for [`Series::refill`] only.
    fn verdict(&mut self, fate: Fate) -> Verdict {
        let (stream, budget) = (self.stream.take(), self.budget.take());
        match fate {
            Fate::Drop(reason) => Verdict::Drop(reason),
            Fate::Keep if !self.changed && stream.is_none() && budget.is_none() => Verdict::Keep,
            Fate::Keep => Verdict::Edit(Edit {
                labels: self.changed.then(|| std::mem::take(&mut self.labels)),
                stream,
                budget,
            }),
        }
    }

    /// Becomes another series. Text that was not handed over in a verdict is written over, not allocated again.
    fn refill<'a>(&mut self, labels: impl ExactSizeIterator<Item = Option<(&'a str, &'a str)>>) -> Option<()> {
        let empty = || Label {
            name: String::new(),
            value: String::new(),
        };
        self.labels.resize_with(labels.len(), empty);
        self.changed = false;
        for (label, filled) in self.labels.iter_mut().zip(labels) {
            let (name, value) = filled?;
            label.name.clear();
            label.name.push_str(name);
            label.value.clear();
            label.value.push_str(value);
        }
        Some(())
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.labels.iter().map(|label| (&label.name, &label.value));
        f.debug_map().entries(pairs).finish()
    }
}

/// Judges series that come as `relabel-packed` has them.
#[doc(hidden)]
pub fn judge_packed(
    text: &str,
    lengths: &[u32],
    labels: &[u32],
    mut judge: impl FnMut(&mut Series) -> Fate,
) -> Result<Vec<Verdict>, String> {
    let (mut rest, mut lengths) = (text, lengths.iter());
    let mut part = || {
        let (part, after) = rest.split_at_checked(*lengths.next()? as usize)?;
        rest = after;
        Some(part)
    };
    let mut series = Series::new(Vec::new());
    let verdicts = labels.iter().map(|count| {
        let refilled = series.refill((0..*count).map(|_| Some((part()?, part()?))));
        refilled.ok_or_else(|| String::from("the lengths do not fit the text"))?;
        let fate = judge(&mut series);
        Ok(series.verdict(fate))
    });
    verdicts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(labels: &[(&str, &str)]) -> Series {
        let label = |(name, value): &(&str, &str)| Label {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        Series::new(labels.iter().map(label).collect())
    }

    /// Drops `a`, edits `b`, moves `c`, counts `d`, keeps the rest.
    fn judge(series: &mut Series) -> Fate {
        match series.value("k") {
            "a" => return Fate::drop("why"),
            "b" => series.set("new", "é"),
            "c" => series.assign_stream("s"),
            "d" => series.assign_budget("few", 3),
            _ => {}
        }
        Fate::Keep
    }

    #[test]
    fn packed_series_get_the_verdicts_of_series_one_by_one() {
        let all: [&[(&str, &str)]; 9] = [
            &[("k", "b"), ("ü", "x")],
            &[("k", "a")],
            &[],
            &[("j", "long enough to need room"), ("k", "b"), ("l", "1")],
            &[("k", "c")],
            &[("k", "z")],
            &[("k", "d")],
            &[("k", "z")],
            &[("k", "b")],
        ];
        let (mut text, mut lengths, mut labels, mut expected) = (String::new(), vec![], vec![], vec![]);
        for pairs in all {
            for part in pairs.iter().flat_map(|(name, value)| [name, value]) {
                text.push_str(part);
                lengths.push(part.len() as u32);
            }
            labels.push(pairs.len() as u32);
            let mut one = series(pairs);
            let fate = judge(&mut one);
            expected.push(one.judge(fate));
        }
        assert_eq!(judge_packed(&text, &lengths, &labels, judge), Ok(expected));
    }

    #[test]
    fn lengths_that_do_not_fit_are_an_error() {
        for (lengths, labels) in [(&[1, 9][..], &[1][..]), (&[1], &[1]), (&[], &[1]), (&[1, 0], &[2])] {
            assert!(
                judge_packed("ab", lengths, labels, judge).is_err(),
                "{lengths:?} {labels:?}"
            );
        }
        // Inside a character.
        assert!(judge_packed("é", &[1, 1], &[1], judge).is_err());
    }
}
