//! One series as a policy sees and changes it.
//!
//! Takes labels as the gateway lists them; gives the verdict that says what changed. Never tells the
//! gateway of an edit that changed nothing: a kept series is forwarded as it came, which is cheapest.

use crate::{Edit, Label, Verdict};

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
    changed: bool,
}

impl Series {
    pub fn new(labels: Vec<Label>) -> Self {
        Self {
            labels,
            stream: None,
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

    /// The verdict that a fate and the changes made so far amount to.
    pub fn judge(self, fate: Fate) -> Verdict {
        match fate {
            Fate::Drop(reason) => Verdict::Drop(reason),
            Fate::Keep if !self.changed && self.stream.is_none() => Verdict::Keep,
            Fate::Keep => Verdict::Edit(Edit {
                labels: self.changed.then_some(self.labels),
                stream: self.stream,
            }),
        }
    }
}
