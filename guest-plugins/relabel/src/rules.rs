//! `relabel_configs` as written, checked as Prometheus checks them.
//!
//! Takes settings; gives rules ready to apply, or why not: Prometheus' own reasons in its words where it has one,
//! and the place where it is. Never fills in a default that Prometheus does not.

use std::fmt::Write as _;

use gauntlet_policy::{nearest, settings};

use crate::template::Template;
use crate::written::{Settings, Written};
use go_regex::{Regex, unicode};

const ACTIONS: &[&str] = &[
    "replace",
    "lowercase",
    "uppercase",
    "keep",
    "drop",
    "keepequal",
    "dropequal",
    "hashmod",
    "labelmap",
    "labeldrop",
    "labelkeep",
];

/// One rule: what it reads, and what it does.
#[derive(Debug)]
pub struct Rule {
    pub source_labels: Vec<String>,
    pub separator: String,
    pub action: Action,
}

#[derive(Debug)]
pub enum Action {
    Replace {
        regex: Regex,
        target: Template,
        replacement: Template,
    },
    Lowercase {
        target: String,
    },
    Uppercase {
        target: String,
    },
    Keep {
        regex: Regex,
    },
    Drop {
        regex: Regex,
    },
    KeepEqual {
        target: String,
    },
    DropEqual {
        target: String,
    },
    HashMod {
        target: String,
        modulus: u64,
    },
    LabelMap {
        regex: Regex,
        replacement: Template,
    },
    LabelDrop {
        regex: Regex,
    },
    LabelKeep {
        regex: Regex,
    },
}

/// Reads `{"relabel_configs": [...]}`.
pub fn read(text: &str) -> Result<Vec<Rule>, String> {
    let written = settings::<Settings>(text)?.relabel_configs.unwrap_or_default();
    // Every rule is read before any is checked, so that the first error is the one Prometheus gives.
    let mut rules = Vec::with_capacity(written.len());
    for (index, rule) in written.into_iter().enumerate() {
        rules.push(Unchecked::read(rule).map_err(|reason| in_rule(index, &reason))?);
    }
    for (index, rule) in rules.iter().enumerate() {
        rule.check().map_err(|reason| in_rule(index, &reason))?;
    }
    Ok(rules.into_iter().map(Unchecked::rule).collect())
}

fn in_rule(index: usize, reason: &str) -> String {
    format!("relabel_configs[{index}]: {reason}")
}

/// A rule with its defaults filled in and its pattern and action understood, though they may not go together.
struct Unchecked {
    /// Whether it was given at all, even empty.
    has_source_labels: bool,
    source_labels: Vec<String>,
    separator: String,
    /// `None`: not given, so that it is `(.*)`.
    regex: Option<Regex>,
    modulus: u64,
    target_label: String,
    replacement: String,
    action: &'static str,
}

impl Unchecked {
    /// The pattern before the action, as Prometheus declares them.
    fn read(written: Written) -> Result<Self, String> {
        let regex = written.regex.map(|pattern| Regex::new(&pattern.0)).transpose();
        Ok(Self {
            has_source_labels: written.source_labels.is_some(),
            source_labels: written
                .source_labels
                .unwrap_or_default()
                .into_iter()
                .map(|name| name.0)
                .collect(),
            separator: written.separator.map_or_else(|| ";".to_owned(), |text| text.0),
            regex: regex.map_err(|error| error.to_string())?,
            modulus: written.modulus.unwrap_or(0),
            target_label: written.target_label.map(|text| text.0).unwrap_or_default(),
            replacement: written.replacement.map_or_else(|| "$1".to_owned(), |text| text.0),
            action: match written.action {
                None => "replace",
                // Null; an empty name is one that nobody knows.
                Some(None) => "",
                Some(Some(name)) => action(&name.0)?,
            },
        })
    }

    /// `relabel.Config.Validate` under UTF-8 names, in its order.
    fn check(&self) -> Result<(), String> {
        let action = self.action;
        if action.is_empty() {
            return Err("relabel action cannot be empty".to_owned());
        }
        if self.modulus == 0 && action == "hashmod" {
            return Err("relabel configuration for hashmod requires non-zero modulus".to_owned());
        }
        let equal = matches!(action, "keepequal" | "dropequal");
        let case = matches!(action, "lowercase" | "uppercase");
        if (case || equal || matches!(action, "replace" | "hashmod")) && self.target_label.is_empty() {
            return Err(format!(
                "relabel configuration for {action} action requires 'target_label' value"
            ));
        }
        if (case || equal) && self.replacement != "$1" {
            return Err(format!("'replacement' can not be set for {action} action"));
        }
        if action == "labelmap" && self.replacement.is_empty() {
            return Err(format!("\"\" is invalid 'replacement' for {action} action"));
        }
        // The default pattern written out counts as set, as it does there.
        if equal && (self.regex.is_some() || self.modulus != 0 || self.separator != ";") {
            return Err(format!(
                "{action} action requires only 'source_labels' and `target_label`, and no other fields"
            ));
        }
        let regex_only = matches!(action, "labeldrop" | "labelkeep");
        let others = self.has_source_labels
            || !self.target_label.is_empty()
            || self.modulus != 0
            || self.separator != ";"
            || self.replacement != "$1";
        if regex_only && others {
            return Err(format!("{action} action requires only 'regex', and no other fields"));
        }
        Ok(())
    }

    fn rule(self) -> Rule {
        let regex = self.regex.unwrap_or_else(Regex::everything);
        let target = self.target_label;
        let action = match self.action {
            "lowercase" => Action::Lowercase { target },
            "uppercase" => Action::Uppercase { target },
            "keep" => Action::Keep { regex },
            "drop" => Action::Drop { regex },
            "keepequal" => Action::KeepEqual { target },
            "dropequal" => Action::DropEqual { target },
            "hashmod" => Action::HashMod {
                target,
                modulus: self.modulus,
            },
            "labelmap" => Action::LabelMap {
                replacement: Template::new(&self.replacement, &regex),
                regex,
            },
            "labeldrop" => Action::LabelDrop { regex },
            "labelkeep" => Action::LabelKeep { regex },
            _ => Action::Replace {
                target: Template::new(&target, &regex),
                replacement: Template::new(&self.replacement, &regex),
                regex,
            },
        };
        Rule {
            source_labels: self.source_labels,
            separator: self.separator,
            action,
        }
    }
}

/// The action of that name, whatever its case.
fn action(name: &str) -> Result<&'static str, String> {
    let lower = unicode::to_lower(name);
    if let Some(known) = ACTIONS.iter().find(|known| **known == lower) {
        return Ok(known);
    }
    let hint = nearest(&lower, ACTIONS).map_or_else(String::new, |meant| format!(", did you mean `{meant}`?"));
    Err(format!("unknown relabel action {}{hint}", quoted(name)))
}

/// Go's `%q`, near enough for an error text.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
