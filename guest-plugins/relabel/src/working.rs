//! A series while rules work on it, as Prometheus' `labels.Builder` behaves.
//!
//! Takes the labels as they came; gives what is left. Keeps the order that `labelmap` can see: labels nobody
//! touched first, then those that were set, in the order they were first set.

use gauntlet_policy::{Label, Series};

/// Labels as they came, and what has been done to them.
#[derive(Debug)]
pub struct Working<'a> {
    base: &'a [Label],
    /// Per label of `base`: it was removed, or one of `set` stands in its place.
    gone: Vec<bool>,
    set: Vec<Label>,
}

impl<'a> Working<'a> {
    pub fn new(base: &'a [Label]) -> Self {
        Self {
            base,
            gone: Vec::new(),
            set: Vec::new(),
        }
    }

    fn is_gone(&self, index: usize) -> bool {
        self.gone.get(index).copied().unwrap_or(false)
    }

    fn hide(&mut self, name: &str) {
        if let Some(index) = self.base.iter().position(|label| label.name == name) {
            if self.gone.is_empty() {
                self.gone.resize(self.base.len(), false);
            }
            self.gone[index] = true;
        }
    }

    /// The value; empty where there is no such label.
    pub fn value(&self, name: &str) -> &str {
        if let Some(label) = self.set.iter().find(|label| label.name == name) {
            return &label.value;
        }
        match self.base.iter().position(|label| label.name == name) {
            Some(index) if !self.is_gone(index) => &self.base[index].value,
            _ => "",
        }
    }

    /// An empty value removes the label.
    pub fn set(&mut self, name: &str, value: String) {
        if value.is_empty() {
            return self.remove(name);
        }
        match self.set.iter_mut().find(|label| label.name == name) {
            Some(label) => label.value = value,
            None => {
                self.hide(name);
                self.set.push(Label {
                    name: name.to_owned(),
                    value,
                });
            }
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.hide(name);
        self.set.retain(|label| label.name != name);
    }

    /// Removes the labels whose name `unwanted` says so of.
    pub fn remove_where(&mut self, mut unwanted: impl FnMut(&str) -> bool) {
        for index in 0..self.base.len() {
            if !self.is_gone(index) && unwanted(&self.base[index].name) {
                self.hide(&self.base[index].name);
            }
        }
        self.set.retain(|label| !unwanted(&label.name));
    }

    /// The labels whose name `wanted` says so of, as they are now, in the order `labelmap` sees.
    pub fn snapshot(&self, mut wanted: impl FnMut(&str) -> bool) -> Vec<Label> {
        let untouched = self.base.iter().enumerate().filter(|(index, _)| !self.is_gone(*index));
        let mut labels: Vec<Label> = untouched
            .filter(|(_, label)| wanted(&label.name))
            .map(|(_, label)| label.clone())
            .collect();
        // The gateway sends them sorted; the result must not depend on that.
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        labels.extend(self.set.iter().filter(|label| wanted(&label.name)).cloned());
        labels
    }

    /// What has changed, without borrowing the series any longer.
    pub fn finish(self) -> Changes {
        let same = |label: &Label| self.base.iter().any(|before| before == label);
        let hidden = self.gone.iter().filter(|gone| **gone).count();
        // Every label in `set` hides at most one of `base`: as many hidden as set, and all as before, is no change.
        let changed = hidden != self.set.len() || !self.set.iter().all(same);
        Changes {
            changed,
            gone: self.gone,
            set: self.set,
        }
    }
}

/// What rules did to a series.
#[derive(Debug)]
pub struct Changes {
    changed: bool,
    gone: Vec<bool>,
    set: Vec<Label>,
}

impl Changes {
    pub fn apply(self, series: &mut Series) {
        if !self.changed {
            return;
        }
        let mut index = 0;
        series.retain(|_| {
            index += 1;
            !self.gone.get(index - 1).copied().unwrap_or(false)
        });
        series.extend(self.set);
    }
}
