//! Prometheus' `relabel_configs` as a plugin: every action, with Prometheus 3.15's results.
//!
//! Takes `{"relabel_configs": [...]}`; gives verdicts. A drop's reason is the rule that decided it, as
//! `relabel_configs[2]`, so that a tenant sees where a series went. Names follow the UTF-8 scheme. A series left
//! without labels is handed back as such: what becomes of it is the gateway's to say.

mod rules;
mod template;
mod working;
mod written;

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use gauntlet_policy::{Context, Fate, Policy, Relabel, Series, relabel_policy};

use go_regex::{Slots, unicode};
use rules::{Action, Rule};
use working::Working;

/// A tenant's rules, with the memory they work in.
pub struct RelabelConfigs {
    state: RefCell<(Vec<Rule>, Slots)>,
}

impl Policy for RelabelConfigs {
    fn configure(settings: &str, _context: &Context) -> Result<Self, String> {
        Ok(Self {
            state: RefCell::new((rules::read(settings)?, Slots::new())),
        })
    }
}

impl Relabel for RelabelConfigs {
    fn relabel(&self, series: &mut Series) -> Fate {
        let (rules, slots) = &mut *self.state.borrow_mut();
        let mut working = Working::new(series.labels());
        for (index, rule) in rules.iter_mut().enumerate() {
            if !apply(rule, &mut working, slots) {
                return Fate::drop(format!("relabel_configs[{index}]"));
            }
        }
        working.finish().apply(series);
        Fate::Keep
    }

    fn judges_series(&self) -> bool {
        !self.state.borrow().0.is_empty()
    }
}

/// Applies one rule; false: the series is dropped.
fn apply(rule: &mut Rule, series: &mut Working<'_>, slots: &mut Slots) -> bool {
    let joined;
    let value = match rule.source_labels.as_slice() {
        [] => "",
        [one] => series.value(one),
        several => {
            joined = several
                .iter()
                .map(|name| series.value(name))
                .collect::<Vec<_>>()
                .join(&rule.separator);
            &joined
        }
    };
    match &mut rule.action {
        Action::Drop { regex } => return !regex.is_match(value),
        Action::Keep { regex } => return regex.is_match(value),
        Action::DropEqual { target } => return series.value(target) != value,
        Action::KeepEqual { target } => return series.value(target) == value,
        Action::Replace {
            regex,
            target,
            replacement,
        } => {
            if !regex.captures(value, 0, slots) {
                return true;
            }
            let mut result = String::new();
            replacement.expand(value, slots, &mut result);
            let mut expanded = String::new();
            let name = match target.fixed() {
                Some(name) => name,
                None => {
                    target.expand(value, slots, &mut expanded);
                    &expanded
                }
            };
            // A target that is no name leaves everything as it is.
            if !name.is_empty() {
                series.set(name, result);
            }
        }
        Action::Lowercase { target } => {
            let mapped = unicode::to_lower(value);
            series.set(target, mapped);
        }
        Action::Uppercase { target } => {
            let mapped = unicode::to_upper(value);
            series.set(target, mapped);
        }
        Action::HashMod { target, modulus } => {
            let digest = md5::compute(value).0;
            let last = digest[8..]
                .iter()
                .fold(0, |hash: u64, byte| hash << 8 | u64::from(*byte));
            let bucket = last.checked_rem(*modulus).unwrap_or(0);
            series.set(target, bucket.to_string());
        }
        Action::LabelMap { regex, replacement } => {
            for label in series.snapshot(|name| regex.is_match(name)) {
                let expand = |text: &str, slots: &Slots, out: &mut String| replacement.expand(text, slots, out);
                let name = regex.replace_all(&label.name, slots, expand);
                series.set(&name, label.value);
            }
        }
        Action::LabelDrop { regex } => series.remove_where(|name| regex.is_match(name)),
        Action::LabelKeep { regex } => series.remove_where(|name| !regex.is_match(name)),
    }
    true
}

relabel_policy!(RelabelConfigs);

// Which allocator a plugin has is its author's to say; this one is made for a series' many small blocks.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: gauntlet_policy::FreeLists = gauntlet_policy::FreeLists::new();
