//! Against which budget a series counts.
//!
//! Takes `series_budgets` as written; gives a series the budget of the first entry that matches it, named after its
//! labels. Never counts: the gateway does.

use std::cell::RefCell;
use std::fmt::Write as _;

use gauntlet_policy::Series;
use go_regex::Patterns;
use serde::Deserialize;

/// The gateway's bound, in bytes.
const MAX_NAME: usize = 128;
/// Of an entry, in bytes: there is to be room for the values.
const MAX_ENTRY_NAME: usize = 64;
const METRIC_NAME: &str = "__name__";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenEntry {
    r#match: Option<Patterns>,
    name: Option<String>,
    per: Option<Vec<String>>,
    max_active_series: Option<u64>,
}

/// Patterns match by using memory of their own, hence the cell.
#[derive(Debug, Default)]
pub struct Budgets(RefCell<Vec<Entry>>);

#[derive(Debug)]
struct Entry {
    patterns: Patterns,
    name: Option<String>,
    per: Vec<String>,
    max_active_series: u64,
}

impl Budgets {
    pub fn check(written: Vec<WrittenEntry>) -> Result<Self, String> {
        let mut entries: Vec<Entry> = Vec::new();
        for (index, entry) in written.into_iter().enumerate() {
            let path = format!("series_budgets[{index}]");
            let entry = entry.checked(&path)?;
            if let Some(other) = entries.iter().position(|other| other.name == entry.name) {
                return Err(format!(
                    "{path}.name must be one of its own: with that of series_budgets[{other}], or with none as there, both \
                     would count against the same budgets"
                ));
            }
            entries.push(entry);
        }
        Ok(Self(RefCell::new(entries)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub fn assign(&self, series: &mut Series) {
        let mut entries = self.0.borrow_mut();
        let first = entries.iter_mut().find_map(|entry| {
            let matches = entry.patterns.match_all(|label| series.value(label));
            matches.then_some(&*entry)
        });
        if let Some(entry) = first {
            series.assign_budget(entry.name_of(series), entry.max_active_series);
        }
    }
}

impl WrittenEntry {
    fn checked(self, path: &str) -> Result<Entry, String> {
        let max_active_series = self.max_active_series.filter(|max| *max > 0);
        let max_active_series =
            max_active_series.ok_or_else(|| format!("{path}.max_active_series must be a number above 0"))?;
        let is_name = |name: &String| {
            !name.is_empty() && name.len() <= MAX_ENTRY_NAME && !name.contains(|c: char| c.is_control() || c == '/')
        };
        if self.name.as_ref().is_some_and(|name| !is_name(name)) {
            return Err(format!(
                "{path}.name must have 1 to {MAX_ENTRY_NAME} bytes, and neither `/` nor control characters"
            ));
        }
        let per = self.per.unwrap_or_default();
        if per.is_empty() && self.name.is_none() {
            return Err(format!("{path} must have `per` or a `name`, to name its budgets by"));
        }
        for (at, label) in per.iter().enumerate() {
            if label.is_empty() || per[..at].contains(label) {
                return Err(format!(
                    "{path}.per[{at}] must be a label, and each label stands there once"
                ));
            }
        }
        Ok(Entry {
            patterns: self.r#match.unwrap_or_default(),
            name: self.name,
            per,
            max_active_series,
        })
    }
}

impl Entry {
    /// `name/metric{label="value"}`, as far as there is any of it.
    fn name_of(&self, series: &Series) -> String {
        let mut name = self.name.clone().unwrap_or_default();
        if self.per.is_empty() {
            return name;
        }
        if !name.is_empty() {
            name.push('/');
        }
        if self.per.iter().any(|label| label == METRIC_NAME) {
            push_plain(&mut name, series.value(METRIC_NAME));
        }
        let labels = self.per.iter().filter(|label| *label != METRIC_NAME);
        let mut before = '{';
        for label in labels {
            name.push(std::mem::replace(&mut before, ','));
            push_plain(&mut name, label);
            name.push_str("=\"");
            push_plain(&mut name, series.value(label));
            name.push('"');
        }
        if before == ',' {
            name.push('}');
        }
        if name.is_empty() {
            name.push_str("{}");
        }
        cut(name)
    }
}

/// With what cannot be in a name, or would end a value, escaped.
fn push_plain(name: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' | '\\' => name.extend(['\\', c]),
            // Writing to a String cannot fail.
            c if c.is_control() => drop(write!(name, "{}", c.escape_unicode())),
            c => name.push(c),
        }
    }
}

/// What is too long ends with a hash of the whole, so that names that begin alike stay apart.
fn cut(mut name: String) -> String {
    if name.len() > MAX_NAME {
        let hash = fnv(name.as_bytes());
        name.truncate(name.floor_char_boundary(MAX_NAME - 17));
        // Writing to a String cannot fail.
        let _ = write!(name, "~{hash:016x}");
    }
    name
}

/// FNV-1a.
fn fnv(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

#[cfg(test)]
mod tests {
    use gauntlet_policy::{Edit, Fate, Label, Verdict};

    use super::*;

    fn budgets(settings: &str) -> Result<Budgets, String> {
        let written = gauntlet_policy::settings::<Vec<WrittenEntry>>(settings)?;
        Budgets::check(written)
    }

    fn assigned(settings: &str, labels: &[(&str, &str)]) -> Option<(String, u64)> {
        let label = |(name, value): &(&str, &str)| Label {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        let mut series = Series::new(labels.iter().map(label).collect());
        budgets(settings).unwrap().assign(&mut series);
        match series.judge(Fate::Keep) {
            Verdict::Keep => None,
            Verdict::Edit(Edit {
                labels: None,
                stream: None,
                budget: Some(budget),
            }) => Some((budget.name, budget.max_active_series)),
            other => panic!("{other:?}"),
        }
    }

    fn name(settings: &str, labels: &[(&str, &str)]) -> String {
        assigned(settings, labels).unwrap().0
    }

    #[test]
    fn the_first_entry_that_matches_decides() {
        let settings = r#"[{"match": {"__name__": "debug_.*", "job": "a|b"}, "name": "debug", "max_active_series": 5},
            {"match": {"team": ".+"}, "per": ["__name__"], "max_active_series": 7}]"#;
        let of = |labels: &[(&str, &str)]| assigned(settings, labels);
        let debug = [("__name__", "debug_x"), ("job", "a"), ("team", "t")];
        assert_eq!(of(&debug), Some(("debug".to_owned(), 5)));
        assert_eq!(of(&debug[..2]), Some(("debug".to_owned(), 5)));
        assert_eq!(of(&[debug[0], ("job", "c"), debug[2]]), Some(("debug_x".to_owned(), 7)));
        assert_eq!(of(&[debug[0], ("job", "c")]), None);
    }

    #[test]
    fn a_budget_is_named_after_what_is_counted() {
        let per = |name: &str, per: &str| format!(r#"[{{{name}"per": {per}, "max_active_series": 5}}]"#);
        let up = [("__name__", "up"), ("job", "a\"b\\c"), ("team", "x/y")];
        assert_eq!(name(&per("", r#"["__name__"]"#), &up), "up");
        assert_eq!(name(&per(r#""name": "n", "#, r#"["__name__"]"#), &up), "n/up");
        assert_eq!(
            name(&per("", r#"["team", "__name__", "job", "absent"]"#), &up),
            r#"up{team="x/y",job="a\"b\\c",absent=""}"#
        );
        assert_eq!(name(&per(r#""name": "n", "#, r#"["team"]"#), &up), r#"n/{team="x/y"}"#);
        assert_eq!(name(&per("", r#"["__name__"]"#), &up[1..]), "{}");
        assert_eq!(
            name(&per("", r#"["__name__"]"#), &[("__name__", "a\nb\"")]),
            r#"a\u{a}b\""#
        );
    }

    #[test]
    fn a_long_name_is_cut_and_stays_one_of_its_own() {
        let settings = r#"[{"per": ["__name__"], "max_active_series": 5}]"#;
        let of = |metric: &str| name(settings, &[("__name__", metric)]);
        let at = "é".repeat(64);
        assert_eq!(of(&at), at);
        let (one, other) = (of(&format!("{at}1")), of(&format!("{at}2")));
        assert!(one != other && one.len() <= 128 && one.starts_with(&at[..110]), "{one}");
        assert_eq!(one, of(&format!("{at}1")));
    }

    #[test]
    fn entries_that_cannot_be_meant_are_refused_with_the_place() {
        for (settings, reason) in [
            (
                r#"[{"per": ["a"]}]"#,
                "series_budgets[0].max_active_series must be a number above 0",
            ),
            (
                r#"[{"per": ["a"], "max_active_series": 0}]"#,
                "series_budgets[0].max_active_series must be a number above 0",
            ),
            (
                r#"[{"max_active_series": 5}]"#,
                "series_budgets[0] must have `per` or a `name`",
            ),
            (
                r#"[{"per": ["a", "a"], "max_active_series": 5}]"#,
                "series_budgets[0].per[1] must be a label",
            ),
            (
                r#"[{"per": [""], "max_active_series": 5}]"#,
                "series_budgets[0].per[0] must be a label",
            ),
            (
                r#"[{"name": "a/b", "max_active_series": 5}]"#,
                "series_budgets[0].name must have 1 to 64 bytes",
            ),
            (
                r#"[{"name": "", "max_active_series": 5}]"#,
                "series_budgets[0].name must have 1 to 64 bytes",
            ),
            (
                r#"[{"per": ["a"], "max_active_series": 5}, {"per": ["b"], "max_active_series": 5}]"#,
                "series_budgets[1].name must be one of its own",
            ),
        ] {
            let error = budgets(settings).err().unwrap_or_default();
            assert!(error.contains(reason), "{settings}: {error}");
        }
    }
}
