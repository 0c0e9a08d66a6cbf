//! A label set out of a plugin, checked once.
//!
//! Takes labels in any order and with anything in them; gives them as every later stage may rely on: sorted by name,
//! each name once, no name and no value empty, and not too many. Never applies a tenant's own rules: those come after
//! the whole chain.

use std::ops::Deref;

use crate::model::{Label, Refusal};

/// Most labels a plugin may leave on one series; the tenant's own limit is checked later and is far lower.
const MAX_LABELS: usize = 512;
/// Most bytes of names and values a plugin may leave on one series.
const MAX_LABEL_BYTES: usize = 64 << 10;

/// Sorted by name, each name once, neither names nor values empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSet(Vec<Label>);

/// Why what a policy says of one series cannot be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    pub refusal: Refusal,
    /// The name of the label at fault; empty if it has none, or if it is not one label's.
    pub label: String,
}

impl Unfit {
    pub fn of(refusal: Refusal) -> Self {
        let label = String::new();
        Self { refusal, label }
    }
}

impl LabelSet {
    /// Labels with empty values vanish.
    ///
    /// # Errors
    /// Says what makes them no label set of a series.
    pub fn check(labels: impl Iterator<Item = Label>) -> Result<Self, Unfit> {
        let mut labels = Self(labels.filter(|label| !label.value.is_empty()).collect());
        if labels.len() > MAX_LABELS || labels.bytes() > MAX_LABEL_BYTES {
            return Err(Unfit::of(Refusal::LabelsTooLarge));
        }
        labels.0.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if labels.first().is_some_and(|label| label.name.is_empty()) {
            return Err(Unfit::of(Refusal::EmptyLabelName));
        }
        match labels.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(Unfit {
                refusal: Refusal::DuplicateLabel,
                label: pair[0].name.clone(),
            }),
            None => Ok(labels),
        }
    }

    /// Of all names and values.
    pub fn bytes(&self) -> usize {
        self.iter().map(|label| label.name.len() + label.value.len()).sum()
    }

    /// For whoever changes them.
    pub fn into_vec(self) -> Vec<Label> {
        self.0
    }
}

impl Deref for LabelSet {
    type Target = [Label];

    fn deref(&self) -> &[Label] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label((name, value): &(&str, &str)) -> Label {
        Label {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        }
    }

    fn check(pairs: &[(&str, &str)]) -> Result<Vec<Label>, Unfit> {
        LabelSet::check(pairs.iter().map(label)).map(LabelSet::into_vec)
    }

    #[test]
    fn a_plugins_labels_are_sorted_and_empty_values_vanish() {
        let sorted = [("__name__", "up"), ("a", "1"), ("b", "2")].iter().map(label).collect();
        let out = check(&[("b", "2"), ("gone", ""), ("__name__", "up"), ("a", "1"), ("", "")]);
        assert_eq!(out, Ok(sorted));
        assert_eq!(check(&[("__name__", "")]), Ok(vec![]));
    }

    #[test]
    fn what_is_no_label_set_is_refused_with_the_label_at_fault() {
        let nameless = [("__name__", "a"), ("", "x")];
        assert_eq!(check(&nameless), Err(Unfit::of(Refusal::EmptyLabelName)));
        let twice = Unfit {
            refusal: Refusal::DuplicateLabel,
            label: "b".to_owned(),
        };
        assert_eq!(check(&[("b", "x"), ("__name__", "a"), ("b", "y")]), Err(twice));
        // The one with an empty value is none.
        assert!(check(&[("b", ""), ("b", "y")]).is_ok());
    }

    #[test]
    fn both_bounds_hold_at_and_above() {
        let names: Vec<String> = (0..=MAX_LABELS).map(|n| format!("l{n}")).collect();
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "1")).collect();
        assert!(check(&pairs[..MAX_LABELS]).is_ok());
        let too_large = Err(Unfit::of(Refusal::LabelsTooLarge));
        assert_eq!(check(&pairs), too_large);
        let long = "v".repeat(MAX_LABEL_BYTES - 1);
        assert!(check(&[("n", &long)]).is_ok());
        assert_eq!(check(&[("nn", &long)]), too_large);
    }
}
